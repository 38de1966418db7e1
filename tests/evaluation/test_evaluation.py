"""Evaluating: figures at the model's own thresholds, slices, suspects, worst pairs, baselines, and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as oracle

from textsiam import Pairs, Siamese, Threshold, read_pairs
from textsiam.data.hashes import TextHashes
from textsiam.errors import UnreadableInput
from textsiam.evaluation.evaluation import evaluate
from textsiam.evaluation.measures import MEASURES
from textsiam.evaluation.slices import SLICES
from textsiam.samples import PAIRS
from textsiam.scoring.evidence.scored_pairs import score_pairs

QUICK = dict(n_draws=40, n_worst=1)


@pytest.fixture(scope="module")
def model(cosine):
    """Decides by cosine alone: what is tested here does not depend on what decides."""
    return cosine


@pytest.fixture(scope="module")
def samples():
    return read_pairs(PAIRS)


@pytest.fixture(scope="module")
def evaluation(model, samples):
    return evaluate(model, samples, **QUICK)


@pytest.fixture
def bare(model):
    """The encoder alone: no calibrator, no threshold."""
    return Siamese(model.encoder)


def test_figures_are_scikit_learns_at_the_models_own_threshold(model, samples, evaluation):
    """Nothing is fitted on the pairs that judge."""
    scores = model.score(samples.first, samples.second)
    accepted = scores >= np.float32(model.threshold.value)
    expected = {
        "average_precision": oracle.average_precision_score(samples.labels, scores),
        "roc_auc": oracle.roc_auc_score(samples.labels, scores),
        "precision": oracle.precision_score(samples.labels, accepted),
        "recall": oracle.recall_score(samples.labels, accepted),
        "f1": oracle.f1_score(samples.labels, accepted),
        "accuracy": oracle.accuracy_score(samples.labels, accepted),
        "mcc": oracle.matthews_corrcoef(samples.labels, accepted),
        "brier": oracle.brier_score_loss(samples.labels, model.calibrated(scores)),
        "reject_precision": 1 - samples.labels[scores < np.float32(model.reject_threshold.value)].mean(),
    }
    assert {name: evaluation[name].value for name in expected} == pytest.approx(expected, abs=1e-5)


def test_shares_and_the_f1_missed_add_up(evaluation):
    """Accepted, reviewed and rejected are all pairs; own F1 and the F1 missed are the best that a cut fitted here reaches."""
    shares = [evaluation[f"share_{name}"].value for name in ("accept", "review", "reject")]
    assert sum(shares) == pytest.approx(1)
    assert evaluation["f1"].value + evaluation["f1_regret"].value == pytest.approx(evaluation.model.refitted["f1"])


def test_every_figure_has_its_words_and_holds_its_value(evaluation):
    """In the table's order, each within its own bounds."""
    assert list(evaluation.metrics) == [name for name in MEASURES if name in evaluation.metrics]
    for figure in evaluation.metrics.values():
        assert figure.low - 1e-9 <= figure.value <= figure.high + 1e-9


@pytest.mark.parametrize("seed", range(2))
def test_order_and_sides_change_nothing(model, samples, evaluation, seed):
    """Shuffled rows, and the two texts of a pair swapped: the same figures, bounds, slices and suspects."""
    order = np.random.default_rng(seed).permutation(len(samples))
    other = samples.take(order)
    swapped = Pairs(other.second, other.first, labels=other.labels, rows=other.rows)
    again = evaluate(model, swapped, **QUICK)
    for name, figure in evaluation.metrics.items():
        np.testing.assert_allclose(again[name], figure, atol=1e-4, err_msg=name)
    assert [(one.name, one.n) for one in again.slices] == [(one.name, one.n) for one in evaluation.slices]
    assert [one.row for one in again.suspects] == [one.row for one in evaluation.suspects]


def test_it_says_what_it_was_measured_on(model, samples, evaluation):
    """Pairs, components, positives, the model's fingerprint and threshold, seed and draws."""
    on = evaluation.measured_on
    assert (on["pairs"], on["positives"], on["seed"], on["n_draws"]) == (80, int(samples.labels.sum()), 0, 40)
    assert on["model"]["fingerprint"] == model.encoder.fingerprint
    assert on["model"]["accept"] == str(model.threshold)
    assert str(model.threshold) in str(evaluation)
    assert "average precision" in str(evaluation).lower()


def test_a_model_differs_in_nothing_from_itself(model, samples):
    """Every paired difference is zero, without spread, but for the calibration error's, which takes the two as independent."""
    told = evaluate(model, samples, baseline=model, **QUICK)
    assert set(told.differences) == set(told.metrics)
    for name, difference in told.differences.items():
        assert difference.value == 0
        assert name == "calibration_error" or (difference.low, difference.high) == (0, 0)
    assert "difference" in str(told)


def test_a_baseline_is_judged_at_its_own_threshold_on_the_same_draws(model, samples):
    """Difference of figures = figure of differences; the order of scores is that of cosine, so ranking does not differ."""
    baseline = replace(
        model, similarity="euclidean", calibrator=None, threshold=Threshold(-0.6, "euclidean"), reject_threshold=None
    )
    told = evaluate(model, samples, baseline=baseline, **QUICK)
    assert told.differences["average_precision"].value == pytest.approx(0, abs=1e-3)
    expected = told["recall"].value - told.baseline.metrics["recall"].value
    assert told.differences["recall"].value == pytest.approx(expected)
    assert expected < 0
    assert "brier" not in told.differences


def test_rows_that_the_baseline_was_trained_on_judge_neither(model, samples):
    """They are set aside for both, and said."""
    seen = TextHashes.of(samples.first[:5])
    told = evaluate(model, samples, baseline=replace(model, training_texts=seen), **QUICK)
    n_seen = int(seen.holds(samples.first).astype(bool).__or__(seen.holds(samples.second)).sum())
    assert told.measured_on["pairs"] == len(samples) - n_seen
    assert told.measured_on["rows_seen_by_baseline"] == n_seen
    assert any("baseline was trained on" in note for note in told.notes)
    assert list(told.model.scored.pairs.rows) == list(told.baseline.scored.pairs.rows)


def test_a_model_without_threshold_or_calibrator_is_ranked_only(bare, samples):
    """No decision and no probability to judge; both are said."""
    told = evaluate(bare, samples, **QUICK)
    assert set(told.metrics) == {"average_precision", "roc_auc", "precision_at_recall"}
    assert any("never certified" in note for note in told.notes)
    assert any("no calibrator" in note for note in told.notes)


def test_no_threshold_that_qualifies_leaves_all_for_review(bare, samples):
    """Shares are told; precision and recall are absent, and why is said."""
    told = evaluate(replace(bare, threshold=Threshold(None)), samples, **QUICK)
    assert told["share_review"].value == 1
    assert told["share_review"].low > 0.9
    assert "precision" not in told.metrics
    assert any("qualifies" in note for note in told.notes)


def test_graded_pairs_are_correlated(model, samples):
    """Spearman and Pearson; no labels, no suspects; the worst have ranks far from their grades'."""
    grades = np.linspace(0, 5, len(samples))
    told = evaluate(model, Pairs(samples.first, samples.second, scores=grades), **QUICK)
    assert {"spearman", "pearson"} < set(told.metrics)
    assert "average_precision" not in told.metrics
    assert told.suspects == ()
    assert [pair.is_close for pair in told.worst] == [True, False]
    json.dumps(told.to_json(), allow_nan=False)


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_alone_is_said(model, samples, label):
    """Ranking is not defined, the rest is; nothing fails."""
    told = evaluate(model, samples.take(np.flatnonzero(samples.labels == label)), **QUICK)
    assert np.isnan(told["roc_auc"].value)
    assert any(f"All labels are {label}" in note for note in told.notes)
    assert "not defined" in str(told)
    json.dumps(told.to_json(), allow_nan=False)


def test_tiny_inputs_have_no_bounds(model):
    """One pair: values where they are defined, no interval, and a note that says so."""
    told = evaluate(model, Pairs(["How do I pay?"], ["How can I pay?"], labels=[1]), **QUICK)
    assert told["share_reject"].value == 0
    assert np.isnan(told["share_reject"].low)
    assert any("Only 1 components" in note for note in told.notes)


def test_bare_pairs_and_bad_numbers_are_refused(model):
    """Pairs with neither labels nor grades judge nothing; a bootstrap needs a draw."""
    with pytest.raises(UnreadableInput, match="neither labels nor graded scores"):
        evaluate(model, Pairs(["a"], ["b"]))
    with pytest.raises(ValueError, match="n_draws"):
        evaluate(model, Pairs(["a"], ["b"], labels=[1]), n_draws=0)


def test_scored_pairs_are_taken_as_they_are(model, samples, evaluation):
    """No second encoding, the same figures."""
    told = evaluate(model, score_pairs(model, samples), **QUICK)
    assert told["average_precision"] == pytest.approx(evaluation["average_precision"], abs=1e-6)


def test_json_is_whole_and_strict(evaluation, tmp_path):
    """No NaN; every figure has three numbers; the file holds what `to_json` tells."""
    evaluation.save(tmp_path / "told.json")
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert set(told["metrics"]) == set(evaluation.metrics)
    assert all(len(figure) == 3 for figure in told["metrics"].values())
    assert [one["name"] for one in told["slices"]] == list(SLICES)
    assert len(told["worst"]) == 2
    assert told["reliability"]


def test_progress_names_each_stage(model, samples):
    """Done never exceeds total."""
    seen = []
    evaluate(model, samples, baseline=model, progress=lambda *told: seen.append(told), **QUICK)
    assert {stage for stage, _, _ in seen} == {"encode", "baseline", "resample", "slices", "explain"}
    assert all(0 <= done <= total for _, done, total in seen)


@pytest.mark.shared
def test_on_real_pairs_the_default_keeps_what_it_promises(model, shared):
    """The first 400 of QQP's dev pairs: precision is not clearly below the level that the default was certified for."""
    pairs = read_pairs(shared / "qqp_pairs.parquet", split="dev").take(range(400))
    told = evaluate(model, pairs, n_draws=200, n_worst=0)
    level = float(model.threshold.guarantee.split("≥ ")[1].split()[0])
    assert told["precision"].high >= level
    assert told["reject_precision"].high >= 0.95
    assert told["average_precision"].value > 0.7
