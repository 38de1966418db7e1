"""What the package found, as answers hold it."""

from collections.abc import Sequence

import numpy as np

from textsiam.data.texts import fault_of
from textsiam.interfaces.service import bodies
from textsiam.matching.matches import Matches
from textsiam.scoring.thresholds import Threshold


def matches_told(found: Matches, *, by_id: bool) -> list[bodies.MatchBody]:
    """Pairs; the right ones by id where they are an index's."""
    ids = found.id_columns()[1] if by_id else found.right.tolist()
    texts = (found.text_columns() or (None, None))[1] if by_id else None
    nothing = [None] * len(found)
    columns = zip(
        found.left.tolist(),
        ids,
        found.score.tolist(),
        nothing if found.probability is None else found.probability.tolist(),
        nothing if found.decision is None else found.decision.tolist(),
        nothing if texts is None else texts,
        strict=True,
    )
    return [
        bodies.MatchBody(
            left=left, right=right, score=score, probability=number(probability), decision=decision, text=text
        )
        for left, right, score, probability, decision, text in columns
    ]


def threshold_told(threshold: Threshold | None) -> bodies.ThresholdBody | None:
    """A threshold that may be missing."""
    return None if threshold is None else bodies.ThresholdBody(value=threshold.value, guarantee=threshold.guarantee)


def faults_told(texts: Sequence[str]) -> list[bodies.FaultBody]:
    """The unusable ones among texts."""
    return [
        bodies.FaultBody(position=place, reason=fault) for place, text in enumerate(texts) if (fault := fault_of(text))
    ]


def places(flags: np.ndarray) -> list[int]:
    """Where the flags are up."""
    return np.flatnonzero(flags).tolist()


def number(value: float | None) -> float | None:
    """A number, or None where there is none: JSON knows no NaN."""
    return None if value is None or value != value else float(value)  # noqa: PLR0124  NaN
