"""Training as a user meets it: files of every kind, broken rows, the two commands."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from textsiam import Siamese, Triplets, read_pairs, read_triplets, train
from textsiam.data.readers import read_examples
from textsiam.errors import UnreadableInput
from textsiam.interfaces.cli import app
from textsiam.samples import PAIRS

QUICK = dict(batch_size=8, max_steps=3, evaluations=1)
WORDS = ["pay", "reset", "password", "order", "refund", "where", "how", "my", "the", "is", *"abcdefghij"]


@pytest.fixture(scope="module")
def start(tiny_transformer):
    return Siamese.load(tiny_transformer("bert"), device="cpu")


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return [(" ".join(rng.choice(WORDS, 5)), " ".join(rng.choice(WORDS, 5)), str(k % 2)) for k in range(n)]


def write(path, header, lines):
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *lines])
    return path


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def test_a_csv_as_users_have_it(start, tmp_path):
    """200 rows of question1, question2, is_duplicate."""
    told = train(
        start, write(tmp_path / "p.csv", ["question1", "question2", "is_duplicate"], rows(200)), **QUICK
    ).training
    assert told["data"]["pairs"] == {
        "rows": 180,
        "holds": "labels",
        "loss": told["data"]["pairs"]["loss"],
        "share": None,
        "texts_cut": 0,
    }
    assert told["split"]["validation_rows"] == 20


def test_positives_alone(start, tmp_path):
    """Two columns and no label: every row is a positive."""
    told = train(
        start, write(tmp_path / "p.csv", ["anchor", "positive"], [row[:2] for row in rows(60)]), **QUICK
    ).training
    assert told["data"]["pairs"]["holds"] == "positives"


def test_a_data_set_folder_as_the_hub_has_it(start, tmp_path):
    """Saved by `datasets`, one of its splits."""
    import datasets

    columns = dict(zip(("sentence1", "sentence2", "label"), map(list, zip(*rows(60), strict=True)), strict=True))
    columns["label"] = [int(label) for label in columns["label"]]
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(columns)}).save_to_disk(str(tmp_path / "set"))
    assert train(start, tmp_path / "set", **QUICK).training["data"]["pairs"]["holds"] == "labels"


def test_a_third_of_broken_rows_loses_only_those(start, tmp_path):
    """Empty texts and impossible labels are set aside with their row numbers; the others train."""
    lines = [
        ("", "x", "1") if k % 10 == 0 else ("a", "b", "maybe") if k % 10 in (3, 6) else row
        for k, row in enumerate(rows(200))
    ]
    file = write(tmp_path / "p.csv", ["question1", "question2", "is_duplicate"], lines)
    assert train(start, file, **QUICK).training["split"]["train_rows"] == 126
    answer = run(
        "train", file, "-o", tmp_path / "tuned", "--model", start.encoder.folder.path, "--max-steps", 2, "--json"
    )
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)["summary"]
    assert told["set_aside"] == {"rows": 60, "reasons": {"label is not 0 or 1": 40, "first text empty": 20}}
    assert "60 rows set aside: 40 label is not 0 or 1 (rows 4, 7," in answer.stderr


def test_triplets_are_read_with_their_negatives(tmp_path):
    """Columns by their usual names; broken rows set aside; `read_examples` takes a column of negatives for triplets."""
    lines = [("how do i pay", "pay how", "refund", "order"), ("a", "b", " ", "c"), ("d", "", "e", "f")]
    file = write(tmp_path / "t.csv", ["anchor", "positive", "negative_1", "negative_2"], lines)
    triplets = read_triplets(file)
    assert (len(triplets), len(triplets.negatives)) == (1, 2)
    assert triplets.set_aside.counts() == {"negative only whitespace": 1, "positive empty": 1}
    assert isinstance(read_examples(file), Triplets)
    assert read_examples(PAIRS).labels is not None
    with pytest.raises(UnreadableInput, match="which column holds the negatives"):
        read_triplets(PAIRS)
    with pytest.raises(UnreadableInput, match="at least one column of negatives"):
        Triplets(["a"], ["b"], [])
    with pytest.raises(UnreadableInput, match="columns of equal length"):
        Triplets(["a"], ["b"], [["c", "d"]])
    with pytest.raises(UnreadableInput, match="Row 1 is not a usable triplet: negative empty"):
        Triplets(["a"], ["b"], [[""]])
    assert triplets.take([0]).columns == (["how do i pay"], ["pay how"], ["refund"], ["order"])


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_split_writes_parts_that_are_read_back(tmp_path, ending):
    """Under the columns' own names, with labels and row numbers; what is there is not overwritten."""
    answer = run("split", PAIRS, "-o", tmp_path / "parts", "--as", ending, "--json")
    assert answer.exit_code == 0, answer.output
    told, pairs = json.loads(answer.stdout)["summary"], read_pairs(PAIRS)
    parts = [read_pairs(tmp_path / "parts" / f"{name}.{ending}") for name in ("train", "calibration", "test")]
    assert [len(part) for part in parts] == [told["parts"][name]["rows"] for name in ("train", "calibration", "test")]
    assert parts[0].mapping == pairs.mapping
    labels = dict(zip(zip(pairs.first, pairs.second, strict=True), pairs.labels, strict=True))
    for part in parts:
        assert all(labels[a, b] == y for a, b, y in zip(part.first, part.second, part.labels, strict=True))
    again = run("split", PAIRS, "-o", tmp_path / "parts", "--as", ending)
    assert again.exit_code == 2
    assert "exists. Name another folder" in again.stderr


def test_split_makes_folds_and_reads_standard_input(tmp_path):
    """Train and test of each fold; graded columns keep their scores."""
    lines = "sentence1,sentence2,score\n" + "".join(f"{a},{b},{k % 6}\n" for k, (a, b, _) in enumerate(rows(60)))
    answer = run("split", "-", "-o", tmp_path / "folds", "--folds", 3, stdin=lines)
    assert answer.exit_code == 0, answer.output
    files = sorted(file.name for file in (tmp_path / "folds").iterdir())
    assert files == [f"{side}_{k}.csv" for side in ("test", "train") for k in (1, 2, 3)]
    assert read_pairs(tmp_path / "folds" / "train_1.csv").scores is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split", "none.csv", "-o", "parts"], "There is no file none.csv"),
        (["split", PAIRS, "-o", "parts", "--shares", 0.5, 0.5, 0.5], "sum to 1, but got (0.5, 0.5, 0.5)"),
        (["split", PAIRS, "-o", "parts", "--as", "xlsx"], "no format xlsx"),
        (["train", "none.csv", "-o", "tuned"], "There is no file none.csv"),
        (["train", PAIRS, "-o", "tuned", "--loss", "magic"], "There is no loss 'magic'"),
        (["train", PAIRS, "-o", "tuned", "--loss", "triplet"], "learns from triplets, but"),
        (["train", PAIRS, "-o", "tuned", "--keep", 3], "keep is a share from 0 to 1, but got 3"),
        (["train", PAIRS, "-o", "tuned", "--shares", "0.5,0.5"], "files is 1, but the number of shares is 2"),
        (["train", PAIRS, "-o", "tuned", "--shares", "half"], "A share is a number"),
        (["train", "-o", "tuned"], "Missing argument"),
    ],
)
def test_wrong_calls_are_told_and_leave_nothing(tmp_path, monkeypatch, arguments, message):
    """Exit code 2, one clear line, no output."""
    monkeypatch.chdir(tmp_path)
    answer = run(*arguments)
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert not (tmp_path / "parts").exists()
    assert not (tmp_path / "tuned").exists()


def test_train_does_not_overwrite_what_is_no_model(tmp_path):
    """A folder of other things, a file."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    for place in ("mine", "mine/letter.txt"):
        answer = run("train", PAIRS, "-o", tmp_path / place)
        assert answer.exit_code == 2
        assert "is not a model folder" in answer.stderr


def test_several_files_with_a_loss_each(start, tmp_path):
    """Losses and shares in the files' order."""
    first = write(tmp_path / "a.csv", ["question1", "question2", "is_duplicate"], rows(40))
    second = write(tmp_path / "b.csv", ["anchor", "positive"], [row[:2] for row in rows(40, 1)])
    answer = run(
        "train", first, second, "-o", tmp_path / "tuned", "--loss", "contrastive,multiple_negatives_ranking", "--shares",
        "0.7,0.3", "--max-steps", 2, "--batch-size", 4, "--model", start.encoder.folder.path, "--json",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    data = json.loads(answer.stdout)["summary"]["training"]["data"]
    assert [of["share"] for of in data.values()] == [0.7, 0.3]
    assert "updates in" in answer.stderr
    assert "not calibrated" in answer.stderr
