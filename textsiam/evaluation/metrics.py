"""Metrics: how well scores agree with the labels or grades that people gave. Larger is better.

`METRICS` need no threshold; `THRESHOLD_METRICS` judge one. Every metric takes `weights`: how often each row counts. A bootstrap
draw is then a set of weights, and a thousand draws sort and copy no rows. A metric of 16,000 pairs that stand in order of score
takes a third of a millisecond.

Deliberately left out: metrics of probabilities, which are in `textsiam.scoring.evidence.reliability`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

RECALL = 0.8
NAN = float("nan")

Column = Shaped[np.ndarray, " n"]
Weights = Column | None


def average_precision(labels: Column, scores: Column, weights: Weights = None) -> float:
    """The mean precision over all positives, taken in order of score, in [0, 1]; NaN unless both labels occur.

    Equal scores count as one step, as in scikit-learn's ``average_precision_score``.

    Examples
    --------
    >>> average_precision(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9]))
    1.0
    """
    right, wrong = _beyond(labels, scores, weights)
    if not (right[-1] and wrong[-1]):
        return NAN
    found = np.diff(right, prepend=0.0)
    return float((found * right / np.maximum(right + wrong, 1e-300)).sum() / right[-1])


def roc_auc(labels: Column, scores: Column, weights: Weights = None) -> float:
    """How often a positive scores above a negative, in [0, 1]; a tie counts half. NaN unless both labels occur.

    The area under the ROC curve, which is the Mann-Whitney statistic (Hanley & McNeil 1982).

    Examples
    --------
    >>> roc_auc(np.array([0, 1, 0, 1]), np.array([0.1, 0.5, 0.5, 0.9]))
    0.875
    """
    right, wrong = _beyond(labels, scores, weights)
    if not (right[-1] and wrong[-1]):
        return NAN
    above = right - np.diff(right, prepend=0.0) / 2
    return float((np.diff(wrong, prepend=0.0) * above).sum() / (right[-1] * wrong[-1]))


def best_f1(labels: Column, scores: Column, weights: Weights = None) -> float:
    """The highest F1 that any threshold reaches, in [0, 1]; NaN unless both labels occur.

    A threshold chosen on the rows that judge it looks better than it is. Use this to compare models, not to decide.

    Examples
    --------
    >>> best_f1(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9]))
    1.0
    """
    right, wrong = _beyond(labels, scores, weights)
    return float(_f1s(right, wrong).max()) if right[-1] and wrong[-1] else NAN


def best_cut(labels: Column, scores: Column) -> float:
    """The score at which `best_f1` is reached, the highest one if there are several; NaN unless both labels occur.

    Examples
    --------
    >>> best_cut(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9]))
    0.5
    """
    right, wrong = _beyond(labels, scores, None)
    if not (right[-1] and wrong[-1]):
        return NAN
    return float(np.unique(scores)[::-1][np.argmax(_f1s(right, wrong))])


def precision_at_recall(labels: Column, scores: Column, weights: Weights = None, recall: float = RECALL) -> float:
    """The highest precision of any threshold that finds at least `recall` of the positives; NaN unless both labels occur.

    Examples
    --------
    >>> precision_at_recall(np.array([0, 1, 0, 1]), np.array([0.1, 0.5, 0.6, 0.9]))
    0.6666666666666666
    """
    right, wrong = _beyond(labels, scores, weights)
    if not (right[-1] and wrong[-1]):
        return NAN
    enough = right >= recall * right[-1] * (1 - 1e-12)
    return float((right[enough] / (right + wrong)[enough]).max())


def pearson(grades: Column, scores: Column, weights: Weights = None) -> float:
    """Pearson's linear correlation, in [-1, 1]; NaN if either is constant.

    Examples
    --------
    >>> round(pearson(np.array([0.0, 2.5, 5.0]), np.array([0.0, 0.25, 0.5])), 6)
    1.0
    """
    counted = np.ones(len(grades)) if weights is None else weights.astype(np.float64)
    used = counted > 0
    if not used.any() or np.ptp(grades[used]) == 0 or np.ptp(scores[used]) == 0:
        return NAN
    x, y = (values - np.average(values, weights=counted) for values in (grades.astype(float), scores.astype(float)))
    return float(np.clip((counted * x * y).sum() / np.sqrt((counted * x * x).sum() * (counted * y * y).sum()), -1, 1))


def spearman(grades: Column, scores: Column, weights: Weights = None) -> float:
    """Spearman's rank correlation, in [-1, 1]; ties get their mean rank. NaN if either is constant.

    Examples
    --------
    >>> round(spearman(np.array([0.0, 2.5, 5.0]), np.array([0.1, 0.2, 0.9])), 6)
    1.0
    """
    return pearson(_ranks(grades, weights), _ranks(scores, weights), weights)


class Counts(NamedTuple):
    """Positives and negatives at or above a threshold, then positives and negatives below it."""

    right: float
    wrong: float
    missed: float
    left_out: float


def counts_at(labels: Column, scores: Column, threshold: float, weights: Weights = None) -> Counts:
    """The positives and negatives on each side of the threshold, compared in fp32 as in `textsiam.scoring.thresholds.decisions`.

    Examples
    --------
    >>> counts_at(np.array([0, 1, 1]), np.array([0.8, 0.5, 0.9]), 0.7)
    Counts(right=1.0, wrong=1.0, missed=1.0, left_out=0.0)
    """
    counted = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    beyond, positive = scores.astype(np.float32) >= np.float32(threshold), labels == 1
    at = np.bincount(2 * beyond + positive, weights=counted, minlength=4)
    return Counts(float(at[3]), float(at[2]), float(at[1]), float(at[0]))


def precision(labels: Column, scores: Column, threshold: float, weights: Weights = None) -> float:
    """The share of positives among the pairs at or above the threshold; NaN if there is no such pair.

    Examples
    --------
    >>> precision(np.array([0, 1, 1]), np.array([0.8, 0.5, 0.9]), 0.7)
    0.5
    """
    at = counts_at(labels, scores, threshold, weights)
    return _share(at.right, at.right + at.wrong)


def recall(labels: Column, scores: Column, threshold: float, weights: Weights = None) -> float:
    """The share of the positives that score at or above the threshold; NaN if there is no positive.

    Examples
    --------
    >>> recall(np.array([0, 1, 1]), np.array([0.8, 0.5, 0.9]), 0.7)
    0.5
    """
    at = counts_at(labels, scores, threshold, weights)
    return _share(at.right, at.right + at.missed)


def f1(labels: Column, scores: Column, threshold: float, weights: Weights = None) -> float:
    """The harmonic mean of precision and recall; 0 if no positive is found, NaN if there is none and no pair is accepted.

    Examples
    --------
    >>> f1(np.array([0, 1, 1]), np.array([0.8, 0.5, 0.9]), 0.7)
    0.5
    """
    at = counts_at(labels, scores, threshold, weights)
    return _share(2 * at.right, 2 * at.right + at.wrong + at.missed)


def accuracy(labels: Column, scores: Column, threshold: float, weights: Weights = None) -> float:
    """The share of pairs on their label's side of the threshold; NaN if there are no pairs.

    If positives are rare, a model that accepts nothing is accurate: read this together with `mcc`.

    Examples
    --------
    >>> accuracy(np.array([0, 1]), np.array([0.2, 0.9]), 0.7)
    1.0
    """
    at = counts_at(labels, scores, threshold, weights)
    return _share(at.right + at.left_out, sum(at))


def mcc(labels: Column, scores: Column, threshold: float, weights: Weights = None) -> float:
    """The correlation of the label with the side of the threshold (Matthews 1975), in [-1, 1]; NaN if either is constant.

    Examples
    --------
    >>> mcc(np.array([0, 1]), np.array([0.2, 0.9]), 0.7)
    1.0
    """
    right, wrong, missed, left_out = counts_at(labels, scores, threshold, weights)
    margins = (right + wrong) * (right + missed) * (left_out + wrong) * (left_out + missed)
    return (right * left_out - wrong * missed) / margins**0.5 if margins else NAN


# (truth, scores, weights) → a number. The last two take grades, the others labels 0 and 1.
METRICS: dict[str, Callable[..., float]] = {
    "average_precision": average_precision,
    "roc_auc": roc_auc,
    "best_f1": best_f1,
    "precision_at_recall": precision_at_recall,
    "spearman": spearman,
    "pearson": pearson,
}

# (labels, scores, threshold, weights) → a number.
THRESHOLD_METRICS: dict[str, Callable[..., float]] = {
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "accuracy": accuracy,
    "mcc": mcc,
}


def reciprocal_ranks(scores: Float[np.ndarray, "n n"], same: Shaped[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """For each row i, 1 / the rank of column i among all columns, in (0, 1]; 1 is best.

    ``same[i, j]`` says that column j means the same as row i: it is then no rival. A tie counts half.

    Examples
    --------
    >>> reciprocal_ranks(np.array([[0.9, 0.1], [0.8, 0.5]]), np.zeros((2, 2), dtype=bool))
    array([1. , 0.5])
    """
    own = np.diagonal(scores)[:, None]
    rival = ~same & ~np.eye(len(scores), dtype=np.bool_)
    rank = 1 + ((scores > own) & rival).sum(1) + 0.5 * ((scores == own) & rival).sum(1)
    return np.asarray(1 / rank)


def _beyond(labels: Column, scores: Column, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """The positives and negatives at or above each distinct score, strictest first; one zero each if there are no rows.

    The sort is stable, so rows that already stand in order of score cost one pass.
    """
    if not len(labels):
        return np.zeros(1), np.zeros(1)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    counted = np.ones(len(order)) if weights is None else weights[order].astype(np.float64)
    right = np.cumsum(counted * (labels[order] == 1))[ends]
    return right, np.cumsum(counted)[ends] - right


def _f1s(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    return np.asarray(2 * right / (right + wrong + right[-1]))


def _ranks(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """The mean rank of each value; a row of weight w counts as w rows."""
    distinct, places = np.unique(values, return_inverse=True)
    at = np.bincount(places, weights=weights, minlength=len(distinct)).astype(np.float64)
    return np.asarray((np.cumsum(at) - (at - 1) / 2)[places])


def _share(part: float, whole: float) -> float:
    return part / whole if whole else NAN
