"""Audits, which certify a threshold: a sample to label, then the certificate. The service keeps nothing between the two."""

from typing import TYPE_CHECKING

import numpy as np

from textsiam.interfaces.service import bodies
from textsiam.interfaces.service.bodies import number
from textsiam.interfaces.service.limits import Limits, Refused
from textsiam.matching.matches import Matches

if TYPE_CHECKING:
    from textsiam.auditing.audit import Audit


class AuditAnswers:
    """Samples of a join's pairs, and their certificates."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def audit(self, asked: bodies.AuditRequest) -> bodies.AuditBody:
        """The pairs of a join to label."""
        started = self._audit(asked)
        return bodies.AuditBody(sample=[int(name) for name in started.pairs.id_a])

    def finish(self, asked: bodies.FinishRequest) -> bodies.FinishBody:
        """The certificate from the labels of a sample."""
        started = self._audit(asked)
        numbers = {int(name): place for place, name in enumerate(started.pairs.id_a, 1)}
        labels = {numbers[one.position]: one.is_same for one in asked.labels if one.position in numbers}
        if not labels:
            raise Refused(409, "No pair of the sample has a label. Label some pairs first.", param="labels")
        result = started.label(labels).finish(asked.precision, asked.confidence)
        return bodies.FinishBody(
            threshold=bodies.ThresholdBody(value=result.threshold.value, guarantee=result.threshold.guarantee),
            precision=number(result.precision.value),
            precision_low=number(result.precision.low),
            precision_high=number(result.precision.high),
            labelled=result.n_labels,
            wrong=result.n_wrong,
            not_labelled=result.n_unlabelled,
        )

    def _audit(self, asked: bodies.AuditRequest) -> "Audit":
        from textsiam.auditing.audit import start_audit

        n = len(asked.scores)
        if n > self.limits.pairs:
            raise Refused(
                400, f"An audit takes {self.limits.pairs:,} pairs, but got {n:,}. Raise the threshold.", param="scores"
            )
        rows, nothing = np.arange(n), ["-"] * n  # only the client has the texts
        scores = np.array(asked.scores, dtype=np.float32)
        matches = Matches(rows, rows, scores, n, n, left_texts=nothing, right_texts=nothing)
        return start_audit(matches, n=min(asked.n, n), seed=asked.seed)
