"""Changes of an index: rows leave, rows arrive, and clusters follow, keeping their numbers. All of it in one transaction.

Three things hold after every change, in whatever order changes are made:

1. No two keepers match each other.
2. Every other text matches its cluster's keeper directly, and no other keeper better (ties: the earlier, or where it is).
3. A cluster keeps its number as long as it exists, and no number is used twice.

So while texts are only added the clusters are those of `textsiam.matching.matches.cluster` over all of them in order of arrival.
When a keeper is removed, the best of its members that matches no other keeper takes its place. The others stay if they match it,
join another keeper that they match, or become clusters of their own. A cluster whose members all match other keepers ends: it is
recorded as merged into the one that its best member joined.

After the vectors themselves changed, `regroup` makes all clusters again; where nothing changed, they come out as they were.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from textsiam.arrays import Found, Rows, Vectors
from textsiam.indexing.search.scan import among
from textsiam.indexing.storage.ledger import Item, Ledger, rows_of
from textsiam.indexing.storage.store import Store
from textsiam.matching.deciding import Decide
from textsiam.matching.join.tiles import Allowed, ordered
from textsiam.matching.rule import Rule
from textsiam.scoring.scorer import Judgement
from textsiam.scoring.thresholds import ACCEPT

_FEW = 256  # rows whose matches are found at once: each may match all others
_N_AT_ONCE = 16_384

Near = Sequence[tuple[int, float]]  # the rows that match a row, with their scores
Placed = tuple[int, float | None]  # cluster, score to its keeper; a keeper has none


class Groups:
    """The clusters of the rows that one change affects; `placed` are the rows it moved."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.placed: dict[int, Placed] = {}
        self._known: dict[int, Placed] = {}
        self._n_clusters = ledger.state.n_clusters

    def know(self, items: Iterable[Item]) -> None:
        """Take in where these rows are, but for rows that it knows already."""
        for item in items:
            self._known.setdefault(item.row, (item.cluster, item.score))

    def unknown(self, rows: set[int]) -> list[int]:
        """Those of these rows that it does not know."""
        return sorted(rows - self._known.keys())

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

    def write(self, n_rows: int | None = None) -> None:
        """Write into the ledger where its rows were placed, which cluster numbers are taken, and how many rows there are now."""
        if self.placed:
            self.ledger.place(self.placed.items())
        self.ledger.count(n_rows=n_rows, n_clusters=self._n_clusters)

    def _put(self, row: int, placed: Placed) -> None:
        self._known[row] = self.placed[row] = placed

    def _new(self) -> int:
        self._n_clusters += 1
        return self._n_clusters - 1


def neighbours(found: Found, n: int) -> Iterator[Near]:
    """For each of `n` queries, in order, what was found near it."""
    i, j, scores = found
    starts = np.searchsorted(i, np.arange(n + 1)).tolist()
    rows, values = j.tolist(), scores.tolist()
    return (list(zip(rows[start:stop], values[start:stop], strict=True)) for start, stop in pairwise(starts))


class Arrival(NamedTuple):
    """A text on its way in."""

    id: str
    hash: int
    text: str | None


def change(
    store: Store,
    rule: Rule,
    gone: Sequence[Item],
    arrivals: Sequence[Arrival],
    vectors: Float[np.ndarray, "n dim"],
    decide: Decide | None = None,
) -> tuple[Found, list[Item], Judgement | None]:
    """Remove the items `gone`, then add the arrivals in order.

    Returns
    -------
    found
        Number of the arrival, row and score of every match with what was there before it, ordered by arrival and row.
    items
        The rows found, in order.
    judgement
        What `decide` said of the matches; clusters are made of what it accepts. None: the score alone decides.

    Raises
    ------
    TooManyMatches
        If they are more than allowed. Nothing is changed then, nor after any other error: the transaction is the caller's.
    """
    groups, first = Groups(store.ledger), store.ledger.state.n_rows
    if gone:
        _remove(store, rule.unlimited(), groups, gone, decide)
    found, judgement = _matches(store, rule, vectors), None
    matching = found
    if decide:
        texts = _texts_of(store, found[1][found[1] < first]) | {
            first + number: arrival.text for number, arrival in enumerate(arrivals)
        }
        kept, judgement = decide(found[2], *_sides(texts, found[0] + first, found[1]))
        found = found[0][kept], found[1][kept], judgement.score
        accepted = judgement.decision == ACCEPT
        matching = found[0][accepted], found[1][accepted], found[2][accepted]
    rows = np.unique(found[1])
    items = store.ledger.items("row", rows[rows < first].tolist())
    groups.know(items)
    for row, near in enumerate(neighbours(matching, len(arrivals)), first):
        groups.arrive(row, near)
    store.view.append(first, vectors)
    new = [
        Item(first + number, *arrival, checksum, *groups.placed.pop(first + number))
        for number, (arrival, checksum) in enumerate(zip(arrivals, store.view.summed(vectors), strict=True))
    ]
    store.ledger.insert(new)
    groups.write(first + len(arrivals))
    return found, items + [new[row - first] for row in rows[rows >= first].tolist()], judgement


def _texts_of(store: Store, rows: Rows) -> dict[int, str | None]:
    return {item.row: item.text for item in store.ledger.items("row", np.unique(rows).tolist())}


def _sides(texts: Mapping[int, str | None], left: Rows, right: Rows) -> tuple[list[str | None], list[str | None]]:
    return [texts[row] for row in left.tolist()], [texts[row] for row in right.tolist()]


def _accepted(store: Store, left: Rows, right: Rows, found: Found, decide: Decide | None) -> Found:
    """What was found between the rows `left` and `right`, without what is not accepted."""
    if decide is None:
        return found
    kept, judgement = decide(found[2], *_sides(_texts_of(store, np.concatenate([left, right])), left, right))
    accepted = kept[judgement.decision == ACCEPT]
    return found[0][accepted], found[1][accepted], found[2][accepted]


def _matches(store: Store, rule: Rule, vectors: Vectors) -> Found:
    """Every match of an arrival with a row that is there or with an earlier arrival."""
    i, j, scores = store.view.find(vectors, rule)
    left, right, own_scores = among(vectors, rule)
    Allowed(rule.max_matches, rule.threshold).take(len(left) + len(i))
    return ordered([(i, j, scores), (right, left + store.ledger.state.n_rows, own_scores)])


def _remove(store: Store, rule: Rule, groups: Groups, gone: Sequence[Item], decide: Decide | None) -> None:
    """Remove items, and place again those whose keeper is among them, the best first."""
    ledger, leaving = store.ledger, {item.row for item in gone}
    ended = sorted({item.cluster for item in gone if item.score is None})
    orphans = [item for item in ledger.items("cluster", ended) if item.row not in leaving]
    orphans.sort(key=lambda item: (item.cluster, -(item.score or 0.0), item.row))
    ledger.delete(sorted(leaving))
    store.drop(rows_of(gone))
    alone = set(ended)  # clusters without an heir
    bests: dict[int, int] = {}
    waiting = {item.row for item in orphans}
    for item, near in zip(orphans, _near(store, rule, rows_of(orphans), decide), strict=True):
        groups.know(ledger.items("row", groups.unknown({other for other, _ in near} - waiting)))
        waiting.discard(item.row)
        bests.setdefault(item.cluster, item.row)
        groups.arrive(item.row, near, item.cluster if item.cluster in alone else None)
        if groups.placed[item.row] == (item.cluster, None):
            alone.discard(item.cluster)
    for cluster, row in bests.items():
        if cluster in alone:
            ledger.merge(cluster, groups.cluster_of(row))


def _near(store: Store, rule: Rule, rows: Rows, decide: Decide | None) -> Iterator[Near]:
    """What matches each of these rows, without a limit, a few rows at a time."""
    for start in range(0, len(rows), _FEW):
        some = rows[start : start + _FEW]
        found = store.view.find(store.view.vectors(some), rule)
        yield from neighbours(_accepted(store, some[found[0]], found[1], found, decide), len(some))


def regroup(store: Store, rule: Rule, decide: Decide | None = None, *, write: bool = True) -> list[str]:
    """Place every text again, present keepers first; returns the ids of those that were elsewhere.

    A keeper keeps its cluster's number unless it matches an earlier keeper: then its cluster is merged into that one's. Where a
    keeper is missing, the best of its members that matches no other keeper follows it, as after a removal. With ``write=False``
    it only looks.
    """
    return _Regrouping(store, rule, decide).run(write=write)


class _Regrouping:
    """Compares keepers with each other, and all other texts with keepers only: clusters depend on nothing else."""

    def __init__(self, store: Store, rule: Rule, decide: Decide | None) -> None:
        self.store, self.rule, self.decide = store, rule.unlimited(), decide
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
        rows = rows_of(self.keepers)
        found = self.rule.join(self.store.view.vectors(rows))
        left, right, scores = _accepted(self.store, rows[found[0]], rows[found[1]], found, self.decide)
        found = ordered([(right, left, scores)])
        taken: set[int] = set()
        for near, item in zip(neighbours(found, len(self.keepers)), self.keepers, strict=True):
            matching = [(self.keepers[other].row, score) for other, score in near]
            # Two keepers of one cluster are damage: the second gets a number of its own.
            self.groups.arrive(item.row, matching, None if item.cluster in taken else item.cluster)
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
            found = self.store.view.find(vector[None], self.rule)
            own = np.full(len(found[0]), item.row)
            (all_near,) = neighbours(_accepted(self.store, own, found[1], found, self.decide), 1)
            self.groups.arrive(
                item.row, [(row, score) for row, score in all_near if row in self.groups.placed], inherited
            )
            for row, score in all_near:
                if row not in self.groups.placed:
                    new[row].append((item.row, score))
        self.merged |= {cluster: firsts[cluster] for cluster in self.without}

    def _best(self, item: Item, keepers: Near) -> Near:
        """Among equally near keepers its present one, if that is one of them; else all of them."""
        best = max(score for _, score in keepers)
        own = [(row, score) for row, score in keepers if row == self.own.get(item.cluster) and score == best]
        return own or keepers

    def _near_keepers(self) -> Iterator[tuple[Item, Float[np.ndarray, " dim"], Near]]:
        """Each of the others with the keepers that it matches."""
        now = [item for item in self.keepers if self.groups.placed[item.row][1] is None]
        keepers = self.store.view.vectors(rows_of(now))
        for start in range(0, len(self.others), _N_AT_ONCE):
            block = self.others[start : start + _N_AT_ONCE]
            vectors = self.store.view.vectors(rows_of(block))
            found = self.rule.join(vectors, keepers)
            left, right = rows_of(block)[found[0]], rows_of(now)[found[1]]
            found = _accepted(self.store, left, right, found, self.decide)
            for near, item, vector in zip(neighbours(found, len(block)), block, vectors, strict=True):
                yield item, vector, [(now[other].row, score) for other, score in near]
