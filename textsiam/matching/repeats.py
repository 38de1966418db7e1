"""Texts that repeat: each is encoded and compared once, and every row that holds it gets its pairs back."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from textsiam.arrays import Rows
from textsiam.data.texts import Texts, distinct, fault_of
from textsiam.errors import TooManyMatches
from textsiam.matching.matches import Matches

logger = logging.getLogger("textsiam")


@dataclass(frozen=True)
class Side:
    """The usable texts of one set: where they stand, each distinct one once, and which rows repeat it."""

    places: Rows  # position of each usable text in what the caller gave
    unique: list[str]
    rows: Rows  # for each usable text the place of its equal in `unique`
    members: Rows  # places, grouped by distinct text
    starts: Rows  # where each group begins in `members`
    sizes: Rows  # rows of each group

    @classmethod
    def of(cls, texts: Sequence[object], name: str, key: Callable[[str], str] | None = None) -> "Side":
        """The side of these texts; what `key` makes equal counts as one text. Unusable ones are logged under `name`."""
        places = np.array(
            [place for place, text in enumerate(texts) if isinstance(texts, Texts) or not fault_of(text)],
            dtype=np.int64,
        )
        if len(places) < len(texts):
            wrong = np.setdiff1d(np.arange(len(texts)), places)
            logger.warning(
                "%d of %d %s are unusable and match nothing: positions %s",
                len(wrong),
                len(texts),
                name,
                wrong[:10].tolist(),
            )
        usable = [str(texts[place]) for place in places.tolist()]
        unique, rows = distinct(map(key, usable) if key else usable)
        sizes = np.bincount(rows, minlength=len(unique))
        return cls(places, unique, rows, places[np.argsort(rows, kind="stable")], np.cumsum(sizes) - sizes, sizes)

    def rows_where(self, flags: Shaped[np.ndarray, " _"]) -> list[int]:
        """Positions, in what the caller gave, of the texts whose distinct text is flagged."""
        return [int(place) for place in self.places[flags[self.rows]]]


class Sides(NamedTuple):
    """What is compared: one set of texts with itself, or with another."""

    left: Side
    right: Side | None

    @classmethod
    def of(cls, texts: Sequence[object], against: Sequence[object] | None) -> "Sides":
        """The sides of what the caller gave."""
        return cls(Side.of(texts, "texts"), None if against is None else Side.of(against, "against"))

    @property
    def unique(self) -> list[str]:
        """The distinct texts of the left side, then those of the right."""
        return self.left.unique if self.right is None else [*self.left.unique, *self.right.unique]


class RowPairs(NamedTuple):
    """Pairs of rows with scores, left before right, in order."""

    left: Rows
    right: Rows
    score: Float[np.ndarray, " _"]

    @classmethod
    def ordered(cls, left: Rows, right: Rows, score: Float[np.ndarray, " _"]) -> "RowPairs":
        """By left, then right row."""
        order = np.lexsort((right, left))
        return cls(left[order], right[order], score[order])


def crossed(found: Matches, left: Side, right: Side, max_matches: int) -> RowPairs:
    """Matches of distinct texts → matches of all rows that hold them: every row of one with every row of the other."""
    i, j = found.left, found.right
    counts = left.sizes[i] * right.sizes[j]
    refuse_too_many(int(counts.sum()), max_matches)
    pair = np.repeat(np.arange(len(i)), counts)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = right.sizes[j][pair]
    a = left.members[left.starts[i][pair] + place // width]
    b = right.members[right.starts[j][pair] + place % width]
    if found.n_right is None:
        a, b = np.minimum(a, b), np.maximum(a, b)
    return RowPairs.ordered(a, b, found.score[pair])


def repeats_of(side: Side, groups: Rows, scores: Float[np.ndarray, " n"]) -> RowPairs:
    """Every two rows that hold the same text, for these distinct texts and the score of each with itself."""
    left, right, own = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    many = side.sizes[groups] > 1
    for group, score in zip(groups[many].tolist(), scores[many].tolist(), strict=True):
        rows = side.members[side.starts[group] : side.starts[group] + side.sizes[group]]
        a, b = np.triu_indices(len(rows), k=1)
        left.append(rows[a])
        right.append(rows[b])
        own.append(np.full(len(a), score, dtype=np.float32))
    return RowPairs.ordered(np.concatenate(left), np.concatenate(right), np.concatenate(own))


def merged(pairs: RowPairs, repeats: RowPairs) -> RowPairs:
    """Both, in order."""
    return RowPairs.ordered(*(np.concatenate(columns) for columns in zip(pairs, repeats, strict=True)))


def refuse_too_many(n_matches: int, max_matches: int) -> None:
    """Raise TooManyMatches if these are more than allowed."""
    if n_matches > max_matches:
        raise TooManyMatches(
            f"{n_matches:,} pairs match, many because the same text repeats; {max_matches:,} are allowed. Remove exact repeats "
            f"first, raise the threshold, or allow more (--max-matches, max_matches=)."
        )
