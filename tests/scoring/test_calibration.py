"""Calibration: the three methods against scikit-learn, what is chosen, and how errors are measured."""

import numpy as np
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from textsiam.errors import UnreadableInput
from textsiam.scoring.calibration import Calibrator
from textsiam.scoring.evidence.calibration_fit import CALIBRATIONS, fit_calibrator
from textsiam.scoring.evidence.intervals import binomial_interval, mean_interval, share_interval
from textsiam.scoring.evidence.reliability import brier_score, calibration_error, reliability_curve


def logistic(n, slope=12, middle=0.6, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    return scores, (rng.random(n) < 1 / (1 + np.exp(-slope * (scores - middle)))).astype(int)


@pytest.mark.parametrize("method", ["isotonic", "sigmoid", "temperature"])
def test_methods_are_scikit_learns(method):
    """As CalibratedClassifierCV fits them on the same decision values."""
    if method == "temperature" and [*map(int, sklearn.__version__.split(".")[:2])] < [1, 8]:
        pytest.skip("this scikit-learn does not scale by a temperature")
    scores, labels = logistic(3_000)
    logits = 6 * (scores - 0.5)  # a decision function, which temperature scaling asks for
    raw = LogisticRegression(C=1e9).fit(logits[:, None], logits > 0)
    raw.coef_, raw.intercept_ = np.array([[1.0]]), np.array([0.0])
    theirs = CalibratedClassifierCV(FrozenEstimator(raw), method=method).fit(logits[:, None], labels)
    grid = np.linspace(logits.min(), logits.max(), 200)
    ours = np.interp(grid, *CALIBRATIONS[method](logits, labels))
    np.testing.assert_allclose(ours, theirs.predict_proba(grid[:, None])[:, 1], atol=5e-3)


@pytest.mark.parametrize("method", list(CALIBRATIONS))
def test_every_method_rises_and_survives_json(method):
    """Knots that a `Calibrator` takes, whatever the labels."""
    scores, labels = logistic(400)
    for told in (labels, 1 - labels):
        calibrator = fit_calibrator(scores, told, method=method)
        assert (np.diff(calibrator(np.linspace(-2, 2, 400))) >= 0).all()
        assert Calibrator.from_json(calibrator.to_json()) == calibrator


def test_the_best_on_held_out_components_is_chosen():
    """A sigmoid for few labels of a logistic truth; isotonic regression for a truth with a step."""
    assert fit_calibrator(*logistic(150)).evidence["method"] == "sigmoid"
    rng = np.random.default_rng(0)
    scores = rng.random(4_000)
    step = (rng.random(4_000) < np.where(scores > 0.9, 0.95, 0.3)).astype(int)
    evidence = fit_calibrator(scores, step).evidence
    assert evidence["method"] == "isotonic"
    assert evidence["held_out"]["brier"]["isotonic"][0] < evidence["held_out"]["brier"]["sigmoid"][0]


def test_components_are_held_out_together():
    """Copies of a row in another fold would flatter the most flexible method: with components they do not."""
    rng = np.random.default_rng(1)
    scores = np.repeat(rng.random(60), 20)
    labels = np.repeat((rng.random(60) < 0.5).astype(int), 20)
    components = np.repeat(np.arange(60), 20)
    flattered = fit_calibrator(scores, labels, method="isotonic").evidence["held_out"]["brier"]["isotonic"][0]
    honest = fit_calibrator(scores, labels, components, method="isotonic").evidence["held_out"]["brier"]["isotonic"][0]
    assert flattered < honest - 0.02
    assert honest > 0.24


def test_the_same_probability_means_the_same_for_any_score():
    """Scores on another scale, calibrated anew: the same probabilities."""
    scores, labels = logistic(5_000)
    told = fit_calibrator(scores, labels, method="isotonic")(scores)
    again = fit_calibrator(100 * scores**3 - 40, labels, method="isotonic")(100 * scores**3 - 40)
    assert np.abs(told - again).mean() < 1e-3


@pytest.mark.parametrize(
    ("scores", "labels", "told"),
    [
        (np.arange(10) / 10, np.ones(10), "Both labels are needed"),
        (np.arange(5) / 5, np.array([0, 0, 0, 1, 1]), "at least 5 rows of each label"),
        (np.full(20, 0.5), np.arange(20) % 2, "all 20 are 0.5000"),
        (np.r_[np.nan, np.arange(19) / 19], np.arange(20) % 2, "1 of 20 scores are not finite"),
        (np.arange(20) / 20, np.arange(20) % 3, "Labels are 0 or 1"),
    ],
)
def test_useless_labels_are_refused_with_the_reason(scores, labels, told):
    """One label, five labels, equal scores, NaN, labels outside {0, 1}."""
    with pytest.raises(UnreadableInput, match=told):
        fit_calibrator(scores, labels)


def test_an_unknown_method_is_refused():
    """With the names there are."""
    with pytest.raises(ValueError, match="auto, isotonic, sigmoid, temperature"):
        fit_calibrator(*logistic(100), method="beta")


def test_brier_is_scikit_learns_and_its_interval_covers():
    """Value exact; the interval holds the mean of a large population in about 95 of 100 samples."""
    rng = np.random.default_rng(0)
    told, labels = rng.random(200), rng.integers(0, 2, 200)
    assert brier_score(told, labels).value == pytest.approx(brier_score_loss(labels, told))
    held = []
    for _ in range(300):
        components = np.repeat(np.arange(60), 4)
        values = np.repeat(rng.normal(1, 1, 60), 4) + rng.normal(0, 0.3, 240)
        interval = mean_interval(values, components)
        held.append(interval.low <= 1 <= interval.high)
    assert 0.9 <= np.mean(held) <= 0.99


def test_calibration_error_is_not_inflated_by_chance():
    """Of perfect probabilities 10 bins of 50 rows show .05 by chance alone; debiased it is near 0, and 0 is in the interval."""
    rng = np.random.default_rng(0)
    values, plain, held = [], [], []
    for _ in range(200):
        told = rng.random(500)
        labels = (rng.random(500) < told).astype(int)
        error = calibration_error(told, labels)
        values.append(error.value)
        held.append(error.low == 0)
        curve = reliability_curve(told, labels)
        plain.append(sum(one.n * abs(one.share.value - one.probability) for one in curve) / 500)
    assert np.mean(plain) > 0.04
    assert np.mean(values) < 0.02
    assert np.mean(held) > 0.88


@pytest.mark.parametrize("size", [1, 5])
def test_calibration_error_finds_the_true_one(size):
    """Probabilities a tenth too high: the error is .1, and the interval holds it, also when rows depend on each other."""
    rng, values, held = np.random.default_rng(size), [], []
    for _ in range(150):
        n = 3_000
        components = np.repeat(np.arange(n // size), size)
        told = np.repeat(0.15 + 0.8 * rng.random(n // size), size)
        labels = (np.repeat(rng.random(n // size), size) < told - 0.1).astype(int)
        error = calibration_error(told, labels, components)
        values.append(error.value)
        held.append(error.low <= 0.1 <= error.high)
    assert np.mean(values) == pytest.approx(0.1, abs=0.01)
    assert np.mean(held) >= 0.85


def test_ties_of_probability_stay_in_one_bin():
    """In a file sorted by label, rows of one probability would otherwise fall into bins of one label each."""
    told, labels = np.full(1_000, 0.5), np.repeat([0, 1], 500)
    assert calibration_error(told, labels).value == pytest.approx(0, abs=1e-9)
    assert [one.n for one in reliability_curve(told, labels)] == [1_000]


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (3, 17), (59, 59)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(hits, n):
    """As scipy's binomtest gives it."""
    from scipy.stats import binomtest

    told = binomtest(hits, n).proportion_ci(0.95)
    np.testing.assert_allclose(binomial_interval(hits, n), (hits / n, told.low, told.high), atol=1e-9)


def test_an_interval_of_a_share_is_neither_empty_nor_beyond_1():
    """Six of six say little; near 0 it holds the true share as often as it says."""
    assert share_interval(np.ones(6, dtype=bool)).low == pytest.approx(0.5407, abs=1e-4)
    rng = np.random.default_rng(0)
    held = [(told := share_interval(rng.random(40) < 0.05)).low <= 0.05 <= told.high for _ in range(500)]
    assert np.mean(held) >= 0.93


def test_a_giant_component_bounds_nothing():
    """300 of 400 rows in one component: a figure, and no interval that would pretend to know."""
    components = np.r_[np.zeros(300, dtype=int), np.arange(1, 101)]
    values = np.random.default_rng(0).random(400)
    assert np.isnan(mean_interval(values, components).low)
    assert np.isnan(calibration_error(values, (values > 0.5).astype(int), components).low)


def test_few_components_give_none_and_no_nan():
    """What goes into JSON is None."""
    scores, labels = logistic(40)
    held_out = fit_calibrator(scores, labels, np.arange(40) % 4).evidence["held_out"]
    assert held_out["calibration_error"][1:] == [None, None]


def test_nothing_gives_nan():
    """No rows, no figure."""
    nothing = np.zeros(0)
    for told in (binomial_interval(0, 0), mean_interval(nothing), calibration_error(nothing, nothing)):
        assert np.isnan(told).all()
