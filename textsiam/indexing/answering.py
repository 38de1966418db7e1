"""What an index found, as `Matches`: rows on the right are the index's, and only those found carry id and text."""

from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
from jaxtyping import Int

from textsiam.indexing.ledger import Item
from textsiam.matching.duplicates import judged
from textsiam.matching.matches import Found, Matches
from textsiam.matching.repeats import Side
from textsiam.scoring.siamese import Siamese

Rows = Int[np.ndarray, " _"]


class Sparse(Sequence[str]):
    """A column of an index, of which only some rows were read; the others are empty."""

    def __init__(self, n: int, told: dict[int, str]) -> None:
        self.n, self.told = n, told

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self.told.get(place, "") for place in range(*row.indices(self.n))]
        if not 0 <= row < self.n:
            raise IndexError(f"There is no row {row}: the index holds {self.n:,}.")
        return self.told.get(row, "")

    def __len__(self) -> int:
        return self.n


def answer(
    model: Siamese | None, found: Found, items: Iterable[Item], n_left: int, n_right: int, **more: Any
) -> Matches:
    """Matches of positions on the left with the index's rows on the right, with what the model says of their scores."""
    left, right, scores = found
    known = list(items)
    texts = {item.row: item.text for item in known if item.text is not None}
    return Matches(
        left,
        right,
        scores,
        n_left,
        n_right,
        right_ids=Sparse(n_right, {item.row: item.id for item in known}),
        right_texts=Sparse(n_right, texts) if texts or not known else None,
        **(judged(model, scores) if model else {}),
        **more,
    )


def repeated(found: Found, side: Side) -> Found:
    """What was found for distinct texts, for every position that holds one; a position's matches stay in their order."""
    number, row, scores = found
    starts = np.searchsorted(number, np.arange(len(side.unique) + 1))
    counts = np.diff(starts)[side.rows]
    left = np.repeat(side.places, counts)
    place = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts[side.rows], counts)
    return left, row[place], scores[place]
