"""Texts compared with an index, which stays as it is.

The answer is `Matches`: rows on the right are those of the index, and only rows that were found have an id and a text.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from jaxtyping import Float, Shaped

from textsiam.arrays import Found
from textsiam.data.texts import as_list
from textsiam.encoding.encoder import Progress
from textsiam.errors import UnreadableInput
from textsiam.indexing.open_index import Opened
from textsiam.indexing.search import approximate
from textsiam.indexing.storage.ledger import Item
from textsiam.indexing.storage.store import checked
from textsiam.matching.deciding import decided_found
from textsiam.matching.duplicates import check_threshold
from textsiam.matching.matches import Matches, ids_of
from textsiam.matching.repeats import Side, refuse_too_many
from textsiam.matching.rule import Rule
from textsiam.scoring.scorer import Judgement
from textsiam.scoring.siamese import Siamese


class Sparse(Sequence[str]):
    """A column of an index, of which only some rows were read; the others are empty."""

    def __init__(self, n: int, read: dict[int, str]) -> None:
        self.n, self._read = n, read

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._read.get(place, "") for place in range(*row.indices(self.n))]
        if not 0 <= row < self.n:
            raise IndexError(f"There is no row {row}: the index holds {self.n:,}.")
        return self._read.get(row, "")

    def __len__(self) -> int:
        return self.n


def answer(
    model: Siamese | None,
    found: Found,
    items: Sequence[Item],
    n_left: int,
    n_right: int,
    *,
    by_score: bool,
    judgement: Judgement | None = None,
    keeps_rejected: bool = False,
    **more: Any,
) -> Matches:
    """Matches of positions on the left with the index's rows on the right, with what the model says about them."""
    left, right, scores = found
    texts = {item.row: item.text for item in items if item.text is not None}
    if judgement is None and model:
        first, how = more.get("left_texts") or [None] * n_left, dict(by_score=by_score, keeps_rejected=keeps_rejected)
        left, right, judgement = decided_found(model, found, first, Sparse(n_right, texts), **how)
    return Matches(
        left,
        right,
        n_left=n_left,
        n_right=n_right,
        right_ids=Sparse(n_right, {item.row: item.id for item in items}),
        right_texts=Sparse(n_right, texts) if texts or not items else None,
        by_score=by_score,
        **(judgement or Judgement(scores, None, None, None, None)).by_name(),
        **more,
    )


def repeated(found: Found, side: Side, max_matches: int) -> Found:
    """What was found for distinct texts, for every position that holds one; a position's matches stay in their order."""
    number, row, scores = found
    starts = np.searchsorted(number, np.arange(len(side.unique) + 1))
    counts = np.diff(starts)[side.rows]
    refuse_too_many(int(counts.sum()), max_matches)
    left = np.repeat(side.places, counts)
    place = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts[side.rows], counts)
    return left, row[place], scores[place]


SEARCHERS = ("auto", "exact", "approximate")


def search(
    at: Opened,
    texts: Iterable[object] | None,
    embeddings: Shaped[np.ndarray, "n dim"] | None,
    *,
    threshold: float | None,
    k: int | None,
    max_matches: int,
    searcher: str = "auto",
    ids: Sequence[str] | None = None,
    model: Siamese | None = None,
    progress: Progress | None = None,
) -> Matches:
    """The matches of texts, or of vectors, in an index (see `Index.search`)."""
    if (texts is None) == (embeddings is None):
        raise UnreadableInput("A search takes texts or their embeddings, and only one of them. Give one.")
    if k is not None and k < 1:
        raise ValueError(f"k is at least 1, but got {k}. Ask for one neighbour or more.")
    if searcher not in SEARCHERS:
        raise ValueError(f"There is no searcher {searcher!r}. Use one of {', '.join(SEARCHERS)}.")
    by_score = threshold is not None or not at.settings.get("decides")
    rule = Rule(_lowest(at, threshold, k), at.settings["similarity"], max_matches)
    asked = _asked(at, texts, embeddings, ids, model, progress)
    store = at.store

    def work() -> tuple[Found, float | None, list[Item], int]:
        vectors, n, recall = store.view.stored(asked.vectors), store.ledger.state.n_rows, None
        if k is not None:
            found = _from(store.view.nearest(vectors, k), rule.threshold)
        elif searcher == "approximate" or (searcher == "auto" and n >= approximate.APPROXIMATE_FROM):
            found, recall = store.view.find_fast(vectors, rule)
        else:
            found = store.view.find(vectors, rule)
        return found, recall, store.ledger.items("row", np.unique(found[1]).tolist()), n

    found, recall, items, n_right = store.read(work, at.made)
    if searcher == "approximate" and k is None and recall is None:
        raise ValueError(
            f"The index at {at.place} has no structure for approximate search from {rule.threshold:g} up. Make it with "
            "Index.approximate(), or search exactly."
        )
    if asked.side is not None:
        found = repeated(found, asked.side, max_matches)
    return answer(
        model or at.model,
        found,
        items,
        asked.n,
        n_right,
        by_score=by_score,
        keeps_rejected=k is not None,
        recall=recall,
        **asked.columns,
    )


class _Asked(NamedTuple):
    """What to search for, as vectors, each distinct text once."""

    vectors: Float[np.ndarray, "m dim"]
    side: Side | None  # None: vectors were given
    n: int
    columns: dict[str, Any]  # of the answer


def _asked(
    at: Opened,
    texts: Iterable[object] | None,
    embeddings: Shaped[np.ndarray, "n dim"] | None,
    ids: Sequence[str] | None,
    model: Siamese | None,
    progress: Progress | None,
) -> _Asked:
    if embeddings is not None:
        vectors = checked(embeddings, at.settings["dim"])
        return _Asked(vectors, None, len(vectors), dict(left_ids=ids_of(range(len(vectors)), ids)))
    values = as_list(() if texts is None else texts)
    side = Side.of(values, "texts")
    known = at.store.read(lambda: at.known(side.unique), at.made)
    encoded = at.encode(side.unique, known, model, progress)
    columns = dict(left_texts=values, left_ids=ids_of(values, ids), **side.lost(encoded))
    return _Asked(encoded.embeddings, side, len(values), columns)


def _lowest(at: Opened, threshold: float | None, k: int | None) -> float:
    if threshold is None:
        return float("-inf") if k is not None else float(at.settings["threshold"])
    check_threshold(threshold, at.settings["similarity"])
    return float(threshold)


def _from(found: Found, lowest: float) -> Found:
    i, j, scores = found
    reach = scores >= np.float32(lowest)
    return i[reach], j[reach], scores[reach]
