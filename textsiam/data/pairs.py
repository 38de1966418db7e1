"""Pairs (two aligned columns of texts, with labels, scores or neither) and triplets (anchors, positives, negatives).

Both check their columns when they are made. Reading them from files is the work of `textsiam.data.readers`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from textsiam.data.texts import Fault, SetAside, as_list, distinct, fault_of
from textsiam.errors import UnreadableInput


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """Pairs of texts, each with a label (1: same meaning, 0: not), a graded score, or neither.

    Parameters
    ----------
    first, second
        The two texts of each pair; all usable (see `textsiam.data.texts.fault_of`).
    labels
        (n,) of 0 and 1, or None.
    scores
        (n,) finite similarities on any scale, larger is closer, or None.
    rows
        Row number of each pair in its source, from 1. Default: 1, 2, 3, …
    set_aside
        The unusable rows of the source, with reasons.
    mapping
        Which column was read as what, to show to the user.

    Raises
    ------
    UnreadableInput
        If columns differ in length, a text is unusable, a label is not 0 or 1, or a score is not finite.

    Examples
    --------
    >>> pairs = Pairs(["How do I pay?"], ["How to pay?"], labels=[1])
    >>> len(pairs), pairs.labels
    (1, array([1]))
    """

    first: Sequence[str]
    second: Sequence[str]
    labels: Shaped[np.ndarray, " n"] | Sequence[int] | None = None
    scores: Shaped[np.ndarray, " n"] | Sequence[float] | None = None
    rows: Sequence[int] = ()
    set_aside: SetAside = field(default_factory=SetAside)
    mapping: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", as_list(self.first))
        object.__setattr__(self, "second", as_list(self.second))
        object.__setattr__(self, "rows", self.rows if len(self.rows) else range(1, len(self.first) + 1))
        lengths = {
            len(column)
            for column in (self.first, self.second, self.labels, self.scores, self.rows)
            if column is not None
        }
        if len(lengths) > 1:
            raise UnreadableInput(
                f"Pairs needs columns of equal length, but got {len(self.first)} first and {len(self.second)} second "
                "texts (or another number of labels, scores or rows). Align them row by row."
            )
        for row, fault in zip(self.rows, map(fault_of_pair, self.first, self.second), strict=True):
            if fault:
                raise UnreadableInput(
                    f"Row {row} is not a usable pair: {fault}. Use Pairs.usable or read_pairs, which set it aside."
                )
        if self.labels is not None:
            object.__setattr__(self, "labels", _checked_labels(np.asarray(self.labels)))
        if self.scores is not None:
            object.__setattr__(self, "scores", np.asarray(self.scores, dtype=np.float64))
            if not np.isfinite(self.scores).all():
                raise UnreadableInput("Scores are finite numbers, but got NaN or infinity. Remove those rows.")

    @classmethod
    def usable(cls, first: Iterable[object], second: Iterable[object]) -> "Pairs":
        """The pairs whose two texts are usable, with their ``rows``. The others are in ``set_aside``.

        Raises
        ------
        UnreadableInput
            If the two columns differ in length, or one is a single string.

        Examples
        --------
        >>> pairs = Pairs.usable(["a", None, "b"], ["a", "x", " "])
        >>> len(pairs), str(pairs.set_aside)
        (1, '2 rows set aside: 1 first text null (row 2), 1 second text only whitespace (row 3)')
        """
        first, second = as_list(first), as_list(second)
        if len(first) != len(second):
            raise UnreadableInput(
                f"A pair has two texts, but got {len(first)} first and {len(second)} second texts. Align them row by row."
            )
        faults = [fault_of_pair(a, b) for a, b in zip(first, second, strict=True)]
        keep = [place for place, fault in enumerate(faults) if not fault]
        return cls(
            first=[str(first[place]) for place in keep],
            second=[str(second[place]) for place in keep],
            rows=[place + 1 for place in keep],
            set_aside=SetAside(tuple(Fault("pairs", place + 1, fault) for place, fault in enumerate(faults) if fault)),
        )

    def unique(self) -> tuple[list[str], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Each distinct text once, and the places of each pair's first and second text among them.

        Examples
        --------
        >>> Pairs(["a", "b"], ["b", "c"]).unique()
        (['a', 'b', 'c'], array([0, 1]), array([1, 2]))
        """
        texts, places = distinct([*self.first, *self.second])
        return texts, places[: len(self)], places[len(self) :]

    def take(self, places: Sequence[int] | Int[np.ndarray, " m"]) -> "Pairs":
        """The pairs at these places (from 0), in this order, with their row numbers.

        Raises
        ------
        ValueError
            If the places are not whole numbers (a mask, for example).

        Examples
        --------
        >>> pairs = Pairs(["a", "b"], ["c", "d"], labels=[1, 0]).take([1])
        >>> pairs.first, pairs.labels, pairs.rows
        (['b'], array([0]), [2])
        """
        chosen = checked_places(places)
        first, second, rows = as_list(self.first), as_list(self.second), as_list(self.rows)
        return Pairs(
            [first[place] for place in chosen],
            [second[place] for place in chosen],
            labels=None if self.labels is None else np.asarray(self.labels)[chosen],
            scores=None if self.scores is None else np.asarray(self.scores)[chosen],
            rows=[rows[place] for place in chosen],
            mapping=self.mapping,
        )

    def __array__(self, dtype: Any = None, *, copy: bool | None = None) -> Shaped[np.ndarray, "n 2"]:
        # (n, 2) texts: scikit-learn's cross_val_score and GridSearchCV select rows.
        if copy is False:
            raise ValueError("Pairs are two columns, and only a copy makes them one array. Leave out copy=False.")
        texts = np.empty((len(self), 2), dtype=object)
        texts[:, 0], texts[:, 1] = as_list(self.first), as_list(self.second)
        return texts if dtype is None else texts.astype(dtype)

    def __len__(self) -> int:
        return len(self.first)

    def __repr__(self) -> str:
        kind = "labelled " if self.labels is not None else "scored " if self.scores is not None else ""
        return f"Pairs({len(self):,} {kind}pairs, {self.set_aside})"


@dataclass(frozen=True, eq=False, repr=False)
class Triplets:
    """Anchors, positives (same meaning as the anchor) and negatives (another meaning), row by row.

    Parameters
    ----------
    anchors, positives
        One text per row; all usable (see `textsiam.data.texts.fault_of`).
    negatives
        At least one column of texts: ``negatives[k][i]`` is the k-th negative of row i.
    rows
        Row number of each triplet in its source, from 1. Default: 1, 2, 3, …
    set_aside
        The unusable rows of the source, with reasons.
    mapping
        Which column was read as what, to show to the user.

    Raises
    ------
    UnreadableInput
        If columns differ in length, a text is unusable, a column is a single string, or there is no negative.

    Examples
    --------
    >>> triplets = Triplets(["How do I pay?"], ["How to pay?"], [["Where is my order?"]])
    >>> len(triplets), triplets.negatives[0][0]
    (1, 'Where is my order?')
    """

    anchors: Sequence[str]
    positives: Sequence[str]
    negatives: Sequence[Sequence[str]]
    rows: Sequence[int] = ()
    set_aside: SetAside = field(default_factory=SetAside)
    mapping: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors", as_list(self.anchors))
        object.__setattr__(self, "positives", as_list(self.positives))
        # as_list refuses a list of texts here, whose texts would be read letter by letter.
        object.__setattr__(self, "negatives", [as_list(column) for column in as_list(self.negatives)])
        object.__setattr__(self, "rows", self.rows if len(self.rows) else range(1, len(self.anchors) + 1))
        if not self.negatives:
            raise UnreadableInput("Triplets needs at least one column of negatives, but got none. Use Pairs instead.")
        if len({len(column) for column in (*self.columns, self.rows)}) > 1:
            raise UnreadableInput(
                f"Triplets needs columns of equal length, but got {', '.join(str(len(c)) for c in self.columns)} texts "
                f"and {len(self.rows)} rows. Align them row by row."
            )
        names = ("anchor", "positive", *["negative"] * len(self.negatives))
        for row, texts in zip(self.rows, zip(*self.columns, strict=True), strict=True):
            if fault := fault_of_row(names, texts):
                raise UnreadableInput(
                    f"Row {row} is not a usable triplet: {fault}. Use read_triplets, which sets it aside."
                )

    @property
    def columns(self) -> tuple[Sequence[str], ...]:
        """Anchors, positives, then each column of negatives."""
        return (self.anchors, self.positives, *self.negatives)

    def take(self, places: Sequence[int] | Int[np.ndarray, " m"]) -> "Triplets":
        """The triplets at these places (from 0), in this order, with their row numbers.

        Raises
        ------
        ValueError
            If the places are not whole numbers (a mask, for example).

        Examples
        --------
        >>> triplets = Triplets(["a", "b"], ["c", "d"], [["e", "f"]]).take([1])
        >>> triplets.columns, triplets.rows
        ((['b'], ['d'], ['f']), [2])
        """
        chosen = checked_places(places)
        anchors, positives, *negatives = ([column[place] for place in chosen] for column in self.columns)
        rows = [self.rows[place] for place in chosen]
        return Triplets(anchors, positives, negatives, rows, mapping=self.mapping)

    def unique(self) -> tuple[list[str], tuple[Int[np.ndarray, " n"], ...]]:
        """Each distinct text once, and for each column the places of its texts among them.

        Examples
        --------
        >>> Triplets(["a"], ["b"], [["c"]]).unique()
        (['a', 'b', 'c'], (array([0]), array([1]), array([2])))
        """
        texts, places = distinct(text for column in self.columns for text in column)
        return texts, tuple(np.split(places, len(self.columns)))

    def __len__(self) -> int:
        return len(self.anchors)

    def __repr__(self) -> str:
        return f"Triplets({len(self):,} triplets with {len(self.negatives)} negatives each, {self.set_aside})"


def checked_places(places: Sequence[int] | Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """Places of rows as int64. Raises `ValueError` for a mask, whose True and False would be read as 1 and 0."""
    chosen = np.asarray(places)
    if chosen.size and not np.issubdtype(chosen.dtype, np.integer):
        raise ValueError(
            f"Places are whole numbers from 0, but got {chosen.dtype}. Give numpy.flatnonzero(mask) instead of a mask."
        )
    return chosen.astype(np.int64)


def _checked_labels(labels: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    if others := set(np.unique(labels).tolist()) - {0, 1}:
        raise UnreadableInput(f"Labels are 0 or 1, but got {sorted(others)[:5]}. Pass graded values as `scores`.")
    return labels.astype(np.int64)


def fault_of_pair(first: object, second: object) -> str:
    """Why these two are not a usable pair, or ``""`` if they are."""
    return fault_of_row(("first text", "second text"), (first, second))


def fault_of_row(names: Sequence[str], texts: Sequence[object]) -> str:
    """Which of these texts is the first that is not usable, and why; ``""`` if all are."""
    for name, text in zip(names, texts, strict=True):
        if fault := fault_of(text):
            return f"{name} {fault}"
    return ""
