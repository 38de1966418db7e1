"""What makes a text usable, and the nouns that hold texts and pairs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsiam import Pairs, SetAside, Texts
from textsiam.data.texts import Fault, distinct, fault_of, join_texts, normalise
from textsiam.errors import BadRows, UnreadableInput


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NA", ""),
        ("None", ""),
        ("null", ""),
        ("nan", ""),
        ("?", ""),
        ("👍", ""),
        ("مرحبا", ""),
        ("", "empty"),
        (" \t\n ", "only whitespace"),
        ("\u200b\ufeff", "nothing visible"),
        ("\u00ad\ufe0f", "nothing visible"),
        ("\u3164\u2800", "nothing visible"),
        ("\u0301", "nothing visible"),
        (np.float32("nan"), "null"),
        (pd.NA, "null"),
        (np.array([1, 2]), "not text (ndarray)"),
        (None, "null"),
        (float("nan"), "null"),
        (3, "not text (int)"),
        (["a"], "not text (list)"),
        ("caf\udce9", "undecodable (byte 0xe9)"),
        ("\ud800", "not Unicode"),
    ],
)
def test_a_text_is_usable_or_has_a_reason(value, reason):
    """Words that look like missing values are texts; what embeds to nothing is not."""
    assert fault_of(value) == reason


@given(st.lists(st.text(max_size=3)))
def test_distinct_gives_every_text_back(texts):
    """Distinct texts and places rebuild the list, and no distinct text comes twice."""
    unique, rows = distinct(texts)
    assert [unique[row] for row in rows] == texts
    assert len(set(unique)) == len(unique)


@given(st.text())
def test_normalising_twice_is_normalising_once(text):
    """Casefold and NFKC can undo each other once, so compare after the second time on."""
    assert normalise(normalise(normalise(text))) == normalise(normalise(text))


def test_texts_refuses_what_is_wrong_at_birth():
    """Lengths, usability and ids are checked when the noun is made."""
    with pytest.raises(UnreadableInput, match="one id"):
        Texts(["a"], ids=["1", "2"])
    with pytest.raises(UnreadableInput, match="Row 2 is not a usable text: empty"):
        Texts(["a", ""])
    with pytest.raises(UnreadableInput, match="'x' names more than one"):
        Texts(["a", "b"], ids=["x", "x"])


def test_joined_texts_keep_ids_apart():
    """Two files may use the same ids."""
    joined = join_texts({"a.csv": Texts(["x"], ids=["7"]), "b.csv": Texts(["y"], ids=["7"])})
    assert list(joined.ids) == ["a.csv:7", "b.csv:7"]


def test_set_aside_counts_and_refuses():
    """Reasons are counted with rows, and strict reading raises."""
    aside = SetAside((Fault("f", 2, "empty"), Fault("f", 5, "null"), Fault("f", 9, "empty")))
    assert str(aside) == "3 rows set aside: 2 empty (rows 2, 9), 1 null (row 5)"
    assert aside.rows == (2, 5, 9)
    with pytest.raises(BadRows, match="2 empty"):
        aside.refuse()
    SetAside().refuse()


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (dict(first=["a"], second=["b", "c"]), "equal length"),
        (dict(first=["a"], second=[" "]), "second text only whitespace"),
        (dict(first=["a"], second=["b"], labels=np.array([2])), "0 or 1"),
        (dict(first=["a"], second=["b"], scores=np.array([np.nan])), "finite"),
        (dict(first=["a"], second=["b"], labels=np.array([0, 1])), "equal length"),
    ],
)
def test_pairs_refuses_what_is_wrong_at_birth(given, wrong):
    """A Pairs that exists is aligned, usable and well labelled."""
    with pytest.raises(UnreadableInput, match=wrong):
        Pairs(**given)


def test_pairs_take_lists_and_make_arrays():
    """Labels may come as a list, of booleans too."""
    pairs = Pairs(["a", "b"], ["b", "c"], labels=[True, False])
    assert pairs.labels.tolist() == [1, 0]
    assert pairs.unique()[0] == ["a", "b", "c"]
