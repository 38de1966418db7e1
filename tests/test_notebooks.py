"""Every notebook runs from its first cell to its last, in its own kernel, with fewer steps than the outputs that it shows."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))

RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
"""


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [NOTEBOOKS[0], *(pytest.param(file, marks=pytest.mark.long) for file in NOTEBOOKS[1:])],
    ids=lambda file: file.stem,
)
def test_it_runs(file, shared, tmp_path):
    environment = {**os.environ, "TEXTSIAM_NOTEBOOKS": "quick", "TEXTSIAM_SHARED": str(shared)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_shows_what_a_run_gave_and_reads_well_in_a_diff(file):
    """Outputs of a whole run, in order and without an error; few lines a cell; no noise of an editor."""
    notebook = nbformat.read(file, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert any(output.output_type == "display_data" for cell in code for output in cell.outputs), "a picture"
    assert not any(cell.metadata for cell in code)
    assert file.stat().st_size < 400_000
