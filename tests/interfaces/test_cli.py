"""The command line end to end on the embedded default: what it answers, writes and says."""

import csv
import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from textsiam import Siamese, find_duplicates, read_texts
from textsiam.interfaces.cli import app
from textsiam.samples import PAIRS, QUESTIONS


def run(*arguments, stdin=None):
    result = CliRunner().invoke(app, [*map(str, arguments)], input=stdin)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def test_duplicates_needs_no_option_and_says_what_it_did():
    """Rows, set aside, threshold and where it comes from, pairs, clusters, time."""
    result = run("duplicates", QUESTIONS)
    told = " ".join(result.stderr.split())
    for word in (
        "text ← question",
        "read 330 rows, 0 set aside",
        "8 repeat an earlier text exactly, 8 more after normalisation",
    ):
        assert word in told
    assert "precision ≥ 0.85 with 95 % confidence, on curated Quora question pairs" in told
    assert "among pairs of a cosine from 0.75 up; --threshold cuts by cosine" in told
    assert "clusters" in told
    assert " s" in told.splitlines()[-1]
    assert "probability" in result.stdout
    duplicates, review = result.stdout.split("pairs for review")
    assert "How can I reset my password?" in duplicates
    assert "euros" not in duplicates
    assert "roles: euros" in review


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_files_out_hold_what_python_finds(ending, tmp_path, model):
    """The same pairs and clusters in every format, as find_duplicates gives them."""
    pairs, clusters = tmp_path / f"pairs.{ending}", tmp_path / f"clusters.{ending}"
    run("duplicates", QUESTIONS, "--dtype", "float32", "-o", pairs, "--clusters", clusters)
    expected = find_duplicates(model, read_texts(QUESTIONS))
    rows = read_rows(pairs)
    assert list(rows[0]) == ["id_a", "id_b", "score", "log_odds", "probability", "decision", "reason"]
    assert [row["id_a"] for row in rows] == expected.id_columns()[0]
    assert [row["id_b"] for row in rows] == expected.id_columns()[1]
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected.score, atol=1e-6)
    np.testing.assert_allclose([float(row["probability"]) for row in rows], expected.probability, atol=1e-5)
    np.testing.assert_allclose([float(row["log_odds"]) for row in rows], expected.log_odds, atol=1e-4)
    assert [row["decision"] for row in rows] == expected.decision.tolist()
    assert [row["reason"] or "" for row in rows] == expected.reason.tolist()
    groups = read_rows(clusters)
    assert list(groups[0]) == ["id", "cluster", "keeper", "score_to_keeper"]
    assert [row["keeper"] for row in groups] == expected.clusters().columns()["keeper"]


def read_rows(path):
    if path.suffix == ".csv":
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return pq.read_table(path).to_pylist()


def test_json_is_one_object_with_everything():
    """Summary, pairs and clusters for machines; nothing else on standard output."""
    answer = json.loads(run("duplicates", QUESTIONS, "--threshold", "0.9", "--json").stdout)
    assert set(answer) == {"summary", "pairs", "clusters"}
    assert answer["summary"]["pairs"] == len(answer["pairs"])
    assert answer["summary"]["threshold"] == {"value": 0.9, "told": "0.9 (given by you: the judge is silent)"}
    encoder = Siamese.load().encoder
    assert (answer["summary"]["backend"], answer["summary"]["precision"]) == (encoder.backend_name, encoder.precision)
    for group in answer["clusters"]:
        assert group["keeper"] == group["members"][0]
        assert 0.9 <= group["weakest"] <= 1


def test_two_sets_are_compared(tmp_path):
    """--against pairs the rows of one file with those of the other, and makes no clusters."""
    (tmp_path / "new.txt").write_text("Where is my order?\nWhat is the moon made of?\n")
    answer = json.loads(
        run("duplicates", tmp_path / "new.txt", "--against", QUESTIONS, "--threshold", "0.95", "--json").stdout
    )
    assert {pair["id_a"] for pair in answer["pairs"]} == {"1"}
    assert "clusters" not in answer


def test_several_files_are_one_set(tmp_path):
    """Ids carry the file's name."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("Where is my order?\n")
    answer = json.loads(run("duplicates", tmp_path / "a.txt", tmp_path / "b.txt", "--json").stdout)
    assert [(pair["id_a"][-7:], pair["id_b"][-7:]) for pair in answer["pairs"]] == [("a.txt:1", "b.txt:1")]


def test_repeats_need_no_model(tmp_path, monkeypatch):
    """--repeats-only works where no model can be had."""
    monkeypatch.setenv("TEXTSIAM_MODEL", str(tmp_path / "missing"))
    answer = json.loads(run("duplicates", "--sample", "--repeats-only", "--json").stdout)
    assert answer["summary"]["pairs"] == 16


def test_csv_on_standard_output_is_only_csv():
    """`-o -` can be piped on."""
    lines = run("duplicates", "--sample", "-o", "-").stdout.splitlines()
    assert lines[0] == "id_a,id_b,score,log_odds,probability,decision,reason"
    assert all(line.count(",") >= 6 for line in lines)


def test_score_a_file_and_a_pair(tmp_path):
    """Score, probability and decision of each pair, in the file's order."""
    run("score", PAIRS, "-o", tmp_path / "scored.parquet")
    table = pq.read_table(tmp_path / "scored.parquet")
    assert table.column_names == ["row", "first", "second", "score", "log_odds", "probability", "decision", "reason"]
    assert table.column("row").to_pylist() == list(range(1, 81))
    answer = json.loads(run("score", "--pair", "How do I pay?", "how do i pay?", "--json").stdout)
    assert answer["pairs"][0]["decision"] == "accept"
    shown = run("score", PAIRS, "--top", "3")
    assert "reject below" in shown.stderr
    assert "scored 80 pairs" in shown.stderr


def test_encode_writes_vectors(tmp_path, model):
    """Ids and vectors in a parquet file, equal to encode."""
    told = json.loads(run("encode", QUESTIONS, "-o", tmp_path / "v.parquet", "--json", "--dtype", "float32").stdout)[
        "summary"
    ]
    assert (told["texts"], told["shards_reused"]) == (330, 0)
    table = pq.read_table(tmp_path / "v.parquet")
    texts = read_texts(QUESTIONS)
    assert table.column("id").to_pylist() == list(texts.ids)
    vectors = np.array(table.column("embedding").to_pylist(), dtype=np.float32)
    np.testing.assert_allclose(vectors, model.encode(texts), atol=1e-5)
    assert CliRunner().invoke(app, ["encode", str(QUESTIONS), "-o", str(tmp_path / "v.csv")]).exit_code == 2


def test_brackets_in_texts_are_no_markup(tmp_path):
    """A question may say [bold]."""
    (tmp_path / "t.txt").write_text("How do I type [bold]?\nHow do I type [bold]?\n[/red] is a tag\n")
    assert "[bold]" in run("duplicates", tmp_path / "t.txt").stdout


def test_a_reader_that_leaves_is_no_error():
    """`textsiam … | head -1` ends quietly."""
    command = f"{sys.executable} -m textsiam duplicates --sample --repeats-only -o - | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("id_a")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_version_and_help_teach():
    """Every command explains itself by example."""
    from textsiam import __version__

    assert run("--version").stdout.strip() == f"textsiam {__version__}"
    for command in ("duplicates", "score", "encode"):
        assert "--model" in run(command, "--help").stdout


def shell(line, *, check=True, **told):
    """What a shell does with this line, ``textsiam`` being this package's command."""
    textsiam = f"{sys.executable} -W ignore -m textsiam"
    return subprocess.run(
        ["bash", "-c", line.replace("textsiam", textsiam)],
        capture_output=True,
        text=True,
        timeout=120,
        check=check,
        **told,
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- 2>&- >&-"])
def test_closed_streams_lose_what_is_said_and_nothing_else(tmp_path, closed):
    """As services and cron start processes: the file is written, and the exit code is that of success."""
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("sentence1,sentence2\nHow do I pay?,How can I pay?\n")
    shell(f"textsiam score {pairs} -o {tmp_path / 'out.csv'} {closed}")
    assert (tmp_path / "out.csv").read_text().count("\n") == 2
    shell(f"textsiam --version {closed}")


def test_closed_streams_still_answer(tmp_path):
    """With standard error closed standard output holds the answer; standard input closed is empty, in one line."""
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("sentence1,sentence2\nHow do I pay?,How can I pay?\n")
    assert json.loads(shell(f"textsiam score {pairs} --json 2>&-").stdout)["summary"]["pairs"] == 1
    told = shell("textsiam score - --format csv <&-", check=False)
    assert told.returncode == 2
    assert "Traceback" not in told.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_full_streams(tmp_path):
    """What cannot be said is no reason to fail; an answer that cannot be given is, in one line."""
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("sentence1,sentence2\nHow do I pay?,How can I pay?\n")
    shell(f"textsiam score {pairs} -o {tmp_path / 'out.csv'} 2>/dev/full")
    assert (tmp_path / "out.csv").exists()
    for asked in (f"score {pairs}", "--version", "--help"):
        told = shell(f"textsiam {asked} >/dev/full", check=False)
        assert told.returncode == 2, (asked, told)
        assert "Traceback" not in told.stderr
        assert "No space left" in told.stderr


def test_an_interruption_says_what_was_written(tmp_path, monkeypatch):
    """One file may be finished when another is not."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    files = [str(tmp_path / name) for name in ("pairs.csv", "clusters.csv")]
    asked = ["duplicates", str(QUESTIONS), "-o", files[0], "--clusters", files[1]]
    for stops, told in (
        ("matches.Matches.clusters", f"{files[0]} had been"),
        ("duplicates.find_duplicates", "Nothing was"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(f"textsiam.matching.{stops}", interrupted)
            result = CliRunner().invoke(app, asked)
        assert result.exit_code == 130
        assert f"interrupted. {told} written" in " ".join(result.stderr.split())
        assert Path(files[0]).exists() == (stops == "matches.Matches.clusters")
        Path(files[0]).unlink(missing_ok=True)


def test_an_interruption_at_the_very_start_is_one_like_any_other():
    """While the program is still being read: no traceback, and the usual code."""
    code = (
        "import sys; sys.modules['textsiam.interfaces.cli'] = None\n"
        "import builtins; real = builtins.__import__\n"
        "def stop(name, *rest):\n"
        "    if name == 'textsiam.interfaces.cli': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = stop\n"
        "from textsiam.__main__ import main; main()\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (130, "")


def test_a_second_interruption_is_as_quiet_as_the_first():
    """While Python waits for threads and clears up, Ctrl-C shows no traceback: the process ends."""
    code = (
        "import os, signal, sys, threading, time; sys.modules['torch'] = None  # as after training\n"
        "from textsiam.interfaces.cli import leave\n"
        "threading.Thread(target=lambda: (time.sleep(0.5), os.kill(os.getpid(), signal.SIGINT), time.sleep(5))).start()\n"
        "leave(130)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (-signal.SIGINT, "")


def test_a_terminal_shows_that_a_source_is_being_read():
    """As long as it comes; then it is wiped away, and where nobody watches nothing is shown."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "textsiam", "duplicates", "-", "--repeats-only"]
    terminal = {**os.environ, "TERM": "xterm"}
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=theirs, env=terminal)
    os.close(theirs)
    shown = b""
    try:
        while b"reading standard input" not in shown:
            assert select.select([ours], [], [], 60)[0], shown
            shown += os.read(ours, 1_000)
        child.communicate(b"How do I pay?\nhow do I pay?\n", timeout=60)
        assert child.returncode == 0
        with suppress(OSError):  # the end, for the other side is closed
            while select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 1_000)
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    assert b"\x1b[2K" in shown.rpartition(b"reading standard input")[2]  # the line is erased
    silent = subprocess.run(command, input=b"How do I pay?\nWhere?\n", capture_output=True, check=True, timeout=60)
    assert b"reading" not in silent.stderr


def test_an_interrupted_encoding_speaks_of_shards_where_there_are_some(tmp_path, monkeypatch):
    """Before the first one is finished nothing was written, and no folder is promised that is not there."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("textsiam.encoding.shards.encode_to_parquet", interrupted)
    asked = ["encode", str(QUESTIONS), "-o", str(tmp_path / "v.parquet")]
    assert "interrupted. Nothing was written." in CliRunner().invoke(app, asked).stderr
    (tmp_path / "v.parquet.parts").mkdir()
    assert "interrupted. Nothing was written." in CliRunner().invoke(app, asked).stderr
    (tmp_path / "v.parquet.parts" / "0.parquet").write_text("")
    told = " ".join(CliRunner().invoke(app, asked).stderr.split())
    assert "v.parquet.parts: run the same command again to go on." in told


def test_calibration_is_told_as_json():
    """The curve, the model it is of, and that it was written nowhere."""
    told = json.loads(run("calibrate", PAIRS, "--json").stdout)["summary"]
    assert told["output"] is None
    assert told["calibrator"]["scores"] == sorted(told["calibrator"]["scores"])
    assert told["similarity"] == "cosine"


def test_a_text_that_is_cut_is_told(tmp_path):
    (tmp_path / "q.csv").write_text("question\n" + "how do I pay " * 200 + "\nWhere is my order?\n")
    assert "1 text was longer than the model's maximum and cut" in run("duplicates", tmp_path / "q.csv").output


def test_one_is_no_plural_and_none_is_no_table(tmp_path):
    """`score --pair` names no columns, for nobody gave any; where no pair is found no empty table is shown."""
    told = shell('textsiam score --pair "How do I pay?" "How can I pay?"')
    assert "scored 1 pair in" in told.stderr
    assert "columns:" not in told.stderr
    (tmp_path / "q.txt").write_text("How do I pay?\nWhere is my parcel?\n")
    assert shell(f"textsiam duplicates {tmp_path / 'q.txt'}").stdout == ""


@pytest.mark.parametrize("threshold", ["nan", "inf"])
def test_a_threshold_that_is_no_number_is_refused_at_once(threshold):
    """Before any file is looked for."""
    result = CliRunner().invoke(app, ["duplicates", "no-such-file.csv", "--threshold", threshold])
    assert result.exit_code == 2
    assert "not a finite number" in " ".join(result.stderr.split())
