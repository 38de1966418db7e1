"""Labels that are probably wrong, each with its reason: other labels contradict it, or the model is sure of the other label.

Nothing is relabelled or left out: a person must look. Contradictions need no model: "means the same" is an equivalence, so
A = B and B = C contradict A ≠ C. They do not show which of these labels is wrong.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from textsiam.data.linking import graph_of, link
from textsiam.data.pairs import Pairs
from textsiam.data.texts import few
from textsiam.scoring.evidence.scored_pairs import ScoredPairs

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

SURE = 0.05  # the highest probability of a disputed label
TAIL = 0.01  # without probabilities: the share of the pairs with the other label that may score farther out


@dataclass(frozen=True)
class Suspect:
    """A label that is probably wrong.

    Parameters
    ----------
    kind
        ``conflict``: the same pair has the other label elsewhere. ``chain``: positives connect the texts of a negative.
        ``same_text``: the texts of a negative differ only in case, spaces and compatibility characters. ``model``: the model
        is sure of the other label.
    row
        The row of the pair in its source, from 1.
    first, second, label, score
        The pair, its label, and the model's score.
    why
        The reason, in words.
    rows
        The rows that give the reason.
    chain
        For ``chain``: the texts on the shortest path from first to second; by its label, each means the same as the next.
    """

    kind: str
    row: int
    first: str
    second: str
    label: int
    score: float
    why: str
    rows: tuple[int, ...] = ()
    chain: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"row {self.row}: {self.first!r} and {self.second!r} are labelled {self.label}, but {self.why}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def find_suspects(scored: ScoredPairs, model: "Siamese | None" = None) -> list[Suspect]:
    """Every suspected label: contradictions first, then those that the model disputes, the surest first.

    A row may appear once for each kind. Graded pairs have no suspects.

    Parameters
    ----------
    model
        The model that scored the pairs. Its probabilities show where it is sure; without a calibrator its scores do.

    Examples
    --------
    >>> pairs = Pairs(["a", "b", "c"], ["b", "c", "a"], labels=[1, 1, 0])
    >>> scored = ScoredPairs(pairs, np.array([0.8, 0.7, 0.9], dtype=np.float32), np.zeros(3, dtype=np.int64))
    >>> print(*find_suspects(scored))
    row 3: 'c' and 'a' are labelled 0, but c = b = a (rows 2, 1)
    """
    if scored.pairs.labels is None or not len(scored):
        return []
    return [*contradictions(scored), *disputed(scored, model)]


def contradictions(scored: ScoredPairs) -> list[Suspect]:
    """Rows whose labels contradict each other, in order of row: conflicts, chains of positives, and equal texts.

    Cost: one breadth-first search for the first text of each negative whose texts a chain connects.

    Raises
    ------
    UnreadableInput
        If the pairs have no labels.

    Examples
    --------
    >>> pairs = Pairs(["a", "B"], ["b", "a"], labels=[1, 0])
    >>> scored = ScoredPairs(pairs, np.array([0.8, 0.8], dtype=np.float32), np.zeros(2, dtype=np.int64))
    >>> [suspect.kind for suspect in contradictions(scored)]
    ['conflict', 'conflict']
    """
    from scipy.sparse.csgraph import breadth_first_order

    linked = link([scored.pairs])
    texts, labels = linked.texts[0], scored.labels
    rows_of = _rows_by_pair(texts, labels)
    graph = graph_of(texts[labels == 1], len(linked.component))

    @lru_cache(maxsize=1)  # the search from one text is kept: its result is as long as the list of texts
    def searched(start: int) -> np.ndarray:
        return np.asarray(breadth_first_order(graph, start, directed=False)[1])

    found = []
    for place, (a, b) in enumerate(texts.tolist()):
        others = rows_of.get((1 - labels[place], min(a, b), max(a, b)), [])
        if others:
            rows = _numbers(scored.pairs, others)
            found.append(_suspect(scored, place, "conflict", f"labelled {1 - labels[place]} in {_listed(rows)}", rows))
        elif labels[place] == 0 and a == b:
            found.append(_suspect(scored, place, "same_text", "the two texts are the same"))
        elif labels[place] == 0 and linked.component[a] == linked.component[b]:
            found.append(_chain(scored, place, _path(searched(a), a, b), texts, rows_of))
    return sorted(found, key=lambda suspect: suspect.row)


def disputed(scored: ScoredPairs, model: "Siamese | None" = None) -> list[Suspect]:
    """Labels to which the model gives a probability of at most 0.05, the least probable first.

    Without a calibrator: positives that score below all but 1 % of the negatives, and negatives that score above all but 1 %
    of the positives, the farthest first. Fewer than 100 pairs of the other label have no such 1 %: nothing is then suspect.
    Ties stay in order of row.

    Raises
    ------
    UnreadableInput
        If the pairs have no labels.

    Examples
    --------
    >>> labels = [1] + [0] * 100 + [1] * 99
    >>> pairs = Pairs(["a"] * 200, ["b"] * 200, labels=labels)
    >>> scored = ScoredPairs(pairs, np.linspace(0, 1, 200, dtype=np.float32), np.arange(200))
    >>> [suspect.row for suspect in disputed(scored)]
    [1]
    """
    labels = scored.labels
    if model is not None and model.calibrator is not None:
        chances = model.calibrated(scored.scores).astype(np.float64)
        doubt = np.where(labels == 1, chances, 1 - chances)
        places = np.flatnonzero(doubt <= SURE)
        whys = {place: f"the model gives that label a probability of {doubt[place]:.3f}" for place in places.tolist()}
    else:
        doubt, whys = _beyond_the_others(scored.scores.astype(np.float64), labels)
        places = np.array(sorted(whys), dtype=np.int64)
    ranked = places[np.argsort(doubt[places], kind="stable")]
    return [_suspect(scored, place, "model", whys[place]) for place in ranked.tolist()]


def _beyond_the_others(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], dict[int, str]]:
    """How far each row is from the tail of the other label, negative if beyond it, and the reason for those beyond."""
    low, high = -np.inf, np.inf
    if (labels == 0).sum() * TAIL >= 1:
        low = float(np.quantile(scores[labels == 0], TAIL))
    if (labels == 1).sum() * TAIL >= 1:
        high = float(np.quantile(scores[labels == 1], 1 - TAIL))
    doubt = np.where(labels == 1, scores - low, high - scores)
    n = f"{100 * (1 - TAIL):g}"
    whys = {1: f"{n} % of the pairs labelled 0 score higher", 0: f"{n} % of the pairs labelled 1 score lower"}
    return doubt, {place: whys[int(labels[place])] for place in np.flatnonzero(doubt < 0).tolist()}


def _path(before: Int[np.ndarray, " texts"], start: int, end: int) -> list[int]:
    """The shortest path over positives, from the text before each one in a breadth-first search from `start`."""
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return path[::-1]


def _rows_by_pair(texts: Int[np.ndarray, "n 2"], labels: Int[np.ndarray, " n"]) -> Mapping[Any, list[int]]:
    rows: dict[Any, list[int]] = defaultdict(list)
    for place, ((a, b), label) in enumerate(zip(texts.tolist(), labels.tolist(), strict=True)):
        rows[label, min(a, b), max(a, b)].append(place)
    return rows


def _chain(
    scored: ScoredPairs, place: int, path: list[int], texts: Int[np.ndarray, "n 2"], rows_of: Mapping[Any, list[int]]
) -> Suspect:
    """The negative that a path of positives contradicts, with one row for each step of the path."""
    steps = [rows_of[1, min(step), max(step)][0] for step in pairwise(path)]
    names = [scored.pairs.first[place]]
    for step, text in zip(steps, path[1:], strict=True):
        names.append(scored.pairs.first[step] if texts[step, 0] == text else scored.pairs.second[step])
    rows = _numbers(scored.pairs, steps)
    why = f"{' = '.join(names)} ({_listed(rows)})"
    return _suspect(scored, place, "chain", why, rows, tuple(names))


def _suspect(
    scored: ScoredPairs, place: int, kind: str, why: str, rows: tuple[int, ...] = (), chain: tuple[str, ...] = ()
) -> Suspect:
    pairs = scored.pairs
    label, score = int(scored.labels[place]), float(scored.scores[place])
    return Suspect(
        kind, int(pairs.rows[place]), pairs.first[place], pairs.second[place], label, score, why, rows, chain
    )


def _numbers(pairs: Pairs, places: list[int]) -> tuple[int, ...]:
    return tuple(int(pairs.rows[place]) for place in places)


def _listed(rows: tuple[int, ...]) -> str:
    return f"row{'s' if len(rows) > 1 else ''} {few(rows)}"
