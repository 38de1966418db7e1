"""Leak-free parts of pairs: no text, no normalised text and no chain of positives is in two parts.

A random split of pairs leaks: a question of a test pair is in a training pair too, or a chain of duplicates leads to one. Here
`textsiam.data.linking` joins the texts that must stay together into components, and each component goes to one part as a
whole. Negatives join nothing, because with them one component might hold everything. A row whose texts are in two parts is
dropped and counted; no other row is lost.

Parts get the sizes and label proportions that the caller asks for, with few dropped rows. Components that rows connect stay
together where they fit. A larger group is cut between components along its reverse Cuthill-McKee order (Cuthill & McKee 1969),
which few rows cross. A component is never cut, even if it is larger than its part should be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from textsiam.data.linking import Examples, Linked, Links, Places, dependence, graph_of, kinds_of, link
from textsiam.data.readers import read_examples

Columns = Int[np.ndarray, "n width"]  # (rows, texts per row): the component, or the side, of each text
Kinds = Int[np.ndarray, " n"]  # the kind of each row
OfKind = Float[np.ndarray, "n kinds"]  # 1 for each row's own kind
Counts = Float[np.ndarray, "sides kinds"]  # numbers of rows

SHARES = (0.8, 0.1, 0.1)
DROPPED = -1
# A group of components up to this share of the smallest side goes to one side as a whole. A larger one is cut.
WHOLE_SHARE = 0.5
N_TURNS = 10


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts of one table of pairs that share no text, no normalised text and no chain of positives.

    Parameters
    ----------
    train, calibration, test
        Pairs or triplets, like the input: `train` to fit, `calibration` to calibrate and certify, `test` to report.
    report
        Plain values: rows and share of positives of each part, dropped rows, components, the score that links, and what
        a random split with the same shares would leak.

    Examples
    --------
    >>> from textsiam import read_pairs, split
    >>> from textsiam.samples import PAIRS
    >>> parts = split(read_pairs(PAIRS), seed=0)
    >>> len(parts.train) > len(parts.test) > 0, parts.report["seed"]
    (True, 0)
    """

    train: Any
    calibration: Any
    test: Any
    report: dict[str, Any]

    def __str__(self) -> str:
        parts = [
            f"{name} {part['rows']:,}" + (f" ({part['positive']:.0%} positive)" if part["positive"] is not None else "")
            for name, part in self.report["parts"].items()
        ]
        leak = self.report["random_split_leaks"]
        return (
            f"{', '.join(parts)}; {self.report['dropped']:,} rows between two parts dropped; "
            f"{self.report['components']:,} components, the largest of {self.report['largest_component']:,} texts. "
            f"A random split would have shared a text with train in {leak['shares_a_text']:.0%} of its test rows, "
            f"a chain of positives in {leak['shares_a_component']:.0%}."
        )


def split(
    pairs: Any,
    *,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    links: Links = (),
    link_score: float | None = None,
) -> Split:
    """Leak-free train, calibration and test parts with equal proportions of labels.

    Parameters
    ----------
    pairs
        Triplets, or pairs with labels, with scores, or with neither (then all are positives); or any source for `read_pairs`.
    seed
        The same pairs and seed give the same parts.
    shares
        Shares of the rows for train, calibration and test; they sum to 1. Components are never cut, so sizes are approximate.
    links
        Pairs of texts that must stay in one part, such as texts of one document or topic.
    link_score
        Graded pairs with this score or more link their texts. Default: 80 % of the way from the lowest to the highest score.
        If there are labels, they decide instead.

    Returns
    -------
    parts
        With ``.train``, ``.calibration``, ``.test`` and ``.report``. Rows keep their order and row numbers. With few components
        a part may be empty.

    Raises
    ------
    ValueError
        If the shares are not three numbers from 0 to 1 that sum to 1, the seed is negative, or a link is not two texts.
    UnreadableInput
        If the pairs cannot be read.

    Examples
    --------
    >>> from textsiam import Pairs, split
    >>> pairs = Pairs(["a", "A ", "c", "x"], ["b", "z", "d", "y"], labels=[1, 1, 1, 0])
    >>> parts = split(pairs, shares=(0.5, 0.25, 0.25))
    >>> sorted(len(part) for part in (parts.train, parts.calibration, parts.test))  # a, A, b and z stay together
    [1, 1, 2]
    """
    shares = checked_shares(shares)
    check_seed(seed)
    pairs = read_examples(pairs)
    graph = link([pairs], links=links, link_score=link_score)
    kinds = kinds_of(pairs, graph.link_score)
    sides = assign(graph.columns[0], kinds, shares, seed)
    parts = {name: np.flatnonzero(sides == side) for side, name in enumerate(("train", "calibration", "test"))}
    # Texts that are only in `links` are not texts of the pairs.
    sizes = np.unique(graph.component[np.unique(graph.texts[0])], return_counts=True)[1]
    report = {
        "seed": seed,
        "rows": len(pairs),
        "parts": {
            name: {"rows": len(rows), "positive": float(kinds[rows].mean()) if len(rows) else None}
            for name, rows in parts.items()
        },
        "dropped": int((sides == DROPPED).sum()),
        "components": len(sizes),
        "largest_component": int(sizes.max(initial=0)),
        "link_score": graph.link_score,
        "random_split_leaks": leaks(graph, shares, seed),
    }
    train, calibration, test = (pairs.take(rows) for rows in parts.values())
    return Split(train, calibration, test, report)


def folds(
    pairs: Any, k: int = 5, *, seed: int = 0, links: Links = (), link_score: float | None = None
) -> list[tuple[Any, Any]]:
    """`k` leak-free pairs of (train, test). Each row is in at most one test part, and in the other train parts if nothing leaks.

    Parameters
    ----------
    k
        Number of folds, at least 2.
    seed, links, link_score
        As for `split`.

    Raises
    ------
    ValueError
        If `k` is below 2, the seed is negative, or a link is not two texts.
    UnreadableInput
        If the pairs cannot be read.

    Examples
    --------
    >>> from textsiam import Pairs, folds
    >>> pairs = Pairs(["a", "c", "e"], ["b", "d", "f"], labels=[1, 1, 0])
    >>> [(len(train), len(test)) for train, test in folds(pairs, 3)]
    [(2, 1), (2, 1), (2, 1)]
    """
    check_folds(k)
    check_seed(seed)
    pairs = read_examples(pairs)
    graph = link([pairs], links=links, link_score=link_score)
    sides = sides_of(graph.columns[0], kinds_of(pairs, graph.link_score), [1 / k] * k, seed)
    made = []
    for fold in range(k):
        inside = sides == fold
        made.append((pairs.take(np.flatnonzero(~inside.any(1))), pairs.take(np.flatnonzero(inside.all(1)))))
    return made


def checked_shares(shares: Sequence[float], n: int = 3) -> tuple[float, ...]:
    """The shares, scaled to sum to 1 exactly. Raises `ValueError` unless they are `n` numbers from 0 to 1 that sum to 1."""
    if len(shares) != n or any(not 0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:  # noqa: PLR2004
        raise ValueError(f"Shares are {n} numbers from 0 to 1 that sum to 1, but got {tuple(shares)}. Correct them.")
    return tuple(share / sum(shares) for share in shares)


def check_folds(k: int) -> None:
    """Raise `ValueError` if `k` is below 2."""
    if k < 2:  # noqa: PLR2004
        raise ValueError(f"Cross-validation needs at least 2 folds, but got {k}. Give 2 or more.")


def check_seed(seed: int) -> None:
    """Raise `ValueError` unless the seed is a whole number from 0 to 2³² - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"A seed is a whole number from 0 to 4294967295, but got {seed!r}. Correct it.")


def carve(
    tables: Sequence[Examples], share: float, *, seed: int = 0, links: Links = (), link_score: float | None = None
) -> list[tuple[Any, Any]]:
    """Each table's (rest, carved part). No carved part shares a component with the rest of any table.

    Raises `ValueError` if the share is not from 0 to 1.
    """
    shares = checked_shares((1 - share, share), 2)
    graph = link(tables, links=links, link_score=link_score)
    width = max(columns.shape[1] for columns in graph.columns)
    # Narrower tables repeat their first column, which changes no component. Each table is stratified by itself.
    wide = [np.hstack([columns] + [columns[:, :1]] * (width - columns.shape[1])) for columns in graph.columns]
    kinds = [kinds_of(table, link_score) + 2 * place for place, table in enumerate(tables)]
    sides = assign(np.concatenate(wide), np.concatenate(kinds), shares, seed)
    ends = np.cumsum([len(table) for table in tables])[:-1]
    return [
        (table.take(np.flatnonzero(own == 0)), table.take(np.flatnonzero(own == 1)))
        for table, own in zip(tables, np.split(sides, ends), strict=True)
    ]


def without(tables: Sequence[Examples], others: Sequence[Examples], *, link_score: float | None = None) -> list[Any]:
    """The tables without the rows that share a component with any row of the others."""
    graph = link([*tables, *others], link_score=link_score)
    taken = np.concatenate([columns.ravel() for columns in graph.columns[len(tables) :]])
    return [
        table.take(np.flatnonzero(~np.isin(columns, taken).any(1)))
        for table, columns in zip(tables, graph.columns, strict=False)
    ]


def leaks(graph: Linked, shares: Sequence[float], seed: int) -> dict[str, float]:
    """The share of test rows that would have a text, or a component, in common with train after a random split of rows."""
    texts, columns = graph.texts[0], graph.columns[0]
    sides = np.random.default_rng(seed).choice(len(shares), size=len(texts), p=shares)
    train, test = sides == 0, sides == len(shares) - 1

    def shared(numbers: Columns) -> float:
        return float(np.isin(numbers[test], numbers[train]).any(1).mean()) if test.any() else 0.0

    return {"shares_a_text": shared(texts), "shares_a_component": shared(columns)}


def assign(columns: Columns, kinds: Kinds, shares: Sequence[float], seed: int) -> Int[np.ndarray, " n"]:
    """The side of each row, or -1 if its texts are on two sides."""
    sides = sides_of(columns, kinds, shares, seed)
    return np.where((sides == sides[:, :1]).all(1), sides[:, 0], DROPPED)


def sides_of(columns: Columns, kinds: Kinds, shares: Sequence[float], seed: int) -> Columns:
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
    rows: Float[np.ndarray, "m kinds"], filled: Counts, targets: Counts, rng: np.random.Generator
) -> Int[np.ndarray, " m"]:
    """Sides for whole groups, with rows of each kind as near to the targets as possible (least chi-square)."""
    filled, scale, shut = filled.copy(), np.where(targets > 0, targets, 1.0), targets.sum(1) == 0
    sides = np.empty(len(rows), dtype=np.int64)
    # Large groups first, while every side has room for them; groups of one size in random order.
    order = np.lexsort((rng.random(len(rows)), -np.floor(np.log2(np.maximum(rows.sum(1), 1)))))
    for n_left, place in zip(range(len(rows), 0, -1), order, strict=True):
        own = rows[place]
        cost = (own * (own + 2 * (filled - targets)) / scale).sum(1)
        empty = (filled.sum(1) == 0) & ~shut
        # The last groups go to empty sides, so that no part is empty if there are enough groups.
        cost[shut | (~empty if n_left <= empty.sum() else shut)] = np.inf
        sides[place] = chosen = int(np.argmin(cost))
        filled[chosen] += own
    return sides


def _cut(columns: Columns, of_kind: OfKind, shares: Sequence[float], rng: np.random.Generator) -> tuple[Places, Counts]:
    """Sides for the components of one large group, and the rows of each kind that each side keeps.

    Neighbours in an order of small bandwidth stay together. Several random orders of the sides are tried, because a component
    must not go to a side that is smaller than it. The one that keeps most rows and is nearest to the shares wins.
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


def _kept(sides: Columns, of_kind: OfKind, n_sides: int) -> Counts:
    """The number of rows of each kind that each side keeps."""
    whole = (sides == sides[:, :1]).all(1)
    kept = np.zeros((n_sides, of_kind.shape[1]))
    np.add.at(kept, sides[whole, 0], of_kind[whole])
    return kept


def _without_needless_loss(side: Places, columns: Columns) -> Places:
    """The sides, with components of no kept row moved to where they save a row from being dropped."""
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
