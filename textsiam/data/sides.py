"""Which side each component goes to: sizes and labels as asked, few pairs between two sides, no component cut.

Components that pairs connect are kept together where they fit, and a group too large for that is cut along its reverse
Cuthill-McKee order (Cuthill & McKee 1969), which has few pairs across any cut. A component too large for its side is taken as
it is: sizes give way, the promise does not.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from textsiam.data.linking import Places, dependence, graph_of

DROPPED = -1
# A group of components goes to one side as a whole up to this share of the smallest side, and is cut beyond it.
WHOLE_SHARE = 0.5
N_TURNS = 10


def assign(
    columns: Int[np.ndarray, "n width"], kinds: Int[np.ndarray, " n"], shares: Sequence[float], seed: int
) -> Int[np.ndarray, " n"]:
    """The side of each row, -1 for a row between two sides."""
    sides = sides_of(columns, kinds, shares, seed)
    return np.where((sides == sides[:, :1]).all(1), sides[:, 0], DROPPED)


def sides_of(
    columns: Int[np.ndarray, "n width"], kinds: Int[np.ndarray, " n"], shares: Sequence[float], seed: int
) -> Int[np.ndarray, "n width"]:
    """The side of each text of each row."""
    rng = np.random.default_rng(seed)
    used, inverse = np.unique(columns, return_inverse=True)
    columns, of_kind = inverse.reshape(columns.shape), np.eye(int(kinds.max(initial=0)) + 1)[kinds]
    group = dependence(columns)  # of each row
    n_groups = int(group.max(initial=-1)) + 1
    group_of = np.empty(len(used), dtype=np.int64)  # of each component
    group_of[columns] = group[:, None]
    rows = np.zeros((n_groups, of_kind.shape[1]))
    np.add.at(rows, group, of_kind)
    side = np.empty(len(used), dtype=np.int64)
    filled = np.zeros((len(shares), of_kind.shape[1]))
    limit = max(1.0, WHOLE_SHARE * len(columns) * min(share for share in shares if share > 0))
    large = (np.bincount(group_of, minlength=n_groups) > 1) & (rows.sum(1) > limit)
    for place in np.flatnonzero(large):
        members, own = np.flatnonzero(group_of == place), group == place
        side[members], kept = _cut(np.searchsorted(members, columns[own]), of_kind[own], shares, rng)
        filled += kept
    of_group = _fill(rows[~large], filled, np.outer(shares, of_kind.sum(0)), rng)
    whole = ~large[group_of]
    side[whole] = of_group[(np.cumsum(~large) - 1)[group_of[whole]]]
    return np.asarray(side[columns])


def _fill(
    rows: Float[np.ndarray, "m kinds"],
    filled: Float[np.ndarray, "sides kinds"],
    targets: Float[np.ndarray, "sides kinds"],
    rng: np.random.Generator,
) -> Int[np.ndarray, " m"]:
    """Sides for whole groups, so that the rows of each kind come nearest to the targets (least chi-square)."""
    filled, scale, shut = filled.copy(), np.where(targets > 0, targets, 1.0), targets.sum(1) == 0
    sides = np.empty(len(rows), dtype=np.int64)
    # Large groups first, while every side has room for them; within a size in random order.
    order = np.lexsort((rng.random(len(rows)), -np.floor(np.log2(np.maximum(rows.sum(1), 1)))))
    for n_left, place in zip(range(len(rows), 0, -1), order, strict=True):
        own = rows[place]
        cost = (own * (own + 2 * (filled - targets)) / scale).sum(1)
        empty = (filled.sum(1) == 0) & ~shut
        # The last groups go where nothing is: no part stays empty if there are groups enough.
        cost[shut | (~empty if n_left <= empty.sum() else shut)] = np.inf
        sides[place] = chosen = int(np.argmin(cost))
        filled[chosen] += own
    return sides


def _cut(
    columns: Int[np.ndarray, "n width"],
    of_kind: Float[np.ndarray, "n kinds"],
    shares: Sequence[float],
    rng: np.random.Generator,
) -> tuple[Places, Float[np.ndarray, "sides kinds"]]:
    """Sides for the components of one large group, and the rows of each kind that each side keeps.

    Neighbours in an order of small bandwidth stay together. Of a few turns of the sides along that order the one is taken
    that keeps most rows and meets the shares best: a component larger than a small side must not fall to that side.
    """
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    shuffled = rng.permutation(int(columns.max()) + 1)
    order = np.argsort(shuffled)[reverse_cuthill_mckee(graph_of(shuffled[columns], len(shuffled)), symmetric_mode=True)]
    weights = np.bincount(columns[:, 0], minlength=len(order))[order]
    middle = (np.cumsum(weights) - weights / 2) / len(columns)
    wanted, opened = np.outer(shares, of_kind.sum(0)), np.flatnonzero(np.asarray(shares) > 0)
    best, least = np.zeros(len(order), dtype=np.int64), np.inf
    for _ in range(N_TURNS):
        turned = rng.permutation(opened)
        sides = np.empty(len(order), dtype=np.int64)
        sides[order] = turned[np.searchsorted(np.cumsum(np.asarray(shares)[turned])[:-1], middle, side="right")]
        missed = np.abs(_kept(sides[columns], of_kind, len(shares)) - wanted).sum()
        best, least = (sides, missed) if missed < least else (best, least)
    best = _without_needless_loss(best, columns)
    return best, _kept(best[columns], of_kind, len(shares))


def _kept(
    sides: Int[np.ndarray, "n width"], of_kind: Float[np.ndarray, "n kinds"], n_sides: int
) -> Float[np.ndarray, "_ kinds"]:
    """The rows of each kind that each side keeps."""
    whole = (sides == sides[:, :1]).all(1)
    kept = np.zeros((n_sides, of_kind.shape[1]))
    np.add.at(kept, sides[whole, 0], of_kind[whole])
    return kept


def _without_needless_loss(side: Places, columns: Int[np.ndarray, "n width"]) -> Places:
    """The sides, but components that no kept row holds follow a row that would be dropped for their sake."""
    side, of_rows = side.copy(), side[columns]
    kept = (of_rows == of_rows[:, :1]).all(1)
    settled = np.zeros(len(side), dtype=bool)
    settled[columns[kept]] = True
    for row in np.flatnonzero(~kept):
        own = columns[row]
        held = set(side[own[settled[own]]].tolist()) or {int(side[own[0]])}
        if len(held) == 1:
            side[own], settled[own] = held.pop(), True
    return side
