"""``--ray`` on a real local cluster of two workers: the table of one machine, also after kills of a worker and of the driver."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from textsiam.encoding.openvino.backend import can_compute
from textsiam.encoding.processor import computes_bf16
from textsiam.samples import QUESTIONS

pytest.importorskip("ray")

THRESHOLD = "0.9"
N_QUESTIONS = 78_969  # all there are
PATIENCE = 1_500  # seconds for a run on all of them, on a slow processor
NO_INT8 = "do not compute in int8" if can_compute("int8") else "does not compute int8"
TOLERANCE = 0.0025  # of a bf16 score, for texts that are encoded in other batches


def start(*arguments, **options):
    """The command in a session of its own, with the cores that it would have for a user."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "textsiam", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def run(*arguments, code=0):
    process = start(*arguments, stdout=subprocess.PIPE)
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    return out, errors


def table(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def scores(path):
    return {(row["id_a"], row["id_b"]): float(row["score"]) for row in table(path)}


def until(found, driver, seconds=PATIENCE):
    """Wait until something is found, and return it; False if the run is over before."""
    for _ in range(seconds * 10):
        if what := found():
            return what
        if driver is not None and driver.poll() is not None:
            return False
        time.sleep(0.1)
    raise TimeoutError


def workers():
    """The processes that encode just now."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and (folder / "cmdline").read_bytes().startswith(b"ray::encode_shard"):
                found.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_the_samples_give_the_answer_of_one_machine(tmp_path):
    """Pairs, clusters and summary; the workspace is gone afterwards."""
    answers = [tmp_path / "pairs.csv", "--clusters", tmp_path / "clusters.csv"]
    out, errors = run("duplicates", QUESTIONS, "--ray", "-o", *answers, "--json", "--dtype", "float32")
    told = json.loads(out)["summary"]
    assert told["lost"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clusters.csv", "pairs.csv"], errors
    one = [tmp_path / "one.csv", "--clusters", tmp_path / "oneclusters.csv"]
    out, _ = run("duplicates", QUESTIONS, "-o", *one, "--json", "--dtype", "float32")
    alone = json.loads(out)["summary"]
    assert {key: told[key] for key in ("texts", "pairs", "clusters", "dropped", "distinct")} == {
        key: alone[key] for key in ("texts", "pairs", "clusters", "dropped", "distinct")
    }
    assert scores(tmp_path / "pairs.csv").keys() == scores(tmp_path / "one.csv").keys()
    keepers = [[row["keeper"] for row in table(tmp_path / name)] for name in ("clusters.csv", "oneclusters.csv")]
    assert keepers[0] == keepers[1]


def test_vectors_are_those_of_one_machine(tmp_path):
    run("encode", QUESTIONS, "--ray", "-o", tmp_path / "many.parquet", "--shard-rows", "7", "--dtype", "float32")
    run("encode", QUESTIONS, "-o", tmp_path / "one.parquet", "--dtype", "float32")
    many, one = (pq.read_table(tmp_path / name) for name in ("many.parquet", "one.parquet"))
    assert many.column("id") == one.column("id")
    assert many.schema == one.schema
    vectors = [np.array(of.column("embedding").to_pylist()) for of in (many, one)]
    np.testing.assert_allclose(*vectors, atol=1e-5)


def patched(folder, code):
    """An environment in whose Python processes this code runs first: nothing else reaches the workers."""
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


DEADLY = """
import os, signal
from textsiam.distributing import encoders
name = encoders.vectors_name
def killed(recipe, shard, rows):
    if shard.source.endswith("deadly.csv"):
        os.kill(os.getpid(), signal.SIGKILL)
    return name(recipe, shard, rows)
encoders.vectors_name = killed
"""

STUBBORN = """
import pathlib
from textsiam.distributing import encoders
load = encoders.load
def once(recipe):
    mark = pathlib.Path({mark!r})
    if not mark.exists():
        mark.touch()
        raise RuntimeError("out of memory")
    return load(recipe)
encoders.load = once
"""


def test_a_shard_that_kills_its_workers_is_named_and_takes_no_other_with_it(tmp_path, monkeypatch):
    for name, texts in {"a": "pay", "deadly": "boom", "b": "order", "c": "refund", "d": "pay", "e": "how"}.items():
        (tmp_path / f"{name}.csv").write_text(f"question\n{texts} one\n{texts} two\n")
    for key, value in patched(tmp_path, DEADLY).items():
        monkeypatch.setenv(key, value)
    out, errors = run(
        "duplicates", f"{tmp_path}/*.csv", "--ray", "--threshold", "0.6", "-o", tmp_path / "p.jsonl", "--json", code=1
    )
    told = json.loads(out)["summary"]
    assert [lost["what"] for lost in told["lost"]] == [f"{tmp_path}/deadly.csv, rows 1 to 2"]
    assert "its worker ended" in told["lost"][0]["why"]
    assert told["texts"] == 10
    assert "left out: " in errors
    assert (tmp_path / "p.jsonl.work").is_dir()


def test_a_worker_that_cannot_be_made_is_made_again(tmp_path, monkeypatch):
    for key, value in patched(tmp_path, STUBBORN.format(mark=str(tmp_path / "mark"))).items():
        monkeypatch.setenv(key, value)
    out, _ = run("duplicates", QUESTIONS, "--ray", "-o", tmp_path / "p.csv", "--json")
    assert json.loads(out)["summary"]["lost"] == []
    assert (tmp_path / "mark").exists()


def test_an_approximate_answer_tells_its_recall(tmp_path):
    _, errors = run("duplicates", QUESTIONS, "--ray", "--approximate", "-o", tmp_path / "p.csv", "--threshold", "0.7")
    assert "approximate: recall " in errors


def test_no_input_is_written_over(tmp_path):
    (tmp_path / "a.csv").write_text("question\npay\npay\n")
    _, errors = run("duplicates", f"{tmp_path}/*.csv", "--ray", "-o", tmp_path / "a.csv", code=2)
    assert "also an input" in errors
    assert (tmp_path / "a.csv").read_text() == "question\npay\npay\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([QUESTIONS, "--ray"], "--output"),
        ([QUESTIONS, "--approximate"], "go with --ray"),
        ([QUESTIONS, "--ray", "-o", "a.csv", "--strict"], "cannot be combined"),
        ([QUESTIONS, "--ray", "-o", "a.csv", "--linkage", "complete"], "cannot be combined"),
        (["/nowhere/*.csv", "--ray", "-o", "a.csv"], "No file matches"),
        ([QUESTIONS, "--ray", "-o", "a.csv", "--dtype", "int8"], NO_INT8),
    ],
)
def test_what_cannot_be_done_is_said_before_a_cluster_is_begun(tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    _, errors = run("duplicates", *arguments, code=2)
    assert told in " ".join(errors.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module", params=[4_000, pytest.param(N_QUESTIONS, marks=pytest.mark.long)])
def n_asked(request):
    """How many real questions."""
    return request.param


@pytest.fixture(scope="module")
def asked(shared, n_asked, tmp_path_factory):
    """Real questions in sixteen files, and the options of every run on them."""
    folder = tmp_path_factory.mktemp("questions")
    table = pq.read_table(shared / "qqp_questions.parquet").slice(0, n_asked)
    size = -(-len(table) // 16)
    files = [folder / f"questions{place:02d}.parquet" for place in range(16)]
    for place, file in enumerate(files):
        pq.write_table(table.slice(place * size, size), file)
    return [*files, "--column", "question", "--threshold", THRESHOLD]


@pytest.mark.shared
@pytest.mark.slow
def test_questions_after_a_killed_driver_and_a_killed_worker(asked, n_asked, tmp_path):
    """fp32, real questions: the same rows as on one machine, to the row."""
    work = tmp_path / "work"
    answers = ["-o", tmp_path / "p.csv", "--clusters", tmp_path / "c.csv"]
    many = ["duplicates", *asked, "--dtype", "float32", "--ray", "--work", work, *answers]

    def n_done():
        return len(list(work.glob("vectors/*.arrow")))

    driver = start(*many)
    assert until(n_done, driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    kept = n_done()
    assert until(lambda: not workers(), driver=None, seconds=60)  # they end with their driver
    again = start(*many, "--json", stdout=subprocess.PIPE)
    encoding = until(lambda: n_done() > kept and workers(), again)
    assert encoding
    os.kill(encoding[0], signal.SIGKILL)
    out, errors = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, errors
    told = json.loads(out)["summary"]
    assert told["lost"] == []
    assert told["texts"] == n_asked
    assert told["stages"]["encode"]["computed"] < told["stages"]["encode"]["tasks"]
    run("duplicates", *asked, "--dtype", "float32", "-o", tmp_path / "p1.csv", "--clusters", tmp_path / "c1.csv")
    assert scores(tmp_path / "p.csv").keys() == scores(tmp_path / "p1.csv").keys()
    many, one = ([row["keeper"] for row in table(tmp_path / name)] for name in ("c.csv", "c1.csv"))
    assert many == one


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("n_asked", [N_QUESTIONS], indirect=True)
@pytest.mark.skipif(not computes_bf16(), reason="this processor does not compute bf16")
def test_questions_in_bf16(asked, tmp_path):
    """Other batches round otherwise: pairs that only one of the two finds lie within the tolerance of the threshold."""
    run("duplicates", *asked, "--dtype", "bfloat16", "--ray", "-o", tmp_path / "many.csv")
    run("duplicates", *asked, "--dtype", "bfloat16", "-o", tmp_path / "one.csv")
    many, one = scores(tmp_path / "many.csv"), scores(tmp_path / "one.csv")
    differ = [score for pairs in (many, one) for pair, score in pairs.items() if pair not in many or pair not in one]
    print(f"{len(differ)} of {len(one)} pairs differ")
    assert len(differ) < len(one) / 1_000
    assert all(score < float(THRESHOLD) + TOLERANCE for score in differ)
