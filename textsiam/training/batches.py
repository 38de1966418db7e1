"""Batches of tasks: the seed alone decides them, also for several processes and for a resumed run.

`Batches` says which rows are in which batch, for all processes together. Each process then prepares its own slice of a batch:
two processes make the same update as one process with twice the batch.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Sampler

from textsiam.training.losses import MultipleNegativesRanking
from textsiam.training.training_tasks import Task

MIN_RANKED = 2  # a single row has no other row to rank against
ROUNDING = 1e-6  # of shares that sum to 1

Key = tuple[int, int]  # number of the task, number of the row


class Batches(Sampler[list[Key]]):
    """Which rows are in which batch of an epoch, as lists of (task, row); the same for every process.

    Each batch holds rows of one task, and an epoch holds every row once: batches differ in size by at most one row, so that no
    row is left over. If the loss ranks a row against the others of its batch, no input is in two rows of a batch. Repeated
    texts then make more and smaller batches, and a row without another row to rank against waits for another epoch. Tasks with
    shares take random turns in proportion to them; a task that runs out starts again in a new order.

    Parameters
    ----------
    tasks
        At least one.
    batch_size
        Rows per batch, over all processes together.
    seed
        Decides the batches, together with the epoch.

    Raises
    ------
    ValueError
        If the batch size is below 1, or if the shares of the tasks sum to more than 1.
    """

    def __init__(self, tasks: Sequence[Task], batch_size: int, seed: int = 0) -> None:
        if batch_size < 1:
            raise ValueError(f"A batch has at least one row, but got {batch_size}. Give 1 or more.")
        self.tasks, self.batch_size, self.seed, self.epoch = tasks, batch_size, seed, 0
        self.counts = _counts(tasks, batch_size, seed)

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch: each has an order of its own."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(self.counts)

    def __iter__(self) -> Iterator[list[Key]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        turns = rng.permutation(np.repeat(np.arange(len(self.tasks)), self.counts))
        streams = [
            self._of(number, np.random.default_rng([self.seed, self.epoch, number]))
            for number in range(len(self.tasks))
        ]
        for number in turns.tolist():
            yield [(number, row) for row in next(streams[number])]

    def _of(self, number: int, rng: np.random.Generator) -> Iterator[list[int]]:
        while True:
            yield from _once(self.tasks[number], self.batch_size, rng)


def _once(task: Task, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Batches of one task in random order, each row once."""
    order = rng.permutation(len(task.columns)).tolist()
    if isinstance(task.loss, MultipleNegativesRanking):
        return _apart(order, task.columns, size)
    return _even(order, size)


def _even(order: list[int], size: int) -> Iterator[list[int]]:
    """All rows in as few batches as the size allows; their sizes differ by at most one row."""
    n_batches = -(-len(order) // size)
    ends = [len(order) * place // n_batches for place in range(n_batches + 1)]
    return (order[start:end] for start, end in pairwise(ends))


def _apart(order: list[int], columns: Int[np.ndarray, "n width"], size: int) -> Iterator[list[int]]:
    """Batches in which no input is in two rows; at least one batch, and only the first may have a single row.

    A row that would repeat an input waits in the queue of that input, and each later batch can take one row of a queue. A batch
    then costs one look per repeated input, not per waiting row. The last batches may be short.
    """
    waiting: dict[int, deque[int]] = {}
    rest = iter(order)
    n_made = 0
    while True:
        batch: list[int] = []
        seen: set[int] = set()

        def add(row: int, batch: list[int] = batch, seen: set[int] = seen) -> None:
            inputs = columns[row].tolist()
            blocking = next((place for place in inputs if place in seen), None)
            if blocking is None:
                batch.append(row)
                seen.update(inputs)
            else:
                waiting.setdefault(blocking, deque()).append(row)

        for place in list(waiting):
            if len(batch) == size:
                break
            if queue := waiting[place]:
                add(queue.popleft())
            else:
                del waiting[place]
        while len(batch) < size and (row := next(rest, -1)) >= 0:
            add(row)
        if len(batch) < MIN_RANKED and n_made:
            return
        yield batch
        n_made += 1


def _counts(tasks: Sequence[Task], batch_size: int, seed: int) -> list[int]:
    """Batches of each task in an epoch: every row once, unless shares say otherwise."""
    own = [sum(1 for _ in _once(task, batch_size, np.random.default_rng(seed))) for task in tasks]
    stated = [task.share for task in tasks]
    if all(share is None for share in stated):
        return own
    left = 1 - sum(share for share in stated if share is not None)
    n_unstated = sum(count for count, share in zip(own, stated, strict=True) if share is None)
    if left < -ROUNDING or (n_unstated and left <= ROUNDING):
        raise ValueError(f"The shares of the tasks sum to {1 - left:.2f}, but 1 is for all tasks together. Lower them.")
    shares = [left * count / n_unstated if share is None else share for count, share in zip(own, stated, strict=True)]
    return [max(1, round(sum(own) * share / sum(shares))) for share in shares]


@dataclass(frozen=True, eq=False)
class Collator:
    """Keys of a batch → what the tower and the loss need; each process prepares only its own slice of the inputs.

    Parameters
    ----------
    tasks
        As in `Batches`.
    prepare
        A list of inputs → what the tower's forward takes.
    rank, world
        The number of this process, and the number of processes.
    """

    tasks: Sequence[Task]
    prepare: Callable[[list[Any]], Any]
    rank: int = 0
    world: int = 1

    def __call__(self, keys: list[Key]) -> dict[str, Any]:
        """``inputs`` for the tower, ``places`` of this slice's rows among them, and what the loss needs of the whole batch."""
        number = keys[0][0]
        task, rows = self.tasks[number], np.array([row for _, row in keys])
        own = np.array_split(rows, self.world)[self.rank]
        # A process without a row of a tiny batch still embeds one, because all processes exchange gradients.
        used, places = np.unique(task.columns[own if len(own) else rows[:1]], return_inverse=True)
        shape = (max(len(own), 1), task.columns.shape[1])
        batch: dict[str, Any] = {
            "inputs": self.prepare([task.inputs[place] for place in used]),
            "places": torch.from_numpy(places.reshape(shape)[: len(own)]),
            "task": number,
            "rows": rows,
        }
        for name in ("labels", "scores", "components"):
            if (values := getattr(task, name)) is not None:
                batch[name] = torch.from_numpy(np.asarray(values)[rows])
        if task.scores is not None:
            low, high = float(np.min(task.scores)), float(np.max(task.scores))
            batch["scores"] = ((batch["scores"] - low) / (high - low)).float()
        if task.taught is not None:
            batch["taught"] = torch.from_numpy(task.taught[task.columns[rows][:, :2]])
        return batch
