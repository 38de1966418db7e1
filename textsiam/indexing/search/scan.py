"""Exact search of rows that only grow: one query against a million takes milliseconds, for it reads a sixth of their numbers.

Every row is kept a second time as a short one (`textsiam.indexing.search.short_rows`). The product of short rows is never below
the cosine. So what stays below the threshold is out, and the rest is scored exactly: the answer is that of `threshold_join`,
whatever the short rows leave out.

Other similarities than cosine have no short rows here: each search is a `threshold_join` over all rows.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from textsiam.arrays import Found, Rows, Scores, Vectors, slices
from textsiam.errors import BrokenIndex
from textsiam.indexing.search.short_rows import (
    MOST_FOR_AXES,
    ShortRows,
    Stored,
    fp32,
    lengths,
    times,
    unit_rows,
)
from textsiam.matching.join.exact import top_k_join
from textsiam.matching.join.tiles import Allowed, Room, joined, ordered
from textsiam.matching.rule import Rule
from textsiam.scoring.similarity import scores_of

Queries = Float[np.ndarray, "_ _"]

_FEW = 32  # rows whose pairs are all scored sooner than a join gets ready
_IN_CACHE = 1_024
_N_AT_ONCE = 512  # pairs scored at once: their rows fit a core's cache
_MANY = 8_192  # queries, from which on a join pays for getting ready, which takes two seconds for a million rows
_SEVERAL = 64  # queries, whose closest rows a join finds faster than one after another
_SIDE = 1_024  # of a square tile of queries and rows
_WORDS_IF_DENSE = 16  # see textsiam.matching.join.tiles
_NONE = np.empty(0, dtype=np.int64)


class Scan:
    """Short rows, and the search that they make fast.

    Parameters
    ----------
    similarity
        A name from `SIMILARITIES`.
    dim
        Numbers per vector.
    """

    def __init__(self, similarity: str, dim: int) -> None:
        self.similarity = similarity
        self.short = ShortRows(similarity, dim)
        self._room = Room.of(_SIDE)

    def find(
        self,
        rows: Stored,
        queries: Queries,
        rule: Rule,
        alive: Bool[np.ndarray, " _"],
        start: int = 0,
    ) -> Found:
        """Query number, row number and score of every pair that matches, ordered by query and row.

        Only rows that are alive and from number `start` on are searched. Raises TooManyMatches if they are more than the rule
        allows.
        """
        if self.similarity != "cosine" or (len(queries) >= _MANY and len(rows) >= MOST_FOR_AXES):
            there = np.flatnonzero(alive[start:]) + start
            left, right, scores = rule.join(queries, _of(rows, there))
            return left, there[right], scores
        allowed = Allowed(rule.max_matches, rule.threshold)
        found = []
        lowest = float(np.nextafter(np.float32(rule.threshold), np.float32(-np.inf)))
        for i, j in self._candidates(rows, queries, lowest, start):
            there = alive[j]
            i, j = i[there], j[there]  # noqa: PLW2901
            found.append(allowed.reaching(i, j, self.scores(rows, queries, i, j)))
        return ordered(found)

    def nearest(self, rows: Stored, queries: Queries, k: int, alive: Bool[np.ndarray, " _"]) -> Found:
        """The k closest rows of each query among those alive, the closest first; ties go to the lower row number.

        Raises BrokenIndex if a vector holds NaN.
        """
        if self.similarity != "cosine" or len(queries) >= _SEVERAL:
            there = np.flatnonzero(alive)
            pairs = top_k_join(queries, _of(rows, there), k=k, similarity=self.similarity)
            return pairs.left, there[pairs.right], pairs.score
        found = [self._nearest(rows, queries, number, k, alive) for number in range(len(queries))]
        return joined(found)

    def scores(self, rows: Stored, queries: Queries, i: Rows, j: Rows) -> Scores:
        """The exact score of query ``i[p]`` with row ``j[p]``: fp64, rounded once to fp32."""
        return scores_of(self.similarity, queries, rows, i, j)

    def _near(self, rows: Stored, unit: Queries, i: Rows, j: Rows) -> Scores:
        """Products of unit rows in fp32, within the plain slack of the exact scores, for a tenth of their price."""
        near = np.empty(len(i), dtype=np.float32)
        for block in slices(len(i), _N_AT_ONCE):
            near[block] = np.einsum("ij,ij->i", unit[i[block]], unit_rows(rows[j[block]]))
        return near

    def _candidates(self, rows: Stored, queries: Queries, lowest: float, begin: int) -> Iterator[tuple[Rows, Rows]]:
        """Pairs among which are all with rows from `begin` on whose exact score is `lowest` or more."""
        for first in range(0, len(queries), _SIDE):
            unit = unit_rows(queries[first : first + _SIDE])
            short = self.short.of(queries[first : first + _SIDE])
            for j, i in self._screened(rows, (unit, short), lowest, begin):
                near = self._near(rows, unit, i, j) >= _below(lowest - self.short.plain)
                yield i[near] + first, j[near]

    def _screened(
        self, rows: Stored, queries: tuple[Queries, Queries], lowest: float, begin: int
    ) -> Iterator[tuple[Rows, Rows]]:
        """Row and query of pairs that may reach `lowest`, by their short rows."""
        n_queries, begin_at = len(queries[0]), begin
        heads = self.short.heads() if n_queries == 1 and not begin else None
        if heads is not None and (j := heads.reaching(queries[1][0], lowest - self.short.slack)) is not None:
            yield j, np.zeros(len(j), dtype=np.int64)
            begin_at = len(heads.short)
        step = self._room.entries.size // n_queries
        for start, part in self.short.placed():
            for offset in range(max(0, begin_at - start), len(part), step):
                block = part[offset : offset + step]
                j, i = self._reaching(rows, start + offset, block, queries, lowest)
                yield j + (start + offset), i

    def _reaching(
        self, rows: Stored, start: int, block: Stored, queries: tuple[Queries, Queries], lowest: float
    ) -> tuple[Rows, Rows]:
        """Row and query of the entries of one tile that may reach `lowest`."""
        unit, short = queries
        least, tile = _below(lowest - self.short.slack), self._room.tile(len(block), len(unit), np.float32)
        times(block, short, tile)
        places = self._room.places(tile, least)
        if not self.short.is_whole and len(places.words) * 8 * _WORDS_IF_DENSE >= tile.size:
            for part in slices(len(block), _IN_CACHE):
                _cosines(rows[start + part.start : start + part.stop], unit, tile[part])
            places = self._room.places(tile, _below(lowest - self.short.plain))
        row, query = zip(*places.blocks(2**20), strict=True) if len(places.words) else ((_NONE,), (_NONE,))
        return np.concatenate(row), np.concatenate(query)

    def _nearest(self, rows: Stored, queries: Queries, number: int, k: int, alive: Bool[np.ndarray, " _"]) -> Found:
        short = self.short.of(queries[number : number + 1])[0]
        entries = np.concatenate([np.empty(0, np.float32), *(times(part, short) for _, part in self.short.placed())])
        entries[~alive] = -np.inf
        if np.isnan(entries).any():
            raise BrokenIndex(
                "Some vectors of the index are not numbers. Repair them: textsiam index verify (Index.verify)."
            )
        n = min(k, int(alive.sum()))
        if not n:
            return joined([])
        # Of any n rows the least score is one that all the n closest reach: first of those whose short rows are closest, then by
        # products of all dimensions.
        unit, j = unit_rows(queries[number : number + 1]), np.flatnonzero(alive)
        some = np.argpartition(-entries, min(len(j), n + _N_AT_ONCE) - 1)[: min(len(j), n + _N_AT_ONCE)]
        reached = np.partition(self.scores(rows, queries, np.full(len(some), number), some), -n)[-n]
        j = np.flatnonzero(entries >= _below(float(reached) - self.short.slack))
        near = self._near(rows, unit, np.zeros(len(j), dtype=np.int64), j)
        j = j[near >= _below(float(np.partition(near, -n)[-n]) - 2 * self.short.plain)]
        scores = self.scores(rows, queries, np.full(len(j), number), j)
        best = np.lexsort((j, -scores))[:n]
        return np.full(n, number), j[best], scores[best]


def among(vectors: Vectors, rule: Rule) -> Found:
    """Every pair of rows of one set that matches, as of `Rule.join`; of a few rows all pairs are scored at once."""
    if len(vectors) > _FEW:
        return rule.join(vectors)
    left, right = np.triu_indices(len(vectors), k=1)
    scores = scores_of(rule.similarity, vectors, vectors, left, right)
    reach = scores >= np.float32(rule.threshold)
    return left[reach], right[reach], scores[reach]


def _of(rows: Stored, there: Rows) -> Float[np.ndarray, "_ _"]:
    """These rows, rising, in fp32; the mapped ones themselves if they are all that there are."""
    if len(there) and len(there) == there[-1] - there[0] + 1:
        return fp32(rows[there[0] : there[-1] + 1])
    return fp32(rows[there])


def _cosines(block: Stored, unit: Queries, out: Float[np.ndarray, "_ _"]) -> None:
    """Products of rows of length 1 with the queries, as `unit_rows` makes them, without a copy: a block fits a core's cache."""
    block = fp32(block)
    times(block, unit, out)
    out /= lengths(block)[:, None]


def _below(value: float) -> np.float32:
    return np.float32(np.nextafter(np.float32(value), np.float32(-np.inf)))
