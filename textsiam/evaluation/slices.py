"""`SLICES`: parts of the pairs on which models are known to fail, each with its own figures.

A mean over all pairs hides such failures: "5 %" against "15 %", "turn on" against "turn off", one name against another. A slice
depends on the texts alone, never on labels or scores, so its figures are as honest as those of all pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from textsiam.data.pairs import Pairs
from textsiam.encoding.encoder import Progress
from textsiam.evaluation.measures import with_intervals
from textsiam.scoring.evidence.certificates import plain
from textsiam.scoring.evidence.intervals import Interval
from textsiam.scoring.evidence.scored_pairs import ScoredPairs
from textsiam.scoring.explaining.differences import difference, overlap

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

TAIL = 0.1  # the longest tenth of the pairs is long
LOW, HIGH = 0.25, 0.75  # shares of common words
IN_SLICES = ("average_precision", "precision", "recall", "spearman")  # of `textsiam.evaluation.measures.MEASURES`
N_TEXTS_A_CALL = 8_192


@dataclass(frozen=True, eq=False)
class Slice:
    """A part of the pairs with its figures and their intervals over components; NaN where a figure is not defined."""

    name: str
    n: int
    n_positive: int | None
    metrics: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        metrics = {name: plain(figure) for name, figure in self.metrics.items()}
        return {"name": self.name, "pairs": self.n, "positives": self.n_positive, "metrics": metrics}


Mask = Callable[["Siamese", Pairs], Bool[np.ndarray, " n"]]


def _each(of: Callable[[str, str], Any], pairs: Pairs) -> Shaped[np.ndarray, " n"]:
    """What `of` gives for the two texts of each pair."""
    return np.array(list(map(of, pairs.first, pairs.second)))


def _differ(kind: str) -> Mask:
    return lambda _, pairs: _each(lambda a, b: bool(difference(kind, a, b)), pairs).astype(np.bool_)


def _long(_: "Siamese", pairs: Pairs) -> Bool[np.ndarray, " n"]:
    n_words = _each(lambda a, b: max(len(a.split()), len(b.split())), pairs)
    return np.asarray(n_words > np.quantile(n_words, 1 - TAIL)) if len(n_words) else np.zeros(0, dtype=np.bool_)


def _cut(model: "Siamese", pairs: Pairs) -> Bool[np.ndarray, " n"]:
    """The pairs with a text that the encoder cuts; this tokenises and does not encode."""
    texts, left, right = pairs.unique()
    cut = model.encoder.is_cut(texts)
    return np.asarray(cut[left] | cut[right])


class Kind(NamedTuple):
    """What a slice holds, in a few words, and the function that finds its pairs."""

    meaning: str
    mask: Mask


SLICES: dict[str, Kind] = {
    "numbers differ": Kind("one text holds a number that the other does not", _differ("numbers")),
    "negation differs": Kind("one text has a negation that the other does not", _differ("negation")),
    "names differ": Kind("one text holds a name that the other does not", _differ("entities")),
    "long": Kind("longer than nine tenths of the pairs, counting the words of the longer text", _long),
    "cut": Kind("one text is longer than the model reads, and is cut", _cut),
    "few common words": Kind(
        f"at most {100 * LOW:g} % of the words are common", lambda _, pairs: _each(overlap, pairs) <= LOW
    ),
    "many common words": Kind(
        f"at least {100 * HIGH:g} % of the words are common", lambda _, pairs: _each(overlap, pairs) >= HIGH
    ),
}


def measure_slices(
    model: "Siamese", scored: ScoredPairs, *, n_draws: int = 1_000, seed: int = 0, progress: Progress | None = None
) -> list[Slice]:
    """Each of `SLICES`, in that order: pairs, positives, and metrics with 95 % intervals over components.

    The metrics of labelled pairs are average precision and, if the model has an accept threshold, precision and recall at it;
    that of graded pairs is Spearman's correlation. An empty slice has no metrics.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.samples import PAIRS
    >>> from textsiam.scoring.evidence.scored_pairs import score_pairs
    >>> model = Siamese.load()
    >>> slices = measure_slices(model, score_pairs(model, PAIRS), n_draws=20)
    >>> [one.name for one in slices] == list(SLICES), slices[0].n > 0
    (True, True)
    """
    measured = []
    for place, (name, kind) in enumerate(SLICES.items()):
        rows = np.flatnonzero(kind.mask(model, scored.pairs))
        part = scored.take(rows)
        n_positive = None if scored.pairs.labels is None else int(part.labels.sum())
        figures = with_intervals(model, part, IN_SLICES, n_draws=n_draws, seed=seed)[0] if len(rows) else {}
        measured.append(Slice(name, len(rows), n_positive, figures))
        if progress:
            progress(place + 1, len(SLICES))
    return measured
