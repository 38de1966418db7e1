"""A CPU backend without torch: the model as a graph that OpenVINO compiles for this processor."""

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from textsiam.encoding.model_folder.folder import ModelFolder
from textsiam.encoding.openvino.graph import Graph, build_graph
from textsiam.encoding.openvino.runtime import ov
from textsiam.encoding.processor import computes_bf16, computes_int8, n_cores, n_threads
from textsiam.encoding.tokenizing import Batch, rounded_up

# Our names of precision classes → OpenVINO's. int8 is only for linear layers; the rest is bf16 if the processor has it.
DTYPES = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}

# From this many batches on, compiling a second graph pays off.
MANY = 16
# Pack at most this many tokens: attention over more of them takes longer than padding.
N_PACKED = 256

SHORT = 32  # texts of up to this many tokens keep their length: each of these lengths is frequent
A_PAIR = 2  # up to this many texts, never pad the batch


class OpenVinoTwin:
    """A compiled graph: padded batch → embeddings.

    It is compiled twice. For few texts: they are packed one after another without padding, and all threads share the work, so
    that the weights are read only once. For many batches, at the first such call: each thread computes a padded batch of its
    own, so that no thread waits for another. `precision` is a name from `DTYPES`.
    """

    name = "openvino"
    # The number of padded tokens per batch: the best measured (benchmarks/LOG.md).
    token_budget = 512
    # The most padding tokens per batch: a call costs about as much as this many tokens, mostly for a new shape.
    padding_budget = 32

    def __init__(self, graph: Graph, precision: str) -> None:
        self.precision = precision
        self.n_threads = n_threads()
        self._graph = graph
        self._lock = threading.Lock()
        self._few  # noqa: B018  compiled now, so that broken weights are reported now
        _TWINS.add(self)

    def embed(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[np.ndarray, "n dim"]:
        """Embeddings of a padded batch, fp32."""
        parts = (self._few(packed(ids[part], mask[part]))[: part.stop - part.start] for part in _parts(mask))
        return np.concatenate(list(parts))

    def embed_many(self, batches: Sequence[Batch]) -> Iterator[Float[np.ndarray, "n dim"]]:
        """Embeddings of each padded batch, in order."""
        if len(batches) < MANY:
            yield from (self.embed(*batch) for batch in batches)
            return
        with self._lock:
            several = self._several
        found = self._pool.map(several, (filled(ids, mask) for ids, mask in batches))
        yield from (rows[: len(ids)] for rows, (ids, _) in zip(found, batches, strict=True))

    def tokens_many(
        self, batches: Sequence[Batch]
    ) -> Iterator[tuple[Float[np.ndarray, "n dim"], Float[np.ndarray, "n length dim"]]]:
        """Embeddings of each padded batch, and the vectors of its tokens, in order."""
        if len(batches) < MANY:
            for ids, mask in batches:
                parts = [
                    (part.stop - part.start, self._few.both(packed(ids[part], mask[part]))) for part in _parts(mask)
                ]
                embeddings = np.concatenate([some[:n] for n, (some, _) in parts])
                yield embeddings, np.concatenate([some[:n, : ids.shape[1]] for n, (_, some) in parts])
            return
        with self._lock:
            several = self._several_with_tokens
        found = self._pool.map(several.both, (filled(ids, mask) for ids, mask in batches))
        for (embeddings, vectors), (ids, _) in zip(found, batches, strict=True):
            yield embeddings[: len(ids)], vectors[: len(ids), : ids.shape[1]]

    def release(self) -> None:
        """Free the memory of the compiled graphs. The next call compiles them again."""
        for name in ("_few", "_several", "_several_with_tokens"):
            self.__dict__.pop(name, None)
        if pool := self.__dict__.pop("_pool", None):
            pool.shutdown(wait=False)

    @cached_property
    def _few(self) -> "_Requests":
        return self._compiled(self._graph.packed(), n_streams=1)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Kept, because OpenVINO and malloc keep memory for every thread that ever called them."""
        return ThreadPoolExecutor(self.n_threads)

    @cached_property
    def _several(self) -> "_Requests":
        return self._compiled(self._graph.padded(), self.n_threads)

    @cached_property
    def _several_with_tokens(self) -> "_Requests":
        """A graph of its own, so that encoding, which needs no tokens, does not pay for them."""
        return self._compiled(self._graph.padded(with_tokens=True), self.n_threads)

    def after_fork(self) -> None:
        """Forget, in a forked process, what depends on threads that only the parent has."""
        self._lock = threading.Lock()
        _KEPT.extend(self.__dict__.pop(name, None) for name in ("_pool", "_several", "_several_with_tokens"))

    def _compiled(self, graph: ov.Model, n_streams: int) -> "_Requests":
        # Always name the precision: by default OpenVINO chooses bf16 if the processor has it.
        hint = "bf16" if self.precision == "int8" and computes_bf16() else DTYPES[self.precision]
        settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": self.n_threads, "NUM_STREAMS": n_streams}
        if self.n_threads < n_cores():  # else several processes would pin their threads to the same cores
            settings["ENABLE_CPU_PINNING"] = False
        compiled = ov.Core().compile_model(graph, "CPU", settings | {"PERFORMANCE_HINT": "LATENCY"})
        self._graph.weights.drop()  # OpenVINO has its own copy of them, and needs only single rows of the tables
        return _Requests(compiled)


# The twins of this process, and what a forked process can neither use nor destroy without waiting for ever.
_TWINS: weakref.WeakSet[OpenVinoTwin] = weakref.WeakSet()
_KEPT: list[Any] = []


def _after_fork() -> None:
    for twin in _TWINS:
        twin.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Requests:
    """A compiled graph as a function that several threads may call. Each call uses a request of its own."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self._idle: list[Any] = []

    def __call__(self, inputs: tuple[np.ndarray, ...]) -> Float[np.ndarray, "n dim"]:
        """The embeddings."""
        return self._infer(inputs, 1)[0]

    def both(
        self, inputs: tuple[np.ndarray, ...]
    ) -> tuple[Float[np.ndarray, "n dim"], Float[np.ndarray, "n length dim"]]:
        """The embeddings, and the vectors of the tokens."""
        embeddings, vectors = self._infer(inputs, 2)
        return embeddings, vectors

    def _infer(self, inputs: tuple[np.ndarray, ...], n_outputs: int) -> list[np.ndarray]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self.compiled.create_infer_request()
        # Shared outputs are the request's own memory: only what was asked for is copied.
        outputs = request.infer(dict(enumerate(inputs)), share_inputs=True, share_outputs=True)
        found = [outputs[place].copy() for place in range(n_outputs)]
        self._idle.append(request)
        return found


def packed(ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> tuple[np.ndarray, ...]:
    """A padded batch as the inputs of `textsiam.encoding.openvino.graph.Graph.packed`.

    Tokens, texts and lengths are padded to multiples, because OpenVINO prepares and keeps every new shape. Padding texts give
    rows of zeros at the end.
    """
    texts, places = np.nonzero(mask)
    tokens = np.zeros((3, _filled(len(texts))), dtype=np.int32)
    tokens[2] = -1  # padding tokens belong to no text
    tokens[:, : len(texts)] = ids[texts, places], places, texts
    n, length = mask.shape
    shown = np.zeros((n if n <= A_PAIR else -(-n // 4) * 4, -(-length // 8) * 8), dtype=np.float32)
    shown[:n, :length] = mask
    rows = np.maximum(np.cumsum(shown, dtype=np.int32).reshape(shown.shape) - 1, 0)
    return tokens[:1], tokens[1], tokens[2], rows, shown


def filled(ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> tuple[np.ndarray, np.ndarray]:
    """A padded batch as the inputs of `textsiam.encoding.openvino.graph.Graph.padded`, with empty rows up to a round number.

    The length of long texts is rounded up too.
    """
    n, length = ids.shape
    columns = length if length <= SHORT else -(-length // 4) * 4
    more = ((0, rounded_up(n) - n), (0, columns - length))
    return np.pad(ids.astype(np.int32), more), np.pad(mask.astype(np.float32), more)


def _filled(n_tokens: int) -> int:
    """The number of tokens, rounded up: OpenVINO keeps megabytes of kernels for every number that it meets."""
    step = 8 if n_tokens <= N_PACKED // 2 else 16
    return max(-(-n_tokens // step) * step, step)


def _parts(mask: Int[np.ndarray, "n length"]) -> Iterator[slice]:
    """Ranges of texts to pack together: at most `N_PACKED` tokens, or one text."""
    start = n_tokens = 0
    for place, length in enumerate(mask.sum(1).tolist()):
        if n_tokens + length > N_PACKED and place > start:
            yield slice(start, place)
            start, n_tokens = place, 0
        n_tokens += length
    yield slice(start, len(mask))


def can_compute(dtype: str | None) -> bool:
    """Whether this backend computes in this dtype on this machine. True for None, the default."""
    name = _name(dtype)
    return name in DTYPES and (name != "bfloat16" or computes_bf16()) and (name != "int8" or computes_int8())


def load_openvino(folder: ModelFolder, device: str | None = None, dtype: str | None = None) -> OpenVinoTwin:
    """The compiled model of a folder.

    `dtype` is ``float32``, ``bfloat16`` or ``int8``; by default bf16 if the processor computes it natively, else fp32.

    Raises `ValueError` if the device is not a CPU, or the dtype is unknown or not native; `BrokenModel` or `UnsupportedModel` if
    the weights cannot be read, or `build_graph` does not know the architecture.
    """
    if not is_cpu(device):
        raise ValueError(f"The openvino backend computes on the CPU, not on {device!r}. Use backend pytorch there.")
    name = _name(dtype)
    if name not in DTYPES:
        raise ValueError(f"The openvino backend does not know the dtype {dtype!r}. Use one of {', '.join(DTYPES)}.")
    if name == "bfloat16" and not computes_bf16():
        raise ValueError("This processor does not compute bfloat16 natively. Use float32, or backend pytorch.")
    if name == "int8":
        if not computes_int8():
            raise ValueError("This processor does not compute int8 exactly (it has no VNNI). Use bfloat16 or float32.")
        from textsiam.encoding.openvino.int8 import in_int8, input_ranges

        return OpenVinoTwin(build_graph(folder, in_int8(input_ranges(folder))), name)
    return OpenVinoTwin(build_graph(folder), name)


def is_cpu(device: object) -> bool:
    """Whether this names the CPU, as a string or as torch's object. True for None, the default."""
    return device is None or str(device).partition(":")[0] == "cpu"


def _name(dtype: str | None) -> str:
    if dtype is None:
        return "bfloat16" if computes_bf16() else "float32"
    return str(dtype).removeprefix("torch.")
