"""What a reader should know before believing an evaluation's figures."""

from collections.abc import Iterator

import numpy as np

from textsiam.evaluation.measures import MEASURES, Measured
from textsiam.scoring.intervals import MIN_COMPONENTS

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
