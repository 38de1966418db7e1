"""A random sample of a finite population of scores, from which the shares at or above every cut can be told.

The population is what a join found: its scores and, once people look, its labels are fixed, and chance is in the draw alone
(the design-based view; Cochran 1977, chapters 5 and 9). So it does not matter that matches share texts.

Scores fall into strata, each stratum is cut by score into cells of nearly equal size, and one match is drawn at random from
each cell, independently (stratification to the limit, with one draw a stratum). A draw stands for its cell: the design
weight is the cell's size.

Deliberately left out: a second draw a cell, systematic samples with one random start, and sampling by cluster of texts. Draws
of cells are independent, which is what an exact test asks for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.errors import UnreadableInput

N_STRATA, N_LABELS = 10, 300
AUDIT, TRAINING = "audit", "training"

# From the sizes of the strata to what their numbers of labels are proportional to.
# Measured in benchmarks/audit_simulation.py and, on a real join, benchmarks/audit.py: `equal` has wider intervals, which on a
# heavily skewed join cover in 89 % of samples instead of 95; `proportional` finds fewer thresholds at strict scores.
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
        (cells,) from 0, the highest scores.
    size
        (cells,) how many matches each holds, which is the weight of its draw.
    low
        (cells,) the lowest score in each.
    is_cut
        (cells,) whether every match below the cell scores lower than `low`: only there does a threshold end.
    place
        (cells,) where the draw stands in the population.
    score
        (cells,) the draw's score.
    seed
        What the draws came from.

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
        """How many matches the population holds."""
        return int(self.size.sum())

    @property
    def n_strata(self) -> int:
        """How many strata there are."""
        return int(self.stratum.max(initial=-1)) + 1

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the audit's folder."""
        columns = ("stratum", "size", "low", "is_cut", "place", "score")
        # Scores are fp32 and come back as such: their fp64 digits tell them apart exactly.
        return {"seed": self.seed} | {name: getattr(self, name).tolist() for name in columns}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Design":
        """The design that `to_json` told of."""
        whole = {name: np.array(told[name], dtype=np.int64) for name in ("stratum", "size", "place")}
        scores = {name: np.array(told[name], dtype=np.float32) for name in ("low", "score")}
        return cls(**whole, **scores, is_cut=np.array(told["is_cut"], dtype=bool), seed=int(told["seed"]))


@dataclass(frozen=True, eq=False)
class Sampled:
    """The pairs to label, in the order in which they are shown; numbered from 1.

    Parameters
    ----------
    id_a, id_b, text_a, text_b
        (pairs,) what is compared.
    score
        (pairs,) the join's scores.
    cell
        (pairs,) the cell of the design that each was drawn from; -1 for those to train on, which come last.
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
    """A random sample of at most `n` of these scores, whatever their distribution.

    Parameters
    ----------
    scores
        (n,) finite. Ties stay in one stratum; among themselves they are in random order.
    n
        How many to draw; all of them where the population is no larger.
    n_strata
        Strata of equal width in score. One that holds too few for its share of labels is merged with the next lower one, and
        the highest score is a stratum of its own where it alone holds enough (exact repeats do).
    allocation
        How labels are shared out, at most as many as a stratum holds: ``equal`` over the strata, ``proportional`` to what they
        hold, or ``root``, proportional to the square root of it (power allocation, Bankier 1988).
    seed
        Of the draws.

    Raises
    ------
    UnreadableInput
        If there is no score, or one is not finite.
    ValueError
        If a number is not positive, or the allocation unknown.

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
        raise ValueError(f"A sample has at least one label and one stratum, but got {n} and {n_strata}. Give more.")
    if not len(scores):
        raise UnreadableInput("There is no match to draw from: the join found none. Lower its threshold.")
    if len(wrong := np.flatnonzero(~np.isfinite(scores))):
        raise UnreadableInput(
            f"{len(wrong):,} of {len(scores):,} scores are not finite (places {', '.join(map(str, wrong[:10]))}). "
            "A join finds pairs with scores: leave these rows out, or join again."
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
    bounds[-1] = len(ordered)  # what is left at the bottom joins the lowest stratum
    return np.array(bounds, dtype=np.int64)


def _shares(
    sizes: Int[np.ndarray, " strata"], n: int, measure: Float[np.ndarray, " strata"]
) -> Int[np.ndarray, " strata"]:
    """`n` labels shared out by `measure`, at least one and at most its size to each stratum; largest remainders come first."""
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
