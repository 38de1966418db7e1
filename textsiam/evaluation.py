"""How well scores agree with what people said. `METRICS` are of labelled or graded pairs; larger is better."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Shaped


def average_precision(labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"]) -> float:
    """The mean precision over all positives, taken in order of score, in [0, 1]; NaN if one label alone is there.

    By scikit-learn's ``average_precision_score``; ties count as one step.

    Examples
    --------
    >>> average_precision(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9]))
    1.0
    """
    from sklearn.metrics import average_precision_score

    if len(np.unique(labels)) < 2:  # noqa: PLR2004
        return float("nan")
    return float(average_precision_score(labels, scores))


def best_f1(labels: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"]) -> float:
    """The best harmonic mean of precision and recall that any threshold reaches, in [0, 1]; NaN if one label alone is there.

    A threshold chosen on the rows it is judged by flatters: use it to compare models, not to decide.

    Examples
    --------
    >>> best_f1(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9]))
    1.0
    """
    from sklearn.metrics import precision_recall_curve

    if len(np.unique(labels)) < 2:  # noqa: PLR2004
        return float("nan")
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def spearman(grades: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation, in [-1, 1], ties at their mean rank; NaN if either is constant.

    Examples
    --------
    >>> round(spearman(np.array([0.0, 2.5, 5.0]), np.array([0.1, 0.2, 0.9])), 6)
    1.0
    """
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (grades, scores)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "average_precision": average_precision,
    "best_f1": best_f1,
    "spearman": spearman,
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
