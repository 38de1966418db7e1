"""Score → probability by knots on a rising line. Reading a calibrator needs no fitting library."""

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
        Data and quality of the fit, as plain values.
    encoder
        The fingerprint of the encoder, and of the judge if there is one, that gives the scores; empty for any.
    similarity
        What the scores are: the name of a similarity, or ``log-odds`` of a judge; empty for any.

    Raises
    ------
    ValueError
        If the knots break these rules.

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
                f"{len(self.scores)} scores and {len(self.probabilities)} probabilities that break this. Fit it again."
            )

    def __call__(self, scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Probabilities in [0, 1], constant beyond the outer knots; NaN stays NaN."""
        return np.asarray(np.interp(scores, self.scores, self.probabilities))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the model folder."""
        knots = {"scores": list(self.scores), "probabilities": list(self.probabilities)}
        return vars(self) | knots | {"evidence": dict(self.evidence)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Calibrator":
        """The calibrator from the values of `to_json`."""
        more = {name: values[name] for name in ("evidence", "encoder", "similarity") if name in values}
        return cls(tuple(values["scores"]), tuple(values["probabilities"]), **more)
