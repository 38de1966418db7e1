"""Tiles of the score matrix: their size, the places that reach a cutoff, and threads to work on several at once."""

import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Shaped

from textsiam.arrays import Found, Rows, Scores, slices
from textsiam.errors import TooManyMatches
from textsiam.matching.join.prepared import Prepared
from textsiam.matching.join.screens import Screen

Result = TypeVar("Result")

# Rows and columns of the largest tile: beyond it a matrix product gains nothing and caches lose. Pairs scored at once likewise.
_MAX_SIDE, _MAX_AT_ONCE = 1_024, 2_048
_N_IN_STRIP = 16  # tiles whose candidates are scored together
# One word of eight entries in this many: with more, a product of the whole tile is cheaper than one for each candidate.
_WORDS_IF_DENSE = 16


class Room(NamedTuple):
    """A worker's memory, used for one tile after another: fresh memory would cost as much as the tile."""

    entries: Shaped[np.ndarray, " size"]  # four bytes each
    reached: Shaped[np.ndarray, " padded"]

    @classmethod
    def of(cls, side: int) -> "Room":
        """Room for tiles of up to this many rows and columns."""
        return cls(np.empty(side * side, dtype=np.int32), np.empty(side * side + 8, dtype=bool))

    def tile(self, n_rows: int, n_columns: int, dtype: type[Any]) -> Shaped[np.ndarray, "r c"]:
        """An empty tile."""
        return np.asarray(self.entries[: n_rows * n_columns].view(dtype).reshape(n_rows, n_columns))

    def places(self, tile: Shaped[np.ndarray, "r c"], cutoff: Any) -> "Places":
        """Where the tile's entries reach the cutoff, or each row its own."""
        np.greater_equal(tile, cutoff, out=self.reached[: tile.size].reshape(tile.shape))
        padded = self.reached[: -(-tile.size // 8) * 8]
        padded[tile.size :] = False
        # Eight at a time, for nearly all are False.
        return Places(padded.reshape(-1, 8), np.flatnonzero(padded.view(np.uint64) != 0), tile.shape[1])


class Places(NamedTuple):
    """Places in a tile."""

    reached: Shaped[np.ndarray, "n_words 8"]
    words: Rows  # those where any is reached
    n_columns: int

    def blocks(self, n_at_once: int) -> Iterator[tuple[Rows, Rows]]:
        """Row and column of every place, row by row, at most this many at once (but at least eight)."""
        n_words = max(1, n_at_once // 8)
        for start in range(0, len(self.words), n_words):
            words = self.words[start : start + n_words]
            word, bit = np.nonzero(self.reached[words])
            yield np.divmod(8 * words[word] + bit, self.n_columns)


@dataclass(frozen=True)
class Tiles:
    """The score matrix of two sides in tiles that fit the memory allowed."""

    sides: Prepared
    screen: Screen
    side: int  # rows and columns of a tile
    n_at_once: int  # pairs scored at once
    n_workers: int

    @classmethod
    def of(cls, sides: Prepared, screen: Screen, max_memory_mb: int) -> "Tiles":
        """As large as memory allows and caches like."""
        n_workers = 1  # NumPy's products use all cores by themselves
        if screen.dtype is np.int32:
            from textsiam.matching.join import kernel

            n_workers = kernel.n_threads()
        if max_memory_mb < 1:
            raise ValueError(f"The join needs at least 1 MB to work in, but got {max_memory_mb}. Give it more.")
        dim, bytes_free = sides.left.shape[1], max_memory_mb * 2**20 // n_workers
        # Half of the memory for tiles (an entry, whether it is reached, its word; Manhattan all differences), half for scores.
        bytes_an_entry = 8 * dim + 8 if sides.similarity == "manhattan" else 8
        side = max(1, min(_MAX_SIDE, math.isqrt(bytes_free // 2 // bytes_an_entry)))
        n_at_once = max(1, min(_MAX_AT_ONCE, bytes_free // 2 // (dim * 64 + 256)))
        return cls(sides, screen, side, n_at_once, n_workers)

    def strips(self) -> Iterator[tuple[slice, list[slice]]]:
        """Rows and the columns of some tiles beside each other; within one set only those on and above the diagonal."""
        for rows in slices(len(self.sides.left), self.side):
            columns = list(slices(len(self.sides.right), self.side, rows.start if self.sides.own else 0))
            yield from ((rows, columns[start : start + _N_IN_STRIP]) for start in range(0, len(columns), _N_IN_STRIP))

    def candidates(self, rows: slice, strip: list[slice], room: Room, score: float) -> Iterator[tuple[Rows, Rows]]:
        """Pairs of a strip among which are all with an exact score from `score` up; within one set left < right."""
        least = self.sides.plain.cutoff(score)
        for i, j in self._gathered(self._passed(rows, columns, room, score) for columns in strip):
            if self.screen is not self.sides.plain:
                near = self.sides.near(i, j) >= least
                i, j = i[near], j[near]  # noqa: PLW2901
            yield i, j

    def _passed(self, rows: slice, columns: slice, room: Room, score: float) -> Iterator[tuple[Rows, Rows]]:
        """Pairs of a tile that pass the screen, and if those are many the plain one too."""
        n_rows, n_columns = rows.stop - rows.start, columns.stop - columns.start
        for screen in (self.screen, self.sides.plain):
            tile = room.tile(n_rows, n_columns, screen.dtype)
            screen.fill(rows, columns, tile)
            places = room.places(tile, screen.cutoff(score))
            if screen is self.sides.plain or len(places.words) * 8 * _WORDS_IF_DENSE < tile.size:
                break
        for left, right in places.blocks(self.n_at_once):
            i, j = left + rows.start, right + columns.start
            if self.sides.own and rows == columns:
                i, j = i[i < j], j[i < j]
            yield i, j

    def _gathered(self, tiles: Iterable[Iterable[tuple[Rows, Rows]]]) -> Iterator[tuple[Rows, Rows]]:
        """The pairs of several tiles together, up to about twice `n_at_once`: threads get in each other's way in small steps."""
        waiting, n_waiting = [], 0
        for i, j in chain.from_iterable(tiles):
            waiting.append((i, j))
            n_waiting += len(i)
            if n_waiting >= self.n_at_once:
                yield _side_by_side(waiting)
                waiting, n_waiting = [], 0
        if n_waiting:
            yield _side_by_side(waiting)

    def pairwise(self, score: Callable[[Rows, Rows], Scores], i: Rows, j: Rows) -> Scores:
        """The score of every pair, as many at a time as memory allows."""
        scores = np.empty(len(i), dtype=np.float32)
        for block in slices(len(i), self.n_at_once):
            scores[block] = score(i[block], j[block])
        return scores

    def in_order(self, work: Callable[..., Result], tasks: Iterable[tuple[Any, ...]]) -> Generator[Result, None, None]:
        """``work(*task, room)`` of every task, in their order, on all workers. Close it if not read to its end."""
        rooms: SimpleQueue[Room] = SimpleQueue()
        for _ in range(self.n_workers):
            rooms.put(Room.of(self.side))

        def run(task: tuple[Any, ...]) -> Result:
            room = rooms.get()
            try:
                return work(*task, room)
            finally:
                rooms.put(room)

        if self.n_workers == 1:
            yield from map(run, tasks)
            return
        from textsiam.matching.join import kernel

        with kernel.threads(self.n_workers) as pool:
            waiting: deque[Future[Result]] = deque()
            try:
                for task in tasks:
                    waiting.append(pool.submit(run, task))
                    if len(waiting) > 2 * self.n_workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


class Allowed:
    """Counts the matches of all threads, so that they stop as soon as there are too many."""

    def __init__(self, max_matches: int, threshold: float) -> None:
        self.max_matches, self.threshold = max_matches, threshold
        self._n_found, self._lock = 0, threading.Lock()

    def take(self, n: int) -> None:
        """Count `n` more matches; TooManyMatches if there are more than allowed."""
        with self._lock:
            self._n_found += n
        if self._n_found > self.max_matches:
            raise TooManyMatches(
                f"More than {self.max_matches:,} pairs reach {self.threshold:g}. Raise the threshold, or allow more "
                "(--max-matches, max_matches=)."
            )

    def reaching(self, left: Rows, right: Rows, scores: Scores) -> Found:
        """Those of these pairs that reach the threshold, counted."""
        reach = scores >= np.float32(self.threshold)
        self.take(int(reach.sum()))
        return left[reach], right[reach], scores[reach]


def joined(found: Sequence[Any]) -> Found:
    """The columns of all parts, one after another."""
    left, right, scores = zip(*found, strict=True) if found else ((), (), ())
    return (
        np.concatenate([np.empty(0, np.int64), *left]),
        np.concatenate([np.empty(0, np.int64), *right]),
        np.concatenate([np.empty(0, np.float32), *scores]),
    )


def ordered(found: Sequence[Found]) -> Found:
    """All parts together, by left and then right row; repeats stay in their order."""
    left, right, scores = joined(found)
    order = np.lexsort((right, left))
    return left[order], right[order], scores[order]


def _side_by_side(parts: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    left, right = zip(*parts, strict=True)
    return np.concatenate(left), np.concatenate(right)
