"""A CPU backend without torch: the twin as a graph that OpenVINO compiles for this processor."""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property, partial
from queue import SimpleQueue
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

    Compiled twice: for one batch at a time, which all threads share, and, at the first call with many batches, for as many at
    a time as there are threads, each with a batch of its own, which spares them from waiting for each other.

    Parameters
    ----------
    graph
        Ids (n, length) int32 and mask (n, length) fp32 → embeddings (n, dim) fp32.
    precision
        What it computes in: a name from `DTYPES`.
    """

    def __init__(self, graph: ov.Model, precision: str) -> None:
        self.precision = precision
        self._graph = graph
        self._single = self._requests({})
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
        return _infer(self._single, (ids, mask))

    def embed_many(self, batches: Sequence[Batch]) -> Iterator[Float[np.ndarray, "n dim"]]:
        """Embeddings of each padded batch, in order."""
        if len(batches) < MANY or self.n_threads == 1:
            yield from (self.embed(*batch) for batch in batches)
            return
        with ThreadPoolExecutor(self.n_threads) as pool:
            yield from pool.map(partial(_infer, self._several), batches)

    @cached_property
    def n_threads(self) -> int:
        """How many threads compute."""
        told = os.environ.get("OMP_NUM_THREADS", "")
        if told.isdecimal() and int(told):
            return int(told)
        request = self._single.get()
        self._single.put(request)
        return int(request.get_compiled_model().get_property("INFERENCE_NUM_THREADS"))

    @property
    def _several(self) -> "SimpleQueue[Any]":
        with self._lock:
            return self._many

    @cached_property
    def _many(self) -> "SimpleQueue[Any]":
        return self._requests({"NUM_STREAMS": self.n_threads, "INFERENCE_NUM_THREADS": self.n_threads})

    def _requests(self, told: dict[str, Any]) -> "SimpleQueue[Any]":
        """Requests, each of which computes one batch at a time, for whichever thread takes one."""
        # The precision is named always: OpenVINO would choose bf16 by itself where the processor has it.
        hint = "bf16" if self.precision == "int8" and computes_bf16() else DTYPES[self.precision]
        told = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"} | told
        if (n_threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(n_threads):
            told["INFERENCE_NUM_THREADS"] = int(n_threads)
        compiled = ov.Core().compile_model(self._graph, "CPU", told)
        requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(told.get("NUM_STREAMS", 1)):
            requests.put(compiled.create_infer_request())
        return requests


def _infer(requests: "SimpleQueue[Any]", batch: Batch) -> Float[np.ndarray, "n dim"]:
    ids, mask = batch
    request = requests.get()
    try:
        return np.asarray(request.infer({"ids": ids.astype(np.int32), "mask": mask.astype(np.float32)})[0])
    finally:
        requests.put(request)


@cache
def computes_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices itself, as OpenVINO finds it."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def can_compute(dtype: str | None) -> bool:
    """Whether this backend computes in this dtype here; always so in its default."""
    name = _name(dtype)
    return name in DTYPES and (name != "bfloat16" or computes_bf16())


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
        from textsiam.encoding.quantizing import in_int8, input_ranges

        return OpenVinoTwin(build_graph(folder, in_int8(input_ranges(folder))), name)
    return OpenVinoTwin(build_graph(folder), name)


def _name(dtype: str | None) -> str:
    if dtype is None:
        return "bfloat16" if computes_bf16() else "float32"
    return str(dtype).removeprefix("torch.")
