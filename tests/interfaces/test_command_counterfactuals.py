"""`textsiam counterfactuals`: pairs that `read_pairs` reads, counts by kind, and what it says of other languages."""

import json

import pytest
from typer.testing import CliRunner

from textsiam import counterfactuals, read_pairs, read_texts
from textsiam.interfaces.cli import app
from textsiam.samples import QUESTIONS


def run(*arguments):
    return CliRunner().invoke(app, ["counterfactuals", *map(str, arguments)])


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_what_is_written_is_read_as_labelled_pairs(tmp_path, ending):
    """The same pairs as in Python."""
    file = tmp_path / f"edits.{ending}"
    answer = run(QUESTIONS, "-o", file, "--seed", 3, "--json")
    assert answer.exit_code == 0, answer.output
    made, read = counterfactuals(read_texts(QUESTIONS), seed=3), read_pairs(file)
    assert (read.first, read.second, read.labels.tolist()) == (
        made.pairs.first,
        made.pairs.second,
        made.pairs.labels.tolist(),
    )
    assert json.loads(answer.stdout)["summary"]["counts"] == made.counts()


def test_other_languages_are_said_to_have_no_rules(tmp_path):
    """Absent, not silently empty."""
    (tmp_path / "texte.txt").write_text("Wo finde ich 24 Karten?\n")
    answer = run(tmp_path / "texte.txt")
    assert answer.exit_code == 0
    assert "English alone has rules: 0 of 1" in answer.output
