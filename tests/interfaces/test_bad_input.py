"""Bad input at the command line: a clear error or a counted row, never a traceback, and the good rows survive."""

import errno
import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textsiam.interfaces.cli import app
from textsiam.interfaces.shell.terminal import told_of

GOOD = ["how do i pay", "where is my order", "how do i pay", "can i reset my password"]


@pytest.fixture
def run(tiny_transformer, monkeypatch):
    """`textsiam duplicates` in this process, on a tiny model, at a threshold where equal texts match."""
    monkeypatch.setenv("TEXTSIAM_MODEL", str(tiny_transformer("bert")))

    def call(*arguments, stdin=None, threshold="0.999"):
        options = ["--threshold", threshold, "--json"] if threshold else []
        return CliRunner().invoke(app, ["duplicates", *map(str, arguments), *options], input=stdin)

    return call


def answered(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result, *words):
    """Exit code 2, one clear message, no traceback."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    told = " ".join(result.stderr.replace("│", " ").split())
    for word in words:
        assert word in told, told
    assert "Traceback" not in told
    assert result.stdout == ""


def test_missing_file(run):
    """Named, with what to do."""
    refused(run("nowhere.csv"), "There is no file nowhere.csv", "Check the name")


def test_missing_column(run, tmp_path):
    """The columns that there are."""
    (tmp_path / "t.csv").write_text("title,body\na,b\n")
    refused(run(tmp_path / "t.csv", "--column", "question"), "no column 'question'", "It has: title, body")


def test_wrong_delimiter(run, tmp_path):
    """A semicolon file says which option to use, and the option reads it."""
    (tmp_path / "t.csv").write_text("id;question\n" + "".join(f"{n};{text}\n" for n, text in enumerate(GOOD)))
    refused(run(tmp_path / "t.csv", "--column", "question"), "looks delimited by ';'", "--delimiter")
    assert answered(run(tmp_path / "t.csv", "--delimiter", ";"))["summary"]["pairs"] == 1


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n"], ids=repr)
def test_bom_and_newlines(run, tmp_path, newline):
    """A BOM and any newline, mixed too."""
    rows = ["id,question", *(f"{n},{text}" for n, text in enumerate(GOOD))]
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + (newline.join(rows[:3]) + "\r\n" + "\n".join(rows[3:])).encode())
    answer = answered(run(tmp_path / "t.csv"))
    assert answer["summary"]["texts"] == 4
    assert [(pair["id_a"], pair["id_b"]) for pair in answer["pairs"]] == [("0", "2")]


def test_latin_1_bytes(run, tmp_path):
    """The row is set aside and counted, the hint names the option, the option reads it."""
    (tmp_path / "t.csv").write_bytes(b"question\n" + "\n".join([*GOOD, "où est ma commande"]).encode("latin-1"))
    result = run(tmp_path / "t.csv")
    assert answered(result)["summary"]["set_aside"] == {"rows": 1, "reasons": {"undecodable (byte 0xf9)": 1}}
    assert "--encoding latin-1" in result.stderr
    assert answered(run(tmp_path / "t.csv", "--encoding", "latin-1"))["summary"]["texts"] == 5


@pytest.mark.parametrize(
    ("ending", "n_megabytes"),
    [("csv", 1), *(pytest.param(ending, 10, marks=pytest.mark.long) for ending in ("csv", "jsonl", "txt"))],
)
def test_a_row_of_many_megabytes(run, tmp_path, ending, n_megabytes):
    """Read, cut by the model, counted as cut; its neighbours are found."""
    texts = [*GOOD, "pay " * (250_000 * n_megabytes)]
    if ending == "csv":
        (tmp_path / "t.csv").write_text("question\n" + "\n".join(texts))
    elif ending == "jsonl":
        (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"question": text}) for text in texts))
    else:
        (tmp_path / "t.txt").write_text("\n".join(texts))
    summary = answered(run(tmp_path / f"t.{ending}"))["summary"]
    assert (summary["texts"], summary["truncated"], summary["pairs"]) == (5, 1, 1)


def test_a_text_of_200_000_characters_and_odd_alphabets(run, tmp_path):
    """Emoji, right-to-left and combining text go through; equal ones are found."""
    odd = ["👩‍👩‍👧‍👦 where is my order?", "كيف أدفع؟", "כיצד לשלם?", "كيف أدفع؟", "Z̷̢a̶l̴g̵o̸", "x" * 200_000]
    (tmp_path / "t.csv").write_text("question\n" + "\n".join(odd), encoding="utf-8")
    answer = answered(run(tmp_path / "t.csv"))
    assert answer["summary"]["texts"] == 6
    assert ("2", "4") in {(pair["id_a"], pair["id_b"]) for pair in answer["pairs"]}


def test_nulls_nan_and_blanks(run, tmp_path):
    """Counted by reason, listed on request, fatal only under --strict."""
    lines = [
        '{"question": null}',
        '{"question": NaN}',
        '{"question": ""}',
        '{"question": "  "}',
        "{}",
        '{"question": 7}',
    ]
    (tmp_path / "t.jsonl").write_text("\n".join([json.dumps({"question": text}) for text in GOOD] + lines))
    answer = answered(run(tmp_path / "t.jsonl", "--set-aside", tmp_path / "aside.csv"))
    reasons = {"null": 3, "empty": 1, "only whitespace": 1, "not text (int)": 1}
    assert answer["summary"]["set_aside"] == {"rows": 6, "reasons": reasons}
    assert answer["summary"]["pairs"] == 1
    listed = (tmp_path / "aside.csv").read_text().splitlines()
    assert listed[0] == "source,row,reason"
    assert [line.split(",")[1] for line in listed[1:]] == ["5", "6", "7", "8", "9", "10"]
    refused(run(tmp_path / "t.jsonl", "--strict"), "6 rows set aside", "rows 5, 6, 9")


def test_words_that_look_like_nulls_are_texts(run, tmp_path):
    """ "None" and "NA" are questions like any other."""
    (tmp_path / "t.csv").write_text("question\nNone\nNA\nnull\nNaN\nNone\n")
    answer = answered(run(tmp_path / "t.csv"))
    assert answer["summary"]["texts"] == 5
    assert answer["summary"]["set_aside"]["rows"] == 0
    assert ("1", "5") in {(pair["id_a"], pair["id_b"]) for pair in answer["pairs"]}


def test_duplicate_ids(run, tmp_path):
    """Both texts are kept, told apart by their row, and it is said."""
    (tmp_path / "t.csv").write_text("id,question\n" + "".join(f"same,{text}\n" for text in GOOD))
    result = run(tmp_path / "t.csv")
    assert [(pair["id_a"], pair["id_b"]) for pair in answered(result)["pairs"]] == [("same", "same#3")]
    assert "3 ids repeat an earlier one" in result.stderr
    refused(run(tmp_path / "t.csv", "--strict"), "3 repeats an id")


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "is empty"), (b"question\n", "a header and no row"), (b"question\n \n\n", "no usable text")],
)
def test_nothing_to_compare(run, tmp_path, content, told):
    """Empty, header only, only blanks."""
    (tmp_path / "t.csv").write_bytes(content)
    refused(run(tmp_path / "t.csv"), told)


def test_a_folder_given(run, tmp_path):
    """Says which file may have been meant."""
    (tmp_path / "faq.csv").write_text("question\na\n")
    refused(run(tmp_path), "is a folder", "faq.csv")


def test_binary_rubbish(run, tmp_path):
    """Random bytes under any ending: an error or set-aside rows, no traceback."""
    rubbish = os.urandom(20_000)
    for ending in ("csv", "tsv", "jsonl", "parquet", "arrow", "txt", "csv.gz"):
        (tmp_path / f"t.{ending}").write_bytes(rubbish)
        result = run(tmp_path / f"t.{ending}")
        assert result.exit_code in {0, 2}, (ending, result.exception)
        assert isinstance(result.exception, (SystemExit, type(None)))


@pytest.mark.parametrize(
    ("name", "start", "told"),
    [
        ("t.csv", b"PK\x03\x04\x14", "xlsx, ods and other zip archives do. Save the sheet as csv"),
        ("t.xlsx", b"PK\x03\x04\x14", "Save the sheet as csv"),
        ("t.txt", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "xls and other old Office files"),
        ("t.csv", b"PAR1\x15", "--format parquet"),
        ("t.jsonl", b"ARROW1\0\0", "--format arrow"),
        ("t.csv", b"\x1f\x8b\x08", "Let its name end in .gz"),
        ("t.txt", b"%PDF-1.7", "PDF"),
        ("t.csv", b"\x89PNG\r\n\x1a\n", "images do. Give a file of rows"),
        ("t.csv", b"\xff\xd8\xff\xe0", "images do. Give a file of rows"),
        ("t.csv", b"\xfd7zXZ\x00", "xz does. Unpack it"),
        ("t.csv", b"\x28\xb5\x2f\xfd", "zstd does. Unpack it"),
        ("t.csv", b"SQLite format 3\x00", "Export a table as csv"),
    ],
)
def test_what_is_no_text(run, tmp_path, name, start, told):
    """A file that begins as spreadsheets, archives, PDFs do is known for it, and the remedy told."""
    (tmp_path / name).write_bytes(start + bytes(100))
    refused(run(tmp_path / name), f"{name} is not text", told)


def test_nothing_but_another_encoding(run, tmp_path):
    """All rows undecodable, or the header: the encoding is to be named."""
    (tmp_path / "t.csv").write_bytes("question\noù\nça".encode("latin-1"))
    refused(run(tmp_path / "t.csv"), "2 rows set aside", "Name its encoding, such as latin-1")
    (tmp_path / "t.csv").write_bytes("id,été\n1,où".encode("latin-1"))
    refused(run(tmp_path / "t.csv"), "name the encoding, such as latin-1 (--encoding")


def test_standard_input(run):
    """Lines, JSON lines by their first byte, csv by name."""
    assert answered(run("-", stdin="\n".join(GOOD)))["summary"]["pairs"] == 1
    lines = "\n".join(json.dumps({"text": text}) for text in GOOD)
    assert answered(run("-", stdin=lines))["summary"]["pairs"] == 1
    assert answered(run("-", "--format", "csv", stdin="question\n" + "\n".join(GOOD)))["summary"]["pairs"] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Give files"),
        (["t.csv", "--sample"], "not both"),
        (
            ["https://example.com/t.csv"],
            "There is no file https://example.com/t.csv. textsiam does not download: fetch it yourself",
        ),
        (["*.csv"], "There is no file *.csv. The shell expands wildcards only without quotes"),
        (["noending"], "noending has no ending that names a format. Formats are arrow"),
        (["t.parquet"], "is corrupted or this is not a parquet file. Write it again"),
        (["t.csv", "./t.csv"], "./t.csv was given twice"),
        (["t.csv", "--against", "./t.csv"], "given twice"),
        (["t.json"], "one JSON object per line"),
        (["t.csv", "--against", "t.csv", "--clusters", "c.csv"], "Leave out --against"),
        (["t.csv", "--output", "x.docx"], "its ending names no format"),
        (["t.csv", "--output", "no/such/folder/x.csv"], "folder does not exist"),
        (["t.csv", "--linkage", "single"], "no linkage 'single'"),
        (["t.csv", "--model", "./nowhere"], "no model folder ./nowhere"),
        (["t.csv", "--device", "cuda:77"], "cannot use the device"),
        (["t.csv", "--dtype", "float7"], "does not know the dtype"),
        (["t.csv", "--backend", "abacus"], "no backend 'abacus'"),
        (["t.csv", "--format", "docx"], "does not read: 'docx'"),
        (["t.csv", "--threshold", "95"], "between -1 and 1"),
        (["t.csv", "--max-matches", "0"], "--max-matches"),
        (["t.csv", "--no-such-option"], "No such option"),
    ],
)
def test_bad_usage(run, tmp_path, monkeypatch, arguments, told):
    """Exit code 2 and the remedy, before the slow work."""
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("question\n" + "\n".join(GOOD))
    Path("t.json").write_text('[{"question": "a"}]')
    Path("noending").write_text("pay")
    Path("t.parquet").write_text("how do i pay")
    refused(run(*arguments, threshold=None if "--threshold" in arguments else "0.9"), told)


def test_too_many_pairs_is_said(run, tmp_path):
    """A limit hit is an error with its remedy, not a cut answer."""
    (tmp_path / "t.txt").write_text("\n".join(["pay"] * 100))
    refused(run(tmp_path / "t.txt", "--max-matches", "10"), "4,950 pairs match", "--max-matches")


def test_a_model_without_threshold_asks_for_one(run, tmp_path):
    """Nothing is guessed."""
    (tmp_path / "t.txt").write_text("\n".join(GOOD))
    refused(run(tmp_path / "t.txt", threshold=None), "never certified", "--threshold")


def test_broken_model_folder(run, tmp_path, monkeypatch):
    """A folder without a model, and one whose weights were cut."""
    (tmp_path / "t.txt").write_text("\n".join(GOOD))
    (tmp_path / "empty").mkdir()
    refused(run(tmp_path / "t.txt", "--model", tmp_path / "empty"), "holds no model")
    monkeypatch.setattr("textsiam.encoding.model_folder.finding.SHA256", {"model.safetensors": "0" * 64})
    monkeypatch.delenv("TEXTSIAM_MODEL")
    refused(
        run(tmp_path / "t.txt"),
        "model.safetensors is not the published one",
        "expected " + "0" * 64,
        "--force-reinstall",
    )


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_disk_full_on_output(tmp_path, tiny_transformer, ending):
    """A real limit on file size in a real process: exit code 2, what was there stays, nothing half-written beside it."""
    (tmp_path / "t.txt").write_text("\n".join(["pay"] * 200))
    output = tmp_path / f"pairs.{ending}"
    output.write_text("precious")
    command = [sys.executable, "-m", "textsiam", "duplicates", tmp_path / "t.txt", "-o", output, "--threshold", "0.9"]
    command += ["--model", tiny_transformer("bert"), "--device", "cpu"]

    def limit():
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    # Python's own bytecode files would be cut by the limit too, and break the runs that follow.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, preexec_fn=limit, env=environment, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "larger than the file system, or ulimit -f, allows" in done.stderr
    assert "Traceback" not in done.stderr
    assert output.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == [output.name, "t.txt"]


def test_no_space_is_said_with_its_remedy(run, tmp_path, monkeypatch):
    """ENOSPC, simulated at the rename."""
    (tmp_path / "t.txt").write_text("\n".join(GOOD))

    def full(*_):
        raise OSError(28, "No space left on device", "pairs.csv")

    monkeypatch.setattr("textsiam.data.files._flush", full)
    refused(
        run(tmp_path / "t.txt", "-o", tmp_path / "pairs.csv"),
        "No space left to write pairs.csv",
        "Nothing half-written",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.ENOSPC, "full", "model/source", None, "out/target"),
            "No space left to write out/target. Nothing",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "out"), "No space left to write out. Nothing half-written"),
        (
            OSError(errno.EFBIG, "Error writing bytes to file"),
            "The output would be larger than the file system, or ulimit",
        ),
        (
            OSError(errno.EACCES, "Permission denied", "q.csv"),
            "Permission denied: q.csv. Get the permission, or choose",
        ),
        (OSError(errno.EIO, "Input/output error", "q.csv"), "Input/output error: q.csv"),
    ],
)
def test_what_the_file_system_refuses(error, told):
    """Of a copy the place that could not be written is named, not the source; a limit or a quota is no bare number."""
    assert told_of(error).startswith(told)


def test_what_standard_output_cannot_say(tmp_path, tiny_transformer):
    """A table shows escapes; csv for a program is refused with the remedy, instead of an error of Python's."""
    (tmp_path / "p.csv").write_text("first,second\nwhere 😡,where 😡\n", encoding="utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "latin-1", "TEXTSIAM_MODEL": str(tiny_transformer("bert"))}
    asked = [sys.executable, "-m", "textsiam", "score", str(tmp_path / "p.csv"), "--device", "cpu"]
    shown = subprocess.run(asked, capture_output=True, env=environment, check=True)
    assert b"where \\U0001f621" in shown.stdout
    refused_ = subprocess.run([*asked, "-o", "-"], capture_output=True, env=environment, check=False)
    assert refused_.returncode == 2
    told = refused_.stderr.decode("latin-1")
    assert "The encoding of standard output, latin-1, has no" in told
    assert "Write to a file, or set PYTHONIOENCODING=utf-8." in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(run, tmp_path):
    """Said before the slow work."""
    (tmp_path / "t.txt").write_text("\n".join(GOOD))
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    refused(run(tmp_path / "t.txt", "-o", tmp_path / "locked" / "p.csv"), "cannot be written")


def test_pairs_with_bad_rows(tmp_path, tiny_transformer):
    """`score` sets bad pairs aside with their rows, and scores the others."""
    (tmp_path / "p.csv").write_text("question1,question2\nhow,do\n,pay\nmy,order,extra\nwhere,where\n")
    arguments = ["score", str(tmp_path / "p.csv"), "--model", str(tiny_transformer("bert")), "--json"]
    result = CliRunner().invoke(app, arguments)
    answer = answered(result)
    assert [pair["row"] for pair in answer["pairs"]] == [1, 4]
    assert answer["pairs"][1]["score"] == 1
    assert answer["summary"]["set_aside"]["rows"] == 2
    assert "first text empty (row 2)" in result.stderr
    refused(CliRunner().invoke(app, [*arguments, "--strict"]), "row 2")
    refused(CliRunner().invoke(app, ["score"]), "files of pairs or --pair")
    refused(CliRunner().invoke(app, [*arguments, "--first", "question1", "--second", "question1"]), "named for both")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no file system that takes no files, from root neither")
def test_where_nothing_can_be_written(tmp_path, tiny_transformer, monkeypatch):
    """Said before any row is read, with what was named, by every command that writes; a file as a folder too."""
    (tmp_path / "q.csv").write_text("question\n" + "\n".join(GOOD))
    (tmp_path / "p.csv").write_text("question1,question2,label\nhow,do,1\nmy,order,0\n")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("textsiam.data.sources.open_table", lambda *_: pytest.fail("it was read"))
    model = ["--model", str(tiny_transformer("bert"))]
    for place, told in (("/proc", "cannot be written in /proc"), (tmp_path / "file", "is a file")):
        for arguments in (
            ["duplicates", "q.csv", "-o", f"{place}/x.csv", *model],
            ["duplicates", "q.csv", "--clusters", f"{place}/x.csv", *model],
            ["score", "p.csv", "-o", f"{place}/x.csv", *model],
            ["encode", "q.csv", "-o", f"{place}/x.parquet", *model],
            ["split", "p.csv", "-o", f"{place}/parts"],
            ["calibrate", "p.csv", "-o", f"{place}/model", *model],
            ["certify", "p.csv", "-o", f"{place}/model", *model],
            ["train", "p.csv", "-o", f"{place}/model", *model],
            ["evaluate", model[1], "p.csv", "--report", f"{place}/x.html"],
            ["explain", "how", "do", "--html", f"{place}/x.html", *model],
            ["index", "create", f"{place}/index", "--threshold", "0.9", *model],
            ["audit", "start", "p.csv", "-o", f"{place}/audit"],
        ):
            named = [str(tmp_path / word) if (tmp_path / word).is_file() else word for word in arguments]
            refused(CliRunner().invoke(app, named), told)
