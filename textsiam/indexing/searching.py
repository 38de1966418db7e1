"""Texts compared with an index, which stays as it is."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from textsiam.data.texts import as_list
from textsiam.encoding.encoder import Progress
from textsiam.errors import UnreadableInput
from textsiam.indexing import nearby
from textsiam.indexing.answering import answer, repeated
from textsiam.indexing.ledger import Item
from textsiam.indexing.opened import Opened
from textsiam.indexing.store import checked
from textsiam.matching.duplicates import check_threshold, ids_of
from textsiam.matching.matches import Found, Matches
from textsiam.matching.repeats import Side, refuse_too_many
from textsiam.scoring.siamese import Siamese

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
        raise UnreadableInput("A search takes texts or their embeddings, and one of them only. Give one.")
    _check(k, searcher)
    lowest = _lowest(at, threshold, k)
    asked = _asked(at, texts, embeddings, ids, model, progress)
    vectors = asked.vectors

    def work() -> tuple[Found, float | None, list[Item], int]:
        n, recall = at.store.ledger.n_rows, None
        if k is not None:
            found = _from(at.store.nearest(vectors, k), lowest)
        elif searcher == "approximate" or (searcher == "auto" and n >= nearby.FROM):
            found, recall = at.store.find_fast(vectors, lowest, max_matches)
        else:
            found = at.store.find(vectors, lowest, max_matches)
        return found, recall, at.store.ledger.items("row", np.unique(found[1]).tolist()), n

    found, recall, items, n_right = at.read(work)
    if searcher == "approximate" and k is None and recall is None:
        raise ValueError(
            f"The index at {at.place} has nothing to search approximately with from {lowest:g} up. Make it with "
            "Index.approximate(), or search exactly."
        )
    if asked.side is not None:
        found = _for_all_rows(found, asked.side, max_matches)
    return answer(model or at.model, found, items, asked.n, n_right, recall=recall, **asked.columns)


class _Asked(NamedTuple):
    """What was asked for, as vectors, each distinct text once."""

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
        vectors = at.store.stored(checked(embeddings, at.told["dim"]))
        return _Asked(vectors, None, len(vectors), dict(left_ids=ids_of(range(len(vectors)), ids)))
    values = as_list(() if texts is None else texts)
    side = Side.of(values, "texts")
    encoded = at.encode(side.unique, model, progress)
    columns = dict(
        left_texts=values,
        left_ids=ids_of(values, ids),
        cut=side.rows_where(encoded.cut),
        unknown=side.rows_where(encoded.unknown),
    )
    return _Asked(encoded.embeddings, side, len(values), columns)


def _check(k: int | None, searcher: str) -> None:
    if k is not None and k < 1:
        raise ValueError(f"k is at least 1, but got {k}. Ask for one neighbour or more.")
    if searcher not in SEARCHERS:
        raise ValueError(f"There is no searcher {searcher!r}. Use one of {', '.join(SEARCHERS)}.")


def _for_all_rows(found: Found, side: Side, max_matches: int) -> Found:
    """What was found for distinct texts, for each row that holds them."""
    refuse_too_many(int((np.bincount(found[0], minlength=len(side.unique)) * side.sizes).sum()), max_matches)
    return repeated(found, side)


def _lowest(at: Opened, threshold: float | None, k: int | None) -> float:
    if threshold is None:
        return float("-inf") if k is not None else float(at.told["threshold"])
    check_threshold(threshold, at.told["similarity"])
    return float(threshold)


def _from(found: Found, lowest: float) -> Found:
    i, j, scores = found
    reach = scores >= np.float32(lowest)
    return i[reach], j[reach], scores[reach]
