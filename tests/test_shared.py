"""On real data, where it lies beside the checkout."""

import numpy as np
import pytest

from textsiam import Siamese, find_duplicates, read_pairs, read_texts
from textsiam.encoding.model_folder.finding import embedded_model
from textsiam.scoring.evidence.scored_pairs import score_pairs

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def questions(shared):
    return read_texts(shared / "qqp_questions.parquet", column="question")


@pytest.mark.parametrize("n_texts", [300, pytest.param(2_000, marks=pytest.mark.long)])
def test_encoder_equals_sentence_transformers_on_real_questions(questions, model, n_texts):
    """Oracle on real questions: largest difference of a coordinate at most 1e-5 in fp32."""
    from sentence_transformers import SentenceTransformer

    rows = np.random.default_rng(0).choice(len(questions), n_texts, replace=False)
    texts = [questions[row] for row in rows.tolist()]
    theirs = SentenceTransformer(str(embedded_model()), device="cpu").encode(texts)
    assert np.abs(model.encode(texts) - theirs).max() <= 1e-5


@pytest.mark.parametrize("n_texts", [1_000, pytest.param(3_000, marks=pytest.mark.long)])
def test_every_pair_of_real_questions_is_found(questions, model, n_texts):
    """Equal to brute force in fp64 on the same vectors."""
    texts = [questions[row] for row in range(n_texts)]
    matches = find_duplicates(model, texts, threshold=0.8)
    vectors = model.encode(texts).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.triu(vectors @ vectors.T, k=1)
    clear = np.abs(scores - 0.8) > 1e-6  # encoded twice: batches may differ in the seventh digit
    assert {(m.left, m.right) for m in matches if clear[m.left, m.right]} == set(
        zip(*(side.tolist() for side in np.nonzero((scores >= 0.8) & clear)), strict=True)
    )
    assert len(matches) > 10


@pytest.mark.long
def test_the_default_keeps_its_promise_on_held_out_pairs(shared, model):
    """On the dev split, which it was not fitted on: the accept precision is not refuted, the probabilities fit."""
    from scipy.stats import binomtest

    dev = read_pairs(shared / "qqp_pairs.parquet", split="dev")
    scored = score_pairs(model, dev)
    accepted = dev.labels[(scored.scores >= model.threshold.value) & ~scored.held]
    assert binomtest(int(accepted.sum()), len(accepted), 0.85, alternative="less").pvalue > 0.01
    rejected = dev.labels[scored.scores < model.reject_threshold.value]
    assert binomtest(int((rejected == 0).sum()), len(rejected), 0.95, alternative="less").pvalue > 0.01
    probabilities = model.calibrated(scored.scores)
    bins = np.array_split(np.argsort(probabilities, kind="stable"), 10)
    error = sum(len(rows) * abs(probabilities[rows].mean() - dev.labels[rows].mean()) for rows in bins) / len(dev)
    assert error < 0.05


def test_bf16_decides_alike_but_near_the_threshold(questions, model):
    """Re-encoded in bf16, a pair's score moves by less than 0.01, so only pairs that near a threshold may change."""
    first = [questions[row] for row in range(300)]
    second = [questions[row] for row in range(300, 600)]
    low = Siamese.load(dtype="bfloat16", device="cpu")
    assert np.abs(low.score(first, second) - model.score(first, second)).max() < 0.01


@pytest.mark.parametrize(
    ("name", "n", "kind"),
    [
        ("qqp_pairs", 16_006, "labels"),
        ("qqp_duplicates", 42_858, "labels"),
        ("mrpc", 3_904, "labels"),
        ("twitter_url", 34_853, "labels"),
        ("paws_wiki", 8_000, "labels"),
        ("stsb", 7_249, "scores"),
        ("sick", 5_000, "scores"),
    ],
)
def test_the_fields_data_sets_are_read_without_options(shared, name, n, kind):
    """Every row of every pair file, nothing set aside, labels or scores recognised."""
    pairs = read_pairs(shared / f"{name}.parquet")
    assert len(pairs) == n
    assert not pairs.set_aside
    assert getattr(pairs, kind) is not None
