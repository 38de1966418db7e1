"""How well scores agree with what people said: `METRICS` need no threshold, `THRESHOLD_METRICS` judge one; larger is better.

Every metric takes `weights`, how often each row counts. A bootstrap draw is a set of weights, so that a thousand draws sort
nothing anew and copy no row: on 16,000 pairs, in order of score, a metric takes a third of a millisecond.

Deliberately left out: metrics of a probability, which are `textsiam.scoring.evidence.reliability`'s.

Rates by which verification is judged: how often it errs, in either direction.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

RECALL = 0.8
NAN = float("nan")

Weights = Shaped[np.ndarray, " n"] | None


def average_precision(
    labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], weights: Weights = None
) -> float:
    """The mean precision over all positives, taken in order of score, in [0, 1]; NaN if one label alone is there.

    Ties count as one step, as in scikit-learn's ``average_precision_score``.

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


def roc_auc(labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], weights: Weights = None) -> float:
    """How often a positive scores above a negative, in [0, 1], ties half; NaN if one label alone is there.

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


def best_f1(labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], weights: Weights = None) -> float:
    """The best harmonic mean of precision and recall that any threshold reaches, in [0, 1]; NaN if one label alone is there.

    A threshold chosen on the rows it is judged by flatters: use it to compare models, not to decide.

    Examples
    --------
    >>> best_f1(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9]))
    1.0
    """
    right, wrong = _beyond(labels, scores, weights)
    return float(_f1s(right, wrong).max()) if right[-1] and wrong[-1] else NAN


def best_cut(labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"]) -> float:
    """The score at which `best_f1` is reached, the highest of equals; NaN if one label alone is there.

    Examples
    --------
    >>> best_cut(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9]))
    0.5
    """
    right, wrong = _beyond(labels, scores, None)
    if not (right[-1] and wrong[-1]):
        return NAN
    return float(np.unique(scores)[::-1][np.argmax(_f1s(right, wrong))])


def precision_at_recall(
    labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], weights: Weights = None, recall: float = RECALL
) -> float:
    """The highest precision of any threshold that finds at least `recall` of the positives; NaN if one label alone is there.

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


def pearson(grades: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], weights: Weights = None) -> float:
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


def spearman(grades: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], weights: Weights = None) -> float:
    """Spearman's rank correlation, in [-1, 1], ties at their mean rank; NaN if either is constant.

    Examples
    --------
    >>> round(spearman(np.array([0.0, 2.5, 5.0]), np.array([0.1, 0.2, 0.9])), 6)
    1.0
    """
    return pearson(_ranks(grades, weights), _ranks(scores, weights), weights)


class Counts(NamedTuple):
    """What a threshold does: positives and negatives at or above it, then those below."""

    right: float
    wrong: float
    missed: float
    left_out: float


def counts_at(
    labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], threshold: float, weights: Weights = None
) -> Counts:
    """How many positives and negatives lie on each side; compared in fp32, as `textsiam.scoring.thresholds.decisions` does.

    Examples
    --------
    >>> counts_at(np.array([0, 1, 1]), np.array([0.8, 0.5, 0.9]), 0.7)
    Counts(right=1.0, wrong=1.0, missed=1.0, left_out=0.0)
    """
    counted = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    beyond, positive = scores.astype(np.float32) >= np.float32(threshold), labels == 1
    at = np.bincount(2 * beyond + positive, weights=counted, minlength=4)
    return Counts(float(at[3]), float(at[2]), float(at[1]), float(at[0]))


def precision(
    labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], threshold: float, weights: Weights = None
) -> float:
    """The share of positives among pairs at or above the threshold; NaN if there is none.

    Examples
    --------
    >>> precision(np.array([0, 1, 1]), np.array([0.8, 0.5, 0.9]), 0.7)
    0.5
    """
    at = counts_at(labels, scores, threshold, weights)
    return _share(at.right, at.right + at.wrong)


def recall(
    labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], threshold: float, weights: Weights = None
) -> float:
    """The share of positives that lie at or above the threshold; NaN if there is no positive.

    Examples
    --------
    >>> recall(np.array([0, 1, 1]), np.array([0.8, 0.5, 0.9]), 0.7)
    0.5
    """
    at = counts_at(labels, scores, threshold, weights)
    return _share(at.right, at.right + at.missed)


def f1(
    labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], threshold: float, weights: Weights = None
) -> float:
    """The harmonic mean of precision and recall; 0 if nothing is found, NaN if there is no positive and nothing is accepted.

    Examples
    --------
    >>> f1(np.array([0, 1, 1]), np.array([0.8, 0.5, 0.9]), 0.7)
    0.5
    """
    at = counts_at(labels, scores, threshold, weights)
    return _share(2 * at.right, 2 * at.right + at.wrong + at.missed)


def accuracy(
    labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], threshold: float, weights: Weights = None
) -> float:
    """The share of pairs on their label's side of the threshold; NaN for no pairs.

    Where one label is rare, accepting nothing is accurate: read it with `mcc`.

    Examples
    --------
    >>> accuracy(np.array([0, 1]), np.array([0.2, 0.9]), 0.7)
    1.0
    """
    at = counts_at(labels, scores, threshold, weights)
    return _share(at.right + at.left_out, sum(at))


def mcc(
    labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"], threshold: float, weights: Weights = None
) -> float:
    """The correlation of label and side of the threshold (Matthews 1975), in [-1, 1]; NaN if either is constant.

    Examples
    --------
    >>> mcc(np.array([0, 1]), np.array([0.2, 0.9]), 0.7)
    1.0
    """
    right, wrong, missed, left_out = counts_at(labels, scores, threshold, weights)
    margins = (right + wrong) * (right + missed) * (left_out + wrong) * (left_out + missed)
    return (right * left_out - wrong * missed) / margins**0.5 if margins else NAN


# (truth, scores, weights) → a number. The last two are of graded pairs, the others of labels 0 and 1.
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
    """For each row 1 / the rank of its own column, i for row i, among all columns; (0, 1], 1 is best.

    ``same[i, j]`` marks columns that mean the same as row i: they are no rivals. Ties count half.

    Examples
    --------
    >>> reciprocal_ranks(np.array([[0.9, 0.1], [0.8, 0.5]]), np.zeros((2, 2), dtype=bool))
    array([1. , 0.5])
    """
    own = np.diagonal(scores)[:, None]
    rival = ~same & ~np.eye(len(scores), dtype=np.bool_)
    rank = 1 + ((scores > own) & rival).sum(1) + 0.5 * ((scores == own) & rival).sum(1)
    return np.asarray(1 / rank)


def _beyond(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at or above each distinct score, strictest first; one zero each for no rows.

    The sort is stable: rows that stand in order of score already cost one pass.
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
    """The mean rank of each value, a row of weight w standing for w rows."""
    distinct, places = np.unique(values, return_inverse=True)
    at = np.bincount(places, weights=weights, minlength=len(distinct)).astype(np.float64)
    return np.asarray((np.cumsum(at) - (at - 1) / 2)[places])


def _share(part: float, whole: float) -> float:
    return part / whole if whole else NAN


def equal_error_rate(labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"]) -> float:
    """The share of errors at the cut where as many equals are refused as others accepted; between two cuts, by a straight line.

    Parameters
    ----------
    labels
        (n,) of 0 and 1.
    scores
        (n,) finite, larger is closer. Equal scores fall on one side of every cut.

    Returns
    -------
    rate
        In [0, 1]: 0 where a cut separates all, .5 at chance; NaN unless there are pairs of both labels.

    Examples
    --------
    >>> equal_error_rate(np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.6, 0.1]))
    0.5
    """
    labels = np.asarray(labels) == 1
    n_same, n_other = int(labels.sum()), int((~labels).sum())
    if not n_same or not n_other:
        return float("nan")
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ranked, same = np.asarray(scores, dtype=np.float64)[order], labels[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # the last of each run of equal scores
    accepted = np.concatenate([[0.0], np.cumsum(~same)[ends] / n_other])
    refused = np.concatenate([[1.0], 1 - np.cumsum(same)[ends] / n_same])
    after = int(np.argmax(accepted >= refused))
    before = after - 1
    gap_before, gap_after = refused[before] - accepted[before], accepted[after] - refused[after]
    share = gap_before / (gap_before + gap_after)
    return float(accepted[before] + share * (accepted[after] - accepted[before]))
