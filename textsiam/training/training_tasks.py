"""A data set as training sees it, with its loss, and the check that the loss can use the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from textsiam.training.embedded_batch import Loss
from textsiam.training.losses import CoSENT, CosineRegression, Distillation, MultipleNegativesRanking


@dataclass(frozen=True, eq=False)
class Task:
    """One data set to learn from: distinct inputs, rows that refer to them, and the loss.

    Parameters
    ----------
    name
        The name in the log.
    inputs
        The distinct inputs, of any type that the tower's `prepare` takes.
    columns
        (n, 2 + k) places in `inputs`: first, second, then k negatives.
    loss
        The loss to minimise on its batches.
    labels, scores
        (n,) of 0 and 1, or graded similarities on any scale; without either, rows are positives or triplets.
    components
        (n, 2 + k) the positive component of each input. None: all rows differ in meaning.
    rows
        The number of each row in its source, for messages.
    taught
        (inputs, teacher dim) the teacher's embedding of each input, or None.
    share
        The share of all batches. None: in proportion to its rows.

    Raises
    ------
    ValueError
        If there is no row, or if the share is out of range.
    """

    name: str
    inputs: Sequence[Any]
    columns: Int[np.ndarray, "n width"]
    loss: Loss
    labels: Int[np.ndarray, " n"] | None = None
    scores: Shaped[np.ndarray, " n"] | None = None
    components: Int[np.ndarray, "n width"] | None = None
    rows: Sequence[int] = ()
    taught: Float[np.ndarray, "m dim"] | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.rows if len(self.rows) else range(1, len(self.columns) + 1))
        if not len(self.columns):
            raise ValueError(f"{self.name} has no row to train on. Give at least one.")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(
                f"The share of {self.name} is a number above 0, at most 1, but got {self.share}. Correct it."
            )

    @property
    def kind(self) -> str:
        """``triplets``, ``labels``, ``scores`` or ``positives``."""
        if self.columns.shape[1] > 2:  # noqa: PLR2004
            return "triplets"
        return "labels" if self.labels is not None else "scores" if self.scores is not None else "positives"

    def take(self, rows: Int[np.ndarray, " m"]) -> "Task":
        """The task with only these rows and their inputs."""
        used, places = np.unique(self.columns[rows], return_inverse=True)
        per_row = {name: getattr(self, name) for name in ("labels", "scores", "components")}
        return replace(
            self,
            inputs=[self.inputs[place] for place in used],
            columns=places.reshape(-1, self.columns.shape[1]),
            **{name: values[rows] for name, values in per_row.items() if values is not None},
            rows=[self.rows[row] for row in rows],
            taught=None if self.taught is None else self.taught[used],
        )

    def check(self, *, has_teacher: bool = False) -> None:
        """Raise if the loss cannot learn from this data.

        Raises
        ------
        ValueError
            If it cannot; the message names what it can use.
        """
        loss = type(self.loss).__name__
        check_kind(self.loss, self.kind, self.name)
        if (
            self.kind == "labels"
            and len(np.unique(np.asarray(self.labels))) == 1
            and "positives" not in self.loss.kinds
        ):
            only = int(np.asarray(self.labels)[0])
            remedy = "Use multiple_negatives_ranking, or add negatives" if only else "Add positives"
            raise ValueError(f"{loss} learns from contrast, but every label of {self.name} is {only}. {remedy}.")
        if self.kind == "labels" and isinstance(self.loss, MultipleNegativesRanking) and not np.any(self.labels):
            raise ValueError(f"{loss} learns from positives, but every label of {self.name} is 0. Add positives.")
        if self.kind == "positives" and self._is_one_meaning():
            raise ValueError(
                f"{loss} ranks rows against each other, but all {len(self.columns)} of {self.name} mean the same (one chain "
                "of positives). Add rows with other meanings."
            )
        if (
            isinstance(self.loss, CoSENT | CosineRegression)
            and self.kind == "scores"
            and len(np.unique(np.asarray(self.scores))) == 1
        ):
            raise ValueError(f"Every score of {self.name} is the same, so it teaches nothing. Check the column.")
        if isinstance(self.loss, Distillation) and self.taught is None and not has_teacher:
            raise ValueError(f"{loss} on {self.name} needs a teacher. Name one (teacher=, --teacher).")

    def _is_one_meaning(self) -> bool:
        of = self.columns if self.components is None else self.components
        return len(self.columns) == 1 or bool((of == of[0, 0]).all())


def check_kind(loss: Loss, kind: str, name: str) -> None:
    """Raise if the loss cannot learn from this kind of data.

    Raises
    ------
    ValueError
        If it cannot; the message names losses that can.
    """
    if kind not in loss.kinds:
        raise ValueError(
            f"{type(loss).__name__} learns from {' or '.join(loss.kinds)}, but {name} holds {_CALLED[kind]}. "
            f"Use {' or '.join(SUITABLE[kind])}."
        )


SUITABLE = {
    "labels": ("logistic", "online_contrastive", "contrastive", "cosent", "multiple_negatives_ranking"),
    "scores": ("cosent", "cosine_regression"),
    "positives": ("multiple_negatives_ranking",),
    "triplets": ("multiple_negatives_ranking", "triplet"),
}
_CALLED = {
    "labels": "labelled pairs", "scores": "graded pairs", "positives": "positives without labels", "triplets": "triplets",
}  # fmt: skip
