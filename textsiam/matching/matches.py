"""Matches, the columns that every search returns, and clusters of matching rows.

In a cluster every row directly matches its keeper. Connected components (single linkage) are left out on purpose, because they
chain: A ~ B ~ C puts A with C although the two do not match. On real questions one component held 2,575 of 2,787 rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.arrays import Rows
from textsiam.data.texts import SetAside, Texts, first_repeat
from textsiam.errors import NotCalibrated
from textsiam.scoring.thresholds import ACCEPT, Verifier, verified

# Complete linkage holds a component's whole distance matrix: 10,000 rows are 400 MB.
MAX_COMPLETE = 10_000
_COLUMNS = ("left", "right", "score", "probability", "decision", "log_odds", "reason")  # one value for each pair


class Match(NamedTuple):
    """One pair: left row, right row and score."""

    left: int
    right: int
    score: float


@dataclass(frozen=True, eq=False, repr=False)
class Matches:
    """Pairs of rows with their scores, ordered by left, then right row, unless a function says otherwise.

    Parameters
    ----------
    left, right
        (n,) row numbers from 0, each in its own set. A threshold join within one set gives left < right.
    score
        (n,) fp32; larger is closer.
    n_left, n_right
        Number of rows in each set; `n_right` is None for matches within one set.
    probability, decision
        (n,) each, or None if the model has no calibration or no threshold.
    log_odds
        (n,) of the judge that both texts mean the same; None if none has read them.
    reason
        (n,) why a pair that scores high enough was not accepted all the same, else empty; None without decisions.
    by_score
        Whether the caller gave the threshold that found them. Otherwise the model decides, and clusters are made of what it
        accepts.
    left_ids, right_ids, left_texts, right_texts
        The id and text of each row, or None if only vectors were given.
    cut, right_cut
        Rows whose text is longer than the model's maximum.
    unknown, right_unknown
        Rows whose text has characters that the model does not know and cannot tell apart.
    set_aside
        Unusable rows of the left set with reasons, if the search reports them.
    added
        How many left rows `Index.add` put into the index; None for a search.
    recall
        None: no match is missing. Otherwise the search was approximate, and this is its measured share of all matches.

    Examples
    --------
    >>> matches = Matches(np.array([0, 0]), np.array([1, 2]), np.array([0.8, 0.9], dtype=np.float32), n_left=3)
    >>> [(m.left, m.right) for m in matches.top(1)]
    [(0, 2)]
    """

    left: Int[np.ndarray, " n"]
    right: Int[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    n_left: int
    n_right: int | None = None
    probability: Float[np.ndarray, " n"] | None = None
    decision: Shaped[np.ndarray, " n"] | None = None
    log_odds: Float[np.ndarray, " n"] | None = None
    reason: Shaped[np.ndarray, " n"] | None = None
    left_ids: Sequence[str] | None = None
    right_ids: Sequence[str] | None = None
    left_texts: Sequence[Any] | None = None
    right_texts: Sequence[Any] | None = None
    cut: Sequence[int] = ()
    right_cut: Sequence[int] = ()
    unknown: Sequence[int] = ()
    right_unknown: Sequence[int] = ()
    set_aside: SetAside = field(default_factory=SetAside)
    added: int | None = None
    recall: float | None = None
    by_score: bool = True

    def __post_init__(self) -> None:
        columns = [getattr(self, name) for name in _COLUMNS]
        lengths = {len(column) for column in columns if column is not None}
        if len(lengths) > 1:
            raise ValueError(
                f"Matches needs columns of equal length, but got lengths {sorted(lengths)}. Align them row by row."
            )

    def __len__(self) -> int:
        return len(self.left)

    def __iter__(self) -> Iterator[Match]:
        return map(Match, self.left.tolist(), self.right.tolist(), self.score.tolist())

    def take(self, places: Int[np.ndarray, " m"]) -> "Matches":
        """The matches at these places, in this order."""
        return replace(
            self, **{name: column[places] for name in _COLUMNS if (column := getattr(self, name)) is not None}
        )

    def top(self, k: int) -> "Matches":
        """The k closest matches: of highest log-odds, or score, highest first; ties by left, then right row.

        Where the model decided, those that it accepts come first.
        """
        deciding = self.score if self.log_odds is None else self.log_odds
        return self.take(np.lexsort((self.right, self.left, -deciding, ~self.matching))[:k])

    @property
    def matching(self) -> Bool[np.ndarray, " n"]:
        """Which pairs count as duplicates: those accepted; all, where a threshold of the caller found them."""
        if self.by_score or self.decision is None:
            return np.ones(len(self), dtype=np.bool_)
        return np.asarray(self.decision == ACCEPT)

    def verified(self, verifier: Verifier) -> "Matches":
        """The matches after a second judge decides those left for review (see `textsiam.scoring.thresholds.Verifier`).

        Raises
        ------
        NotCalibrated
            If the matches have no decisions because the model has no threshold.
        ValueError
            If there are no texts to judge, or the verifier does not answer once per pair.

        Examples
        --------
        >>> columns = np.array([0]), np.array([1]), np.array([0.8], dtype=np.float32)
        >>> matches = Matches(*columns, 2, decision=np.array(["review"]), left_texts=["Pay?", "pay?"])
        >>> matches.verified(lambda first, second: [a.lower() == b for a, b in zip(first, second)]).decision
        array(['accept'], dtype='<U6')
        """
        if self.decision is None:
            raise NotCalibrated(
                "These matches have no decisions because the model has no threshold. Certify one first."
            )
        texts = self.text_columns()
        if texts is None:
            raise ValueError("These matches have no texts to judge. Find them with find_duplicates.")
        return replace(self, decision=verified(self.decision, *texts, verifier))

    def clusters(self, linkage: str = "keeper") -> "Clusters":
        """Clusters in which every row directly matches its keeper (see `textsiam.matching.matches.cluster`).

        They are made of the pairs that count as duplicates (`matching`).
        """
        matching = self.matching
        return cluster(self if matching.all() else self.take(np.flatnonzero(matching)), linkage=linkage)

    def id_columns(self) -> tuple[list[str], list[str]]:
        """The ids of the left and of the right rows; row numbers if there are no ids."""
        left_ids: Sequence[Any] = self.left_ids if self.left_ids is not None else range(self.n_left)
        others = self.right_ids if self.n_right is not None else left_ids
        right_ids: Sequence[Any] = others if others is not None else range(self.n_right or 0)
        return [str(left_ids[row]) for row in self.left.tolist()], [str(right_ids[row]) for row in self.right.tolist()]

    def text_columns(self) -> tuple[list[Any], list[Any]] | None:
        """The texts of the left and of the right rows; None if only vectors were given."""
        right_texts = self.left_texts if self.n_right is None else self.right_texts
        if self.left_texts is None or right_texts is None:
            return None
        return [self.left_texts[row] for row in self.left.tolist()], [right_texts[row] for row in self.right.tolist()]

    def blocks(self, n: int = 65_536) -> Iterator[dict[str, Any]]:
        """The columns of a pairs file, `n` rows at a time, so that writing does not copy all of them."""
        for start in range(0, max(len(self), 1), n):
            yield self.take(np.arange(start, min(start + n, len(self)))).columns()

    def columns(self) -> dict[str, Any]:
        """The columns of a pairs file: ``id_a, id_b, score, log_odds, probability, decision, reason``; None where no value is."""
        return pair_columns(*self.id_columns(), self.score, self.log_odds, self.probability, self.decision, self.reason)

    def __repr__(self) -> str:
        shown = self if len(self) <= 20 else self.take(np.arange(20))  # noqa: PLR2004  a screenful
        texts = shown.text_columns() or shown.id_columns()
        rows = [f"{score:7.4f}  {a}  |  {b}" for score, a, b in zip(shown.score, *texts, strict=True)]
        how = "" if self.recall is None else f", approximate: recall {self.recall:.3f} where measured"
        return "\n".join([f"Matches({len(self):,} pairs{how})", *rows, *(["…"] if len(shown) < len(self) else [])])


def pair_columns(
    id_a: list[str],
    id_b: list[str],
    score: Float[np.ndarray, " n"],
    log_odds: Float[np.ndarray, " n"] | None,
    probability: Float[np.ndarray, " n"] | None,
    decision: Shaped[np.ndarray, " n"] | None,
    reason: Shaped[np.ndarray, " n"] | None,
) -> dict[str, Any]:
    """The columns of a pairs file; None in each row where the model says nothing."""
    nothing = [None] * len(score)
    return {
        "id_a": id_a,
        "id_b": id_b,
        "score": score,
        "log_odds": nothing if log_odds is None else log_odds.astype(np.float32),
        "probability": nothing if probability is None else probability.astype(np.float32),
        "decision": nothing if decision is None else decision,
        "reason": nothing if reason is None else [why or None for why in reason.tolist()],
    }


@dataclass(frozen=True, eq=False, repr=False)
class Clusters:
    """For each row its cluster, the row kept for it (its keeper), and the score between the two.

    Parameters
    ----------
    cluster
        (n,) cluster numbers from 0, in order of their keepers. A row without a match is its own cluster.
    keeper
        (n,) row number of the cluster's keeper; a keeper has its own number.
    score_to_keeper
        (n,) fp32; NaN for a keeper.
    ids, texts
        The id and text of each row, or None.

    Examples
    --------
    >>> matches = Matches(np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.8], dtype=np.float32), n_left=4)
    >>> clusters = matches.clusters()
    >>> clusters.groups(), clusters.n_dropped
    ([[0, 1]], 1)
    """

    cluster: Rows
    keeper: Rows
    score_to_keeper: Float[np.ndarray, " n"]
    ids: Sequence[str] | None = None
    texts: Sequence[Any] | None = None

    def __len__(self) -> int:
        """How many clusters have two or more rows."""
        return int((np.bincount(self.cluster) > 1).sum())

    @property
    def n_dropped(self) -> int:
        """How many rows deduplication would remove: those that are not keepers."""
        return int((self.keeper != np.arange(len(self.keeper))).sum())

    def groups(self) -> list[list[int]]:
        """The rows of each cluster of two or more rows, keeper first; clusters in order of their keepers."""
        order = np.lexsort((np.arange(len(self.cluster)), self.keeper != np.arange(len(self.keeper)), self.cluster))
        parts = np.split(order, np.flatnonzero(np.diff(self.cluster[order])) + 1)
        return [part.tolist() for part in parts if len(part) > 1]

    def weakest(self, group: Sequence[int]) -> float:
        """The lowest score between a group's keeper and its other rows."""
        return float(np.nanmin(self.score_to_keeper[list(group)]))

    def columns(self) -> dict[str, Any]:
        """The columns of a clusters file: ``id, cluster, keeper, score_to_keeper``, in the order of the rows."""
        ids: Sequence[Any] = self.ids if self.ids is not None else range(len(self.cluster))
        return {
            "id": [str(name) for name in ids],
            "cluster": self.cluster,
            "keeper": [str(ids[row]) for row in self.keeper.tolist()],
            "score_to_keeper": self.score_to_keeper,
        }

    def __repr__(self) -> str:
        return f"Clusters({len(self):,} of two rows or more, {self.n_dropped:,} rows dropped of {len(self.cluster):,})"


def cluster(matches: Matches, *, linkage: str = "keeper") -> Clusters:
    """The rows of one set, grouped by their matches.

    Parameters
    ----------
    matches
        Within one set.
    linkage
        ``"keeper"``: in row order, a row that matches no earlier keeper becomes a keeper. Every other row joins the keeper
        it matches best (ties: the earlier one). So keepers never match each other, and every dropped row directly matches
        its keeper.
        ``"complete"``: complete-linkage clustering. *All* rows of a cluster match each other; the keeper is the first row.

    Raises
    ------
    ValueError
        If the matches are between two sets, the linkage is unknown, or more than `MAX_COMPLETE` connected rows would need
        one matrix for complete linkage.

    Examples
    --------
    >>> chain = Matches(np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.8], dtype=np.float32), n_left=3)
    >>> cluster(chain).keeper, cluster(chain, linkage="complete").groups()
    (array([0, 0, 2]), [[0, 1]])
    """
    if matches.n_right is not None:
        raise ValueError(
            "Clusters need matches within one set, but these are between two. Find duplicates without `against` first."
        )
    if linkage not in LINKAGES:
        raise ValueError(f"There is no linkage {linkage!r}. Use one of {', '.join(LINKAGES)}.")
    keeper = LINKAGES[linkage](matches)
    _, numbers = np.unique(keeper, return_inverse=True)
    return Clusters(numbers, keeper, _scores_to(keeper, matches), matches.left_ids, matches.left_texts)


def _by_keeper(matches: Matches) -> Rows:
    """Each row's keeper; the keepers are the first maximal independent set in row order."""
    is_keeper = np.ones(matches.n_left, dtype=np.bool_)
    # With left < right, each row comes after all earlier keepers have ruled out their matches.
    left, right = _both(matches)
    order = np.lexsort((right, left))
    starts = np.searchsorted(left[order], np.arange(matches.n_left + 1))
    later = right[order]
    for row in np.unique(left).tolist():
        if is_keeper[row]:
            is_keeper[later[starts[row] : starts[row + 1]]] = False
    a, b = np.concatenate([left, right]), np.concatenate([right, left])
    scores = np.concatenate([matches.score, matches.score])
    joins = is_keeper[a] & ~is_keeper[b]
    order = np.lexsort((a[joins], -scores[joins], b[joins]))
    dropped, best = np.unique(b[joins][order], return_index=True)
    keeper = np.arange(matches.n_left)
    keeper[dropped] = a[joins][order][best]
    return keeper


def _by_complete_linkage(matches: Matches) -> Rows:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    left, right = _both(matches)
    n = matches.n_left
    _, component = connected_components(coo_array((np.ones(len(left)), (left, right)), shape=(n, n)), directed=False)
    keeper = np.arange(n)
    members = _grouped(component, np.arange(n))
    pairs = _grouped(component[left], np.arange(len(left)))
    far = 4.0 + 2 * float(np.abs(matches.score).max(initial=0.0))
    for number, places in pairs.items():
        rows = members[number]
        if len(rows) > MAX_COMPLETE:
            raise ValueError(
                f"Complete linkage needs a matrix of {len(rows):,} connected rows, but {MAX_COMPLETE:,} are allowed. "
                "Raise the threshold, or use the linkage keeper."
            )
        i, j = np.searchsorted(rows, left[places]), np.searchsorted(rows, right[places])
        distances = np.full(len(rows) * (len(rows) - 1) // 2, 2 * far)
        distances[len(rows) * i - i * (i + 1) // 2 + j - i - 1] = far / 2 - matches.score[places]
        labels = fcluster(linkage(distances, method="complete"), far, criterion="distance")
        for group in _grouped(labels, rows).values():
            keeper[group] = group.min()
    return keeper


LINKAGES: dict[str, Callable[[Matches], Rows]] = {
    "keeper": _by_keeper,
    "complete": _by_complete_linkage,
}


def _both(matches: Matches) -> tuple[Rows, Rows]:
    return np.minimum(matches.left, matches.right), np.maximum(matches.left, matches.right)


def _grouped(labels: Rows, values: Rows) -> dict[int, Rows]:
    """Label → its values, in the order given."""
    order = np.argsort(labels, kind="stable")
    found, starts = np.unique(labels[order], return_index=True)
    return dict(zip(found.tolist(), np.split(values[order], starts[1:]), strict=True)) if len(found) else {}


def _scores_to(keeper: Rows, matches: Matches) -> Float[np.ndarray, " n"]:
    left, right = _both(matches)
    scores = np.full(matches.n_left, np.nan, dtype=np.float32)
    for row, other in ((right, left), (left, right)):
        direct = keeper[row] == other
        scores[row[direct]] = matches.score[direct]
    return scores


def ids_of(texts: Sequence[object], ids: Sequence[str] | None) -> Sequence[str] | None:
    """The ids given, else those of `Texts`, else None; ValueError if ids repeat, or texts and ids differ in number."""
    if ids is None:
        return [str(name) for name in texts.ids] if isinstance(texts, Texts) else None
    if len(ids) != len(texts):
        raise ValueError(
            f"Each text needs one id, but got {len(texts)} texts and {len(ids)} ids. Align them row by row."
        )
    if (repeated := first_repeat(map(str, ids))) is not None:
        raise ValueError(f"Ids must differ, but {repeated!r} names more than one text. Give each its own id.")
    return [str(name) for name in ids]
