"""A certificate for the decisions that a model and a verifier make together."""

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from textsiam.data.splitting import check_seed
from textsiam.errors import NotCalibrated
from textsiam.scoring.evidence.certificates import promised, told
from textsiam.scoring.evidence.certification import CONFIDENCE, check_scores, draw
from textsiam.scoring.evidence.intervals import Interval, binomial_interval
from textsiam.scoring.evidence.planning import check_levels, lower_bound, passes
from textsiam.scoring.evidence.scored_pairs import ScoredPairs, scored_by
from textsiam.scoring.thresholds import ACCEPT, REJECT, REVIEW, Verifier, decisions, verified

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

logger = logging.getLogger("textsiam")


class Kept(NamedTuple):
    """Whether fixed decisions keep a promise: one exact binomial test of a rule that was chosen elsewhere.

    Parameters
    ----------
    guarantee, level, confidence
        As in `textsiam.scoring.evidence.certificates.Certificate`.
    is_kept
        Whether the promise is certified.
    n_draws, n_decided, n_right
        Independent draws; how many of them have this decision; how many of these are right.
    found
        The share of right decisions among them, with its 95 % interval; NaN if there are none.
    recall
        The share of the pairs that should have this decision and have it, with its interval.
    """

    guarantee: str
    level: float
    confidence: float
    is_kept: bool
    n_draws: int
    n_decided: int
    n_right: int
    found: Interval
    recall: Interval

    def __bool__(self) -> bool:
        return self.is_kept

    def __str__(self) -> str:
        promise = promised(self.guarantee, self.level, self.confidence)
        if not self.n_decided:
            return f"{promise}: not certified, for none of {self.n_draws:,} independent draws has this decision"
        what = "certified" if self.is_kept else "not certified"
        bound = lower_bound(self.n_right, self.n_decided, self.confidence)
        return (
            f"{promise}: {what}; {self.n_right:,} right of {self.n_decided:,}, at least {bound:.3f}; "
            f"recall {told(self.recall)}, {self.n_draws:,} independent draws"
        )


class DecisionCertificate(NamedTuple):
    """Whether accepting and rejecting keep their promises; the share left for review."""

    accept: Kept
    reject: Kept | None
    review: float

    def __bool__(self) -> bool:
        """Whether every promise asked for is certified."""
        return bool(self.accept) and (self.reject is None or bool(self.reject))

    def __str__(self) -> str:
        parts = [f"accept: {self.accept}", *([] if self.reject is None else [f"reject: {self.reject}"])]
        return "\n".join([*parts, f"review: {self.review:.1%}"])


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
    """Whether the model's decisions, together with the verifier's, keep a promise on pairs like these.

    Runs one exact binomial test of the accepted and one of the rejected pairs, on one random pair per component. The rule is
    fixed, so there is no price for choosing. For the same reason, use other pairs than those that the thresholds were
    certified on: pairs that chose a threshold flatter it.

    Parameters
    ----------
    verifier
        Called once, with those drawn pairs that the model leaves for review.
    precision, reject_precision
        The precision to certify of the accepted, and of the rejected pairs; None: no test of the rejected.

    Returns
    -------
    certificate
        ``.accept`` and ``.reject``: whether each promise ``is_kept``, the share ``found`` right and the ``recall``, with
        intervals; ``.review``, the share still left. True if every promise is certified.

    Raises
    ------
    NotCalibrated
        If the model has no threshold.
    UnreadableInput, ValueError, EncoderMismatch
        As `Siamese.certify`, and if the verifier's answers are not usable.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.samples import PAIRS
    >>> certificate = certify_decisions(Siamese.load(), PAIRS, verifier=lambda first, second: [None] * len(first), precision=0.8)
    >>> bool(certificate), certificate.accept.n_draws > 50
    (False, True)
    """
    if model.threshold is None:
        raise NotCalibrated(
            "This model has no threshold, so it cannot decide. Certify one on other labelled pairs first."
        )
    check_levels(confidence, precision, *([] if reject_precision is None else [reject_precision]))
    check_seed(seed)
    scored = scored_by(model, pairs)
    _say_if_reused(model, scored)
    _, labels, _ = check_scores(scored.scores, scored.labels, scored.components)
    rows = draw(scored.components, len(scored), seed)
    decided = decisions(scored.scores[rows], model.threshold, model.reject_threshold, held=scored.held[rows])
    if verifier is not None:
        first, second = ([column[row] for row in rows] for column in (scored.pairs.first, scored.pairs.second))
        decided = verified(decided, first, second, verifier)
    positive = labels[rows] == 1
    asked = dict(precision=(decided == ACCEPT, positive, precision))
    if reject_precision is not None:
        asked["reject_precision"] = (decided == REJECT, ~positive, reject_precision)
    kept = {name: _tested(name, *of, float(confidence)) for name, of in asked.items()}
    return DecisionCertificate(kept["precision"], kept.get("reject_precision"), float((decided == REVIEW).mean()))


def _tested(
    guarantee: str, chosen: Bool[np.ndarray, " n"], right: Bool[np.ndarray, " n"], level: float, confidence: float
) -> Kept:
    n, n_right = int(chosen.sum()), int((chosen & right).sum())
    return Kept(
        guarantee,
        float(level),
        confidence,
        passes(n_right, n, level, confidence),
        len(chosen),
        n,
        n_right,
        binomial_interval(n_right, n),
        binomial_interval(n_right, int(right.sum())),
    )


def _say_if_reused(model: "Siamese", scored: ScoredPairs) -> None:
    for threshold in (model.threshold, model.reject_threshold):
        if threshold is not None and threshold.evidence.get("pairs_digest") == scored.told.get("pairs_digest", ""):
            logger.warning("these are the pairs that the thresholds were certified on: they flatter. Give other pairs")
            return
