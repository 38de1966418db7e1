"""What the README shows runs: its Python as written, its commands in a shell."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_no_figure_is_missing():
    """A place kept for a figure that was never measured."""
    assert not re.findall(r"\b[A-Z]+_[A-Z]+\b", README.replace("TEXTSIAM_MODEL", ""))


def test_python_blocks_run(tmp_path, monkeypatch):
    """In order, in one namespace, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102


@pytest.mark.parametrize(
    "line", [line for block in blocks("console") for line in block.splitlines() if line.startswith("$ textsiam")]
)
def test_commands_run(line, tmp_path):
    """Each command shown ends well, on the sample files."""
    from textsiam.samples import PAIRS, QUESTIONS

    (tmp_path / "questions.csv").write_bytes(QUESTIONS.read_bytes())
    (tmp_path / "pairs.csv").write_bytes(PAIRS.read_bytes())
    (tmp_path / "known.csv").write_bytes(QUESTIONS.read_bytes())
    if "parts/train.csv" in line:
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts" / "train.csv").write_bytes(PAIRS.read_bytes())
    command = line.removeprefix("$ textsiam")
    done = subprocess.run(
        f"{sys.executable} -m textsiam {command}", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
