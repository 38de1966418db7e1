"""What a loss is given and what it is: a batch after the encoder, and the protocol of what `train` minimises."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor

Scalar = Float[Tensor, ""]

# The kinds of data: pairs with labels, pairs with graded scores, positives alone, triplets.
KINDS = ("labels", "scores", "positives", "triplets")


@dataclass(frozen=True, eq=False)
class EmbeddedBatch:
    """A batch after the encoder.

    Parameters
    ----------
    first, second
        (n, dim) embeddings of each row's two inputs; of a triplet, the anchor and the positive.
    labels
        (n,) of 0 and 1, or None.
    scores
        (n,) graded similarities, scaled to 0 … 1 over the data set, or None.
    negatives
        (n, k, dim) embeddings of k negatives per row, or None.
    components
        (n, 2 + k) the positive component of each input: inputs of one component mean the same. None: all inputs differ.
    taught
        (n, 2, teacher dim) a teacher's embeddings of the first and second inputs, or None.
    """

    first: Float[Tensor, "n dim"]
    second: Float[Tensor, "n dim"]
    labels: Int[Tensor, " n"] | None = None
    scores: Float[Tensor, " n"] | None = None
    negatives: Float[Tensor, "n k dim"] | None = None
    components: Int[Tensor, "n _"] | None = None
    taught: Float[Tensor, "n 2 _"] | None = None

    @property
    def targets(self) -> Shaped[Tensor, " n"]:
        """The scores if there are any, else the labels."""
        found = self.scores if self.scores is not None else self.labels
        if found is None:
            raise ValueError(
                "This loss needs labels or scores, but the batch has neither. Give labelled or graded pairs."
            )
        return found


@runtime_checkable
class Fittable(Protocol):
    """A loss that is fitted to the scores of the start model before the first step."""

    def fitted(self, scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> "Loss":
        """The loss to train with, fitted to these scores and labels."""


@runtime_checkable
class Loss(Protocol):
    """What `train` minimises."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of data that it can use, from `KINDS`."""

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        """One number, smaller is better, differentiable in the embeddings."""
