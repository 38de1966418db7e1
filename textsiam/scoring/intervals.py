"""Intervals: how far a figure could be off, when rows that belong together are drawn together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

MIN_COMPONENTS = 5

Metric = Callable[[Any, Any], float]


class Interval(NamedTuple):
    """A figure and the bounds that hold its true value with the stated confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


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
    """A metric of (truth, scores) with its percentile bootstrap interval over components.

    Efron & Tibshirani 1993, chapter 13; components are drawn whole, with replacement (the cluster bootstrap), because rows
    that share a text are not independent. Draws for which the metric is not defined (one label alone) are left out.

    Parameters
    ----------
    metric
        (truth, scores) → a number.
    minus
        Scores of another model on the same rows: the figure is then the difference, paired.
    components
        (n,) which rows belong together. Default: each row alone.
    confidence
        Of the two-sided interval.
    n_draws, seed
        Resamples, and what makes them repeatable.

    Returns
    -------
    interval
        All NaN where the metric of the rows themselves is not defined; bounds NaN with fewer than 5 components, of which no
        draw says how far another sample could be off.

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
    groups = np.arange(len(truth)) if components is None else np.unique(components, return_inverse=True)[1]
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
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(value), float(low), float(high))
