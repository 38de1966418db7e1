"""What this processor can do: how many threads may compute, and which precisions it computes natively."""

import math
import os
from functools import cache
from pathlib import Path

import numpy as np


def n_threads() -> int:
    """How many threads compute: one per core that this process may use, or as many as ``OMP_NUM_THREADS`` allows.

    The process's affinity and its container's quota of CPU time are the limits.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if limit.isdecimal() and int(limit):
        return min(int(limit), allowed)
    return max(1, min(allowed, n_cores(), _quota()))


def _quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many processors' time the container's quota allows; all of them if it has none."""
    try:
        granted, period = file.read_text(encoding="utf-8").split()
        return math.ceil(int(granted) / int(period))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return os.cpu_count() or 1


def n_cores() -> int:
    """Number of cores. The system counts a core with two hardware threads as two processors."""
    pairs = {file.read_text() for file in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/core_cpus_list")}
    return len(pairs) or os.cpu_count() or 1


@cache
def computes_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices natively, according to OpenVINO."""
    from textsiam.encoding.openvino.runtime import ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def computes_int8() -> bool:
    """Whether this processor adds int8 products in 32 bits (VNNI, AMX). Others add pairs of them in 16 bits, which overflow."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        flags = file.read_text(encoding="utf-8", errors="replace").split()
        return any(flag in flags for flag in ("avx512_vnni", "avx_vnni", "amx_int8"))
    features = getattr(getattr(np, "_core", None), "_multiarray_umath", None)
    return bool(getattr(features, "__cpu_features__", {}).get("AVX512VNNI"))
