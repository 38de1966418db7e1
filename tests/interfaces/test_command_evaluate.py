"""`textsiam evaluate`: what it prints, writes and refuses."""

import json

import pytest
import typer
from typer.testing import CliRunner

from textsiam.interfaces.commands.evaluate import evaluate as command
from textsiam.samples import PAIRS


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command in a folder of its own, with the samples as a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_bytes(PAIRS.read_bytes())
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    app.command("other")(lambda: None)
    how = ["--draws", "20", "--worst", "1", "--device", "cpu"]
    return lambda *arguments: CliRunner().invoke(app, ["evaluate", *arguments, *how])


def test_the_command_prints_a_table_and_writes_both_files(run, tmp_path):
    """Table on standard output, the rest on standard error, exit code 0."""
    done = run("pairs.csv", "--report", "out.html", "-o", "out.json")
    assert done.exit_code == 0, done.output
    assert "Average precision" in done.stdout
    assert "columns:" in done.stderr
    assert "out.html" in done.stderr
    assert (tmp_path / "out.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["measured_on"]["on"] == "pairs.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.html", "out.json", "pairs.csv"]


def test_the_command_answers_machines(run):
    """--json is one object on standard output."""
    done = run("pairs.csv", "--json")
    told = json.loads(done.stdout)
    assert told["evaluation"]["measured_on"]["pairs"] == 80
    assert told["summary"]["similarity"] == "cosine"


def test_the_command_takes_a_model_first(run, tiny_transformer):
    """`evaluate MODEL PAIRS`, as well as --model; and a baseline."""
    folder = str(tiny_transformer("bert"))
    done = run(folder, "pairs.csv", "--baseline", folder)
    assert done.exit_code == 0, done.output
    assert "never certified" in done.stdout
    assert "difference" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pairs.csv", "--report", "out.pdf"], "End its name in .html"),
        (["pairs.csv", "-o", "out.csv"], "End its name in .json"),
        (["pairs.csv", "-o", "nowhere/out.json"], "does not exist"),
        (["missing.csv"], "missing.csv"),
        (["a", "pairs.csv", "--model", "b"], "two models"),
        (["a", "b", "pairs.csv"], "3 arguments"),
        (["pairs.csv", "--split", "dev"], "split"),
    ],
)
def test_the_command_refuses_before_the_slow_work(run, tmp_path, arguments, says):
    """Exit code 2, a line that says why, and nothing written."""
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]


def test_the_command_does_not_overwrite_its_input(run, tmp_path):
    """Even where the ending fits."""
    (tmp_path / "pairs.json").write_text("{}", encoding="utf-8")
    done = run("pairs.json", "-o", "pairs.json")
    assert done.exit_code == 2
    assert "also the input" in done.output
    assert (tmp_path / "pairs.json").read_text(encoding="utf-8") == "{}"
