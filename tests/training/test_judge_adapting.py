"""A judge adapted to labels: it moves only as far as held-out components support it."""

from dataclasses import replace

import numpy as np
import pytest

from textsiam import Pairs, Siamese, fit_judge, read_pairs, train
from textsiam.errors import UnreadableInput
from textsiam.samples import PAIRS
from textsiam.training.judges import judge_adapting
from textsiam.training.judges.cross_fitting import joined
from textsiam.training.judges.judge_adapting import AdaptingPairs, adapt_judge, candidates_of
from textsiam.training.judges.judge_pairs import JudgePairs
from textsiam.training.run import Run


def made(judge, n, weights, seed):
    """Parts of n made-up pairs, each a component, whose labels follow log-odds of these weights."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(n, 2 + len(judge.columns)))
    parts[:, 0] *= 2
    odds = parts @ weights
    labels = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(float)
    return AdaptingPairs(parts, rng.random(n).astype(np.float32), labels, np.arange(n))


def as_it_was(judge):
    return np.concatenate([[1.0, 1.0], np.zeros(len(judge.columns))])


def test_where_the_judge_is_right_it_stays(judged):
    """Labels drawn from its own log-odds move it seldom, and never far."""
    judge = judged.judge
    moved = [
        adapt_judge(judge, judged.encoder, made(judge, 300, as_it_was(judge), seed), seed=seed) for seed in range(20)
    ]
    stays = [one.card["adapted"]["strength"] == "all" for one in moved]
    assert np.mean(stays) >= 0.7
    assert all(one.linear is None or np.abs(one.linear).max() < 0.5 for one in moved)
    same = next(one for one, kept in zip(moved, stays, strict=True) if kept)
    assert (same.slope, same.share, same.linear) == (judge.slope, judge.share, None)


def test_where_labels_say_otherwise_it_moves(judged):
    """The feature that decides is found, and thousands of labels find it more exactly than hundreds."""
    judge, wanted = judged.judge, as_it_was(judged.judge)
    wanted[2] = 2.0
    errors = []
    for n in (300, 3_000):
        adapted = adapt_judge(judge, judged.encoder, made(judge, n, wanted, 1))
        assert adapted.card["adapted"]["strength"] != "all"
        errors.append(abs(adapted.linear[0] - 2.0))
    assert errors[1] < errors[0]
    assert errors[1] < 0.3


@pytest.mark.parametrize("strength", [3.0, 100.0])
def test_the_weights_are_the_least_cost_however_far_the_start_is_off(judged, strength):
    """Oracle: scipy's quasi-Newton on the same cost. Whole Newton steps would run away here."""
    from scipy.optimize import minimize

    of, centre = made(judged.judge, 2_000, as_it_was(judged.judge), 4), as_it_was(judged.judge)
    parts = of.parts.copy()
    parts[:, 0] = 12 + 8 * parts[:, 0]  # far too sure, and wrong in half of all pairs
    scales = np.array([1.0, 1.0, *[0.3] * len(judged.judge.columns)])

    def cost(moved):
        odds = moved[0] + parts @ (centre + moved[1:])
        return (np.logaddexp(0, odds) - of.labels * odds).sum() + (strength * (moved[1:] / scales) ** 2).sum() / 2

    wanted = minimize(cost, np.zeros(1 + len(centre)), method="L-BFGS-B", options={"maxiter": 5_000, "maxfun": 500_000})
    intercept, weights = judge_adapting._fitted(parts, of.labels, centre, strength)
    assert cost(np.array([intercept, *(weights - centre)])) <= wanted.fun + 1e-6
    assert np.abs(weights).max() < 10


def test_a_network_that_misleads_is_silenced(judged):
    """Its share falls towards zero where labels contradict it."""
    wanted = as_it_was(judged.judge)
    wanted[1] = 0.0
    adapted = adapt_judge(judged.judge, judged.encoder, made(judged.judge, 3_000, wanted, 2))
    assert abs(adapted.share) < 0.2 * judged.judge.share


def test_the_regression_is_that_of_scikit_learn():
    """Oracle: L2-penalised logistic regression with the centre as an offset of zero."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    parts = rng.normal(size=(400, 5))
    labels = (rng.random(400) < 1 / (1 + np.exp(-parts[:, 0]))).astype(float)
    scales = np.array([1.0, 1.0, 0.3, 0.3, 0.3])
    intercept, weights = judge_adapting._fitted(parts, labels, np.zeros(5), 10.0)
    oracle = LogisticRegression(C=0.1, tol=1e-10, max_iter=1_000).fit(parts * scales, labels)
    np.testing.assert_allclose(weights, oracle.coef_[0] * scales, atol=1e-4)
    assert abs(intercept - oracle.intercept_[0]) < 1e-4


def test_what_it_says_is_what_was_fitted(judged):
    """The judge's own log-odds are those of the regression, also after it is saved and loaded."""
    pairs = read_pairs(PAIRS)
    model = fit_judge(judged, pairs)
    adapted = model.judge.card["adapted"]
    assert adapted["pairs"] == len(pairs)
    odds = model.judgement(pairs.first, pairs.second).log_odds.astype(float)
    loss = float(np.mean(np.logaddexp(0, odds) - np.asarray(pairs.labels) * odds))
    before = judged.judgement(pairs.first, pairs.second).log_odds.astype(float)
    assert loss < float(np.mean(np.logaddexp(0, before) - np.asarray(pairs.labels) * before))
    assert (model.threshold, model.calibrator) == (None, None)
    with pytest.raises(UnreadableInput, match="the model was trained on"):
        model.calibrate(pairs)


def test_families_and_what_is_refused(judged, model):
    """Each member makes a judge; labels are needed, of both kinds, and enough of them."""
    pairs = read_pairs(PAIRS)
    linear = fit_judge(judged, pairs, family="linear").judge
    assert linear.network is None
    assert linear.slope > 0
    with pytest.raises(ValueError, match="no family 'deep'"):
        fit_judge(judged, pairs, family="deep")
    with pytest.raises(UnreadableInput, match="have none"):
        fit_judge(judged, Pairs(["a"], ["b"]))
    few = pairs.take(np.flatnonzero(np.asarray(pairs.labels) == 1)[:30])
    with pytest.raises(UnreadableInput, match="at least 20 labels of each kind"):
        fit_judge(judged, Pairs([*few.first, "x"], [*few.second, "y"], labels=[1] * 30 + [0]))
    with pytest.raises(ValueError, match="corrects cosine"):
        fit_judge(Siamese(model.encoder, "dot"), pairs)
    assert candidates_of(np.array([0.9]), np.array([-1.0]), np.array([1.0])) == 0.0


@pytest.fixture(scope="module")
def many():
    """The sample pairs four times, with a number after each text."""
    pairs = read_pairs(PAIRS)
    first, second = ([f"{text} ({n})" for n in range(4) for text in side] for side in (pairs.first, pairs.second))
    return Pairs(first, second, labels=np.tile(pairs.labels, 4))


SHORT = {"max_steps": 4, "batch_size": 8, "validation": False}


def test_a_twin_gets_a_judge_of_its_own(judged, many, tmp_path):
    """Fitted to all pairs, each read by a twin that has not learnt it; bound to the twin, saved with it."""
    tuned = train(judged, many, judge=True, output=tmp_path / "twin", **SHORT)
    assert tuned.judge.encoder == tuned.encoder.fingerprint != judged.encoder.fingerprint
    assert tuned.judge.card["adapted"]["pairs"] == len(many)
    assert tuned.training["data"]["pairs"]["rows"] == len(many)
    again = Siamese.load(tmp_path / "twin", dtype="float32", device="cpu")
    assert again.judge.fingerprint == tuned.judge.fingerprint
    assert not (tmp_path / "twin.checkpoints").exists()
    alone = train(judged, many, **SHORT)
    assert alone.judge is None
    assert (
        alone.encoder.fingerprint == tuned.encoder.fingerprint
    )  # the twin is the one that it would be without a judge
    with pytest.raises(UnreadableInput, match="the model was trained on"):
        tuned.calibrate(many)
    assert replace(tuned, judge=None).scale == "cosine"


def test_a_twins_judge_goes_on_after_an_interruption(judged, many, tmp_path, monkeypatch):
    """What an interrupted run has learnt is not learnt again, and the judge is the same."""
    fit, fitted = Run.fit, []

    def interrupted(self):
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(self)
        return fit(self)

    monkeypatch.setattr(Run, "fit", lambda self: (fitted.append(self), fit(self))[1])
    wanted = train(judged, many, judge=True, output=tmp_path / "whole", **SHORT)
    assert len(fitted) == 3
    fitted.clear()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "fit", interrupted)
        train(judged, many, judge=True, output=tmp_path / "twin", **SHORT)
    assert (tmp_path / "twin.checkpoints" / "half-1").is_dir()
    assert not (tmp_path / "twin").exists()
    fitted.clear()
    tuned = train(judged, many, judge=True, output=tmp_path / "twin", **SHORT)
    assert len(fitted) == 2  # the whole, from its last checkpoint, and the second half
    assert tuned.judge.fingerprint == wanted.judge.fingerprint
    assert tuned.encoder.fingerprint == wanted.encoder.fingerprint


def test_a_twins_judge_is_refused_before_the_slow_work(judged, many, monkeypatch):
    """Without labels, with too few, or where no half would have both kinds, nothing is trained."""
    monkeypatch.setattr(Run, "fit", lambda _: pytest.fail("it was trained"))
    unlabelled = Pairs(many.first, many.second)
    with pytest.raises(UnreadableInput, match="no data set has them"):
        train(judged, unlabelled, judge=True, **SHORT)
    with pytest.raises(UnreadableInput, match="at least 20 labels of each kind"):
        train(judged, {"few": many.take(np.arange(12)), "rest": unlabelled}, judge=True, **SHORT)
    chained = Pairs(["hub"] * 40 + many.first[:40], many.second[:40] + many.first[40:80], labels=[1] * 40 + [0] * 40)
    with pytest.raises(UnreadableInput, match="cannot be halved"):
        train(judged, chained, judge=True, **SHORT)
    with pytest.raises(ValueError, match="corrects cosine"):
        train(Siamese(judged.encoder, "dot"), many, judge=True, **SHORT)


def test_what_was_read_in_parts_is_joined(judged):
    """Pairs that were read in two parts are what was read at once: words, places, components."""
    pairs = read_pairs(PAIRS)
    components = JudgePairs.of(judged.encoder, {"pairs": pairs}).components
    halves = [pairs.take(np.flatnonzero(components % 2 == side)) for side in (0, 1)]
    read_apart = joined([JudgePairs.of(judged.encoder, {"pairs": half}) for half in halves])
    both = Pairs(
        *([text for half in halves for text in getattr(half, side)] for side in ("first", "second")),
        labels=np.concatenate([half.labels for half in halves]),
    )
    whole = JudgePairs.of(judged.encoder, {"pairs": both})
    for name in ("cosines", "targets", "sets", "rarity"):
        np.testing.assert_allclose(getattr(read_apart, name), getattr(whole, name), atol=1e-6)
    same = (read_apart.components[:, None] == read_apart.components, whole.components[:, None] == whole.components)
    assert (same[0] == same[1]).all()
    said = [judged.judge.log_odds(of.cosines, of.words, of.left, of.right) for of in (read_apart, whole)]
    np.testing.assert_allclose(*said, atol=0.02)  # vectors are in half precision
