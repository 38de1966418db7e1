"""Rates by which verification is judged: how often it errs, in either direction."""

import numpy as np
from jaxtyping import Shaped


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
