"""What a search found, decided: the judge reads the pairs that cosine found, and what it rejects is no match."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from textsiam.arrays import Found, Rows
from textsiam.encoding.encoder import Progress
from textsiam.scoring.judging.reading import KnownTexts, Reading
from textsiam.scoring.scorer import Judgement, Scorer
from textsiam.scoring.thresholds import REJECT

# (scores, first texts, second texts) of candidates → the places of those that match, and what the model says of these.
Decide = Callable[[Any, Sequence[Any], Sequence[Any]], tuple[Rows, Judgement]]


def decided(
    model: Scorer,
    scores: Any,
    first: Sequence[Any],
    second: Sequence[Any],
    *,
    by_score: bool,
    keeps_rejected: bool = False,
    known: KnownTexts | None = None,
    prompt: str | None = None,
    progress: Progress | None = None,
) -> tuple[Rows, Judgement]:
    """The places of the pairs that match, and what the model says of these.

    Parameters
    ----------
    scores, first, second
        (n,) of the pairs found: their scores and texts.
    by_score
        The caller gave a threshold of scores: all pairs match, and a judge says nothing. Otherwise those match that the model
        does not reject.
    keeps_rejected
        Keep also those.
    known
        All texts, if the search has read them already.
    """
    scores = np.asarray(scores, dtype=np.float32)
    every = np.arange(len(scores))
    if not needs_texts(model):
        return every, model.judged(Reading(scores, None, np.zeros(len(scores), dtype=np.bool_)), (), ())
    if by_score and model.judge:
        return every, Judgement(scores, None, None, None, None)
    judgement = model.judgement(first, second, scores=scores, known=known, prompt=prompt, progress=progress)
    if by_score or keeps_rejected or not model.judge or judgement.decision is None:
        return every, judgement
    # In int8 the judge's encoder scores again what was found a little below the candidate threshold.
    found = (judgement.decision != REJECT) & ~(judgement.score < np.float32(model.judge.candidates))
    kept = np.flatnonzero(found)
    return kept, judgement.take(kept)


def needs_texts(model: Scorer) -> bool:
    """Whether the model reads the texts of what a search found."""
    return bool(model.judge or (model.vetoes and model.threshold))


def decided_found(
    model: Scorer, found: Found, texts: Sequence[Any], others: Sequence[Any], **how: Any
) -> tuple[Rows, Rows, Judgement]:
    """`decided` for rows of two lists of texts: the left rows, the right rows, and what the model says of each pair."""
    left, right, scores = found
    sides = ((texts, left), (others, right)) if needs_texts(model) else ()
    first, second = ([column[row] for row in rows.tolist()] for column, rows in sides) if sides else ((), ())
    kept, judgement = decided(model, scores, first, second, **how)
    return left[kept], right[kept], judgement
