"""Short rows: coordinates on the leading principal axes, and the length of what they leave out, for each row of an index.

By Cauchy and Schwarz the product of two short rows is never below the cosine of the rows (`textsiam.matching.join.screens`). They
can be made again at any time; on disk they are a cache. Similarities other than cosine have none.

One query against a million short rows takes as long as it takes to read them. So where the threshold is high, their *heads* come
first: a head holds a short row's first coordinates, a third of its numbers, and the length of the others. Again by Cauchy and
Schwarz the product of two heads is never below that of the short rows, and nearly all rows are ruled out. A query tries some
heads first: where too many pass, heads would cost more than they save.

Products of many rows with one vector run at the pace of memory, on threads that sleep as soon as they are done. OpenBLAS's own
wait awake for some 20 ms, which takes the cores from what computes next: the encoder, for the next text. So no call here is large
enough for OpenBLAS to divide it among threads.
"""

import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from textsiam.arrays import Rows, slices
from textsiam.data.files import replacing
from textsiam.encoding.processor import n_threads
from textsiam.matching.join.screens import SPARE, UNIT, n_leading, principal_axes, shortened, shrinkage
from textsiam.scoring.similarity import EPSILON

_MOST_NUMBERS = 9_200  # of a matrix that OpenBLAS multiplies on one thread
_FOR_A_THREAD = 2**20  # numbers that pay for one
_MOST_THREADS = 4  # memory gives no more


def times(
    rows: Float[np.ndarray, "n k"], queries: Float[np.ndarray, "..."], out: Float[np.ndarray, "..."] | None = None
) -> Float[np.ndarray, "..."]:
    """``rows @ queries.T``, of fp32; for one query at the pace of memory, which a matrix of one column is not multiplied at.

    Parameters
    ----------
    rows, queries
        Contiguous. Queries may be one vector.
    out
        Where to put it; contiguous.

    Examples
    --------
    >>> times(np.eye(2, dtype=np.float32), np.array([3, 4], dtype=np.float32))
    array([3., 4.], dtype=float32)
    """
    if queries.ndim > 1 and len(queries) > 1:
        return np.matmul(rows, queries.T, out=out)
    out = np.empty((len(rows), *queries.shape[:-1]), dtype=np.float32) if out is None else out
    vector, products = queries.reshape(-1), out.reshape(-1)
    n_parts = max(1, min(_n_threads(), rows.size // _FOR_A_THREAD))
    ends = [len(rows) * part // n_parts for part in range(n_parts + 1)]
    waiting = [
        _pool(os.getpid()).submit(_times, rows[start:stop], vector, products[start:stop])
        for start, stop in pairwise(ends[1:])
    ]
    _times(rows[: ends[1]], vector, products[: ends[1]])
    for future in waiting:
        future.result()
    return out


def _times(rows: Float[np.ndarray, "n k"], vector: Float[np.ndarray, " k"], out: Float[np.ndarray, " n"]) -> None:
    step = max(1, _MOST_NUMBERS // rows.shape[1])
    n = len(rows) // step * step
    # A stack of matrices is one call of NumPy's, but one of OpenBLAS's for each.
    np.matmul(rows[:n].reshape(-1, step, rows.shape[1]), vector, out=out[:n].reshape(-1, step))
    np.matmul(rows[n:], vector, out=out[n:])


@functools.cache
def _n_threads() -> int:
    """As many as the encoder takes, but no more than memory can feed; looked up once, as that takes as long as a query."""
    return min(_MOST_THREADS, n_threads())


@functools.cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """One per process: a fork has none of its parent's threads."""
    return ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="textsiam")


Short = Float[np.ndarray, "_ _"]

_N_LEADING = 23
_BLOCK = 16_384
_N_TRIED = 16_384
_MOST = 0.01  # the share that may pass: single rows are read slowly
HEADS_FROM = 65_536  # rows, from which on they pay


class Heads:
    """Heads of some short rows.

    `short` is (n, length), fp32.
    """

    def __init__(self, short: Short) -> None:
        self.short = short
        self._heads = np.concatenate([_heads(short[part]) for part in slices(len(short), _BLOCK)])
        # The lengths' rounding and the two products'.
        self._slack = 2 * (short.shape[1] + 2 * SPARE) * UNIT * 1.01

    def reaching(self, query: Float[np.ndarray, " length"], lowest: float) -> Int[np.ndarray, " _"] | None:
        """Rows among which are all whose product with the query is `lowest` or more; None: too many to read one by one."""
        head, least = _heads(query[None])[0], np.float32(lowest - self._slack)
        if np.count_nonzero(times(self._heads[:_N_TRIED], head) >= least) > _MOST * _N_TRIED:
            return None
        rows = np.flatnonzero(times(self._heads, head) >= least)
        if len(rows) > _MOST * len(self._heads):
            return None
        return rows[times(self.short[rows], query) >= least]


def _heads(short: Short) -> Float[np.ndarray, "_ _"]:
    heads = np.empty((len(short), _N_LEADING + 1), dtype=np.float32)
    heads[:, :_N_LEADING] = short[:, :_N_LEADING]
    rest = short[:, _N_LEADING:]
    heads[:, _N_LEADING] = np.sqrt(np.einsum("ij,ij->i", rest, rest))
    return heads


Stored = Shaped[np.ndarray, "_ _"]  # fp32 or fp16

MOST_FOR_AXES = 65_536  # axes chosen among this many rows are good for any number
_LENGTH = 64  # numbers of a short row: fewer let too much pass, more are slower to read
_FEW = 8_192  # rows that need no short ones
_N_SAMPLE = 4_096
_DIFFER = 1e-4  # short rows made among others may round otherwise, by less than this


class ShortRows:
    """The short rows of rows that only grow.

    Parameters
    ----------
    similarity
        A name from `SIMILARITIES`; only cosine has short rows.
    dim
        Numbers per vector.
    """

    is_whole: bool  # few rows: short ones are unit rows, nothing left out
    plain: float  # what a product of unit rows in fp32 errs by
    slack: float  # by what a product of short rows may be below the exact score
    _heads: Heads | None
    _n_single: int  # queries that were searched for alone

    def __init__(self, similarity: str, dim: int) -> None:
        self.similarity, self.dim = similarity, dim
        self._parts: list[Stored] = []
        self._n_saved = 0
        self._choose(np.empty((0, dim), dtype=np.float32))

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    @property
    def n_unsaved(self) -> int:
        """Rows whose short ones are in memory alone."""
        return len(self) - self._n_saved

    def follow(self, rows: Stored) -> None:
        """Take in those of `rows` that are beyond the ones already here."""
        if self.similarity != "cosine":
            return
        n = len(rows)
        if n >= _FEW and self._n_for_axes < MOST_FOR_AXES and n >= 8 * self._n_for_axes:
            self._choose(rows)
        start = len(self)
        if start < n:
            self._grow(np.concatenate([self.of(rows[part]) for part in slices(n, _BLOCK, start)]))

    def of(self, rows: Stored) -> Short:
        """The short ones of any rows, on the axes of these."""
        unit = unit_rows(rows)
        return unit if self.is_whole else shortened(unit, self._axes, self._length, self._shrunk)

    def placed(self) -> Iterator[tuple[int, Short]]:
        """Each part with the number of its first row."""
        start = 0
        for part in self._parts:
            yield start, part
            start += len(part)

    def heads(self) -> Heads | None:
        """Heads of the rows that were saved, made for the second query that comes alone; None: there are none."""
        if self.is_whole or self._n_saved < HEADS_FROM:
            return None
        self._n_single += 1
        if self._heads is None and self._n_single > 1:
            self._heads = Heads(self._parts[0])
        return self._heads

    def save(self, file: Path) -> None:
        """Write the short rows, to be mapped by the next process."""
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, np.array([self._n_for_axes, len(self)]))
            np.save(stream, self._axes)
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "<f4", "fortran_order": False, "shape": (len(self), self._length)}
            )
            for part in self._parts:
                stream.write(np.ascontiguousarray(part).data)
        self.load(file, len(self))

    def load(self, file: Path, n_rows: int) -> bool:
        """Map what `save` wrote; False, and nothing changed, if it is missing, damaged, or of more rows than `n_rows`."""
        if self.similarity != "cosine":
            return False
        try:
            with file.open("rb") as stream:
                n_for_axes, n = np.load(stream).tolist()
                axes = np.load(stream)
                np.lib.format.read_magic(stream)
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
                whole = stream.tell() + n * shape[1] * 4 == os.fstat(stream.fileno()).st_size
                if not whole or n > n_rows or shape[0] != n or axes.shape[0] != self.dim or dtype != np.float32:
                    return False
                mapped = np.memmap(file, np.float32, "r", stream.tell(), shape)
        except (OSError, ValueError, TypeError, EOFError):
            return False
        self._use(axes, shape[1], n_for_axes)
        self._parts, self._n_saved = [np.asarray(mapped)], n
        return True

    def agrees(self, rows: Stored, places: Rows) -> bool:
        """Whether the short ones of these rows, in rising order, are what they should be."""
        kept = [part[places[(places >= start) & (places < start + len(part))] - start] for start, part in self.placed()]
        return not kept or bool(np.allclose(np.concatenate(kept), self.of(rows[places]), rtol=0, atol=_DIFFER))

    def _choose(self, rows: Stored) -> None:
        """Choose axes for these rows; every short row must be made again."""
        if len(rows) < _FEW or self.dim <= _LENGTH:
            self._use(np.eye(self.dim, dtype=np.float32), self.dim, len(rows))
            return
        sample = np.random.default_rng(0).choice(len(rows), min(len(rows), _N_SAMPLE), replace=False)
        axes = principal_axes(unit_rows(rows[np.sort(sample)]))[:, : n_leading(_LENGTH, self.dim)]
        self._use(np.ascontiguousarray(axes), _LENGTH, len(rows))

    def _use(self, axes: Float[np.ndarray, "_ _"], length: int, n_for_axes: int) -> None:
        self._axes, self._length, self._n_for_axes = axes, length, n_for_axes
        self._parts = []
        self._grown = np.empty((0, length), dtype=np.float32)
        self._n_saved = 0
        self._heads, self._n_single = None, 0
        self.is_whole = length == self.dim
        # What one fp32 product of all dimensions errs by, and what both rows' lengths do; then what short ones add (see
        # textsiam.matching.join.screens.sieve).
        self.plain = (2 * (self.dim + SPARE) + (self.dim + 2 * SPARE)) * UNIT * 1.01 + 1e-11
        self._shrunk = 0.0 if self.is_whole else shrinkage(axes)
        self.slack = self.plain + self._shrunk + (length + SPARE) * UNIT * 1.01

    def _grow(self, short: Short) -> None:
        """Append to the part in memory, whose room doubles when it is full."""
        saved = self._parts[:1] if self._n_saved else []
        n_before = len(self) - self._n_saved
        n = n_before + len(short)
        if n > len(self._grown):
            room = np.empty((max(n, 2 * len(self._grown)), self._length), dtype=np.float32)
            room[:n_before] = self._grown[:n_before]
            self._grown = room
        self._grown[n_before:n] = short
        self._parts = [*saved, self._grown[:n]]


def unit_rows(rows: Stored) -> Float[np.ndarray, "_ _"]:
    """fp32 rows of length 1 but for (dim / 2 + spare) units of rounding; zero rows as they are."""
    rows = fp32(rows)
    return np.asarray(rows * (1 / lengths(rows))[:, None])


def lengths(rows: Float[np.ndarray, "_ _"]) -> Float[np.ndarray, " _"]:
    """Of fp32 rows; that of a zero row is not 0, so that it can be divided by."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows) + np.float32(EPSILON)))


def fp32(rows: Stored) -> Float[np.ndarray, "_ _"]:
    """The rows in fp32; themselves if they are."""
    return rows.astype(np.float32, copy=False)
