"""Draws of unequal weight made equal: a random, label-blind choice of a fixed number, each by its weight.

An exact binomial test asks that every draw stand for the same mass. Where weights differ, the draws are thinned by pivotal
sampling (Deville & Tillé 1998): a fixed number is kept, each draw with a probability in proportion to its weight. Such a
choice is strongly Rayleigh (Brändén & Jonasson 2012, "Negative dependence in sampling"), and stays so when every kept draw is
right or wrong by its own independent chance; the number of right ones among n kept draws is then a sum of n independent
trials, whose mean is n times the weighted share of right ones. From one above the mean on, no such sum has a heavier tail than
the binomial (Hoeffding 1956, theorem 4), and a test at 95 % never passes below that: the exact test holds.

Systematic thinning with one random start also keeps a fixed number by weight, but shares its start among all: no such bound.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

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
