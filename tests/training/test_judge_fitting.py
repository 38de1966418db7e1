"""Fitting a judge: it learns what cosine cannot see, says the same for the same seed, and refuses what teaches nothing."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from textsiam import fit_judge
from textsiam.data.pairs import Pairs
from textsiam.encoding.encoder import Encoder
from textsiam.errors import UnreadableInput
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.network import Network
from textsiam.training.judges import own_judge
from textsiam.training.judges.judge_fitting import fit_network_judge, tune_judge
from textsiam.training.judges.judge_pairs import JudgePairs

NAMES = [
    "Anna", "Bob", "Carla", "David", "Emma", "Frank", "Greta", "Hugo", "Ida", "Jonas", "Karin", "Leo", "Mia", "Nils", "Olga",
]  # fmt: skip
SHAPES = (
    ("Is {0} taller than {1}?", "Is {0} really taller than {1}?"),
    ("Did {0} send {1} a letter?", "Did {0} write and send {1} a letter?"),
)


def who_does_what(names):
    """Pairs of which half swap two names: the same words, so cosine hardly tells them apart."""
    first, second, labels = [], [], []
    for one, other in permutations(names, 2):
        for here, there in SHAPES:
            first += [here.format(one, other)] * 2
            second += [there.format(one, other), there.format(other, one)]
            labels += [1, 0]
    return Pairs(first, second, labels=labels)


PAIR = who_does_what(["Pia", "Rudi"])


@pytest.fixture(scope="module")
def encoder():
    """The embedded default in fp32."""
    return Encoder.load(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def material(encoder):
    """Pairs of ten names, to learn from."""
    return JudgePairs.of(encoder, {"names": who_does_what(NAMES[:10])})


def scored(judge, encoder, pairs):
    """Log-odds of pairs, and their labels."""
    texts, left, right = pairs.unique()
    return judge(encoder.tokens(texts), left, right), np.asarray(pairs.labels)


def test_it_learns_what_cosine_cannot_see(encoder, material):
    """Who does it to whom, of names that it never saw: the judge ranks better than cosine by far."""
    judge = fit_network_judge(encoder, material, share=1.0, n_nets=1, n_epochs=12, learning_rate=3e-3)
    unseen = who_does_what(NAMES[10:])
    found, labels = scored(judge, encoder, unseen)
    cosine, _ = scored(replace(judge, share=0.0), encoder, unseen)
    assert roc_auc_score(labels, found) > 0.9
    assert roc_auc_score(labels, found) > roc_auc_score(labels, cosine) + 0.05


def test_the_same_seed_gives_the_same_judge(encoder, material):
    """To the byte, from the pairs or from what was made of them; another seed gives another."""
    once, again = (
        fit_network_judge(encoder, of, n_epochs=1) for of in (material, {"names": who_does_what(NAMES[:10])})
    )
    assert once.to_bytes() == again.to_bytes()
    assert once.to_bytes() != fit_network_judge(encoder, material, n_epochs=1, seed=1).to_bytes()


def test_a_file_gives_back_the_same_judge_to_the_bit(encoder, material, tmp_path):
    """What was fitted is in half precision already: saved and loaded, it says the same."""
    judge = fit_network_judge(encoder, material, n_epochs=1)
    file = tmp_path / "judge.safetensors"
    file.write_bytes(judge.to_bytes())
    unseen = who_does_what(NAMES[10:])
    found, _ = scored(judge, encoder, unseen)
    assert (scored(Judge.from_file(file), encoder, unseen)[0] == found).all()


def test_the_judge_says_what_its_nets_agree_on(encoder, material):
    """Three nets that differ: no correction where their signs differ, else the smallest, always on the side of all."""
    judge = fit_network_judge(encoder, material, share=1.0, n_epochs=1)
    cosine, _ = scored(replace(judge, share=0.0), encoder, PAIR)
    weights = judge.network.weights
    alone = [replace(judge, network=Network({name: w[[k]] for name, w in weights.items()})) for k in range(3)]
    said = np.stack([scored(one, encoder, PAIR)[0] for one in alone]) - cosine
    found = scored(judge, encoder, PAIR)[0] - cosine
    assert (said.std(0) > 0).all()
    agreeing = np.abs(np.sign(said).sum(0)) == 3
    np.testing.assert_allclose(found[~agreeing], 0, atol=1e-4)
    np.testing.assert_allclose(np.abs(found[agreeing]), np.abs(said).min(0)[agreeing], atol=1e-4)


def test_a_set_may_weigh_more(encoder):
    """Two sets that contradict each other: the judge sides with the one that weighs more."""
    one = who_does_what(NAMES[:7])
    both = JudgePairs.of(encoder, {"one": one, "other": replace(one, labels=1 - np.asarray(one.labels))})
    areas = []
    for weights in ({"one": 9.0}, {"other": 9.0}):
        judge = fit_network_judge(encoder, both, weights=weights, share=1.0, n_nets=1, n_epochs=6, learning_rate=3e-3)
        found, labels = scored(judge, encoder, who_does_what(NAMES[7:11]))
        areas.append(roc_auc_score(labels, found))
    assert areas[0] > areas[1] + 0.1


def test_weights_of_unknown_sets_are_refused(encoder, material):
    """A misspelt name would change nothing, silently."""
    with pytest.raises(UnreadableInput, match="'nmaes'"):
        fit_network_judge(encoder, material, weights={"nmaes": 2.0})


def test_progress_and_card_say_what_happened(encoder, material):
    """Steps rise to the last; the card names sets, sizes and settings."""
    done = []
    judge = fit_network_judge(encoder, material, n_epochs=2, progress=lambda *of: done.append(of))
    assert done[-1][0] == done[-1][1] == len(done)
    assert judge.card == {
        "sets": {"names": {"pairs": 360, "positive": 0.5, "weight": 1.0}},
        "nets": 3, "epochs": 2, "learning_rate": 2e-3, "seed": 0,
    }  # fmt: skip
    assert judge.encoder == encoder.fingerprint


def test_a_fitted_network_is_fitted_further(encoder, material):
    """It begins where the judge is, learns what that one does not know, and its features are measured as before."""
    begun = fit_network_judge(encoder, material, share=1.0, n_nets=2, n_epochs=1)
    still = tune_judge(begun, encoder, material, n_epochs=1, learning_rate=1e-9)
    for name, weights in begun.network.weights.items():
        np.testing.assert_allclose(still.network.weights[name], weights, atol=2e-3, rtol=2e-2)
    assert (still.columns, still.rarity is begun.rarity, still.card["sets"]) == (
        begun.columns,
        True,
        begun.card["sets"],
    )
    opposite = fit_network_judge(encoder, replace(material, targets=1 - material.targets), share=1.0, n_epochs=1)
    tuned = tune_judge(opposite, encoder, who_does_what(NAMES[:10]), n_epochs=4)
    unseen = who_does_what(NAMES[10:])
    areas = [
        roc_auc_score(labels, found) for found, labels in (scored(one, encoder, unseen) for one in (opposite, tuned))
    ]
    assert areas[0] < 0.4
    assert areas[1] > 0.6
    assert tuned.card["tuned"]["pairs"] == len(material)
    with pytest.raises(ValueError, match="no network that can be fitted further"):
        tune_judge(replace(begun, network=None), encoder, material)


def test_labels_enough_fit_the_network_further(judged, monkeypatch):
    """With few, a few numbers are adapted; with many the network is fitted too, and what it learns holds for other names."""
    pairs = who_does_what(NAMES[:6])
    adapted = fit_judge(judged, pairs).judge
    assert "tuned" not in adapted.card
    monkeypatch.setattr(own_judge, "MIN_TO_TUNE", len(pairs))
    unseen = who_does_what(NAMES[9:])
    areas = [roc_auc_score(unseen.labels, judged.with_judge(adapted).judgement(unseen.first, unseen.second).log_odds)]
    first, second = ([f"{text} ({n})" for n in range(4) for text in side] for side in (pairs.first, pairs.second))
    many = Pairs(first, second, labels=np.tile(pairs.labels, 4))
    for start in (judged, judged.with_judge(None)):
        found = fit_judge(start, many)
        assert found.judge.card["adapted"]["pairs"] == len(many)
        assert list(found.judge.card)[-1] == "adapted"
        areas.append(roc_auc_score(unseen.labels, found.judgement(unseen.first, unseen.second).log_odds))
    assert min(areas[1:]) > 0.6
    assert fit_judge(judged, many).judge.fingerprint == fit_judge(judged, many, family="tuned").judge.fingerprint


def test_one_set_can_be_left_out(encoder):
    """Pairs of one of two sets: the card names only that one, and slope and offset are its own."""
    both = JudgePairs.of(encoder, {"few": who_does_what(NAMES[:4]), "more": who_does_what(NAMES[4:9])})
    judge = fit_network_judge(encoder, both.take(np.flatnonzero(both.sets == 1)), n_epochs=1)
    assert list(judge.card["sets"]) == ["more"]
    assert np.isfinite([judge.slope, judge.offset]).all()


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ({}, "none were given"),
        ({"a": Pairs(["x"], ["y"])}, "no labels"),
        ({"a": Pairs(["x", "z"], ["y", "w"], labels=[1, 1])}, "of both kinds"),
        ({"a": Pairs(["x", "z"], ["y", "w"], scores=[1, 5])}, "Scale them"),
    ],
)
def test_what_teaches_nothing_is_refused(encoder, sets, told):
    """No pairs, no labels, one kind alone, scores on another scale: before anything is computed."""
    with pytest.raises(UnreadableInput, match=told):
        fit_network_judge(encoder, sets)
