"""A certificate: what labelled scores prove about a cut, or that none qualifies; in words, and as plain values."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from textsiam.scoring.intervals import Interval
from textsiam.scoring.planning import lower_bound

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
        A name from `textsiam.scoring.certification.GUARANTEES`.
    level, confidence
        What is promised beyond the cut, and with which probability over samples the promise is kept.
    value
        The cut, or None: it was looked for and none qualifies.
    cuts
        Every cut tested, in order.
    n_draws
        Independent draws, one a component; for recall and false-match rate those of the one label.
    found
        The share among the draws beyond the cut that the guarantee is about, with its 95 % interval; NaN where there is no cut.
    recall
        The share of the duplicates at or above the cut (for a cut to reject: of the others below), with its interval.
    share
        The share of all draws beyond the cut.
    more_labels
        How many more draws would give a certificate with probability .9 if the most promising cut is as good as it looks;
        0 where there is a certificate, None where no number of labels would, as far as these tell.
    """

    guarantee: str
    level: float
    confidence: float
    value: float | None
    cuts: tuple[Cut, ...]
    n_draws: int
    found: Interval
    recall: Interval
    share: float
    more_labels: int | None = 0

    def __bool__(self) -> bool:
        return self.value is not None

    @property
    def promise(self) -> str:
        """The guarantee in words, such as ``precision ≥ 0.95 with 95 % confidence``."""
        return f"{WORDS[self.guarantee]} {self.level:.2f} with {100 * self.confidence:g} % confidence"

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
            "n_beyond": self.cuts_passed[-1].n if self.cuts_passed else 0,
            "n_right": self.cuts_passed[-1].n_right if self.cuts_passed else 0,
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

    @property
    def cuts_passed(self) -> tuple[Cut, ...]:
        """The cuts that passed, each of them certified."""
        return tuple(cut for cut in self.cuts if cut.passed)

    def __str__(self) -> str:
        side = "below" if self.guarantee == "reject_precision" else "at or above"
        if self.value is not None:
            of = (
                ""
                if not self.cuts_passed
                else f" ({self.cuts_passed[-1].n_right:,} right of {self.cuts_passed[-1].n:,})"
            )
            return (
                f"{self.promise}: {side} {self.value:.4f}; found {_told(self.found)}{of}, recall {_told(self.recall)}, "
                f"{self.share:.1%} of {self.n_draws:,} independent draws"
            )
        return f"{self.promise}: none exists on {self.n_draws:,} independent draws. {self._why_none()}"

    def _why_none(self) -> str:
        nearest = self.nearest
        if nearest is None:
            return f"They are too few to certify anything: {self.more_labels:,} more are needed if none is wrong."
        looked = f"Nearest: {nearest.n_right:,} right of {nearest.n:,} at {nearest.value:.4f}, {nearest.n_right / nearest.n:.3f}"
        if self.more_labels is None:
            return f"{looked}. More labels would hardly help: ask for less, or use another encoder."
        return f"{looked}. About {self.more_labels:,} more draws would do if that cut is as good as it looks."


def plain(interval: Interval) -> list[float | None]:
    """The value and its bounds, rounded; None for NaN."""
    return [round(value, 4) if np.isfinite(value) else None for value in interval]


def _told(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
