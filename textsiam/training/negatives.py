"""Hard negatives: texts that the current encoder puts close to the anchor, but that no label calls the same."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from textsiam.data.linking import kinds_of, link
from textsiam.data.pairs import Pairs, Triplets
from textsiam.data.readers import read_pairs
from textsiam.data.texts import distinct, normalise
from textsiam.matching.join.exact import top_k_join
from textsiam.scoring.siamese import Siamese

# Candidates examined for each wanted negative, besides those of the anchor's own component: some are too close.
N_CANDIDATES = 20


def mine_negatives(
    model: Siamese,
    pairs: Any,
    *,
    n: int = 1,
    margin: float = 0.05,
    candidates: Sequence[str] = (),
    link_score: float | None = None,
) -> Triplets:
    """For each positive pair, the `n` closest texts that are safe negatives, as triplets.

    A text of the anchor's own positive component (over positives and equal normalised texts) is never a negative. Neither is a
    text whose score with the anchor is above the positive's score minus `margin`: many of the closest texts are duplicates that
    nobody labelled (de Souza P. Moreira et al. 2024, "NV-Retriever", section 4.1, TopK-MarginPos). Labelled negatives of the
    anchor are taken first. A pair with fewer than `n` negatives gives no triplet.

    Parameters
    ----------
    model
        The current encoder.
    pairs
        Pairs, or anything that `read_pairs` reads; of labelled or graded pairs, the positives give triplets.
    n
        Negatives per triplet.
    margin
        How far a negative's score must lie below the positive's; 0 allows all that are not closer than the positive.
    candidates
        More texts to choose from, besides those of the pairs. A text that is in no pair is a component of its own.
    link_score
        Graded pairs at or above it are positives (see `split`).

    Returns
    -------
    triplets
        With the row numbers of the pairs; empty if no pair has `n` negatives. If candidates tie, the earlier text is taken.

    Raises
    ------
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> pairs = Pairs(["How do I pay?", "Where is my parcel?"], ["How can I pay?", "Where is my package?"])
    >>> mine_negatives(Siamese.load(), pairs).negatives[0]
    ['Where is my parcel?', 'How do I pay?']
    """
    if n < 1:
        raise ValueError(f"A triplet has at least one negative, but got {n}. Give 1 or more.")
    pairs = pairs if isinstance(pairs, Pairs) else read_pairs(pairs)
    texts, places = distinct([*pairs.first, *pairs.second, *candidates])
    first, second = np.split(places[: 2 * len(pairs)], 2)
    component, kinds = _components(pairs, candidates, texts, link_score)
    positive = np.flatnonzero(kinds == 1)
    vectors = model.encoder.embed(texts).embeddings
    # Enough that an anchor of the largest component also meets texts of other components.
    largest = int(np.unique(component, return_counts=True)[1].max(initial=0))
    close = _closest(model, vectors, np.unique(first[positive]), min(len(texts), N_CANDIDATES * n + largest))
    own = model.compare(vectors, vectors, first[positive], second[positive])
    labelled: dict[int, list[int]] = {}
    for negative in np.flatnonzero(kinds == 0) if pairs.labels is not None else ():
        labelled.setdefault(int(first[negative]), []).append(int(second[negative]))
    kept, negatives = [], []
    for row, score in zip(map(int, positive), map(float, own), strict=True):
        anchor = int(first[row])
        known = [place for place in labelled.get(anchor, []) if component[place] != component[anchor]]
        safe = [
            p for p, s in close[anchor] if s <= score - margin and component[p] != component[anchor] and p not in known
        ]
        if len(found := [*known, *safe][:n]) == n:
            kept.append(row)
            negatives.append([texts[place] for place in found])
    taken = pairs.take(kept)
    return Triplets(taken.first, taken.second, _columns(negatives, n), taken.rows, mapping=pairs.mapping)


def _components(
    pairs: Pairs, candidates: Sequence[str], texts: Sequence[str], link_score: float | None
) -> tuple[Int[np.ndarray, " texts"], Int[np.ndarray, " n"]]:
    """The positive component of each text, and whether each pair means the same (1) or not (0)."""
    loners = [Pairs(candidates, candidates)] if len(candidates) else []
    graph = link([pairs, *loners], link_score=link_score)
    component = graph.component[[graph.places[normalise(text)] for text in texts]]
    return component, kinds_of(pairs, graph.link_score)


def _closest(
    model: Siamese, vectors: np.ndarray, anchors: Int[np.ndarray, " m"], k: int
) -> dict[int, list[tuple[int, float]]]:
    """For each anchor's place the other texts that are closest, with their scores, closest first."""
    matches = top_k_join(vectors[anchors], vectors, k=k, similarity=model.similarity)
    found: dict[int, list[tuple[int, float]]] = {int(anchor): [] for anchor in anchors}
    order = np.lexsort((matches.right, -matches.score, matches.left))
    for left, right, score in zip(matches.left[order], matches.right[order], matches.score[order], strict=True):
        if right != anchors[left]:
            found[int(anchors[left])].append((int(right), float(score)))
    return found


def _columns(rows: list[list[str]], n: int) -> list[list[str]]:
    return [[row[place] for row in rows] for place in range(n)]
