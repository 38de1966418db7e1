"""A second judge for the pairs left for review, and the certificate of the decision that both make together."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from textsiam.data.texts import fault_of
from textsiam.errors import NotCalibrated
from textsiam.scoring.certificates import Certificate, Cut
from textsiam.scoring.certification import CONFIDENCE, check_scores, draw
from textsiam.scoring.intervals import binomial_interval
from textsiam.scoring.planning import check_levels, labels_needed, passes
from textsiam.scoring.scored import scored_by
from textsiam.scoring.thresholds import ACCEPT, REJECT, REVIEW, decisions

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

# (first texts, second texts) → True (the same), False (not) or None (cannot tell) for each pair: a rule, a cross-encoder
# with a cut, an LLM, a form that a person fills in.
Verifier = Callable[[list[str], list[str]], Any]


class DecisionCertificate(NamedTuple):
    """Whether accepting and rejecting, as they are decided now, keep what is asked; the share left for review."""

    accept: Certificate
    reject: Certificate | None
    review: float

    def __bool__(self) -> bool:
        """Whether all that was asked is certified."""
        return bool(self.accept) and (self.reject is None or bool(self.reject))


def verified(decided: np.ndarray, first: Sequence[object], second: Sequence[object], verifier: Verifier) -> np.ndarray:
    """The decisions, with those left for review put to the verifier; it sees no pair with an unusable text.

    Raises
    ------
    ValueError
        If it does not answer True, False or None (or NaN) once for each pair.

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
    answers = list(verifier([str(first[place]) for place in places], [str(second[place]) for place in places]))
    if len(answers) != len(places):
        raise ValueError(
            f"The verifier got {len(places):,} pairs and gave {len(answers):,} answers. It answers once for each pair."
        )
    decided = decided.astype("<U6")
    decided[places] = [_decision(answer) for answer in answers]
    return decided


def certify_decisions(
    model: "Siamese",
    pairs: Any,
    *,
    verifier: Verifier | None = None,
    precision: float = 0.95,
    reject_precision: float | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> DecisionCertificate:
    """Whether the model's decisions, together with the verifier's, keep what is asked on pairs like these.

    One exact binomial test each, on one random pair a component, of the accepted and of the rejected: the rule is fixed, so
    nothing is chosen and nothing is paid for choosing. For the same reason the pairs must be others than the thresholds were
    certified on: those that chose a threshold flatter it.

    Parameters
    ----------
    verifier
        Called once, with the drawn pairs that the model leaves for review.
    precision, reject_precision
        What the accepted, and the rejected, shall keep; None certifies no rejection.

    Returns
    -------
    certificate
        ``.accept`` and ``.reject``, whose ``value`` is the level where it is certified, else None, and whose ``found`` is the
        share found with its interval; ``.review``, the share still left.

    Raises
    ------
    NotCalibrated
        If the model has no threshold.
    UnreadableInput, ValueError, EncoderMismatch
        As `Siamese.certify`, and where the verifier's answers are none.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.samples import PAIRS
    >>> told = certify_decisions(Siamese.load(), PAIRS, verifier=lambda first, second: [None] * len(first), precision=0.8)
    >>> bool(told), told.accept.n_draws > 50
    (False, True)
    """
    if model.threshold is None:
        raise NotCalibrated(
            "This model has no threshold, so it decides nothing. Certify one on other labelled pairs first."
        )
    check_levels(confidence, precision, *([] if reject_precision is None else [reject_precision]))
    scored = scored_by(model, pairs)
    labels = check_scores(scored.scores, scored.labels, scored.components)
    rows = draw(scored.components, len(scored), seed)
    decided = decisions(scored.scores[rows], model.threshold, model.reject_threshold)
    if verifier is not None:
        first, second = ([column[row] for row in rows] for column in (scored.pairs.first, scored.pairs.second))
        decided = verified(decided, first, second, verifier)
    positive = labels[rows] == 1
    accepted = _tested("precision", decided == ACCEPT, positive, precision, confidence)
    rejected = None
    if reject_precision is not None:
        rejected = _tested("reject_precision", decided == REJECT, ~positive, reject_precision, confidence)
    return DecisionCertificate(accepted, rejected, float((decided == REVIEW).mean()))


def _tested(
    guarantee: str, chosen: Bool[np.ndarray, " n"], right: Bool[np.ndarray, " n"], level: float, confidence: float
) -> Certificate:
    n, n_right = int(chosen.sum()), int((chosen & right).sum())
    passed = passes(n_right, n, level, confidence)
    needed = labels_needed(level, (n_right + 1) / (n + 2), confidence) if n else None
    more = 0 if passed else None if needed is None else max(1, round(needed * len(chosen) / n) - len(chosen))
    return Certificate(
        guarantee,
        level,
        confidence,
        level if passed else None,
        (Cut(level, n, n_right, passed),),
        len(chosen),
        binomial_interval(n_right, n),
        binomial_interval(n_right, int(right.sum())),
        n / len(chosen),
        more,
    )


def _decision(answer: Any) -> str:
    if answer is None or answer != answer:  # noqa: PLR0124  NaN
        return REVIEW
    if isinstance(answer, bool | np.bool_) or (isinstance(answer, int | float | np.number) and answer in (0, 1)):
        return ACCEPT if answer else REJECT
    raise ValueError(
        f"A verifier answers True (the same), False (not) or None (cannot tell), but {answer!r} came. "
        "Compare a score with a cut of your choice."
    )
