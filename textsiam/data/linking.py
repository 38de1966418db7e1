"""Which texts belong together: equal after normalisation, a positive pair, a pair at or above a stated score, or a known link."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from textsiam.data.pairs import Pairs, Triplets
from textsiam.data.texts import distinct, normalise

Places = Int[np.ndarray, " _"]  # numbers of rows or of components
Links = Iterable[tuple[str, str]]
Examples = Pairs | Triplets

# A graded pair links its texts from this share of the way between the lowest and the highest score: from 4 on a scale of 0 to 5.
LINK_SHARE = 0.8


@dataclass(frozen=True, eq=False)
class Linked:
    """Which texts belong together, over one or several tables: `columns` and `texts` have one array per table."""

    columns: list[Int[np.ndarray, "_ _"]]  # (rows, texts per row): the component of each text
    texts: list[Int[np.ndarray, "_ _"]]  # (rows, texts per row): the number of each text after normalisation
    component: Places  # of each distinct normalised text
    places: Mapping[str, int]  # the number of each distinct normalised text
    link_score: float | None  # graded pairs were linked from this score on, that of the last graded table

    def components_of(self, table: Examples) -> Int[np.ndarray, "n width"]:
        """(rows, texts per row): the component of each text of a table made of linked rows, such as one part of a split."""
        flat = [self.places[normalise(text)] for column in columns_of(table) for text in column]
        return self.component[np.array(flat, dtype=np.int64)].reshape(len(columns_of(table)), len(table)).T


def link(tables: Sequence[Examples], *, links: Links = (), link_score: float | None = None) -> Linked:
    """The components of the texts of all tables, connected by positives, equal normalised texts and `links`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = [(normalise(a), normalise(b)) for a, b in map(_checked_link, links)]
    flat = [normalise(text) for table in tables for column in columns_of(table) for text in column]
    names, places = distinct([*flat, *(text for pair in known for text in pair)])
    numbers, start = [], 0
    for table in tables:
        width = len(columns_of(table))
        numbers.append(places[start : start + width * len(table)].reshape(width, len(table)).T)
        start += width * len(table)
    edges = [places[start:].reshape(-1, 2)]
    lowest = None
    for table, rows in zip(tables, numbers, strict=True):
        own = _link_score(table, link_score)
        lowest = lowest if own is None else own
        edges.append(rows[kinds_of(table, own) == 1][:, :2])
    left, right = np.concatenate(edges).T
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(len(names),) * 2)
    _, component = connected_components(graph, directed=False)
    component = component.astype(np.int64)
    of_texts = {name: place for place, name in enumerate(names)}
    return Linked([component[rows] for rows in numbers], numbers, component, of_texts, lowest)


def dependence(columns: Int[np.ndarray, "n width"]) -> Places:
    """The number of each row's group: rows that share a component, directly or through other rows, have the same."""
    from scipy.sparse.csgraph import connected_components

    used, places = np.unique(columns, return_inverse=True)
    places = places.reshape(columns.shape)
    _, group = connected_components(graph_of(places, len(used)), directed=False)
    return group[places[:, 0]].astype(np.int64)


def columns_of(table: Examples) -> tuple[Sequence[str], ...]:
    """The columns of texts. In a positive row the first two mean the same."""
    return table.columns if isinstance(table, Triplets) else (table.first, table.second)


def kinds_of(table: Examples, link_score: float | None) -> Int[np.ndarray, " n"]:
    """1 for rows whose first two texts mean the same, 0 for the others."""
    if not isinstance(table, Triplets) and table.labels is not None:
        return np.asarray(table.labels)
    lowest = _link_score(table, link_score)
    if lowest is None:
        return np.ones(len(table), dtype=np.int64)
    return (np.asarray(getattr(table, "scores", None)) >= lowest).astype(np.int64)


def graph_of(columns: Int[np.ndarray, "n width"], n: int) -> Any:
    """The sparse graph of `n` components, in which each row is an edge."""
    from scipy.sparse import coo_array

    left = np.repeat(columns[:, 0], columns.shape[1] - 1)
    right = columns[:, 1:].ravel()
    ones = np.ones(2 * len(left), dtype=np.int8)
    return coo_array((ones, (np.concatenate([left, right]), np.concatenate([right, left]))), shape=(n, n)).tocsr()


def _checked_link(pair: Any) -> tuple[str, str]:
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):  # noqa: PLR2004
        raise ValueError(f"A link is two texts that belong together, but got {pair!r}. Give pairs of texts.")
    return pair[0], pair[1]


def _link_score(table: Examples, link_score: float | None) -> float | None:
    """The score from which the table's pairs are linked, or None if labels decide or there are no scores."""
    scores = None if isinstance(table, Triplets) or table.labels is not None else table.scores
    if scores is None or not len(scores):
        return None
    if link_score is not None:
        return link_score
    scores = np.asarray(scores)
    return float(scores.min() + LINK_SHARE * (scores.max() - scores.min()))
