"""`LOSSES` on embeddings. They never see the model, so each is a few lines and serves any tower.

A loss is given an `EmbeddedBatch` and returns one number to minimise. It names the kinds of data that it can use; a run is
refused before it starts if the loss cannot use the data. Scores come from `textsiam.scoring.similarity`, by the same code as at
inference; its gradients are finite on equal and on zero rows.

First are the losses that rank the rows of a batch against each other, then those on distances, then the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss, relu

from textsiam.scoring.similarity import cosine_matrix, paired_cosine, paired_euclidean
from textsiam.training.embedded_batch import KINDS, EmbeddedBatch, Loss, Scalar

# Distances are reversed similarities: 0 for equal rows.
_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": lambda first, second: 1 - paired_cosine(first, second),
    "euclidean": lambda first, second: -paired_euclidean(first, second),
}


@dataclass(frozen=True)
class MultipleNegativesRanking:
    """Each anchor must find its positive among all second texts and negatives of the batch: cross-entropy of scaled cosines.

    Henderson et al. 2017, "Efficient natural language response suggestion", equation 4, with the cosine scaled (van den Oord
    et al. 2018, InfoNCE). A candidate of the anchor's own positive component is no negative and is masked. With labelled
    pairs, the positives are anchors, and every second text is a candidate.

    Parameters
    ----------
    scale
        1 / temperature.
    symmetric
        Each positive must also find its anchor; the loss is the mean of both directions.

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
        anchors = torch.arange(len(batch.first)) if batch.labels is None else (batch.labels == 1).nonzero().flatten()
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
    """Pairs that rank higher must score higher: log(1 + Σ exp(scale · (cos_j - cos_i))) over all i that rank above j.

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


def _masked(scores: Float[Tensor, "m c"], same: Bool[Tensor, "m c"], own: Int[Tensor, " m"]) -> Float[Tensor, "m c"]:
    """Scores without the candidates that mean the same as the anchor, except its own positive."""
    keep = torch.zeros_like(same).scatter(1, own[:, None], value=True)
    return scores.masked_fill(same & ~keep, float("-inf"))


@dataclass(frozen=True)
class _DistanceLoss:
    """What the losses on distances share: a margin, and a distance by name."""

    margin: float = 0.5
    distance: str = "cosine"

    def __post_init__(self) -> None:
        if self.distance not in _DISTANCES:
            raise ValueError(f"There is no distance {self.distance!r}. Use one of {', '.join(_DISTANCES)}.")

    def _apart(self, first: Float[Tensor, "n dim"], second: Float[Tensor, "n dim"]) -> Float[Tensor, " n"]:
        return _DISTANCES[self.distance](first, second)


@dataclass(frozen=True)
class Contrastive(_DistanceLoss):
    """Positives are pulled together, negatives pushed apart up to `margin`: the mean of ½ y d² + ½ (1 - y) max(0, margin - d)².

    Hadsell, Chopra & LeCun 2006, "Dimensionality reduction by learning an invariant mapping", equation 4.

    Parameters
    ----------
    margin
        Negatives farther apart than this cost nothing. Cosine distances lie in 0 … 2.
    distance
        ``cosine`` (1 - cosine) or ``euclidean``.

    Examples
    --------
    >>> equal = torch.tensor([[1.0, 0.0]])
    >>> float(Contrastive(margin=0.5)(EmbeddedBatch(equal, equal, labels=torch.tensor([0]))))
    0.125
    """

    kinds: ClassVar[tuple[str, ...]] = ("labels",)

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        d, y = self._apart(batch.first, batch.second), batch.targets
        return (0.5 * (y * d**2 + (1 - y) * relu(self.margin - d) ** 2)).mean()


@dataclass(frozen=True)
class OnlineContrastive(_DistanceLoss):
    """`Contrastive` summed over the hard pairs of a batch: positives farther apart than the closest negative, and vice versa.

    Hard pairs are those of sentence-transformers (Reimers & Gurevych 2019, ``OnlineContrastiveLoss``). The loss is Hadsell's
    equation 4 without the half. It is a sum because the number of hard pairs falls as training succeeds.

    Parameters
    ----------
    margin, distance
        As for `Contrastive`.

    Examples
    --------
    >>> a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> float(OnlineContrastive()(EmbeddedBatch(a, b, labels=torch.tensor([1, 0]))))  # all well apart
    0.0
    """

    kinds: ClassVar[tuple[str, ...]] = ("labels",)

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        d, same = self._apart(batch.first, batch.second), batch.targets == 1
        positive, negative = d[same], d[~same]
        # With one pair of a label there is no extreme to compare with: the mean of the other label stands in.
        farthest = positive.max() if len(positive) > 1 else negative.mean()
        closest = negative.min() if len(negative) > 1 else positive.mean()
        return (positive[positive > closest] ** 2).sum() + (
            relu(self.margin - negative[negative < farthest]) ** 2
        ).sum()


@dataclass(frozen=True)
class Logistic:
    """The scaled cosine as the log-odds of meaning the same: mean binary cross-entropy of σ(scale · (cos - threshold)).

    Zhai et al. 2023, "Sigmoid loss for language image pre-training", equation 1, on given pairs, with a fixed scale and bias.
    Every pair counts, hard or easy, and scores move close to their probabilities.

    Parameters
    ----------
    scale
        Steepness: at 20 the odds change by e for every 0.05 of cosine.
    threshold
        The cosine of even odds. None: `train` fits it to the scores of the start model (see `fitted`).

    Examples
    --------
    >>> equal = torch.tensor([[1.0, 0.0]])
    >>> round(float(Logistic(20.0, 0.8)(EmbeddedBatch(equal, equal, labels=torch.tensor([1])))), 4)  # log(1 + e⁻⁴)
    0.0181
    """

    scale: float = 20.0
    threshold: float | None = None
    kinds: ClassVar[tuple[str, ...]] = ("labels",)

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        if self.threshold is None:
            raise ValueError("This loss needs the cosine of even odds, but has none. Give a threshold, or call fitted.")
        odds = self.scale * (paired_cosine(batch.first, batch.second) - self.threshold)
        return binary_cross_entropy_with_logits(odds, batch.targets.to(odds.dtype))

    def fitted(self, scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> "Logistic":
        """The loss with the threshold at which these cosines predict as many positives as there are; a given one is kept."""
        from scipy.optimize import brentq
        from scipy.special import expit

        share = float(np.clip(np.mean(labels), 0.01, 0.99))
        found = brentq(lambda t: float(expit(self.scale * (scores - t)).mean()) - share, -3.0, 3.0)
        return self if self.threshold is not None else Logistic(self.scale, round(found, 4))


@dataclass(frozen=True)
class Triplet(_DistanceLoss):
    """The anchor must be closer to its positive than to each negative by `margin`: mean of max(0, d(a, p) - d(a, n) + margin).

    Schroff, Kalenichenko & Philbin 2015, "FaceNet", equation 3 (distances there are squared; here they are not).

    Examples
    --------
    >>> a, n = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0]]])
    >>> float(Triplet(margin=0.5)(EmbeddedBatch(a, a, negatives=n)))
    0.0
    """

    margin: float = 0.3
    kinds: ClassVar[tuple[str, ...]] = ("triplets",)

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        if batch.negatives is None:
            raise ValueError("The triplet loss needs negatives, but the batch has none. Give triplets.")
        n, k, dim = batch.negatives.shape
        anchors = batch.first[:, None].expand(n, k, dim).reshape(n * k, dim)
        apart = self._apart(anchors, batch.negatives.reshape(n * k, dim)).reshape(n, k)
        return relu(self._apart(batch.first, batch.second)[:, None] - apart + self.margin).mean()


@dataclass(frozen=True)
class CosineRegression:
    """The cosine must equal the score (scaled to 0 … 1) or the label: the mean squared difference.

    Reimers & Gurevych 2019, "Sentence-BERT", section 3, regression objective.

    Examples
    --------
    >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> float(CosineRegression()(EmbeddedBatch(a, b, scores=torch.tensor([0.5]))))
    0.25
    """

    kinds: ClassVar[tuple[str, ...]] = ("scores", "labels")

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        scores = paired_cosine(batch.first, batch.second)
        return mse_loss(scores, batch.targets.to(scores.dtype))


@dataclass(frozen=True)
class Distillation:
    """The model embeds as a teacher does: it matches the teacher's embeddings, or only the similarities between them.

    ``embeddings``: the mean squared difference (Reimers & Gurevych 2020, "Making monolingual sentence embeddings
    multilingual", equation 1); both need the same dimension. ``similarities``: the mean squared difference between
    the two matrices of cosines of all the batch's texts (Tung & Mori 2019, "Similarity-preserving knowledge
    distillation", equation 4, on cosines); the dimensions may differ.

    Parameters
    ----------
    match
        ``similarities`` or ``embeddings``.

    Examples
    --------
    >>> rows = torch.eye(2)
    >>> float(Distillation()(EmbeddedBatch(rows, rows, taught=torch.stack([rows, rows], 1))))
    0.0
    """

    match: str = "similarities"
    kinds: ClassVar[tuple[str, ...]] = KINDS

    def __post_init__(self) -> None:
        if self.match not in ("similarities", "embeddings"):
            raise ValueError(
                f"Distillation matches similarities or embeddings, but got {self.match!r}. Name one of them."
            )

    def __call__(self, batch: EmbeddedBatch) -> Scalar:
        if batch.taught is None:
            raise ValueError("Distillation needs a teacher, but none was given. Name one (teacher=, --teacher).")
        learned = torch.cat([batch.first, batch.second])
        taught = torch.cat([batch.taught[:, 0], batch.taught[:, 1]])
        if self.match == "similarities":
            return mse_loss(cosine_matrix(learned, learned), cosine_matrix(taught, taught))
        self.check_dims(learned.shape[1], taught.shape[1])
        return mse_loss(learned, taught)

    def check_dims(self, student: int, teacher: int) -> None:
        """Raise if embeddings of these dimensions cannot be matched.

        Raises
        ------
        ValueError
            If embeddings are matched and the dimensions differ.
        """
        if self.match == "embeddings" and student != teacher:
            raise ValueError(
                f"The teacher embeds into {teacher} dimensions, the student into {student}: their embeddings cannot match. "
                "Match similarities instead."
            )


LOSSES: dict[str, type[Loss]] = {
    "logistic": Logistic,
    "contrastive": Contrastive,
    "online_contrastive": OnlineContrastive,
    "triplet": Triplet,
    "multiple_negatives_ranking": MultipleNegativesRanking,
    "cosent": CoSENT,
    "cosine_regression": CosineRegression,
    "distillation": Distillation,
}
