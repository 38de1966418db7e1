"""`evaluate`: how good a model is on pairs it has not seen, how sure that is, where it fails, and which labels are suspect.

An `Evaluation` also holds the pairs that the model scores worst, and notes: what a reader must know before trusting its figures.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from textsiam.data.files import replacing
from textsiam.encoding.encoder import Progress
from textsiam.evaluation.measures import MEASURES, Measured, measure, score_alike, score_in_order
from textsiam.evaluation.resampling import interval
from textsiam.evaluation.slices import Slice, measure_slices
from textsiam.evaluation.suspects import Suspect, find_suspects
from textsiam.matching.duplicates import StageProgress, stage_of
from textsiam.scoring.evidence.certificates import plain
from textsiam.scoring.evidence.intervals import MIN_COMPONENTS, Interval
from textsiam.scoring.evidence.reliability import told_reliability
from textsiam.scoring.evidence.scored_pairs import ScoredPairs

if TYPE_CHECKING:
    from textsiam.scoring.explaining.explanation import Explanation
    from textsiam.scoring.siamese import Siamese


FEW_ROWS = 30  # of one label: with fewer, each row moves the figures visibly


@dataclass(frozen=True, eq=False)
class WorstPair:
    """A pair whose score is far from the truth: its row in the source, texts, label or grade, score, and explanation."""

    row: int
    first: str
    second: str
    truth: float
    score: float
    is_close: bool
    explanation: "Explanation"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {name: value for name, value in vars(self).items() if name not in {"explanation", "is_close"}}
        return values | {"scores_too": "high" if self.is_close else "low", "explanation": self.explanation.to_json()}


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How good a model is on these pairs: figures with intervals, and what they were measured on.

    Parameters
    ----------
    model, baseline
        The figures of each model and the scores behind them; ``baseline`` is None if none was given.
    differences
        Metric → model minus baseline with a 95 % interval; both models see the same draws.
    slices
        Figures of parts of the pairs (see `textsiam.evaluation.slices.SLICES`).
    worst
        The pairs that score too high, then those that score too low, with the reasons for their scores.
    suspects
        Labels that are probably wrong (see `textsiam.evaluation.suspects`).
    measured_on
        The pairs, the models and the draws, as plain values.
    notes
        What a reader must know before trusting the figures.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.samples import PAIRS
    >>> evaluation = evaluate(Siamese.load(), PAIRS, n_draws=100, n_worst=0)
    >>> print(str(evaluation).splitlines()[0])
    sentence-transformers/all-MiniLM-L6-v2 on pairs.csv: 80 pairs in 69 components
    """

    model: Measured
    baseline: Measured | None
    differences: Mapping[str, Interval]
    slices: tuple[Slice, ...]
    worst: tuple[WorstPair, ...]
    suspects: tuple[Suspect, ...]
    measured_on: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())

    @property
    def metrics(self) -> Mapping[str, Interval]:
        """Name in `textsiam.evaluation.measures.MEASURES` → the model's figure with its interval."""
        return self.model.metrics

    def __getitem__(self, name: str) -> Interval:
        return self.metrics[name]

    def __str__(self) -> str:
        on = self.measured_on
        lines = [f"{on['model']['model']} on {on['on']}: {on['pairs']:,} pairs in {on['components']:,} components"]
        rows = [("", "value", "95 % interval", "difference to " + self.baseline.name if self.baseline else "")]
        for name, figure in self.metrics.items():
            difference = self.differences.get(name)
            rows.append(
                (MEASURES[name].title, *_cells(figure), " ".join(_cells(difference, "+")) if difference else "")
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += [
            "  ".join((f"{row[0]:<{widths[0]}}", f"{row[1]:>{widths[1]}}", f"{row[2]:<{widths[2]}}", row[3])).rstrip()
            for row in rows
        ]
        lines += [f"accept at or above {on['model']['accept'] or 'no threshold: never certified'}"]
        lines += [f"reject below {on['model']['reject'] or 'no threshold: never certified'}"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Plain values; a figure is ``[value, low, high]``, with None where a value is not defined.

        Keys: ``metrics``, ``differences``, ``baseline``, ``slices``, ``worst``, ``suspects``, ``reliability``, ``measured_on``,
        ``notes``.
        """
        return {
            "measured_on": dict(self.measured_on),
            "metrics": _plain(self.metrics),
            "baseline": None if self.baseline is None else _plain(self.baseline.metrics),
            "differences": _plain(self.differences),
            "reliability": told_reliability(self.model.reliability),
            "slices": [one.to_json() for one in self.slices],
            "worst": [pair.to_json() for pair in self.worst],
            "suspects": [suspect.to_json() for suspect in self.suspects],
            "notes": list(self.notes),
        }

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        _write(path, json.dumps(self.to_json(), ensure_ascii=False, indent=1, allow_nan=False) + "\n")

    def report(self, path: str | Path) -> None:
        """Write all of it as one HTML page that opens offline, whole or not at all (see `textsiam.evaluation.report.render`).

        Raises
        ------
        MissingExtra
            If jinja2 or matplotlib is not installed; the message gives the install line.
        OSError
            If the file cannot be written.
        """
        from textsiam.evaluation.report import render

        _write(path, render(self))


def _write(path: str | Path, text: str) -> None:
    with replacing(Path(path).expanduser()) as temporary:
        temporary.write_text(text, encoding="utf-8")


def evaluate(
    model: "Siamese",
    pairs: Any,
    *,
    baseline: "Siamese | None" = None,
    on: str | None = None,
    seed: int = 0,
    n_draws: int = 1_000,
    n_worst: int = 20,
    progress: StageProgress | None = None,
) -> Evaluation:
    """How good the model is on labelled or graded pairs, with 95 % intervals over components of pairs that share texts.

    Labelled pairs give ranking metrics. If the model has thresholds, they also give precision, recall, F1, accuracy, MCC, the
    precision of rejecting and the share of each decision, at the model's **own** thresholds; if it has a calibrator, the Brier
    score and the calibration error. Graded pairs give Spearman's and Pearson's correlation. A figure that these pairs or this
    model do not allow is left out, and ``notes`` says why. The order of the rows, and of a pair's two texts, changes nothing.

    Parameters
    ----------
    pairs
        Anything that `read_pairs` reads, `Pairs`, or `ScoredPairs` of this model. Rows with a text that the model or the
        baseline was trained on are set aside and counted.
    baseline
        Another model to compare every figure with, on the same rows and the same draws.
    on
        The name of the data. Default: the source's name, or its size.
    seed, n_draws
        Of the bootstrap (see `textsiam.evaluation.resampling.resample`): 1,000 draws of 14,000 pairs take about 8 s.
    n_worst
        How many of the closest negatives, and as many of the farthest positives, to explain; 0 explains nothing.
    progress
        Called with (stage, done, total) from time to time; the stages are ``encode``, ``baseline``, ``resample``, ``slices``
        and ``explain``.

    Raises
    ------
    UnreadableInput
        If the pairs cannot be read, if there are none, or if they have neither labels nor grades.
    EncoderMismatch
        If the pairs were scored with another encoder.
    ValueError
        If `n_draws` is below 1 or `n_worst` below 0.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.samples import PAIRS
    >>> evaluation = evaluate(Siamese.load(), PAIRS, n_draws=100, n_worst=1)
    >>> evaluation.measured_on["pairs"], round(evaluation["roc_auc"].value, 1), len(evaluation.worst)
    (80, 0.4, 2)
    """
    if n_draws < 1 or n_worst < 0:
        raise ValueError(
            f"n_draws is at least 1 and n_worst at least 0, but got {n_draws} and {n_worst}. Give larger numbers."
        )
    scored = score_in_order(model, pairs, on=on, progress=stage_of(progress, "encode"))
    other = scored
    if baseline is not None:
        scored, other = score_alike(baseline, scored, progress=stage_of(progress, "baseline"))
    how: dict[str, Any] = dict(n_draws=n_draws, seed=seed)
    own = measure(model, scored, progress=stage_of(progress, "resample"), **how)
    base = None if baseline is None else measure(baseline, other, progress=stage_of(progress, "resample"), **how)
    slices = measure_slices(model, scored, progress=stage_of(progress, "slices"), **how)
    return Evaluation(
        model=own,
        baseline=base,
        differences={} if base is None else _differences(own, base),
        slices=tuple(slices),
        worst=tuple(find_worst(model, scored, n_worst, progress=stage_of(progress, "explain"))),
        suspects=tuple(find_suspects(scored, model)),
        measured_on=_measured_on(own, base, how),
        notes=_notes_on(own, base),
    )


def find_worst(
    model: "Siamese", scored: ScoredPairs, n: int = 20, *, progress: Progress | None = None
) -> list[WorstPair]:
    """The `n` pairs that score too high, worst first, then the `n` that score too low, each explained; fewer if there are fewer.

    Of labelled pairs these are the highest-scoring negatives and the lowest-scoring positives; of graded pairs, those whose
    ranks by score and by grade lie farthest apart. Ties stay in the order given.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.samples import PAIRS
    >>> from textsiam.scoring.evidence.scored_pairs import score_pairs
    >>> model = Siamese.load()
    >>> [(pair.truth, pair.score > 0.9) for pair in find_worst(model, score_pairs(model, PAIRS), n=1)]
    [(0.0, True), (1.0, False)]
    """
    high, low = _places(scored, n)
    places = [*high.tolist(), *low.tolist()]
    if not places:
        return []
    from textsiam.scoring.explaining.explanation import explain

    pairs = scored.pairs
    truth = np.asarray(pairs.scores if pairs.labels is None else pairs.labels, dtype=np.float64)
    columns = ([column[place] for place in places] for column in (pairs.first, pairs.second))
    explanations = explain(model, *columns, progress=progress)
    return [
        WorstPair(
            int(pairs.rows[place]), pairs.first[place], pairs.second[place], float(truth[place]),
            float(scored.scores[place]), rank < len(high), explanation,
        )
        for rank, (place, explanation) in enumerate(zip(places, explanations, strict=True))
    ]  # fmt: skip


def _places(scored: ScoredPairs, n: int) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]:
    """The places of the pairs that score too high, and of those that score too low."""
    scores = scored.scores.astype(np.float64)
    if scored.pairs.labels is not None:
        negative, positive = (np.flatnonzero(scored.labels == label) for label in (0, 1))
        return (
            negative[np.argsort(-scores[negative], kind="stable")][:n],
            positive[np.argsort(scores[positive], kind="stable")][:n],
        )
    from scipy.stats import rankdata

    excess = rankdata(scores) - rankdata(np.asarray(scored.pairs.scores))
    order = np.argsort(-excess, kind="stable")
    high, low = order[excess[order] > 0], order[::-1]
    return high[:n], low[excess[low] < 0][:n]


def _differences(own: Measured, base: Measured) -> dict[str, Interval]:
    """Model minus baseline, paired by draw.

    Resampling adds noise, which a calibration error counts as error. The bounds of its difference therefore treat the two
    figures as independent; they are wider than they need to be.
    """
    components = own.scored.components
    paired = {
        name: interval(own.draws[name] - base.draws[name], components) for name in own.draws if name in base.draws
    }
    name = "calibration_error"
    if name in own.metrics and name in base.metrics:
        ours, theirs = own.metrics[name], base.metrics[name]
        half, value = float(np.hypot(ours.high - ours.value, theirs.high - theirs.value)), ours.value - theirs.value
        paired[name] = Interval(value, value - half, value + half)
    return {name: paired[name] for name in MEASURES if name in paired}


def _measured_on(own: Measured, base: Measured | None, how: dict[str, Any]) -> dict[str, Any]:
    pairs = own.scored.pairs
    done = {name: value for name, value in own.scored.told.items() if name not in {"on", "precision_class"}}
    truth = (
        {"positives": int(own.scored.labels.sum())} if pairs.labels is not None else _range(np.asarray(pairs.scores))
    )
    return {
        "on": own.scored.told.get("on", f"{len(pairs):,} pairs"),
        "pairs": len(pairs),
        "components": len(np.unique(own.scored.components)),
        **truth,
        **done,
        "model": own.to_json(),
        "baseline": None if base is None else base.to_json(),
        **how,
        "confidence": 0.95,
    }


def _range(grades: np.ndarray) -> dict[str, Any]:
    return {"positives": None, "lowest_grade": float(grades.min()), "highest_grade": float(grades.max())}


def _notes_on(model: Measured, baseline: Measured | None = None) -> tuple[str, ...]:
    """Notes on the pairs, then on each model; empty if there is nothing to say."""
    notes = [*_on_pairs(model), *_on_model(model, "the model")]
    if baseline is not None:
        notes += _on_model(baseline, "the baseline")
        if n_lost := model.scored.told.get("rows_seen_by_baseline"):
            notes.append(
                f"{n_lost:,} rows hold a text that the baseline was trained on; neither model is judged on them."
            )
    return tuple(notes)


def _on_pairs(model: Measured) -> Iterator[str]:
    scored = model.scored
    n_components = len(np.unique(scored.components))
    if n_components < MIN_COMPONENTS:
        yield (
            f"Only {n_components} components of pairs that share no text: fewer than {MIN_COMPONENTS} give no interval."
        )
    if scored.pairs.labels is not None:
        n_positive = int(scored.labels.sum())
        n_fewer = min(n_positive, len(scored) - n_positive)
        if not n_fewer:
            only = "1" if n_positive else "0"
            yield f"All labels are {only}: ranking metrics and MCC need both labels, and are not defined."
        elif n_fewer < FEW_ROWS:
            yield f"Only {n_fewer} pairs have one of the labels: each of them moves the figures visibly."
    if n_seen := scored.told.get("rows_seen_in_training"):
        yield f"{n_seen:,} rows hold a text that the model was trained on, and are set aside."
    if n_conflicting := scored.told.get("conflicting_rows"):
        yield f"{n_conflicting:,} rows repeat a pair with another label; no model can be right on both."


def _on_model(model: Measured, who: str) -> Iterator[str]:
    accept, labelled = model.accept, model.scored.pairs.labels is not None
    if accept is None:
        yield f"{who.capitalize()} has no threshold: it was never certified, so no decision can be judged."
    elif accept.value is None:
        yield (
            f"No threshold of {who} qualifies ({accept.guarantee or 'no guarantee'}): every pair is left for review, and "
            "precision and recall are not defined."
        )
    elif labelled and _is_chosen_here(model):
        yield f"The threshold of {who} was chosen on data of this name. If these are the same rows, its figures are too good."
    if labelled and not model.reliability:
        yield f"{who.capitalize()} has no calibrator: its probabilities cannot be judged, for it gives none."
    undefined = [MEASURES[name].title for name, figure in model.metrics.items() if not np.isfinite(figure.value)]
    if undefined:
        yield f"Not defined for {who} on these pairs: {', '.join(undefined)}."


def _is_chosen_here(model: Measured) -> bool:
    return model.accept is not None and model.accept.evidence.get("on") == model.scored.told.get("on")


def _plain(figures: Mapping[str, Interval]) -> dict[str, list[float | None]]:
    return {name: plain(figure) for name, figure in figures.items()}


def _cells(figure: Interval, sign: str = "") -> tuple[str, str]:
    value, low, high = (f"{one:{sign}.4f}" if np.isfinite(one) else "not defined" for one in figure)
    return value, f"[{low}, {high}]" if np.isfinite(figure.low) else "no bounds"
