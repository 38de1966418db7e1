"""Thresholds with a guarantee, from labelled scores: precision, recall, false-match rate; or the finding that none exists.

What is promised. One pair is drawn at random from each dependence component (pairs that share a text, over all of them):
the draws are independent, as rows that share a text are not. So what is certified is the precision (recall, rate) over
draws of a component and then of a pair in it: every component counts once, however many pairs it holds.

How. Precision has no order that helps: a looser cut may be the more precise one. So cuts are tested in an order fixed
before any label is seen, strictest first, each by an exact binomial test, and the first that fails ends the sequence: the
chance that any cut passed wrongly is at most 1 - confidence, with no price for the number of tests (fixed-sequence testing,
Maurer, Hothorn & Lehmacher 1995; Bauer 1991; for thresholds Angelopoulos et al. 2021, "Learn then test"). Where a sequence
begins decides what it finds: `textsiam.scoring.planning.starts`. Recall and false-match rate do have an order, so their cut
is a bound for a quantile, exact by order statistics (Wilks 1941).

Deliberately left out: corrections for other odds elsewhere. A certificate holds for pairs like those it was made on.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from textsiam.errors import UnreadableInput
from textsiam.scoring.certificates import Certificate, Cut
from textsiam.scoring.intervals import Interval, binomial_interval
from textsiam.scoring.planning import (
    check_levels,
    labels_needed,
    labels_without_error,
    lower_bound,
    passes,
    starts,
)

CONFIDENCE = 0.95
STEP = 1.1  # each next cut tested has a tenth more draws


def certify_scores(
    scores: Shaped[np.ndarray, " n"],
    labels: Shaped[np.ndarray, " m"],
    components: Int[np.ndarray, " _"] | None = None,
    *,
    guarantee: str = "precision",
    level: float = 0.95,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Certificate:
    """The loosest cut that these labelled scores certify, or none.

    Parameters
    ----------
    scores
        (n,) finite, larger is closer. Ties fall on one side of every cut.
    labels
        (n,) of 0 and 1.
    components
        (n,) which rows depend on each other. Default: every row alone.
    guarantee
        ``precision``: of the pairs at or above the cut at least `level` are duplicates. ``recall``: of the duplicates at
        least `level` lie at or above it. ``false_match_rate``: of the others at most `level` do. ``reject_precision``: of
        the pairs **below** the cut at least `level` are no duplicates.
    level, confidence
        In (0, 1).
    seed
        Of the draw of one pair a component.

    Returns
    -------
    certificate
        Its ``value`` is None where none qualifies: also where there are too few labels to certify anything.

    Raises
    ------
    UnreadableInput
        If a score is not finite, a label is not 0 or 1, only one label is there, or the columns differ in length.
    ValueError
        If the guarantee is unknown, or the level or confidence not in (0, 1).

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
    labels = check_scores(scores, labels, components)
    rows = draw(components, len(scores), seed)
    return GUARANTEES[guarantee](scores, labels == 1, rows, level, confidence)


def draw(components: Int[np.ndarray, " n"] | None, n: int, seed: int) -> Int[np.ndarray, " m"]:
    """One row of each component, at random, blind to scores and labels; all rows where there are no components.

    Examples
    --------
    >>> sorted(draw(np.array([0, 0, 1]), 3, seed=0).tolist())
    [0, 2]
    """
    shuffled = np.random.default_rng(seed).permutation(n)
    return shuffled if components is None else shuffled[np.unique(components[shuffled], return_index=True)[1]]


def check_scores(
    scores: Shaped[np.ndarray, " n"], labels: Shaped[np.ndarray, " m"], components: Int[np.ndarray, " _"] | None
) -> Int[np.ndarray, " n"]:
    """The labels as whole numbers, if something can be learnt from them.

    Raises
    ------
    UnreadableInput
        If not; the text says why.
    """
    if len(scores) != len(labels) or (components is not None and len(components) != len(scores)):
        raise UnreadableInput(
            f"Each score needs its label, but got {len(scores)} scores and {len(labels)} labels"
            f"{'' if components is None else f' and {len(components)} components'}. Align them row by row."
        )
    if len(wrong := np.flatnonzero(~np.isfinite(np.asarray(scores, dtype=np.float64)))):
        raise UnreadableInput(
            f"{len(wrong):,} of {len(scores):,} scores are not finite (places {', '.join(map(str, wrong[:10]))}). "
            "Leave these rows out: a pair without a score says nothing of a threshold."
        )
    if others := set(np.unique(labels).tolist()) - {0, 1}:
        raise UnreadableInput(f"Labels are 0 or 1, but {sorted(others)[:5]} came too. Leave those rows out.")
    if len(present := np.unique(labels)) < 2:  # noqa: PLR2004
        only = f"only {int(present[0])}" if len(present) else "none at all"
        raise UnreadableInput(
            f"Both labels are needed, 1 for pairs that mean the same and 0 for others, but {only} came "
            f"({len(labels):,} rows). Add pairs of the other label."
        )
    return np.asarray(labels).astype(np.int64)


def _precision(
    scores: np.ndarray, positive: np.ndarray, rows: np.ndarray, level: float, confidence: float
) -> Certificate:
    scores, right = scores[rows], positive[rows]
    cuts = _sequences(scores, right, level, confidence)
    passed = [cut for cut in cuts if cut.passed]
    value = passed[-1].value if passed else None
    beyond = scores >= (np.inf if value is None else value)
    return Certificate(
        "precision",
        level,
        confidence,
        value,
        tuple(cuts),
        len(rows),
        binomial_interval(int(right[beyond].sum()), int(beyond.sum())),
        binomial_interval(int((right & beyond).sum()), int(right.sum()) if passed else 0),
        float(beyond.mean()),
        0 if passed else _more(cuts, len(rows), level, confidence),
    )


def _reject_precision(
    scores: np.ndarray, positive: np.ndarray, rows: np.ndarray, level: float, confidence: float
) -> Certificate:
    """The precision of the mirrored scores; the cut is the next score above, because the rule to reject is "below"."""
    told = _precision(-scores, ~positive, rows, level, confidence)
    cuts = tuple(cut._replace(value=_above(-cut.value, scores.dtype)) for cut in told.cuts)
    value = None if told.value is None else _above(-told.value, scores.dtype)
    return Certificate(
        "reject_precision", level, confidence, value, cuts, told.n_draws, told.found, told.recall, told.share,
        told.more_labels,
    )  # fmt: skip


def _recall(scores: np.ndarray, positive: np.ndarray, rows: np.ndarray, level: float, confidence: float) -> Certificate:
    of_label = np.sort(scores[rows[positive[rows]]])
    n, n_missed = len(of_label), _most_missed(len(of_label), 1 - level, confidence)
    value = float(of_label[n_missed]) if n_missed >= 0 else None
    found = binomial_interval(int((of_label >= value).sum()), n) if value is not None else binomial_interval(0, 0)
    return _of_order("recall", level, confidence, value, found, scores[rows], n, found)


def _false_match_rate(
    scores: np.ndarray, positive: np.ndarray, rows: np.ndarray, level: float, confidence: float
) -> Certificate:
    of_label = np.sort(scores[rows[~positive[rows]]])[::-1]
    n, n_above = len(of_label), _most_missed(len(of_label), level, confidence)
    value = _above(float(of_label[n_above]), scores.dtype) if n_above >= 0 else None
    found = binomial_interval(int((of_label >= value).sum()), n) if value is not None else binomial_interval(0, 0)
    right = scores[rows][positive[rows]]
    recall = binomial_interval(
        0 if value is None else int((right >= value).sum()), len(right) if value is not None else 0
    )
    return _of_order("false_match_rate", level, confidence, value, found, scores[rows], n, recall)


def _of_order(
    guarantee: str, level: float, confidence: float, value: float | None, found: Interval, drawn: np.ndarray, n: int,
    recall: Interval,
) -> Certificate:  # fmt: skip
    share = 0.0 if value is None else float((drawn >= value).mean())
    missing = labels_without_error(level if guarantee == "recall" else 1 - level, confidence) - n
    more = 0 if value is not None else max(1, missing)
    return Certificate(guarantee, level, confidence, value, (), n, found, recall, share, more)


def _most_missed(n: int, rate: float, confidence: float) -> int:
    """The largest m with P(Binomial(n, rate) ≤ m) ≤ 1 - confidence, -1 if there is none.

    The m-th smallest of n (from 0) is then a bound below which at most `rate` of all lie, with that confidence.
    """
    from scipy.special import bdtr

    if not n:
        return -1
    tails = bdtr(np.arange(n), n, rate)
    return int(np.searchsorted(tails, 1 - confidence + 1e-12, side="right")) - 1


def _sequences(scores: np.ndarray, right: np.ndarray, level: float, confidence: float) -> list[Cut]:
    """Every cut tested, by `starts`: from strict to loose, up to and with the first of its sequence that fails.

    Ties come in together. The risks of the sequences add up to 1 - confidence, so every cut that passed in any is certified.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, n_right = scores[order], np.cumsum(right[order])
    cuts: dict[int, Cut] = {}
    for start, own_confidence in starts(len(order), level, confidence):
        n = start
        while n <= len(order):
            value = ordered[n - 1]
            n_at = int(np.searchsorted(-ordered, -value, side="right"))
            hits = int(n_right[n_at - 1])
            passed = passes(hits, n_at, level, own_confidence)
            cuts[n_at] = Cut(float(value), n_at, hits, passed)
            if not passed:
                break
            n = max(n_at + 1, math.ceil(n_at * STEP))
    return [cuts[n_at] for n_at in sorted(cuts)]


def _more(cuts: list[Cut], n_draws: int, level: float, confidence: float) -> int | None:
    """How many more draws the cut with the highest lower bound would need, if it is as good as it looks (Laplace's estimate)."""
    if not cuts:
        return max(1, labels_without_error(level, confidence) - n_draws)
    nearest = max(cuts, key=lambda cut: lower_bound(cut.n_right, cut.n, confidence))
    needed = labels_needed(level, (nearest.n_right + 1) / (nearest.n + 2), confidence)
    return None if needed is None else max(1, math.ceil(needed / nearest.n * n_draws) - n_draws)


def _above(value: float, dtype: Any) -> float:
    """The next number above it in the precision in which scores are compared."""
    kind = dtype if np.issubdtype(dtype, np.floating) else np.float64
    return float(np.nextafter(np.asarray(value, dtype=kind), np.asarray(np.inf, dtype=kind)))


# From all scores, which are positive, the rows drawn, level and confidence to a certificate.
GUARANTEES: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray, float, float], Certificate]] = {
    "precision": _precision,
    "recall": _recall,
    "false_match_rate": _false_match_rate,
    "reject_precision": _reject_precision,
}
