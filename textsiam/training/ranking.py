"""Losses in which a batch's rows are ranked against each other: in-batch negatives, and the order of scores.

Like all of `textsiam.training.losses`, where they are listed, they see embeddings and never the model.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from textsiam.scoring.similarity import cosine_matrix, paired_cosine
from textsiam.training.embedded import EmbeddedBatch, Scalar


@dataclass(frozen=True)
class MultipleNegativesRanking:
    """Each anchor shall find its positive among all second texts and negatives of the batch: cross-entropy of scaled cosines.

    Henderson et al. 2017, "Efficient natural language response suggestion", equation 4, with the cosine scaled (van den Oord
    et al. 2018, InfoNCE). A candidate of the anchor's own positive component is no negative, and is masked. Of labelled
    pairs the positives are anchors, and every second text is a candidate.

    Parameters
    ----------
    scale
        1 / temperature.
    symmetric
        Let each positive find its anchor too, and take the mean of both.

    Examples
    --------
    >>> rows = torch.eye(2)
    >>> round(float(MultipleNegativesRanking(scale=1.0)(EmbeddedBatch(rows, rows))), 4)  # -log(e / (e + 1))
    0.3133
    """

    scale: float = 20.0
    symmetric: bool = False
    kinds: ClassVar[tuple[str, ...]] = ("positives", "triplets", "labels")

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        anchors = _places(batch.labels == 1) if batch.labels is not None else torch.arange(len(batch.first))
        if not len(anchors):
            return batch.first.sum() * 0.0
        anchors = anchors.to(batch.first.device)
        extra = [] if batch.negatives is None else [batch.negatives.flatten(0, 1)]
        scores = self.scale * cosine_matrix(batch.first[anchors], torch.cat([batch.second, *extra]))
        if batch.components is not None:
            columns = batch.components
            candidates = torch.cat([columns[:, 1], columns[:, 2:].flatten()])
            scores = _masked(scores, columns[anchors, 0][:, None] == candidates[None, :], anchors)
        loss = cross_entropy(scores, anchors)
        if self.symmetric:
            back = scores[:, anchors].T
            loss = (loss + cross_entropy(back, torch.arange(len(back), device=back.device))) / 2
        return loss


@dataclass(frozen=True)
class CoSENT:
    """Pairs that rank higher shall score higher: log(1 + Σ exp(scale · (cos_j - cos_i))) over all i that rank above j.

    Su 2022, "CoSENT: a more efficient sentence vector scheme than Sentence-BERT" (kexue.fm/archives/8847). Only the order of
    labels or scores counts.

    Parameters
    ----------
    scale
        1 / temperature.

    Examples
    --------
    >>> a, b = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> round(float(CoSENT(scale=1.0)(EmbeddedBatch(a, b, labels=torch.tensor([1, 0])))), 4)  # log(1 + 1/e)
    0.3133
    """

    scale: float = 20.0
    kinds: ClassVar[tuple[str, ...]] = ("labels", "scores")

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        scores, targets = self.scale * paired_cosine(batch.first, batch.second), batch.targets
        differences = (scores[None, :] - scores[:, None])[targets[:, None] > targets[None, :]]
        return torch.logsumexp(torch.cat([differences.new_zeros(1), differences]), dim=0)


def _places(mask: Bool[Tensor, " n"]) -> Int[Tensor, " m"]:
    return mask.nonzero().flatten()


def _masked(scores: Float[Tensor, "m c"], same: Bool[Tensor, "m c"], own: Int[Tensor, " m"]) -> Float[Tensor, "m c"]:
    """Scores without the candidates that mean the same as the anchor, but for its own."""
    keep = torch.zeros_like(same).scatter(1, own[:, None], value=True)
    return scores.masked_fill(same & ~keep, float("-inf"))
