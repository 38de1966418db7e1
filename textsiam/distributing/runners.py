"""Who does the tasks: this process, one after the other, or the workers of a Ray cluster. Both give the same files.

Encoders on the workers of a Ray cluster: a shard goes to one that is ready, and one that kills its workers kills few.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from textsiam.distributing.encoders import Recipe, ShardEncoder
from textsiam.distributing.shard_sources import Shard
from textsiam.distributing.tasks import FATAL, N_TRIES, Failure, attempt, died
from textsiam.distributing.workspace import Workspace
from textsiam.errors import MissingExtra, TaskFailed

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


_OBJECTS_BYTES = 256 << 20  # of a local cluster's store: tasks exchange names, not data

Done = Iterator[tuple[int, Any]]  # a task's place, and its result or a `Failure`, as they come


@runtime_checkable
class Runner(Protocol):
    """Does tasks; each is a function of this package and its arguments."""

    @property
    def n_workers(self) -> int:
        """Tasks that are done at a time."""

    def share(self, value: Any) -> Any:
        """What to give tasks in place of a large value that many of them need."""

    def run(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Done:
        """Call the function once for each tuple of arguments."""

    def encode(self, work: Workspace, recipe: Recipe, repeats: Sequence[str], shards: Sequence[Shard]) -> Done:
        """Encode the shards, each worker with one encoder."""

    def close(self) -> None:
        """Give back what was taken."""


class Here:
    """In this process: nothing is sent, nothing else is needed."""

    n_workers = 1

    def share(self, value: Any) -> Any:
        """The value."""
        return value

    def run(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Done:
        """One after the other."""
        for place, task in enumerate(tasks):
            yield place, attempt(function, *task)

    def encode(self, work: Workspace, recipe: Recipe, repeats: Sequence[str], shards: Sequence[Shard]) -> Done:
        """One after the other, with one encoder."""
        encoder = ShardEncoder(work, recipe, repeats)
        for place, shard in enumerate(shards):
            yield place, attempt(encoder.encode, shard)

    def close(self) -> None:
        """Nothing was taken."""


class OnRay:
    """A Ray cluster; without an address, one on this machine for as long as it is used.

    Parameters
    ----------
    address
        ``host:port`` of a cluster's head, ``auto`` for one that runs here, ``ray://…`` for a client. textsiam must be installed
        on all its machines, and sources, workspace and model have the same names there.
    n_cpus
        Cores a worker.
    n_workers
        Workers of a local cluster. Default: as many as fit its cores.

    Raises
    ------
    MissingExtra
        If Ray is not installed.
    ConnectionError
        If there is no cluster at the address.
    """

    def __init__(self, address: str | None = None, *, n_cpus: int = 1, n_workers: int | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to a server
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray as installed
        except ImportError:
            raise MissingExtra(
                "Working on several machines needs Ray. Install it: pip install 'textsiam[ray]'."
            ) from None
        ray: Any = installed
        self._ray, self.n_cpus = ray, n_cpus
        self._owns = not ray.is_initialized()
        if self._owns:
            local = {"include_dashboard": False, "num_cpus": n_workers and n_workers * n_cpus}
            local |= {"object_store_memory": _OBJECTS_BYTES}
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else local),
            )
        resources = ray.cluster_resources()
        self.n_gpus = int(resources.get("GPU", 0))
        self.n_workers = max(1, int(resources.get("CPU", 1)) // n_cpus)

    def share(self, value: Any) -> Any:
        """A reference to the value, which each machine gets once."""
        return self._ray.put(value)

    def run(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Done:
        """As many at a time as there are workers, and one more each in waiting; a task whose worker dies is begun anew."""
        remote = self._ray.remote(num_cpus=self.n_cpus, max_retries=N_TRIES - 1)(attempt)
        running: dict[Any, int] = {}
        try:
            for place, task in enumerate(tasks):
                running[remote.remote(function, *task)] = place
                if len(running) >= 2 * self.n_workers:
                    yield self._next(running)
            while running:
                yield self._next(running)
        finally:
            if self._ray.is_initialized():
                for reference in running:
                    self._ray.cancel(reference)

    def encode(self, work: Workspace, recipe: Recipe, repeats: Sequence[str], shards: Sequence[Shard]) -> Done:
        """One encoder a worker: on every GPU if there are any and the recipe names no CPU; else one for each `n_cpus` cores."""
        on_gpu = bool(self.n_gpus) and not str(recipe.device or "").startswith("cpu")
        asked = {"num_cpus": self.n_cpus, "num_gpus": int(on_gpu), "max_restarts": 0, "max_task_retries": 0}
        actor = self._ray.remote(**asked)(Worker)
        n = self.n_gpus if on_gpu else self.n_workers
        return iter(Pool(self._ray, lambda: actor.remote(work, recipe, list(repeats)), shards, n).run())

    def close(self) -> None:
        """Leave the cluster; one that was begun here ends."""
        if self._owns:
            self._ray.shutdown()

    def _next(self, running: dict[Any, int]) -> tuple[int, Any]:
        (ready, *_), _ = self._ray.wait(list(running), num_returns=1)
        place = running.pop(ready)
        try:
            return place, self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            return place, Failure(died(error))


def check_workspace(work: Workspace, runner: Runner) -> None:
    """Do nothing if the workers see what this process writes.

    Raises
    ------
    TaskFailed
        If one does not.
    """
    name = "texts/seen.json"
    work.write_json(name, None)
    for _, seen in runner.run(_sees, [(work, name)] * runner.n_workers):
        if seen is not True:
            raise TaskFailed(
                f"The workers do not see the workspace {work.root}. Name with --work a folder that all machines see, or s3://…"
            )


def _sees(work: Workspace, name: str) -> bool:
    return name in work
