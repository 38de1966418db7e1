"""OpenVINO without its telemetry: left alone, ``import openvino`` starts a process that reports to a server on the network."""

import sys

# Where it finds no openvino_telemetry it does without. Whoever imported either before us made their own choice.
_blocked = "openvino" not in sys.modules and sys.modules.setdefault("openvino_telemetry", None) is None  # type: ignore[arg-type]
try:
    import openvino as ov
    from openvino import opset14 as op
finally:
    if _blocked:
        del sys.modules["openvino_telemetry"]

__all__ = ["op", "ov"]
