"""Score → probability, as plain numbers: knots on a rising line, and nothing of the library that fitted them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Calibrator:
    """A rising, piecewise linear function from scores to probabilities.

    Parameters
    ----------
    scores
        Knots: strictly rising scores, at least two.
    probabilities
        The probability at each knot: in [0, 1], never falling.
    evidence
        What it was fitted on, as plain values.
    encoder
        The fingerprint of the encoder whose scores it reads; empty if it is anybody's.
    similarity
        The similarity whose scores it reads; empty if it is any.

    Raises
    ------
    ValueError
        If the knots are not as above.

    Examples
    --------
    >>> import numpy as np
    >>> calibrator = Calibrator((0.0, 1.0), (0.1, 0.9))
    >>> calibrator(np.array([0.5, 2.0]))
    array([0.5, 0.9])
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    encoder: str = ""
    similarity: str = ""

    def __post_init__(self) -> None:
        rising = len(self.scores) > 1 and bool(np.all(np.diff(self.scores) > 0))
        bounded = len(self.probabilities) == len(self.scores) and all(0 <= value <= 1 for value in self.probabilities)
        if not (rising and bounded and bool(np.all(np.diff(self.probabilities) >= 0))):
            raise ValueError(
                f"A calibrator needs two or more strictly rising scores with probabilities in [0, 1] that never fall, but got "
                f"{len(self.scores)} scores and {len(self.probabilities)} probabilities that are not so. Fit it again."
            )

    def __call__(self, scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Probabilities in [0, 1]; beyond the outer knots the outer probability; NaN stays NaN."""
        return np.asarray(np.interp(scores, self.scores, self.probabilities))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the model folder."""
        return {
            "scores": list(self.scores),
            "probabilities": list(self.probabilities),
            "evidence": dict(self.evidence),
            "encoder": self.encoder,
            "similarity": self.similarity,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Calibrator":
        """The calibrator that `to_json` told of."""
        return cls(
            tuple(told["scores"]),
            tuple(told["probabilities"]),
            told.get("evidence", {}),
            told.get("encoder", ""),
            told.get("similarity", ""),
        )
