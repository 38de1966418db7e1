"""All clusters of an index anew, after its vectors changed: where nothing changed, they come out as they were."""

import numpy as np

from textsiam.indexing.changing import Rule
from textsiam.indexing.grouping import Groups, neighbours
from textsiam.indexing.opened import rows_of
from textsiam.indexing.store import Store
from textsiam.matching.exact import threshold_join


def regroup(store: Store, rule: Rule) -> list[str]:
    """Place every text anew, those first that are keepers now; the ids of those that were elsewhere.

    A keeper keeps its cluster's number unless it matches an earlier keeper: then its cluster is merged into that one's.
    """
    items = sorted(store.ledger.all_items(), key=lambda item: (item.score is not None, item.row))
    vectors = store.vectors(rows_of(items))
    pairs = threshold_join(vectors, threshold=rule.threshold, similarity=rule.similarity, max_matches=rule.max_matches)
    order = np.lexsort((pairs.left, pairs.right))
    found = pairs.right[order], pairs.left[order], pairs.score[order]
    groups = Groups(store.ledger)
    merged = []
    for number, near in neighbours(found, len(items)):
        item = items[number]
        rows = [(items[other].row, score) for other, score in near]
        cluster = groups.arrive(item.row, rows, item.cluster if item.score is None else None)
        if item.score is None and cluster != item.cluster:
            merged.append(item)
    changed = [item for item in items if groups.placed[item.row] != (item.cluster, item.score)]
    groups.placed = {item.row: groups.placed[item.row] for item in changed}
    groups.write()
    for item in merged:
        store.ledger.merge(item.cluster, groups.cluster_of(item.row))
    return [item.id for item in changed]
