"""Hard negatives: texts that the current encoder takes for close to the anchor, though nobody says that they mean the same."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from textsiam.data.linking import kinds_of, link
from textsiam.data.pairs import Pairs, Triplets
from textsiam.data.readers import read_pairs
from textsiam.data.texts import distinct
from textsiam.matching.join.exact import top_k_join
from textsiam.scoring.siamese import Siamese

# Candidates looked at for each negative wanted, beside those of the anchor's own component: some are too close.
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
    """For each positive pair the `n` closest texts that are safe to call negatives, as triplets.

    Never a text of the anchor's own positive component (over positives and equal normalised texts), and never one whose
    score with the anchor is above the positive's less `margin`: among the closest texts many are duplicates that nobody
    labelled (de Souza P. Moreira et al. 2024, "NV-Retriever", section 4.1, TopK-MarginPos). A labelled negative of the
    anchor comes first. A pair for which fewer than `n` are found gives no triplet.

    Parameters
    ----------
    model
        The current encoder.
    pairs
        Pairs, or anything that `read_pairs` reads; of labelled or graded ones the positives are anchored.
    n
        Negatives a triplet.
    margin
        Least distance in score below the positive; 0 allows all that are not closer than it.
    candidates
        Texts to choose from beside those of the pairs. A text here that belongs to no pair is a component of its own.
    link_score
        Graded pairs at or above it are positives (see `split`).

    Returns
    -------
    triplets
        With the row numbers of the pairs; empty columns if none qualifies. Ties between candidates go to the earlier text.

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
    texts, _ = distinct([*pairs.first, *pairs.second, *candidates])
    places = {text: place for place, text in enumerate(texts)}
    component, kinds = _components(pairs, candidates, places, link_score)
    first, second = (
        np.array([places[text] for text in column], dtype=np.int64) for column in (pairs.first, pairs.second)
    )
    positive = np.flatnonzero(kinds == 1)
    vectors = model.encoder.embed(texts).embeddings
    # So many more than wanted that an anchor of the largest component still sees texts of others.
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
    pairs: Pairs, candidates: Sequence[str], places: Mapping[str, int], link_score: float | None
) -> tuple[Int[np.ndarray, " texts"], Int[np.ndarray, " n"]]:
    """The positive component of each text, by its place, and whether each pair means the same (1) or not (0)."""
    loners = Pairs(list(candidates), list(candidates)) if len(candidates) else None
    graph = link([pairs, *([loners] if loners else [])], link_score=link_score)
    component = np.empty(len(places), dtype=np.int64)
    for table, columns in zip((pairs, loners), graph.columns, strict=False):
        for side, column in enumerate((table.first, table.second) if table else ()):
            component[[places[text] for text in column]] = columns[:, side]
    return component, kinds_of(pairs, graph.link_score)


def _closest(
    model: Siamese, vectors: np.ndarray, anchors: Int[np.ndarray, " m"], k: int
) -> dict[int, list[tuple[int, float]]]:
    """For each anchor's place the closest texts with their scores, closest first; itself left out."""
    matches = top_k_join(vectors[anchors], vectors, k=k, similarity=model.similarity)
    found: dict[int, list[tuple[int, float]]] = {int(anchor): [] for anchor in anchors}
    order = np.lexsort((matches.right, -matches.score, matches.left))
    for left, right, score in zip(matches.left[order], matches.right[order], matches.score[order], strict=True):
        if right != anchors[left]:
            found[int(anchors[left])].append((int(right), float(score)))
    return found


def _columns(rows: list[list[str]], n: int) -> list[list[str]]:
    return [[row[place] for row in rows] for place in range(n)]
