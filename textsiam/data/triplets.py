"""Triplets: an anchor, a text that means the same, and one or more that do not."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from textsiam.data.pairs import checked_places
from textsiam.data.texts import SetAside, as_list, distinct, fault_of
from textsiam.errors import UnreadableInput


@dataclass(frozen=True, eq=False, repr=False)
class Triplets:
    """Anchors, positives (they mean the same) and negatives (they do not), row by row.

    Parameters
    ----------
    anchors, positives
        One text each a row; all usable (see `textsiam.data.texts.fault_of`).
    negatives
        Columns of texts: ``negatives[k][i]`` is the k-th negative of row i. At least one column.
    rows
        Row number of each triplet in its source, from 1. Default: 1, 2, 3, …
    set_aside
        The rows of the source that are not here, with reasons.
    mapping
        Which column became what, to be shown to the user.

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
        # A list of texts is no column of columns: its first text would be read letter by letter.
        object.__setattr__(self, "negatives", [as_list(column) for column in as_list(self.negatives)])
        object.__setattr__(self, "rows", self.rows if len(self.rows) else range(1, len(self.anchors) + 1))
        if not self.negatives:
            raise UnreadableInput("Triplets needs at least one column of negatives, but got none. Use Pairs instead.")
        if len({len(column) for column in (*self.columns, self.rows)}) > 1:
            raise UnreadableInput(
                f"Triplets needs columns of equal length, but got {', '.join(str(len(c)) for c in self.columns)} texts "
                f"and {len(self.rows)} rows. Align them row by row."
            )
        for place, row in enumerate(self.rows):
            for what, column in zip(
                ("anchor", "positive", *["negative"] * len(self.negatives)), self.columns, strict=True
            ):
                if fault := fault_of(column[place]):
                    raise UnreadableInput(
                        f"Row {row} is no usable triplet: {what} {fault}. Use read_triplets, which sets it aside."
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
            If the places are no whole numbers: a mask, say.

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
        """Each distinct text once, and for each column the place of its texts among them.

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
