"""What a loss gets and what it is: a batch after the encoder, and the protocol that `train` minimises."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor

Scalar = Float[Tensor, ""]

# What data a loss can use: pairs with labels, with graded scores, positives alone, or triplets.
KINDS = ("labels", "scores", "positives", "triplets")


@dataclass(frozen=True, eq=False)
class EmbeddedBatch:
    """A batch after the encoder.

    Parameters
    ----------
    first, second
        (n, dim) embeddings of each row's two inputs; of triplets the anchor and the positive.
    labels
        (n,) of 0 and 1, or None.
    scores
        (n,) graded similarities scaled to 0 … 1 over the data set, or None.
    negatives
        (n, k, dim) embeddings of k negatives a row, or None.
    components
        (n, 2 + k) the positive component of each input: inputs of one component mean the same. None: all differ.
    taught
        (n, 2, teacher dim) what a teacher embeds the first and second input to, or None.
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
        """Scores where there are any, else labels."""
        found = self.scores if self.scores is not None else self.labels
        if found is None:
            raise ValueError(
                "This loss needs labels or scores, but the batch has neither. Give labelled or graded pairs."
            )
        return found


@runtime_checkable
class Fittable(Protocol):
    """A loss that is fitted to the start's scores before the first step."""

    def fitted(self, scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> "Loss":
        """The loss to train with, for pairs that the start scores so."""


@runtime_checkable
class Loss(Protocol):
    """What `train` minimises."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of data it can use, from `KINDS`."""

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        """One number, smaller is better, differentiable in the embeddings."""
