"""A CPU backend without torch: the twin as a graph that OpenVINO compiles for this processor."""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from textsiam.encoding.folder import ModelFolder
from textsiam.encoding.graph import build_graph
from textsiam.encoding.runtime import ov

# Our names of precision classes → OpenVINO's; in int8 only linear layers are, the rest is as fast as the processor allows.
DTYPES = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}

# Batches from which on it pays to compile once more.
MANY = 8

Batch = tuple[Int[np.ndarray, "_ _"], Int[np.ndarray, "_ _"]]  # ids, mask


class OpenVinoTwin:
    """A compiled graph: padded batch → embeddings.

    Compiled twice: for one batch at a time, which all threads share and so read the weights but once; and, at the first call with
    many batches, for as many at a time as there are threads, each with a batch of its own, so that none waits for another.

    Parameters
    ----------
    graph
        Ids (n, length) int32 and mask (n, length) fp32 → embeddings (n, dim) fp32.
    precision
        What it computes in: a name from `DTYPES`.
    """

    name = "openvino"

    def __init__(self, graph: ov.Model, precision: str) -> None:
        self.precision = precision
        self.n_threads = n_threads()
        self._graph = graph
        self._single = self._compiled(n_streams=1)
        self._lock = threading.Lock()

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch: the best measured (benchmarks/LOG.md)."""
        return 1_024

    @property
    def padding_budget(self) -> int:
        """A call costs about as much as this many tokens, most of it where the shape is new."""
        return 64

    def embed(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[np.ndarray, "n dim"]:
        """Embeddings of a padded batch, fp32."""
        return self._single((ids, mask))

    def embed_many(self, batches: Sequence[Batch]) -> Iterator[Float[np.ndarray, "n dim"]]:
        """Embeddings of each padded batch, in order."""
        if len(batches) < MANY or self.n_threads == 1:
            yield from map(self._single, batches)
            return
        with self._lock:
            several = self._several
        with ThreadPoolExecutor(self.n_threads) as pool:
            yield from pool.map(several, batches)

    @cached_property
    def _several(self) -> "_Requests":
        return self._compiled(self.n_threads)

    def _compiled(self, n_streams: int) -> "_Requests":
        # The precision is named always: OpenVINO would choose bf16 by itself where the processor has it.
        hint = "bf16" if self.precision == "int8" and computes_bf16() else DTYPES[self.precision]
        told = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": self.n_threads, "NUM_STREAMS": n_streams}
        return _Requests(ov.Core().compile_model(self._graph, "CPU", told | {"PERFORMANCE_HINT": "LATENCY"}))


class _Requests:
    """A compiled graph as a function that several threads may call: a request computes one batch at a time."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self._idle: list[Any] = []

    def __call__(self, batch: Batch) -> Float[np.ndarray, "n dim"]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self.compiled.create_infer_request()
        ids, mask = batch
        found = np.asarray(request.infer({"ids": ids.astype(np.int32), "mask": mask.astype(np.float32)})[0])
        self._idle.append(request)
        return found


def n_threads() -> int:
    """How many threads compute: as ``OMP_NUM_THREADS`` says, else one a core that this process may use."""
    if (told := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(told):
        return int(told)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _n_cores()))


def _n_cores() -> int:
    """Cores, of which several may hold two of the processors that the system counts."""
    pairs = {file.read_text() for file in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/core_cpus_list")}
    return len(pairs) or os.cpu_count() or 1


@cache
def computes_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices itself, as OpenVINO finds it."""
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


def can_compute(dtype: str | None) -> bool:
    """Whether this backend computes in this dtype here; always so in its default."""
    name = _name(dtype)
    return name in DTYPES and (name != "bfloat16" or computes_bf16()) and (name != "int8" or computes_int8())


def load_openvino(folder: ModelFolder, device: str | None = None, dtype: str | None = None) -> OpenVinoTwin:
    """The compiled twin of a model folder.

    Parameters
    ----------
    device
        ``cpu``, which is the default.
    dtype
        ``float32``, ``bfloat16`` or ``int8``. Default: bf16 where the processor computes it natively, else fp32.

    Raises
    ------
    ValueError
        If the device is no CPU, or the dtype is unknown or not native here.
    BrokenModel, UnsupportedModel
        If the weights cannot be read, or the architecture is none that `build_graph` knows.
    """
    if device not in (None, "cpu"):
        raise ValueError(f"The openvino backend computes on the CPU, not on {device!r}. Use backend pytorch there.")
    name = _name(dtype)
    if name not in DTYPES:
        raise ValueError(f"The openvino backend does not know the dtype {dtype!r}. Use one of {', '.join(DTYPES)}.")
    if name == "bfloat16" and not computes_bf16():
        raise ValueError("This processor does not compute bfloat16 itself. Use float32, or backend pytorch.")
    if name == "int8":
        if not computes_int8():
            raise ValueError("This processor does not compute int8 exactly (it has no VNNI). Use bfloat16 or float32.")
        from textsiam.encoding.quantizing import in_int8, input_ranges

        return OpenVinoTwin(build_graph(folder, in_int8(input_ranges(folder))), name)
    return OpenVinoTwin(build_graph(folder), name)


def _name(dtype: str | None) -> str:
    if dtype is None:
        return "bfloat16" if computes_bf16() else "float32"
    return str(dtype).removeprefix("torch.")
