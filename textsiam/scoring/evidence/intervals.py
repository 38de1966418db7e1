"""Intervals: how far a figure could be from its true value, where rows of one component depend on each other."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

MIN_COMPONENTS = 5

Metric = Callable[[Any, Any], float]


class Interval(NamedTuple):
    """A figure, and bounds that contain its true value with the stated confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def bootstrap(
    metric: Metric,
    truth: Shaped[np.ndarray, " n"],
    scores: Shaped[np.ndarray, " n"],
    *,
    minus: Shaped[np.ndarray, " n"] | None = None,
    components: Int[np.ndarray, " n"] | None = None,
    confidence: float = 0.95,
    n_draws: int = 1_000,
    seed: int = 0,
) -> Interval:
    """A metric of (truth, scores) with its percentile bootstrap interval over components (Efron & Tibshirani 1993, chapter 13).

    Rows that share a text are not independent, so whole components are drawn with replacement (the cluster bootstrap). Draws
    without a defined metric, such as those with only one label, are left out. All NaN if the metric of the given rows is not
    defined. With fewer than 5 components the bounds are NaN, because so few do not show how far another sample could differ.

    Parameters
    ----------
    metric
        (truth, scores) → a number.
    minus
        Scores of another model on the same rows. The figure is then the paired difference.
    components
        (n,) numbers of the components. Default: every row is its own.
    confidence
        Confidence of the two-sided interval.
    n_draws, seed
        Number of resamples, and their seed.

    Examples
    --------
    >>> truth, scores = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.7, 0.8, 0.9])
    >>> bootstrap(lambda y, s: float(((s > 0.5) == y).mean()), truth, scores)
    Interval(value=1.0, low=1.0, high=1.0)
    """

    def figure(rows: Any) -> float:
        here = metric(truth[rows], scores[rows])
        return here if minus is None else here - metric(truth[rows], minus[rows])

    value = figure(slice(None))
    groups = groups_of(components, len(truth))
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    rng = np.random.default_rng(seed)
    draws = np.array(
        [
            figure(np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))]))
            for _ in range(n_draws)
        ]
    )
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(draws) or len(members) < MIN_COMPONENTS:
        return NOTHING._replace(value=float(value))
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(value), float(low), float(high))


def binomial_interval(n_hits: float, n: float, confidence: float = 0.95) -> Interval:
    """The share of hits with its exact two-sided interval (Clopper & Pearson 1934); all NaN without trials.

    Examples
    --------
    >>> print(binomial_interval(59, 59))
    1.0000 [0.9394, 1.0000]
    """
    from scipy.special import betaincinv

    if not n:
        return NOTHING
    tail = (1 - confidence) / 2
    low = float(betaincinv(n_hits, n - n_hits + 1, tail)) if n_hits else 0.0
    high = float(betaincinv(n_hits + 1, n - n_hits, 1 - tail)) if n_hits < n else 1.0
    return Interval(n_hits / n, low, high)


def mean_interval(
    values: Float[np.ndarray, " n"], components: Int[np.ndarray, " n"] | None = None, confidence: float = 0.95
) -> Interval:
    """The mean of all rows with a normal interval for rows that depend within components (Liang & Zeger 1986).

    All NaN without rows. The bounds are NaN with fewer than 5 effective components (see `n_effective`).

    Examples
    --------
    >>> mean_interval(np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])).value
    0.5
    """
    from scipy.special import ndtri

    if not len(values):
        return NOTHING
    mean = float(values.mean())
    groups = groups_of(components, len(values))
    if n_effective(groups) < MIN_COMPONENTS:
        return NOTHING._replace(value=mean)
    half = float(ndtri((1 + confidence) / 2)) * deviation_of_mean(values, groups)
    return Interval(mean, mean - half, mean + half)


def share_interval(
    hits: Bool[np.ndarray, " n"], components: Int[np.ndarray, " n"] | None = None, confidence: float = 0.95
) -> Interval:
    """The share of hits with an interval for dependent rows: Clopper & Pearson's, for the effective number of rows.

    That number of independent rows would have the same variance (Korn & Graubard 1998). If that variance is 0, because all or
    none hit, it is the number of components. Few components give NaN as in `mean_interval`; bounds are in [0, 1].

    Examples
    --------
    >>> print(share_interval(np.ones(6, dtype=bool)))
    1.0000 [0.5407, 1.0000]
    """
    from scipy.special import ndtri

    mean = mean_interval(hits.astype(np.float64), components, confidence)
    if not np.isfinite(mean.low):
        return mean
    n_groups = len(hits) if components is None else len(np.unique(components))
    spread = ((mean.high - mean.low) / 2 / float(ndtri((1 + confidence) / 2))) ** 2
    n = min(len(hits), mean.value * (1 - mean.value) / spread) if spread else n_groups
    return binomial_interval(mean.value * n, n, confidence)._replace(value=mean.value)


def n_effective(groups: Int[np.ndarray, " n"]) -> float:
    """The effective number of components, as if all had equal size: n² / Σ nᵢ².

    Examples
    --------
    >>> n_effective(np.array([0, 0, 1, 1])), round(n_effective(np.array([0, 0, 0, 1])), 2)
    (2.0, 1.6)
    """
    sizes = np.bincount(groups).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def groups_of(components: Int[np.ndarray, " n"] | None, n: int) -> Int[np.ndarray, " n"]:
    """The component of each row, numbered from 0; without components, every row is its own."""
    return np.arange(n) if components is None else np.unique(components, return_inverse=True)[1]


def deviation_of_mean(values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> float:
    """The standard deviation of the mean; rows of one group (numbered from 0) depend on each other."""
    sums = np.bincount(groups, weights=values - values.mean())
    return float(np.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)) / len(values))
