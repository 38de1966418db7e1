"""What proves a threshold: a sample to label, and what its labels say. Nothing is kept between the two."""

from typing import TYPE_CHECKING

import numpy as np

from textsiam.interfaces.service import bodies
from textsiam.interfaces.service.bodies import number
from textsiam.interfaces.service.limits import Limits, Refused
from textsiam.matching.matches import Matches

if TYPE_CHECKING:
    from textsiam.auditing.audit import Audit


class AuditAnswers:
    """Samples of joins, and their certificates.

    Parameters
    ----------
    limits
        What one request may ask for.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def audit(self, asked: bodies.AuditRequest) -> bodies.AuditBody:
        """Which pairs of a join are to be labelled."""
        started = self._audit(asked)
        return bodies.AuditBody(sample=[int(name) for name in started.pairs.id_a])

    def finish(self, asked: bodies.FinishRequest) -> bodies.FinishBody:
        """What the labels of a sample prove."""
        started = self._audit(asked)
        numbers = {int(name): place for place, name in enumerate(started.pairs.id_a, 1)}
        labels = {numbers[one.position]: one.is_same for one in asked.labels if one.position in numbers}
        if not labels:
            raise Refused(409, "No pair of the sample has a label. Label some of it first.", param="labels")
        told = started.label(labels).finish(asked.precision, asked.confidence)
        return bodies.FinishBody(
            threshold=bodies.ThresholdBody(value=told.threshold.value, guarantee=told.threshold.guarantee),
            precision=number(told.precision.value),
            precision_low=number(told.precision.low),
            precision_high=number(told.precision.high),
            labelled=told.n_labels,
            wrong=told.n_wrong,
            not_labelled=told.n_unlabelled,
        )

    def _audit(self, asked: bodies.AuditRequest) -> "Audit":
        from textsiam.auditing.audit import start_audit

        n = len(asked.scores)
        if n > self.limits.pairs:
            raise Refused(
                400, f"An audit takes {self.limits.pairs:,} pairs, but {n:,} came. Raise the threshold.", param="scores"
            )
        rows, nothing = np.arange(n), ["-"] * n  # who labels has the texts
        scores = np.array(asked.scores, dtype=np.float32)
        matches = Matches(rows, rows, scores, n, n, left_texts=nothing, right_texts=nothing)
        return start_audit(matches, n=min(asked.n, n), seed=asked.seed)
