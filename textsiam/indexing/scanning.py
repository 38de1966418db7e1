"""Exact search of rows that only grow: one query against a million takes milliseconds, for it reads a sixth of their numbers.

Every row is kept a second time as a short one: its coordinates on the leading principal axes, and the length of what they leave
out (`textsiam.matching.screens`). By Cauchy and Schwarz the product of short rows is never below the cosine, so that what stays
below the threshold is out, and what is left is scored exactly: the answer is that of `threshold_join`, whatever was left out of
the short rows. Short rows can be made again at any time; on disk they are a cache.

Other similarities than cosine have no short rows here: each search is a `threshold_join` over all rows.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.data.files import replacing
from textsiam.errors import BrokenIndex
from textsiam.indexing import heads as of_heads
from textsiam.indexing.heads import Heads
from textsiam.indexing.products import times
from textsiam.matching.exact import MAX_MATCHES, Allowed, joined, threshold_join, top_k_join
from textsiam.matching.matches import Found
from textsiam.matching.screens import SPARE, UNIT, n_leading, principal_axes, shortened, shrinkage
from textsiam.matching.tiles import Room
from textsiam.scoring.similarity import EPSILON, SIMILARITIES

Rows = Int[np.ndarray, " _"]
Scores = Float[np.ndarray, " _"]
Vectors = Shaped[np.ndarray, "_ _"]  # fp32 or fp16
Queries = Float[np.ndarray, "_ _"]

_LENGTH = 64  # numbers of a short row: fewer let too much pass, more are slower to read
_FEW = 8_192  # rows that need no short ones
_MOST_FOR_AXES = 65_536  # axes chosen among so many rows are good for any number
_N_SAMPLE = 4_096
_BLOCK, _IN_CACHE = 16_384, 1_024
_N_AT_ONCE = 512  # pairs scored at once: their rows fit a core's cache
_MANY = 8_192  # queries, from which on a join pays for getting ready, which takes two seconds for a million rows
_SEVERAL = 64  # queries, whose closest rows a join finds faster than one after another
_SIDE = 1_024  # of a square tile of queries and rows
_DIFFER = 1e-4  # short rows made among others may round otherwise, by less than this
_WORDS_IF_DENSE = 16  # see textsiam.matching.tiles


class Scan:
    """Short rows, and the search that they make fast.

    Parameters
    ----------
    similarity
        A name from `SIMILARITIES`.
    dim
        Numbers a vector.
    """

    def __init__(self, similarity: str, dim: int) -> None:
        self.similarity, self.dim = similarity, dim
        self._room = Room.of(_SIDE)
        self._parts: list[Vectors] = []
        self._n_saved = 0
        self._choose(np.empty((0, dim), dtype=np.float32))

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    @property
    def n_unsaved(self) -> int:
        """Rows whose short ones are in memory alone."""
        return len(self) - self._n_saved

    def follow(self, rows: Vectors) -> None:
        """Take in those of `rows` that are beyond the ones already here."""
        if self.similarity != "cosine":
            return
        n = len(rows)
        if n >= _FEW and self._n_for_axes < _MOST_FOR_AXES and n >= 8 * self._n_for_axes:
            self._choose(rows)
        start = len(self)
        if start < n:
            self._grow(np.concatenate([self._short(part) for _, part in _blocks(rows[start:])]))

    def find(
        self,
        rows: Vectors,
        queries: Queries,
        threshold: float,
        alive: Bool[np.ndarray, " _"],
        max_matches: int = MAX_MATCHES,
        start: int = 0,
    ) -> Found:
        """Query number, row number and score of every pair that reaches the threshold, ordered by query and row.

        Only rows that are alive and from number `start` on are searched.

        Raises
        ------
        TooManyMatches
            If they are more than `max_matches`.
        """
        if self.similarity != "cosine" or (len(queries) >= _MANY and len(rows) >= _MOST_FOR_AXES):
            return self._joined(rows, queries, threshold, alive, max_matches, start)
        allowed = Allowed(max_matches, threshold)
        found = []
        lowest = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
        for i, j in self._candidates(rows, queries, lowest, start):
            there = alive[j]
            i, j = i[there], j[there]  # noqa: PLW2901
            scores = self.scores(rows, queries, i, j)
            reach = scores >= np.float32(threshold)
            allowed.take(int(reach.sum()))
            found.append((i[reach], j[reach], scores[reach]))
        return _ordered(found)

    def nearest(self, rows: Vectors, queries: Queries, k: int, alive: Bool[np.ndarray, " _"]) -> Found:
        """The k closest rows of each query among those alive, the closest first; ties go to the lower row number.

        Raises
        ------
        BrokenIndex
            If a vector is no number.
        """
        if self.similarity != "cosine" or len(queries) >= _SEVERAL:
            there = np.flatnonzero(alive)
            pairs = top_k_join(queries, _of(rows, there), k=k, similarity=self.similarity)
            return pairs.left, there[pairs.right], pairs.score
        found = [self._nearest(rows, queries, number, k, alive) for number in range(len(queries))]
        return joined(found)

    def _joined(
        self,
        rows: Vectors,
        queries: Queries,
        threshold: float,
        alive: Bool[np.ndarray, " _"],
        max_matches: int,
        start: int,
    ) -> Found:
        """As `find`, by a join of all with all."""
        there = np.flatnonzero(alive[start:]) + start
        pairs = threshold_join(
            queries, _of(rows, there), threshold=threshold, similarity=self.similarity, max_matches=max_matches
        )
        return pairs.left, there[pairs.right], pairs.score

    def scores(self, rows: Vectors, queries: Queries, i: Rows, j: Rows) -> Scores:
        """The exact score of query ``i[p]`` with row ``j[p]``: fp64, rounded once to fp32."""
        paired = SIMILARITIES[self.similarity].paired
        scores = np.empty(len(i), dtype=np.float32)
        for block in _few(len(i)):
            scores[block] = paired(queries[i[block]].astype(np.float64), rows[j[block]].astype(np.float64))
        return scores

    def _near(self, rows: Vectors, unit: Queries, i: Rows, j: Rows) -> Scores:
        """Products of unit rows in fp32, within the plain slack of the exact scores, for a tenth of their price."""
        near = np.empty(len(i), dtype=np.float32)
        for block in _few(len(i)):
            near[block] = np.einsum("ij,ij->i", unit[i[block]], _unit(rows[j[block]]))
        return near

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

    def agrees(self, rows: Vectors, places: Rows) -> bool:
        """Whether the short ones of these rows, given in rising order, are what they should be."""
        kept = [
            part[places[(places >= start) & (places < start + len(part))] - start] for start, part in self._placed()
        ]
        return not kept or bool(np.allclose(np.concatenate(kept), self._short(rows[places]), rtol=0, atol=_DIFFER))

    def _choose(self, rows: Vectors) -> None:
        """Axes for these rows; every short row is to be made again."""
        if len(rows) < _FEW or self.dim <= _LENGTH:
            self._use(np.eye(self.dim, dtype=np.float32), self.dim, len(rows))
            return
        sample = np.random.default_rng(0).choice(len(rows), min(len(rows), _N_SAMPLE), replace=False)
        axes = principal_axes(_unit(rows[np.sort(sample)]))[:, : n_leading(_LENGTH, self.dim)]
        self._use(np.ascontiguousarray(axes), _LENGTH, len(rows))

    def _use(self, axes: Float[np.ndarray, "_ _"], length: int, n_for_axes: int) -> None:
        self._axes, self._length, self._n_for_axes = axes, length, n_for_axes
        self._parts = []
        self._grown = np.empty((0, length), dtype=np.float32)
        self._n_saved = 0
        self._heads: Heads | None = None
        self._n_single = 0  # queries that came alone
        self._is_whole = length == self.dim
        # What one fp32 product of all dimensions errs by, and what both rows' lengths do; then what short ones add (see
        # textsiam.matching.screens.sieve).
        self._plain = (2 * (self.dim + SPARE) + (self.dim + 2 * SPARE)) * UNIT * 1.01 + 1e-11
        self._shrunk = 0.0 if self._is_whole else shrinkage(axes)
        self._slack = self._plain + self._shrunk + (length + SPARE) * UNIT * 1.01

    def _short(self, rows: Vectors) -> Float[np.ndarray, "_ _"]:
        unit = _unit(rows)
        return unit if self._is_whole else shortened(unit, self._axes, self._length, self._shrunk)

    def _grow(self, short: Float[np.ndarray, "_ _"]) -> None:
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

    def _placed(self) -> Iterator[tuple[int, Float[np.ndarray, "_ _"]]]:
        """Each part with the number of its first row."""
        start = 0
        for part in self._parts:
            yield start, part
            start += len(part)

    def _candidates(self, rows: Vectors, queries: Queries, lowest: float, begin: int) -> Iterator[tuple[Rows, Rows]]:
        """Pairs among which are all with rows from `begin` on whose exact score is `lowest` or more."""
        for first in range(0, len(queries), _SIDE):
            unit = _unit(queries[first : first + _SIDE])
            short = self._short(queries[first : first + _SIDE])
            for j, i in self._screened(rows, (unit, short), lowest, begin):
                near = self._near(rows, unit, i, j) >= _below(lowest - self._plain)
                yield i[near] + first, j[near]

    def _screened(
        self, rows: Vectors, queries: tuple[Queries, Queries], lowest: float, begin: int
    ) -> Iterator[tuple[Rows, Rows]]:
        """Row and query of pairs that may reach `lowest`, by their short rows."""
        n_queries, begin_at = len(queries[0]), begin
        heads = self._heads_of_saved() if n_queries == 1 and not begin else None
        if heads is not None and (j := heads.reaching(queries[1][0], lowest - self._slack)) is not None:
            yield j, np.zeros(len(j), dtype=np.int64)
            begin_at = len(heads.short)
        step = self._room.entries.size // n_queries
        for start, part in self._placed():
            for offset in range(max(0, begin_at - start), len(part), step):
                block = part[offset : offset + step]
                j, i = self._reaching(rows, start + offset, block, queries, lowest)
                yield j + (start + offset), i

    def _heads_of_saved(self) -> Heads | None:
        """Heads of the rows that were saved, made when they are asked for a second time."""
        if self._is_whole or self._n_saved < of_heads.FROM:
            return None
        self._n_single += 1
        if self._heads is None and self._n_single > 1:
            self._heads = Heads(self._parts[0])
        return self._heads

    def _reaching(
        self, rows: Vectors, start: int, block: Vectors, queries: tuple[Queries, Queries], lowest: float
    ) -> tuple[Rows, Rows]:
        """Row and query of the entries of one tile that may reach `lowest`."""
        unit, short = queries
        tile = self._room.tile(len(block), len(unit), np.float32)
        _multiply(block, short, tile)
        places = self._room.places(tile, _below(lowest - self._slack))
        if not self._is_whole and len(places.words) * 8 * _WORDS_IF_DENSE >= tile.size:
            for place, part in _blocks(rows[start : start + len(block)], _IN_CACHE):
                _cosines(part, unit, tile[place : place + len(part)])
            places = self._room.places(tile, _below(lowest - self._plain))
        row, query = zip(*places.blocks(2**20), strict=True) if len(places.words) else ((), ())
        none = np.empty(0, dtype=np.int64)
        return np.concatenate([none, *row]), np.concatenate([none, *query])

    def _nearest(self, rows: Vectors, queries: Queries, number: int, k: int, alive: Bool[np.ndarray, " _"]) -> Found:
        short = self._short(queries[number : number + 1])[0]
        entries = np.concatenate([np.empty(0, np.float32), *(times(part, short) for part in self._parts)])
        entries[~alive] = -np.inf
        if np.isnan(entries).any():
            raise BrokenIndex(
                "Some vectors of the index are no numbers. Mend them: textsiam index verify (Index.verify)."
            )
        n = min(k, int(alive.sum()))
        if not n:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        # Of any n rows the least score is one that all the n closest reach: first of those whose short rows are closest, then by
        # products of all dimensions.
        unit, j = _unit(queries[number : number + 1]), np.flatnonzero(alive)
        some = np.argpartition(-entries, min(len(j), n + _N_AT_ONCE) - 1)[: min(len(j), n + _N_AT_ONCE)]
        reached = np.partition(self.scores(rows, queries, np.full(len(some), number), some), -n)[-n]
        j = np.flatnonzero(entries >= _below(float(reached) - self._slack))
        near = self._near(rows, unit, np.zeros(len(j), dtype=np.int64), j)
        j = j[near >= _below(float(np.partition(near, -n)[-n]) - 2 * self._plain)]
        scores = self.scores(rows, queries, np.full(len(j), number), j)
        best = np.lexsort((j, -scores))[:n]
        return np.full(n, number), j[best], scores[best]


def _of(rows: Vectors, there: Rows) -> Float[np.ndarray, "_ _"]:
    """These rows, rising, in fp32; the mapped ones themselves if they are all that there are."""
    if len(there) and len(there) == there[-1] - there[0] + 1:
        return _fp32(rows[there[0] : there[-1] + 1])
    return _fp32(rows[there])


def _unit(rows: Vectors) -> Float[np.ndarray, "_ _"]:
    """fp32 rows of length 1 but for (dim / 2 + spare) units of rounding; zero rows as they are."""
    rows = _fp32(rows)
    return np.asarray(rows * (1 / _lengths(rows))[:, None])


def _lengths(rows: Float[np.ndarray, "_ _"]) -> Float[np.ndarray, " _"]:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows) + np.float32(EPSILON)))


def _cosines(block: Vectors, unit: Queries, out: Float[np.ndarray, "_ _"]) -> None:
    """Products of rows of length 1 with the queries, as `_unit` makes them but without a copy: a block fits a core's cache."""
    block = _fp32(block)
    _multiply(block, unit, out)
    out /= _lengths(block)[:, None]


def _multiply(block: Vectors, queries: Queries, out: Float[np.ndarray, "_ _"]) -> None:
    if len(queries) == 1:  # a product with a vector is memory's pace; with a matrix of one column it is not
        times(block, queries[0], out[:, 0])
    else:
        np.matmul(block, queries.T, out=out)


def _below(value: float) -> np.float32:
    return np.float32(np.nextafter(np.float32(value), np.float32(-np.inf)))


def _fp32(rows: Vectors) -> Float[np.ndarray, "_ _"]:
    return rows.astype(np.float32, copy=False)


def _blocks(rows: Vectors, n: int = _BLOCK) -> Iterator[tuple[int, Vectors]]:
    return ((start, rows[start : start + n]) for start in range(0, len(rows), n))


def _few(n: int) -> Iterator[slice]:
    return (slice(start, start + _N_AT_ONCE) for start in range(0, n, _N_AT_ONCE))


def _ordered(found: list[Found]) -> Found:
    i, j, scores = joined(found)
    order = np.lexsort((j, i))
    return i[order], j[order], scores[order]
