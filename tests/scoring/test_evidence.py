"""A model and its evidence: calibrated and certified on pairs, saved, refused elsewhere, and put to a second judge."""

import csv
import itertools
import json
import logging
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from textsiam import Pairs, Siamese, Threshold, read_pairs, split, train
from textsiam.data.hashes import TextHashes
from textsiam.errors import BrokenModel, EncoderMismatch, NotCalibrated, UnreadableInput
from textsiam.interfaces.cli import app
from textsiam.scoring.evidence.choosing import at_levels, choose
from textsiam.scoring.evidence.scored_pairs import score_pairs, scored_by
from textsiam.scoring.evidence.verifying import certify_decisions
from textsiam.scoring.judging.reading import Reading
from textsiam.scoring.thresholds import verified

NOUNS = ["password", "address", "invoice", "ticket", "username", "subscription", "voucher", "photo", "passport", "lamp"]
THINGS = [
    "bank",
    "library",
    "garden",
    "airline",
    "hotel",
    "school",
    "museum",
    "bakery",
    "doctor",
    "gym",
    "cinema",
    "ferry",
]


def pairs_of(n_wrong=0):
    """120 pairs that mean the same, 120 that do not, each in a component of its own; the last few labelled wrongly."""
    combined = list(itertools.product(NOUNS, THINGS))
    same = [(f"How do I change the {a} at the {b}?", f"How can I change the {a} at the {b}?") for a, b in combined]
    other = [
        (f"Who painted the {a} of the {b}?", f"Is rain likely near {b} number {k}, {a}?")
        for k, (a, b) in enumerate(combined)
    ]
    labels = np.r_[np.ones(len(same), dtype=int), np.zeros(len(other), dtype=int)]
    labels[:n_wrong] = 0
    return Pairs([a for a, _ in same + other], [b for _, b in same + other], labels=labels)


@pytest.fixture(scope="module")
def bare(model):
    return Siamese(model.encoder)


@pytest.fixture(scope="module")
def scored(bare):
    return score_pairs(bare, pairs_of(), on="made-up pairs")


@pytest.fixture(scope="module")
def certified(bare, scored):
    return bare.calibrate(scored).certify(scored, precision=0.9, reject_precision=0.9)


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def write(path, pairs):
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = zip(pairs.first, pairs.second, pairs.labels, strict=True)
        csv.writer(stream).writerows([("sentence1", "sentence2", "label"), *rows])
    return path


def test_a_certified_model_decides_and_says_why(certified):
    """Thresholds with promise and evidence; probabilities; a decision for each pair."""
    assert certified.threshold.guarantee == "precision ≥ 0.90 with 95 % confidence"
    assert certified.reject_threshold.value <= certified.threshold.value
    evidence = certified.threshold.evidence
    assert (evidence["on"], evidence["n_labels"], evidence["n_components"]) == ("made-up pairs", 240, 240)
    assert evidence["n_beyond"] >= 29
    assert evidence["recall"][1] < evidence["recall"][0] <= evidence["recall"][2]
    assert "drawn at random from each component" in evidence["estimand"]
    assert certified.decide(["How do I pay?", None], ["How do I pay?", "x"]).tolist() == ["accept", "review"]
    assert certified.probability(["How do I pay?"], ["How do I pay?"])[0] > 0.8
    assert certified.calibrator.evidence["on"] == "made-up pairs"


def test_the_model_it_came_from_stays_as_it_is(bare, certified):
    """Change makes a new one."""
    assert (bare.threshold, bare.calibrator) == (None, None)
    assert certified.encoder is bare.encoder


def test_evidence_survives_saving(certified, tmp_path):
    """Value, promise, evidence, encoder; the same decisions."""
    certified.save(tmp_path / "model")
    again = Siamese.load(tmp_path / "model", dtype="float32")
    for name in ("threshold", "reject_threshold", "calibrator"):
        assert getattr(again, name).to_json() == json.loads(json.dumps(getattr(certified, name).to_json()))
    pairs = pairs_of()
    assert (again.decide(pairs.first, pairs.second) == certified.decide(pairs.first, pairs.second)).all()


def test_none_exists_means_review(bare):
    """Labels that scores do not follow: no threshold, everything is review, and the model says so after saving too."""
    pairs = pairs_of()
    labels = np.random.default_rng(0).integers(0, 2, len(pairs))
    none = bare.certify(Pairs(pairs.first, pairs.second, labels=labels))
    assert (none.threshold.value, none.reject_threshold.value) == (None, None)
    assert str(none.threshold).startswith("none exists (precision ≥ 0.95 with 95 % confidence, on 240 pairs")
    assert set(none.decide(pairs.first, pairs.second)) == {"review"}
    assert none.threshold.evidence["review"] == 1


def test_numpy_arguments_are_saved_like_pythons(tmp_path):
    """Seeds and levels come from arrays; what is written is JSON that every reader takes. (Here types are checked: not there.)"""
    code = f"""
import json, numpy as np
from pathlib import Path
from textsiam import Siamese
from textsiam.samples import PAIRS
place = Path({str(tmp_path)!r})
told = Siamese.load().calibrate(PAIRS, seed=np.int64(3))
told = told.certify(PAIRS, precision=np.float32(0.75), seed=np.uint8(3), on=place)
told.save(place / "model")
def refuse(token):
    raise AssertionError(token)
json.loads((place / "model" / "textsiam.json").read_text(), parse_constant=refuse)
assert Siamese.load(place / "model").threshold == told.threshold
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        dict(seed=-1),
        dict(seed=1.5),
        dict(seed=True),
        dict(precision=1.5),
        dict(confidence=95.0),
        dict(reject_precision=1.5),
    ],
)
def test_what_cannot_be_certified_is_refused_before_the_slow_work(bare, wrong, monkeypatch):
    """No pair is scored for a target that means nothing."""
    monkeypatch.setattr(Siamese, "read", lambda *_, **__: pytest.fail("scored"))
    with pytest.raises((ValueError, TypeError)):
        bare.certify(pairs_of(), **wrong)


def test_evidence_of_another_similarity_or_precision_is_refused_or_told(certified, scored, caplog):
    """A calibrator reads scores of its similarity; pairs scored in bf16 prove nothing of fp32; loading in another dtype warns."""
    with pytest.raises(EncoderMismatch, match="its calibrator is of scores of cosine"):
        Siamese(certified.encoder, "dot", calibrator=certified.calibrator)
    other = replace(scored, told={**scored.told, "precision_class": "bfloat16"})
    with pytest.raises(EncoderMismatch, match="scored in bfloat16, but the model computes in float32"):
        certified.certify(other)
    with caplog.at_level(logging.WARNING, "textsiam"):
        Siamese.load(dtype="float16", device="cpu")
    assert "the evidence was made in float32, this encoder computes in float16" in caplog.text


def test_the_pairs_that_chose_the_thresholds_are_known_again(certified, scored, caplog):
    """In any order: they flatter what they chose."""
    with caplog.at_level(logging.WARNING, "textsiam"):
        certify_decisions(certified, scored.pairs.take(np.arange(len(scored))[::-1]), precision=0.5)
    assert "the pairs that the thresholds were certified on" in caplog.text


@pytest.mark.parametrize("kind", ["threshold", "reject_threshold", "calibrator"])
def test_evidence_of_another_encoder_is_refused(certified, tiny_transformer, kind):
    """A cut of one encoder's scores says nothing of another's."""
    other = Siamese.load(tiny_transformer("bert"), device="cpu")
    with pytest.raises(EncoderMismatch, match=f"The {kind} was made for the encoder"):
        replace(other, **{kind: getattr(certified, kind)})
    with pytest.raises(EncoderMismatch, match="but this one is"):
        Siamese(other.encoder, threshold=certified.threshold)


def test_evidence_put_into_another_folder_is_refused(certified, tiny_transformer, tmp_path):
    """Also when textsiam.json itself was written for another encoder."""
    other = Siamese.load(tiny_transformer("bert"), device="cpu")
    foreign = replace(other, threshold=Threshold(0.9, evidence={"on": "x"}))
    foreign.save(tmp_path / "model")
    from textsiam.encoding.model_folder import layout

    file = tmp_path / "model" / "textsiam.json"
    told = json.loads(file.read_text())
    told["threshold"] = certified.threshold.to_json()
    told["checksum"] = layout._checksum({key: value for key, value in told.items() if key != "checksum"})
    file.write_text(json.dumps(told))
    with pytest.raises(EncoderMismatch, match="was made for the encoder"):
        Siamese.load(tmp_path / "model", device="cpu")


def test_scores_of_another_encoder_are_refused(scored, tiny_transformer, bare):
    """`ScoredPairs` know whose they are; of the same encoder but another similarity they are others too."""
    other = Siamese.load(tiny_transformer("bert"), device="cpu")
    for model in (other, Siamese(bare.encoder, "dot")):
        with pytest.raises(EncoderMismatch, match="Score them with this model"):
            model.certify(scored)
    assert scored_by(bare, scored) is scored


def test_pairs_that_share_texts_with_training_are_set_aside(tiny_transformer, tmp_path, caplog):
    """The folder keeps hashes of its training texts; also those of the start it was trained from, and after saving again."""
    start = Siamese.load(tiny_transformer("bert"), device="cpu")
    pairs = pairs_of()
    mixed = np.random.default_rng(0).permutation(len(pairs))
    learnt, kept = pairs.take(mixed[:120]), pairs.take(mixed[120:])
    quick = dict(max_steps=2, batch_size=8, validation=False)
    tuned = train(start, learnt, output=tmp_path / "one", **quick)
    again = train(tuned, pairs_of().take(mixed[:4]), output=tmp_path / "two", **quick)
    again.save(tmp_path / "three")
    assert (
        score_pairs(Siamese(tuned.encoder, "dot"), pairs).told["rows_seen_in_training"] == 120
    )  # the folder still tells
    loaded = Siamese.load(tmp_path / "three", device="cpu")
    assert loaded.training_texts.holds(learnt.first).all()
    assert not loaded.training_texts.holds(kept.first).any()
    with caplog.at_level(logging.WARNING, "textsiam"):
        scored = score_pairs(loaded, pairs)
    assert "120 pairs hold a text that the model was trained on and are set aside: rows" in caplog.text
    assert (len(scored), scored.told["rows_seen_in_training"]) == (120, 120)
    assert sorted(scored.pairs.rows) == sorted(kept.rows)
    shouted = Pairs([text.upper() for text in learnt.first], learnt.second, labels=learnt.labels)
    with pytest.raises(UnreadableInput, match="All 120 pairs hold a text that the model was trained on"):
        loaded.certify(shouted)


def test_damaged_hashes_are_found(tiny_transformer, tmp_path):
    """The file is recorded like every other."""
    start = Siamese.load(tiny_transformer("bert"), device="cpu")
    replace(start, training_texts=TextHashes.of(["a", "b"])).save(tmp_path / "model")
    file = tmp_path / "model" / "training_texts.hashes"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BrokenModel, match=r"training_texts\.hashes"):
        Siamese.load(tmp_path / "model", device="cpu")
    with pytest.raises(BrokenModel, match="not a rising list"):
        TextHashes.from_bytes(b"12345678" * 2)


def test_conflicting_labels_are_told_and_kept(bare, caplog):
    """In either order and after normalisation; a random draw may meet either."""
    rows = [("How do I pay?", "How to pay?", 1), ("how to  PAY?", "How do I pay?", 0), ("a", "b", 0)]
    with caplog.at_level(logging.WARNING, "textsiam"):
        scored = score_pairs(bare, rows)
    assert "2 rows repeat a pair with another label: rows [1, 2]" in caplog.text
    assert (len(scored), scored.told["conflicting_rows"]) == (3, 2)
    assert scored.components.tolist() == [0, 0, 1]


def test_pairs_without_a_finite_score_are_set_aside(bare, caplog, monkeypatch):
    """What a broken backend gives: the others go on; if none is left, it is said."""
    pairs = pairs_of().take([0, 1, 2])
    scores = np.array([0.5, np.nan, 0.7], dtype=np.float32)
    monkeypatch.setattr(Siamese, "read", lambda *_, **__: Reading(scores.copy(), None, np.zeros(3, dtype=np.bool_)))
    scored = score_pairs(bare, pairs)
    assert list(scored.pairs.rows) == [1, 3]
    assert "1 pairs have no finite score and are set aside: rows [2]" in caplog.text
    scores[:] = np.nan
    with pytest.raises(UnreadableInput, match="None of the 3 pairs has a finite score"):
        score_pairs(bare, pairs)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("a", "b", 1), ("c", "d", 1)], "Both labels are needed"),
        ([("a", "b"), ("c", "d")], "these pairs have no labels"),
    ],
)
def test_labels_that_are_no_use_are_refused(bare, rows, told):
    """One label alone, no labels."""
    with pytest.raises(UnreadableInput, match=told):
        bare.certify(rows)
    with pytest.raises(UnreadableInput, match=told):
        bare.calibrate(rows)


def test_five_labels_certify_nothing_and_calibrate_nothing(bare):
    """The one is an answer, the other an error that says how many are needed."""
    few = pairs_of().take([0, 1, 2, 150, 151])
    assert bare.certify(few).threshold.value is None
    assert bare.certify(few).threshold.evidence["more_labels"] == 54
    with pytest.raises(UnreadableInput, match="at least 5 rows of each label"):
        bare.calibrate(few)


def test_one_target_decides_what_is_accepted(bare, scored):
    """Two are refused; each alone is kept on the labels themselves."""
    with pytest.raises(ValueError, match="precision and recall were given"):
        bare.certify(scored, precision=0.9, recall=0.9)
    scores, labels = scored.scores, scored.labels
    recall = bare.certify(scored, recall=0.9, reject_precision=None)
    assert (scores[labels == 1] >= recall.threshold.value).mean() >= 0.9
    assert recall.reject_threshold is None
    rate = bare.certify(scored, false_match_rate=0.1)
    assert (scores[labels == 0] >= rate.threshold.value).mean() <= 0.1
    assert rate.threshold.guarantee.startswith("false-match rate ≤ 0.10")


def test_nothing_that_is_accepted_is_rejected(scored):
    """Where both cuts overlap the rejecting one gives way, to a cut that is certified too."""
    told = choose(scored, recall=0.9, reject_precision=0.5)
    assert told.reject.value <= told.accept.value
    loose = choose(scored, precision=0.5, reject_precision=0.5).reject_certificate
    assert told.accept.value < [cut.value for cut in loose.cuts if cut.passed][-1]
    assert told.reject.value in {cut.value for cut in told.reject_certificate.cuts if cut.passed}
    below = scored.scores < told.reject.value  # its evidence is that of the cut it has, not of the looser one
    assert told.reject.evidence["n_beyond"] == below.sum()
    assert told.reject.evidence["n_right"] == (scored.labels[below] == 0).sum()


def test_levels_are_each_what_it_would_be_alone(scored):
    """The table of targets, and the share that each leaves for review."""
    for row in at_levels(scored, (0.8, 0.9)):
        alone = choose(scored, precision=row["precision"])
        assert (row["accept"], row["review"]) == (alone.accept.value, alone.review)


def test_a_verifier_decides_what_is_left_for_review(certified):
    """It sees those pairs alone, once; True, False and None; anything else is refused."""
    first, second = ["How do I pay?", "a", "cat", None], ["How do I pay?", "b", "cats", "x"]
    plain = certified.decide(first, second)
    seen = []

    def judge(one, other):
        seen.extend(zip(one, other, strict=True))
        return [True, False, None][: len(one)]

    decided = certified.decide(first, second, verifier=judge)
    assert seen == [
        pair for pair, told in zip(zip(first, second, strict=True), plain, strict=True) if told == "review" and pair[0]
    ]
    assert decided[plain != "review"].tolist() == plain[plain != "review"].tolist()
    assert decided[-1] == "review"
    answers = verified(
        np.full(5, "review"), list("abcde"), list("vwxyz"), lambda *_: [True, np.bool_(False), None, np.nan, 1.0]
    )
    assert answers.tolist() == ["accept", "reject", "review", "review", "accept"]
    with pytest.raises(ValueError, match="gave 1 answers"):
        verified(np.full(2, "review"), ["a", "b"], ["c", "d"], lambda *_: [True])
    with pytest.raises(ValueError, match="gave a single bool"):
        verified(np.full(1, "review"), ["a"], ["b"], lambda *_: True)
    with pytest.raises(ValueError, match=r"answered 0\.7"):
        verified(np.full(1, "review"), ["a"], ["b"], lambda *_: [0.7])


def test_the_combined_decision_is_certified_on_other_pairs(certified):
    """A good verifier is certified, a bad one is not, and none at all leaves more for review."""
    fresh = pairs_of()
    fresh = Pairs([f"{text} Please." for text in fresh.first], fresh.second, labels=fresh.labels)
    truth = dict(zip(zip(fresh.first, fresh.second, strict=True), fresh.labels.tolist(), strict=True))

    def knows(one, other):
        return [bool(truth[pair]) for pair in zip(one, other, strict=True)]

    good = certify_decisions(certified, fresh, verifier=knows, precision=0.9, reject_precision=0.9)
    assert good
    assert good.review == 0
    bad = certify_decisions(certified, fresh, verifier=lambda one, _: [True] * len(one), precision=0.9)
    alone = certify_decisions(certified, fresh, precision=0.9)
    if alone.review:
        assert bad.accept.n_decided > good.accept.n_decided
        assert bad.accept.found.value < good.accept.found.value
    assert alone.review >= good.review
    assert "accept: precision ≥ 0.90 with 95 % confidence: certified" in str(good)
    nothing = replace(certified, threshold=Threshold(5.0), reject_threshold=None)
    assert "none of 240 independent draws has this decision" in str(certify_decisions(nothing, fresh))
    with pytest.raises(NotCalibrated, match="cannot decide"):
        certify_decisions(Siamese(certified.encoder), fresh)


def test_the_commands_calibrate_and_certify(tmp_path):
    """From a file to a folder that decides; the same folder may be given and written."""
    pairs, target = write(tmp_path / "pairs.csv", pairs_of()), tmp_path / "model"
    done = run("calibrate", pairs, "-o", target)
    assert done.exit_code == 0, done.output
    assert "calibration error" in done.stderr
    done = run("certify", pairs, "--model", target, "--precision", 0.9, "--reject-precision", 0.9, "-o", target)
    assert done.exit_code == 0, done.output
    assert "accept: precision ≥ 0.90 with 95 % confidence: at or above" in done.stderr
    model = Siamese.load(target)
    assert model.calibrator.evidence["on"] == model.threshold.evidence["on"] == "pairs.csv"
    assert model.threshold.value is not None


def test_certify_exits_with_1_where_none_exists(tmp_path):
    """The answer is no; with -o it is kept: everything is review. JSON says the same."""
    pairs = pairs_of()
    labels = np.random.default_rng(0).integers(0, 2, len(pairs))
    file = write(tmp_path / "pairs.csv", Pairs(pairs.first, pairs.second, labels=labels))
    done = run("certify", file, "-o", tmp_path / "model", "--json")
    assert done.exit_code == 1, done.output
    told = json.loads(done.stdout)["summary"]
    assert (told["threshold"]["value"], told["review"]) == (None, 1.0)
    assert [row["precision"] for row in told["by_precision"]] == [0.8, 0.85, 0.9, 0.95, 0.98, 0.99]
    assert Siamese.load(tmp_path / "model").threshold.value is None
    assert run("certify", file).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--precision", "1.5"], "between 0 and 1"),
        (["--precision", "0.9", "--recall", "0.9"], "Give one of them"),
        (["-o", "pairs.csv"], "not a model folder"),
        (["-o", "pairs.csv/model"], "is a file"),
        (["--label", "nothing"], "no column"),
    ],
)
def test_certify_refuses_what_cannot_be_done(tmp_path, monkeypatch, arguments, told):
    """Exit code 2 and the reason, and no output."""
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "pairs.csv", pairs_of().take(range(100, 140)))
    done = run("certify", file, *arguments)
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.stderr.split())


def test_broken_rows_are_set_aside_and_the_others_certify(tmp_path):
    """Labels outside {0, 1}, empty texts: counted with their rows."""
    pairs = pairs_of()
    file = write(tmp_path / "pairs.csv", pairs)
    with file.open("a", encoding="utf-8") as stream:
        stream.write('"x","y",7\n"","y",1\n')
    done = run("certify", file, "--precision", 0.8, "--set-aside", tmp_path / "aside.csv")
    assert done.exit_code == 0, done.output
    assert "2 rows set aside" in done.stderr
    assert len((tmp_path / "aside.csv").read_text().splitlines()) == 3


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.long
def test_a_certificate_holds_on_held_out_components_of_real_pairs(model, shared):
    """Certified on the calibration part of a leak-free split, verified on the test part; 200 splits: benchmarks."""
    parts = split(read_pairs(shared / "mrpc.parquet").take(range(1_200)), shares=(0.0, 0.5, 0.5), seed=0)
    certified = Siamese(model.encoder).certify(parts.calibration, precision=0.75)
    assert certified.threshold.value is not None
    held_out = certify_decisions(certified, parts.test, precision=0.5)
    assert held_out.accept.found.high >= 0.75
