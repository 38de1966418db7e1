"""The loosest threshold that a sample's labels prove for the join that the sample comes from, or None.

Only thresholds that end a cell are tested, the strictest first. The design fixes this order before any label is known. The
first test that fails ends the sequence, so the probability that any threshold passes wrongly is at most 1 - confidence
(fixed-sequence testing: see `textsiam.scoring.evidence.certification`). Each test is exact: the draws above the threshold are
thinned to equal mass (`thin`), and the binomial judges the number of right ones among them. If every match above a threshold
is labelled, its precision is known and needs no test. A draw that nobody decided counts as wrong.

Why the test is exact. A binomial test needs draws that stand for the same mass. If weights differ, pivotal sampling (Deville &
Tillé 1998) keeps a fixed number of draws, each with a probability in proportion to its weight, without looking at labels. Such
a choice is strongly Rayleigh (Brändén & Jonasson 2012, "Negative dependence in sampling"), and stays so when each kept draw is
right or wrong by its own independent chance. The number of right ones among n kept draws is then a sum of n independent trials,
and its mean is n times the weighted share of right ones. From one above the mean on, no such sum has a heavier tail than the
binomial (Hoeffding 1956, theorem 4), and a test at 95 % never passes below that.

Deliberately left out: systematic thinning with one random start. It also keeps a fixed number by weight, but all draws depend
on the same start, and no such bound is known.
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

ROUNDING = 1e-9  # of sums of chances


@dataclass(frozen=True)
class Proof:
    """The loosest proven cut, or None, and every cut that was examined.

    Parameters
    ----------
    level, confidence
        The precision at or above the cut, and the probability over samples that this promise holds.
    value
        The cut, or None if none is proven.
    cuts
        The cuts examined, strictest first, with the labels that counted in each test.
    n_usable
        The most draws of equal mass above any cut; fewer than the labels if weights differ.
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
        """The cut with the highest lower bound of those tested: a hint, not a proof."""
        return max(self.cuts, key=lambda cut: lower_bound(cut.n_right, cut.n, self.confidence), default=None)

    def more_labels(self, n: int) -> int | None:
        """How many more than `n` labels prove the nearest cut with probability .9, if it is as good as it looks.

        None if no number does, judged by Laplace's estimate of the share of right labels.
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

    Raises ValueError if the precision or confidence is not in (0, 1).

    Parameters
    ----------
    labels
        (cells,) the label of each draw: 1 is right, any other value wrong.
    precision, confidence
        In (0, 1).

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
    """Of the cuts above which every match is labelled: the loosest that keeps the precision, else the loosest of all."""
    whole = np.flatnonzero(np.cumprod(design.size == 1) * design.is_cut)
    n_right = np.cumsum(labels == 1)
    kept = whole[n_right[whole] >= precision * (whole + 1) - 1e-12]
    return [
        Cut(float(design.low[cell]), int(cell) + 1, int(n_right[cell]), bool(len(kept)))
        for cell in (kept[-1:] if len(kept) else whole[-1:]).tolist()
    ]


def _tested(design: Design, labels: Int[np.ndarray, " cells"], precision: float, confidence: float) -> list[Cut]:
    """Every cut tested; each sequence ends with the first that fails."""
    mass, kept = np.cumsum(design.size), n_kept(design.size)
    usable = design.is_cut & (np.maximum.accumulate(design.size) > 1)
    cuts: dict[int, Cut] = {}
    for start, own_confidence in starts(int(kept.max()), precision, confidence):
        # A cut with too few draws above it is skipped, by numbers alone.
        cells = np.flatnonzero(usable & (kept >= start))
        while len(cells):
            cell = int(cells[0])
            cut = cuts[cell] = _test(design, labels, cell, precision, own_confidence)
            if not cut.passed:
                break
            further = cells[mass[cells] >= STEP * mass[cell] - 1e-6]
            # The join's own threshold is the last cut to test, even if the step to it is short.
            cells = further if len(further) else cells[1:][-1:]
    return list(cuts.values())


def _test(design: Design, labels: Int[np.ndarray, " cells"], cell: int, precision: float, confidence: float) -> Cut:
    above = slice(cell + 1)
    kept = thin(design.size[above], np.random.default_rng([design.seed, 1, cell]))
    n, n_right = int(kept.sum()), int((labels[above][kept] == 1).sum())
    return Cut(float(design.low[cell]), n, n_right, passes(n_right, n, precision, confidence))


def n_kept(weights: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How many of the first 1, 2, …, n draws can be kept with equal mass: their total weight over the heaviest weight.

    Examples
    --------
    >>> n_kept(np.array([1, 1, 2, 2])).tolist()
    [1, 2, 2, 3]
    """
    return np.asarray(np.cumsum(weights) // np.maximum.accumulate(weights))


def thin(weights: Shaped[np.ndarray, " n"], rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """Which draws are kept: their number is the total weight over the heaviest, rounded down; each is kept by its weight.

    Neighbours compete, so that the kept draws spread over the order given. All are kept if the weights are equal.

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
    """Undecided draws compete in twos: if their chances sum to below 1, the winner takes both; else the winner is kept."""
    winners = []
    holder, held = 0, float(chances[0])
    for place, (chance, lot) in enumerate(zip(chances[1:].tolist(), luck[1:].tolist(), strict=True), start=1):
        total = held + chance
        if total < 1 - ROUNDING:
            if lot * total >= held:
                holder = place
            held = total
        else:
            # If both chances are 1 up to rounding, the holder is kept, and the other goes on with the rest.
            if total > 2 - ROUNDING or lot * (2 - total) < 1 - chance:
                winners.append(holder)
                holder = place
            else:
                winners.append(place)
            held = total - 1 if total > 1 else 0.0
    if held > 0.5:  # noqa: PLR2004  chances sum to a whole number: the rest is 0 or 1 up to rounding
        winners.append(holder)
    kept = np.zeros(len(chances), dtype=bool)
    kept[winners] = True
    return kept
