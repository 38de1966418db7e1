"""One change of an index: rows leave, rows arrive, each is compared with all that are there, clusters follow.

All of it in one transaction of the store.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from textsiam.arrays import Found, Rows
from textsiam.errors import TooManyMatches
from textsiam.indexing.changes.clusters import Groups, Near, neighbours
from textsiam.indexing.storage.ledger import Item
from textsiam.indexing.storage.store import Store
from textsiam.matching.join.exact import threshold_join
from textsiam.matching.rule import Rule

_FEW = 256  # rows whose matches are found at once: each may match all others


class Arrival(NamedTuple):
    """A text on its way in."""

    id: str
    hash: int
    text: str | None


def change(
    store: Store, rule: Rule, gone: Rows, arrivals: Sequence[Arrival], vectors: Float[np.ndarray, "n dim"]
) -> Found:
    """Remove the rows `gone`, then add the arrivals in order.

    Returns
    -------
    found
        Number of the arrival, row and score of every match with what was there before it, ordered by arrival and row.

    Raises
    ------
    TooManyMatches
        If they are more than allowed. Nothing is changed then, nor after any other error: the transaction is the caller's.
    """
    groups = Groups(store.ledger)
    if len(gone):
        _leave(store, rule, groups, gone)
    found = _matches(store, rule, vectors)
    groups.know(found[1].tolist())
    first = store.ledger.n_rows
    for number, near in neighbours(found, len(arrivals)):
        groups.arrive(first + number, near)
    store.append(vectors)
    store.ledger.insert(
        Item(first + number, *arrival, checksum, *groups.placed.pop(first + number))
        for number, (arrival, checksum) in enumerate(zip(arrivals, store.summed(vectors), strict=True))
    )
    store.ledger.count(first + len(arrivals))
    groups.write()
    return found


def _matches(store: Store, rule: Rule, vectors: Float[np.ndarray, "n dim"]) -> Found:
    """Every match of an arrival with a row that is there or with an earlier arrival."""
    i, j, scores = store.find(vectors, rule.threshold, rule.max_matches)
    if len(vectors) < 2:  # noqa: PLR2004  one has nothing beside it
        return i, j, scores
    own = threshold_join(vectors, threshold=rule.threshold, similarity=rule.similarity, max_matches=rule.max_matches)
    if len(own) + len(i) > rule.max_matches:
        raise TooManyMatches(
            f"More than {rule.max_matches:,} pairs reach {rule.threshold:g}. Allow more (max_matches=)."
        )
    number, row = np.concatenate([i, own.right]), np.concatenate([j, own.left + store.ledger.n_rows])
    order = np.lexsort((row, number))
    return number[order], row[order], np.concatenate([scores, own.score])[order]


def _leave(store: Store, rule: Rule, groups: Groups, gone: Rows) -> None:
    """Remove rows, and place anew those whose keeper is among them, the best first."""
    ledger, leaving = store.ledger, set(gone.tolist())
    ended = sorted({item.cluster for item in ledger.items("row", gone.tolist()) if item.score is None})
    orphans = [item for item in ledger.items("cluster", ended) if item.row not in leaving]
    orphans.sort(key=lambda item: (item.cluster, -(item.score or 0.0), item.row))
    rows = np.array([item.row for item in orphans], dtype=np.int64)
    ledger.delete(gone.tolist())
    store.drop(gone)
    alone = set(ended)  # clusters that nobody inherited
    bests: dict[int, int] = {}
    waiting = set(rows.tolist())
    for item, near in zip(orphans, _near(store, rule, rows), strict=True):
        groups.know({other for other, _ in near} - waiting)
        waiting.discard(item.row)
        bests.setdefault(item.cluster, item.row)
        groups.arrive(item.row, near, item.cluster if item.cluster in alone else None)
        if groups.placed[item.row] == (item.cluster, None):
            alone.discard(item.cluster)
    for cluster, row in bests.items():
        if cluster in alone:
            ledger.merge(cluster, groups.cluster_of(row))


def _near(store: Store, rule: Rule, rows: Rows) -> Iterator[Near]:
    """What matches each of these rows, however much that is: a few of them at a time."""
    for start in range(0, len(rows), _FEW):
        some = rows[start : start + _FEW]
        found = store.find(store.vectors(some), rule.threshold, sys.maxsize)
        yield from (near for _, near in neighbours(found, len(some)))
