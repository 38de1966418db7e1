"""Encoders on the workers of a Ray cluster: a shard goes to one that is ready, and one that kills its workers kills few."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from textsiam.distributing.sources import Shard
from textsiam.distributing.tasks import FATAL, N_TRIES, Failure, attempt, died
from textsiam.distributing.vectors import Recipe, ShardEncoder
from textsiam.distributing.workspace import Workspace

logger = logging.getLogger("textsiam")

_PATIENCE_S = 60.0  # without a worker that computes or a word from one, before that is said


class Worker:
    """An actor with an encoder, which tells what it could not do instead of ending."""

    def __init__(self, work: Workspace, recipe: Recipe, repeats: Sequence[str]) -> None:
        self.made = attempt(ShardEncoder, work, recipe, repeats)

    def ready(self) -> Failure | None:
        """Nothing, or why there is no encoder."""
        return self.made if isinstance(self.made, Failure) else None

    def encode(self, shard: Shard) -> Any:
        """What `ShardEncoder.encode` gives, or a `Failure`."""
        return attempt(self.made.encode, shard)


class _Asked(NamedTuple):
    worker: Any
    place: int | None  # of its shard; None: whether it is ready


class Pool:
    """Workers that are made anew when they die, as long as there is something to do.

    Parameters
    ----------
    spawn
        Makes one more worker.
    n
        How many there shall be.
    """

    def __init__(self, ray: Any, spawn: Callable[[], Any], shards: Sequence[Shard], n: int) -> None:
        self.ray, self.spawn, self.shards = ray, spawn, shards
        self.n_left_to_make = n + N_TRIES * n  # a cluster on which all of them die is given up
        self.todo = deque((place, 1) for place in range(len(shards)))
        self.tries: dict[int, int] = {}
        self.asked: dict[Any, _Asked] = {}
        self.workers: list[Any] = []
        self.why: Exception | None = None
        for _ in range(min(n, len(shards))):
            self._make()

    def run(self) -> Any:
        """Each shard's place, and what came of it, as they come.

        Raises
        ------
        Exception
            What the last worker said, if none could be made that works.
        """
        try:
            while self.asked:
                ready, _ = self.ray.wait(list(self.asked), num_returns=1, timeout=_PATIENCE_S)
                if not ready:
                    if all(of.place is None for of in self.asked.values()):
                        logger.warning("waiting for the cluster to start workers; others may hold what they need")
                    continue
                yield from self._heard(ready[0])
            if self.todo and self.why is not None:
                raise self.why
        finally:
            if self.ray.is_initialized():
                for worker in self.workers:
                    self.ray.kill(worker)

    def _make(self) -> None:
        if self.n_left_to_make > 0:
            self.n_left_to_make -= 1
            worker = self.spawn()
            self.workers.append(worker)
            self.asked[worker.ready.remote()] = _Asked(worker, None)

    def _heard(self, reference: Any) -> Any:
        asked = self.asked.pop(reference)
        try:
            found = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            yield from self._died(asked, died(error))
            return
        if asked.place is None and isinstance(found, Failure):
            self.why = found.error
            if isinstance(found.error, FATAL):
                raise found.error
            self.ray.kill(asked.worker)
            self.workers.remove(asked.worker)
            if self.todo:
                self._make()
            return
        if asked.place is not None:
            yield asked.place, found
        if self.todo:
            place, n_tries = self.todo.popleft()
            self.tries[place] = n_tries
            self.asked[asked.worker.encode.remote(self.shards[place])] = _Asked(asked.worker, place)

    def _died(self, asked: _Asked, why: Exception) -> Any:
        """Its shard comes last, so that one that kills its workers takes no other with it; another worker comes in its stead."""
        self.workers.remove(asked.worker)
        self.why = why
        if asked.place is not None:
            if self.tries[asked.place] < N_TRIES:
                self.todo.append((asked.place, self.tries[asked.place] + 1))
            else:
                yield asked.place, Failure(why)
            self.n_left_to_make += 1  # the shard's doing, or an accident: no sign that workers cannot be made
        if self.todo:
            self._make()
