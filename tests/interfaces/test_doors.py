"""At the doors: what callers really hand in, and outputs that would destroy something."""

import json
import os
import re
import subprocess
import sys

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from textsiam import Encoder, Pairs, Siamese, Texts, encode_to_parquet, find_duplicates, read_pairs, read_texts
from textsiam.encoding import shards
from textsiam.errors import UnreadableInput
from textsiam.interfaces.cli import app

WORDS = ["pay", "order", "reset"]


@pytest.fixture(scope="module")
def tiny(tiny_transformer):
    return Siamese.load(tiny_transformer("bert"), device="cpu", dtype="float32")


@pytest.fixture
def run(tiny_transformer, monkeypatch):
    monkeypatch.setenv("TEXTSIAM_MODEL", str(tiny_transformer("bert")))
    return lambda *arguments, stdin=None: CliRunner().invoke(app, [*map(str, arguments)], input=stdin)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(WORDS, index=[2, 1, 0]),
        pd.Series(WORDS, index=[7, 8, 9]),
        pl.Series(WORDS),
        pa.array(WORDS),
        pa.chunked_array([WORDS]),
        np.array(WORDS),
        tuple(WORDS),
        dict.fromkeys(WORDS),
    ],
    ids=["shuffled index", "filtered index", "polars", "arrow", "chunked", "numpy", "tuple", "keys"],
)
def test_columns_are_taken_by_position(tiny, column):
    """Never by a data frame's labels: encode, score and find_duplicates agree with a plain list."""
    np.testing.assert_array_equal(tiny.encode(column), tiny.encode(WORDS))
    assert tiny.score(column, WORDS).tolist() == [1, 1, 1]
    assert [(m.left, m.right) for m in find_duplicates(tiny, column, against=["reset"], threshold=0.9999)] == [(2, 0)]


def test_a_single_string_is_no_list_of_characters(tiny):
    """Refused wherever a list of texts is asked for."""
    for call in (
        tiny.encode,
        lambda text: tiny.score(text, text),
        lambda text: find_duplicates(tiny, text, threshold=0.5),
        Texts,
        lambda text: Pairs(text, text),
    ):
        with pytest.raises(UnreadableInput, match="got one string: 'pay'. Put it in a list"):
            call("pay")


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"question": WORDS}),
        pl.DataFrame({"question": WORDS}),
        datasets.Dataset.from_dict({"question": WORDS}),
    ],
    ids=["pandas", "polars", "data set"],
)
def test_a_table_is_no_list_of_the_names_of_its_columns(tiny, table):
    """A frame iterates over its columns' names, which would be encoded in place of its texts, without a word."""
    told = f"Expected a list of texts, but got a {type(table).__name__}. Give one of its columns; read_texts"
    for call in (
        tiny.encode,
        lambda table: tiny.score(table, WORDS),
        lambda table: find_duplicates(tiny, table, threshold=0.5),
        lambda table: find_duplicates(tiny, WORDS, against=table, threshold=0.5),
    ):
        with pytest.raises(UnreadableInput, match=re.escape(told)):
            call(table)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("model.encode(None)", "UnreadableInput: Expected a list of texts, but got a NoneType. Give a list."),
        (
            "find_duplicates(model, 3, threshold=0.5)",
            "UnreadableInput: Expected a list of texts, but got a int. Give",
        ),
        (
            "import pyarrow; model.encode(pyarrow.table({'question': ['a']}))",
            "UnreadableInput: Expected a list of texts, but got a Table. Give one of its columns; read_texts finds it.",
        ),
        (
            "find_duplicates(['a'], model)",
            "TypeError: The first argument is a model, but got a list. Load one: Siamese.load().",
        ),
        (
            "find_duplicates(None, ['a'])",
            "TypeError: The first argument is a model, but got a NoneType. Load one: Siamese",
        ),
        (
            "find_duplicates(model, ['a'], threshold='0.8')",
            "ValueError: A threshold is a finite score, but got '0.8'. Give a number.",
        ),
        ("read_texts(b'pay')", "UnreadableInput: textsiam cannot read a bytes. Give a path"),
    ],
)
def test_what_has_another_type_is_told_what_came(call, told, asked):
    """As users meet it, whose calls no hook has checked before."""
    assert told in asked(call)


@pytest.fixture(scope="module")
def asked(tiny_transformer):
    """The last line of what a call says, in a process without the hook that checks types."""
    code = """
import sys, traceback
from textsiam import Siamese, find_duplicates, read_texts
model = Siamese.load(sys.argv[1], device="cpu")
for call in sys.stdin:
    try:
        exec(call)
        print("no error", flush=True)
    except Exception:
        print(traceback.format_exc().splitlines()[-1], flush=True)
"""
    command = [sys.executable, "-c", code, str(tiny_transformer("bert"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def said(call):
            print(call, file=process.stdin, flush=True)
            return process.stdout.readline()

        yield said


def test_arrays_of_ids_and_rows_are_taken():
    """NumPy columns have no truth value."""
    texts = Texts(["a", "b"], ids=np.array(["x", "y"]), rows=np.array([3, 4]))
    assert (list(texts.ids), list(texts.rows)) == (["x", "y"], [3, 4])


def test_nothing_at_all_is_said_to_be_nothing():
    """An empty list has no header, and no columns to choose from."""
    with pytest.raises(UnreadableInput, match="the list has no usable text: it is empty"):
        read_texts([])
    with pytest.raises(UnreadableInput, match="the list has no usable pair: it is empty"):
        read_pairs([])


def test_a_split_is_never_ignored():
    """One split is taken whole, a column picks rows, anything else is an error; no row leaks from another split."""
    train = datasets.Dataset.from_dict({"text": ["a", "b"]}, split="train")
    assert list(read_texts(train, split="train")) == ["a", "b"]
    with pytest.raises(UnreadableInput, match="no column 'split' to take 'test' from"):
        read_texts(train, split="test")
    with pytest.raises(UnreadableInput, match="no column 'split'"):
        read_texts(["a"], split="test")
    assert list(read_texts({"text": ["a", "b"], "split": ["train", "test"]}, split="test")) == ["b"]
    own = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"], "split": ["other"]})})
    assert list(read_texts(own, split="train")) == ["a"]


@pytest.mark.parametrize("kind", ["pandas", "arrow", "polars", "numpy"])
def test_data_sets_in_any_format_are_read(kind):
    """`with_format` changes what a data set yields, not what we read."""
    dataset = datasets.Dataset.from_dict({"text": ["a", None, "b"]}).with_format(kind)
    assert list(read_texts(dataset)) == ["a", "b"]


def test_hub_layouts_with_csv_keep_words_that_look_null(tmp_path):
    """A local data set of csv files, read by `datasets`: "None" and "NA" are texts."""
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "train.csv").write_text("text\nNone\nNA\npay\n")
    assert list(read_texts(tmp_path)) == ["None", "NA", "pay"]
    (tmp_path / "README.md").write_text("Just notes.")
    with pytest.raises(UnreadableInput, match="is a folder"):
        read_texts(tmp_path)


def test_missing_values_of_pandas_lose_only_their_rows():
    """pd.NA raises when compared; it is a null like any other."""
    frame = pd.DataFrame({"text": pd.array(["a", pd.NA, "b"], dtype="string")})
    assert read_texts(frame).set_aside.counts() == {"null": 1}


def test_ids_that_look_renamed_are_told_apart_too():
    """An id of a#3 that was there before the third a."""
    texts = read_texts({"id": ["a", "a#3", "a"], "text": ["x", "y", "z"]})
    assert list(texts.ids) == ["a", "a#3", "a#3#3"]


def test_undecodable_ids_are_faults_not_failures(run, tmp_path):
    """A latin-1 byte in an id sets its row aside at the start, not the run at its end."""
    (tmp_path / "t.csv").write_bytes(b"id,text\ncaf\xe9,pay\nb,pay\nc,pay\n")
    result = run("duplicates", tmp_path / "t.csv", "--threshold", "0.9", "-o", tmp_path / "p.parquet", "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)["summary"]
    assert summary["set_aside"]["reasons"] == {"id undecodable (byte 0xe9)": 1}
    assert summary["pairs"] == 1


def test_cells_that_are_not_utf_8_cost_only_their_rows(tmp_path):
    """In parquet too, where pyarrow would refuse the whole column."""
    bad = pa.array([b"pay", b"caf\xe9", b"order"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad}), tmp_path / "t.parquet")
    texts = read_texts(tmp_path / "t.parquet")
    assert list(texts) == ["pay", "order"]
    assert texts.set_aside.counts() == {"undecodable (byte 0xe9)": 1}


def test_damaged_arrow_offsets_end_in_an_error_not_a_crash(tmp_path):
    """Random bytes in every place of a small file, each read in a process of its own would be slow: so all in one."""
    table = pa.table({"text": [f"how do i pay {n}" for n in range(50)]})
    path = tmp_path / "t.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    program = f"""
import random
from textsiam import read_texts
whole = open({str(path)!r}, "rb").read()
for place in range(0, len(whole), 7):
    damaged = bytearray(whole); damaged[place:place + 4] = random.Random(place).randbytes(4)
    open({str(path)!r}, "wb").write(damaged)
    try:
        read_texts({str(path)!r}, column="text")
    except ValueError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])


def test_odd_delimiters_headers_and_json(tmp_path):
    """`\\t` as people type it, Excel's nameless last columns, JSON nested beyond reason."""
    (tmp_path / "t.csv").write_text("id\ttext\n1\tpay\n")
    assert list(read_texts(tmp_path / "t.csv", delimiter="\\t")) == ["pay"]
    for wrong in (";;", '"'):
        with pytest.raises(UnreadableInput, match="one character"):
            read_texts(tmp_path / "t.csv", delimiter=wrong)
    (tmp_path / "e.csv").write_text("id,question,,\n1,pay,,\n")
    assert list(read_texts(tmp_path / "e.csv")) == ["pay"]
    (tmp_path / "n.jsonl").write_text('{"text": "pay"}\n' + "[" * 200_000 + "\n")
    assert read_texts(tmp_path / "n.jsonl").set_aside.counts() == {"not JSON": 1}


def test_standard_input_with_a_header_is_csv(run):
    """A first line that names a known column is a header, not a question."""
    result = run("duplicates", "-", "--threshold", "0.99", "--json", stdin="id,question\n7,pay\n8,pay\n")
    assert [(pair["id_a"], pair["id_b"]) for pair in json.loads(result.stdout)["pairs"]] == [("7", "8")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["duplicates", "q.csv", "-o", "q.csv"],
        ["duplicates", "q.csv", "-o", "./q.csv"],
        ["duplicates", "q.csv", "-o", "p.csv", "--clusters", "p.csv"],
        ["duplicates", "q.csv", "--against", "k.csv", "-o", "k.csv"],
        ["duplicates", "q.csv", "-o", "-", "--json"],
        ["duplicates", "q.csv", "-o", "-", "--clusters", "-"],
        ["duplicates", "q.csv", "q.csv"],
        ["duplicates", "-", "-"],
        ["score", "q.csv", "-o", "q.csv"],
        ["encode", "v.parquet", "-o", "v.parquet"],
        ["encode", "q.csv", "-o", "v.parquet", "--set-aside", "v.parquet"],
    ],
    ids=" ".join,
)
def test_no_output_destroys_an_input_or_another_output(run, tmp_path, monkeypatch, arguments):
    """Refused before anything is read; every file is as it was."""
    monkeypatch.chdir(tmp_path)
    for name in ("q.csv", "k.csv", "v.parquet"):
        (tmp_path / name).write_text("question\npay\npay\n")
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.csv", "q.csv", "v.parquet"]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"question\npay\npay\n"}


def test_a_folder_of_parts_keeps_what_is_not_ours(tiny, tmp_path):
    """Only shards are removed at the end."""
    (tmp_path / "v.parquet.parts").mkdir()
    (tmp_path / "v.parquet.parts" / "precious.txt").write_text("precious")
    encode_to_parquet(tiny.encoder, [Texts(["pay"])], tmp_path / "v.parquet")
    assert [path.name for path in (tmp_path / "v.parquet.parts").iterdir()] == ["precious.txt"]


def test_a_shard_with_damaged_rows_is_made_again(tiny, tmp_path, monkeypatch):
    """Its footer alone is no proof; and what was asked for with another prompt's text is another shard."""

    def stop(*_):
        raise KeyboardInterrupt

    texts = [Texts([f"pay {n}" for n in range(50)])]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards, "_join", stop)
        encode_to_parquet(tiny.encoder, texts, tmp_path / "v.parquet", prompt="how do i ")
    shard = tmp_path / "v.parquet.parts" / "000000.parquet"
    content = bytearray(shard.read_bytes())
    content[10:200] = bytes(190)
    shard.write_bytes(content)
    assert encode_to_parquet(tiny.encoder, texts, tmp_path / "v.parquet", prompt="how do i ").n_reused == 0


def test_encoding_nothing_or_several_files(run, tmp_path):
    """A header alone is refused and leaves nothing; ids of several files carry the file; --strict sees repeated ids."""
    (tmp_path / "h.csv").write_text("id,text\n")
    assert run("encode", tmp_path / "h.csv", "-o", tmp_path / "v.parquet").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["h.csv"]
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("id,text\n1,pay\n1,order\n")
    both = [tmp_path / "a.csv", tmp_path / "b.csv"]
    assert run("encode", *both, "-o", tmp_path / "v.parquet").exit_code == 0
    ids = pq.read_table(tmp_path / "v.parquet").column("id").to_pylist()
    assert [name[-7:] for name in ids] == ["a.csv:1", "csv:1#2", "b.csv:1", "csv:1#2"]
    assert run("encode", both[0], "-o", tmp_path / "v.parquet", "--strict").exit_code == 2


def test_both_sides_are_counted(run, tmp_path):
    """Rows set aside and texts cut among the others are told too."""
    (tmp_path / "n.csv").write_text("text\npay\n")
    (tmp_path / "k.csv").write_text("text\npay\n\n \n" + "pay " * 100 + "\n")
    arguments = ["duplicates", tmp_path / "n.csv", "--against", tmp_path / "k.csv", "--threshold", "0.9", "--json"]
    summary = json.loads(run(*arguments, "--set-aside", tmp_path / "aside.csv").stdout)["summary"]
    assert (summary["set_aside"]["rows"], summary["truncated"], summary["against"]) == (2, 1, 2)
    assert len((tmp_path / "aside.csv").read_text().splitlines()) == 3


def test_scoring_ignores_labels(run, tmp_path):
    """A missing or odd label costs no pair; several files are told apart; cut texts are counted."""
    (tmp_path / "a.csv").write_text("question1,question2,label\npay,pay,\norder,pay,maybe\n")
    (tmp_path / "b.csv").write_text("question1,question2\npay," + "pay " * 100 + "\n")
    answer = json.loads(run("score", tmp_path / "a.csv", tmp_path / "b.csv", "--json").stdout)
    assert [(pair["source"][-5:], pair["row"]) for pair in answer["pairs"]] == [
        ("a.csv", 1),
        ("a.csv", 2),
        ("b.csv", 1),
    ]
    assert answer["summary"]["truncated"] == 1
    assert len(read_pairs(tmp_path / "a.csv", labelled=False)) == 2


def test_pairs_survive_clusters_that_cannot_be_made(run, tmp_path, monkeypatch):
    """Complete linkage beyond its limit fails after the pairs are written; a wrong linkage before anything."""
    (tmp_path / "t.txt").write_text("pay\npay\npay\n")
    monkeypatch.setattr("textsiam.matching.matches.MAX_COMPLETE", 2)
    arguments = ["duplicates", tmp_path / "t.txt", "-o", tmp_path / "p.csv", "--threshold", "0.9", "--linkage"]
    assert run(*arguments, "complete").exit_code == 2
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 4


def test_devices_may_be_outputs(tmp_path, tiny_transformer):
    """/dev/null swallows, /dev/full says no space, and both stay devices."""
    (tmp_path / "t.txt").write_text("pay\npay\n")
    for device, code in (("/dev/null", 0), ("/dev/full", 2)):
        command = [
            sys.executable,
            "-m",
            "textsiam",
            "duplicates",
            str(tmp_path / "t.txt"),
            "-o",
            device,
            "--repeats-only",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert ("No space left" in done.stderr) == (code == 2)
        assert not os.path.isfile(device)  # noqa: PTH113


def test_an_output_behind_a_link_is_replaced_and_the_link_stays(run, tmp_path):
    """The file that the link names gets the answer."""
    (tmp_path / "t.txt").write_text("pay\npay\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert run("duplicates", tmp_path / "t.txt", "--repeats-only", "-o", tmp_path / "link.csv").exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len((tmp_path / "real.csv").read_text().splitlines()) == 2


def test_long_texts_are_tokenised_few_at_a_time(tiny, monkeypatch):
    """Two million characters a call, so that memory does not grow with the texts' length; nothing is lost between."""
    calls = []
    tokenise = type(tiny.encoder.tokenizer).__call__
    monkeypatch.setattr(
        type(tiny.encoder.tokenizer),
        "__call__",
        lambda self, texts: calls.append(sum(map(len, texts))) or tokenise(self, texts),
    )
    monkeypatch.setattr("textsiam.encoding.tokenizing.N_CHARACTERS_A_CALL", 1_000)
    texts = [f"pay {n} " * 50 for n in range(20)] + ["order " * 500]
    vectors = tiny.encode(texts)
    assert len(calls) > 5
    assert max(calls) <= 3_000
    monkeypatch.undo()
    np.testing.assert_allclose(vectors, tiny.encode(texts), atol=1e-5)


def test_prompts_reach_score_and_duplicates(tiny):
    """The prompt changes scores as it changes vectors."""
    vectors = Encoder.encode(tiny.encoder, ["pay", "order"], prompt="how do i ")
    expected = tiny.compare(vectors, vectors, np.array([0]), np.array([1]))
    np.testing.assert_allclose(tiny.score(["pay"], ["order"], prompt="how do i "), expected, atol=1e-6)
    matches = find_duplicates(tiny, ["pay", "order"], threshold=-1.0, prompt="how do i ")
    np.testing.assert_allclose(matches.score, expected, atol=1e-6)


def test_certified_to_none_sends_everything_to_review(tiny):
    """Also where a threshold to reject exists."""
    from textsiam import Threshold

    none = Siamese(tiny.encoder, threshold=Threshold(None), reject_threshold=Threshold(0.99))
    assert none.decide(["pay"], ["order"]).tolist() == ["review"]


def test_characters_that_the_model_does_not_know_are_told(run, model, tmp_path):
    """They embed alike: counted by every command and listed by row, so that nobody trusts such a match unwarned."""
    matches = find_duplicates(model, ["How do I 🧾?", "How do I 🦖?", "How do I pay?"], threshold=0.99)
    assert [(m.left, m.right) for m in matches] == [(0, 1)]
    assert list(matches.unknown) == [0, 1]
    (tmp_path / "t.txt").write_text("how do i 🧾\nhow do i 🦖\nhow do i pay\n")
    result = run("duplicates", tmp_path / "t.txt", "--threshold", "0.9", "--json")
    assert json.loads(result.stdout)["summary"]["with_unknown_characters"] == 2
    result = run("encode", tmp_path / "t.txt", "-o", tmp_path / "v.parquet")
    assert "2 texts hold characters unknown to the model" in result.stderr
    result = run("score", "--pair", "🧾", "pay")
    assert "1 text holds characters unknown" in result.stderr


def test_a_lone_carriage_return_survives_a_csv_file(tmp_path):
    """It is quoted, so the text comes back whole."""
    from textsiam import read_texts
    from textsiam.interfaces.shell.terminal import write_columns

    write_columns(tmp_path / "a.csv", [{"text": ["one\rtwo", "three", 'four "five", six']}])
    assert list(read_texts(tmp_path / "a.csv")) == ["one\rtwo", "three", 'four "five", six']
    assert b"\r\n" not in (tmp_path / "a.csv").read_bytes()
