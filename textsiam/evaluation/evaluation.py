"""How good a model is on pairs it has not seen, how sure that is, where it fails, and which labels are suspect.

What a reader should know before believing an evaluation's figures.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textsiam.data.files import replacing
from textsiam.evaluation.measures import MEASURES, Measured, measure, score_alike, score_in_order
from textsiam.evaluation.resampling import interval
from textsiam.evaluation.slices import Slice, measure_slices
from textsiam.evaluation.suspects import Suspect, find_suspects
from textsiam.evaluation.worst import WorstPair, find_worst
from textsiam.matching.duplicates import StageProgress, stage_of
from textsiam.scoring.evidence.certificates import plain
from textsiam.scoring.evidence.intervals import MIN_COMPONENTS, Interval
from textsiam.scoring.evidence.reliability import told_reliability

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese


FEW_ROWS = 30  # of one label: figures jump with every row


def notes_on(model: Measured, baseline: Measured | None = None) -> tuple[str, ...]:
    """Notes on the pairs, then on each model; none where there is nothing to say."""
    notes = [*_on_pairs(model), *_on_model(model, "the model")]
    if baseline is not None:
        notes += _on_model(baseline, "the baseline")
        if n_lost := model.scored.told.get("rows_seen_by_baseline"):
            notes.append(
                f"{n_lost:,} rows hold a text that the baseline was trained on; neither model is judged by them."
            )
    return tuple(notes)


def _on_pairs(model: Measured) -> Iterator[str]:
    scored = model.scored
    n_components = len(np.unique(scored.components))
    if n_components < MIN_COMPONENTS:
        yield (
            f"Only {n_components} components of pairs that share no text: no interval can be told from fewer than "
            f"{MIN_COMPONENTS}."
        )
    if scored.pairs.labels is not None:
        n_positive = int(scored.labels.sum())
        n_fewer = min(n_positive, len(scored) - n_positive)
        if not n_fewer:
            only = "1" if n_positive else "0"
            yield f"All labels are {only}: ranking metrics and MCC need both, and are not defined."
        elif n_fewer < FEW_ROWS:
            yield f"Only {n_fewer} pairs of one label: figures jump with every one of them."
    if n_seen := scored.told.get("rows_seen_in_training"):
        yield f"{n_seen:,} rows hold a text that the model was trained on, and are set aside."
    if n_conflicting := scored.told.get("conflicting_rows"):
        yield f"{n_conflicting:,} rows repeat a pair that another row labels otherwise; no model can be right on both."


def _on_model(model: Measured, who: str) -> Iterator[str]:
    accept, labelled = model.accept, model.scored.pairs.labels is not None
    if accept is None:
        yield f"{who.capitalize()} has no threshold: it was never certified, so no decision can be judged."
    elif accept.value is None:
        yield (
            f"No threshold of {who} qualifies ({accept.guarantee or 'no guarantee'}): everything is left for review, "
            "and precision and recall are not defined."
        )
    elif labelled and _is_same(model):
        yield f"The threshold of {who} was chosen on data of this name: if these are the same rows, its figures flatter."
    if labelled and not model.reliability:
        yield f"{who.capitalize()} has no calibrator: its probabilities cannot be judged, for it gives none."
    undefined = [MEASURES[name].title for name, figure in model.metrics.items() if not np.isfinite(figure.value)]
    if undefined:
        yield f"Not defined for {who} on these pairs: {', '.join(undefined)}."


def _is_same(model: Measured) -> bool:
    return model.accept is not None and model.accept.evidence.get("on") == model.scored.told.get("on")


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What a model is worth on these pairs: figures with intervals, and what they were measured on.

    Parameters
    ----------
    model, baseline
        The figures of each, and the scores behind them; no baseline where none was asked for.
    differences
        Metric → model minus baseline with its 95 % interval, on the same draws.
    slices
        Figures of parts of the pairs (see `textsiam.evaluation.slices.SLICES`).
    worst
        The pairs that score too high, then those that score too low, with the reasons for their scores.
    suspects
        Labels that something speaks against.
    measured_on
        The pairs, the models and the draws, as plain values.
    notes
        What a reader should know before believing the figures.

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
        """Name from `textsiam.evaluation.measures.MEASURES` → the model's figure with its interval."""
        return self.model.metrics

    def __getitem__(self, name: str) -> Interval:
        return self.metrics[name]

    def __str__(self) -> str:
        on = self.measured_on
        lines = [f"{on['model']['model']} on {on['on']}: {on['pairs']:,} pairs in {on['components']:,} components"]
        rows = [("", "value", "95 % interval", "difference to " + self.baseline.name if self.baseline else "")]
        for name, figure in self.metrics.items():
            difference = self.differences.get(name)
            rows.append((MEASURES[name].title, *_cells(figure), _told(difference) if difference else ""))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += [
            "  ".join((f"{row[0]:<{widths[0]}}", f"{row[1]:>{widths[1]}}", f"{row[2]:<{widths[2]}}", row[3])).rstrip()
            for row in rows
        ]
        lines += [f"accept at or above {on['model']['accept'] or 'no threshold: never certified'}"]
        lines += [f"reject below {on['model']['reject'] or 'no threshold: never certified'}"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Plain values: ``metrics``, ``differences``, ``baseline``, ``slices``, ``worst``, ``suspects``, ``reliability``,
        ``measured_on``, ``notes``. A figure is ``[value, low, high]``, with None for what is not defined.
        """  # noqa: D205
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
            What the file system says.
        """
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1, allow_nan=False)
        with replacing(Path(path).expanduser()) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def report(self, path: str | Path) -> None:
        """Write all of it as one HTML page that opens offline (see `textsiam.evaluation.report.render`).

        Raises
        ------
        MissingExtra
            If jinja2 or matplotlib is not installed; the text gives the install line.
        OSError
            What the file system says.
        """
        from textsiam.evaluation.report import write_report

        write_report(self, Path(path).expanduser())


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
    """How good the model is on labelled or graded pairs, with 95 % intervals over components that share texts.

    Labelled pairs give ranking metrics and, at the model's **own** thresholds, precision, recall, F1, accuracy, MCC, the
    precision of rejecting and the shares decided; with a calibrator Brier score and calibration error. Graded pairs give
    Spearman's and Pearson's correlation. What cannot be had is left out, and ``notes`` says why. The order of rows, and which
    of its texts a pair names first, change nothing.

    Parameters
    ----------
    pairs
        Anything that `read_pairs` reads, `Pairs`, or `ScoredPairs` of this model. Rows with a text that the model (or the
        baseline) was trained on are set aside, and counted.
    baseline
        Another model; every figure is then also compared, on the same rows and the same draws.
    on
        What the data is called. Default: the source's name, or its size.
    seed, n_draws
        Of the bootstrap (see `textsiam.evaluation.resampling.resample`): 14,000 pairs take about 8 s for 1,000 draws.
    n_worst
        How many of the closest negatives, and of the farthest positives, to explain; 0 explains nothing.
    progress
        Called with (stage, done, total) now and then; the stages are ``encode``, ``baseline``, ``resample``, ``slices`` and
        ``explain``.

    Raises
    ------
    UnreadableInput
        If the pairs cannot be read, are none, or have neither labels nor grades.
    EncoderMismatch
        If `ScoredPairs` of another encoder came.
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
        raise ValueError(f"n_draws is at least 1 and n_worst at least 0, but got {n_draws} and {n_worst}.")
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
        notes=notes_on(own, base),
    )


def _differences(own: Measured, base: Measured) -> dict[str, Interval]:
    """Model minus baseline, paired by draw.

    Resampling adds noise that a calibration error counts as error: its difference has the bounds of two figures taken as
    independent, which are wider than they need be.
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
    told = {name: value for name, value in own.scored.told.items() if name not in {"on", "precision_class"}}
    truth = (
        {"positives": int(own.scored.labels.sum())} if pairs.labels is not None else _range(np.asarray(pairs.scores))
    )
    return {
        "on": own.scored.told.get("on", f"{len(pairs):,} pairs"),
        "pairs": len(pairs),
        "components": len(np.unique(own.scored.components)),
        **truth,
        **told,
        "model": own.to_json(),
        "baseline": None if base is None else base.to_json(),
        **how,
        "confidence": 0.95,
    }


def _range(grades: np.ndarray) -> dict[str, Any]:
    return {"positives": None, "lowest_grade": float(grades.min()), "highest_grade": float(grades.max())}


def _plain(figures: Mapping[str, Interval]) -> dict[str, list[float | None]]:
    return {name: plain(figure) for name, figure in figures.items()}


def _told(figure: Interval) -> str:
    value, bounds = _cells(figure, "+")
    return f"{value} {bounds}"


def _cells(figure: Interval, sign: str = "") -> tuple[str, str]:
    value, low, high = (f"{one:{sign}.4f}" if np.isfinite(one) else "not defined" for one in figure)
    return value, f"[{low}, {high}]" if np.isfinite(figure.low) else "no bounds"
