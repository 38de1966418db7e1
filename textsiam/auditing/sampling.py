"""A random sample of a finite population of scores, which estimates the shares at or above every cut.

The population is what a join found. Its scores and labels are fixed, and chance is in the draw alone (the design-based view;
Cochran 1977, chapters 5 and 9). It therefore does not matter that matches share texts.

Scores fall into strata. Each stratum is divided by score into cells of nearly equal size, and one match is drawn at random from
each cell, independently. A draw stands for its cell: its design weight is the cell's size.

Deliberately left out: a second draw per cell, systematic samples with one random start, and sampling by cluster of texts. An
exact test needs the independent draws of this design.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.errors import UnreadableInput

N_STRATA, N_LABELS = 10, 300
AUDIT, TRAINING = "audit", "training"

# The sizes of the strata → what their numbers of labels are proportional to. Measured in benchmarks/audit_simulation.py and, on
# a real join, in benchmarks/audit.py: `equal` has wider intervals, which on a heavily skewed join cover in 89 % of samples
# instead of 95 %; `proportional` finds fewer thresholds at strict scores.
ALLOCATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "equal": np.ones_like,
    "root": np.sqrt,
    "proportional": np.array,
}


@dataclass(frozen=True, eq=False)
class Design:
    """How a sample was drawn: its cells, from the highest scores to the lowest.

    Parameters
    ----------
    stratum
        (cells,) the stratum of each cell; 0 has the highest scores.
    size
        (cells,) the number of matches in each: the weight of its draw.
    low
        (cells,) the lowest score in each.
    is_cut
        (cells,) whether every match below the cell scores lower than `low`: only such cells can end at a threshold.
    place
        (cells,) the place of each draw in the population.
    score
        (cells,) the score of each draw.
    seed
        The seed of the draws.

    Examples
    --------
    >>> design = draw_sample(np.array([0.9, 0.8, 0.95, 0.85], dtype=np.float32), n=2)
    >>> design.n_matches, design.size.tolist(), len(design)
    (4, [2, 2], 2)
    """

    stratum: Int[np.ndarray, " cells"]
    size: Int[np.ndarray, " cells"]
    low: Float[np.ndarray, " cells"]
    is_cut: Bool[np.ndarray, " cells"]
    place: Int[np.ndarray, " cells"]
    score: Float[np.ndarray, " cells"]
    seed: int = 0

    def __len__(self) -> int:
        return len(self.size)

    @property
    def n_matches(self) -> int:
        """The number of matches in the population."""
        return int(self.size.sum())

    @property
    def n_strata(self) -> int:
        """The number of strata."""
        return int(self.stratum.max(initial=-1)) + 1

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the audit's folder."""
        columns = ("stratum", "size", "low", "is_cut", "place", "score")
        # Scores are fp32: their fp64 digits give them back exactly.
        return {"seed": self.seed} | {name: getattr(self, name).tolist() for name in columns}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Design":
        """The design whose `to_json` gave these values."""
        whole = {name: np.array(values[name], dtype=np.int64) for name in ("stratum", "size", "place")}
        scores = {name: np.array(values[name], dtype=np.float32) for name in ("low", "score")}
        return cls(**whole, **scores, is_cut=np.array(values["is_cut"], dtype=bool), seed=int(values["seed"]))


@dataclass(frozen=True, eq=False)
class Sampled:
    """The pairs to label, in the order in which they are shown, numbered from 1.

    Parameters
    ----------
    id_a, id_b, text_a, text_b
        (pairs,) the ids and texts of each pair.
    score
        (pairs,) the join's scores.
    cell
        (pairs,) the cell of the design that each was drawn from; -1 for the pairs to train on, which come last.
    """

    id_a: Sequence[str]
    id_b: Sequence[str]
    text_a: Sequence[str]
    text_b: Sequence[str]
    score: Float[np.ndarray, " pairs"]
    cell: Int[np.ndarray, " pairs"]

    def __len__(self) -> int:
        return len(self.cell)

    def purpose(self, number: int) -> str:
        """``audit`` or ``training``."""
        return AUDIT if self.cell[number - 1] >= 0 else TRAINING


def draw_sample(
    scores: Float[np.ndarray, " n"],
    n: int = N_LABELS,
    *,
    n_strata: int = N_STRATA,
    allocation: str = "root",
    seed: int = 0,
) -> Design:
    """A random sample of at most `n` of these scores, of any distribution.

    Raises UnreadableInput if there is no score, or if one is not finite; ValueError if a number is not positive, or if the
    allocation is unknown.

    Parameters
    ----------
    scores
        (n,) finite. Ties stay in one stratum, in random order.
    n
        How many to draw; all of them if there are fewer.
    n_strata
        The number of strata, of equal width in score. A stratum with too few matches for its share of labels is merged with the
        next lower one. The highest score is a stratum of its own if it has enough matches, as exact repeats do.
    allocation
        How labels are distributed, at most as many as a stratum holds: ``equal`` over the strata, ``proportional`` to their
        sizes, or ``root``, proportional to the square roots of their sizes (power allocation, Bankier 1988).
    seed
        Of the draws.

    Examples
    --------
    >>> design = draw_sample(np.linspace(0.8, 1, 1_000, dtype=np.float32), n=50)
    >>> len(design), design.n_strata, design.size.tolist()[:3]
    (50, 10, [20, 20, 20])
    """
    _check(scores, n, n_strata, allocation)
    rng = np.random.default_rng([seed, 0])
    order = np.lexsort((rng.random(len(scores)), -scores))
    ordered = scores[order]
    n = min(n, len(scores))
    bounds = _strata(ordered, min(n_strata, n), max(n // n_strata, 1))
    sizes = np.diff(bounds)
    shares = _shares(sizes, n, ALLOCATIONS[allocation](sizes.astype(np.float64)))
    edges = [np.round(np.linspace(0, size, share + 1)[1:]) for size, share in zip(sizes, shares, strict=True)]
    ends = np.concatenate([start + own for start, own in zip(bounds, edges, strict=False)]).astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    places = order[starts + np.minimum((rng.random(n) * (ends - starts)).astype(np.int64), ends - starts - 1)]
    return Design(
        stratum=np.repeat(np.arange(len(shares)), shares),
        size=ends - starts,
        low=ordered[ends - 1],
        is_cut=np.append(ordered[ends[:-1] - 1] > ordered[ends[:-1]], True),
        place=places,
        score=scores[places],
        seed=seed,
    )


def _check(scores: Shaped[np.ndarray, " n"], n: int, n_strata: int, allocation: str) -> None:
    if allocation not in ALLOCATIONS:
        raise ValueError(f"There is no allocation {allocation!r}. Use one of {', '.join(ALLOCATIONS)}.")
    if n < 1 or n_strata < 1:
        raise ValueError(
            f"A sample has at least one label and one stratum, but got {n} and {n_strata}. Give 1 or more."
        )
    if not len(scores):
        raise UnreadableInput("There is no match to draw from: the join found none. Join with a lower threshold.")
    if len(wrong := np.flatnonzero(~np.isfinite(scores))):
        raise UnreadableInput(
            f"{len(wrong):,} of {len(scores):,} scores are not finite (places {', '.join(map(str, wrong[:10]))}). "
            "Leave these rows out, or join again."
        )


def _strata(ordered: Float[np.ndarray, " n"], n_strata: int, least: int) -> Int[np.ndarray, " bounds"]:
    """Where each stratum of the descending scores begins, and where the last one ends."""
    high, low = float(ordered[0]), float(ordered[-1])
    width = (high - low) / n_strata
    depth = (high - ordered.astype(np.float64)) / width if width else np.zeros(len(ordered))
    band = np.minimum(depth, n_strata - 1).astype(np.int64)
    if np.count_nonzero(ordered == high) >= least:
        band[ordered == high] = -1
    bounds, begin = [0], 0
    for end in [*(np.flatnonzero(np.diff(band)) + 1).tolist(), len(ordered)]:
        if end - begin >= least:
            bounds.append(end)
            begin = end
    bounds[-1] = len(ordered)  # the rest at the bottom joins the lowest stratum
    return np.array(bounds, dtype=np.int64)


def _shares(
    sizes: Int[np.ndarray, " strata"], n: int, measure: Float[np.ndarray, " strata"]
) -> Int[np.ndarray, " strata"]:
    """`n` labels in proportion to `measure`; each stratum gets at least one and at most its size; largest remainders first."""
    share, full = np.zeros(len(sizes)), np.zeros(len(sizes), dtype=bool)
    while not full.all():
        share = np.where(full, sizes, (n - sizes[full].sum()) * measure / measure[~full].sum())
        if not (over := ~full & (share >= sizes)).any():
            break
        full |= over
        share = np.where(full, sizes, share)
    given: np.ndarray = np.minimum(np.maximum(np.floor(share), 1), sizes).astype(np.int64)
    while given.sum() != n:
        step = 1 if given.sum() < n else -1
        room = (given < sizes) if step > 0 else (given > 1)
        given[np.argmax(np.where(room, step * (share - given), -np.inf))] += step
    return given
