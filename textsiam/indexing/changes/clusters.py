"""Clusters that grow and shrink with the index, and keep their numbers.

Three things hold after every change, whatever came before it:

1. No two keepers match each other.
2. Every other text matches its cluster's keeper directly, and no other keeper better (ties: the earlier, or where it is).
3. A cluster keeps its number as long as it lives, and no number is used twice.

So while texts are only added the clusters are those of `textsiam.matching.matches.cluster` over all of them in order of
arrival. When a keeper is removed, the best of its members that matches no other keeper takes its place. The others stay if they
match it, join another keeper that they match, or become clusters of their own. A cluster of which all members match other keepers
ends: it is recorded as merged into the one that its best member joined.

All clusters of an index anew, after its vectors changed: where nothing changed, they come out as they were.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from textsiam.arrays import Found
from textsiam.indexing.storage.ledger import Item, Ledger, rows_of
from textsiam.indexing.storage.store import Store
from textsiam.matching.join.exact import threshold_join
from textsiam.matching.rule import Rule

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


_N_AT_ONCE = 16_384


def regroup(store: Store, rule: Rule, *, write: bool = True) -> list[str]:
    """Place every text anew, those first that are keepers now; the ids of those that were elsewhere.

    A keeper keeps its cluster's number unless it matches an earlier keeper: then its cluster is merged into that one's. Where a
    keeper is gone, the best of its members that matches no other keeper follows it, as after a removal.

    Parameters
    ----------
    write
        False: only look.
    """
    return _Regrouping(store, rule).run(write=write)


class _Regrouping:
    """Keepers are compared with each other, and all others with keepers alone: that is all that clusters depend on."""

    def __init__(self, store: Store, rule: Rule) -> None:
        self.store, self.rule = store, rule
        items = list(store.ledger.all_items())
        kept = {item.cluster for item in items if item.score is None}
        self.keepers = [item for item in items if item.score is None]
        self.own = {item.cluster: item.row for item in self.keepers}
        members = [item for item in items if item.score is not None and item.cluster in kept]
        lost = [item for item in items if item.cluster not in kept]
        lost.sort(key=lambda item: (item.cluster, -(item.score or 0.0), item.row))
        self.others = [*members, *lost]
        self.without = {item.cluster for item in lost}  # clusters without a keeper
        self.merged: dict[int, int] = {}  # cluster → a row whose cluster it is part of now
        self.groups = Groups(store.ledger)

    def run(self, *, write: bool) -> list[str]:
        self._place_keepers()
        self._place_others()
        placed = self.groups.placed
        changed = [item for item in (*self.keepers, *self.others) if placed[item.row] != (item.cluster, item.score)]
        if write:
            self.groups.placed = {item.row: placed[item.row] for item in changed}
            self.groups.write()
            for cluster, row in self.merged.items():
                self.store.ledger.merge(cluster, self.groups.cluster_of(row))
        return [item.id for item in changed]

    def _place_keepers(self) -> None:
        vectors = self.store.vectors(rows_of(self.keepers))
        pairs = threshold_join(
            vectors, threshold=self.rule.threshold, similarity=self.rule.similarity, max_matches=sys.maxsize
        )
        order = np.lexsort((pairs.left, pairs.right))
        found = pairs.right[order], pairs.left[order], pairs.score[order]
        taken: set[int] = set()
        for (_, near), item in zip(neighbours(found, len(self.keepers)), self.keepers, strict=True):
            rows = [(self.keepers[other].row, score) for other, score in near]
            # Two keepers of one cluster are damage: the second gets a number of its own.
            self.groups.arrive(item.row, rows, None if item.cluster in taken else item.cluster)
            taken.add(item.cluster)
            if self.groups.placed[item.row][1] is not None:
                self.merged[item.cluster] = item.row

    def _place_others(self) -> None:
        new: dict[int, list[tuple[int, float]]] = defaultdict(list)  # row → keepers that were none before
        firsts: dict[int, int] = {}
        for item, vector, near in self._near_keepers():
            firsts.setdefault(item.cluster, item.row)
            if keepers := [*near, *new.pop(item.row, [])]:
                self.groups.arrive(item.row, self._best(item, keepers))
                continue
            inherited = item.cluster if item.cluster in self.without else None
            self.without.discard(item.cluster)
            all_near = self._near(vector)
            self.groups.arrive(
                item.row, [(row, score) for row, score in all_near if row in self.groups.placed], inherited
            )
            for row, score in all_near:
                if row not in self.groups.placed:
                    new[row].append((item.row, score))
        self.merged |= {cluster: firsts[cluster] for cluster in self.without}

    def _best(self, item: Item, keepers: Near) -> Near:
        """Of keepers that are equally near the one where it is, if it is there."""
        best = max(score for _, score in keepers)
        own = [(row, score) for row, score in keepers if row == self.own.get(item.cluster) and score == best]
        return own or keepers

    def _near_keepers(self) -> Iterator[tuple[Item, Float[np.ndarray, " dim"], Near]]:
        """Each of the others with the keepers that it matches."""
        now = [item for item in self.keepers if self.groups.placed[item.row][1] is None]
        keepers = self.store.vectors(rows_of(now))
        for start in range(0, len(self.others), _N_AT_ONCE):
            block = self.others[start : start + _N_AT_ONCE]
            vectors = self.store.vectors(rows_of(block))
            pairs = threshold_join(
                vectors,
                keepers,
                threshold=self.rule.threshold,
                similarity=self.rule.similarity,
                max_matches=sys.maxsize,
            )
            found = pairs.left, pairs.right, pairs.score
            for (number, near), item in zip(neighbours(found, len(block)), block, strict=True):
                yield item, vectors[number], [(now[other].row, score) for other, score in near]

    def _near(self, vector: Float[np.ndarray, " dim"]) -> Sequence[tuple[int, float]]:
        _, rows, scores = self.store.find(vector[None], self.rule.threshold, sys.maxsize)
        return list(zip(rows.tolist(), scores.tolist(), strict=True))
