"""The index at the command line: made, filled, asked, changed, damaged, mended; and what is refused."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from textsiam import Index
from textsiam.indexing.search import approximate
from textsiam.indexing.storage.folder_store import SqliteStore
from textsiam.indexing.storage.vector_file import FolderView
from textsiam.interfaces.cli import app
from textsiam.samples import QUESTIONS

MODEL = ("--device", "cpu", "--dtype", "float32")


def run(*arguments, code=0, **more):
    done = CliRunner().invoke(app, ["index", *map(str, arguments)], **more)
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def place(tmp_path):
    """An index of three questions."""
    (tmp_path / "faq.csv").write_text("id,question\nq1,How do I pay?\nq2,Where is my parcel?\nq3,How can I pay?\n")
    run("add", tmp_path / "faq", tmp_path / "faq.csv", "--threshold", 0.8, *MODEL)
    return tmp_path / "faq"


def test_add_makes_the_index_and_can_be_run_again(tmp_path):
    """The first run makes it and shows the pairs; the second finds all there already."""
    first = run("add", tmp_path / "faq", QUESTIONS, "--threshold", 0.9, "--top", 2, *MODEL)
    assert "created one" in first.stderr
    assert "2 closest of" in first.stdout
    again = json.loads(run("add", tmp_path / "faq", QUESTIONS, "--json", *MODEL).stdout)["summary"]
    assert (again["added"], again["there_already"], again["pairs"]) == (0, again["texts"], 0)


def test_search_says_yes_or_no_by_its_exit_code(place):
    """0 and the match, 1 and nothing; -k shows the closest whatever their score."""
    assert "How do I pay?" in run("search", place, "How could I pay?").stdout
    run("search", place, "Is there life on Mars?", code=1)
    told = json.loads(run("search", place, "Mars?", "-k", 2, "--json", code=1).stdout)
    assert len(told["pairs"]) == 2
    assert told["summary"]["with_a_match"] == 0
    assert told["summary"]["precision"] == "float32"  # the precision that it was made with needs no option


def test_a_file_without_ids_names_its_rows(place, tmp_path):
    """Ids are FILE:ROW, so that files do not collide; unusable rows are set aside and said."""
    (tmp_path / "new.txt").write_text("How would I pay?\n\nWho are you?\n")
    done = run("add", place, tmp_path / "new.txt", "-o", tmp_path / "pairs.csv", "--set-aside", tmp_path / "aside.csv")
    assert "new.txt:ROW" in done.stderr
    assert (tmp_path / "pairs.csv").read_text().splitlines()[1].startswith("new.txt:1,q")
    assert "empty" in (tmp_path / "aside.csv").read_text()
    run("search", place, "--file", tmp_path / "new.txt")
    assert "add" in run("add", place, "-", input="Who is she?\n").stderr


def added(place, *arguments, **more):
    """The summary of an add."""
    return json.loads(run("add", place, *arguments, "--json", **more).stdout)["summary"]


def test_standard_input_is_known_by_its_texts(place):
    """Its rows have no name that would tell one day from another, so a text is its own id."""
    assert added(place, "-", input="Is it open?\n")["added"] == 1
    told = added(place, "-", input="Who is she?\nIs it open?\n")
    assert (told["added"], told["there_already"], told["in_index"]) == (1, 1, 5)


def test_rows_that_cannot_go_in_are_told(place, tmp_path):
    """No id is invented: without id, or under one that has another text; by file and row, in the summary and the file."""
    (tmp_path / "bad.csv").write_text("id,question\n,No id?\nn1,A new one?\nn1,Twice?\nq1,Another?\nn2,\n")
    told = added(place, tmp_path / "bad.csv", "--set-aside", tmp_path / "aside.jsonl")
    assert (told["added"], told["there_already"], told["set_aside"]["rows"]) == (1, 0, 4)
    aside = [json.loads(line) for line in (tmp_path / "aside.jsonl").read_text().splitlines()]
    reasons = {one["row"]: one["reason"] for one in aside}
    assert {one["source"] for one in aside} == {str(tmp_path / "bad.csv")}
    assert (reasons[1], reasons[5]) == ("no id", "empty")
    assert "was given before with another text" in reasons[3]
    assert "is in the index with another text" in reasons[4]
    with Index.open(place) as index:
        assert index.clusters().ids == ["q1", "q2", "q3", "n1"]


def test_files_may_overlap(place, tmp_path):
    """An id with the same text in two files is one text; two files of one name without ids would mix their rows up."""
    (tmp_path / "more.csv").write_text("id,question\nq1,How do I pay?\nn1,Is it open?\n")
    told = added(place, tmp_path / "faq.csv", tmp_path / "more.csv")
    assert (told["added"], told["there_already"]) == (1, 4)
    (tmp_path / "day").mkdir()
    for name in ("a.txt", "day/a.txt"):
        (tmp_path / name).write_text(f"How do I {name}?\n")
    assert "Two files are named a.txt" in run("add", place, tmp_path / "a.txt", tmp_path / "day/a.txt", code=2).stderr
    added(place, tmp_path / "a.txt")
    assert "rename it" in run("add", place, tmp_path / "day/a.txt").stderr


def test_what_is_lost_is_named_in_full(tmp_path):
    """Where no texts are kept, verify gives every lost id on standard output, and the answer is no."""
    (tmp_path / "many.txt").write_text("".join(f"Question number {n}?\n" for n in range(40)))
    run("create", tmp_path / "bare", "--no-texts", "--threshold", 0.8, *MODEL)
    run("add", tmp_path / "bare", tmp_path / "many.txt", "--max-matches", 10_000)
    (vectors,) = (tmp_path / "bare").glob("vectors-*")
    vectors.write_bytes(b"\x00" * len(vectors.read_bytes()))
    assert run("verify", tmp_path / "bare", code=1).stdout.split() == [f"many.txt:{n}" for n in range(1, 41)]
    assert added(tmp_path / "bare", tmp_path / "many.txt")["added"] == 40


def test_rebuild_keeps_the_precision(place):
    """Whatever the machine's own is, and says what was before."""
    told = run("rebuild", place, "--threshold", 0.9, "--device", "cpu").stderr
    assert "in float32 (before: float32); threshold 0.9 (before: 0.8)" in " ".join(told.split())


def test_update_remove_and_compact(place, tmp_path):
    """Texts change and go; unknown ids are counted, none known is exit code 1."""
    (tmp_path / "new.csv").write_text("id,question\nq2,Where is my package?\nq9,Nobody?\n")
    assert "q9" in run("update", place, tmp_path / "new.csv").stderr
    assert json.loads(run("remove", place, "q1", "q9", "--json").stdout)["summary"] == {
        "removed": 1,
        "unknown": ["q9"],
        "in_index": 2,
    }
    run("remove", place, "q1", code=1)
    run("compact", place)
    assert json.loads(run("info", place, "--json").stdout)["summary"]["texts"] == 2


def test_clusters_and_export(place, tmp_path):
    """Tables on the terminal and as files, csv and jsonl without vectors, parquet with them."""
    assert "How can I pay?" in run("clusters", place).stdout
    run("clusters", place, "-o", tmp_path / "clusters.csv")
    assert (tmp_path / "clusters.csv").read_text().splitlines()[3].startswith("q3,0,q1,")
    for ending in ("csv", "jsonl", "parquet"):
        run("export", place, "-o", tmp_path / f"all.{ending}")
    assert json.loads((tmp_path / "all.jsonl").read_text().splitlines()[2])["keeper"] == "q1"
    assert len(pq.read_table(tmp_path / "all.parquet").column("embedding")[0]) == 384
    run("export", place, "-o", tmp_path / "ALL.PARQUET")
    run("export", place, "-o", tmp_path / "all.xlsx", code=2)
    lines = (tmp_path / "all.csv").read_text()
    assert lines.splitlines()[0] == "id,text,cluster,keeper,score_to_keeper"
    assert lines.splitlines()[1] == "q1,How do I pay?,0,q1,"
    assert run("export", place, "-o", "-").stdout == lines
    told = json.loads(run("clusters", place, "--json").stdout)
    assert told["clusters"] == [{"cluster": 0, "ids": ["q1", "q3"]}]
    assert json.loads(run("info", place, "--json").stdout)["summary"]["in_clusters"] == 2


def test_verify_mends_and_rebuild_makes_anew(place):
    """Damage is exit code 1 without repair, 0 once it is mended; another precision takes over by rebuild."""
    (vectors,) = place.glob("vectors-*")
    vectors.write_bytes(vectors.read_bytes()[:2000])
    assert "2 damaged" in run("verify", place, "--no-repair", code=1).stderr
    assert "now made again" in run("verify", place, "--device", "cpu").stderr
    assert "all sound" in run("verify", place, "--json").stdout or "[]" in run("verify", place, "--json").stdout
    run("rebuild", place, "--threshold", 0.8, "--dtype", "bfloat16", "--backend", "pytorch", "--device", "cpu")
    assert "bfloat16" in run("info", place).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("search", "{none}", "x"), "There is no index"),
        (("remove", "{none}", "x"), "There is no index"),
        (("search", "{faq}"), "Give a text"),
        (("search", "{faq}", "x", "--file", "y"), "not both"),
        (("search", "{faq}", "x", "--threshold", "nan"), "finite"),
        (("search", "{faq}", "x", " "), "only whitespace"),
        (("search", "{faq}", "x", "-k", "0"), "-k"),
        (("search", "{faq}", "x", "-o", "-", "--json"), "Standard output"),
        (("add", "{faq}"), "Give files"),
        (("add", "{faq}", "{none}.csv"), "no file"),
        (("add", "{faq}", "{faq}.csv", "{faq}.csv"), "given twice"),
        (("add", "{faq}", "{faq}.csv", "-o", "{faq}.csv"), "also an input"),
        (("add", "{faq}", "{faq}.csv", "--threshold", "0.7"), "for good"),
        (("create", "{faq}"), "an index at"),
        (("search", "{faq}", "x", "--dtype", "bfloat16", "--backend", "pytorch"), "rebuild"),
        (("add", "postgresql://me:geheim@localhost:1/x", "{faq}.csv"), "cannot be reached"),
    ],
)
def test_bad_input_is_told(place, tmp_path, arguments, told):
    """One clear line, exit code 2."""
    names = {"none": tmp_path / "none", "faq": place}
    done = run(*(argument.format(**names) for argument in arguments), code=2)
    assert told in " ".join(done.output.split()).replace("│ ", "")
    assert "geheim" not in done.output


def test_strict_refuses_before_anything_is_written(place, tmp_path):
    """Rows that reading, the file's other rows or the index itself would set aside are named by file and row."""
    for number, text in enumerate(("id,question\nn1,\n", "n1,A new one?\nn1,Twice?\n", "n1,New?\nq1,Another?\n")):
        bad = tmp_path / f"bad{number}.csv"
        bad.write_text(("" if text.startswith("id") else "id,question\n") + text)
        told = run("add", place, bad, "--strict", code=2).stderr
        assert f"bad{number}.csv" in told or number == 0
    assert "row" in told or ":2" in told
    run("update", place, tmp_path / "bad2.csv", "--strict", code=2)
    assert json.loads(run("info", place, "--json").stdout)["summary"]["texts"] == 3
    assert run("search", place, "Another?", code=1).stdout == ""


def test_search_shows_decision_id_and_text(place):
    """One row a match, and the texts in JSON too; what is no text is refused, for no match would be no answer."""
    shown = " ".join(run("search", place, "How do I pay?", "--top", 1).stdout.split())
    assert "1 closest of 2 pairs score text id text" in shown
    assert "1.0000 How do I pay? q1 How do I pay?" in shown
    pairs = json.loads(run("search", place, "How do I pay?", "--json").stdout)["pairs"]
    assert [(pair["id_b"], pair["text_b"]) for pair in pairs] == [("q1", "How do I pay?"), ("q3", "How can I pay?")]


def test_search_of_a_file_tells_what_it_set_aside(place, tmp_path):
    """As reading does everywhere; with --strict nothing is looked up."""
    (tmp_path / "ask.csv").write_text("id,question,split\na1,How do I pay?,test\na2,,test\na3,Mars?,train\n")
    told = run("search", place, "--file", tmp_path / "ask.csv", "--json", "--set-aside", tmp_path / "aside.csv").stdout
    summary = json.loads(told)["summary"]
    assert (summary["texts"], summary["with_a_match"], summary["set_aside"]["rows"]) == (2, 1, 1)
    assert "ask.csv,2,empty" in (tmp_path / "aside.csv").read_text()
    run("search", place, "--file", tmp_path / "ask.csv", "--strict", code=2)
    told = run("search", place, "--file", tmp_path / "ask.csv", "--split", "train", "--json", code=1).stdout
    assert json.loads(told)["summary"]["texts"] == 1


def test_an_approximate_search_is_told(place, monkeypatch):
    """With the recall that was measured; --exact asks for every match."""
    monkeypatch.setattr(approximate, "APPROXIMATE_FROM", 0)
    monkeypatch.setattr(FolderView, "find_fast", lambda self, *asked: (self.find(*asked), 0.995))
    assert "99.5% of the matches" in run("search", place, "How do I pay?").stderr
    assert "approximate" not in run("search", place, "How do I pay?", "--exact").stderr


def test_only_what_encodes_needs_a_model(place, tmp_path, monkeypatch):
    """The others work where no model can be had; damage of vectors needs one to be mended, of the database none can."""
    monkeypatch.setenv("TEXTSIAM_MODEL", str(tmp_path / "missing"))
    for command in (["info"], ["clusters"], ["export", "-o", tmp_path / "a.csv"], ["verify"], ["compact"]):
        run(command[0], place, *command[1:])
    assert "not in it: q9" in run("remove", place, "q2", "q9").stderr
    with monkeypatch.context() as patched:
        patched.setattr(SqliteStore, "fault", lambda _: "row 3 missing from index items_hash")
        assert "the database is damaged (row 3" in run("verify", place, code=1).stderr
    (vectors,) = place.glob("vectors-*")
    vectors.write_bytes(vectors.read_bytes()[:100])
    run("verify", place, "--no-repair", code=1)
    assert "missing" in run("verify", place, code=2).stderr


def test_an_interrupted_rebuild_goes_on(place, monkeypatch):
    """The index stays as it was, the same command says that it goes on, and another threshold is told before the work."""
    with monkeypatch.context() as patched:
        patched.setattr("textsiam.indexing.changes.rebuilding._N_AT_ONCE", 1)
        patched.setattr("textsiam.indexing.changes.rebuilding._finish", interrupted)
        assert "run the same command again" in run("rebuild", place, "--device", "cpu", code=130).stderr
    assert json.loads(run("info", place, "--json").stdout)["summary"]["threshold"] == 0.8
    told = " ".join(run("rebuild", place, "--device", "cpu").stderr.split())
    assert "the threshold was 0.8 and will be 0.75" in told
    assert "going on after 3 texts" in told
    assert "computed 3 vectors with sentence-transformers/all-MiniLM-L6-v2 in float32" in told


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_another_model_is_refused_until_the_index_is_rebuilt(place, tiny_transformer):
    """Its vectors mean nothing beside those that are there."""
    other = ("--model", tiny_transformer(), "--backend", "pytorch", "--device", "cpu")
    assert "rebuild" in run("search", place, "How do I pay?", *other, code=2).stderr
    assert "threshold" in run("rebuild", place, *other, code=2).stderr  # it has none of its own
    run("rebuild", place, "--threshold", 0.9, *other)
    assert json.loads(run("info", place, "--json").stdout)["summary"]["dim"] == 32
    run("search", place, "How do I pay?", *other)


def test_an_empty_index_has_columns_and_finds_nothing(tmp_path):
    """A header for whoever reads its files; exit code 1 for whoever asks."""
    run("create", tmp_path / "none", *MODEL)
    run("export", tmp_path / "none", "-o", tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == "id,text,cluster,keeper,score_to_keeper\n"
    assert run("export", tmp_path / "none", "-o", "-").stdout == "id,text,cluster,keeper,score_to_keeper\n"
    run("export", tmp_path / "none", "-o", tmp_path / "none.parquet")
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0
    run("search", tmp_path / "none", "How do I pay?", "-k", 1, code=1)
    run("clusters", tmp_path / "none")


def test_help_teaches():
    """Every command shows itself in an example."""
    for name in get_command(app).commands["index"].commands:
        assert f"textsiam index {name}" in " ".join(run(name, "--help").stdout.split()), name


def test_another_writer_is_waited_for(place):
    """As long as --timeout says."""
    with sqlite3.connect(place / "index.sqlite", isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")
        assert "too long" in run("remove", place, "q1", "--timeout", 0.1, code=2).stderr
        database.execute("ROLLBACK")
    database.close()


SMALL_STEPS = """
import sys
from textsiam.indexing.changes import adding
adding.N_AT_ONCE = 64
from textsiam.interfaces.cli import main
sys.argv[0] = "textsiam"
main()
"""


def test_an_interrupted_add_goes_on(tmp_path):
    """After Ctrl-C what was committed stays, the message says so, and the same command adds exactly the rest."""
    (tmp_path / "many.txt").write_text("".join(f"Question number {n} about thing {n % 97}?\n" for n in range(1_000)))
    command = [sys.executable, "-c", SMALL_STEPS, "index", "add", str(tmp_path / "faq"), str(tmp_path / "many.txt")]
    command += ["--threshold", "1", *MODEL]
    task = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not (tmp_path / "faq" / "index.sqlite").exists():
        assert task.poll() is None, task.communicate()
        time.sleep(0.05)
    with Index.open(tmp_path / "faq") as index:
        while not len(index):
            assert task.poll() is None, task.communicate()
            time.sleep(0.02)
        task.send_signal(signal.SIGINT)
        _, told = task.communicate(timeout=60)
        assert task.returncode == 130, told
        assert "run the same command again" in told
        n_kept = len(index)
        assert n_kept % 64 == 0
        assert 0 < n_kept < 1_000
        assert index.verify(repair=False)
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
        summary = json.loads(done.stdout)["summary"]
        assert (summary["added"], summary["there_already"]) == (1_000 - n_kept, n_kept)
        assert len(index) == 1_000
        assert index.verify(repair=False)
