"""`textsiam split`: parts that can be read back, folds, what it tells, and what it refuses before it reads."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from textsiam import read_pairs, read_triplets, split
from textsiam.data.splitting import SHARES
from textsiam.interfaces.cli import app
from textsiam.interfaces.commands import split as command

PARTS = ("train", "calibration", "test")
ENDINGS = ("csv", "jsonl", "parquet")
N = 60


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command line in a folder of its own, with files of pairs, of graded pairs and of triplets."""
    monkeypatch.chdir(tmp_path)
    texts = {"Question1": [f'how do i pay, "{k}"' for k in range(N)], "Question2": [f"pay\n{k}" for k in range(N)]}
    labels = {"is_duplicate": [k % 3 % 2 for k in range(N)]}
    pd.DataFrame({"qid": range(N)} | texts | labels).to_csv("pairs.csv", index=False)
    scores = {"similarity_score": [k % 7 / 1.4 + 0.01 for k in range(N)]}
    pd.DataFrame(texts | scores).to_json("graded.jsonl", orient="records", lines=True)
    negatives = {f"Negative_{k}": [f"order {k} {row}" for row in range(N)] for k in (2, 1)}
    columns = {"anchor": texts["Question1"], "Positive": texts["Question2"]} | negatives
    pq.write_table(pa.table(columns), "triplets.parquet")
    return lambda *arguments, stdin=None: CliRunner().invoke(app, ["split", *map(str, arguments)], input=stdin)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_parts_are_read_back_as_they_were(run, tmp_path, ending):
    """Columns keep their names, texts, labels and rows their values; the same parts as in Python."""
    assert run("pairs.csv", "-o", "new/parts", "--as", ending, "--seed", 3).exit_code == 0
    assert names_in(tmp_path / "new" / "parts") == sorted(f"{name}.{ending}" for name in PARTS)
    expected = split(read_pairs("pairs.csv"), seed=3)
    for name in PARTS:
        part, own = read_pairs(f"new/parts/{name}.{ending}"), getattr(expected, name)
        assert (part.first, part.second, part.labels.tolist()) == (own.first, own.second, own.labels.tolist())
        assert part.mapping == {"first": "Question1", "second": "Question2", "label": "is_duplicate"}
        assert not part.set_aside
        rows = read_pairs(f"new/parts/{name}.{ending}", score="row", label="is_duplicate").scores
        assert rows.astype(int).tolist() == list(own.rows)


@pytest.mark.parametrize("ending", ENDINGS)
def test_scores_keep_all_their_digits(run, ending):
    """Where a graded pair is linked must not depend on the file that it came through."""
    assert run("graded.jsonl", "-o", "parts", "--as", ending).exit_code == 0
    whole = read_pairs("graded.jsonl")
    scores = dict(zip(whole.first, whole.scores.tolist(), strict=True))
    for name in PARTS:
        part = read_pairs(f"parts/{name}.{ending}")
        assert part.mapping["score"] == "similarity_score"
        assert part.scores.tolist() == [scores[text] for text in part.first]


@pytest.mark.parametrize("ending", ENDINGS)
def test_triplets_keep_their_columns_of_negatives(run, ending):
    """By number, under the names they had."""
    assert run("triplets.parquet", "-o", "parts", "--as", ending).exit_code == 0
    whole = read_triplets("triplets.parquet")
    parts = [read_triplets(f"parts/{name}.{ending}") for name in PARTS]
    assert sum(map(len, parts)) == N
    for part in parts:
        assert part.mapping == whole.mapping
        assert part.mapping["negative_2"] == "Negative_2"
        assert {*zip(*part.columns, strict=True)} <= {*zip(*whole.columns, strict=True)}


def test_folds(run, tmp_path):
    """Train and test of each; every row is tested once or told to stand between two."""
    result = run("pairs.csv", "-o", "parts", "--folds", 3, "--json")
    names = [f"{side}_{k}" for k in (1, 2, 3) for side in ("train", "test")]
    assert names_in(tmp_path / "parts") == sorted(f"{name}.csv" for name in names)
    told = json.loads(result.stdout)["summary"]
    read = {name: read_pairs(f"parts/{name}.csv") for name in names}
    assert {name: part["rows"] for name, part in told["parts"].items()} == {n: len(part) for n, part in read.items()}
    assert told["in_no_test_part"] == N - sum(len(read[f"test_{k}"]) for k in (1, 2, 3)) == 0
    assert not {*read["train_1"].first} & {*read["test_1"].first}
    assert "3 folds of 60 rows, 0 of them between two test parts" in result.stderr


def test_what_it_tells(run):
    """JSON alone on standard output, with the report and the files; people read the rest on standard error."""
    with open("pairs.csv", "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write("x,,text,1\ny,text,text,maybe\n")
    result = run("pairs.csv", "-o", "parts", "--json", "--shares", 0.6, 0.2, 0.2, "--set-aside", "aside.csv")
    told = json.loads(result.stdout)["summary"]
    assert told["files"] == [f"parts/{name}.csv" for name in PARTS]
    assert told["set_aside"] == {"rows": 2, "reasons": {"first text empty": 1, "label is not 0 or 1": 1}}
    assert pd.read_csv("aside.csv")["row"].tolist() == [61, 62]
    report = split(read_pairs("pairs.csv"), shares=(0.6, 0.2, 0.2)).report
    assert {name: told[name] for name in report} == report
    assert report["rows"] == N
    assert "columns: first ← Question1, second ← Question2, label ← is_duplicate" in result.stderr
    assert "A random split would have shared a text with train in 0% of its test rows" in result.stderr
    assert run("pairs.csv", "-o", "others", "--strict").exit_code == 2


@pytest.mark.parametrize("more", [[], ["--folds", "2"]])
def test_standard_input(run, more):
    """Read once, csv or jsonl."""
    lines = [json.dumps({"first": f"a {k}", "second": f"b {k}", "label": k % 2}) for k in range(20)]
    assert run("-", "-o", "json", *more, stdin="\n".join(lines)).exit_code == 0
    with open("pairs.csv", encoding="utf-8") as file:  # noqa: PTH123
        assert run("-", "-o", "csv", *more, stdin=file.read()).exit_code == 0
    name = "train_1" if more else "train"
    assert len(read_pairs(f"json/{name}.csv")) == (10 if more else 16)
    assert read_pairs(f"csv/{name}.csv").mapping["label"] == "is_duplicate"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pairs.csv", "-o", "there"], "there/test.csv exists. Name another folder, or remove it first."),
        (["pairs.csv", "-o", "there", "--as", "jsonl", "--folds", "2"], "there/test_1.jsonl exists"),
        (["train.csv", "-o", "."], "train.csv exists. Name another folder"),
        (["pairs.csv", "-o", "there/test.csv"], "test.csv is a file. Name another folder"),
        (["pairs.csv", "-o", "there/test.csv/deeper"], "test.csv is a file. Name another folder"),
        (["pairs.csv", "-o", "-"], "standard output (-) was named. Name a folder"),
        (["saved", "-o", "saved"], "saved is inside saved, so the parts would become part of the source. Name another"),
        (["saved", "-o", "saved/parts"], "saved/parts is inside saved"),
        (["pairs.csv", "-o", "parts", "--set-aside", "pairs.csv"], "pairs.csv is also an input or another output"),
        (["pairs.csv", "-o", "saved", "--set-aside", "saved/test.csv"], "test.csv is also an input or another output"),
        (["pairs.csv", "-o", "parts", "--set-aside", "-", "--json"], "Standard output would get two answers"),
        (["pairs.csv", "-o", "parts", "--shares", "0.5", "0.5", "0.5"], "3 numbers from 0 to 1 that sum to 1"),
        (["pairs.csv", "-o", "parts", "--shares", "a", "0.5", "0.5"], "'--shares'"),
        (["pairs.csv", "-o", "parts", "--folds", "1"], "at least 2 folds, but got 1"),
        (["pairs.csv", "-o", "parts", "--folds", "3", "--shares", "0.5", "0.3", "0.2"], "Give --folds or --shares"),
        (["pairs.csv", "-o", "parts", "--as", "xlsx"], "There is no format xlsx. Use csv, jsonl, parquet."),
        (["pairs.csv"], "Missing option '--output'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refused_before_anything_is_read(run, tmp_path, monkeypatch, arguments, message):
    """Exit code 2 with a clear line; no file is changed, none is made."""
    monkeypatch.setattr("textsiam.data.readers.read_examples", lambda *_, **__: pytest.fail("it was read"))
    for name in ("there/test.csv", "there/test_1.jsonl", "train.csv", "saved/state.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("question1,question2\npay,pay\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "There is no file none.csv. Check the name, or use - for standard input."),
        (["pairs.csv", "--first", "Question1"], "only 'Question1' was named. Name both"),
        (["pairs.csv", "--label", "same"], "pairs.csv has no column 'same'. It has: qid, Question1"),
        (["empty.csv"], "empty.csv has no usable pair: it has a header and no row"),
        (["-"], "Standard input is empty. Give a file with at least one row"),
    ],
)
def test_what_cannot_be_read_leaves_nothing(run, tmp_path, arguments, message):
    """Exit code 2, and no folder."""
    (tmp_path / "empty.csv").write_text("question1,question2\n")
    result = run(*arguments, "-o", "parts", stdin="")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (tmp_path / "parts").exists()


def test_all_parts_appear_or_none(run, tmp_path, monkeypatch):
    """A disk that fills up at the second part leaves no first one, so that the same command can be given again."""
    write = command._write_part

    def fill(target, columns):
        if target.name == "calibration.csv":
            raise OSError(28, "No space left on device", str(target))
        write(target, columns)

    with monkeypatch.context() as patch:
        patch.setattr(command, "_write_part", fill)
        result = run("pairs.csv", "-o", "parts")
    assert result.exit_code == 2
    assert "No space left" in result.stderr
    assert names_in(tmp_path / "parts") == []
    assert run("pairs.csv", "-o", "parts").exit_code == 0
    assert names_in(tmp_path / "parts") == sorted(f"{name}.csv" for name in PARTS)


def test_a_column_called_row_is_kept(run, tmp_path):
    """The rows' numbers then have another name; an empty part keeps its header and types."""
    (tmp_path / "t.csv").write_text("row,other\na,b\nc,d\n")
    assert run("t.csv", "--first", "row", "--second", "other", "-o", "p", "--as", "parquet").exit_code == 0
    tables = [pq.read_table(f"p/{name}.parquet") for name in PARTS]
    assert sorted(row for table in tables for row in table.column("row").to_pylist()) == ["a", "c"]
    assert sorted(row for table in tables for row in table.column("source_row").to_pylist()) == [1, 2]
    assert [table.num_rows for table in tables].count(0) == 1
    assert len({str(table.schema) for table in tables}) == 1


def test_the_commands_shares_are_the_functions():
    """Said twice, so that --help need not import the splitting."""
    assert command.SHARES == SHARES
