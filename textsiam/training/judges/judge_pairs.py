"""Labelled pairs of several data sets with the tokens of their texts: what judges are fitted on."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from textsiam.data.linking import dependence, link
from textsiam.data.pairs import Pairs
from textsiam.data.texts import distinct
from textsiam.encoding.encoder import Encoder, Progress
from textsiam.errors import UnreadableInput
from textsiam.scoring.judging.alignment import features
from textsiam.scoring.judging.pair_blocks import Rarity, Rows, Words, blocks
from textsiam.scoring.judging.reading import read_texts_in
from textsiam.scoring.similarity import scores_of

COLUMNS = ("left", "right", "cosines", "targets", "sets", "components")  # those that hold a value for each pair


@dataclass(frozen=True, eq=False)
class JudgePairs:
    """Labelled pairs of several data sets, one set after another, with the tokens of their texts: what a judge is fitted on.

    Parameters
    ----------
    names
        Of the sets.
    words
        The tokens of the distinct texts, in half precision.
    left, right
        (k,) the places of each pair's texts among them.
    cosines, targets
        (k,) fp32: of the embeddings; the probability of the same meaning that the label or score states.
    sets
        (k,) the number of each pair's set.
    components
        (k,) the number of each pair's component: pairs that share a text, directly or through others, have the same.
    rarity
        (vocabulary,) fp32: how rare each token is among all texts (see `textsiam.scoring.judging.judge.Judge`).
    """

    names: tuple[str, ...]
    words: Words
    left: Rows
    right: Rows
    cosines: Float[np.ndarray, " k"]
    targets: Float[np.ndarray, " k"]
    sets: Rows
    components: Rows
    rarity: Rarity

    @classmethod
    def of(cls, encoder: Encoder, sets: Mapping[str, Pairs], *, progress: Progress | None = None) -> "JudgePairs":
        """The pairs of these sets, read by this encoder; `progress` is called with (texts done, texts in all)."""
        if not sets:
            raise UnreadableInput(
                "A judge is fitted on labelled pairs, but none were given. Give at least one data set."
            )
        targets = [_targets(name, pairs) for name, pairs in sets.items()]
        first = [text for pairs in sets.values() for text in pairs.first]
        second = [text for pairs in sets.values() for text in pairs.second]
        texts, rows = distinct([*first, *second])
        left, right = rows[: len(first)], rows[len(first) :]
        with ExitStack() as stack:
            known = read_texts_in(stack, encoder, texts, progress=progress, in_memory=True)
        words, vectors = known.words, known.encoded.embeddings
        cosines = scores_of("cosine", vectors, vectors, left, right)
        numbers = np.repeat(np.arange(len(sets)), [len(pairs) for pairs in sets.values()])
        linked = dependence(link([Pairs(first, second)]).texts[0])
        return cls(tuple(sets), words, left, right, cosines, np.concatenate(targets), numbers, linked, rarity_of(words))

    def features(self) -> tuple[tuple[str, ...], Float[np.ndarray, "k f"]]:
        """The names of the alignment's features, and those of each pair."""
        columns: dict[str, Float[np.ndarray, " k"]] = {}
        for block in blocks(self.words, self.left, self.right, self.rarity):
            for name, found in features(block).items():
                columns.setdefault(name, np.zeros(len(self), dtype=np.float32))[block.rows] = found
        return tuple(columns), np.stack(list(columns.values()), axis=1)

    def take(self, rows: Rows) -> "JudgePairs":
        """Only these pairs; texts, rarity and the numbers of the sets stay."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.left)


def halved(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """As half precision holds them: so a judge's file holds them too."""
    return np.asarray(values, dtype=np.float16).astype(np.float32)


def _targets(name: str, pairs: Pairs) -> Float[np.ndarray, " n"]:
    given = pairs.labels if pairs.labels is not None else pairs.scores
    if given is None or not len(pairs):
        raise UnreadableInput(
            f"The pairs of {name!r} have no labels. Give a column of 0 and 1, or of scores from 0 to 1."
        )
    targets = np.asarray(given, dtype=np.float32)
    if targets.min() < 0 or targets.max() > 1 or targets.min() == targets.max():
        raise UnreadableInput(
            f"A judge learns from targets between 0 and 1, of both kinds, but those of {name!r} lie in "
            f"[{targets.min():g}, {targets.max():g}]. Scale them, or add pairs of the other kind."
        )
    return targets


def rarity_of(words: Words) -> Rarity:
    """The logarithm of the inverse share of texts that hold each token, smoothed by one text."""
    owners = np.repeat(np.arange(len(words.n)), words.n)
    held = np.unique(np.stack([owners, words.ids]), axis=1)[1]
    counts = np.bincount(held, minlength=int(words.ids.max(initial=0)) + 1)
    return halved(np.log((len(words.n) + 1) / (counts + 1)))
