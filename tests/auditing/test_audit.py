"""`Audit` and `textsiam audit`: sampled, labelled by people through kills and spreadsheets, finished; and what is refused."""

import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import textsiam
from textsiam import Matches, Pairs, Siamese, find_duplicates, read_pairs, read_texts
from textsiam.auditing.audit import Audit, start_audit
from textsiam.auditing.audit_folder import guarded, read_labels, unguarded
from textsiam.auditing.pairs_file import read_matches
from textsiam.errors import EncoderMismatch, UnreadableInput
from textsiam.interfaces.cli import app
from textsiam.samples import QUESTIONS
from textsiam.scoring.thresholds import Threshold

ODD = ["=1+1", "+x", "-x", "@x", "'=1", "'", "\tx y", "a\rb", 'q, "x"\n2', "ünï ☃", "  =padded"]


def matches_of(scores, probability=None, texts=None, **more):
    """A chain of matches with these scores: row k with row k + 1."""
    rows = np.arange(len(scores))
    scores = np.array(scores, dtype=np.float32)
    texts = [f"question {row}" for row in range(len(scores) + 1)] if texts is None else texts
    more = dict(left_texts=texts, left_ids=[f"q{row}" for row in range(len(scores) + 1)]) | more
    return Matches(rows, rows + 1, scores, len(scores) + 1, probability=probability, **more)


@pytest.fixture
def matches():
    scores = np.linspace(0.8, 1, 2_000, dtype=np.float32)
    return matches_of(scores, probability=np.linspace(0.1, 0.9, 2_000))


def truth(audit, cut=0.9):
    """Labels by score: right above the cut."""
    return {number: int(audit.pairs.score[number - 1] > cut) for number in range(1, len(audit.pairs) + 1)}


def same(one, other):
    """Whether two audits hold the same, to the last bit."""
    assert one.join == other.join
    assert one.design.to_json() == other.design.to_json()
    for name in ("id_a", "id_b", "text_a", "text_b", "score", "cell"):
        assert list(getattr(one.pairs, name)) == list(getattr(other.pairs, name))
    assert {name: own.tolist() for name, own in one.labels.items()} == {
        name: own.tolist() for name, own in other.labels.items()
    }


def test_an_audit_survives_its_folder(matches, tmp_path):
    """Design, pairs, scores to the bit, and everybody's labels."""
    audit = start_audit(matches, n=50, n_informative=10, threshold=0.8, seed=4)
    audit = audit.label({1: 1, 2: 0, 3: "skip"}, "ann").label({60: 1}, "bob")
    audit.save(tmp_path / "audit")
    same(Audit.open(tmp_path / "audit"), audit)
    assert sorted(path.name for path in (tmp_path / "audit").iterdir()) == ["audit.json", "sample.csv", "training.csv"]


def test_texts_survive_and_cannot_run_as_formulas(tmp_path):
    """Whatever they begin with or hold; no cell of the file begins with a sign that a spreadsheet calculates."""
    texts = [f"{odd} {k}" for odd in ODD for k in range(2)]
    audit = start_audit(
        matches_of([0.9] * (len(texts) - 1), texts=texts, left_ids=[f"={k}" for k in range(len(texts))])
    )
    audit.save(tmp_path / "audit")
    same(Audit.open(tmp_path / "audit"), audit)
    with (tmp_path / "audit" / "sample.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
    for text in [*ODD, "", "''"]:
        assert unguarded(guarded(text)) == text


def test_the_sample_is_drawn_and_shown_by_the_seed(matches):
    """The same seed the same pairs in the same order, another seed others; shown in no order of score."""
    one, again, other = (start_audit(matches, n=80, seed=seed).pairs for seed in (1, 1, 2))
    assert one.id_a == again.id_a
    assert one.id_a != other.id_a
    assert abs(np.corrcoef(one.score, np.arange(80))[0, 1]) < 0.4


def test_each_drawn_pair_carries_its_own_texts_ids_and_score(matches):
    """As in the join."""
    pairs = start_audit(matches, n=40, n_informative=5).pairs
    for place in range(len(pairs)):
        row = int(pairs.id_a[place][1:])
        assert (pairs.id_b[place], pairs.text_a[place]) == (f"q{row + 1}", f"question {row}")
        assert pairs.score[place] == matches.score[row]


def test_the_last_label_counts_and_labelling_makes_a_new_audit(matches):
    """None takes a label back."""
    audit = start_audit(matches, n=20)
    labelled = audit.label({1: 0, 2: 1}).label({1: 1})
    assert audit.n_labelled("me") == 0
    assert labelled.labels["me"][:2].tolist() == [1, 1]
    assert labelled.label({1: None}).unlabelled("me")[0] == 1


@pytest.mark.parametrize(
    ("labels", "labeller", "told"),
    [
        ({0: 1}, "me", "from 1 to 20, but 0"),
        ({21: 1}, "me", "but 21"),
        ({1: 2}, "me", "pair 1 got 2"),
        ({1: 1}, "", "name"),
    ],
)
def test_labels_that_mean_nothing_are_refused(matches, labels, labeller, told):
    """With the pair's number."""
    with pytest.raises(ValueError, match=told):
        start_audit(matches, n=20).label(labels, labeller)


def test_informative_pairs_are_the_least_sure_ones_and_no_drawn_ones(matches):
    """Nearest to a probability of one half; without probabilities, to the model's threshold."""
    pairs = start_audit(matches, n=100, n_informative=10).pairs
    drawn, picked = pairs.score[pairs.cell >= 0], pairs.score[pairs.cell < 0]
    assert not set(drawn.tolist()) & set(picked.tolist())
    assert np.abs(picked - 0.9).max() < 0.002
    assert [pairs.purpose(number) for number in (100, 101)] == ["audit", "training"]


def test_informative_pairs_without_probability_need_a_threshold(cosine, matches):
    """That of the cosine, which is also remembered."""
    bare = replace(matches, probability=None)
    audit = start_audit(
        bare, n=20, n_informative=5, model=replace(cosine, threshold=Threshold(0.85), reject_threshold=None)
    )
    assert np.abs(audit.pairs.score[-5:] - 0.85).max() < 0.002
    assert audit.join["encoder"] == cosine.encoder.fingerprint
    with pytest.raises(ValueError, match="no probability"):
        start_audit(bare, n=20, n_informative=5)


def test_informative_labels_never_enter_certificate_or_estimates(matches):
    """Whatever they say, the result is the same; they come out as pairs to train on."""
    audit = start_audit(matches, n=150, n_informative=30)
    drawn = {number: label for number, label in truth(audit).items() if audit.pairs.purpose(number) == "audit"}
    results = [
        audit.label({**drawn, **dict.fromkeys(range(151, 181), told)}, "ann").label({151: told}, "bob").finish(0.9)
        for told in (0, 1, "skip")
    ]
    plain = [result.to_json() | {"training_pairs": 0} for result in results]
    assert plain[0] == plain[1] == plain[2]
    assert [result.training and result.training.labels.tolist() for result in results] == [[0] * 30, [1] * 30, None]


def test_a_result_says_what_was_proven_and_on_what(matches):
    """Threshold, guarantee, evidence as plain values; everything above it is right here."""
    audit = start_audit(matches, n=200, seed=3)
    result = audit.label(truth(audit), "ann").finish(0.95)
    assert result
    assert 0.89 < result.threshold.value < 0.91
    assert str(result.threshold).endswith("(precision ≥ 0.95 with 95 % confidence, on audit of 2,000 matches)")
    evidence = json.loads(json.dumps(result.threshold.evidence))
    assert (evidence["n_labels"], evidence["n_matches"], evidence["seed"]) == (200, 2_000, 3)
    assert evidence["errors"] == result.n_wrong == sum(label == 0 for label in truth(audit).values())
    assert Threshold.from_json(json.loads(json.dumps(result.threshold.to_json()))).value == result.threshold.value
    assert result.precision.low < 0.5 < result.precision.high
    assert result.recall.value > 0.95
    assert sum(band.n_matches for band in result.bands) == 2_000
    assert result.bands[0].precision.value == 1
    assert "join's own threshold" in str(result)


def test_no_threshold_is_proven_where_none_exists(matches):
    """False as a truth value, None as value, the remedy in words."""
    audit = start_audit(matches, n=200)
    result = audit.label({number: number % 2 for number in truth(audit)}).finish(0.95)
    assert not result
    assert result.threshold.value is None
    assert "none is proven" in str(result)


def test_several_labellers_count_by_majority_and_the_undecided_as_wrong(matches):
    """Ties, skips and pairs without a label are told apart, and cost a certificate what wrong ones do."""
    audit = start_audit(matches, n=100)
    ann = audit.label(dict.fromkeys(range(1, 91), 1), "ann")
    both = ann.label({1: 0, 2: 1, 3: "skip"}, "bob").label({4: "skip", 91: "skip"}, "cy")
    result = both.finish(0.6)
    assert (result.n_labels, result.n_unresolved, result.n_unlabelled, result.n_wrong) == (89, 2, 9, 0)
    assert result.precision.value == 1
    assert result.precision_at_worst.value == pytest.approx(0.89, abs=0.04)
    assert result.agreement[0].n == 2
    wrong = audit.label({number: int(number in range(2, 91)) for number in range(1, 101)}).finish(0.6)
    assert [cut.n_right for cut in result.proof.cuts] == [cut.n_right for cut in wrong.proof.cuts]


def test_all_scores_equal_all_labelled_and_few_matches(matches):
    """One stratum; fewer matches than labels are all drawn, and their precision is known."""
    audit = start_audit(matches_of([0.9] * 30), n=300)
    assert len(audit.design) == 30
    result = audit.label({number: int(number > 2) for number in range(1, 31)}).finish(0.9)
    assert result.precision == pytest.approx((28 / 30,) * 3)
    assert result.threshold.value == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: matches_of([]), "no match to draw from"),
        (lambda: matches_of([0.9, np.nan]), "not finite"),
        (lambda: replace(matches_of([0.9]), left_texts=None), "have none"),
    ],
)
def test_joins_that_cannot_be_audited_are_refused(make, told):
    """Empty, with NaN scores, without texts."""
    with pytest.raises(UnreadableInput, match=told):
        start_audit(make())


def test_wrong_numbers_are_refused(matches):
    """A threshold above a score, fewer than no informative pairs."""
    with pytest.raises(ValueError, match="above its lowest score"):
        start_audit(matches, threshold=0.85)
    with pytest.raises(ValueError, match="0 or more"):
        start_audit(matches, n_informative=-1)


def test_finishing_without_a_label_is_refused(matches):
    """Also if everything was skipped."""
    audit = start_audit(matches, n=20)
    for labelled in (audit, audit.label(dict.fromkeys(range(1, 21), "skip"))):
        with pytest.raises(UnreadableInput, match="None of the 20 pairs"):
            labelled.finish()


def test_a_model_gets_the_threshold_only_if_it_made_the_join(cosine):
    """Its scores of the sample are compared with the join's."""
    matches = find_duplicates(cosine, read_texts(QUESTIONS), threshold=0.6)
    audit = start_audit(matches, n=60)
    audit = audit.label(dict.fromkeys(range(1, 61), 1))
    certified = audit.certify(cosine, 0.9)
    assert certified.threshold.value is not None
    assert certified.threshold.encoder == cosine.encoder.fingerprint
    other = replace(audit, pairs=replace(audit.pairs, score=audit.pairs.score - np.float32(0.05)))
    with pytest.raises(EncoderMismatch, match="60 of 60 pairs score otherwise"):
        other.certify(cosine, 0.9)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: (f / "audit.json").unlink(), "holds no audit"),
        (lambda f: (f / "audit.json").write_text("{"), "is no audit"),
        (lambda f: (f / "audit.json").write_text('{"kind": "other"}'), "is no audit"),
        (lambda f: altered(f, "audit.json", '"schema": 1', '"schema": 2'), "schema 2, this one reads 1"),
        (lambda f: altered(f, "sample.csv", "question", "queston"), "not those that were drawn"),
        (lambda f: altered(f, "sample.csv", "\r\n3,", "\r\n33,"), "in another order"),
        (lambda f: altered(f, "sample.csv", "text_a", "text_c"), "no column text_a"),
        (lambda f: altered(f, "sample.csv", ",audit,1", ",audit,maybe"), "the label 'maybe' by ann"),
        (lambda f: altered(f, "sample.csv", "\r\n3,q", "\r\n3,\udcff"), "not UTF-8"),
    ],
)
def test_an_altered_or_foreign_folder_is_refused(matches, tmp_path, change, told):
    """Another version, other texts, rows out of order, labels that are none: what to do is said."""
    start_audit(matches, n=20).label(dict.fromkeys(range(1, 21), 1), "ann").save(tmp_path / "audit")
    change(tmp_path / "audit")
    with pytest.raises(UnreadableInput, match=told):
        Audit.open(tmp_path / "audit")


def altered(folder, name, old, new):
    path = folder / name
    told = path.read_bytes()
    assert old.encode() in told
    path.write_bytes(told.replace(old.encode(), new.encode("utf-8", "surrogateescape"), 1))


def test_another_audit_is_never_written_over(matches, tmp_path):
    """Nor anything else."""
    start_audit(matches, n=20).save(tmp_path / "audit")
    with pytest.raises(FileExistsError, match="does not hold this audit"):
        start_audit(matches, n=20, seed=1).save(tmp_path / "audit")
    with pytest.raises(FileExistsError, match="does not hold this audit"):
        start_audit(matches, n=20).save(tmp_path)


def test_labels_from_a_file_are_taken_row_by_row(matches, tmp_path):
    """Bad rows are set aside with their numbers, the good ones are kept; white space may have changed, texts may not."""
    audit = start_audit(matches_of([0.9] * 9, texts=[f"= a  b{k}" for k in range(10)]), n=9)
    texts = {"text_a": [guarded(text) for text in audit.pairs.text_a], "text_b": list(audit.pairs.text_b)}
    table = pd.DataFrame(
        {"number": [f"{k}.0" for k in range(1, 10)], **texts, "label_ann": [1, 0, "skip", "", "2", 1, 1, 1, 1]}
    )
    table.loc[0, "text_a"] = " ".join(audit.pairs.text_a[0].split())
    table.loc[5, "text_b"] = "another"
    table.loc[6, "number"] = "12"
    table.loc[7, "number"] = "x"
    table.loc[8, "number"] = "1"
    table.to_csv(tmp_path / "ann.csv", index=False)
    labels, aside = read_labels(audit, str(tmp_path / "ann.csv"), "ann")
    assert labels == {1: 1, 2: 0, 3: -1}
    assert aside.rows == (5, 6, 7, 8, 9)
    assert list(aside.counts()) == [
        "label '2' is not 1, 0 or skip",
        "text_b is not that of pair 6",
        "no pair has the number '12'",
        "no pair has the number 'x'",
        "pair 1 is in an earlier row",
    ]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_matches_come_back_from_a_pairs_file(model, tmp_path, ending):
    """Rows, scores to the bit, probabilities and texts, as `duplicates -o` wrote them."""
    from textsiam.interfaces.shell.terminal import write_columns

    texts = read_texts(QUESTIONS)
    found = find_duplicates(model, texts, threshold=0.8)
    write_columns(tmp_path / f"pairs.{ending}", found.blocks())
    read, aside = read_matches(str(tmp_path / f"pairs.{ending}"), str(QUESTIONS))
    assert not aside
    for name in ("left", "right", "score"):
        assert (getattr(read, name) == getattr(found, name)).all()
    assert read.probability == pytest.approx(found.probability, abs=1e-6)
    assert read.text_columns() == found.text_columns()


def test_matches_of_two_sets_find_their_texts_on_both_sides():
    """An id may stand in both."""
    pairs = {"id_a": ["1", "2"], "id_b": ["1", "1"], "score": [0.9, 0.8]}
    read, _ = read_matches(pairs, ["a", "b"], ["c"])
    assert read.text_columns() == (["a", "b"], ["c", "c"])
    assert (read.n_left, read.n_right) == (2, 1)


def test_matches_may_carry_their_texts():
    """In columns text_a and text_b; a row whose text shows nothing is set aside."""
    pairs = {"id_a": ["x", "y"], "id_b": ["z", "z"], "score": [0.9, 0.8], "text_a": ["a", " "], "text_b": ["c", "d"]}
    read, aside = read_matches(pairs)
    assert (read.text_columns(), read.id_columns()) == ((["a"], ["c"]), (["x"], ["z"]))
    assert aside.counts() == {"text_a only whitespace": 1}


@pytest.mark.parametrize(
    ("pairs", "texts", "told"),
    [
        ({"id_a": ["1"], "id_b": ["2"]}, ["a"], "no column score"),
        ({"id_a": ["1"], "id_b": ["2"], "score": [0.9]}, None, "ids and no texts"),
        (
            {"id_a": ["1"], "id_b": ["7"], "score": [0.9]},
            ["a", "b"],
            r"1 ids that the texts do not hold: '7' \(row 1\)",
        ),
        ({"id_a": ["1"], "id_b": ["2"], "score": ["high"]}, ["a", "b"], "no match .*score 'high' is no finite number"),
        ({"id_a": [], "id_b": [], "score": []}, ["a", "b"], "no match"),
    ],
)
def test_pairs_files_that_cannot_be_audited_are_refused(pairs, texts, told):
    """With what is missing."""
    with pytest.raises(UnreadableInput, match=told):
        read_matches(pairs, texts)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The commands in a folder of its own with a pairs file of 400 matches and its texts."""
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"id": [f"q{k}" for k in range(401)], "text": [f"question {k}" for k in range(401)]}).to_csv(
        "texts.csv", index=False
    )
    ids = {"id_a": [f"q{k}" for k in range(400)], "id_b": [f"q{k + 1}" for k in range(400)]}
    scores = {"score": np.linspace(0.8, 1, 400).round(4), "probability": np.linspace(0.2, 0.9, 400).round(4)}
    pd.DataFrame(ids | scores).to_csv("pairs.csv", index=False)
    return lambda *arguments, stdin=None: CliRunner().invoke(app, ["audit", *map(str, arguments)], input=stdin)


START = ("start", "pairs.csv", "--texts", "texts.csv", "-o", "audit")


def test_the_commands_go_from_plan_to_finish(run, tmp_path):
    """Plan, start, label at the terminal and through a file, status, finish: exit code 0 with a threshold."""
    assert json.loads(run("plan", "--expected", 0.99, "--json").stdout)["summary"]["needed"] == 153
    assert "59" in run("plan").stdout
    started = json.loads(run(*START, "-n", 100, "--informative", 5, "--json").stdout)["summary"]
    assert (started["matches"], started["drawn"], started["informative"]) == (400, 100, 5)
    done = run("label", "audit", "--labeller", "ann", stdin="y\nn\ns\nu\nwhat\ny\nq\n")
    assert done.exit_code == 0
    assert "1 of 100" in done.output
    assert "3 labels given now, 102 pairs left" in done.output
    assert "0.8" not in done.output
    assert Audit.open("audit").labels["ann"][:4].tolist() == [1, 0, 1, -2]
    assert run("label", "audit", "--labeller", "ann", "--to", "ann.csv").exit_code == 0
    table = pd.read_csv("ann.csv", encoding="utf-8-sig")
    assert list(table.columns) == ["number", "id_a", "id_b", "text_a", "text_b", "purpose", "label_ann"]
    table["label_ann"] = [int(int(name[1:]) > 200) for name in table.id_a]
    table.to_csv("ann.csv", index=False)
    taken = run("label", "audit", "--labeller", "ann", "--from", "ann.csv")
    assert "100 labels by ann taken" in taken.output
    assert "replace another label by ann" in taken.output
    assert "ann: 100 of 100 drawn pairs, 0 of 5 to train on" in run("status", "audit").output
    told = json.loads(run("status", "audit", "--json").stdout)["summary"]
    assert (told["decided"], told["not_labelled"], told["labellers"]["ann"]["audit"]) == (100, 0, 100)
    assert run("label", "audit", "--labeller", "ann", "--training", stdin="y\ny\nn\ns\nn\n").exit_code == 0
    done = run("finish", "audit", "--precision", 0.8)
    assert done.exit_code == 0
    assert "precision ≥ 0.80 with 95 % confidence: at or above 0.8" in done.output
    assert read_pairs("audit/for_training.csv").labels.tolist() == [1, 1, 0, 0]
    assert isinstance(read_pairs("audit/for_training.csv"), Pairs)


def test_finishing_says_no_by_exit_code(run):
    """1 where none is proven, 2 where nothing was labelled."""
    run(*START, "-n", 100)
    assert run("finish", "audit").exit_code == 2
    Audit.open("audit").label({number: number % 2 for number in range(1, 101)}).save("audit")
    done = run("finish", "audit", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["summary"]["threshold"]["value"] is None


def test_labels_to_train_on_come_after_the_others(run):
    """In one sitting, marked as such; the end of input quits."""
    run(*START, "-n", 3, "--informative", 2)
    done = run("label", "audit", stdin="y\n" * 4)
    assert done.output.index("3 of 3") < done.output.index("1 of 2  (to train on)")
    assert "4 labels given now, 1 pairs left" in done.output
    assert "labelled every pair" in run("label", "audit", stdin="n\n").output


def test_scores_are_shown_only_when_asked_for(run):
    """At the terminal and in the file."""
    run(*START, "-n", 3)
    assert "score 0." in run("label", "audit", "--show-score", stdin="q\n").output
    run("label", "audit", "--to", "scored.csv", "--show-score")
    assert "score" in pd.read_csv("scored.csv").columns


def test_what_would_move_the_cursor_is_not_shown(run):
    """Escape sequences in a text are marks on the screen; line breaks are kept."""
    pairs = {"id_a": ["1"], "id_b": ["2"], "score": [0.9], "text_a": ["a \x1b[31m b"], "text_b": ["c\nd"]}
    pd.DataFrame(pairs).to_json("odd.jsonl", orient="records", lines=True)
    run("start", "odd.jsonl", "-o", "audit")
    shown = run("label", "audit", stdin="q\n").output
    assert "\x1b" not in shown
    assert "c\n     d" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("start", "none.csv", "--texts", "texts.csv", "-o", "new"), "no file none.csv"),
        (("start", "pairs.csv", "-o", "new"), "ids and no texts"),
        (
            ("start", "pairs.csv", "--texts", "pairs.csv", "--column", "id_a", "-o", "new"),
            "ids that the texts do not hold",
        ),
        (("start", "texts.csv", "--texts", "texts.csv", "-o", "new"), "is no pairs file"),
        (("start", "pairs.csv", "--against", "texts.csv", "-o", "new"), "no texts were given|Give the file"),
        (START, "audit exists"),
        (("start", "pairs.csv", "--texts", "texts.csv", "-o", "no/where"), "does not exist"),
        (("start", "pairs.csv", "--texts", "texts.csv", "-o", "new", "--allocation", "fair"), "no allocation"),
        (("label", "texts.csv"), "holds no audit"),
        (("label", "audit", "--labeller", " "), "labeller's name"),
        (("label", "audit", "--from", "texts.csv"), "needs the columns number and label_me"),
        (("label", "audit", "--from", "a", "--to", "b"), "Give one of the two"),
        (("finish", "audit", "--precision", "2"), "between 0 and 1"),
        (("finish", "audit", "--model", "x"), "no folder to write it to"),
        (("status", "nowhere"), "holds no audit"),
        (("plan", "--expected", "3"), r"lies in \[0, 1\]"),
    ],
)
def test_bad_input_is_told_in_one_line(run, arguments, told):
    """Exit code 2, without a traceback, and nothing is written."""
    run(*START, "-n", 20)
    Audit.open("audit").label({1: 1}).save("audit")
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert pd.Series([" ".join(done.output.replace("│", " ").split())]).str.contains(told).all(), done.output
    assert not os.path.exists("new")  # noqa: PTH110


def test_fewer_matches_than_labels_are_said(run):
    """All are drawn."""
    assert "fewer than 500: label all of them" in run(*START, "-n", 500).output


def test_a_model_is_saved_with_the_threshold(run, cosine, tmp_path):
    """By `finish --cosine -o`; the cosine then decides with it."""
    from textsiam.interfaces.shell.terminal import write_columns

    cosine.save(tmp_path / "model")
    write_columns(tmp_path / "found.csv", find_duplicates(cosine, read_texts(QUESTIONS), threshold=0.6).blocks())
    assert run("start", "found.csv", "--texts", QUESTIONS, "-o", "audit", "-n", 60).exit_code == 0
    Audit.open("audit").label(dict.fromkeys(range(1, 61), 1)).save("audit")
    done = run("finish", "audit", "--precision", 0.9, "--model", "model", "-o", "certified", "--dtype", "float32")
    assert done.exit_code == 0, done.output
    threshold = Siamese.load(tmp_path / "certified").threshold
    assert threshold.value is not None
    assert threshold.evidence["on"].startswith("audit of ")


@contextmanager
def labelling(**streams):
    """`audit label` in a process of its own, which imports the package that is tested; it does not outlive the block."""
    program = "from textsiam.interfaces.cli import app; app()"
    path = {"PYTHONPATH": str(Path(textsiam.__file__).parent.parent)}
    command = [sys.executable, "-c", program, "audit", "label", "audit"]
    with subprocess.Popen(command, env=os.environ | path, **streams) as child:
        try:
            yield child
        finally:
            child.kill()


def wait_for_labels(n, seconds=60):
    end = time.monotonic() + seconds
    while int((Audit.open("audit").labels.get("me", np.full(1, -2)) != -2).sum()) != n:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_labeller_loses_nothing(run):
    """kill -9 in mid-labelling; the next sitting goes on behind the last answer."""
    run(*START, "-n", 20)
    with labelling(stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        child.stdin.write(b"y\nn\ny\n")
        child.stdin.flush()
        wait_for_labels(3)
        child.kill()
    assert "4 of 20" in run("label", "audit", stdin="q\n").output
    assert Audit.open("audit").labels["me"][:4].tolist() == [1, 0, 1, -2]


def test_a_key_is_enough_at_a_terminal_and_interrupting_keeps_what_was_given(run):
    """No return key is needed; Ctrl-C ends with exit code 130."""
    run(*START, "-n", 20)
    ours, theirs = pty.openpty()
    try:
        with labelling(stdin=theirs, stdout=theirs, stderr=theirs) as child:
            for given, key in enumerate((b"y", b"n", b"s"), start=1):
                shown = b""
                while not shown.endswith(b"q(uit): "):
                    shown += os.read(ours, 1)
                time.sleep(0.2)  # a key pressed before the terminal is ready for it is lost
                os.write(ours, key)
                wait_for_labels(given)
            child.send_signal(signal.SIGINT)
            assert child.wait(timeout=60) == 130
    finally:
        os.close(ours)
        os.close(theirs)
    wait_for_labels(3)


def test_nothing_given_is_nothing_to_undo(run):
    run(*START, "-n", 5)
    assert "nothing to undo" in run("label", "audit", stdin="u\nq\n").output


def test_two_labellers_may_work_at_once(run):
    """Each answer is put into the folder as it then is."""
    run(*START, "-n", 5)
    run("label", "audit", "--labeller", "ann", stdin="y\ny\nq\n")
    run("label", "audit", "--labeller", "bob", stdin="n\nq\n")
    run("label", "audit", "--labeller", "ann", stdin="y\nq\n")
    labels = Audit.open("audit").labels
    assert (labels["ann"].tolist(), labels["bob"].tolist()) == ([1, 1, 1, -2, -2], [0, -2, -2, -2, -2])
