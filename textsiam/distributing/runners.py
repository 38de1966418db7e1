"""Who does the tasks: this process, one after the other, or the workers of a Ray cluster. Both write the same files."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from textsiam.distributing.tasks import N_TRIES, Failure, attempt, died
from textsiam.distributing.workspace import Workspace
from textsiam.errors import MissingExtra, TaskFailed

_OBJECTS_BYTES = 256 << 20  # of a local cluster's store: tasks exchange names, not data

Done = Iterator[tuple[int, Any]]  # a task's place, and its result or a `Failure`, in the order in which tasks end


@runtime_checkable
class Runner(Protocol):
    """Does tasks; each task is a function of this package and its arguments."""

    @property
    def n_workers(self) -> int:
        """How many tasks run at the same time."""

    def share(self, value: Any) -> Any:
        """What to pass to tasks in place of a large value that many of them need."""

    def run(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], *, on_gpu: bool = False) -> Done:
        """Call the function once for each tuple of arguments; with `on_gpu` on a GPU each, where there are any."""

    def close(self) -> None:
        """Release what the runner holds."""


class Here:
    """Does the tasks in this process, one after the other."""

    n_workers = 1

    def share(self, value: Any) -> Any:
        """The value itself."""
        return value

    def run(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], *, on_gpu: bool = False) -> Done:  # noqa: ARG002
        """Call the function once for each tuple of arguments, in order."""
        for place, task in enumerate(tasks):
            yield place, attempt(function, *task)

    def close(self) -> None:
        """Do nothing: this runner holds nothing."""


class OnRay:
    """Does the tasks on a Ray cluster; without an address it starts one on this machine, and `close` stops it.

    Raises MissingExtra if Ray is not installed; ConnectionError if there is no cluster at the address.

    Parameters
    ----------
    address
        ``host:port`` of a cluster's head, ``auto`` for one that runs on this machine, ``ray://…`` for a client. textsiam must be
        installed on all machines of the cluster, and sources, workspace and model have the same names there.
    n_cpus
        Cores per worker.
    n_workers
        Workers of a local cluster. Default: as many as fit its cores.
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
        """A reference to the value, which each machine fetches once."""
        return self._ray.put(value)

    def run(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], *, on_gpu: bool = False) -> Done:
        """Call the function once for each tuple of arguments, on every worker at the same time, with one more task each waiting.

        Ray starts a task again, up to `N_TRIES` times in all, when its worker dies. Other tasks are not affected.
        """
        on_gpu = on_gpu and self.n_gpus > 0
        asked = {"num_cpus": self.n_cpus, "num_gpus": int(on_gpu), "max_retries": N_TRIES - 1}
        asked |= {
            "max_calls": 0
        }  # a process stays for the next task, and keeps its encoder: with GPUs Ray would end it
        remote = self._ray.remote(**asked)(attempt).options(name=function.__name__)
        n_at_once = 2 * (self.n_gpus if on_gpu else self.n_workers)
        running: dict[Any, int] = {}
        try:
            for place, task in enumerate(tasks):
                running[remote.remote(function, *task)] = place
                if len(running) >= n_at_once:
                    yield self._next(running)
            while running:
                yield self._next(running)
        finally:
            if self._ray.is_initialized():
                for reference in running:
                    self._ray.cancel(reference)

    def close(self) -> None:
        """Leave the cluster; stop it if this runner started it."""
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
    """Raise TaskFailed if a worker does not see what this process writes."""
    name = "texts/seen.json"
    work.write_json(name, None)
    for _, seen in runner.run(_sees, [(work, name)] * runner.n_workers):
        if seen is not True:
            raise TaskFailed(
                f"The workers do not see the workspace {work.root}. Name with --work a folder that all machines see, or s3://…"
            )


def _sees(work: Workspace, name: str) -> bool:
    return name in work
