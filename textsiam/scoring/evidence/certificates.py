"""A certificate: what labelled scores prove about a cut, or that none qualifies; in words, and as plain values."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from textsiam.scoring.evidence.intervals import Interval, binomial_interval
from textsiam.scoring.evidence.planning import lower_bound

# What each guarantee is called in a sentence, and whether it bounds from above.
WORDS = {
    "precision": "precision ≥",
    "recall": "recall ≥",
    "false_match_rate": "false-match rate ≤",
    "reject_precision": "share of non-duplicates below ≥",
}


class Cut(NamedTuple):
    """One cut of a sequence of tests: the score, the draws beyond it, how many of them are right, whether it passed."""

    value: float
    n: int
    n_right: int
    passed: bool


@dataclass(frozen=True)
class Certificate:
    """What labelled scores certify: a cut, or that none qualifies.

    Parameters
    ----------
    guarantee
        A name from `textsiam.scoring.evidence.certification.GUARANTEES`.
    level, confidence
        What is promised beyond the cut, and with which probability over samples the promise is kept.
    value
        The cut, or None: it was looked for and none qualifies.
    cuts
        Every cut tested, in order of how many draws lie beyond it; empty for recall and false-match rate.
    n_draws
        Independent draws, one a component.
    n_beyond, n_right
        The draws beyond the cut, and how many of them are right; 0 where there is no cut.
    found
        The share that the guarantee is about, as it is among the draws, with its 95 % interval; NaN where there is no cut.
    recall
        The share of the duplicates at or above the cut (for a cut to reject: of the others below), with its interval. Both
        intervals are of the labels that chose the cut, with no price for the choice: fresh pairs tell more.
    more_labels
        At least about so many more draws are needed for a certificate if the most promising cut is as good as it looks; 0 where
        there is one, None where these labels do not tell that any number would do.
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
        """Of the cuts tested the one with the highest lower bound, found by looking: a hint, no certificate."""
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
        again = "Certify on new labels alone: each further look at the same ones costs confidence."
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
    """A guarantee in words; the level with all its digits.

    Examples
    --------
    >>> promised("precision", 0.9, 0.95), promised("recall", 0.995, 0.9)
    ('precision ≥ 0.90 with 95 % confidence', 'recall ≥ 0.995 with 90 % confidence')
    """
    digits = f"{level:.2f}" if round(level, 2) == level else f"{level:g}"
    return f"{WORDS[guarantee]} {digits} with {100 * confidence:g} % confidence"


def exact(value: float) -> str:
    """The shortest digits that stand for this score in the precision in which scores are compared.

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
    """The value and its bounds in three digits."""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
