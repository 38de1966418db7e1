"""How many labels a certificate needs: for planning before any pair is labelled."""

import math
from functools import lru_cache

import numpy as np

MOST_LABELS = 100_000
_WINDOW = 2_000
POWER = 0.9  # the probability that a plan succeeds
PLENTY = 12  # with this many times the draws that pass with one error, the strict sequence begins at that number


def labels_without_error(level: float, confidence: float = 0.95) -> int:
    """The fewest labels, none of them wrong, that certify a share of at least `level`: n with levelⁿ ≤ 1 - confidence.

    Raises ValueError if the level or the confidence is not between 0 and 1.

    Examples
    --------
    >>> labels_without_error(0.95)
    59
    """
    check_levels(level, confidence)
    n = max(1, math.ceil(math.log(1 - confidence) / math.log(level)) - 1)
    return n if passes(n, n, level, confidence) else n + 1


def passes(n_right: int, n: int, level: float, confidence: float = 0.95) -> bool:
    """Whether `n_right` of n certify a share of at least `level`: the exact one-sided binomial test.

    Examples
    --------
    >>> passes(59, 59, 0.95), passes(58, 59, 0.95), passes(92, 93, 0.95)
    (True, False, True)
    """
    from scipy.special import bdtrc

    # P(n_right or more of n | share = level); bdtrc(k, n, p) is P(X > k).
    tail = 1.0 if n_right < 1 else float(bdtrc(n_right - 1, n, level))
    return n > 0 and tail <= 1 - confidence + 1e-12


def lower_bound(n_right: int, n: int, confidence: float = 0.95) -> float:
    """The highest share that `n_right` of n certify (Clopper & Pearson 1934, one-sided); 0 without labels.

    Examples
    --------
    >>> round(lower_bound(59, 59), 4)
    0.9505
    """
    from scipy.special import betaincinv

    return float(betaincinv(n_right, n - n_right + 1, 1 - confidence)) if n_right else 0.0


@lru_cache(maxsize=256)
def labels_needed(level: float, share: float, confidence: float = 0.95, power: float = POWER) -> int | None:
    """The fewest labels that certify a true `share` as at least `level` with probability `power`.

    None if the share does not exceed the level, or 100,000 labels are not enough. Raises ValueError if the level, confidence or
    power is not between 0 and 1, or the share is not in [0, 1].

    Examples
    --------
    >>> labels_needed(0.95, 1.0), labels_needed(0.95, 0.98), labels_needed(0.95, 0.95)
    (59, 311, None)
    """
    from scipy.special import bdtrc, ndtri

    check_levels(level, confidence, power)
    if not 0 <= share <= 1:
        raise ValueError(f"A share lies in [0, 1], but got {share}. Give the precision you expect.")
    if share <= level:
        return None
    spread = ndtri(confidence) * math.sqrt(level * (1 - level)) + ndtri(power) * math.sqrt(share * (1 - share))
    about = (spread / (share - level)) ** 2  # the normal approximation shows where to look
    if about > MOST_LABELS:
        return None
    least = labels_without_error(level, confidence)
    ns = np.arange(least if about < _WINDOW else max(least, int(0.95 * about)), least + int(1.05 * about) + _WINDOW)
    needed = _fewest_right(ns, level, confidence)
    chance = np.where(needed < 1, 1.0, bdtrc(np.maximum(needed - 1, 0), ns, share))
    enough = (chance >= power) & (needed <= ns)
    return int(ns[np.argmax(enough)]) if enough.any() else None


def starts(n: int, level: float, confidence: float = 0.95) -> list[tuple[int, float]]:
    """Where sequences of tests begin on n draws, strictest first, and the confidence of each. It depends on no label.

    Two sequences share the risk. The strict one begins with the fewest draws that pass without an error (with one error, if
    there are plenty of draws). It finds the cuts where an encoder is almost always right. The other begins with the draws that a
    share halfway between the level and 1 needs to pass nine times in ten, at most a quarter of all draws. It is needed because
    some labels are wrong: two wrong labels among the closest pairs end a strict sequence. With few draws a single sequence takes
    all the risk, from the fewest draws that can pass. ``benchmarks/certify_starts.py`` measures this and the alternatives.

    Examples
    --------
    >>> starts(200, 0.95), starts(1_000, 0.95), starts(10_000, 0.95)
    ([(59, 0.95)], [(72, 0.975), (250, 0.975)], [(110, 0.975), (613, 0.975)])
    """
    shared = 1 - (1 - confidence) / 2
    alone = [(labels_without_error(level, confidence), confidence)]
    if n < 2 * labels_without_error(level, shared):
        return alone
    strict = fewest_draws(level, shared, n_wrong=1)
    if n < PLENTY * strict:
        strict = labels_without_error(level, shared)
    other = min(labels_needed(level, (1 + level) / 2, shared) or n, n // 4)
    return [(strict, shared), (other, shared)] if other > strict else alone


@lru_cache(maxsize=256)
def fewest_draws(level: float, confidence: float, n_wrong: int) -> int:
    """The fewest draws that pass if `n_wrong` of them are wrong.

    Examples
    --------
    >>> fewest_draws(0.95, 0.95, n_wrong=0), fewest_draws(0.95, 0.95, n_wrong=1)
    (59, 93)
    """
    n = labels_without_error(level, confidence) + n_wrong
    while not passes(n - n_wrong, n, level, confidence):
        n += 1
    return n


def check_levels(*values: float) -> None:
    """Raise ValueError if a level or a confidence is not between 0 and 1."""
    for value in values:
        if isinstance(value, bool) or not 0 < value < 1:
            raise ValueError(
                f"A level or a confidence lies between 0 and 1, but got {value}. Give a share such as 0.95."
            )


def _fewest_right(ns: np.ndarray, level: float, confidence: float) -> np.ndarray:
    """For each n the smallest number of right ones that passes; n + 1 if even n do not."""
    from scipy.special import bdtrc, bdtrik

    # bdtrik inverts the binomial distribution in k: the smallest k with P(X ≤ k) ≥ confidence, up to rounding.
    guess = np.ceil(bdtrik(confidence, ns, level) - 1e-9).astype(np.int64) + 1
    lower = np.maximum(guess - 1, 1)
    lower_passes = bdtrc(lower - 1, ns, level) <= 1 - confidence + 1e-12
    here_passes = bdtrc(np.minimum(guess, ns) - 1, ns, level) <= 1 - confidence + 1e-12
    return np.where(lower_passes, lower, np.where(here_passes & (guess <= ns), guess, np.minimum(guess + 1, ns + 1)))
