"""Parts of the pairs where models are known to fail, each with its own figures: `SLICES`.

A mean over all pairs hides them: "5 %" against "15 %", "turn on" against "turn off", a name changed for another. A slice is
chosen by the texts alone, never by labels or scores, so that its figures are as honest as those of the whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from textsiam.data.pairs import Pairs
from textsiam.encoding.encoder import Progress
from textsiam.evaluation.measures import shares_of
from textsiam.evaluation.metrics import METRICS, THRESHOLD_METRICS
from textsiam.evaluation.resampling import Figure, interval, resample
from textsiam.scoring.evidence.certificates import plain
from textsiam.scoring.evidence.intervals import Interval
from textsiam.scoring.evidence.scored_pairs import ScoredPairs
from textsiam.scoring.explaining.differences import difference, overlap

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

TAIL = 0.1  # the longest tenth of pairs is long
LOW, HIGH = 0.25, 0.75  # shares of common words
N_TEXTS_A_CALL = 8_192


@dataclass(frozen=True, eq=False)
class Slice:
    """A part of the pairs with its figures: intervals over components; NaN where a figure is not defined there."""

    name: str
    n: int
    n_positive: int | None
    metrics: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = {name: plain(figure) for name, figure in self.metrics.items()}
        return {"name": self.name, "pairs": self.n, "positives": self.n_positive, "metrics": told}


Mask = Callable[["Siamese", Pairs], Bool[np.ndarray, " n"]]


def _differ(kind: str) -> Mask:
    def differ(_: "Siamese", pairs: Pairs) -> Bool[np.ndarray, " n"]:
        return np.array(
            [bool(difference(kind, a, b)) for a, b in zip(pairs.first, pairs.second, strict=True)], dtype=np.bool_
        )

    return differ


def _long(_: "Siamese", pairs: Pairs) -> Bool[np.ndarray, " n"]:
    n_words = np.array([max(len(a.split()), len(b.split())) for a, b in zip(pairs.first, pairs.second, strict=True)])
    return np.asarray(n_words > np.quantile(n_words, 1 - TAIL)) if len(n_words) else np.zeros(0, dtype=np.bool_)


def _cut(model: "Siamese", pairs: Pairs) -> Bool[np.ndarray, " n"]:
    """Pairs with a text that the encoder cuts; tokenises only."""
    texts, left, right = pairs.unique()
    encoder = model.encoder
    before = encoder.prompt_text(None)
    cut = np.zeros(len(texts), dtype=np.bool_)
    for start in range(0, len(texts), N_TEXTS_A_CALL):
        part = slice(start, start + N_TEXTS_A_CALL)
        cut[part] = encoder.tokenizer([before + text for text in texts[part]]).cut
    return np.asarray(cut[left] | cut[right])


def _low_overlap(_: "Siamese", pairs: Pairs) -> Bool[np.ndarray, " n"]:
    return _overlaps(pairs.first, pairs.second) <= LOW


def _high_overlap(_: "Siamese", pairs: Pairs) -> Bool[np.ndarray, " n"]:
    return _overlaps(pairs.first, pairs.second) >= HIGH


def _overlaps(first: Sequence[str], second: Sequence[str]) -> Float[np.ndarray, " n"]:
    return np.array([overlap(a, b) for a, b in zip(first, second, strict=True)], dtype=np.float64)


class Kind(NamedTuple):
    """What a slice holds, in a few words, and which pairs those are."""

    meaning: str
    mask: Mask


SLICES: dict[str, Kind] = {
    "numbers differ": Kind("one text names a number that the other does not", _differ("numbers")),
    "negation differs": Kind("one text denies what the other does not", _differ("negation")),
    "names differ": Kind("one text names somebody or something that the other does not", _differ("entities")),
    "long": Kind("longer than nine tenths of the pairs, in words of the longer text", _long),
    "cut": Kind("a text is longer than the model reads, and is cut", _cut),
    "few common words": Kind(f"at most {100 * LOW:g} % of the words are common", _low_overlap),
    "many common words": Kind(f"at least {100 * HIGH:g} % of the words are common", _high_overlap),
}


def measure_slices(
    model: "Siamese", scored: ScoredPairs, *, n_draws: int = 1_000, seed: int = 0, progress: Progress | None = None
) -> list[Slice]:
    """Each of `SLICES`, in that order: pairs, positives, and metrics with 95 % intervals over components.

    Of labelled pairs average precision, and precision and recall at the model's own accept threshold where it has one; of
    graded pairs Spearman's correlation. An empty slice has no metrics.

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
    measured, among = [], shares_of(model, scored)
    for place, (name, kind) in enumerate(SLICES.items()):
        rows = np.flatnonzero(kind.mask(model, scored.pairs))
        components = scored.components[rows]
        drawn = resample(_figures(model, scored, rows), components, n_draws=n_draws, seed=seed) if len(rows) else {}
        figures = {
            metric: interval(values, components, among[metric][rows] if metric in among else None)
            for metric, values in drawn.items()
        }
        n_positive = None if scored.pairs.labels is None else int(scored.labels[rows].sum())
        measured.append(Slice(name, len(rows), n_positive, figures))
        if progress:
            progress(place + 1, len(SLICES))
    return measured


def _figures(model: "Siamese", scored: ScoredPairs, rows: np.ndarray) -> dict[str, Figure]:
    graded = scored.pairs.labels is None
    truth = np.asarray(scored.pairs.scores if graded else scored.labels)[rows]
    scores = scored.scores[rows]

    def of(metric: Callable[..., float], *more: float) -> Figure:
        return lambda weights: metric(truth, scores, *more, weights=weights)

    if graded:
        return {"spearman": of(METRICS["spearman"])}
    figures = {"average_precision": of(METRICS["average_precision"])}
    if model.threshold is not None and model.threshold.value is not None:
        figures |= {name: of(THRESHOLD_METRICS[name], model.threshold.value) for name in ("precision", "recall")}
    return figures
