"""The rows that judge: scored, in an order of their own, and for two models the same ones."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from textsiam.data.texts import normalise
from textsiam.encoding.encoder import Progress
from textsiam.errors import UnreadableInput
from textsiam.scoring.scored import ScoredPairs, score_pairs, scored_by

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese


def score_in_order(
    model: "Siamese", pairs: Any, *, on: str | None = None, progress: Progress | None = None
) -> ScoredPairs:
    """The pairs with the model's scores, in order of their texts, so that the order of a file says nothing.

    Raises
    ------
    UnreadableInput
        If the pairs cannot be read, are none, or have neither labels nor grades.
    EncoderMismatch
        If `ScoredPairs` of another encoder came.

    Examples
    --------
    >>> from textsiam import Pairs, Siamese
    >>> score_in_order(Siamese.load(), Pairs(["z", "b"], ["y", "a"], labels=[0, 1])).pairs.rows
    [2, 1]
    """
    scored = scored_by(model, pairs, on=on, progress=progress)
    if scored.pairs.labels is None and scored.pairs.scores is None:
        raise UnreadableInput(
            "Evaluating compares scores with what people said, but these pairs have neither labels nor graded scores. "
            "Give a column of labels (0 and 1) or of scores."
        )
    return _take(scored, _own_order(scored))


def score_alike(
    baseline: "Siamese", scored: ScoredPairs, *, progress: Progress | None = None
) -> tuple[ScoredPairs, ScoredPairs]:
    """What the model scored and the same rows scored by the baseline, without those that the baseline was trained on.

    Raises
    ------
    UnreadableInput
        If the baseline was trained on all of them.

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
    told = {"rows_set_aside": scored.told.get("rows_set_aside", 0) + n_lost, "rows_seen_by_baseline": n_lost}
    scored = replace(_take(scored, kept), told={**scored.told, **told})
    return scored, replace(other, components=scored.components)


def _own_order(scored: ScoredPairs) -> Int[np.ndarray, " n"]:
    """The places of the pairs in order of their texts, so that the order of a file, and of a pair's two texts, says nothing."""
    pairs = scored.pairs
    truth = np.asarray(pairs.scores if pairs.labels is None else pairs.labels).tolist()
    keys = [
        (*sorted(((normalise(a), a), (normalise(b), b))), value)
        for a, b, value in zip(pairs.first, pairs.second, truth, strict=True)
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _take(scored: ScoredPairs, places: Int[np.ndarray, " m"]) -> ScoredPairs:
    """These rows; components numbered as they come."""
    components = scored.components[places]
    _, first, numbers = np.unique(components, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return replace(scored, pairs=scored.pairs.take(places), scores=scored.scores[places], components=rank[numbers])


def _kept(scored: ScoredPairs, other: ScoredPairs) -> Int[np.ndarray, " m"]:
    """The places of the other's rows, which are the same in the same order but for some that are missing."""
    rows = iter(zip(other.pairs.rows, other.pairs.first, other.pairs.second, strict=True))
    places, wanted = [], next(rows, None)
    for place, row in enumerate(zip(scored.pairs.rows, scored.pairs.first, scored.pairs.second, strict=True)):
        if row == wanted:
            places.append(place)
            wanted = next(rows, None)
    return np.array(places, dtype=np.int64)
