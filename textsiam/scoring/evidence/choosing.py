"""The two thresholds of a three-way decision, chosen with a guarantee from scored pairs, and what each target would cost."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from textsiam.data.splitting import check_seed
from textsiam.scoring.evidence.certificates import Certificate, plain
from textsiam.scoring.evidence.certification import CONFIDENCE, certify_scores, draw
from textsiam.scoring.evidence.planning import check_levels
from textsiam.scoring.evidence.scored_pairs import ScoredPairs
from textsiam.scoring.thresholds import REVIEW, Threshold, decisions

LEVELS = (0.80, 0.85, 0.90, 0.95, 0.98, 0.99)
ESTIMAND = "one pair drawn at random from each component of pairs that share a text"


class Chosen(NamedTuple):
    """The thresholds to accept and to reject at, with their certificates; the share of draws that is left for review."""

    accept: Threshold
    reject: Threshold | None
    accept_certificate: Certificate
    reject_certificate: Certificate | None
    review: float


def choose(
    scored: ScoredPairs,
    *,
    precision: float | None = None,
    recall: float | None = None,
    false_match_rate: float | None = None,
    reject_precision: float | None = 0.95,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Chosen:
    """Thresholds that keep their promises, each with `confidence`.

    Raises UnreadableInput if there are no labels, or only one label; ValueError if two targets for accepting are given, or a
    level or the confidence is not in (0, 1).

    Parameters
    ----------
    precision, recall, false_match_rate
        The target of the threshold to accept at, one of them. Default: precision=.95.
    reject_precision
        The target of the threshold to reject below; None or 0: nothing is rejected.
    """
    guarantee, level = check_targets(precision, recall, false_match_rate, reject_precision, confidence, seed)
    how: dict[str, Any] = dict(confidence=float(confidence), seed=int(seed))
    columns = (scored.scores, scored.labels, scored.components)
    accepted = certify_scores(*columns, guarantee=guarantee, level=level, held=scored.held, **how)
    rejected = None
    if reject_precision:
        how |= dict(level=float(reject_precision), at_most=accepted.value)
        rejected = certify_scores(*columns, guarantee="reject_precision", **how)
    of = (scored.similarity, scored.rule or scored.encoder)
    accept = Threshold(accepted.value, of[0], accepted.promise, encoder=of[1])
    reject = None if rejected is None else Threshold(rejected.value, of[0], rejected.promise, encoder=of[1])
    drawn = draw(scored.components, len(scored), int(seed))
    review = float((decisions(scored.scores[drawn], accept, reject, held=scored.held[drawn]) == REVIEW).mean())
    told = _told(scored, int(seed)) | {"review": round(review, 4)}
    if reject is not None and rejected is not None:
        reject = replace(reject, evidence=told | rejected.to_json())
    return Chosen(replace(accept, evidence=told | accepted.to_json()), reject, accepted, rejected, review)


def check_targets(
    precision: float | None,
    recall: float | None,
    false_match_rate: float | None,
    reject_precision: float | None,
    confidence: float,
    seed: int,
) -> tuple[str, float]:
    """The guarantee asked for and its level; raises, before the slow work, if it cannot be certified.

    Raises ValueError if two targets for accepting are given, a level or the confidence is not in (0, 1), or the seed is negative.
    """
    asked = {"precision": precision, "recall": recall, "false_match_rate": false_match_rate}
    given = {name: level for name, level in asked.items() if level is not None}
    if len(given) > 1:
        raise ValueError(
            f"One target decides what is accepted, but {' and '.join(given)} were given. Give one of them."
        )
    name, level = next(iter(given.items()), ("precision", 0.95))
    check_levels(level, confidence, *([reject_precision] if reject_precision else []))
    check_seed(seed)
    return name, float(level)


def at_levels(
    scored: ScoredPairs, levels: Iterable[float] = LEVELS, *, reject_precision: float | None = 0.95, **how: Any
) -> list[dict[str, Any]]:
    """For each level of precision: what is accepted, found, rejected, and left for review.

    Each row is certified alone. Choosing one row after seeing several costs confidence: name the target first.
    `reject_precision`, ``confidence`` and ``seed`` are as in `choose`. The rows are plain values, one per level: ``precision,
    accept, found, recall, reject, review``; None where nothing is certified.
    """
    rows = []
    for level in levels:
        found = choose(scored, precision=level, reject_precision=reject_precision, **how)
        rows.append(
            {
                "precision": level,
                "accept": found.accept.value,
                "found": plain(found.accept_certificate.found),
                "recall": plain(found.accept_certificate.recall),
                "reject": None if found.reject is None else found.reject.value,
                "review": found.review,
            }
        )
    return rows


def _told(scored: ScoredPairs, seed: int) -> dict[str, Any]:
    return {
        **scored.told,
        "n_labels": len(scored),
        "n_components": len(np.unique(scored.components)),
        "positive_share": round(float(scored.labels.mean()), 4),
        "estimand": ESTIMAND,
        "seed": seed,
    }
