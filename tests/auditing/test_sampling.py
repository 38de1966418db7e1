"""Sampling a finite population of scores: designs, thinning, estimates, proofs, and the promises they keep in simulation."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from textsiam.auditing.estimates import precision_at, recall_at, share_of
from textsiam.auditing.labelling import agreements, check_labeller, consensus, label_of, plan_labels
from textsiam.auditing.proof import n_kept, prove, thin
from textsiam.auditing.sampling import ALLOCATIONS, Design, draw_sample
from textsiam.errors import UnreadableInput
from textsiam.scoring.evidence.intervals import binomial_interval
from textsiam.scoring.evidence.planning import labels_needed, labels_without_error, passes, starts

LEVEL = 0.9


def uniform(n=2_000, seed=0):
    return (0.8 + 0.2 * np.random.default_rng(seed).random(n)).astype(np.float32)


def skewed(n=2_000, seed=0):
    return np.minimum(0.8 + np.random.default_rng(seed).exponential(0.025, n), 1).astype(np.float32)


def tied(n=2_000, seed=0):
    return np.where(np.random.default_rng(seed).random(n) < 0.4, np.float32(1), np.round(uniform(n, seed), 2))


SCORES = {"uniform": uniform, "skewed": skewed, "tied": tied}


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("scores", SCORES)
def test_cells_partition_the_population(scores, allocation):
    """Sizes add up to all matches, each draw has a score of its cell, ties stay in one stratum, sizes in one differ by 1."""
    values = SCORES[scores]()
    design = draw_sample(values, 150, allocation=allocation, seed=3)
    ordered, ends = np.sort(values)[::-1], np.cumsum(design.size)
    assert len(design) == 150
    assert design.n_matches == len(values)
    assert len(set(design.place.tolist())) == 150
    assert (values[design.place] == design.score).all()
    assert (design.low == ordered[ends - 1]).all()
    assert (design.score >= design.low).all()
    assert (design.score <= ordered[ends - design.size]).all()
    last = np.flatnonzero(np.append(np.diff(design.stratum) > 0, True))
    assert design.is_cut[last].all()
    assert design.is_cut.tolist() == [end == len(values) or ordered[end] < ordered[end - 1] for end in ends]
    for stratum in range(design.n_strata):
        assert np.ptp(design.size[design.stratum == stratum]) <= 1


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=300), st.integers(1, 320), st.integers(1, 12), st.integers(0, 9)
)
@settings(max_examples=60, deadline=None)
def test_any_scores_can_be_sampled(values, n, n_strata, seed):
    """However few, equal or clustered: as many draws as asked for or there are, all different."""
    scores = np.array(values, dtype=np.float32) / 60
    for allocation in ALLOCATIONS:
        design = draw_sample(scores, n, n_strata=n_strata, allocation=allocation, seed=seed)
        assert len(design) == len(set(design.place.tolist())) == min(n, len(scores))
        assert design.n_matches == len(scores)
        assert design.n_strata <= n_strata + 1


def test_every_match_is_drawn_with_the_chance_that_its_weight_says():
    """One in the size of its cell, ties too, so that weighted totals are unbiased."""
    scores = tied(40)
    totals, times = [], np.zeros(40)
    for seed in range(3_000):
        design = draw_sample(scores, 12, n_strata=3, seed=seed)
        times[design.place] += design.size
        totals.append((design.size * (design.place < 20)).sum())
    assert times / 3_000 == pytest.approx(np.ones(40), abs=0.12)
    assert np.mean(totals) == pytest.approx(20, abs=0.3)


def test_strict_scores_are_not_starved():
    """Of 20 scores near 1 among 5,000 near the join's threshold a fair part is labelled, unless proportionally."""
    scores = np.concatenate([np.linspace(0.95, 1, 20), np.linspace(0.8, 0.82, 5_000)]).astype(np.float32)
    drawn = {name: int((draw_sample(scores, 100, allocation=name).score > 0.9).sum()) for name in ALLOCATIONS}
    assert drawn["equal"] >= 10
    assert drawn["root"] >= 5
    assert drawn["proportional"] <= drawn["root"] <= drawn["equal"]


def test_the_highest_score_is_a_stratum_where_many_share_it():
    """Exact repeats can be certified by themselves."""
    design = draw_sample(tied(), 200)
    assert design.low[design.stratum == 0].min() == 1
    assert design.size[design.stratum == 0].sum() == (tied() == 1).sum()


def test_equal_scores_have_one_cut():
    """No threshold divides them."""
    design = draw_sample(np.full(500, 0.9, dtype=np.float32), 100)
    assert (design.n_strata, design.is_cut.sum()) == (1, 1)
    assert prove(design, np.ones(100, dtype=int)).value == pytest.approx(0.9)


def test_a_seed_gives_the_same_draws_again_and_another_gives_others():
    """Draws come from the seed alone."""
    one, same, other = (draw_sample(uniform(), 100, seed=seed).place.tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_a_design_survives_json():
    """Also its fp32 scores, to the bit."""
    design = draw_sample(skewed(), 50)
    again = Design.from_json(design.to_json())
    for name in ("stratum", "size", "low", "is_cut", "place", "score"):
        assert (getattr(again, name) == getattr(design, name)).all()
    assert again.score.dtype == np.float32


@pytest.mark.parametrize(
    ("scores", "how", "told"),
    [
        ([], {}, "no match to draw from"),
        ([0.9, np.nan, np.inf], {}, r"2 of 3 scores are not finite \(places 1, 2\)"),
        ([0.9], {"n": 0}, "at least one label"),
        ([0.9], {"n_strata": 0}, "at least one label and one stratum"),
        ([0.9], {"allocation": "fair"}, "no allocation 'fair'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(scores, how, told):
    """With what is wrong, what came and what to do."""
    with pytest.raises(ValueError, match=told):
        draw_sample(np.array(scores, dtype=np.float32), **how)


def test_an_empty_join_is_unreadable_input():
    """So that callers can tell it from a wrong parameter."""
    with pytest.raises(UnreadableInput):
        draw_sample(np.empty(0, dtype=np.float32))


def exact_pivotal(chances):
    """Every set of kept draws with its exact chance: the fights of `thin` in fractions, branch by branch."""
    branches = {(frozenset(), 0, chances[0]): Fraction(1)}
    for place in range(1, len(chances)):
        after = {}
        for (kept, holder, held), chance in branches.items():
            own, total = chances[place], held + chances[place]
            if total < 1:
                ends = [((kept, holder, total), held / total), ((kept, place, total), own / total)]
            elif total == 2:
                ends = [((kept | {holder}, place, Fraction(1)), Fraction(1))]
            else:
                first = (1 - own) / (2 - total)
                ends = [((kept | {holder}, place, total - 1), first), ((kept | {place}, holder, total - 1), 1 - first)]
            for end, share in ends:
                after[end] = after.get(end, 0) + chance * share
        branches = after
    sets = {}
    for (kept, holder, held), chance in branches.items():
        whole = kept | ({holder} if held == 1 else set())
        sets[whole] = sets.get(whole, 0) + chance
    return sets


WEIGHTS = [1, 1, 1, 2, 2, 3, 3, 4]


def test_thinning_keeps_a_fixed_number_by_weight():
    """Exactly total over heaviest, each draw in proportion to its weight, with the frequencies of the exact branches."""
    weights = np.array(WEIGHTS)
    n = int(n_kept(weights)[-1])
    sets = exact_pivotal([Fraction(n * weight, sum(WEIGHTS)) for weight in WEIGHTS])
    assert sum(sets.values()) == 1
    assert {len(kept) for kept in sets if sets[kept]} == {n} == {17 // 4}
    for place, weight in enumerate(WEIGHTS):
        assert sum(chance for kept, chance in sets.items() if place in kept) == Fraction(n * weight, sum(WEIGHTS))
    rng, times = np.random.default_rng(0), {}
    for _ in range(4_000):
        kept = frozenset(np.flatnonzero(thin(weights, rng)).tolist())
        times[kept] = times.get(kept, 0) + 1
    assert set(times) <= {kept for kept in sets if sets[kept]}
    for kept, chance in sets.items():
        assert times.get(kept, 0) / 4_000 == pytest.approx(float(chance), abs=0.035)


def test_right_ones_among_kept_draws_are_a_sum_of_independent_trials():
    """Their generating polynomial has real roots only, so Hoeffding's bound holds: no tail is heavier than the binomial's."""
    n = 4
    sets = exact_pivotal([Fraction(n * weight, sum(WEIGHTS)) for weight in WEIGHTS])
    rng = np.random.default_rng(1)
    for _ in range(20):
        right = rng.random(len(WEIGHTS)).round(2)
        polynomial = np.zeros(n + 1)
        for kept, chance in sets.items():
            own = np.ones(1)
            for place in kept:
                own = np.convolve(own, [1 - right[place], right[place]])
            polynomial[: len(own)] += float(chance) * own
        roots = np.roots(polynomial[::-1])
        assert np.abs(roots.imag).max() < 1e-5
        assert polynomial @ np.arange(n + 1) == pytest.approx(n * np.average(right, weights=WEIGHTS))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_passing_takes_more_than_one_above_the_mean(level):
    """There the binomial has the heaviest tail of all sums of trials, so a test that passes is valid for any of them."""
    for n in range(labels_without_error(level), 900, 7):
        fewest = next(k for k in range(int(n * level), n + 1) if passes(k, n, level))
        assert fewest >= n * level + 1


def test_draws_of_equal_weight_are_all_kept():
    """Nothing is thrown away where nothing needs to be."""
    assert thin(np.full(7, 3), np.random.default_rng(0)).all()
    assert thin(np.empty(0, dtype=int), np.random.default_rng(0)).tolist() == []


@given(st.lists(st.integers(1, 50), min_size=1, max_size=80), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_thinning_always_keeps_as_many_as_it_said(weights, seed):
    """Rounding never costs or adds a draw."""
    weights = np.array(weights)
    kept = thin(weights, np.random.default_rng(seed))
    expected = len(weights) if len(set(weights.tolist())) == 1 else int(n_kept(weights)[-1])
    assert int(kept.sum()) == expected


def labelled(scores, n=300, seed=0, chance=None, **how):
    design = draw_sample(scores, n, seed=seed, **how)
    rng = np.random.default_rng(seed)
    chances = np.clip((design.score - 0.75) * 5, 0, 1) if chance is None else np.full(n, chance)
    return design, (rng.random(len(design)) < chances).astype(int)


@pytest.mark.parametrize("cut", [0.8, 0.85, 0.953])
def test_estimates_are_weighted_means_by_hand(cut):
    """Precision: weight of right draws above over weight of draws above. Recall: over weight of right draws."""
    design, labels = labelled(skewed())
    above = design.score >= np.float32(cut)
    right = design.size * labels
    assert precision_at(design, labels, cut).value == pytest.approx(right[above].sum() / design.size[above].sum())
    assert recall_at(design, labels, cut).value == pytest.approx(right[above].sum() / right.sum())


def test_one_stratum_of_equal_weights_has_the_exact_binomial_interval():
    """Korn and Graubard's interval is Clopper and Pearson's there, but for the share of matches that is labelled."""
    design, labels = labelled(np.full(1_000_000, 0.9, dtype=np.float32), n=100, chance=0.8)
    told, exact = precision_at(design, labels, 0.9), binomial_interval(int(labels.sum()), 100)
    assert told == pytest.approx(exact, abs=1e-4)


def test_what_is_wholly_labelled_is_known():
    """Intervals without width, for precision, its bands, and recall."""
    scores = uniform(120)
    design = draw_sample(scores, 500)
    labels = (design.score > 0.9).astype(int)
    share = float((scores > 0.9).mean())
    assert precision_at(design, labels, 0.8) == pytest.approx((share, share, share))
    assert recall_at(design, labels, 0.9) == (1, 1, 1)
    assert share_of(design, labels, design.stratum == 0) == (1, 1, 1)


def test_intervals_hold_their_value_and_stay_in_range():
    """Whatever was labelled."""
    for seed in range(40):
        design, labels = labelled(skewed(seed=seed), n=40, seed=seed, chance=(0, 0.05, 0.5, 0.98, 1)[seed % 5])
        for told in (precision_at(design, labels, 0.82), recall_at(design, labels, 0.82)):
            assert np.isnan(told.value) or 0 <= told.low <= told.value <= told.high <= 1


def test_undecided_draws_are_left_out_of_estimates():
    """The others of their stratum stand for them; where nobody decided anything there is no estimate."""
    design, labels = labelled(uniform(), n=200)
    some = np.where(np.arange(200) % 3 == 0, -1, labels)
    assert precision_at(design, some, 0.8).value == pytest.approx(precision_at(design, labels, 0.8).value, abs=0.08)
    assert np.isnan(precision_at(design, np.full(200, -1), 0.8)).all()
    assert np.isnan(recall_at(design, np.full(200, -1), 0.9)).all()
    assert np.isnan(recall_at(design, np.where(design.score < 0.9, -1, labels), 0.9)).all()
    assert np.isnan(recall_at(design, np.zeros(200, dtype=int), 0.9)).all()


def by_hand(design, labels, level, confidence=0.95):
    """The loosest cut by the definition, for equal weights: no thinning."""
    assert len(set(design.size.tolist())) == 1
    best = None
    for start, own in starts(len(design), level, confidence):
        n = start
        while n <= len(design):
            while not design.is_cut[n - 1]:
                n += 1
            if not passes(int(labels[:n].sum()), n, level, own):
                break
            best = float(design.low[n - 1]) if best is None else min(best, float(design.low[n - 1]))
            if n == len(design):
                break
            n = min(int(np.ceil(n * 1.1 - 1e-9)), len(design))
    return best


@pytest.mark.parametrize("n_wrong", [0, 4, 12, 100])
def test_proofs_are_sequences_of_exact_tests(n_wrong):
    """With equal weights the cut is the one found by going from strict to loose by hand."""
    for seed in range(8):
        design = draw_sample(uniform(4_000), 400, n_strata=1, seed=seed)
        labels = np.ones(400, dtype=int)
        labels[np.random.default_rng(seed).integers(100, 400, n_wrong)] = 0
        assert prove(design, labels, precision=LEVEL).value == by_hand(design, labels, LEVEL)


def test_a_population_that_is_wholly_labelled_needs_no_test():
    """Its precision is known: the loosest cut that keeps it, and none if none does."""
    scores = uniform(100)
    design = draw_sample(scores, 100)
    labels = (design.score > 0.9).astype(int)
    value = prove(design, labels, precision=LEVEL).value
    assert labels[design.score >= value].mean() >= LEVEL
    looser = design.score[design.score < np.float32(value)]
    assert all(labels[design.score >= cut].mean() < LEVEL for cut in looser)
    assert prove(design, np.zeros(100, dtype=int), precision=LEVEL).value is None


def test_too_few_labels_prove_nothing_and_say_how_many_would():
    """If none is wrong."""
    design = draw_sample(uniform(), 40, n_strata=1)
    proof = prove(design, np.ones(40, dtype=int))
    assert proof.value is None
    assert proof.nearest is None
    assert proof.more_labels(40) == labels_without_error(0.95) - 40


def test_what_nobody_decided_counts_as_wrong():
    """A proof takes -1 and -2 for 0."""
    design = draw_sample(uniform(), 200)
    labels = (np.arange(200) % 7 > 0).astype(int)
    told = [prove(design, np.where(labels == 1, 1, other), precision=0.6).value for other in (0, -1, -2)]
    assert told[0] is not None
    assert len(set(told)) == 1


@pytest.mark.parametrize("level", [0, 1, 1.5])
def test_levels_lie_between_0_and_1(level):
    """As everywhere."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        prove(draw_sample(uniform(), 100), np.ones(100, dtype=int), precision=level)


def evenly(scores, chances):
    """Fixed labels whose count follows the chances along the scores, never above."""
    order = np.argsort(-scores, kind="stable")
    labels = np.empty(len(scores), dtype=int)
    labels[order] = np.diff(np.floor(np.cumsum(chances[order]) + 1e-9), prepend=0).astype(int)
    return labels


def just_below(scores):
    """Every cut half a point below the level."""
    return evenly(scores, np.full(len(scores), LEVEL - 0.005))


def errors_among_the_many(scores):
    """No error but near the join's threshold, the whole half a point below the level."""
    many = scores < 0.82
    return evenly(scores, np.where(many, 1 - (1 - LEVEL + 0.005) / many.mean(), 1.0))


FALSE = {"flat": (uniform, just_below), "hidden": (skewed, errors_among_the_many), "ties": (tied, just_below)}


@pytest.mark.parametrize("n", [60, 200, pytest.param(600, marks=pytest.mark.long)])
@pytest.mark.parametrize("population", FALSE)
def test_certificates_are_false_at_most_as_often_as_promised(population, n):
    """At most 5 % of 300 samples, within its binomial error, where weights differ and every cut or the loosest is too bad."""
    make, mark = FALSE[population]
    scores = make()
    labels = mark(scores)
    false = 0
    for seed in range(300):
        design = draw_sample(scores, n, seed=seed)
        value = prove(design, labels[design.place], precision=LEVEL).value
        false += value is not None and labels[scores >= np.float32(value)].mean() < LEVEL
    assert binomial_interval(int(false), 300).low <= 0.05


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_intervals_cover_as_often_as_promised(allocation):
    """Precision of the join, and recall at a cut, in 300 samples of a skewed join: about 95 %."""
    scores = skewed()
    labels = evenly(scores, np.clip((scores - 0.78) * 8, 0, 1))
    precision, recall = labels.mean(), labels[scores >= 0.83].sum() / labels.sum()
    covered = np.zeros(2)
    for seed in range(300):
        design = draw_sample(scores, 150, allocation=allocation, seed=seed)
        told = precision_at(design, labels[design.place], 0.8), recall_at(design, labels[design.place], 0.83)
        covered += [of.low <= true <= of.high for of, true in zip(told, (precision, recall), strict=True)]
    assert (covered / 300 >= 0.91).all(), covered / 300


def test_a_threshold_is_found_where_one_clearly_exists():
    """In most samples of 200 labels where the closer half of the join is right and the rest is not."""
    scores = uniform()
    labels = (scores > 0.9).astype(int)
    found = [prove(draw_sample(scores, 200, seed=k), labels[draw_sample(scores, 200, seed=k).place]) for k in range(20)]
    assert all(0.88 < proof.value < 0.91 for proof in found)


def test_consensus_is_the_majority():
    """Ties and skips leave a pair unresolved; a skip does not overrule a label."""
    labels = {
        "a": np.array([1, 1, 0, -1, -2, -1]),
        "b": np.array([1, 0, 0, 1, -2, -2]),
        "c": np.array([0, -2, -2, -2, -2, -2]),
    }
    assert consensus(labels, 6).tolist() == [1, -1, 0, 1, -2, -1]
    assert consensus({}, 2).tolist() == [-2, -2]


def test_agreement_is_that_of_scikit_learn():
    """On the pairs that both decided."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(-2, 2, 200), rng.integers(-2, 2, 200)
    (told,) = agreements({"ann": first, "bob": second})
    both = (first >= 0) & (second >= 0)
    assert told.n == both.sum()
    assert told.agreement == (first[both] == second[both]).mean()
    assert told.kappa == pytest.approx(cohen_kappa_score(first[both], second[both]))


def test_agreement_without_a_pair_or_with_one_label_is_undefined_and_silent():
    """NaN in numbers, None in JSON, no warning."""
    ones, none = np.ones(3, dtype=int), np.full(3, -2)
    same, nothing = agreements({"ann": ones, "bob": ones})[0], agreements({"ann": ones, "bob": none})[0]
    assert (same.agreement, np.isnan(same.kappa)) == (1, True)
    assert (nothing.n, nothing.to_json()["agreement"]) == (0, None)


@pytest.mark.parametrize(
    ("value", "label"), [("1.0", 1), (" Y ", 1), (0, 0), (False, 0), ("Skip", -1), (" ", -2), (2, None)]
)
def test_labels_are_understood_as_people_write_them(value, label):
    """And nothing else is."""
    assert label_of(value) == label


@pytest.mark.parametrize("name", ["", " ", "a\nb", " ann"])
def test_labellers_have_names(name):
    """That can head a column."""
    with pytest.raises(ValueError, match="labeller's name"):
        check_labeller(name)


def test_a_plan_is_made_of_exact_tests():
    """One label fewer with as many errors does not pass; what is needed is what planning says."""
    plan = plan_labels(0.95, expected=0.98)
    for n, n_wrong in plan.errors:
        assert passes(n - n_wrong, n, 0.95)
        assert not passes(n - 1 - n_wrong, n - 1, 0.95)
    assert plan.needed == labels_needed(0.95, 0.98)
    assert plan_labels(0.9, expected=0.9).needed is None
