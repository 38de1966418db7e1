"""Losses: equal to sentence-transformers' where it has them, to hand-worked angles elsewhere; right gradients, always finite."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from textsiam import LOSSES
from textsiam.training.embedded_batch import KINDS, EmbeddedBatch, Fittable, Loss
from textsiam.training.losses import (
    Contrastive,
    CoSENT,
    CosineRegression,
    Distillation,
    Logistic,
    MultipleNegativesRanking,
    OnlineContrastive,
    Triplet,
)

N, DIM = 12, 8


class Given(nn.Module):
    """Stands where sentence-transformers expects its model: the features are the embeddings."""

    def forward(self, features):
        return {"sentence_embedding": features["vectors"]}


def rows(n=N, seed=0, dtype=torch.float64):
    return torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def labels(seed=0):
    return torch.randint(0, 2, (N,), generator=torch.Generator().manual_seed(seed))


def theirs(name, columns, targets=None, **how):
    """The value that sentence-transformers' loss gives these embeddings."""
    from sentence_transformers.sentence_transformer import losses

    loss = getattr(losses, name)(Given(), **how)
    return float(loss([{"vectors": column} for column in columns], targets))


def batch_for(loss, first, second, **extra):
    """A batch that holds what the loss reads."""
    kind = loss.kinds[0] if not isinstance(loss, Distillation) else "positives"
    extra = dict(extra)
    if kind == "labels":
        extra.setdefault("labels", torch.arange(len(first)) % 2)
    if kind == "scores":
        extra.setdefault("scores", torch.linspace(0, 1, len(first), dtype=first.dtype))
    if kind == "triplets":
        extra.setdefault("negatives", rows(2 * len(first), 9, first.dtype).reshape(len(first), 2, DIM))
    if isinstance(loss, Distillation):
        extra.setdefault("taught", rows(2 * len(first), 8, first.dtype).reshape(len(first), 2, DIM))
    return EmbeddedBatch(first, second, **extra)


def made():
    """Every loss of the table, as it is by default, with a second form of those that have one."""
    ready = {name: loss() for name, loss in LOSSES.items()} | {"logistic": Logistic(20.0, 0.3)}
    return ready | {
        "contrastive euclidean": Contrastive(1.5, "euclidean"),
        "online euclidean": OnlineContrastive(1.5, "euclidean"),
        "triplet euclidean": Triplet(5.0, "euclidean"),
        "symmetric": MultipleNegativesRanking(symmetric=True),
        "embeddings": Distillation("embeddings"),
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("ours", "name", "how"),
    [
        (Contrastive(0.5), "ContrastiveLoss", {}),
        (Contrastive(3.0, "euclidean"), "ContrastiveLoss", {"margin": 3.0, "distance": "euclidean"}),
        (OnlineContrastive(0.5), "OnlineContrastiveLoss", {}),
        (CoSENT(), "CoSENTLoss", {}),
        (CosineRegression(), "CosineSimilarityLoss", {}),
    ],
)
def test_pair_losses_equal_sentence_transformers(ours, name, how, seed):
    """On random embeddings and labels, to 1e-5 and closer."""
    from sentence_transformers.sentence_transformer.losses import SiameseDistanceMetric

    if "distance" in how:
        how = {"margin": how["margin"], "distance_metric": SiameseDistanceMetric.EUCLIDEAN}
    a, b, y = rows(seed=seed), rows(seed=seed + 100), labels(seed)
    assert float(ours(EmbeddedBatch(a, b, labels=y))) == pytest.approx(
        theirs(name, [a, b], y.double(), **how), abs=1e-5
    )


@pytest.mark.parametrize("ours", [CoSENT(), CosineRegression()])
def test_graded_losses_equal_sentence_transformers(ours):
    """Scores between 0 and 1 are taken as they are."""
    a, b, grades = rows(), rows(seed=1), torch.linspace(0, 1, N, dtype=torch.float64)
    name = "CoSENTLoss" if isinstance(ours, CoSENT) else "CosineSimilarityLoss"
    assert float(ours(EmbeddedBatch(a, b, scores=grades))) == pytest.approx(theirs(name, [a, b], grades), abs=1e-6)


@pytest.mark.parametrize(("distance", "metric"), [("euclidean", "EUCLIDEAN"), ("cosine", "COSINE")])
def test_triplet_equals_sentence_transformers(distance, metric):
    """One negative a row, as theirs has."""
    from sentence_transformers.sentence_transformer.losses import TripletDistanceMetric

    a, p, n = rows(), rows(seed=1), rows(seed=2)
    ours = float(Triplet(0.7, distance)(EmbeddedBatch(a, p, negatives=n[:, None])))
    how = {"distance_metric": getattr(TripletDistanceMetric, metric), "triplet_margin": 0.7}
    assert ours == pytest.approx(theirs("TripletLoss", [a, p, n], None, **how), abs=1e-5)


def test_ranking_equals_sentence_transformers():
    """In-batch negatives; with hard negatives; symmetric."""
    a, p, n, m = (rows(seed=seed) for seed in range(4))
    plain = float(MultipleNegativesRanking()(EmbeddedBatch(a, p)))
    assert plain == pytest.approx(theirs("MultipleNegativesRankingLoss", [a, p]), abs=1e-6)
    hard = float(MultipleNegativesRanking()(EmbeddedBatch(a, p, negatives=torch.stack([n, m], 1))))
    assert hard == pytest.approx(theirs("MultipleNegativesRankingLoss", [a, p, n, m]), abs=1e-6)
    both = float(MultipleNegativesRanking(symmetric=True)(EmbeddedBatch(a, p)))
    how = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    assert both == pytest.approx(theirs("MultipleNegativesRankingLoss", [a, p], **how), abs=1e-6)


def test_ranking_masks_what_means_the_same():
    """A candidate of the anchor's own component changes nothing, however close it is; one of another component does."""
    a, p = rows(4), rows(4, seed=1)
    p[1] = a[0]  # the closest there is to anchor 0
    components = torch.tensor([[0, 0], [0, 0], [2, 2], [3, 3]])
    loss = MultipleNegativesRanking()
    masked = float(loss(EmbeddedBatch(a, p, components=components)))
    apart = float(loss(EmbeddedBatch(a, p, components=torch.arange(4)[:, None].expand(4, 2))))
    assert masked < apart == pytest.approx(float(loss(EmbeddedBatch(a, p))))
    scores = 20 * torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(p).T
    scores[0, 1] = scores[1, 0] = -math.inf
    assert masked == pytest.approx(float(torch.nn.functional.cross_entropy(scores, torch.arange(4))), abs=1e-9)


def test_ranking_of_labelled_pairs_anchors_the_positives():
    """Negatives' second texts are candidates, their first texts no anchors; a batch without positives costs nothing."""
    a, p = rows(4), rows(4, seed=1)
    y = torch.tensor([1, 0, 1, 0])
    scores = 20 * torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(p).T
    expected = torch.nn.functional.cross_entropy(scores[[0, 2]], torch.tensor([0, 2]))
    loss = MultipleNegativesRanking()
    assert float(loss(EmbeddedBatch(a, p, labels=y))) == pytest.approx(float(expected), abs=1e-9)
    assert float(loss(EmbeddedBatch(a, p, labels=torch.zeros(4, dtype=torch.int64)))) == 0


def test_distillation_matches_similarities_or_embeddings():
    """Equal to the mean squared difference of cosine matrices; 0 for a rotated teacher, whose embeddings differ."""
    a, b = rows(), rows(seed=1)
    turn, _ = torch.linalg.qr(rows(DIM, seed=5))
    taught = torch.stack([a @ turn, b @ turn], 1)
    assert float(Distillation()(EmbeddedBatch(a, b, taught=taught))) == pytest.approx(0, abs=1e-12)
    assert float(Distillation("embeddings")(EmbeddedBatch(a, b, taught=taught))) == pytest.approx(
        float(((torch.cat([a, b]) - torch.cat([a, b]) @ turn) ** 2).mean())
    )
    wide = torch.cat([taught, taught], 2)
    with pytest.raises(ValueError, match="Match similarities instead"):
        Distillation("embeddings")(EmbeddedBatch(a, b, taught=wide))
    assert float(Distillation()(EmbeddedBatch(a, b, taught=wide))) == pytest.approx(0, abs=1e-12)


def test_logistic_is_cross_entropy_and_fits_its_threshold():
    """By hand; and fitted so that the predicted share of positives is the true one. A stated threshold stays."""
    a, b = (
        torch.eye(2, dtype=torch.float64),
        torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64),
    )  # cosines 1, 0.8
    by_hand = (math.log1p(math.exp(-10 * 0.5)) + math.log1p(math.exp(10 * 0.3))) / 2
    assert float(Logistic(10, 0.5)(EmbeddedBatch(a, b, labels=torch.tensor([1, 0])))) == pytest.approx(by_hand)
    rng = np.random.default_rng(0)
    scores, truth = rng.uniform(-0.2, 1, 500), (rng.random(500) < 0.3).astype(np.int64)
    fitted = Logistic(20).fitted(scores, truth)
    assert (1 / (1 + np.exp(-20 * (scores - fitted.threshold)))).mean() == pytest.approx(truth.mean(), abs=1e-3)
    assert Logistic(20, 0.7).fitted(scores, truth).threshold == 0.7
    assert isinstance(Logistic(), Fittable)
    with pytest.raises(ValueError, match="cosine of even odds"):
        Logistic()(EmbeddedBatch(a, b, labels=torch.tensor([1, 0])))


@pytest.mark.parametrize("name", made())
def test_gradients_are_those_of_finite_differences(name):
    """For both columns, in fp64."""
    loss = made()[name]
    first, second = rows(6).requires_grad_(), rows(6, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: loss(batch_for(loss, a, b)), (first, second), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", made())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["equal", "zero", "opposite", "one row"])
def test_losses_and_gradients_are_finite_at_the_edges(name, dtype, case):
    """Equal rows, zero rows, opposite rows, a single row."""
    loss = made()[name]
    first = rows(1 if case == "one row" else 4, dtype=dtype)
    second = {"equal": first, "zero": first * 0, "opposite": -first, "one row": first}[case]
    if case == "zero":
        first = first * 0
    first, second = first.clone().requires_grad_(), second.clone().requires_grad_()
    value = loss(batch_for(loss, first, second))
    assert torch.isfinite(value)
    if value.requires_grad:
        value.backward()
        assert all(column.grad is None or torch.isfinite(column.grad).all() for column in (first, second))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_the_table_keeps_the_contract(name):
    """It is a Loss, names its kinds, says where it comes from and shows itself; the better batch costs less."""
    loss = made()[name]
    assert isinstance(loss, Loss)
    assert set(loss.kinds) <= set(KINDS)
    doc = LOSSES[name].__doc__
    assert ">>>" in doc
    assert any(year in doc for year in map(str, range(2006, 2027)))
    good = torch.eye(8, dtype=torch.float64)[:4]
    other = torch.eye(8, dtype=torch.float64)[4:]
    y = torch.tensor([1, 1, 0, 0])
    right, wrong = torch.cat([good[:2], other[2:]]), torch.cat([other[:2], good[2:]])
    extra = {"labels": y} if "labels" in loss.kinds[:1] else {}
    extra |= {"scores": y.double()} if loss.kinds[:1] == ("scores",) else {}
    if isinstance(loss, Distillation):
        extra = {"taught": torch.stack([good, right], 1)}
    if loss.kinds[0] in ("positives", "triplets"):
        extra, right, wrong = {"negatives": other[:, None]} if loss.kinds[0] == "triplets" else {}, good, other
        extra = {} if loss.kinds[0] == "positives" else extra
    assert float(loss(EmbeddedBatch(good, right, **extra))) < float(loss(EmbeddedBatch(good, wrong, **extra)))


@pytest.mark.parametrize("make", [lambda: Contrastive(distance="hamming"), lambda: Triplet(distance="hamming")])
def test_unknown_distances_are_refused(make):
    """With the ones there are."""
    with pytest.raises(ValueError, match="no distance 'hamming'. Use one of cosine, euclidean"):
        make()


def test_a_loss_says_what_it_misses():
    """Labels, negatives, a teacher."""
    bare = EmbeddedBatch(rows(), rows())
    with pytest.raises(ValueError, match="needs labels or scores"):
        Contrastive()(bare)
    with pytest.raises(ValueError, match="needs negatives"):
        Triplet()(bare)
    with pytest.raises(ValueError, match="needs a teacher"):
        Distillation()(bare)
    with pytest.raises(ValueError, match="similarities or embeddings"):
        Distillation("weights")
