"""What an audit's labels prove about a threshold, and what they suggest about the whole join."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int

from textsiam.auditing.estimates import precision_at, recall_at, share_of
from textsiam.auditing.labelling import NOT_GIVEN, OTHER, SAME, UNRESOLVED, Agreement
from textsiam.auditing.proof import Proof, prove
from textsiam.auditing.sampling import Design
from textsiam.data.pairs import Pairs
from textsiam.errors import UnreadableInput
from textsiam.scoring.evidence.certificates import plain, told
from textsiam.scoring.evidence.intervals import NOTHING, Interval
from textsiam.scoring.thresholds import Threshold

if TYPE_CHECKING:
    from textsiam.auditing.audit import Audit


class Band(NamedTuple):
    """One stratum: its scores, matches, labels and precision; then precision and recall at its lowest score."""

    low: float
    high: float
    n_matches: int
    n_labels: int
    n_wrong: int
    precision: Interval
    precision_above: Interval
    recall_above: Interval

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: plain(value) if isinstance(value, Interval) else value for name, value in self._asdict().items()}


@dataclass(frozen=True, repr=False)
class AuditResult:
    """What an audit found.

    Parameters
    ----------
    threshold
        The loosest threshold proven for this join; its ``value`` is None if none is proven.
    proof
        The tests behind it.
    n_matches, n_drawn
        The matches of the join, and how many of them were drawn.
    n_labels, n_wrong
        Draws that the labellers decided, and how many of them are wrong.
    n_unresolved, n_unlabelled
        Draws skipped or tied, and draws that nobody labelled. Both count as wrong in the proof; estimates leave them out.
    precision
        The precision of all matches, at the join's own threshold.
    precision_at_worst
        The same, if every undecided draw were wrong.
    recall
        The share at or above the threshold of the true pairs that the join found; NaN without a threshold. True pairs below
        the join's own threshold are not counted: an audit cannot see them.
    bands
        The strata, from the highest scores down.
    agreement
        The agreement of each two labellers.
    training
        The informative pairs with a label, for `train`; None if there are none.

    Examples
    --------
    >>> from textsiam.auditing.audit import start_audit
    >>> from textsiam.matching.matches import Matches
    >>> rows = np.arange(2_000)
    >>> scores = np.linspace(0.8, 1, 2_000, dtype=np.float32)
    >>> texts = [f"text {row}" for row in range(2_001)]
    >>> audit = start_audit(Matches(rows, rows + 1, scores, 2_001, left_texts=texts), n=200)
    >>> result = audit.label({k: audit.pairs.score[k - 1] > 0.85 for k in audit.unlabelled("ann")}, "ann").finish()
    >>> result.threshold.guarantee, result.threshold.value < 0.87, result.n_labels
    ('precision ≥ 0.95 with 95 % confidence', True, 200)
    """

    threshold: Threshold
    proof: Proof
    n_matches: int
    n_drawn: int
    n_labels: int
    n_wrong: int
    n_unresolved: int
    n_unlabelled: int
    precision: Interval
    precision_at_worst: Interval
    recall: Interval
    bands: tuple[Band, ...]
    agreement: tuple[Agreement, ...]
    training: Pairs | None = None

    def __bool__(self) -> bool:
        return self.threshold.value is not None

    @property
    def more_labels(self) -> int | None:
        """How many more labels would do if the most promising cut is as good as it looks; None if no number would."""
        return self.proof.more_labels(self.n_drawn)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        counts = ("n_matches", "n_drawn", "n_labels", "n_wrong", "n_unresolved", "n_unlabelled")
        return {
            "threshold": self.threshold.to_json(),
            **{name: getattr(self, name) for name in counts},
            "precision": plain(self.precision),
            "precision_at_worst": plain(self.precision_at_worst),
            "recall": plain(self.recall),
            "bands": [band.to_json() for band in self.bands],
            "agreement": [one.to_json() for one in self.agreement],
            "more_labels": self.more_labels,
            "training_pairs": 0 if self.training is None else len(self.training),
        }

    def __str__(self) -> str:
        return "\n".join([self._verdict(), *self._estimates(), *map(str, self.agreement)])

    __repr__ = __str__

    def _verdict(self) -> str:
        if self.threshold.value is not None:
            of = f"recall there {told(self.recall)} of what the join found"
            return f"{self.proof.promise}: at or above {self.threshold.value:.4f}; {of}"
        nearest = self.proof.nearest
        if nearest is None:
            return (
                f"{self.proof.promise}: none is proven. {self.n_drawn:,} labels are too few to prove anything: at least "
                f"{self.more_labels:,} more are needed, even if all are right."
            )
        closest = f"Nearest: {nearest.n_right:,} right of {nearest.n:,} at {nearest.value:.4f}"
        more = (
            "More labels would hardly help: ask for a lower precision, or use another encoder."
            if self.more_labels is None
            else f"About {self.more_labels:,} more labels suffice if that cut is as good as it looks; start a new audit."
        )
        return f"{self.proof.promise}: none is proven by {self.n_drawn:,} labels. {closest}. {more}"

    def _estimates(self) -> list[str]:
        of = f"by {self.n_labels:,} labels ({self.n_wrong:,} wrong)"
        lines = [f"of all {self.n_matches:,} matches {told(self.precision)} are right, {of}"]
        if self.n_unlabelled:
            lines.append(
                f"{self.n_unlabelled:,} of {self.n_drawn:,} draws are not labelled yet: label them, then finish again"
            )
        if self.n_unresolved or self.n_unlabelled:
            lines.append(
                f"{self.n_unresolved:,} draws are unresolved and {self.n_unlabelled:,} not labelled: they count as wrong in the "
                f"proof, and estimates leave them out; if all were wrong, precision would be {told(self.precision_at_worst)}"
            )
        return [*lines, "true pairs below the join's own threshold are not counted: an audit cannot see them"]


def judge(audit: "Audit", precision: float, confidence: float) -> AuditResult:
    """What the labels of an audit's random sample prove and suggest; see `Audit.finish`."""
    design, labels = audit.design, audit.consensus()
    if not (labels >= OTHER).any():
        raise UnreadableInput(
            f"None of the {len(design):,} pairs of this audit has a label by majority. Label them first "
            "(textsiam audit label, Audit.label)."
        )
    proof = prove(design, labels, precision=precision, confidence=confidence)
    decided = np.where(labels == NOT_GIVEN, UNRESOLVED, labels)
    lowest = float(design.low[-1])
    whole = precision_at(design, decided, lowest)
    recall = NOTHING if proof.value is None else recall_at(design, decided, proof.value)
    counts = _counts(design, labels)
    evidence = {
        "on": f"audit of {design.n_matches:,} matches",
        **counts,
        "errors": counts["n_wrong"],
        "labellers": len(audit.labels),
        "join": dict(audit.join),
        "seed": design.seed,
        "precision_of_join": plain(whole),
        "recall_of_join_found": plain(recall),
        **proof.to_json(),
    }
    of = (audit.join["similarity"], proof.promise, evidence, audit.join["encoder"])
    return AuditResult(
        Threshold(proof.value, *of),
        proof,
        **counts,
        precision=whole,
        precision_at_worst=precision_at(design, (labels == SAME).astype(np.int64), lowest),
        recall=recall,
        bands=tuple(_band(design, decided, stratum) for stratum in range(design.n_strata)),
        agreement=tuple(audit.agreements()),
        training=audit.training_pairs(),
    )


def _counts(design: Design, labels: Int[np.ndarray, " n"]) -> dict[str, int]:
    return {
        "n_matches": design.n_matches,
        "n_drawn": len(design),
        "n_labels": int((labels >= OTHER).sum()),
        "n_wrong": int((labels == OTHER).sum()),
        "n_unresolved": int((labels == UNRESOLVED).sum()),
        "n_unlabelled": int((labels == NOT_GIVEN).sum()),
    }


def _band(design: Design, labels: Int[np.ndarray, " cells"], stratum: int) -> Band:
    inside = design.stratum == stratum
    low = float(design.low[inside][-1])
    above = design.stratum[0] if stratum == 0 else stratum - 1
    high = float(design.score.max()) if stratum == 0 else float(design.low[design.stratum == above][-1])
    return Band(
        low,
        high,
        int(design.size[inside].sum()),
        int((inside & (labels >= OTHER)).sum()),
        int((inside & (labels == OTHER)).sum()),
        share_of(design, labels, inside),
        precision_at(design, labels, low),
        recall_at(design, labels, low),
    )
