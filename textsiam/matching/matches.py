"""Matches: the columns that every finder yields and everything downstream eats."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from textsiam.data.texts import SetAside
from textsiam.errors import NotCalibrated
from textsiam.scoring.verifying import Verifier, verified

if TYPE_CHECKING:
    from textsiam.matching.clustering import Clusters


# Left rows, right rows and scores, before they are `Matches`; between a join's blocks, and within an index.
Found = tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"], Float[np.ndarray, " _"]]


class Match(NamedTuple):
    """One pair: row on the left, row on the right, score."""

    left: int
    right: int
    score: float


@dataclass(frozen=True, eq=False, repr=False)
class Matches:
    """Pairs of rows with their scores, in order of left and then right row unless said otherwise.

    Parameters
    ----------
    left, right
        (n,) row numbers from 0. A threshold join within one set gives left < right; between two sets each counts in its own.
    score
        (n,) fp32, larger is closer.
    n_left, n_right
        Rows of the two sets; `n_right` is None where matches are within one set.
    probability, decision
        (n,) each, or None where the model has no calibration or no threshold.
    left_ids, right_ids, left_texts, right_texts
        What stands in each row of the two sets, or None where only vectors were given.
    cut, right_cut
        Rows of the left and of the right set whose text was longer than the model's maximum.
    unknown, right_unknown
        Rows whose text holds characters that the model does not know, and so cannot tell from one another.
    set_aside
        Rows of the left set that could not be used, with reasons, where a finder tells them.
    added
        How many of the left rows were put into an index (`Index.add`); None where nothing was to be.
    recall
        None: no match is missing. Else the search was approximate, and this share of all matches was found where it was measured.

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

    def __post_init__(self) -> None:
        columns = (self.left, self.right, self.score, self.probability, self.decision)
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
        columns = ("left", "right", "score", "probability", "decision")
        return replace(
            self, **{name: column[places] for name in columns if (column := getattr(self, name)) is not None}
        )

    def top(self, k: int) -> "Matches":
        """The k matches of highest score, highest first; ties by left, then right row."""
        return self.take(np.lexsort((self.right, self.left, -self.score))[:k])

    def verified(self, verifier: Verifier) -> "Matches":
        """The matches with those left for review decided by a second judge (see `textsiam.scoring.verifying.Verifier`).

        Raises
        ------
        NotCalibrated
            If the matches carry no decision: the model has no threshold.
        ValueError
            If there are no texts to judge, or the verifier does not answer once for each pair.

        Examples
        --------
        >>> columns = np.array([0]), np.array([1]), np.array([0.8], dtype=np.float32)
        >>> matches = Matches(*columns, 2, decision=np.array(["review"]), left_texts=["Pay?", "pay?"])
        >>> matches.verified(lambda first, second: [a.lower() == b for a, b in zip(first, second)]).decision
        array(['accept'], dtype='<U6')
        """
        if self.decision is None:
            raise NotCalibrated("These matches carry no decision: the model has no threshold. Certify one first.")
        texts = self.text_columns()
        if texts is None:
            raise ValueError("These matches carry no texts, so nothing can be judged. Find them with find_duplicates.")
        return replace(self, decision=verified(self.decision, *texts, verifier))

    def clusters(self, linkage: str = "keeper") -> "Clusters":
        """Groups in which every row matches its keeper directly (see `textsiam.matching.clustering.cluster`)."""
        from textsiam.matching.clustering import cluster

        return cluster(self, linkage=linkage)

    def id_columns(self) -> tuple[list[str], list[str]]:
        """The ids of the left and of the right rows; row numbers where there are no ids."""
        left_ids: Sequence[Any] = self.left_ids if self.left_ids is not None else range(self.n_left)
        others = self.right_ids if self.n_right is not None else left_ids
        right_ids: Sequence[Any] = others if others is not None else range(self.n_right or 0)
        return [str(left_ids[row]) for row in self.left.tolist()], [str(right_ids[row]) for row in self.right.tolist()]

    def text_columns(self) -> tuple[list[Any], list[Any]] | None:
        """The texts of the left and of the right rows; None where only vectors were given."""
        right_texts = self.left_texts if self.n_right is None else self.right_texts
        if self.left_texts is None or right_texts is None:
            return None
        return [self.left_texts[row] for row in self.left.tolist()], [right_texts[row] for row in self.right.tolist()]

    def blocks(self, n: int = 65_536) -> Iterator[dict[str, Any]]:
        """The columns of a pairs file, `n` rows at a time, so that writing needs no second copy of them all."""
        for start in range(0, max(len(self), 1), n):
            yield self.take(np.arange(start, min(start + n, len(self)))).columns()

    def columns(self) -> dict[str, Any]:
        """``id_a, id_b, score, probability, decision``, the columns of a pairs file; None where there is no value."""
        id_a, id_b = self.id_columns()
        nothing = [None] * len(self)
        return {
            "id_a": id_a,
            "id_b": id_b,
            "score": self.score,
            "probability": nothing if self.probability is None else self.probability.astype(np.float32),
            "decision": nothing if self.decision is None else self.decision,
        }

    def __repr__(self) -> str:
        shown = self if len(self) <= 20 else self.take(np.arange(20))  # noqa: PLR2004  a screenful
        texts = shown.text_columns() or shown.id_columns()
        rows = [f"{score:7.4f}  {a}  |  {b}" for score, a, b in zip(shown.score, *texts, strict=True)]
        how = "" if self.recall is None else f", approximate: recall {self.recall:.3f} where measured"
        return "\n".join([f"Matches({len(self):,} pairs{how})", *rows, *(["…"] if len(shown) < len(self) else [])])
