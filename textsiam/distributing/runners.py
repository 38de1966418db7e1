"""Who does the tasks: this process, one after the other, or the workers of a Ray cluster. Both give the same files."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from textsiam.distributing.sources import Shard
from textsiam.distributing.vectors import Recipe, ShardEncoder
from textsiam.distributing.workspace import Workspace
from textsiam.errors import MissingExtra

_N_RETRIES = 3  # of a task whose worker died


class Failure(NamedTuple):
    """A task that raised, or whose workers died again and again."""

    error: Exception


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
        Cores a worker: of a local cluster it has as many workers as fit.
    n_workers
        Cores' worth of workers in a local cluster. Default: all cores.

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
            local = {} if address else {"include_dashboard": False, "num_cpus": n_workers and n_workers * n_cpus}
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
        resources = ray.cluster_resources()
        self.n_gpus = int(resources.get("GPU", 0))
        self.n_workers = max(1, int(resources.get("CPU", 1)) // n_cpus)

    def share(self, value: Any) -> Any:
        """A reference to the value, which each machine gets once."""
        return self._ray.put(value)

    def run(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Done:
        """As many at a time as there are workers, and one more each in waiting; a task whose worker dies is begun anew."""
        remote = self._ray.remote(num_cpus=self.n_cpus, max_retries=_N_RETRIES)(attempt)
        running: dict[Any, int] = {}
        for place, task in enumerate(tasks):
            running[remote.remote(function, *task)] = place
            if len(running) >= 2 * self.n_workers:
                yield self._next(running)
        while running:
            yield self._next(running)

    def encode(self, work: Workspace, recipe: Recipe, repeats: Sequence[str], shards: Sequence[Shard]) -> Done:
        """One encoder a worker: on every GPU if there are any, else one for each `n_cpus` cores."""
        n = min(self.n_gpus or self.n_workers, len(shards))
        cores = max(1, self.n_workers * self.n_cpus // self.n_gpus) if self.n_gpus else self.n_cpus
        asked = {"num_cpus": cores, "num_gpus": 1 if self.n_gpus else 0}
        actor = self._ray.remote(**asked, max_restarts=_N_RETRIES, max_task_retries=_N_RETRIES)(_Encoding)
        idle = [actor.remote(work, recipe, repeats) for _ in range(n)]
        everyone, running, busy = list(idle), {}, {}
        try:
            for place, shard in enumerate(shards):
                worker = idle.pop()
                reference = worker.encode.remote(shard)
                running[reference], busy[place] = place, worker
                if not idle:
                    done, result = self._next(running)
                    idle.append(busy.pop(done))
                    yield done, result
            while running:
                yield self._next(running)
        finally:
            for worker in everyone:
                self._ray.kill(worker)

    def close(self) -> None:
        """Leave the cluster; one that was begun here ends."""
        if self._owns:
            self._ray.shutdown()

    def _next(self, running: dict[Any, int]) -> tuple[int, Any]:
        (ready, *_), _ = self._ray.wait(list(running), num_returns=1)
        place = running.pop(ready)
        try:
            return place, self._ray.get(ready)
        except self._ray.exceptions.RayError as error:  # its workers died
            return place, Failure(RuntimeError(f"the worker died {_N_RETRIES + 1} times: {type(error).__name__}"))


class _Encoding:
    """A `ShardEncoder` in an actor, which tells what it could not do instead of ending."""

    def __init__(self, work: Workspace, recipe: Recipe, repeats: Sequence[str]) -> None:
        self.made = attempt(ShardEncoder, work, recipe, repeats)

    def encode(self, shard: Shard) -> Any:
        return self.made if isinstance(self.made, Failure) else attempt(self.made.encode, shard)


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, or a `Failure`."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001  told by the one who asked
        return Failure(error)
