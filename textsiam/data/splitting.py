"""Leak-free parts of labelled pairs: no text, no normalised text and no chain of positives stands on two sides.

A random split of pairs leaks: a question of a test pair stands in a training pair too, or is linked to one by a chain of
duplicates. Here texts that must stay together form components: equal after normalisation, a positive pair, a pair at or
above a stated score, or a link that the caller knows of. A component goes to one side as a whole. Negatives link nothing
(over all labelled pairs one component may hold everything), so a negative between two sides belongs to neither: it is
dropped and counted. To lose few of them, components that negatives connect are kept together where they fit, and a group
too large for that is cut along its reverse Cuthill-McKee order (Cuthill & McKee 1969), which has few pairs across any cut.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from textsiam.data.pairs import Pairs
from textsiam.data.texts import distinct, normalise
from textsiam.data.triplets import Triplets

Places = Int[np.ndarray, " _"]  # rows of a table of pairs, of any number
Links = Iterable[tuple[str, str]]
Examples = Pairs | Triplets

SHARES = (0.8, 0.1, 0.1)
# A graded pair links its texts from this share of the way between the lowest and the highest score: 4 of 0 to 5.
LINK_SHARE = 0.8
DROPPED = -1


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts of one table of pairs that share no text, no normalised text and no chain of positives.

    Parameters
    ----------
    train, calibration, test
        Pairs or triplets, as they came. `train` to fit, `calibration` to calibrate and certify, `test` to report.
    report
        Plain values: rows and share of positives of each part, rows dropped, components, the score that links, and what
        a random split of the same sizes would have leaked.

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
    report: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [
            f"{name} {told['rows']:,}" + (f" ({told['positive']:.0%} positive)" if told["positive"] is not None else "")
            for name, told in self.report["parts"].items()
        ]
        leak = self.report["random_split_leaks"]
        return (
            f"{', '.join(parts)}; {self.report['dropped']:,} rows between two parts dropped; "
            f"{self.report['components']:,} components, the largest of {self.report['largest_component']:,} texts. "
            f"A random split would have shared a text with train in {leak['shares_a_text']:.0%} of its test rows, "
            f"a chain of positives in {leak['shares_a_component']:.0%}."
        )


def split(
    pairs: Examples,
    *,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    links: Links = (),
    link_score: float | None = None,
) -> Split:
    """Leak-free train, calibration and test parts, the labels in equal proportion in each.

    Parameters
    ----------
    pairs
        Labelled, graded or bare pairs (all of them positives), or triplets.
    seed
        The same pairs and seed give the same parts.
    shares
        Of the rows, for train, calibration and test; they sum to 1. A component is never cut, so sizes are met as nearly
        as components allow.
    links
        Pairs of texts known to belong together (one document, one topic): never on two sides either.
    link_score
        Graded pairs link their texts at or above it. Default: 80 % of the way from the lowest to the highest score.

    Returns
    -------
    parts
        With ``.train``, ``.calibration``, ``.test`` and ``.report``. Rows keep their order and their row numbers. A part
        may be empty if there are fewer components than parts.

    Raises
    ------
    ValueError
        If the shares are not three numbers from 0 to 1 that sum to 1.

    Examples
    --------
    >>> from textsiam import Pairs, split
    >>> pairs = Pairs(["a", "A ", "c", "x"], ["b", "z", "d", "y"], labels=[1, 1, 1, 0])
    >>> parts = split(pairs, shares=(0.5, 0.25, 0.25))
    >>> sorted(len(part) for part in (parts.train, parts.calibration, parts.test))  # a, A, b and z stay together
    [1, 1, 2]
    """
    if len(shares) != 3 or any(not 0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:  # noqa: PLR2004
        raise ValueError(f"Shares are three numbers from 0 to 1 that sum to 1, but got {tuple(shares)}. Correct them.")
    graph = link([pairs], links=links, link_score=link_score)
    kinds = kinds_of(pairs, graph.link_score)
    sides = assign(graph.columns[0], kinds, shares, seed)
    parts = {name: np.flatnonzero(sides == side) for side, name in enumerate(("train", "calibration", "test"))}
    sizes = np.bincount(graph.component) if len(graph.component) else np.zeros(1, dtype=np.int64)
    report = {
        "seed": seed,
        "rows": len(pairs),
        "parts": {name: {"rows": len(rows), "positive": _positive(kinds[rows])} for name, rows in parts.items()},
        "dropped": int((sides == DROPPED).sum()),
        "components": len(sizes),
        "largest_component": int(sizes.max()),
        "link_score": graph.link_score,
        "random_split_leaks": leaks(graph, shares, seed),
    }
    train, calibration, test = (pairs.take(rows) for rows in parts.values())
    return Split(train, calibration, test, report)


def folds(
    pairs: Examples, k: int = 5, *, seed: int = 0, links: Links = (), link_score: float | None = None
) -> list[tuple[Any, Any]]:
    """`k` leak-free pairs of (train, test); every row is in at most one test part, and in train elsewhere if it may.

    Parameters
    ----------
    k
        Number of folds, at least 2.
    seed, links, link_score
        As for `split`.

    Raises
    ------
    ValueError
        If `k` is below 2.

    Examples
    --------
    >>> from textsiam import Pairs, folds
    >>> pairs = Pairs(["a", "c", "e"], ["b", "d", "f"], labels=[1, 1, 0])
    >>> [(len(train), len(test)) for train, test in folds(pairs, 3)]
    [(2, 1), (2, 1), (2, 1)]
    """
    if k < 2:  # noqa: PLR2004
        raise ValueError(f"Cross-validation needs at least 2 folds, but got {k}. Give 2 or more.")
    graph = link([pairs], links=links, link_score=link_score)
    sides = _sides(graph.columns[0], kinds_of(pairs, graph.link_score), [1 / k] * k, seed)
    made = []
    for fold in range(k):
        inside = sides == fold
        made.append((pairs.take(np.flatnonzero(~inside.any(1))), pairs.take(np.flatnonzero(inside.all(1)))))
    return made


@dataclass(frozen=True, eq=False)
class Linked:
    """Which texts belong together, over one or several tables.

    Parameters
    ----------
    columns
        For each table (rows, texts a row): the component of each text.
    texts
        For each table (rows, texts a row): the number of each text after normalisation.
    component
        (n,) the component of each distinct normalised text.
    link_score
        The score from which graded pairs were linked, or None.
    """

    columns: list[Int[np.ndarray, "_ _"]]
    texts: list[Int[np.ndarray, "_ _"]]
    component: Places
    link_score: float | None


def link(tables: Sequence[Examples], *, links: Links = (), link_score: float | None = None) -> Linked:
    """The components of the texts of all tables together: over positives, equal normalised texts and `links`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = [(normalise(a), normalise(b)) for a, b in links]
    flat = [normalise(text) for table in tables for column in columns_of(table) for text in column]
    names, places = distinct([*flat, *(text for pair in known for text in pair)])
    numbers, start = [], 0
    for table in tables:
        width = len(columns_of(table))
        numbers.append(places[start : start + width * len(table)].reshape(width, len(table)).T)
        start += width * len(table)
    edges = [places[start:].reshape(-1, 2)]
    lowest = None
    for table, rows in zip(tables, numbers, strict=True):
        lowest = _link_score(table, link_score) if getattr(table, "scores", None) is not None else lowest
        edges.append(rows[kinds_of(table, lowest) == 1][:, :2])
    left, right = np.concatenate(edges).T
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(len(names),) * 2)
    _, component = connected_components(graph, directed=False)
    component = component.astype(np.int64)
    return Linked([component[rows] for rows in numbers], numbers, component, lowest)


def dependence(columns: Int[np.ndarray, "n width"]) -> Places:
    """Which rows depend on each other: the number of each row's group, over all the components that rows share."""
    from scipy.sparse.csgraph import connected_components

    used, places = np.unique(columns, return_inverse=True)
    places = places.reshape(columns.shape)
    _, group = connected_components(_graph(places, len(used)), directed=False)
    return group[places[:, 0]].astype(np.int64)


def columns_of(table: Examples) -> tuple[Sequence[str], ...]:
    """The columns of texts; the first two mean the same where the row is a positive."""
    return table.columns if isinstance(table, Triplets) else (table.first, table.second)


def kinds_of(table: Examples, link_score: float | None) -> Int[np.ndarray, " n"]:
    """1 for rows whose first two texts mean the same, 0 for the others."""
    if isinstance(table, Triplets) or (table.labels is None and table.scores is None):
        return np.ones(len(table), dtype=np.int64)
    if table.labels is not None:
        return np.asarray(table.labels)
    return (np.asarray(table.scores) >= (_link_score(table, link_score) or 0.0)).astype(np.int64)


def assign(
    columns: Int[np.ndarray, "n width"], kinds: Int[np.ndarray, " n"], shares: Sequence[float], seed: int
) -> Int[np.ndarray, " n"]:
    """The side of each row, -1 for a row between two sides."""
    sides = _sides(columns, kinds, shares, seed)
    return np.where((sides == sides[:, :1]).all(1), sides[:, 0], DROPPED)


def carve(
    tables: Sequence[Examples], share: float, *, seed: int = 0, links: Links = (), link_score: float | None = None
) -> list[tuple[Any, Any]]:
    """Each table's (rest, carved part), so that no part carved shares a component with the rest of any table."""
    graph = link(tables, links=links, link_score=link_score)
    width = max(columns.shape[1] for columns in graph.columns)
    # Narrower tables repeat their first column, which changes no component; each table is stratified by itself.
    wide = [np.hstack([columns] + [columns[:, :1]] * (width - columns.shape[1])) for columns in graph.columns]
    kinds = [kinds_of(table, graph.link_score) + 2 * place for place, table in enumerate(tables)]
    sides = assign(np.concatenate(wide), np.concatenate(kinds), (1 - share, share), seed)
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
    """The share of test rows that a random split of rows would give a text, or a component, that train has too."""
    texts, columns = graph.texts[0], graph.columns[0]
    sides = np.random.default_rng(seed).choice(len(shares), size=len(texts), p=shares)
    train, test = sides == 0, sides == len(shares) - 1

    def shared(numbers: Int[np.ndarray, "n width"]) -> float:
        return float(np.isin(numbers[test], numbers[train]).any(1).mean()) if test.any() else 0.0

    return {"shares_a_text": shared(texts), "shares_a_component": shared(columns)}


def _sides(
    columns: Int[np.ndarray, "n width"], kinds: Int[np.ndarray, " n"], shares: Sequence[float], seed: int
) -> Int[np.ndarray, "n width"]:
    """The side of each text of each row."""
    rng = np.random.default_rng(seed)
    used, inverse = np.unique(columns, return_inverse=True)
    columns = inverse.reshape(columns.shape)
    counts = np.zeros((len(used), int(kinds.max(initial=0)) + 1))
    np.add.at(counts, (columns[:, 0], kinds), 1)
    side = np.full(len(used), -1)
    groups = _groups(columns, len(used))
    totals = counts.sum(0)
    targets = np.outer(shares, totals)
    filled = np.zeros_like(targets)
    limit = max(1.0, 0.5 * totals.sum() * min((share for share in shares if share > 0), default=1.0))
    small = []
    for group in groups:
        if len(group) > 1 and counts[group].sum() > limit:
            side[group] = _cut(group, columns, counts, shares, rng)
            np.add.at(filled, side[group], counts[group])
        else:
            small.append(group)
    # Large groups first, while every side has room for them; within a size in random order.
    sizes = np.array([counts[group].sum() for group in small])
    for place in np.lexsort((rng.random(len(small)), -np.floor(np.log2(np.maximum(sizes, 1))))) if small else []:
        group = small[place]
        own = counts[group].sum(0)
        missing = np.where(targets > 0, 1 - filled / np.maximum(targets, 1e-9), -1e12)
        chosen = int(np.argmax((own * missing).sum(1)))
        side[group] = chosen
        filled[chosen] += own
    return np.asarray(side[columns])


def _groups(columns: Int[np.ndarray, "n width"], n: int) -> list[Places]:
    """Components that rows connect, as lists."""
    from scipy.sparse.csgraph import connected_components

    _, group = connected_components(_graph(columns, n), directed=False)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if n else []


def _cut(
    group: Places,
    columns: Int[np.ndarray, "n width"],
    counts: Float[np.ndarray, "m _"],
    shares: Sequence[float],
    rng: Any,
) -> Places:
    """Sides for the components of one large group: neighbours in an order of small bandwidth stay together."""
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    shuffled = rng.permutation(group)
    place = np.full(len(counts), -1)
    place[shuffled] = np.arange(len(group))
    order = reverse_cuthill_mckee(_graph(place[columns[place[columns[:, 0]] >= 0]], len(group)), symmetric_mode=True)
    weights = counts[shuffled[order]].sum(1)
    middle = (np.cumsum(weights) - weights / 2) / max(weights.sum(), 1.0)
    turned = rng.permutation(len(shares))
    # Zero-width sides have no room between equal bounds.
    chosen = turned[np.searchsorted(np.cumsum(np.asarray(shares)[turned])[:-1], middle, side="right")]
    sides = np.empty(len(group), dtype=np.int64)
    sides[order] = chosen
    by_component = np.empty(len(counts), dtype=np.int64)
    by_component[shuffled] = sides
    return np.asarray(by_component[group])


def _graph(columns: Int[np.ndarray, "n width"], n: int) -> Any:
    from scipy.sparse import coo_array

    left = np.repeat(columns[:, 0], columns.shape[1] - 1)
    right = columns[:, 1:].ravel()
    ones = np.ones(2 * len(left), dtype=np.int8)
    return coo_array((ones, (np.concatenate([left, right]), np.concatenate([right, left]))), shape=(n, n)).tocsr()


def _link_score(table: Examples, link_score: float | None) -> float | None:
    if link_score is not None or not len(table):
        return link_score
    scores = np.asarray(getattr(table, "scores", None))
    return float(scores.min() + LINK_SHARE * (scores.max() - scores.min()))


def _positive(kinds: Int[np.ndarray, " n"]) -> float | None:
    return float(kinds.mean()) if len(kinds) else None
