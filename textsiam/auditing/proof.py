"""The loosest threshold that a sample's labels prove for the join they were drawn from, or that none is proven.

Thresholds that end a cell are tested in an order fixed by the design, strictest first, before any label is seen; the first
that fails ends the sequence, so none passes wrongly with more than 1 - confidence (fixed-sequence testing: see
`textsiam.scoring.evidence.certification`). Each test is exact: the draws above are thinned to equal mass (`thinning`), and
the number
of right ones among them is judged by the binomial. Where every match above is labelled there is nothing to test: the
precision is known.

What nobody decided counts as wrong.

Draws of unequal weight made equal: a random, label-blind choice of a fixed number, each by its weight.

An exact binomial test asks that every draw stand for the same mass. Where weights differ, the draws are thinned by pivotal
sampling (Deville & Tillé 1998): a fixed number is kept, each draw with a probability in proportion to its weight. Such a
choice is strongly Rayleigh (Brändén & Jonasson 2012, "Negative dependence in sampling"), and stays so when every kept draw is
right or wrong by its own independent chance; the number of right ones among n kept draws is then a sum of n independent
trials, whose mean is n times the weighted share of right ones. From one above the mean on, no such sum has a heavier tail than
the binomial (Hoeffding 1956, theorem 4), and a test at 95 % never passes below that: the exact test holds.

Systematic thinning with one random start also keeps a fixed number by weight, but shares its start among all: no such bound.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.auditing.sampling import Design
from textsiam.scoring.evidence.certificates import Cut
from textsiam.scoring.evidence.certification import CONFIDENCE, STEP
from textsiam.scoring.evidence.planning import (
    check_levels,
    labels_needed,
    labels_without_error,
    lower_bound,
    passes,
    starts,
)

ROUNDING = 1e-9


def n_kept(weights: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How many of the first 1, 2, …, n draws can be kept with equal mass: their total weight over the heaviest of them.

    Examples
    --------
    >>> n_kept(np.array([1, 1, 2, 2])).tolist()
    [1, 2, 2, 3]
    """
    return np.asarray(np.cumsum(weights) // np.maximum.accumulate(weights))


def thin(weights: Shaped[np.ndarray, " n"], rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """Which draws are kept: exactly total weight over heaviest of them (rounded down), each by its weight.

    Neighbours compete, so that the kept ones are spread over the order given. All are kept where weights are equal.

    Examples
    --------
    >>> kept = thin(np.array([1, 1, 1, 1, 2, 2]), np.random.default_rng(0))
    >>> int(kept.sum())
    4
    """
    if not len(weights) or (weights == weights[0]).all():
        return np.ones(len(weights), dtype=bool)
    n = int(n_kept(weights)[-1])
    return _pivotal(n * weights / weights.sum(), rng.random(len(weights)))


def _pivotal(chances: Float[np.ndarray, " n"], luck: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Two undecided draws fight: together below 1 the winner takes both chances, else the winner is kept, the loser goes on."""
    winners = []
    holder, held = 0, float(chances[0])
    for place, (chance, lot) in enumerate(zip(chances[1:].tolist(), luck[1:].tolist(), strict=True), start=1):
        total = held + chance
        if total < 1 - ROUNDING:
            if lot * total >= held:
                holder = place
            held = total
        else:
            # Where both chances are 1 up to rounding the holder is kept, and the other goes on with the rest.
            if total > 2 - ROUNDING or lot * (2 - total) < 1 - chance:
                winners.append(holder)
                holder = place
            else:
                winners.append(place)
            held = total - 1 if total > 1 else 0.0
    if held > 0.5:  # noqa: PLR2004  the chances add up to a whole number, so what is left is 0 or 1 but for rounding
        winners.append(holder)
    kept = np.zeros(len(chances), dtype=bool)
    kept[winners] = True
    return kept


@dataclass(frozen=True)
class Proof:
    """The loosest cut proven, or None; and every cut that was looked at.

    Parameters
    ----------
    level, confidence
        What is promised at or above the cut, and with which probability over samples the promise is kept.
    value
        The cut; None: none is proven.
    cuts
        Those looked at, strictest first, with the labels that counted in each test.
    n_usable
        The most draws of equal mass that any cut has above it: fewer than labels where weights differ.
    """

    level: float
    confidence: float
    value: float | None
    cuts: tuple[Cut, ...]
    n_usable: int

    @property
    def promise(self) -> str:
        """The guarantee in words."""
        return f"precision ≥ {self.level:.2f} with {100 * self.confidence:g} % confidence"

    @property
    def nearest(self) -> Cut | None:
        """Of the cuts tested the one with the highest lower bound: a hint, no proof."""
        return max(self.cuts, key=lambda cut: lower_bound(cut.n_right, cut.n, self.confidence), default=None)

    def more_labels(self, n: int) -> int | None:
        """How many more than `n` labels would prove the nearest cut with probability .9 if it is as good as it looks.

        None if no number would, as far as these tell (Laplace's estimate of the share).
        """
        if self.value is not None:
            return 0
        if self.nearest is None:
            return max(1, math.ceil(labels_without_error(self.level, self.confidence) / self.n_usable * n) - n)
        needed = labels_needed(self.level, (self.nearest.n_right + 1) / (self.nearest.n + 2), self.confidence)
        return None if needed is None else max(1, math.ceil(needed / self.nearest.n * n) - n)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a threshold's evidence."""
        return {
            "level": self.level,
            "confidence": self.confidence,
            "cuts": [dict(zip(("value", "n", "n_right", "passed"), cut, strict=True)) for cut in self.cuts],
        }


def prove(
    design: Design,
    labels: Int[np.ndarray, " cells"],
    *,
    precision: float = 0.95,
    confidence: float = CONFIDENCE,
) -> Proof:
    """The loosest cut at or above which at least `precision` of the join's matches are right, or none.

    Parameters
    ----------
    labels
        (cells,) of each draw: 1 is right, everything else wrong.
    precision, confidence
        In (0, 1).

    Raises
    ------
    ValueError
        If the precision or confidence is not in (0, 1).

    Examples
    --------
    >>> from textsiam.auditing.sampling import draw_sample
    >>> design = draw_sample(np.linspace(0.8, 1, 10_000, dtype=np.float32), n=300)
    >>> proof = prove(design, (design.score > 0.9).astype(int))
    >>> proof.promise, 0.89 < proof.value < 0.91
    ('precision ≥ 0.95 with 95 % confidence', True)
    """
    check_levels(precision, confidence)
    known, open_ = _known(design, labels, precision), _tested(design, labels, precision, confidence)
    cuts = sorted([*known, *open_], key=lambda cut: -cut.value)
    value = min((cut.value for cut in cuts if cut.passed), default=None)
    return Proof(precision, confidence, value, tuple(cuts), int(n_kept(design.size).max()))


def _known(design: Design, labels: Int[np.ndarray, " cells"], precision: float) -> list[Cut]:
    """The cuts above which every match is labelled: of those that keep the precision the loosest, else the loosest of all."""
    whole = np.flatnonzero(np.cumprod(design.size == 1) * design.is_cut)
    n_right = np.cumsum(labels == 1)
    kept = whole[n_right[whole] >= precision * (whole + 1) - 1e-12]
    return [
        Cut(float(design.low[cell]), int(cell) + 1, int(n_right[cell]), bool(len(kept)))
        for cell in (kept[-1:] if len(kept) else whole[-1:]).tolist()
    ]


def _tested(design: Design, labels: Int[np.ndarray, " cells"], precision: float, confidence: float) -> list[Cut]:
    """Every cut tested, up to and with the first of its sequence that fails."""
    mass, kept = np.cumsum(design.size), n_kept(design.size)
    usable = design.is_cut & (np.maximum.accumulate(design.size) > 1)
    cuts: dict[int, Cut] = {}
    for start, own_confidence in starts(int(kept.max()), precision, confidence):
        # A cut that the draws above are too few to judge is passed over, by numbers alone.
        cells = np.flatnonzero(usable & (kept >= start))
        while len(cells):
            cell = int(cells[0])
            cut = cuts[cell] = _test(design, labels, cell, precision, own_confidence)
            if not cut.passed:
                break
            further = cells[mass[cells] >= STEP * mass[cell] - 1e-6]
            # The join's own threshold is the last cut to be tested, however short the step to it.
            cells = further if len(further) else cells[1:][-1:]
    return list(cuts.values())


def _test(design: Design, labels: Int[np.ndarray, " cells"], cell: int, precision: float, confidence: float) -> Cut:
    above = slice(cell + 1)
    kept = thin(design.size[above], np.random.default_rng([design.seed, 1, cell]))
    n, n_right = int(kept.sum()), int((labels[above][kept] == 1).sum())
    return Cut(float(design.low[cell]), n, n_right, passes(n_right, n, precision, confidence))
