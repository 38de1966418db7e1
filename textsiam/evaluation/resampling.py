"""Intervals for many figures from one set of draws: the bootstrap over components, where a draw is a weight for each row.

For one figure the result equals that of `textsiam.scoring.evidence.intervals.bootstrap` with the same seed. Here all figures,
and those of a second model, see the same draws, so that their differences are paired.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from textsiam.encoding.encoder import Progress
from textsiam.scoring.evidence.intervals import MIN_COMPONENTS, NOTHING, Interval, binomial_interval

# How often each row counts → a number.
Figure = Callable[[Float[np.ndarray, " n"]], float]

Draws = dict[str, Float[np.ndarray, " n_draws"]]


def resample(
    figures: Mapping[str, Figure],
    components: Int[np.ndarray, " n"],
    *,
    n_draws: int = 1_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Draws:
    """Each figure's value on the rows as they are, then on `n_draws` draws of components: (1 + n_draws,); NaN without rows.

    Components are drawn whole, with replacement (the cluster bootstrap; Efron & Tibshirani 1993, chapter 13), because rows
    that share a text are not independent.

    Examples
    --------
    >>> drawn = resample({"rows": lambda weights: weights.sum()}, np.array([0, 0, 1]), n_draws=3)
    >>> drawn["rows"]
    array([3., 2., 3., 4.])
    """
    groups = np.unique(components, return_inverse=True)[1]
    n_groups = int(groups.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    drawn = np.full((1 + n_draws, len(figures)), np.nan)
    for place in range(1 + n_draws if n_groups else 0):
        times = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups) if place else np.ones(n_groups)
        weights = times[groups].astype(np.float64)
        drawn[place] = [figure(weights) for figure in figures.values()]
        if progress:
            progress(place, n_draws)
    return {name: drawn[:, place] for place, name in enumerate(figures)}


def interval(
    drawn: Float[np.ndarray, " n_draws"],
    components: Int[np.ndarray, " n"],
    among: Bool[np.ndarray, " n"] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """The figure, which `resample` puts first, with the percentiles of its draws; NaN draws are left out.

    The bounds are NaN if the figure is NaN, if every draw is, or if there are fewer than 5 components: draws of so few do not
    show how far another sample could be off.

    Parameters
    ----------
    among
        The rows that the figure is a share of, if it is a share. If all of them count, or none, no draw differs. The bounds
        are then the exact binomial ones (Clopper & Pearson 1934), with each component as one trial.

    Examples
    --------
    >>> interval(np.array([2.0, 1.0, 2.0, 3.0]), np.arange(5), confidence=0.5)
    Interval(value=2.0, low=1.5, high=2.5)
    """
    value, defined = float(drawn[0]), drawn[1:][np.isfinite(drawn[1:])]
    if not np.isfinite(value) or not len(defined) or len(np.unique(components)) < MIN_COMPONENTS:
        return NOTHING._replace(value=value)
    if among is not None and value in {0.0, 1.0} and np.ptp(defined) == 0:
        n = len(np.unique(components[among]))
        return binomial_interval(int(value) * n, n, confidence)
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))
