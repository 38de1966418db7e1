"""`MEASURES`: the figures of a model on labelled or graded pairs, each with its interval.

Thresholds and probabilities are the model's own. None is chosen on the pairs that judge the model. A threshold fitted to these
pairs serves one figure alone: how much F1 the model's own threshold misses.

Pairs are scored in the order of their texts, and two models are compared on the same rows.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textsiam.data.texts import normalise
from textsiam.encoding.encoder import Progress
from textsiam.errors import UnreadableInput
from textsiam.evaluation.metrics import (
    METRICS,
    RECALL,
    THRESHOLD_METRICS,
    best_cut,
    best_f1,
    f1,
    precision,
)
from textsiam.evaluation.resampling import Draws, Figure, interval, resample
from textsiam.scoring.evidence.intervals import Interval
from textsiam.scoring.evidence.reliability import ReliabilityBin, calibration_error, reliability_curve
from textsiam.scoring.evidence.scored_pairs import ScoredPairs, score_pairs, scored_by
from textsiam.scoring.thresholds import ACCEPT, REJECT, REVIEW, Threshold, decisions

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

RANKING = ("average_precision", "roc_auc", "precision_at_recall")
GRADED = ("spearman", "pearson")

# The groups of a report.
RANKED, OWN_CUT, DECIDED = "By score alone", "At the model's own accept threshold", "Decisions"
LIKELY, BY_GRADE = "Probabilities", "Against grades"


class Measure(NamedTuple):
    """A measure's title, what it means in a few words, its group, and whether more is better (1), worse (-1) or neither (0)."""

    title: str
    meaning: str
    group: str
    better: int = 1


MEASURES: dict[str, Measure] = {
    "average_precision": Measure("Average precision", "mean precision over the duplicates, in order of score", RANKED),
    "roc_auc": Measure("ROC AUC", "how often a duplicate scores above a pair that is none", RANKED),
    "precision_at_recall": Measure(
        f"Precision at recall {RECALL:g}", f"the best precision that finds {100 * RECALL:g} % of the duplicates", RANKED
    ),
    "precision": Measure("Precision", "share of the accepted pairs that are duplicates", OWN_CUT),
    "recall": Measure("Recall", "share of the duplicates that are accepted", OWN_CUT),
    "f1": Measure("F1", "harmonic mean of precision and recall", OWN_CUT),
    "f1_regret": Measure("F1 missed", "how much better a threshold fitted to these pairs would do", OWN_CUT, -1),
    "accuracy": Measure("Accuracy", "share of the pairs on the side of their label", OWN_CUT),
    "mcc": Measure("MCC", "correlation of label and decision", OWN_CUT),
    "reject_precision": Measure(
        "Precision of rejecting", "share of the rejected pairs that are no duplicates", DECIDED
    ),
    "share_accept": Measure("Accepted", "share of all pairs", DECIDED, 0),
    "share_review": Measure("Left for review", "share of all pairs", DECIDED, 0),
    "share_reject": Measure("Rejected", "share of all pairs", DECIDED, 0),
    "brier": Measure("Brier score", "mean squared difference of probability and label; 0 is best", LIKELY, -1),
    "calibration_error": Measure(
        "Calibration error", "how far probabilities are off, on average; 0 is best", LIKELY, -1
    ),
    "spearman": Measure("Spearman", "rank correlation of score and grade", BY_GRADE),
    "pearson": Measure("Pearson", "linear correlation of score and grade", BY_GRADE),
}


@dataclass(frozen=True, eq=False, repr=False)
class Measured:
    """What these pairs say about one model.

    Parameters
    ----------
    name
        The model's folder or Hub name.
    scored
        The pairs with the model's scores.
    accept, reject
        The model's own thresholds, or None.
    metrics
        Name in `MEASURES` → value with its 95 % interval; only those that these pairs and this model allow.
    reliability
        The bins of the reliability curve; empty without a calibrator or labels.
    refitted
        The best ``f1`` that any threshold reaches on these pairs, and that ``threshold``; it looks better than it is. Empty
        unless both labels occur.
    draws
        The draws of `resample` behind the intervals.
    """

    name: str
    scored: ScoredPairs
    accept: Threshold | None
    reject: Threshold | None
    metrics: Mapping[str, Interval]
    reliability: tuple[ReliabilityBin, ...] = ()
    refitted: Mapping[str, float] = field(default_factory=dict)
    draws: Draws = field(default_factory=dict)

    @property
    def cuts(self) -> tuple[float | None, float | None]:
        """The scores to accept at and to reject below, each or None; without the first, nothing is rejected."""
        accept, reject = (one.value if one is not None else None for one in (self.accept, self.reject))
        return accept, None if accept is None else reject

    def to_json(self) -> dict[str, Any]:
        """What identifies the model, as plain values."""
        return {
            "model": self.name,
            "fingerprint": self.scored.encoder,
            "similarity": self.scored.similarity,
            "precision_class": self.scored.told.get("precision_class"),
            "accept": None if self.accept is None else str(self.accept),
            "reject": None if self.reject is None else str(self.reject),
            "refitted_on_these_pairs": dict(self.refitted),
        }


def measure(
    model: "Siamese", scored: ScoredPairs, *, n_draws: int = 1_000, seed: int = 0, progress: Progress | None = None
) -> Measured:
    """The model's own figures on these pairs, with intervals over components.

    Two models that are measured on the same rows, in the same order and with the same seed, see the same draws: their
    difference is paired.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.samples import PAIRS
    >>> from textsiam.scoring.evidence.scored_pairs import score_pairs
    >>> model = Siamese.load()
    >>> measured = measure(model, score_pairs(model, PAIRS), n_draws=20)
    >>> list(measured.metrics)[:3]
    ['average_precision', 'roc_auc', 'precision_at_recall']
    """
    metrics, draws = with_intervals(model, scored, n_draws=n_draws, seed=seed, progress=progress)
    curve: list[ReliabilityBin] = []
    if model.calibrator is not None and scored.pairs.labels is not None:
        judged = (model.calibrated(scored.scores).astype(np.float64), scored.labels, scored.components)
        metrics["calibration_error"] = calibration_error(*judged)
        curve = reliability_curve(*judged)
    ordered = {name: metrics[name] for name in MEASURES if name in metrics}
    return Measured(
        model.encoder.name,
        scored,
        model.threshold,
        model.reject_threshold,
        ordered,
        tuple(curve),
        _refitted(scored),
        draws,
    )


def with_intervals(
    model: "Siamese",
    scored: ScoredPairs,
    names: Collection[str] = MEASURES,
    *,
    n_draws: int = 1_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[dict[str, Interval], Draws]:
    """The figures of these names that pairs and model allow, with intervals, and the draws; without the calibration error."""
    figures = {name: figure for name, figure in _figures(model, scored).items() if name in names}
    draws = resample(figures, scored.components, n_draws=n_draws, seed=seed, progress=progress)
    among = _shares(model, scored)
    return {name: interval(drawn, scored.components, among.get(name)) for name, drawn in draws.items()}, draws


def score_in_order(
    model: "Siamese", pairs: Any, *, on: str | None = None, progress: Progress | None = None
) -> ScoredPairs:
    """The pairs with the model's scores, in the order of their texts: the order of a file then changes nothing.

    Raises
    ------
    UnreadableInput, EncoderMismatch
        As `textsiam.evaluate` does.

    Examples
    --------
    >>> from textsiam import Pairs, Siamese
    >>> score_in_order(Siamese.load(), Pairs(["z", "b"], ["y", "a"], labels=[0, 1])).pairs.rows
    [2, 1]
    """
    scored = scored_by(model, pairs, on=on, progress=progress)
    if scored.pairs.labels is None and scored.pairs.scores is None:
        raise UnreadableInput(
            "An evaluation compares scores with labels or grades, but these pairs have neither labels nor graded scores. "
            "Give a column of labels (0 and 1) or of scores."
        )
    return _take(scored, _own_order(scored))


def score_alike(
    baseline: "Siamese", scored: ScoredPairs, *, progress: Progress | None = None
) -> tuple[ScoredPairs, ScoredPairs]:
    """The model's scored pairs and the same rows scored by the baseline, without rows that the baseline was trained on.

    Raises
    ------
    UnreadableInput
        If the baseline was trained on all rows.

    Examples
    --------
    >>> from textsiam import Pairs, Siamese
    >>> model = Siamese.load()
    >>> scored = score_in_order(model, Pairs(["z", "b"], ["y", "a"], labels=[0, 1]))
    >>> [len(one) for one in score_alike(model, scored)]
    [2, 2]
    """
    other = score_pairs(baseline, scored.pairs, on=scored.told.get("on"), progress=progress)
    kept = _kept(scored, other)
    n_lost = len(scored) - len(kept)
    lost = {"rows_set_aside": scored.told.get("rows_set_aside", 0) + n_lost, "rows_seen_by_baseline": n_lost}
    scored = replace(_take(scored, kept), told={**scored.told, **lost})
    return scored, replace(other, components=scored.components)


def _figures(model: "Siamese", scored: ScoredPairs) -> dict[str, Figure]:
    """Every measure that these pairs and this model allow, except the calibration error, as a function of the rows' weights."""
    of = _figure_of(scored.scores)
    figures: dict[str, Figure] = {}
    if scored.pairs.labels is not None:
        figures |= {name: of(METRICS[name], scored.labels) for name in RANKING}
        figures |= _at_thresholds(model, scored, of)
        if model.calibrator is not None:
            figures["brier"] = _mean((model.calibrated(scored.scores) - scored.labels) ** 2)
    elif scored.pairs.scores is not None:
        figures |= {name: of(METRICS[name], np.asarray(scored.pairs.scores)) for name in GRADED}
    if model.threshold is not None:
        decided = decisions(scored.scores, model.threshold, model.reject_threshold, held=scored.held)
        figures |= {f"share_{one}": _mean((decided == one).astype(np.float64)) for one in (ACCEPT, REVIEW, REJECT)}
    return figures


def _shares(model: "Siamese", scored: ScoredPairs) -> dict[str, Bool[np.ndarray, " n"]]:
    """For each measure that is a share: the rows that it is a share of."""
    every = np.ones(len(scored), dtype=np.bool_)
    among = {f"share_{one}": every for one in (ACCEPT, REVIEW, REJECT)} | {"accuracy": every}
    if model.threshold is not None and model.threshold.value is not None and scored.pairs.labels is not None:
        decided = decisions(scored.scores, model.threshold, model.reject_threshold, held=scored.held)
        among |= {"precision": decided == ACCEPT, "recall": scored.labels == 1, "reject_precision": decided == REJECT}
    return among


def _figure_of(scores: Float[np.ndarray, " n"]) -> Callable[..., Figure]:
    """Makes figures of metrics of these scores; rows are in order of score, so that no draw has to sort."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]

    def of(metric: Callable[..., float], truth: np.ndarray, *more: float) -> Figure:
        ordered = truth[order]
        return lambda weights: metric(ordered, ranked, *more, weights=weights[order])

    return of


def _at_thresholds(model: "Siamese", scored: ScoredPairs, of: Callable[..., Figure]) -> dict[str, Figure]:
    accept, reject, labels = model.threshold, model.reject_threshold, scored.labels
    if accept is None or accept.value is None:
        return {}
    allowed = _figure_of(np.where(scored.held, np.float32(-np.inf), scored.scores))
    figures = {name: allowed(metric, labels, accept.value) for name, metric in THRESHOLD_METRICS.items()}
    best, own = of(best_f1, labels), figures["f1"]
    figures["f1_regret"] = lambda weights: best(weights) - own(weights)
    if reject is not None and reject.value is not None:
        figures["reject_precision"] = of(_precision_below, labels, reject.value)
    return figures


def _precision_below(labels: np.ndarray, scores: np.ndarray, threshold: float, weights: np.ndarray | None) -> float:
    """The share of negatives among the pairs below the threshold: the precision with labels and scores mirrored."""
    # "Below the threshold" is the same as "at or below the next smaller number".
    below = np.nextafter(np.float32(threshold), np.float32(-np.inf))
    return precision(1 - labels, -scores, -float(below), weights)


def _mean(values: Float[np.ndarray, " n"]) -> Figure:
    return lambda weights: float(np.average(values, weights=weights))


def _refitted(scored: ScoredPairs) -> dict[str, float]:
    if scored.pairs.labels is None or len(np.unique(scored.labels)) < 2:  # noqa: PLR2004
        return {}
    cut = best_cut(scored.labels, scored.scores)
    return {"f1": f1(scored.labels, scored.scores, cut), "threshold": cut}


def _own_order(scored: ScoredPairs) -> Int[np.ndarray, " n"]:
    """The places of the pairs in order of their texts, whatever the order of the file and of each pair's two texts."""
    pairs = scored.pairs
    truth = np.asarray(pairs.scores if pairs.labels is None else pairs.labels).tolist()
    keys = [
        (*sorted(((normalise(a), a), (normalise(b), b))), value)
        for a, b, value in zip(pairs.first, pairs.second, truth, strict=True)
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _take(scored: ScoredPairs, places: Int[np.ndarray, " m"]) -> ScoredPairs:
    """These rows, with components numbered in order of first appearance."""
    components = scored.components[places]
    _, first, numbers = np.unique(components, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return replace(scored.take(places), components=rank[numbers])


def _kept(scored: ScoredPairs, other: ScoredPairs) -> Int[np.ndarray, " m"]:
    """The places of the rows that `other` has too: the same rows in the same order, except that some are missing."""
    rows = iter(zip(other.pairs.rows, other.pairs.first, other.pairs.second, strict=True))
    places, wanted = [], next(rows, None)
    for place, row in enumerate(zip(scored.pairs.rows, scored.pairs.first, scored.pairs.second, strict=True)):
        if row == wanted:
            places.append(place)
            wanted = next(rows, None)
    return np.array(places, dtype=np.int64)
