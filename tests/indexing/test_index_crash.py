"""Writers killed at any moment, readers beside a writer: nothing committed is lost, nothing half-written is served."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from textsiam import Index, Siamese
from textsiam.encoding.encoder import Encoder

HERE = Path(__file__).parent


@pytest.fixture
def folder(tmp_path, tiny_transformer):
    tiny = Siamese(Encoder.load(tiny_transformer(), dtype="float32"))
    Index.create(tmp_path / "index", tiny, threshold=0.85, keep_texts=False).close()
    return tmp_path / "index"


def run(script, *arguments):
    """A script in a process of its own, in which a fork copies one thread alone."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **one})
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "n_kills",
    [
        40,
        pytest.param(220, marks=pytest.mark.long),
        pytest.param(int(os.environ.get("TEXTSIAM_KILLS", "2000")), marks=pytest.mark.soak),
    ],
)
def test_a_killed_writer_loses_nothing_committed(folder, n_kills):
    """Many writers, killed (SIGKILL) at random moments of adding, removing and compacting."""
    told = run("index_killing.py", folder, n_kills, 1)
    assert told["kills"] == n_kills
    assert told["changes"] > n_kills - 20
    assert told.get("killed in add", 0) > n_kills // 11
    print(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seconds",
    [
        3,
        pytest.param(10, marks=pytest.mark.long),
        pytest.param(float(os.environ.get("TEXTSIAM_SOAK_S", "600")), marks=pytest.mark.soak),
    ],
)
def test_readers_beside_a_writer_see_whole_changes(folder, seconds):
    """Two readers and a writer at once."""
    told = run("index_soak.py", folder, seconds)
    assert told["changes"] > 2 * seconds
    assert told["reads"] > 2 * seconds
    print(told)
