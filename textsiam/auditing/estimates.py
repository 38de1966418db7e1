"""What a sample's labels say about all matches: precision and recall at a cut, with intervals.

Each stratum above (and below) a cut has a mass, known from the design, and labels. Shares are weighted means (Hájek's ratio
estimator). A stratum's variance is that of simple random sampling without replacement; this is an upper bound, since the cells
of a stratum balance the scores. For the variance alone, a stratum's chance is moved a little towards one half,
(right + ½) / (labels + 1), because a stratum without an error in the sample may still hold one.

Precision has the interval of Clopper & Pearson at the effective sample size (Korn & Graubard 1998). Recall has a normal
interval on the log odds of two independent totals, above and below the cut (Taylor's linearisation; Woodruff 1971).
``benchmarks/audit_simulation.py`` simulates the coverage of both.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textsiam.auditing.labelling import UNRESOLVED
from textsiam.auditing.sampling import Design
from textsiam.scoring.evidence.intervals import NOTHING, Interval, binomial_interval

Labels = Int[np.ndarray, " cells"]
Inside = Bool[np.ndarray, " cells"]


class _Parts(NamedTuple):
    """For each stratum: its mass, decided labels, share of right ones, chance for the variance, and share not labelled."""

    mass: Float[np.ndarray, " strata"]
    n: Float[np.ndarray, " strata"]
    share: Float[np.ndarray, " strata"]
    chance: Float[np.ndarray, " strata"]
    open_share: Float[np.ndarray, " strata"]

    @classmethod
    def of(cls, design: Design, labels: Labels, inside: Inside) -> "_Parts":
        known = inside & (labels != UNRESOLVED)
        right = known & (labels == 1)
        mass, known_mass, right_mass, n, n_right = (
            np.bincount(design.stratum[those], weights[those], design.n_strata)
            for weights, those in (
                (design.size, inside), (design.size, known), (design.size, right),
                (np.ones(len(design)), known), (np.ones(len(design)), right),
            )
        )  # fmt: skip
        decided = n[mass > 0] > 0
        share = np.divide(right_mass, known_mass, out=np.zeros(design.n_strata), where=n > 0)[mass > 0]
        mass, n, n_right = mass[mass > 0], n[mass > 0], n_right[mass > 0]
        if decided.any():
            share[~decided] = np.average(share[decided], weights=mass[decided])
        return cls(mass, n, share, (n_right + 0.5) / (n + 1), 1 - np.minimum(n / mass, 1))

    @property
    def is_decided(self) -> bool:
        """Whether any label is decided."""
        return bool(self.n.any())

    def total(self) -> float:
        """The estimated number of right matches."""
        return float((self.mass * self.share).sum())

    def variance(self, *, finite: bool = True) -> float:
        """The variance of `total`; with `finite`, labelled matches add none."""
        rest = self.open_share if finite else 1.0
        return float((self.mass**2 * self.chance * (1 - self.chance) / np.maximum(self.n, 1) * rest).sum())


def precision_at(design: Design, labels: Labels, cut: float, confidence: float = 0.95) -> Interval:
    """The share of right matches among those at or above the cut, with its interval.

    `labels` are (cells,), the label of each draw: 1, 0, or -1 if undecided. The decided draws of a stratum stand for the
    undecided ones. For a stratum without a decided draw the other strata do, and its chance counts as one half in the variance.
    All NaN if no draw above the cut is decided. The width is 0 if every match above the cut is labelled.

    Examples
    --------
    >>> from textsiam.auditing.sampling import draw_sample
    >>> design = draw_sample(np.linspace(0.8, 1, 1_000, dtype=np.float32), n=100)
    >>> print(precision_at(design, (design.score > 0.85).astype(int), 0.8))
    0.7500 [0.6589, 0.8273]
    """
    return share_of(design, labels, design.score >= np.float32(cut), confidence)


def share_of(design: Design, labels: Labels, inside: Inside, confidence: float = 0.95) -> Interval:
    """The share of right matches among those that the cells `inside` stand for; see `precision_at`.

    Examples
    --------
    >>> from textsiam.auditing.sampling import draw_sample
    >>> design = draw_sample(np.linspace(0.8, 1, 1_000, dtype=np.float32), n=100)
    >>> round(share_of(design, np.ones(100, dtype=int), design.stratum == 0).low, 2)
    0.72
    """
    parts = _Parts.of(design, labels, inside)
    if not parts.is_decided:
        return NOTHING
    mass, n = float(parts.mass.sum()), float(parts.n.sum())
    value, chance = parts.total() / mass, float((parts.mass * parts.chance).sum()) / mass
    simple, finite = parts.variance(finite=False), parts.variance()
    if finite == 0:
        return Interval(value, value, value)
    effective = min(n, chance * (1 - chance) * mass**2 / simple) * simple / finite
    return binomial_interval(value * effective, effective, confidence)._replace(value=value)


def recall_at(design: Design, labels: Labels, cut: float, confidence: float = 0.95) -> Interval:
    """The share at or above the cut of the right matches that the join found; those below the join's threshold do not count.

    `labels` are as for `precision_at`. All NaN if no draw is right, or if none above or none below the cut is decided. The width
    is 0 if every match is labelled, or if no draw lies below the cut.

    Examples
    --------
    >>> from textsiam.auditing.sampling import draw_sample
    >>> design = draw_sample(np.linspace(0.8, 1, 1_000, dtype=np.float32), n=100)
    >>> print(recall_at(design, (design.score > 0.85).astype(int), 0.95))
    0.3333 [0.3042, 0.3637]
    """
    above = _Parts.of(design, labels, design.score >= np.float32(cut))
    below = _Parts.of(design, labels, design.score < np.float32(cut))
    found, missed = above.total(), below.total()
    sides = [side for side in (above, below) if len(side.n)]
    if not found + missed or not all(side.is_decided for side in sides):
        return NOTHING
    value = found / (found + missed)
    if above.variance() + below.variance() == 0 or not len(below.n):
        return Interval(value, value, value)
    if not len(above.n):
        return Interval(value, 0.0, 1.0)
    return _log_odds(value, above, below, _divided(design, cut), confidence)


def _divided(design: Design, cut: float) -> float:
    """The mass of the cell that the cut divides, whose one draw stands for both parts; 0 if the cut ends a cell."""
    ends = design.is_cut & (design.low == np.float32(cut))
    within = np.flatnonzero(design.low < np.float32(cut))
    return 0.0 if ends.any() or not len(within) else float(design.size[within[0]])


def _log_odds(value: float, above: _Parts, below: _Parts, divided: float, confidence: float) -> Interval:
    """The interval by the totals' log odds. By chance, a divided cell's draw is above or below: a variance of at most ¼."""
    from scipy.special import expit, ndtri

    # The estimated totals; a total of 0 has no logarithm and is replaced.
    found, missed = (side.total() or float((side.mass * side.chance).sum()) for side in (above, below))
    moved = (divided / 2 * (1 / found + 1 / missed)) ** 2
    spread = np.sqrt(above.variance() / found**2 + below.variance() / missed**2 + moved)
    middle, half = np.log(found / missed), float(ndtri((1 + confidence) / 2)) * spread
    return Interval(value, min(value, float(expit(middle - half))), max(value, float(expit(middle + half))))
