"""OpenVINO without its telemetry: by default, ``import openvino`` starts a process that reports to a server on the network."""

import sys

# OpenVINO works without openvino_telemetry. If the caller already imported either package, that choice stays.
_blocked = "openvino" not in sys.modules and sys.modules.setdefault("openvino_telemetry", None) is None  # type: ignore[arg-type]
try:
    import openvino as ov
    from openvino import opset14 as op
finally:
    if _blocked:
        del sys.modules["openvino_telemetry"]

__all__ = ["op", "ov"]
