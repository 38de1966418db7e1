"""What this processor can do: threads that may compute, and the precisions that it computes itself."""

import math
import os
from functools import cache
from pathlib import Path

import numpy as np


def n_threads() -> int:
    """How many threads compute: one a core that this process may use, or fewer where ``OMP_NUM_THREADS`` says so.

    It may use what its affinity allows, and no more than its container's quota of CPU time lasts for.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if told.isdecimal() and int(told):
        return min(int(told), allowed)
    return max(1, min(allowed, n_cores(), _quota()))


def _quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Processors' worth of time that the container grants; all there are where it says nothing."""
    try:
        granted, period = file.read_text(encoding="utf-8").split()
        return math.ceil(int(granted) / int(period))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return os.cpu_count() or 1


def n_cores() -> int:
    """Cores, of which several may hold two of the processors that the system counts."""
    pairs = {file.read_text() for file in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/core_cpus_list")}
    return len(pairs) or os.cpu_count() or 1


@cache
def computes_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices itself, as OpenVINO finds it."""
    from textsiam.encoding.openvino.runtime import ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def computes_int8() -> bool:
    """Whether this processor adds products of int8 in 32 bits (VNNI, AMX); others add pairs of them in 16, which overflow."""
    told = Path("/proc/cpuinfo")
    if told.is_file():
        flags = told.read_text(encoding="utf-8", errors="replace").split()
        return any(flag in flags for flag in ("avx512_vnni", "avx_vnni", "amx_int8"))
    features = getattr(getattr(np, "_core", None), "_multiarray_umath", None)
    return bool(getattr(features, "__cpu_features__", {}).get("AVX512VNNI"))
