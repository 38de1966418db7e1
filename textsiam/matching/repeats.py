"""Repeated texts: each distinct text is encoded and compared once; then every row with that text gets its pairs."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from textsiam.arrays import Found, Rows
from textsiam.data.texts import Texts, distinct, fault_of
from textsiam.encoding.encoder import Encoded
from textsiam.errors import TooManyMatches
from textsiam.matching.join.tiles import ordered
from textsiam.matching.matches import Matches
from textsiam.matching.rule import Rule
from textsiam.scoring.similarity import scores_of

logger = logging.getLogger("textsiam")


@dataclass(frozen=True)
class Side:
    """The usable texts of one set: their positions, the distinct texts, and the rows of each distinct text."""

    places: Rows  # position of each usable text in the caller's texts
    unique: list[str]
    rows: Rows  # for each usable text, its position in `unique`
    members: Rows  # places, grouped by distinct text
    starts: Rows  # start of each group in `members`
    sizes: Rows  # number of rows in each group

    @classmethod
    def of(cls, texts: Sequence[object], name: str, key: Callable[[str], str] | None = None) -> "Side":
        """The side of these texts. Texts with equal `key` count as one. Unusable ones are logged under `name`."""
        places = np.array(
            [place for place, text in enumerate(texts) if isinstance(texts, Texts) or not fault_of(text)],
            dtype=np.int64,
        )
        if len(places) < len(texts):
            wrong = np.setdiff1d(np.arange(len(texts)), places)
            counts = len(wrong), len(texts)
            logger.warning(
                "%d of %d %s are unusable and match nothing: positions %s", *counts, name, wrong[:10].tolist()
            )
        usable = [str(texts[place]) for place in places.tolist()]
        unique, rows = distinct(map(key, usable) if key else usable)
        sizes = np.bincount(rows, minlength=len(unique))
        return cls(places, unique, rows, places[np.argsort(rows, kind="stable")], np.cumsum(sizes) - sizes, sizes)

    def rows_where(self, flags: Shaped[np.ndarray, " _"]) -> list[int]:
        """Positions in the caller's texts of those whose distinct text has a flag."""
        return [int(place) for place in self.places[flags[self.rows]]]

    def lost(self, encoded: Encoded, prefix: str = "") -> dict[str, Any]:
        """Which rows were cut or hold unknown characters, named as in `Matches`; `encoded` are the distinct texts."""
        flags = {"cut": encoded.cut, "unknown": encoded.unknown}
        return {f"{prefix}{name}": self.rows_where(of) for name, of in flags.items()}


class Sides(NamedTuple):
    """The texts to compare: one set with itself, or with another."""

    left: Side
    right: Side | None

    @classmethod
    def of(cls, texts: Sequence[object], against: Sequence[object] | None) -> "Sides":
        """The sides of the caller's texts."""
        return cls(Side.of(texts, "texts"), None if against is None else Side.of(against, "against"))

    @property
    def unique(self) -> list[str]:
        """The distinct texts of the left side, then those of the right."""
        return self.left.unique if self.right is None else [*self.left.unique, *self.right.unique]


def crossed(found: Matches, left: Side, right: Side, max_matches: int) -> Found:
    """The matches of all rows from those of distinct texts, in order: each row with the one text, with each row of the other."""
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
    return ordered([(a, b, found.score[pair])])


def repeats_of(side: Side, groups: Rows, scores: Float[np.ndarray, " n"]) -> Found:
    """Every pair of rows with the same text, in order, for these distinct texts and the score of each with itself."""
    found = []
    many = side.sizes[groups] > 1
    for group, score in zip(groups[many].tolist(), scores[many].tolist(), strict=True):
        rows = side.members[side.starts[group] : side.starts[group] + side.sizes[group]]
        a, b = np.triu_indices(len(rows), k=1)
        found.append((rows[a], rows[b], np.full(len(a), score, dtype=np.float32)))
    return ordered(found)


def equals_of(side: Side, vectors: Float[np.ndarray, "n dim"], rule: Rule) -> Found:
    """Every pair of rows with the same text, in order, if the text's score with itself reaches the threshold.

    There is one vector for each distinct text.
    """
    groups = np.flatnonzero(side.sizes > 1)
    scores = scores_of(rule.similarity, vectors, vectors, groups, groups)
    reach = scores >= np.float32(rule.threshold)
    return repeats_of(side, groups[reach], scores[reach])


def refuse_too_many(n_matches: int, max_matches: int) -> None:
    """Raise TooManyMatches if there are more matches than allowed."""
    if n_matches > max_matches:
        raise TooManyMatches(
            f"{n_matches:,} pairs match, many because texts repeat, but {max_matches:,} are allowed. Remove exact repeats "
            "first, raise the threshold, or allow more (--max-matches, max_matches=)."
        )
