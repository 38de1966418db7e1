"""Thresholds with a guarantee of precision, recall or false-match rate, from labelled scores; or the result that none exists.

What the guarantee means. Rows that share a text are not independent. So one pair is drawn at random from each dependence
component (pairs linked by shared texts); these draws are independent. The guarantee is about drawing a component, then a pair in
it: every component counts once, large or small.

How it works. A looser cut can be more precise, so precision cannot be searched directly. Cuts are tested in an order fixed before
any label is seen, strictest first, each by an exact binomial test; the first failure ends the sequence. The chance that any cut
passes wrongly is at most 1 - confidence, for any number of tests (fixed-sequence testing, Maurer, Hothorn & Lehmacher 1995; Bauer
1991; for thresholds Angelopoulos et al. 2021, "Learn then test"). `textsiam.scoring.evidence.planning.starts` chooses where a
sequence begins. Recall and false-match rate change in one direction, so their cut is an exact bound for a quantile, by order
statistics (Wilks 1941).

Left out on purpose: corrections for data with other odds. A certificate holds for pairs like those it was made on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

from textsiam.data.splitting import check_seed
from textsiam.errors import UnreadableInput
from textsiam.scoring.evidence.certificates import Certificate, Cut
from textsiam.scoring.evidence.intervals import NOTHING, binomial_interval
from textsiam.scoring.evidence.planning import (
    check_levels,
    labels_needed,
    labels_without_error,
    lower_bound,
    passes,
    starts,
)

CONFIDENCE = 0.95
STEP = 1.1  # each next cut has a tenth more draws


def certify_scores(
    scores: Any,
    labels: Any,
    components: Any = None,
    *,
    guarantee: str = "precision",
    level: float = 0.95,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    at_most: float | None = None,
    held: Bool[np.ndarray, " n"] | None = None,
) -> Certificate:
    """The loosest cut that these labelled scores certify, or none.

    Parameters
    ----------
    scores
        (n,) finite, larger is closer. Ties fall on one side of every cut.
    labels
        (n,) of 0 and 1.
    components
        (n,) numbers of the dependence components. Default: every row is its own.
    guarantee
        ``precision``: at least `level` of the pairs at or above the cut are duplicates.
        ``recall``: at least `level` of the duplicates are at or above the cut.
        ``false_match_rate``: at most `level` of the non-duplicates are at or above the cut.
        ``reject_precision``: at least `level` of the pairs **below** the cut are non-duplicates.
    level, confidence
        In (0, 1).
    seed
        Seed for drawing one pair per component. Fix it beforehand: the best of several seeds certifies nothing.
    at_most
        The highest cut allowed, for ``reject_precision``.
    held
        (n,) pairs that are never at or above a cut, however high they score; not for ``reject_precision``.

    Returns
    -------
    certificate
        Its ``value`` is None if no cut qualifies, for example because there are too few labels.

    Raises
    ------
    UnreadableInput
        If a score is not finite, a label is not 0 or 1, only one label is present, or the columns differ in length.
    ValueError
        If the guarantee is unknown, the level or confidence is not in (0, 1), or the seed is negative.

    Examples
    --------
    >>> scores = np.arange(200) / 200
    >>> certificate = certify_scores(scores, scores >= 0.5)
    >>> certificate.value, certificate.found.value, certificate.recall.value
    (0.515, 1.0, 0.97)
    >>> certify_scores(scores[100:120], scores[100:120] >= 0.55).value is None
    True
    """
    if guarantee not in GUARANTEES:
        raise ValueError(f"There is no guarantee {guarantee!r}. Use one of {', '.join(GUARANTEES)}.")
    check_levels(level, confidence)
    check_seed(seed)
    scores, labels, components = check_scores(scores, labels, components)
    rows, floor = draw(components, len(scores), seed), -np.inf
    if held is not None and held.any():
        floor = float(np.nextafter(scores.min(), scores.dtype.type(-np.inf)))
        scores = np.where(held, scores.dtype.type(floor), scores)
    drawn = Drawn(scores[rows], labels[rows] == 1, float(level), float(confidence), floor)
    return GUARANTEES[guarantee](drawn, np.inf if at_most is None else at_most)


class Drawn(NamedTuple):
    """Independent labelled scores, one per component, with the level and confidence to certify; a cut lies above `floor`."""

    scores: Shaped[np.ndarray, " m"]
    positive: Shaped[np.ndarray, " m"]
    level: float
    confidence: float
    floor: float = -np.inf


def draw(components: Int[np.ndarray, " n"] | None, n: int, seed: int) -> Int[np.ndarray, " m"]:
    """One random row of each component, chosen without scores or labels; all rows if there are no components.

    Examples
    --------
    >>> sorted(draw(np.array([0, 0, 1]), 3, seed=0).tolist())
    [0, 2]
    """
    shuffled = np.random.default_rng(int(seed)).permutation(n)
    return shuffled if components is None else shuffled[np.unique(components[shuffled], return_index=True)[1]]


def check_scores(scores: Any, labels: Any, components: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The columns as arrays: scores in their own precision or fp64, labels as int64, components numbered from 0.

    UnreadableInput as for `certify_scores`.
    """
    columns = [np.asarray(column) for column in (scores, labels, *([] if components is None else [components]))]
    if any(column.ndim != 1 for column in columns) or len({len(column) for column in columns}) > 1:
        shapes = " and ".join(str(column.shape) for column in columns)
        raise UnreadableInput(
            f"Each score needs its label, but got {shapes} scores and labels"
            f"{'' if components is None else ' and components'}. Give aligned columns of one length."
        )
    scores, labels = columns[0], columns[1]
    scores = scores if np.issubdtype(scores.dtype, np.floating) else scores.astype(np.float64)
    if len(wrong := np.flatnonzero(~np.isfinite(scores))):
        raise UnreadableInput(
            f"{len(wrong):,} of {len(scores):,} scores are not finite (places {', '.join(map(str, wrong[:10]))}). "
            "Leave these rows out: a pair without a score cannot help to choose a threshold."
        )
    if others := set(labels.tolist()) - {0, 1}:
        raise UnreadableInput(f"Labels are 0 or 1, but got {sorted(others, key=str)[:5]} too. Leave those rows out.")
    if len(present := np.unique(labels)) < 2:  # noqa: PLR2004
        only = f"only {int(present[0])}" if len(present) else "none at all"
        raise UnreadableInput(
            f"Both labels are needed, 1 for pairs that mean the same and 0 for others, but got {only} "
            f"({len(labels):,} rows). Add pairs of the other label."
        )
    groups = None if components is None else np.unique(columns[2], return_inverse=True)[1]
    return scores, labels.astype(np.int64), groups


def _precision(drawn: Drawn, _at_most: float = np.inf) -> Certificate:
    cuts = _sequences(drawn)
    return _loosest(drawn, cuts, [cut for cut in cuts if cut.passed and cut.value > drawn.floor])


def _reject_precision(drawn: Drawn, at_most: float) -> Certificate:
    """Precision on mirrored scores. The cut is the next score above, because pairs *below* it are rejected."""
    mirrored = drawn._replace(scores=-drawn.scores, positive=~drawn.positive)
    cuts = _sequences(mirrored)
    allowed = [cut for cut in cuts if cut.passed and _above(-cut.value, drawn.scores.dtype) <= at_most]
    certificate = _loosest(mirrored, cuts, allowed)
    value = None if certificate.value is None else _above(-certificate.value, drawn.scores.dtype)
    turned = tuple(cut._replace(value=_above(-cut.value, drawn.scores.dtype)) for cut in cuts)
    return replace(certificate, guarantee="reject_precision", value=value, cuts=turned)


def _loosest(drawn: Drawn, cuts: list[Cut], allowed: list[Cut]) -> Certificate:
    """The certificate of precision of the loosest cut allowed."""
    if not allowed:
        return _certificate("precision", drawn, None, _more(cuts, drawn), cuts)
    return _certificate("precision", drawn, max(allowed, key=lambda cut: cut.n).value, 0, cuts)


def _recall(drawn: Drawn, _at_most: float = np.inf) -> Certificate:
    of_label = np.sort(drawn.scores[drawn.positive])
    n_missed = _most_missed(len(of_label), 1 - drawn.level, drawn.confidence)
    value = float(of_label[n_missed]) if n_missed >= 0 and of_label[n_missed] > drawn.floor else None
    return _certificate("recall", drawn, value, _more_of_label(len(of_label), drawn.level, drawn))


def _false_match_rate(drawn: Drawn, _at_most: float = np.inf) -> Certificate:
    of_label = np.sort(drawn.scores[~drawn.positive])[::-1]
    n_above = _most_missed(len(of_label), drawn.level, drawn.confidence)
    value = _above(float(of_label[n_above]), drawn.scores.dtype) if n_above >= 0 else None
    return _certificate("false_match_rate", drawn, value, _more_of_label(len(of_label), 1 - drawn.level, drawn))


def _certificate(
    guarantee: str, drawn: Drawn, value: float | None, more: int | None, cuts: Sequence[Cut] = ()
) -> Certificate:
    """The certificate of the cut `value`; without one, `more` draws are needed."""
    beyond = drawn.scores >= (np.inf if value is None else value)
    n, n_beyond, n_right = len(beyond), int(beyond.sum()), int((drawn.positive & beyond).sum())
    n_positive = int(drawn.positive.sum())
    shares = {  # (hits, draws) of what is guaranteed
        "precision": (n_right, n_beyond),
        "recall": (n_right, n_positive),
        "false_match_rate": (n_beyond - n_right, n - n_positive),
    }
    found, recall = (NOTHING if value is None else binomial_interval(*shares[name]) for name in (guarantee, "recall"))
    of = (guarantee, drawn.level, drawn.confidence, value, tuple(cuts), n, n_beyond, n_right, found, recall)
    return Certificate(*of, more if value is None else 0)


def _most_missed(n: int, rate: float, confidence: float) -> int:
    """The largest m with P(Binomial(n, rate) ≤ m) ≤ 1 - confidence; -1 if there is none.

    With that confidence, at most `rate` of all scores are below the m-th smallest of n (counted from 0).
    """
    from scipy.special import bdtr

    if not n:
        return -1
    tails = bdtr(np.arange(n), n, rate)
    return int(np.searchsorted(tails, 1 - confidence + 1e-12, side="right")) - 1


def _sequences(drawn: Drawn) -> list[Cut]:
    """Every cut tested: from each of `starts`, strict to loose, to the first failure (included).

    Ties stay together. The risks of the sequences add up to 1 - confidence, so every cut that passes in any of them is certified.
    """
    order = np.argsort(-drawn.scores, kind="stable")
    ordered, n_right = drawn.scores[order], np.cumsum(drawn.positive[order])
    cuts: dict[int, Cut] = {}
    for start, own_confidence in starts(len(order), drawn.level, drawn.confidence):
        n = start
        while n <= len(order):
            value = ordered[n - 1]
            n_at = int(np.searchsorted(-ordered, -value, side="right"))
            hits = int(n_right[n_at - 1])
            passed = passes(hits, n_at, drawn.level, own_confidence)
            cuts[n_at] = Cut(float(value), n_at, hits, passed)
            if not passed:
                break
            n = max(n_at + 1, math.ceil(n_at * STEP))
    return [cuts[n_at] for n_at in sorted(cuts)]


def _more_of_label(n: int, kept: float, drawn: Drawn) -> int:
    """How many more draws it takes to have enough of a label that has `n`, if its share `kept` must be on its own side."""
    missing = max(0, labels_without_error(kept, drawn.confidence) - n)
    return max(1, math.ceil(missing / max(n, 1) * len(drawn.scores)))


def _more(cuts: list[Cut], drawn: Drawn) -> int | None:
    """How many more draws the cut with the highest lower bound needs at least, if it is as good as it looks (Laplace's estimate).

    With them one test at half the risk passes nine times in ten. The stricter cuts of its sequence must pass too.
    """
    n_draws = len(drawn.scores)
    if not cuts:
        return max(1, labels_without_error(drawn.level, drawn.confidence) - n_draws)
    nearest = max(cuts, key=lambda cut: lower_bound(cut.n_right, cut.n, drawn.confidence))
    shared = 1 - (1 - drawn.confidence) / 2
    needed = labels_needed(drawn.level, (nearest.n_right + 1) / (nearest.n + 2), shared)
    return None if needed is None else max(1, math.ceil(needed / nearest.n * n_draws) - n_draws)


def _above(value: float, dtype: Any) -> float:
    """The next number above `value` in the precision of the scores."""
    return float(np.nextafter(np.asarray(value, dtype=dtype), np.asarray(np.inf, dtype=dtype)))


# Guarantee → function of the draws and the highest cut to reject at, that returns a certificate.
GUARANTEES: Mapping[str, Callable[[Drawn, float], Certificate]] = {
    "precision": _precision,
    "recall": _recall,
    "false_match_rate": _false_match_rate,
    "reject_precision": _reject_precision,
}
