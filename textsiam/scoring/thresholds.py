"""A threshold with its guarantee and evidence, the decision that two of them make, and a verifier for what is left."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from textsiam.data.texts import fault_of, is_missing

LOG_ODDS = "log-odds"  # what a judge says, beside the names of similarities
ACCEPT, REVIEW, REJECT = "accept", "review", "reject"


@dataclass(frozen=True)
class Threshold:
    """A score to cut at, or the result that no score qualifies.

    Parameters
    ----------
    value
        The score, or None: certification found that none qualifies.
    similarity
        What it cuts: the name of a similarity, or ``log-odds`` of a judge.
    guarantee
        What holds beyond it, in words, such as ``precision ≥ 0.90 with 95 % confidence``.
    evidence
        The data and figures behind the choice, as plain values; ``on`` names the data.
    encoder
        The fingerprint of all that it relies on: the encoder; the judge and the vetoes, if the model has any. Empty: of any.

    Examples
    --------
    >>> print(Threshold(0.93, "cosine", "precision ≥ 0.90 with 95 % confidence", {"on": "curated question pairs"}))
    0.9300 (precision ≥ 0.90 with 95 % confidence, on curated question pairs)
    """

    value: float | None
    similarity: str = "cosine"
    guarantee: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    encoder: str = ""

    def __post_init__(self) -> None:
        if self.value is None:
            return
        if isinstance(self.value, str | bool) or not np.isfinite(self.value):
            raise ValueError(f"A threshold is a finite score or None, but got {self.value!r}. Give a number.")
        object.__setattr__(self, "value", float(self.value))

    def __str__(self) -> str:
        unit = " log-odds" if self.similarity == LOG_ODDS else ""
        value = "none exists" if self.value is None else f"{self.value:.4f}{unit}"
        why = ", ".join(
            part for part in (self.guarantee, f"on {self.evidence['on']}" if "on" in self.evidence else "") if part
        )
        return f"{value} ({why})" if why else value

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the model folder."""
        return vars(self) | {"evidence": dict(self.evidence)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Threshold":
        """The threshold of the plain values that `to_json` gives."""
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})


def decisions(
    scores: Float[np.ndarray, " n"],
    accept: Threshold,
    reject: Threshold | None = None,
    *,
    held: Bool[np.ndarray, " n"] | None = None,
) -> np.ndarray:
    """``accept`` at or above the one threshold, ``reject`` below the other, ``review`` between them and for NaN.

    What is `held` is not accepted, but for review.

    If there is no threshold to accept at, everything is ``review``. Scores and thresholds are compared in fp32, the dtype of
    scores, so a score that prints like the threshold reaches it. Returns (n,) strings.

    Examples
    --------
    >>> decisions(np.array([0.95, 0.7, 0.2, np.nan]), Threshold(0.9), Threshold(0.4))
    array(['accept', 'review', 'reject', 'review'], dtype='<U6')
    """
    rounded = scores.astype(np.float32)
    decided = np.full(len(scores), REVIEW)
    if accept.value is None:
        return decided
    if reject is not None and reject.value is not None:
        decided[rounded < np.float32(reject.value)] = REJECT
    decided[rounded >= np.float32(accept.value)] = ACCEPT
    if held is not None:
        decided[held & (decided == ACCEPT)] = REVIEW
    return decided


# (first texts, second texts) → True (the same), False (not) or None (undecided) for each pair: a rule, a cross-encoder with a
# threshold, an LLM, a form that a person fills in.
Verifier = Callable[[list[str], list[str]], Any]


def verified(decided: np.ndarray, first: Sequence[object], second: Sequence[object], verifier: Verifier) -> np.ndarray:
    """The decisions after the verifier decided the pairs left for review; it gets no pair with an unusable text.

    Raises ValueError if it does not give True, False or None (or NaN) once per pair.

    Examples
    --------
    >>> rule = lambda first, second: [a.lower() == b.lower() for a, b in zip(first, second)]
    >>> verified(np.array(["review", "accept"]), ["Pay?", "x"], ["pay?", "y"], rule)
    array(['accept', 'accept'], dtype='<U6')
    """
    places = [
        place
        for place in np.flatnonzero(decided == REVIEW).tolist()
        if not fault_of(first[place]) and not fault_of(second[place])
    ]
    if not places:
        return decided
    given = verifier([str(first[place]) for place in places], [str(second[place]) for place in places])
    try:
        answers = list(given)
    except TypeError:
        raise ValueError(
            f"A verifier gives one answer per pair, but this one gave a single {type(given).__name__}. Return a list."
        ) from None
    if len(answers) != len(places):
        raise ValueError(
            f"The verifier got {len(places):,} pairs and gave {len(answers):,} answers. Give one answer per pair."
        )
    decided = decided.astype("<U6")
    decided[places] = [_decision(answer) for answer in answers]
    return decided


def _decision(answer: Any) -> str:
    if is_missing(answer):
        return REVIEW
    if isinstance(answer, bool | np.bool_) or (isinstance(answer, int | float | np.number) and answer in (0, 1)):
        return ACCEPT if answer else REJECT
    raise ValueError(
        f"A verifier answers True (the same), False (not) or None (undecided), but this one answered {answer!r}. "
        "Compare a score with a threshold of your choice."
    )
