"""A judge that is the user's own code: a cross-encoder, a service, rules; anything that gives log-odds for two lists of texts."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class CallableJudge:
    """Log-odds that two texts mean the same, from a function of the texts.

    Parameters
    ----------
    function
        From two lists of n texts to n finite numbers. It is asked for each pair once, in the order of the two texts.
    name
        Of the function and its version: thresholds and calibrations are bound to it.
    candidates
        The lowest cosine of a pair that a search reads, and that may be accepted.
    card
        What it is, as plain values.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> equal = lambda first, second: [4.0 if a.lower() == b.lower() else -4.0 for a, b in zip(first, second)]
    >>> judge = CallableJudge(equal, "equal but for case")
    >>> Siamese.load().with_judge(judge).judgement(["Pay?", "Pay?"], ["pay?", "Play?"]).log_odds
    array([ 4., -4.], dtype=float32)
    """

    function: Callable[[list[str], list[str]], Any]
    name: str
    candidates: float = 0.6
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """A hash of the name and of the candidate threshold."""
        return hashlib.sha256(f"callable {self.name} {self.candidates!r}".encode()).hexdigest()

    def __call__(self, first: Sequence[str], second: Sequence[str]) -> Float[np.ndarray, " k"]:
        """The log-odds of these pairs, (k,) fp32.

        Raises ValueError if the function does not give one finite number per pair.
        """
        told = np.asarray(self.function(list(first), list(second)), dtype=np.float32)
        if told.shape != (len(first),) or not np.isfinite(told).all():
            raise ValueError(
                f"The judge {self.name!r} got {len(first):,} pairs and gave an array of shape {told.shape}. Return one finite "
                "number for each pair."
            )
        return told

    def check(self, fingerprint: str) -> None:
        """Every encoder finds candidates for it."""

    def to_bytes(self) -> bytes:
        """Raises ValueError: code is not saved."""
        raise ValueError(
            f"The judge {self.name!r} is a function, and a model folder holds no code. Save the model without it "
            "(with_judge(None)), and add it again after loading."
        )
