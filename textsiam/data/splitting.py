"""Leak-free parts of labelled pairs: no text, no normalised text and no chain of positives stands on two sides.

A random split of pairs leaks: a question of a test pair stands in a training pair too, or is linked to one by a chain of
duplicates. Here texts that must stay together form components: equal after normalisation, a positive pair, a pair at or
above a stated score, or a link that the caller knows of. A component goes to one side as a whole. Negatives link nothing
(over all labelled pairs one component may hold everything), so a negative between two sides belongs to neither: it is
dropped and counted, and no other row is. How sides are chosen so that few are lost: `textsiam.data.sides`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from textsiam.data.linking import Examples, Linked, Links, kinds_of, link
from textsiam.data.readers import read_examples
from textsiam.data.sides import DROPPED, assign, sides_of

SHARES = (0.8, 0.1, 0.1)


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts of one table of pairs that share no text, no normalised text and no chain of positives.

    Parameters
    ----------
    train, calibration, test
        Pairs or triplets, as they came. `train` to fit, `calibration` to calibrate and certify, `test` to report.
    report
        Plain values: rows and share of positives of each part, rows dropped, components, the score that links, and what
        a random split of the same shares would have leaked.

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
    pairs: Any,
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
        Labelled, graded or bare pairs (all of them positives), or triplets; or anything that `read_pairs` reads.
    seed
        The same pairs and seed give the same parts.
    shares
        Of the rows, for train, calibration and test; they sum to 1. A component is never cut, so sizes are met as nearly
        as components allow.
    links
        Pairs of texts known to belong together (one document, one topic): never on two sides either.
    link_score
        Graded pairs link their texts at or above it. Default: 80 % of the way from the lowest to the highest score.
        Where there are labels, they decide instead.

    Returns
    -------
    parts
        With ``.train``, ``.calibration``, ``.test`` and ``.report``. Rows keep their order and their row numbers. A part
        may be empty where there are only a few components.

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
    # Texts that only `links` knows are no texts of the pairs.
    sizes = np.unique(graph.component[np.unique(graph.texts[0])], return_counts=True)[1]
    report = {
        "seed": seed,
        "rows": len(pairs),
        "parts": {name: {"rows": len(rows), "positive": _positive(kinds[rows])} for name, rows in parts.items()},
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
    """The shares, summing to 1 exactly.

    Raises
    ------
    ValueError
        If they are not `n` numbers from 0 to 1 that sum to 1.
    """
    if len(shares) != n or any(not 0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:  # noqa: PLR2004
        raise ValueError(f"Shares are {n} numbers from 0 to 1 that sum to 1, but got {tuple(shares)}. Correct them.")
    return tuple(share / sum(shares) for share in shares)


def check_folds(k: int) -> None:
    """Do nothing if there can be so many folds.

    Raises
    ------
    ValueError
        If `k` is below 2.
    """
    if k < 2:  # noqa: PLR2004
        raise ValueError(f"Cross-validation needs at least 2 folds, but got {k}. Give 2 or more.")


def check_seed(seed: int) -> None:
    """Do nothing if random numbers can begin there.

    Raises
    ------
    ValueError
        If it is no whole number, negative, or above 2³² - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"A seed is a whole number from 0 to 4294967295, but got {seed!r}. Correct it.")


def carve(
    tables: Sequence[Examples], share: float, *, seed: int = 0, links: Links = (), link_score: float | None = None
) -> list[tuple[Any, Any]]:
    """Each table's (rest, carved part), so that no part carved shares a component with the rest of any table.

    Raises
    ------
    ValueError
        If the share is not from 0 to 1.
    """
    shares = checked_shares((1 - share, share), 2)
    graph = link(tables, links=links, link_score=link_score)
    width = max(columns.shape[1] for columns in graph.columns)
    # Narrower tables repeat their first column, which changes no component; each table is stratified by itself.
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
    """The share of test rows that a random split of rows would give a text, or a component, that train has too."""
    texts, columns = graph.texts[0], graph.columns[0]
    sides = np.random.default_rng(seed).choice(len(shares), size=len(texts), p=shares)
    train, test = sides == 0, sides == len(shares) - 1

    def shared(numbers: Int[np.ndarray, "n width"]) -> float:
        return float(np.isin(numbers[test], numbers[train]).any(1).mean()) if test.any() else 0.0

    return {"shares_a_text": shared(texts), "shares_a_component": shared(columns)}


def _positive(kinds: Int[np.ndarray, " n"]) -> float | None:
    return float(kinds.mean()) if len(kinds) else None
