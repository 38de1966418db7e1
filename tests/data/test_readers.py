"""Sources to texts and pairs: every format, every kind of object, and every fault with its row."""

import gzip
import json
import random

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textsiam import read_pairs, read_texts
from textsiam.data.formats import FORMATS
from textsiam.data.readers import stream_texts
from textsiam.data.sources import open_source
from textsiam.errors import BadRows, UnreadableInput

QUESTIONS = ["How do I pay?", "NA", 'She said "no", twice', "Zwei\nZeilen", "مرحبا بالعالم 👋🏽", "null", "None"]


def write(path, questions=QUESTIONS):
    ids = [f"q{place}" for place in range(len(questions))]
    kind = path.suffix.lstrip(".")
    table = pa.table({"id": ids, "question": questions})
    if kind in {"csv", "tsv"}:
        pd.DataFrame({"id": ids, "question": questions}).to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    elif kind in {"jsonl", "ndjson"}:
        path.write_text(
            "".join(json.dumps({"id": i, "question": q}) + "\n" for i, q in zip(ids, questions, strict=True))
        )
    elif kind == "parquet":
        pq.write_table(table, path)
    elif kind in {"arrow", "feather"}:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        path.write_text("".join(" ".join(q.split("\n")) + "\n" for q in questions), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_every_format_gives_the_same_texts(tmp_path, kind):
    """Each row of FORMATS reads strings as strings: "NA", "null" and "None" are texts."""
    texts = read_texts(write(tmp_path / f"faq.{kind}"))
    expected = [" ".join(q.split("\n")) for q in QUESTIONS] if kind == "txt" else QUESTIONS
    assert list(texts) == expected
    assert not texts.set_aside
    assert list(texts.ids) == (
        [str(row) for row in range(1, 8)] if kind == "txt" else [f"q{place}" for place in range(7)]
    )


def test_gzip_and_the_arrow_stream_are_read(tmp_path):
    """A .gz after the ending is undone; arrow's streaming form is recognised."""
    plain = write(tmp_path / "faq.csv")
    packed = tmp_path / "faq.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_texts(packed)) == QUESTIONS
    table = pa.table({"question": QUESTIONS})
    stream = tmp_path / "stream.arrow"
    with pa.OSFile(str(stream), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert list(read_texts(stream)) == QUESTIONS


def test_a_damaged_gzip_or_parquet_is_named(tmp_path):
    """Truncated containers end in a clear error, not in a traceback of the library."""
    packed = gzip.compress("".join(f"line {random.Random(n).random()}\n" for n in range(20_000)).encode())
    (tmp_path / "half.txt.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UnreadableInput, match="damaged"):
        read_texts(tmp_path / "half.txt.gz")
    whole = write(tmp_path / "faq.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableInput, match="not a parquet file, or is damaged"):
        read_texts(tmp_path / "half.parquet")


@pytest.mark.parametrize(
    "source",
    [
        pd.DataFrame({"question": ["a", None, "b"]}),
        pl.DataFrame({"question": ["a", None, "b"]}),
        pa.table({"question": ["a", None, "b"]}),
        datasets.Dataset.from_dict({"question": ["a", None, "b"]}),
        datasets.DatasetDict({"train": datasets.Dataset.from_dict({"question": ["a", None, "b"]})}),
        {"question": ["a", None, "b"]},
        ["a", None, "b"],
        ("a", None, "b"),
        iter(["a", None, "b"]),
    ],
    ids=["pandas", "polars", "arrow", "dataset", "dataset dict", "mapping", "list", "tuple", "iterator"],
)
def test_every_kind_of_object_is_read_alike(source):
    """The null is set aside with its row, the others stay."""
    texts = read_texts(source)
    assert list(texts) == ["a", "b"]
    assert list(texts.rows) == [1, 3]
    assert texts.set_aside.rows == (2,)


def test_pandas_nan_and_mixed_columns_lose_only_their_rows():
    """NaN, numbers and lists in a text column are set aside one by one."""
    frame = pd.DataFrame({"text": ["a", float("nan"), 3, ["x"], "b"]}, dtype=object)
    assert read_texts(frame).set_aside.counts() == {"null": 1, "not text (int)": 1, "not text (list)": 1}


def test_data_sets_in_local_folders(tmp_path):
    """Saved by `datasets`, or laid out as on the Hub; several splits ask for one."""
    parts = datasets.DatasetDict(
        {
            name: datasets.Dataset.from_dict({"question": [f"{name} {n}" for n in range(3)]})
            for name in ("train", "test")
        }
    )
    parts.save_to_disk(tmp_path / "saved")
    assert list(read_texts(tmp_path / "saved", split="test")) == ["test 0", "test 1", "test 2"]
    with pytest.raises(UnreadableInput, match="has the splits train, test, and none was named"):
        read_texts(tmp_path / "saved")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for name, part in parts.items():
        part.to_parquet(tmp_path / "hub" / "data" / f"{name}-00000-of-00001.parquet")
    assert list(read_texts(tmp_path / "hub", split="train")) == ["train 0", "train 1", "train 2"]


def test_a_split_column_picks_rows(tmp_path):
    """Of a file with a split column, the rows of that split; an unknown one is named."""
    frame = pd.DataFrame({"text": list("abcd"), "split": ["train", "dev", "train", "dev"]})
    frame.to_csv(tmp_path / "s.csv", index=False)
    assert list(read_texts(tmp_path / "s.csv", split="dev")) == ["b", "d"]
    with pytest.raises(UnreadableInput, match="no row of split 'test'. It has: train, dev"):
        read_texts(tmp_path / "s.csv", split="test")


def test_ragged_rows_bad_quotes_and_bad_bytes_are_named_with_their_rows(tmp_path):
    """One file with every fault: the good rows survive, each fault has its row."""
    rows = [
        b"1,good one",
        b"2,too,many",
        b"3",
        b'4,"closed" then more',
        b"5,caf\xe9",
        b'6,"over\ntwo lines"',
        b"7,",
        b"8,   ",
        b"9,good two",
        b'10,"never closed',
        b"11,good three",
        b"12,good four",
    ]
    (tmp_path / "bad.csv").write_bytes(b"id,question\n" + b"\n".join(rows) + b"\n")
    texts = read_texts(tmp_path / "bad.csv")
    assert list(texts) == ["good one", "over\ntwo lines", "good two", "good three", "good four"]
    assert list(texts.rows) == [1, 6, 9, 11, 12]
    assert {fault.row: fault.reason for fault in texts.set_aside} == {
        2: "3 fields where the header has 2",
        3: "1 field where the header has 2",
        4: "text after a closing quote",
        5: "undecodable (byte 0xe9)",
        7: "empty",
        8: "only whitespace",
        10: "quote never closed",
    }
    assert texts.n_read == 12
    with pytest.raises(BadRows, match="text after a closing quote"):
        read_texts(tmp_path / "bad.csv", strict=True)


def test_an_unclosed_quote_does_not_swallow_a_large_file(tmp_path):
    """After an open quote reading goes on at the next line, even where no other quote ever comes."""
    lines = ["question", '"open', *(f"question number {n}" for n in range(5_000))]
    (tmp_path / "open.csv").write_text("\n".join(lines))
    texts = read_texts(tmp_path / "open.csv")
    assert len(texts) == 5_000
    assert texts.set_aside.rows == (1,)


@pytest.mark.parametrize(
    "content",
    [
        "\ufefftext\na\nb\n".encode(),
        b"text\r\na\r\nb\r\n",
        b"text\ra\rb\r",
        b"text\r\na\nb",
        "text\na\nb\n".encode("utf-16"),
    ],
    ids=["BOM", "CRLF", "CR", "mixed", "UTF-16"],
)
def test_marks_and_newlines_of_other_systems(tmp_path, content):
    """A BOM is no part of the header; every kind of newline ends a row."""
    (tmp_path / "t.csv").write_bytes(content)
    texts = read_texts(tmp_path / "t.csv", column="text")
    assert list(texts) == ["a", "b"]


def test_latin_1_is_read_when_named(tmp_path):
    """Undecodable rows are set aside; naming the encoding reads them."""
    (tmp_path / "l.csv").write_bytes("text\nWo ist das Büro?\nplain\n".encode("latin-1"))
    assert read_texts(tmp_path / "l.csv").set_aside.counts() == {"undecodable (byte 0xfc)": 1}
    assert list(read_texts(tmp_path / "l.csv", encoding="latin-1")) == ["Wo ist das Büro?", "plain"]
    with pytest.raises(UnreadableInput, match="does not know the text encoding"):
        read_texts(tmp_path / "l.csv", encoding="klingon")


def test_broken_json_lines_are_named(tmp_path):
    """Lines that are no JSON, or no object, or lack the field, are set aside; NaN is null."""
    lines = [
        '{"text": "a"}',
        "{broken",
        "[1]",
        '{"other": 1}',
        '{"text": NaN}',
        '{"text": "b"}',
        '{"text": "\\ud800"}',
        "",
    ]
    (tmp_path / "j.jsonl").write_text("\n".join(lines))
    texts = read_texts(tmp_path / "j.jsonl")
    assert list(texts) == ["a", "b"]
    assert texts.set_aside.counts() == {"null": 2, "not JSON": 1, "JSON, but no object (list)": 1, "not Unicode": 1}


def test_ids_that_repeat_carry_their_row(tmp_path):
    """No text is lost because its id came before; strict reading refuses."""
    (tmp_path / "i.csv").write_text("id,text\na,one\na,two\n,three\nb,four\n")
    texts = read_texts(tmp_path / "i.csv")
    assert list(texts.ids) == ["a", "a#2", "3", "b"]
    assert [fault.row for fault in texts.renamed] == [2]
    with pytest.raises(BadRows, match="1 repeats an id"):
        read_texts(tmp_path / "i.csv", strict=True)


def test_streaming_gives_what_reading_gives(tmp_path):
    """Chunks of any size hold the same texts, ids and faults as one reading."""
    path = write(tmp_path / "faq.csv", [*QUESTIONS, "", "last"])
    whole = read_texts(path)
    for n_rows in (1, 2, 3, 100):
        chunks = list(stream_texts(open_source(path), n_rows=n_rows))
        assert [text for chunk in chunks for text in chunk] == list(whole)
        assert [name for chunk in chunks for name in chunk.ids] == list(whole.ids)
        assert [row for chunk in chunks for row in chunk.set_aside.rows] == list(whole.set_aside.rows)


def test_columns_are_found_or_asked_for(tmp_path):
    """The only column, a usual name, a named one; else an error that lists what there is."""
    assert read_texts({"Question": ["a"], "n": [1]}).mapping == {"text": "Question", "id": "row number"}
    assert read_texts({"whatever": ["a"]}).mapping["text"] == "whatever"
    with pytest.raises(UnreadableInput, match="which column holds the texts.*It has: x, y"):
        read_texts({"x": ["a"], "y": ["b"]})
    with pytest.raises(UnreadableInput, match="no column 'z'. It has: x, y"):
        read_texts({"x": ["a"], "y": ["b"]}, column="z")
    (tmp_path / "semi.csv").write_text("id;question\n1;a\n")
    with pytest.raises(UnreadableInput, match=r"looks delimited by ';'.*--delimiter"):
        read_texts(tmp_path / "semi.csv")
    assert list(read_texts(tmp_path / "semi.csv", delimiter=";")) == ["a"]


@pytest.mark.parametrize(
    ("header", "mapping"),
    [
        ("sentence1,sentence2,label", {"first": "sentence1", "second": "sentence2", "label": "label"}),
        ("question1,question2,is_duplicate", {"first": "question1", "second": "question2", "label": "is_duplicate"}),
        ("anchor,positive,note", {"first": "anchor", "second": "positive"}),
        ("text_a,text_b,score", {"first": "text_a", "second": "text_b", "score": "score"}),
    ],
)
def test_pair_columns_have_usual_names(tmp_path, header, mapping):
    """The names of the field's data sets are understood and told."""
    (tmp_path / "p.csv").write_text(f"{header}\na,b,1\n")
    assert read_pairs(tmp_path / "p.csv").mapping == mapping


def test_bad_labels_and_scores_lose_only_their_rows():
    """A label beyond 0 and 1, or a score that is no number, sets its row aside."""
    pairs = read_pairs({"text1": list("abcd"), "text2": list("wxyz"), "label": ["1", 0, "maybe", 1.0]})
    assert pairs.labels.tolist() == [1, 0, 1]
    assert pairs.set_aside.counts() == {"label is not 0 or 1": 1}
    graded = read_pairs({"text1": list("abc"), "text2": list("xyz"), "score": [4.5, "nan", "x"]})
    assert graded.scores.tolist() == [4.5]
    with pytest.raises(UnreadableInput, match="no usable pair"):
        read_pairs({"text1": ["a"], "text2": ["b"], "label": [7]})
    with pytest.raises(UnreadableInput, match="only 'text1' was named"):
        read_pairs({"text1": ["a"], "text2": ["b"]}, first="text1")


def test_pairs_come_from_rows_and_from_columns():
    """A list of rows, or a tuple of lists."""
    assert read_pairs([("a", "b"), ("c", "d")]).labels is None
    assert read_pairs((["a", "c"], ["b", "d"], [1, 0])).labels.tolist() == [1, 0]
    assert read_pairs([("a", "b", 1), "odd"]).set_aside.counts() == {"not a pair": 1}


def test_sources_that_cannot_be_read_say_why(tmp_path):
    """Missing, empty, header only, a folder, an unknown ending, an unknown kind."""
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_texts(tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UnreadableInput, match="is empty"):
        read_texts(tmp_path / "empty.csv")
    (tmp_path / "head.csv").write_text("question\n")
    with pytest.raises(UnreadableInput, match="a header and no row"):
        read_texts(tmp_path / "head.csv")
    with pytest.raises(UnreadableInput, match=r"is a folder.*empty\.csv"):
        read_texts(tmp_path)
    (tmp_path / "x.docx").write_text("x")
    with pytest.raises(UnreadableInput, match=r"does not read: 'docx'.*csv"):
        read_texts(tmp_path / "x.docx")
    with pytest.raises(UnreadableInput, match="cannot read a int"):
        read_texts(3)
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    with pytest.raises(UnreadableInput, match="names a column twice"):
        read_texts(tmp_path / "twice.csv")


def test_a_hub_name_that_cannot_be_had_says_so(monkeypatch):
    """Without a network, the name of a data set ends in a clear error."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnreadableInput, match="neither a file here nor a data set"):
        read_texts("nobody/no-such-data-set")


@pytest.mark.parametrize("seed", range(20))
def test_any_csv_that_pandas_writes_is_read_back(seed, tmp_path):
    """Quotes, commas, newlines and tabs in random texts survive the round trip (oracle: pandas' writer)."""
    rng = random.Random(seed)
    questions = ["x" + "".join(rng.choices("ab\",\n\t' ;é", k=rng.randrange(12))) for _ in range(50)]
    write(tmp_path / "r.csv", questions)
    assert list(read_texts(tmp_path / "r.csv")) == questions


def test_a_header_may_be_called_as_a_format_begins(tmp_path):
    """Bytes that are no text make a parquet file, not four letters."""
    (tmp_path / "a.csv").write_text("PAR1,question\n1,How do I pay?\n")
    assert list(read_texts(tmp_path / "a.csv", column="question")) == ["How do I pay?"]
