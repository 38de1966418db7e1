"""find_duplicates against brute force over all rows: repeats, unusable values, two sets, ids and limits."""

import logging

import numpy as np
import pytest

from textsiam import Siamese, Texts, find_duplicates, find_repeats
from textsiam.errors import NotCalibrated, TooManyMatches

QUESTIONS = [
    "How do I reset my password?",
    "Where is my parcel?",
    None,
    "How can I reset my password?",
    "How do I reset my password?",
    " ",
    "how do i  reset my password?",
    "Where is my parcel?",
    "What is the weather in Lima?",
    "How do I reset my password?",
]


def brute_force(model, left, right, threshold):
    expected = {}
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            if isinstance(a, str) and a.strip() and isinstance(b, str) and b.strip():
                score = model.score([a], [b])[0]
                if score >= np.float32(threshold):
                    expected[i, j] = score
    return expected


@pytest.fixture(scope="module")
def fast_model(tiny_transformer, tmp_path_factory):
    """A tiny random encoder: the arithmetic is the same, the waiting is not."""
    return Siamese.load(tiny_transformer("bert"), dtype="float32", device="cpu")


@pytest.mark.parametrize("threshold", [0.5, 0.97, 1.0])
def test_within_one_set_equals_brute_force(fast_model, threshold, caplog):
    """Every repeat gets all its pairs, left before right; unusable values match nothing and are reported."""
    with caplog.at_level(logging.WARNING, "textsiam"):
        matches = find_duplicates(fast_model, QUESTIONS, threshold=threshold)
    expected = {p: s for p, s in brute_force(fast_model, QUESTIONS, QUESTIONS, threshold).items() if p[0] < p[1]}
    found = {(m.left, m.right): m.score for m in matches}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[p] for p in expected], list(expected.values()), atol=1e-6)
    assert list(found) == sorted(found)
    assert "2 of 10 texts are unusable" in caplog.text


@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_between_two_sets_equals_brute_force(fast_model, threshold):
    """Rows of each side count in their own set, equal texts included."""
    others = ["where is my parcel?", "", "How do I reset my password?", "How do I reset my password?"]
    matches = find_duplicates(fast_model, QUESTIONS, against=others, threshold=threshold)
    expected = brute_force(fast_model, QUESTIONS, others, threshold)
    assert {(m.left, m.right) for m in matches} == expected.keys()
    assert (matches.n_left, matches.n_right) == (10, 4)


def test_the_order_of_texts_changes_nothing(fast_model):
    """Shuffled rows give the same pairs of texts."""
    usable = [q for q in QUESTIONS if q and q.strip()]
    order = np.random.default_rng(0).permutation(len(usable))
    pairs = [
        sorted(
            tuple(sorted((texts[m.left], texts[m.right]))) for m in find_duplicates(fast_model, texts, threshold=0.9)
        )
        for texts in (usable, [usable[place] for place in order])
    ]
    assert pairs[0] == pairs[1]


def test_the_default_finds_the_paraphrase_with_probability_and_decision(model):
    """The embedded default brings threshold, probability and decision; texts and ids are shown."""
    texts = Texts([str(q) for q in QUESTIONS if q and q.strip()], ids=list("abcdefgh"))
    matches = find_duplicates(model, texts)
    assert ((matches.log_odds >= np.float32(model.threshold.value)) == (matches.decision == "accept")).all()
    assert set(matches.decision) <= {"accept", "review"}
    assert (matches.probability[matches.matching] > 0.5).all()
    assert ((matches.probability >= 0) & (matches.probability <= 1)).all()
    assert list(matches.columns()) == ["id_a", "id_b", "score", "log_odds", "probability", "decision", "reason"]
    assert ("a", "d") in set(zip(*matches.id_columns(), strict=True))
    assert "How do I reset my password?  |" in repr(matches)
    accepted = matches.log_odds[matches.matching].tolist()
    assert matches.top(2).log_odds.tolist() == sorted(accepted, reverse=True)[:2]
    assert len(matches.clusters()) == 2


def test_ids_may_be_given_and_must_differ(fast_model):
    """Own ids come back; repeated or missing ones are refused before encoding."""
    matches = find_duplicates(fast_model, ["pay", "pay"], threshold=0.9, ids=["x", "y"])
    assert matches.id_columns() == (["x"], ["y"])
    with pytest.raises(ValueError, match="'x' names more than one"):
        find_duplicates(fast_model, ["pay", "pay"], threshold=0.9, ids=["x", "x"])
    with pytest.raises(ValueError, match="2 texts and 1 ids"):
        find_duplicates(fast_model, ["pay", "pay"], threshold=0.9, ids=["x"])


def test_without_a_threshold_one_must_be_given(fast_model):
    """A model that was never certified does not guess."""
    with pytest.raises(NotCalibrated, match="never certified"):
        find_duplicates(fast_model, ["pay", "order"])
    with pytest.raises(ValueError, match="between -1 and 1"):
        find_duplicates(fast_model, ["pay", "order"], threshold=95)


@pytest.mark.parametrize("texts", [[], ["pay"], [None, ""]])
def test_few_texts_have_no_duplicates(fast_model, texts):
    """Nothing, one text, or nothing usable: no match, no failure."""
    matches = find_duplicates(fast_model, texts, threshold=0.5)
    assert len(matches) == 0
    assert matches.clusters().n_dropped == 0


def test_many_repeats_are_refused_before_encoding(fast_model, monkeypatch):
    """10,000 copies of one text are 50 million pairs: said at once, not after an hour."""
    monkeypatch.setattr(type(fast_model.encoder), "embed", lambda *_, **__: pytest.fail("encoded"))
    with pytest.raises(TooManyMatches, match="49,995,000 pairs match"):
        find_duplicates(fast_model, ["pay"] * 10_000, threshold=0.5)


def test_texts_that_were_cut_are_told(fast_model):
    """Positions of the texts longer than the maximum."""
    assert list(find_duplicates(fast_model, ["pay", "pay " * 100], threshold=0.9).cut) == [1]


def test_repeats_are_found_without_an_encoder():
    """Equal texts, and equal after normalisation: case, whitespace, width."""
    texts = ["How do I pay?", "how do I  pay?", None, "Ｈow do I pay？", "How do I pay?", "Where?"]
    assert {(m.left, m.right) for m in find_repeats(texts)} == {(0, 1), (0, 3), (0, 4), (1, 3), (1, 4), (3, 4)}
    assert {(m.left, m.right) for m in find_repeats(texts, normalised=False)} == {(0, 4)}
    with pytest.raises(TooManyMatches):
        find_repeats(["a"] * 100, max_matches=10)


def test_another_searcher_may_be_handed_in(fast_model):
    """The table's name or a caller's own function; an unknown name is refused."""
    from textsiam import threshold_join

    ours = find_duplicates(fast_model, QUESTIONS, threshold=0.9, searcher=threshold_join)
    assert len(ours) == len(find_duplicates(fast_model, QUESTIONS, threshold=0.9))
    with pytest.raises(ValueError, match="no searcher 'magic'"):
        find_duplicates(fast_model, QUESTIONS, threshold=0.9, searcher="magic")
