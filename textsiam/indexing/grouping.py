"""Clusters that grow and shrink with the index, and keep their numbers.

Three things hold after every change, whatever came before it:

1. No two keepers match each other.
2. Every other text matches its cluster's keeper directly, and no other keeper better (ties: the earlier, or where it is).
3. A cluster keeps its number as long as it lives, and no number is used twice.

So while texts are only added the clusters are those of `textsiam.matching.clustering.cluster` over all of them in order of
arrival. When a keeper is removed, the best of its members that matches no other keeper takes its place. The others stay if they
match it, join another keeper that they match, or become clusters of their own. A cluster of which all members match other keepers
ends: it is recorded as merged into the one that its best member joined.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from textsiam.indexing.ledger import Ledger
from textsiam.matching.matches import Found

Rows = Int[np.ndarray, " _"]
Near = Sequence[tuple[int, float]]  # the rows that match a row, with their scores
Placed = tuple[int, float | None]  # cluster, score to its keeper; a keeper has none


class Groups:
    """The clusters of the rows that one change touches; `placed` are those it changed."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.placed: dict[int, Placed] = {}
        self._known: dict[int, Placed] = {}
        self._n_clusters = ledger.n_clusters

    def know(self, rows: Iterable[int]) -> None:
        """Look up where these rows are, if they are anywhere."""
        unknown = sorted(set(rows) - self._known.keys())
        self._known.update(self.ledger.placed(unknown))

    def arrive(self, row: int, near: Near, inherited: int | None = None) -> int:
        """Place a row among those that match it and were placed before; its cluster.

        It joins the best keeper. Where no keeper matches, it becomes one, of the cluster `inherited` or of a new one, and takes
        the rows that match it better than their keeper.
        """
        keepers = [(-score, other) for other, score in near if self._known.get(other, (0, 0.0))[1] is None]
        if keepers:
            score, keeper = min(keepers)
            self._put(row, (self._known[keeper][0], -score))
            return self._known[row][0]
        cluster = self._new() if inherited is None else inherited
        self._put(row, (cluster, None))
        for other, score in near:
            own = self._known.get(other)
            if own is not None and own[1] is not None and score > own[1]:
                self._put(other, (cluster, score))
        return cluster

    def cluster_of(self, row: int) -> int:
        """The cluster of a row that was placed or looked up."""
        return self._known[row][0]

    def write(self) -> None:
        """Tell the ledger where rows that it knows were placed, and which cluster numbers are taken."""
        self.ledger.place(self.placed.items())
        self.ledger.count_clusters(self._n_clusters)

    def _put(self, row: int, placed: Placed) -> None:
        self._known[row] = self.placed[row] = placed

    def _new(self) -> int:
        self._n_clusters += 1
        return self._n_clusters - 1


def neighbours(found: Found, n: int) -> Iterator[tuple[int, Near]]:
    """For each of `n` queries, in order, what was found near it."""
    i, j, scores = found
    starts = np.searchsorted(i, np.arange(n + 1)).tolist()
    rows, values = j.tolist(), scores.tolist()
    for number, (start, stop) in enumerate(pairwise(starts)):
        yield number, list(zip(rows[start:stop], values[start:stop], strict=True))
