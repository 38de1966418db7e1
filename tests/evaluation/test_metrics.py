"""Metrics against scikit-learn and scipy; weights are repeated rows; many figures share one set of draws."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as oracle

from textsiam.evaluation import metrics
from textsiam.evaluation.metrics import METRICS, THRESHOLD_METRICS, best_cut, counts_at, precision_at_recall
from textsiam.evaluation.resampling import interval, resample
from textsiam.scoring.evidence.intervals import binomial_interval, bootstrap

GRADED = {"spearman": lambda x, y: stats.spearmanr(x, y)[0], "pearson": lambda x, y: stats.pearsonr(x, y)[0]}


def best_f1_of(labels, scores, sample_weight=None):
    precision, recall, _ = oracle.precision_recall_curve(labels, scores, sample_weight=sample_weight)
    return (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()


def precision_at_recall_of(labels, scores, sample_weight=None):
    precision, recall, _ = oracle.precision_recall_curve(labels, scores, sample_weight=sample_weight)
    return precision[:-1][recall[:-1] >= metrics.RECALL].max()


RANKED = {
    "average_precision": oracle.average_precision_score,
    "roc_auc": oracle.roc_auc_score,
    "best_f1": best_f1_of,
    "precision_at_recall": precision_at_recall_of,
}
AT_A_CUT = {
    "precision": oracle.precision_score,
    "recall": oracle.recall_score,
    "f1": oracle.f1_score,
    "accuracy": oracle.accuracy_score,
    "mcc": oracle.matthews_corrcoef,
}


def made(seed, n=200):
    """Labels, scores with ties, and how often each row counts, sometimes never."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    labels[:2] = 0, 1
    weights = rng.integers(0, 4, n)
    weights[:2] = 1
    return labels, (np.round(rng.random(n) + 0.3 * labels, 1)).astype(np.float32), weights


def test_every_metric_has_its_oracle():
    """A metric in a table is a metric compared with another library's."""
    assert set(METRICS) == {*RANKED, *GRADED}
    assert set(THRESHOLD_METRICS) == set(AT_A_CUT)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", list(RANKED))
def test_ranking_metrics_are_scikit_learns(name, seed):
    """With ties, and with weights of rows."""
    labels, scores, weights = made(seed)
    assert METRICS[name](labels, scores) == pytest.approx(RANKED[name](labels, scores), abs=1e-12)
    ours = METRICS[name](labels, scores, weights=weights)
    assert ours == pytest.approx(RANKED[name](labels, scores, sample_weight=weights), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", list(AT_A_CUT))
def test_metrics_at_a_threshold_are_scikit_learns(name, seed):
    """A score equal to the threshold is accepted."""
    labels, scores, weights = made(seed)
    accepted = scores >= np.float32(0.7)
    assert (scores == np.float32(0.7)).any()
    assert THRESHOLD_METRICS[name](labels, scores, 0.7) == pytest.approx(AT_A_CUT[name](labels, accepted), abs=1e-12)
    ours = THRESHOLD_METRICS[name](labels, scores, 0.7, weights=weights)
    assert ours == pytest.approx(AT_A_CUT[name](labels, accepted, sample_weight=weights), abs=1e-12)


@pytest.mark.parametrize("name", list(GRADED))
def test_correlations_are_scipys(name):
    """With ties among grades and among scores."""
    labels, scores, _ = made(3)
    grades = np.round(4 * scores + labels, 0)
    assert METRICS[name](grades, scores) == pytest.approx(GRADED[name](grades, scores), abs=1e-9)


@given(st.integers(0, 10_000))
def test_a_weight_is_a_repeated_row(seed):
    """So that a bootstrap draw is a set of weights, for every metric of both tables."""
    labels, scores, weights = made(seed, n=30)
    rows = np.repeat(np.arange(30), weights)
    for metric in [*METRICS.values(), *(partial(metric, threshold=0.7) for metric in THRESHOLD_METRICS.values())]:
        np.testing.assert_allclose(
            metric(labels, scores, weights=weights), metric(labels[rows], scores[rows]), atol=1e-12
        )


@given(st.integers(0, 10_000))
def test_the_order_of_rows_changes_nothing(seed):
    """Neither of a ranking metric nor of a correlation: ties are one step."""
    labels, scores, _ = made(seed, n=30)
    order = np.random.default_rng(seed).permutation(30)
    for metric in METRICS.values():
        np.testing.assert_allclose(metric(labels[order], scores[order]), metric(labels, scores), atol=1e-12)


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], []])
def test_one_label_alone_defines_no_ranking(name, labels):
    """NaN, and no warning; likewise for no rows at all."""
    labels = np.array(labels, dtype=int)
    assert np.isnan(METRICS[name](labels, np.linspace(0, 1, len(labels))))


def test_what_a_threshold_leaves_undefined():
    """Nothing accepted has no precision, no positive has no recall; F1 of nothing found is 0, MCC of one side NaN."""
    labels, scores = np.array([0, 1]), np.array([0.1, 0.2])
    at = {name: metric(labels, scores, 0.9) for name, metric in THRESHOLD_METRICS.items()}
    assert np.isnan(at["precision"])
    assert np.isnan(at["mcc"])
    assert (at["recall"], at["f1"], at["accuracy"]) == (0, 0, 0.5)
    assert np.isnan(THRESHOLD_METRICS["recall"](np.zeros(2, dtype=int), scores, 0.15))
    assert np.isnan(THRESHOLD_METRICS["f1"](np.zeros(2, dtype=int), scores, 0.9))


def test_the_best_cut_reaches_the_best_f1():
    """The threshold that is named is the one that reaches it, the highest of equals."""
    labels, scores, _ = made(1)
    assert THRESHOLD_METRICS["f1"](labels, scores, best_cut(labels, scores)) == pytest.approx(
        METRICS["best_f1"](labels, scores)
    )
    assert np.isnan(best_cut(np.ones(3, dtype=int), np.arange(3.0)))


def test_precision_at_another_recall():
    """All positives found, or just one."""
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6])
    assert precision_at_recall(labels, scores, recall=1.0) == pytest.approx(2 / 3)
    assert precision_at_recall(labels, scores, recall=0.5) == 1


def test_counts_add_up():
    """Every row is in one of the four."""
    labels, scores, weights = made(2)
    assert sum(counts_at(labels, scores, 0.7, weights)) == weights.sum()


def test_draws_are_those_of_the_plain_bootstrap():
    """Seed for seed the interval of `intervals.bootstrap`, which repeats rows."""
    labels, scores, _ = made(4)
    components = np.random.default_rng(4).integers(0, 60, len(labels))
    drawn = resample({name: partial(METRICS[name], labels, scores) for name in RANKED}, components, n_draws=50, seed=7)
    for name, values in drawn.items():
        plain = bootstrap(METRICS[name], labels, scores, components=components, n_draws=50, seed=7)
        np.testing.assert_allclose(interval(values, components), plain, atol=1e-12)


def test_a_share_of_all_has_exact_bounds():
    """Where no draw can differ the bootstrap would say that nothing is unsure; the bounds are binomial instead."""
    components = np.array([0, 0, 1, 2, 3, 4, 5, 6])
    told = interval(np.ones(20), components, np.ones(8, dtype=bool))
    assert told == binomial_interval(7, 7)
    assert interval(np.zeros(20), components, np.arange(8) < 3).high == binomial_interval(0, 2).high
    assert interval(np.ones(20), components) == (1, 1, 1)


def test_few_components_and_undefined_figures_have_no_bounds():
    """Fewer than five components say nothing of another sample; an undefined figure is NaN throughout."""
    assert np.isnan(interval(np.ones(9), np.arange(4)).low)
    assert np.isnan(interval(np.full(9, np.nan), np.arange(9))).all()
    assert np.isnan(resample({"x": np.sum}, np.zeros(0, dtype=int), n_draws=3)["x"]).all()


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.long), 6])
def test_intervals_hold_the_true_figure_about_as_often_as_they_say(size):
    """Of 150 samples of 1,200 pairs, independent or six a component, whose true figures are known, 87 % and more."""
    rng = np.random.default_rng(size)

    def sample(n):
        base = rng.random(n // size)
        scores = np.repeat(base, size) + (size > 1) * rng.normal(0, 0.05, n)
        labels = (np.repeat(rng.random(n // size), size) < scores).astype(int)
        return labels, scores, np.repeat(np.arange(n // size), size)

    figures = {
        "average_precision": metrics.average_precision,
        "precision": lambda labels, scores, weights: metrics.precision(labels, scores, 0.8, weights),
    }
    labels, scores, _ = sample(300_000)
    truth = {name: of(labels, scores, np.ones(len(labels))) for name, of in figures.items()}
    held = {name: [] for name in figures}
    for _ in range(150):
        labels, scores, components = sample(1_200)
        drawn = resample({name: partial(of, labels, scores) for name, of in figures.items()}, components, n_draws=150)
        for name, values in drawn.items():
            told = interval(values, components)
            held[name].append(told.low <= truth[name] <= told.high)
    assert all(0.87 <= np.mean(of) <= 0.995 for of in held.values()), {name: np.mean(of) for name, of in held.items()}
