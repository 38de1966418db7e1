"""One process a system, kept alive, so that systems take turns in one run without loading anew."""

import multiprocessing
import resource
import time
from typing import Any

import numpy as np


class Worker:
    """A process that holds one system of `systems.SYSTEMS`, `systems.SCORERS` or `systems.GPU_SYSTEMS`."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(name, theirs), daemon=True)
        self.process.start()

    def seconds(self, texts: Any) -> float:
        """How long it takes to encode these texts."""
        return self._ask("seconds", texts)

    def vectors(self, texts: Any) -> np.ndarray:
        """Their vectors; of a scorer the scores."""
        return self._ask("vectors", texts)

    def latencies(self, pairs: list[tuple[str, str]]) -> list[float]:
        """How long each pair takes, in milliseconds: two texts in, one cosine out."""
        return self._ask("latencies", pairs)

    def peak_mb(self) -> float:
        """The most memory that the process held so far."""
        return self._ask("peak", None)

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join()

    def _ask(self, question: str, told: Any) -> Any:
        self.pipe.send((question, told))
        answer = self.pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(name: str, pipe: Any) -> None:
    from systems import GPU_SYSTEMS, SCORERS, SYSTEMS

    encode = None
    while (asked := pipe.recv()) is not None:
        try:
            encode = encode or (SYSTEMS | SCORERS | GPU_SYSTEMS)[name]()
            pipe.send(_answer(encode, *asked))
        except Exception as error:  # noqa: BLE001  told to the one who asked
            pipe.send(RuntimeError(f"{name}: {error!r}"))


def _answer(encode: Any, question: str, told: Any) -> Any:
    if question == "peak":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if question == "vectors":
        return encode(told)
    if question == "latencies":
        found = []
        for first, second in told:
            started = time.perf_counter()
            answer = encode([first, second])
            if len(answer) > 1:  # vectors, not yet a score
                float(answer[0] @ answer[1])
            found.append(1e3 * (time.perf_counter() - started))
        return found
    started = time.perf_counter()
    encode(told)
    return time.perf_counter() - started
