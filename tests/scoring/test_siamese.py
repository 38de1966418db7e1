"""Score, probability, decision: what they promise, and what they refuse."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsiam import Calibrator, Siamese, Threshold, evaluate
from textsiam.errors import EncoderMismatch, NotCalibrated, UnreadableInput
from textsiam.samples import PAIRS
from textsiam.scoring.similarity import SIMILARITIES
from textsiam.scoring.thresholds import decisions

FIRST = ["How do I reset my password?", "Where is my parcel?", None, "a"]
SECOND = ["I forgot my password, how do I change it?", "What is the weather in Lima?", "x", "a"]


@pytest.fixture(scope="module")
def model(cosine):
    """Decides by cosine alone: what is tested here does not depend on what decides."""
    return cosine


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_score_is_the_similarity_of_the_embeddings(model, similarity):
    """For every similarity: (n,) fp32, NaN where a text is unusable, symmetric."""
    scorer = Siamese(model.encoder, similarity)
    scores = scorer.score(FIRST, SECOND)
    assert scores.dtype == np.float32
    assert np.isnan(scores).tolist() == [False, False, True, False]
    a, b = (model.encode([text for text in texts if text != "x" and text]) for texts in (FIRST, SECOND))
    # Encoded in other batches, coordinates differ in their last digits; Manhattan adds up 384 of them.
    atol = 1e-4 if similarity == "manhattan" else 1e-5
    np.testing.assert_allclose(scores[[0, 1, 3]], SIMILARITIES[similarity].paired(a, b), atol=atol)
    np.testing.assert_array_equal(scores, scorer.score(SECOND, FIRST))


def test_the_default_knows_a_paraphrase_from_another_question(model):
    """Score, probability and decision agree in order; equal texts are accepted."""
    probability = model.probability(FIRST, SECOND)
    assert probability[3] > probability[0] > probability[1]
    assert np.isnan(probability[2])
    assert model.decide(FIRST, SECOND).tolist() == ["review", "reject", "review", "accept"]
    assert model.score(["a"], ["a"])[0] == 1


def test_unusable_texts_are_reported(model, caplog):
    """With the row and the reason."""
    with caplog.at_level(logging.WARNING, "textsiam"):
        model.score(FIRST, SECOND)
    assert "1 row set aside: 1 first text null (row 3); they score NaN" in caplog.text


def test_no_pairs_give_no_scores(model):
    """Empty in, empty out."""
    assert model.score([], []).shape == (0,)
    assert model.decide([], []).shape == (0,)
    with pytest.raises(UnreadableInput, match="1 first and 2 second"):
        model.score(["a"], ["a", "b"])


def test_a_model_without_evidence_refuses_to_decide(model):
    """Never calibrated or certified raises; certified to none sends everything to review."""
    bare = Siamese(model.encoder)
    with pytest.raises(NotCalibrated, match="never calibrated"):
        bare.probability(["a"], ["a"])
    with pytest.raises(NotCalibrated, match="none was certified"):
        bare.decide(["a"], ["a"])
    assert Siamese(model.encoder, threshold=Threshold(None)).decide(["a"], ["a"]).tolist() == ["review"]
    with pytest.raises(ValueError, match="no similarity 'jaccard'"):
        Siamese(model.encoder, "jaccard")


@given(scores=st.lists(st.floats(-1, 1, width=32) | st.just(float("nan")), max_size=20))
def test_decisions_cut_at_the_thresholds(scores):
    """Accept at or above, reject below, review between and for NaN."""
    array = np.array(scores, dtype=np.float32)
    expected = ["accept" if s >= np.float32(0.7) else "reject" if s < np.float32(0.3) else "review" for s in array]
    assert decisions(array, Threshold(0.7), Threshold(0.3)).tolist() == expected
    assert decisions(array, Threshold(None), Threshold(None)).tolist() == ["review"] * len(scores)


def test_a_score_equal_to_the_threshold_is_accepted():
    """In fp32, in which scores are given: fp32(0.7) lies below 0.7, and still reaches it."""
    assert decisions(np.array([np.float32(0.7)]), Threshold(0.7)).tolist() == ["accept"]


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), min_size=2, max_size=9, unique_by=lambda knot: knot[0]))
def test_a_calibrator_rises_within_bounds_and_survives_json(knots):
    """Any rising knots: monotone, in [0, 1], the same after to_json and from_json."""
    scores, probabilities = sorted(s for s, _ in knots), sorted(p for _, p in knots)
    calibrator = Calibrator(tuple(scores), tuple(probabilities), {"on": "x"})
    grid = np.linspace(-2, 2, 200)
    values = calibrator(grid)
    assert (np.diff(values) >= 0).all()
    assert ((values >= 0) & (values <= 1)).all()
    np.testing.assert_allclose(calibrator(np.array(scores)), probabilities)
    assert Calibrator.from_json(calibrator.to_json()) == calibrator
    assert np.isnan(calibrator(np.array([np.nan]))).all()


@pytest.mark.parametrize(
    ("scores", "probabilities"),
    [((0.0,), (0.5,)), ((0.0, 0.0), (0.1, 0.2)), ((0.0, 1.0), (0.9, 0.1)), ((0.0, 1.0), (0.0, 1.1))],
)
def test_a_calibrator_refuses_knots_that_do_not_rise(scores, probabilities):
    """Too few, repeated, falling, out of bounds."""
    with pytest.raises(ValueError, match="strictly rising"):
        Calibrator(scores, probabilities)
    with pytest.raises(ValueError, match="finite"):
        Threshold(float("nan"))


def test_a_judgement_says_what_probability_and_decide_say(model):
    """One place makes both; a model that has neither says None; scores that are known are not computed again."""
    judged = model.judgement(FIRST, SECOND)
    scores = judged.score
    np.testing.assert_array_equal(judged.probability, model.probability(FIRST, SECOND))
    assert judged.decision.tolist() == model.decide(FIRST, SECOND).tolist()
    bare = Siamese(model.encoder).judgement(FIRST, SECOND, scores=scores)
    assert bare.score is scores or (bare.score[3] == scores[3] and np.isnan(bare.score[0]) == np.isnan(scores[0]))
    assert bare.columns() == ([None] * 4, [None] * 4, [None] * 4)
    probability, decision, _ = judged.columns()
    assert (probability[3], decision) == (judged.probability[3], ["review", "reject", "review", "accept"])


def test_a_prompt_reaches_probability_and_decision(model):
    """What scores with a prompt also has its probability and decision with that prompt."""
    judged = model.judgement(FIRST, SECOND, prompt="my little dog: ")
    prompted = model.score(FIRST, SECOND, prompt="my little dog: ")
    np.testing.assert_array_equal(judged.score, prompted)
    assert abs(prompted[0] - model.score(FIRST, SECOND)[0]) > 0.01
    np.testing.assert_array_equal(model.probability(FIRST, SECOND, prompt="my little dog: "), judged.probability)
    decided = model.decide(FIRST, SECOND, prompt="my little dog: ")
    assert decided.tolist() == judged.decision.tolist()


def test_thresholds_that_were_chosen_are_kept(model):
    """`with_thresholds` decides by them, drops the old ones, and refuses those of another encoder or similarity."""
    kept = model.with_thresholds(Threshold(0.9), None)
    assert (kept.threshold, kept.reject_threshold, model.threshold is kept.threshold) == (Threshold(0.9), None, False)
    assert kept.decide(["a", "a"], ["a", "zebra"]).tolist() == ["accept", "review"]
    with pytest.raises(EncoderMismatch, match="of scores of dot"):
        model.with_thresholds(Threshold(0.9, "dot"), None)


def test_a_model_has_one_name(model, tmp_path):
    """The default's is the Hub's everywhere; a folder's its own, without the place where it lies."""
    assert model.encoder.name == "sentence-transformers/all-MiniLM-L6-v2"
    model.save(tmp_path / "my-model")
    saved = Siamese.load(tmp_path / "my-model", dtype="float32", device="cpu")
    assert saved.encoder.name == "my-model"
    assert evaluate(saved, PAIRS, n_draws=2).model.name == "my-model"
