"""What decides when both texts are read: the same pairs, decisions and reasons on every road."""

import re
from dataclasses import replace

import numpy as np
import pytest

from textsiam import Index, Siamese, Threshold, find_duplicates, read_texts
from textsiam.distributing.encoders import Recipe
from textsiam.distributing.pipelines import find_duplicates_in_shards
from textsiam.distributing.runners import Here
from textsiam.distributing.shard_sources import Sizes
from textsiam.distributing.workspace import Workspace
from textsiam.errors import EncoderMismatch, NotCalibrated, UnreadableInput
from textsiam.matching import duplicates
from textsiam.samples import QUESTIONS
from textsiam.scoring.judging import reading
from textsiam.scoring.judging.callable_judge import CallableJudge

TRAPS = (["I can log in. Why?", "Refund of 5 %?"], ["I can not log in. Why?", "Refund of 15 %?"])


@pytest.fixture(scope="module")
def texts():
    return read_texts(QUESTIONS)


@pytest.fixture(scope="module")
def found(judged, texts):
    return find_duplicates(judged, texts)


def told(matches):
    """Everything that is said of each pair, by its ids."""
    columns = matches.columns()
    rows = zip(*(columns[name] for name in ("decision", "reason")), matches.log_odds.tolist(), strict=True)
    return dict(zip(zip(columns["id_a"], columns["id_b"], strict=True), rows, strict=True))


def alike(one, other, tolerance=2e-3):
    """Whether two roads say the same; log-odds to the tolerance of half-precision token vectors."""
    assert one.keys() == other.keys()
    for key, (decision, reason, log_odds) in one.items():
        assert other[key][:2] == (decision, reason), key
        assert abs(other[key][2] - log_odds) <= tolerance, key


def test_matches_are_what_the_judge_does_not_reject(judged, texts, found):
    """Oracle: every pair of the sample questions, given as a pair, from the candidate threshold up."""
    left, right = np.triu_indices(len(texts), 1)
    given = judged.judgement(*([texts[row] for row in rows.tolist()] for rows in (left, right)))
    keep = (given.score >= np.float32(judged.judge.candidates)) & (given.decision != "reject")
    # The last bit of a score at the candidate threshold may differ between the two ways to encode.
    certain = np.abs(given.score - judged.judge.candidates) > 1e-5
    certain &= (np.abs(given.log_odds - judged.threshold.value) > 2e-3) & (
        np.abs(given.log_odds - judged.reject_threshold.value) > 2e-3
    )
    pairs = {
        (a, b) for a, b, sure in zip(left[keep].tolist(), right[keep].tolist(), certain[keep], strict=True) if sure
    }
    assert pairs <= set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert abs(int(keep.sum()) - len(found)) <= int((~certain).sum())
    assert set(found.decision) == {"accept", "review"}
    assert not found.by_score


def test_vetoed_pairs_are_for_review_with_the_reason(judged):
    """However high they score; equal texts and switched-off vetoes aside."""
    wanted = judged.with_vetoes(judged.vetoes).with_thresholds(Threshold(-20.0, "log-odds"), None)
    said = wanted.judgement(*TRAPS)
    assert said.decision.tolist() == ["review", "review"]
    assert said.reason[0].startswith("negation: ")
    assert said.reason[1].startswith("number: ")
    off = judged.with_vetoes(()).with_thresholds(Threshold(-20.0, "log-odds"), None)
    assert off.decide(*TRAPS).tolist() == ["accept", "accept"]
    long = "Where is my parcel? " * 200
    told = wanted.judgement([long, long], [long + "not", long.upper()])
    assert told.decision.tolist() == ["review", "accept"]
    assert told.cut.all()
    assert "cut" in told.reason[0] or "negation" in told.reason[0]


def test_below_the_candidate_threshold_nothing_is_accepted(judged):
    """A search would never find the pair: accepting it elsewhere would be another rule."""
    strict = replace(judged, judge=replace(judged.judge, candidates=0.999), threshold=None, reject_threshold=None)
    strict = strict.with_thresholds(Threshold(-20.0, "log-odds"), None)
    said = strict.judgement(["How do I pay?"], ["How can I pay?"])
    assert (said.decision[0], said.reason[0]) == ("review", "score: below 0.999, where nothing is accepted")
    assert len(find_duplicates(strict, ["How do I pay?", "How can I pay?"])) == 0


def test_swapped_texts_change_nothing(judged, texts):
    """Log-odds are equal to the bit."""
    first, second = list(texts)[:150], list(texts)[150:300]
    one, other = judged.judgement(first, second), judged.judgement(second, first)
    np.testing.assert_array_equal(one.log_odds, other.log_odds)
    assert one.decision.tolist() == other.decision.tolist()


def test_a_threshold_of_scores_makes_the_judge_silent(judged, texts):
    """The pairs are those of cosine alone, without probability and decision."""
    silent = find_duplicates(judged, texts, threshold=0.8)
    plain = find_duplicates(Siamese(judged.encoder), texts, threshold=0.8)
    np.testing.assert_array_equal(silent.left, plain.left)
    assert (silent.decision, silent.log_odds, silent.reason, silent.by_score) == (None, None, None, True)


def test_words_kept_and_words_made_again_decide_alike(judged, texts, found, monkeypatch):
    """Also where they lie in a file."""
    monkeypatch.setattr(reading, "N_BYTES", 1_000)
    alike(told(find_duplicates(judged, texts)), told(found))
    monkeypatch.setattr(reading, "N_KEPT_BYTES", 0)
    alike(told(find_duplicates(judged, texts)), told(found))
    assert not duplicates.may_keep(judged.encoder, list(texts))


def test_an_index_decides_like_the_join(judged, texts, found, tmp_path):
    """Clusters are those of accepted pairs; a search says the same; removing a keeper and verifying keep the rules."""
    with Index.create(tmp_path / "faq", judged) as index:
        parts = [index.add(texts.ids[part], list(texts)[part]) for part in (slice(0, 200), slice(200, None))]
        assert sum(map(len, parts)) == len(found)
        said = {tuple(sorted(re.split(r": | \| ", reason))) for part in parts for reason in part.reason}
        assert said == {tuple(sorted(re.split(r": | \| ", reason))) for reason in found.reason}
        assert index.clusters().groups() == found.clusters().groups()
        assert index.verify()
        answer = index.search([texts[0]])
        assert not answer.by_score
        assert set(answer.decision) <= {"accept", "review"}
        closest = index.search([texts[0]], k=3)
        assert len(closest) == 3
        keeper = index.clusters().groups()[0][0]
        index.remove([texts.ids[keeper]])
        assert index.verify()
    with pytest.raises(EncoderMismatch, match="another judge, threshold or vetoes"):
        Index.open(tmp_path / "faq", judged.with_vetoes(()).with_thresholds(judged_threshold(0.0), None))
    with Index.rebuild(tmp_path / "faq", judged, threshold=0.8) as index:
        assert index.settings["decides"] is None
        assert index.search([texts[0]]).decision is None
    with pytest.raises(UnreadableInput, match="would keep none"):
        Index.create(tmp_path / "other", judged, keep_texts=False)


def judged_threshold(value):
    return Threshold(value, "log-odds")


def test_a_cluster_run_decides_like_the_join(judged, texts, found, tmp_path):
    """Pairs, reasons, clusters and the closest pairs are those of one machine."""
    run = find_duplicates_in_shards(
        judged,
        [str(QUESTIONS)],
        Workspace(tmp_path),
        Here(),
        recipe=Recipe.of(judged, device="cpu"),
        sizes=Sizes(90, 120, 150),
    )
    blocks = list(run.pair_blocks())
    pairs = {
        (a, b): (d, r)
        for of in blocks
        for a, b, d, r in zip(*(of[n] for n in ("id_a", "id_b", "decision", "reason")), strict=True)
    }
    assert pairs == {key: value[:2] for key, value in told(found).items()}
    assert run.n_clusters == len(found.clusters())
    assert run.top.take(np.arange(5)).decision.tolist() == found.top(5).decision.tolist()


def test_saved_and_loaded_it_says_the_same(judged, found, texts, tmp_path):
    """To the bit: what a judge holds is in half precision from the start."""
    judged.save(tmp_path / "model")
    again = Siamese.load(tmp_path / "model", dtype="float32", device="cpu")
    assert (again.vetoes, again.judge.fingerprint) == (judged.vetoes, judged.judge.fingerprint)
    np.testing.assert_array_equal(find_duplicates(again, texts).log_odds, found.log_odds)


def test_thresholds_are_bound_to_judge_and_vetoes(judged, model):
    """Another judge, other vetoes or cosine void them."""
    bound = replace(judged.threshold, encoder=judged.decision_fingerprint)
    assert judged.with_thresholds(bound, None).threshold is bound
    for other in (judged.with_vetoes(["numbers"]), judged.with_judge(replace(judged.judge, candidates=0.7))):
        with pytest.raises(EncoderMismatch, match="encoder, judge or vetoes"):
            other.with_thresholds(bound, None)
    with pytest.raises(EncoderMismatch, match="decides by cosine"):
        judged.with_judge(None).with_thresholds(bound, None)
    with pytest.raises(NotCalibrated):
        find_duplicates(judged.with_judge(judged.judge), ["a", "b"])
    with pytest.raises(ValueError, match="no veto 'colours'"):
        judged.with_vetoes(["colours"])
    with pytest.raises(ValueError, match="corrects cosine"):
        replace(judged.with_judge(judged.judge), similarity="dot")


def test_a_callable_decides_like_a_judge(model, texts):
    """It is asked once for each pair, in one order; it is not saved, and what is no number per pair is refused."""
    asked = []

    def longer_words(first, second):
        asked.extend(zip(first, second, strict=True))
        return [5.0 if len(a) == len(b) else -5.0 for a, b in zip(first, second, strict=True)]

    own = model.with_judge(CallableJudge(longer_words, "lengths", 0.7)).with_thresholds(
        Threshold(0.0, "log-odds"), None
    )
    found = find_duplicates(own, texts)
    assert len(asked) == len(set(asked))
    assert all(a <= b for a, b in asked)
    assert [len(a) == len(b) for a, b in zip(*found.text_columns(), strict=True)] == (found.log_odds > 0).tolist()
    with pytest.raises(ValueError, match="holds no code"):
        own.save("nowhere")
    broken = model.with_judge(CallableJudge(lambda *_: [1.0], "broken"))
    with pytest.raises(ValueError, match="one finite"):
        broken.judgement(["a", "b"], ["c", "d"])
