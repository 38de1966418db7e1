"""Triplets: checked at birth, taken by place, read with every broken row set aside and none lost."""

import io
import json
import random
import sys

import numpy as np
import pandas as pd
import pytest

from textsiam import Pairs, Triplets, read_pairs, read_triplets
from textsiam.data.columns import negative_columns
from textsiam.data.readers import read_examples
from textsiam.errors import BadRows, UnreadableInput

COLUMNS = {"anchor": ["a", "b"], "positive": ["c", "d"], "negative": ["e", "f"]}


@pytest.fixture
def stdin(monkeypatch):
    """Standard input with these bytes, which can be read once, as from a pipe."""

    def give(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return give


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["a"], ["b"], []), "needs at least one column of negatives, but got none. Use Pairs instead"),
        ((["a", "b"], ["c", "d"], [["e", "f"], ["g"]]), "equal length, but got 2, 2, 2, 1 texts and 2 rows. Align"),
        ((["a", "b"], ["c", "d"], [["e", "f"]], [7]), "equal length, but got 2, 2, 2 texts and 1 rows"),
        (
            (["a", "b"], ["c", "d"], [["e", "f"], ["g", " "]], [7, 9]),
            "Row 9 is not a usable triplet: negative only white",
        ),
        (
            (["a", "\u200b"], ["c", "d"], [["e", "f"]]),
            "Row 2 is not a usable triplet: anchor nothing visible. Use read_tri",
        ),
        ((["a"], [""], [["e"]]), "Row 1 is not a usable triplet: positive empty"),
        ((["a", "b"], ["c", "d"], ["of", "it"]), "got one string: 'of'. Put it in a list"),
        ((["a"], ["c"], "e"), "got one string: 'e'. Put it in a list"),
        (("a", ["c"], [["e"]]), "got one string: 'a'"),
    ],
)
def test_triplets_are_checked_at_birth(columns, message):
    """Lengths, texts with their row, and a list of texts where columns of texts are meant."""
    with pytest.raises(UnreadableInput, match=message):
        Triplets(*columns)


def test_places_are_taken_in_their_order():
    """With row numbers, twice if asked twice, from the end if negative; triplets and pairs alike."""
    triplets = Triplets(list("abc"), list("def"), [list("ghi"), list("jkl")], [4, 5, 9], mapping={"anchor": "q"})
    for places in ([2, 0, 2], np.array([2, 0, 2]), np.array([2, 0, 2], dtype=np.int32), (-1, 0, -1)):
        taken = triplets.take(places)
        assert taken.columns == (["c", "a", "c"], ["f", "d", "f"], ["i", "g", "i"], ["l", "j", "l"])
        assert (list(taken.rows), taken.mapping) == ([9, 4, 9], {"anchor": "q"})
        pairs = Pairs(list("abc"), list("def"), scores=[0.5, 1, 2], rows=[4, 5, 9], mapping={"first": "q"}).take(places)
        assert (pairs.first, pairs.second, pairs.scores.tolist()) == (["c", "a", "c"], ["f", "d", "f"], [2, 0.5, 2])
        assert (list(pairs.rows), pairs.labels, pairs.mapping) == ([9, 4, 9], None, {"first": "q"})
    for nothing in ([], np.array([], dtype=np.int64)):
        assert len(triplets.take(nothing)) == len(Pairs(["a"], ["b"], labels=[1]).take(nothing)) == 0


@pytest.mark.parametrize("table", [Triplets(["a", "b"], ["c", "d"], [["e", "f"]]), Pairs(["a", "b"], ["c", "d"])])
def test_a_mask_is_not_taken_for_places(table):
    """True and False would be the places 1 and 0: the wrong rows, silently."""
    with pytest.raises(ValueError, match="Places are whole numbers from 0, but got bool. Give numpy.flatnonzero"):
        table.take([True, False])


def test_distinct_texts_come_once_with_the_places_of_each_column():
    """What encoders need: every text once, and where each column's texts stand."""
    triplets = Triplets(["a", "b"], ["b", "a"], [["c", "c"], ["a", "d"]])
    texts, places = triplets.unique()
    assert [[texts[place] for place in column] for column in places] == [list(column) for column in triplets.columns]
    assert texts == ["a", "b", "c", "d"]
    assert repr(triplets) == "Triplets(2 triplets with 2 negatives each, no row set aside)"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["anchor", "positive", "negative"], ["negative"]),
        (["negative_10", "positive", "NEGATIVE_2", "negative_1"], ["negative_1", "NEGATIVE_2", "negative_10"]),
        ([f"negative_{k}" for k in range(300, 0, -1)], [f"negative_{k}" for k in range(1, 301)]),
        (["negative_0", "Negative"], ["Negative", "negative_0"]),
        (["negatives", "negative_", "negative_a", "non_negative", "negative_1_score", "negative_²"], []),
    ],
)
def test_columns_of_negatives_are_found_by_number(columns, expected):
    """However many there are, in the order of their numbers, as the source spells them; and no other column."""
    assert negative_columns(columns) == expected


BROKEN = [None, "", "  ", "\u200b", 7]
REASONS = {None: "null", "": "empty", "  ": "only whitespace", "\u200b": "nothing visible", 7: "not text (int)"}


def test_a_third_of_broken_rows_is_set_aside_and_nothing_is_lost(tmp_path):
    """By row number and reason, whatever the column; every other row is there, in order."""
    rng = random.Random(0)
    names, expected, lines = ("anchor", "positive", "negative_1", "negative_2"), {}, []
    for row in range(1, 201):
        values = {name: f"{name} of row {row}" for name in names}
        if row % 10 < 3:
            name, wrong = rng.choice(names), rng.choice(BROKEN)
            values[name] = wrong
            expected[row] = f"{name.partition('_')[0]} {REASONS[wrong]}"
        lines.append(json.dumps(values))
    lines[99], expected[100] = '{"anchor": "cut off', "not JSON"
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    triplets = read_triplets(tmp_path / "t.jsonl")
    assert {fault.row: fault.reason for fault in triplets.set_aside} == expected
    assert list(triplets.rows) == [row for row in range(1, 201) if row not in expected]
    for name, column in zip(names, triplets.columns, strict=True):
        assert list(column) == [f"{name} of row {row}" for row in triplets.rows]
    assert triplets.mapping == {name: name for name in names}
    with pytest.raises(BadRows, match=f"{len(expected)} rows set aside"):
        read_triplets(tmp_path / "t.jsonl", strict=True)


def test_columns_may_be_named():
    """Any names, any number of negatives; a single string is no list of them."""
    rows = {"q": ["a"], "good": ["b"], "bad": ["c"], "worse": ["d"], "negative": ["e"]}
    triplets = read_triplets(rows, anchor="q", positive="good", negatives=["worse", "bad"])
    assert triplets.columns == (["a"], ["b"], ["d"], ["c"])
    assert triplets.mapping == {"anchor": "q", "positive": "good", "negative_1": "worse", "negative_2": "bad"}
    assert read_triplets(rows, anchor="q", positive="good").mapping["negative"] == "negative"
    with pytest.raises(UnreadableInput, match="no column 'ugly'. It has: q, good"):
        read_triplets(rows, anchor="q", positive="good", negatives=["ugly"])
    with pytest.raises(UnreadableInput, match="got one string: 'bad'"):
        read_triplets(rows, anchor="q", positive="good", negatives="bad")


def test_what_holds_no_triplets_is_refused():
    """No column of negatives, no usable row, no row at all."""
    with pytest.raises(UnreadableInput, match="does not say which column holds the negatives: name it"):
        read_triplets({"anchor": ["a"], "positive": ["b"]})
    with pytest.raises(UnreadableInput, match="no usable triplet: 1 row set aside: 1 positive null"):
        read_triplets({"anchor": ["a"], "positive": [None], "negative": ["c"]})
    with pytest.raises(UnreadableInput, match="no usable triplet: it has a header and no row"):
        read_triplets({"anchor": [], "positive": [], "negative": []})


@pytest.mark.parametrize(
    ("more", "how", "kind"),
    [
        ({}, {}, Triplets),
        ({"label": [1, 0]}, {}, Triplets),
        ({"label": [1, 0]}, {"label": "label"}, Pairs),
        ({"closeness": [0.1, 0.2]}, {"score": "closeness"}, Pairs),
        ({}, {"first": "anchor", "second": "negative"}, Pairs),
        ({"other": ["x", "y"]}, {"first": "anchor", "second": "other"}, Triplets),
    ],
)
def test_a_column_of_negatives_makes_triplets(more, how, kind):
    """Unless a label or a score is named, or that column as one of the pair's."""
    assert isinstance(read_examples(COLUMNS | more, **how), kind)
    assert isinstance(read_examples(pd.DataFrame(COLUMNS | more, index=[1, 0]), **how), kind)


def test_examples_without_negatives_are_pairs():
    """Labelled, graded or bare, as read_pairs reads them; what is read already stays as it is."""
    rows = {"first": ["a"], "second": ["b"], "score": [0.5]}
    assert read_examples(rows).scores.tolist() == read_pairs(rows).scores.tolist() == [0.5]
    assert read_examples([("a", "b", 1)]).labels.tolist() == [1]
    pairs, triplets = Pairs(["a"], ["b"]), Triplets(["a"], ["b"], [["c"]])
    assert read_examples(pairs) is pairs
    assert read_examples(triplets) is triplets
    with pytest.raises(UnreadableInput, match="has no splits, but got split='test'. Name the split when reading"):
        read_examples(pairs, split="test")


@pytest.mark.parametrize(
    ("text", "kind", "rows"),
    [
        ("anchor,positive,negative\na,b,c\nd,,f\ng,h,i\n", Triplets, [1, 3]),
        ("anchor\tpositive\tnegative_1\tnegative_2\na\tb\tc\td\n", Triplets, [1]),
        ('{"anchor": "a", "positive": "b", "negative": "c"}\n{"anchor": 1}\n', Triplets, [1]),
        ("question1,question2,label\na,b,1\nc,d,0\n", Pairs, [1, 2]),
    ],
)
def test_standard_input_is_read_once(stdin, text, kind, rows):
    """What kind it holds is told by its header, without a second reading."""
    stdin(text)
    found = read_examples("-")
    assert isinstance(found, kind)
    assert list(found.rows) == rows


@pytest.mark.parametrize("negatives", [{"negative": list("ghi")}, {}])
def test_a_split_is_taken_once(negatives, tmp_path):
    """Of triplets and of pairs, in files and in columns; one that is not there is an error."""
    columns = {"anchor": list("abc"), "positive": list("def"), **negatives, "split": ["train", "dev", "train"]}
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    for source in (columns, tmp_path / "t.csv"):
        found = read_examples(source, split="train")
        assert isinstance(found, Triplets if negatives else Pairs)
        assert list(found.rows) == [1, 3]
        with pytest.raises(UnreadableInput, match="has no row of split 'test'. It has: train, dev"):
            read_examples(source, split="test")
    with pytest.raises(UnreadableInput, match="no column 'split' to take 'dev' from"):
        read_examples({"anchor": ["a"], "positive": ["b"], **{name: ["c"] for name in negatives}}, split="dev")


def test_dialects_reach_both_kinds(tmp_path):
    """Delimiter, encoding and format, of triplets as of pairs."""
    (tmp_path / "t.data").write_bytes("anchor;positive;negative\ncafé;thé;eau\n".encode("latin-1"))
    how = {"format": "csv", "delimiter": ";", "encoding": "latin-1"}
    assert read_examples(tmp_path / "t.data", **how).columns == (["café"], ["thé"], ["eau"])
    assert read_triplets(tmp_path / "t.data", **how).columns == (["café"], ["thé"], ["eau"])
    with pytest.raises(BadRows, match="undecodable"):
        read_examples(tmp_path / "t.data", format="csv", delimiter=";", strict=True)
