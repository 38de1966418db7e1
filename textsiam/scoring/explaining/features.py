"""Features of a pair of texts beside their similarity, for a classifier of your own.

Each is a number in [0, 1] that a rule computes from two texts. A new one is one function and one line in `FEATURES`.
"""

from collections.abc import Callable

from textsiam.data.texts import normalise
from textsiam.scoring.explaining.differences import difference, overlap

_N = 3


def characters(first: str, second: str) -> float:
    """The share of all runs of three characters that both texts have (Jaccard), after `textsiam.data.texts.normalise`.

    Examples
    --------
    >>> characters("parcel", "Parcels"), characters("a", "a")
    (0.8, 1.0)
    """
    a, b = _runs(first), _runs(second)
    return len(a & b) / len(a | b)


def length(first: str, second: str) -> float:
    """How many more words the longer text has, as a share of its words.

    Examples
    --------
    >>> length("How do I pay?", "How do I pay for two parcels?")
    0.4285714285714286
    """
    shorter, longer = sorted((len(first.split()), len(second.split())))
    return 1 - shorter / max(1, longer)


def _runs(text: str) -> set[str]:
    normal = normalise(text)
    return {normal[start : start + _N] for start in range(max(1, len(normal) - _N + 1))}


def _differ(kind: str) -> Callable[[str, str], float]:
    return lambda first, second: float(any(difference(kind, first, second)))


# Name → feature of a pair. The last three are 1 if a number, a negation or a name is in only one text.
FEATURES: dict[str, Callable[[str, str], float]] = {
    "overlap": overlap,
    "characters": characters,
    "length": length,
    "numbers": _differ("numbers"),
    "negation": _differ("negation"),
    "entities": _differ("entities"),
}
