"""A second look for a fast, coarse encoder: pairs that score near a threshold are scored again by a finer one.

int8 moves a cosine by a few thousandths. That is too much to decide like the certified class, but it shows which pairs are far
from a threshold: nineteen of twenty. `textsiam.scoring.precision.agreement.admit` measures how near is near (`Rescorer.margin`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from textsiam.encoding.encoder import Encoder
from textsiam.scoring.thresholds import Threshold

Rows = Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Rescorer:
    """Scores again what a coarser encoder scored within `margin` of a threshold.

    Parameters
    ----------
    encoder
        The same weights in a finer precision class.
    margin
        In units of the score, above 0: enough at the thresholds that it was measured at.
    largest
        The largest measured difference of two scores: the margin for any other threshold.
    """

    encoder: Encoder
    margin: float
    largest: float

    def __call__(
        self,
        compare: Callable[..., Float[np.ndarray, " k"]],
        texts: Sequence[str],
        left: Rows,
        right: Rows,
        scores: Float[np.ndarray, " n"],
        *,
        thresholds: Iterable[Threshold | None],
        own: float | None = None,
        prompt: str | None = None,
    ) -> Float[np.ndarray, " n"]:
        """The scores of pairs ``texts[left]``, ``texts[right]``, those near a threshold from the finer encoder.

        `own` is one more threshold, at which nothing was measured.
        """
        is_near = near(scores, cuts_of(*thresholds), self.margin)
        if own is not None:
            is_near |= near(scores, [own], self.largest)
        rows = np.flatnonzero(is_near)
        if not len(rows):
            return scores
        used, places = np.unique(np.concatenate([left[rows], right[rows]]), return_inverse=True)
        vectors = self.encoder.embed([texts[place] for place in used.tolist()], prompt=prompt).embeddings
        scores = scores.copy()
        scores[rows] = compare(vectors, vectors, *np.split(places, 2))
        return scores


def near(scores: Float[np.ndarray, " n"], cuts: Iterable[float], margin: float) -> Bool[np.ndarray, " n"]:
    """Which scores lie within the margin of a cut."""
    found = np.zeros(len(scores), dtype=np.bool_)
    for cut in cuts:
        found |= np.abs(scores - np.float32(cut)) <= margin
    return found


def cuts_of(*thresholds: Threshold | None) -> list[float]:
    """The values of those thresholds that exist."""
    return [threshold.value for threshold in thresholds if threshold is not None and threshold.value is not None]
