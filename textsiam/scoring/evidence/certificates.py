"""A certificate: what labelled scores prove about a cut, or that no cut qualifies; in words and as plain values."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from textsiam.scoring.evidence.intervals import Interval, binomial_interval
from textsiam.scoring.evidence.planning import lower_bound

# Guarantee → its words in a sentence, with the direction of the bound.
WORDS = {
    "precision": "precision ≥",
    "recall": "recall ≥",
    "false_match_rate": "false-match rate ≤",
    "reject_precision": "share of non-duplicates below ≥",
}


class Cut(NamedTuple):
    """One tested cut: its score, the draws beyond it, how many of them are right, and whether it passed."""

    value: float
    n: int
    n_right: int
    passed: bool


@dataclass(frozen=True)
class Certificate:
    """What labelled scores certify: a cut, or that none qualifies.

    "Beyond" a cut is at or above it; for ``reject_precision``, below it.

    Parameters
    ----------
    guarantee
        A name from `textsiam.scoring.evidence.certification.GUARANTEES`.
    level, confidence
        The level promised, and the probability, over samples, that the promise holds.
    value
        The cut; None if no cut qualifies.
    cuts
        Every cut tested, by number of draws beyond it; empty for recall and false-match rate.
    n_draws
        Number of independent draws, one per component.
    n_beyond, n_right
        Number of draws beyond the cut, and how many of them are right; 0 without a cut.
    found
        The guaranteed share among the draws, with its 95 % interval; NaN without a cut.
    recall
        The share of the duplicates at or above the cut, with its interval; for ``reject_precision``, of the non-duplicates below
        it. Both intervals use the labels that chose the cut and do not correct for that choice; fresh pairs prove more.
    more_labels
        About how many more draws a certificate needs at least, if the best cut is as good as it looks. 0 with a cut; None if
        these labels do not show that any number is enough.
    """

    guarantee: str
    level: float
    confidence: float
    value: float | None
    cuts: tuple[Cut, ...]
    n_draws: int
    n_beyond: int
    n_right: int
    found: Interval
    recall: Interval
    more_labels: int | None = 0

    def __bool__(self) -> bool:
        return self.value is not None

    @property
    def share(self) -> float:
        """The share of all draws beyond the cut."""
        return self.n_beyond / self.n_draws if self.n_draws else 0.0

    @property
    def promise(self) -> str:
        """The guarantee in words, such as ``precision ≥ 0.95 with 95 % confidence``."""
        return promised(self.guarantee, self.level, self.confidence)

    @property
    def nearest(self) -> Cut | None:
        """The tested cut with the highest lower bound: a hint, not a certificate."""
        return max(self.cuts, key=lambda cut: lower_bound(cut.n_right, cut.n, self.confidence), default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a threshold's evidence."""
        nearest = self.nearest
        return {
            "guarantee": self.guarantee,
            "level": self.level,
            "confidence": self.confidence,
            "n_draws": self.n_draws,
            "n_beyond": self.n_beyond,
            "n_right": self.n_right,
            "found": plain(self.found),
            "recall": plain(self.recall),
            "share": round(self.share, 4),
            "more_labels": self.more_labels,
            "nearest": None
            if nearest is None
            else {
                "value": nearest.value,
                "n": nearest.n,
                "n_right": nearest.n_right,
                "lower_bound": round(lower_bound(nearest.n_right, nearest.n, self.confidence), 4),
            },
        }

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.promise}: none exists on {self.n_draws:,} independent draws. {self._why_none()}"
        side = "below" if self.guarantee == "reject_precision" else "at or above"
        of = f" ({self.n_right:,} right of {self.n_beyond:,})" if self.cuts else ""
        return (
            f"{self.promise}: {side} {exact(self.value)}; found {told(self.found)}{of}, recall {told(self.recall)}, "
            f"{self.share:.1%} of {self.n_draws:,} independent draws"
        )

    def _why_none(self) -> str:
        again = "Certify on new labels only: each further look at the same ones costs confidence."
        nearest = self.nearest
        if nearest is None:
            return f"They are too few to certify anything: at least {self.more_labels:,} more are needed. {again}"
        if nearest.passed:
            return "A cut is certified, but it lies above the one to accept at."
        looked = (
            f"Nearest: {nearest.n_right:,} right of {nearest.n:,} at {exact(nearest.value)}, "
            f"{nearest.n_right / nearest.n:.3f}"
        )
        if self.more_labels is not None:
            return f"{looked}. At least about {self.more_labels:,} more draws are needed if it is as good as it looks. {again}"
        if binomial_interval(nearest.n_right, nearest.n).high > self.level:
            return f"{looked}. These labels cannot tell whether more would help. {again}"
        return f"{looked}. More labels would hardly help: ask for less, or use another encoder."


def promised(guarantee: str, level: float, confidence: float) -> str:
    """A guarantee in words, with all digits of the level.

    Examples
    --------
    >>> promised("precision", 0.9, 0.95), promised("recall", 0.995, 0.9)
    ('precision ≥ 0.90 with 95 % confidence', 'recall ≥ 0.995 with 90 % confidence')
    """
    digits = f"{level:.2f}" if round(level, 2) == level else f"{level:g}"
    return f"{WORDS[guarantee]} {digits} with {100 * confidence:g} % confidence"


def exact(value: float) -> str:
    """The shortest digits of this score in fp32, the precision in which scores are compared.

    Examples
    --------
    >>> exact(0.8541972041130066)
    '0.8541972'
    """
    return str(np.float32(value))


def plain(interval: Interval) -> list[float | None]:
    """The value and its bounds, rounded; None for NaN."""
    return [round(value, 4) if np.isfinite(value) else None for value in interval]


def told(interval: Interval) -> str:
    """The value and its bounds with three digits."""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
