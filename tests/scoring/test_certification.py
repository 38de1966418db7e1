"""Certificates: exact tests, their order, the promise kept in simulation, and every way in which labels can be no use."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from textsiam.errors import UnreadableInput
from textsiam.scoring.evidence.certification import GUARANTEES, STEP, certify_scores, draw
from textsiam.scoring.evidence.planning import (
    fewest_draws,
    labels_needed,
    labels_without_error,
    lower_bound,
    passes,
    starts,
)


def rising(n, seed=0, top=0.995, middle=0.4):
    """Scores, labels whose chance rises with the score."""
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    return scores, (rng.random(n) < top / (1 + np.exp(-14 * (scores - middle)))).astype(int)


@given(n=st.integers(1, 400), level=st.floats(0.5, 0.99), confidence=st.floats(0.5, 0.99), data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_test_is_scipys_exact_binomial_test(n, level, confidence, data):
    """`passes` agrees with binomtest's one-sided p-value, and `lower_bound` with its interval."""
    n_right = data.draw(st.integers(0, n))
    p = binomtest(n_right, n, level, alternative="greater").pvalue
    if abs(p - (1 - confidence)) > 1e-9:
        assert passes(n_right, n, level, confidence) == (p <= 1 - confidence)
    low = binomtest(n_right, n, alternative="greater").proportion_ci(confidence).low
    assert lower_bound(n_right, n, confidence) == pytest.approx(low, abs=1e-9)


def test_a_plan_says_59_labels_and_what_errors_cost():
    """The table that every audit starts from, against brute force."""
    assert [labels_without_error(level) for level in (0.8, 0.9, 0.95, 0.99)] == [14, 29, 59, 299]
    assert [fewest_draws(0.95, 0.95, n_wrong) for n_wrong in range(3)] == [59, 93, 124]
    for level, n_wrong in itertools.product((0.8, 0.9, 0.95), range(4)):
        least = next(n for n in itertools.count(n_wrong + 1) if binom.cdf(n_wrong, n, 1 - level) <= 0.05)
        assert fewest_draws(level, 0.95, n_wrong) == least


@pytest.mark.parametrize(("level", "share"), [(0.8, 0.9), (0.9, 0.95), (0.95, 0.98), (0.95, 1.0)])
def test_labels_needed_are_the_fewest_with_the_power_asked(level, share):
    """By brute force over n."""
    for n in itertools.count(labels_without_error(level)):
        needed = int(binom.isf(0.05, n, level)) + 1
        if binom.sf(needed - 1, n, share) >= 0.9:
            assert labels_needed(level, share) == n
            return


def test_labels_needed_are_none_where_no_number_certifies():
    """A share at or below the level."""
    assert labels_needed(0.95, 0.95) is None
    assert labels_needed(0.95, 0.2) is None


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, True])
def test_levels_lie_between_0_and_1(value):
    """Also True, which Python takes for 1."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        certify_scores(*rising(100), level=value)


def by_hand(scores, labels, level, confidence=0.95):
    """The loosest cut by the definition: sequences of `starts`, one exact test after the other."""
    best = None
    for start, own in starts(len(scores), level, confidence):
        n = start
        while n <= len(scores):
            cut = np.sort(scores)[::-1][n - 1]
            above = scores >= cut
            if binom.sf(labels[above].sum() - 1, above.sum(), level) > 1 - own:
                break
            best = cut if best is None else min(best, cut)
            n = max(int(above.sum()) + 1, int(np.ceil(above.sum() * STEP)))
    return best


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("level", [0.7, 0.9])
def test_precision_is_the_definition_by_hand(seed, level):
    """Also with ties, which come in together."""
    scores, labels = rising(1_000, seed)
    scores = scores.round(2) if seed % 2 else scores
    certificate = certify_scores(scores, labels, level=level)
    assert certificate.value == by_hand(scores, labels, level)
    above = scores >= certificate.value
    assert certificate.found.value == labels[above].mean()
    assert certificate.recall.value == labels[above].sum() / labels.sum()
    assert certificate.share == above.mean()
    assert certificate.found.low < certificate.found.value < certificate.found.high


def test_rejecting_is_accepting_mirrored():
    """What lies below the cut is what lies above it when scores and labels are turned round."""
    scores, labels = rising(1_000)
    reject = certify_scores(scores, labels, guarantee="reject_precision", level=0.9)
    mirrored = certify_scores(-scores, 1 - labels, level=0.9)
    below, above = scores < reject.value, -scores >= mirrored.value
    assert (below == above).all()
    assert (reject.found, reject.recall) == (mirrored.found, mirrored.recall)
    assert (1 - labels[below]).mean() > 0.9


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_recall_and_false_match_rate_are_bounds_of_quantiles(level):
    """The cut is the tightest order statistic that a binomial bound allows."""
    scores, labels = rising(600)
    recall = certify_scores(scores, labels, guarantee="recall", level=level)
    n = labels.sum()
    missed = (scores[labels == 1] < recall.value).sum()
    assert binom.cdf(missed, n, 1 - level) <= 0.05 < binom.cdf(missed + 1, n, 1 - level)
    rate = certify_scores(scores, labels, guarantee="false_match_rate", level=1 - level)
    n = (1 - labels).sum()
    above = (scores[labels == 0] >= rate.value).sum()
    assert binom.cdf(above, n, 1 - level) <= 0.05 < binom.cdf(above + 1, n, 1 - level)


def test_one_pair_is_drawn_from_each_component():
    """Every component once, each of its rows equally often, whatever scores and labels are."""
    components = np.repeat(np.arange(50), np.tile([1, 2, 7, 10, 5], 10))
    counts = np.zeros(len(components))
    for seed in range(2_000):
        rows = draw(components, len(components), seed)
        assert sorted(components[rows]) == list(range(50))
        counts[rows] += 1
    sizes = np.bincount(components)[components]
    assert abs(counts / 2_000 - 1 / sizes).max() < 0.06


@pytest.mark.parametrize("guarantee", list(GUARANTEES))
def test_order_and_shift_change_nothing(guarantee):
    """Rows in another order, scores by a rising function: the same draws beyond the cut."""
    scores, labels = rising(700)
    level = 0.1 if guarantee == "false_match_rate" else 0.85
    told = certify_scores(scores, labels, guarantee=guarantee, level=level)
    order = np.random.default_rng(1).permutation(700)
    again = certify_scores(scores[order], labels[order], guarantee=guarantee, level=level)
    assert (told.value, told.found, told.recall) == (again.value, again.found, again.recall)
    cubed = certify_scores(scores**3, labels, guarantee=guarantee, level=level)
    assert (told.found, told.share) == (cubed.found, cubed.share)


def flat(rng, n, size, level):
    """Every cut is false: the chance is half a point below the level; rows of a component resemble each other."""
    components = np.repeat(np.arange(n), size)[:n]
    shared = rng.random(n)[components]
    own = np.where(rng.random(n) < 0.8, shared, rng.random(n))
    scores = rng.random(n)[components] + (size > 1) * rng.normal(0, 0.02, n)
    return scores, (own < level - 0.005).astype(int), components


@pytest.mark.parametrize(
    ("size", "n"),
    [(1, 60), (10, 800), *(pytest.param(*of, marks=pytest.mark.long) for of in ((1, 200), (1, 800), (10, 2_000)))],
)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_false_certificates_keep_to_the_risk(size, n, level):
    """400 draws from a population in which every certificate is false; all draws of 2,000 and more: benchmarks.

    5 % are allowed; more than 8.3 % would be three standard errors beyond.
    """
    rng = np.random.default_rng([size, n, round(100 * level)])
    false = [
        certify_scores(scores, labels, components, level=level).value is not None
        for scores, labels, components in (flat(rng, n, size, level) for _ in range(400))
        if 0 < labels.sum() < len(labels)
    ]
    assert np.mean(false) <= 0.083


def test_taking_dependent_pairs_as_independent_breaks_the_promise():
    """So the simulation above can fail: without components the same labels give far more false certificates."""
    rng = np.random.default_rng(0)
    draws = [flat(rng, 800, 10, 0.8) for _ in range(200)]
    false = [certify_scores(scores, labels, level=0.8).value is not None for scores, labels, _ in draws]
    assert np.mean(false) > 0.1


@pytest.mark.parametrize("guarantee", ["recall", "false_match_rate"])
def test_bounds_of_quantiles_keep_to_the_risk(guarantee):
    """The true recall, or rate, of the cut found in 400 draws; it is known because scores are uniform by label."""
    rng, broken = np.random.default_rng(5), []
    for _ in range(400):
        labels = (rng.random(300) < 0.5).astype(int)
        scores = rng.random(300) + labels
        level = 0.9 if guarantee == "recall" else 0.1
        cut = certify_scores(scores, labels, guarantee=guarantee, level=level).value
        broken.append(1 - (cut - 1) < 0.9 if guarantee == "recall" else 1 - cut > 0.1)
    assert np.mean(broken) <= 0.083


def test_mapie_never_certifies_what_the_exact_test_does_not():
    """MAPIE's p-value at each of its cuts is no smaller than the exact binomial one: a cross-check of the test."""
    from mapie.risk_control import BinaryClassificationController

    scores, labels = rising(500)
    cuts = np.linspace(0, 0.99, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        controller = BinaryClassificationController(
            lambda x: np.column_stack([1 - x[:, 0], x[:, 0]]),
            "precision",
            0.9,
            confidence_level=0.95,
            list_predict_params=cuts,
        )
        controller.calibrate(scores[:, None], labels)
    for cut, p in zip(cuts, np.ravel(controller.p_values), strict=True):
        above = scores >= cut
        if above.sum():
            assert binom.sf(labels[above].sum() - 1, above.sum(), 0.9) <= p + 1e-9
    assert len(controller.valid_predict_params)
    assert certify_scores(scores, labels, level=0.9).value is not None


def test_none_is_found_where_none_exists_and_why_is_said():
    """Too few labels; labels that tell nothing; a cut that more labels would certify."""
    few = certify_scores(*rising(20), level=0.95)
    assert (few.value, few.more_labels) == (None, 39)
    assert "at least 39 more are needed" in str(few)
    rng = np.random.default_rng(0)
    noise = certify_scores(rng.random(400), (rng.random(400) < 0.5).astype(int), level=0.9)
    assert (noise.value, noise.more_labels) == (None, None)
    assert "More labels would hardly help" in str(noise)
    scores = np.arange(60) / 60
    near = certify_scores(scores, (scores != scores[-3]).astype(int), level=0.95)
    assert near.value is None
    assert near.more_labels > 0
    assert "more draws are needed if it is as good as it looks" in str(near)
    assert not near


def test_five_labels_are_too_few_and_no_error():
    """The answer is no, not a crash."""
    told = certify_scores(np.array([0.1, 0.2, 0.3, 0.4, 0.9]), np.array([0, 0, 0, 1, 1]))
    assert told.value is None
    assert told.n_draws == 5


def test_equal_scores_certify_all_or_nothing():
    """Ties fall on one side of every cut."""
    labels = np.r_[np.ones(99, dtype=int), 0]
    assert certify_scores(np.full(100, 0.7), labels, level=0.9).value == 0.7
    assert certify_scores(np.full(100, 0.7), 1 - labels, level=0.9).value is None


@pytest.mark.parametrize(
    ("scores", "labels", "told"),
    [
        ([0.1, 0.2], [1, 1], "got only 1"),
        ([0.1, 0.2], [0, 0], "got only 0"),
        ([], [], "got none at all"),
        ([0.1, np.nan, np.inf], [0, 1, 1], r"2 of 3 scores are not finite \(places 1, 2\)"),
        ([0.1, 0.2], [0, 2], r"Labels are 0 or 1, but got \[2\]"),
        ([0.1, 0.2], [0, -1], r"Labels are 0 or 1"),
        ([0.1, 0.2], [0.5, 1.0], r"Labels are 0 or 1, but got \[0.5\]"),
        ([0.1, 0.2, 0.3], [0, 1], r"got \(3,\) and \(2,\) scores and labels"),
    ],
)
def test_useless_labels_are_refused_with_the_reason(scores, labels, told):
    """One label only, NaN, labels outside {0, 1}, another length."""
    with pytest.raises(UnreadableInput, match=told):
        certify_scores(np.array(scores, dtype=float), np.array(labels))


def test_columns_of_any_kind_are_taken():
    """Unsigned and whole numbers, lists, a pandas Series whose labels are no positions: as the same floats in an array."""
    import pandas as pd

    scores, labels = rising(300)
    whole = (100 * scores).astype(np.uint8)
    told = certify_scores(whole.astype(float), labels, guarantee="reject_precision", level=0.7)
    assert told.value is not None
    shuffled = pd.Series(whole, index=np.random.default_rng(0).permutation(300))
    for column in (whole, whole.tolist(), shuffled):
        assert certify_scores(column, labels, guarantee="reject_precision", level=0.7) == told


@pytest.mark.parametrize(("level", "n"), [(0.95, 250), (0.9, 130), (0.8, 65)])
def test_one_sequence_takes_all_the_risk_where_two_would_be_the_same(level, n):
    """Half of it would be given away."""
    assert starts(n, level) == [(labels_without_error(level), 0.95)]


def test_levels_very_near_1_are_answered_at_once():
    """Without counting draws up one by one."""
    assert certify_scores(*rising(500), level=1 - 1e-9).value is None


@pytest.mark.parametrize("guarantee", ["precision", pytest.param("reject_precision", marks=pytest.mark.long)])
def test_precision_that_is_not_monotone_keeps_to_the_risk(guarantee):
    """400 draws, ties too: loose cuts qualify and strict ones do not, or the other way round; the true precision is known."""
    rng, broken = np.random.default_rng(11), 0
    grid = np.linspace(0.005, 0.995, 100)
    chance = np.where(
        grid > 0.9, 0.78, np.where(grid > 0.5, 0.86, 0.4)
    )  # at or above: .78 at the top, then up, then down
    if guarantee == "reject_precision":
        chance = 1 - chance[::-1]
    for _ in range(400):
        places = rng.integers(0, 100, 600)
        labels = (rng.random(600) < chance[places]).astype(int)
        value = certify_scores(grid[places], labels, guarantee=guarantee, level=0.8).value
        if value is not None:
            true = chance[grid >= value].mean() if guarantee == "precision" else 1 - chance[grid < value].mean()
            broken += true < 0.8
    assert broken / 400 <= 0.083


def test_an_unknown_guarantee_is_refused():
    """With the names there are."""
    with pytest.raises(ValueError, match="reject_precision"):
        certify_scores(*rising(100), guarantee="accuracy")
