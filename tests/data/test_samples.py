"""The hand-written samples: what they hold, and that the default does something sensible with what it never saw."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from textsiam import find_duplicates, read_pairs, read_texts
from textsiam.data.texts import normalise
from textsiam.samples import PAIRS, QUESTIONS

HELD_OUT = Path(__file__).parent.parent / "samples" / "questions_held_out.csv"
TRAPS = {"negation", "number", "entity", "near_miss"}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


@pytest.mark.parametrize(("path", "n"), [(QUESTIONS, 300), (HELD_OUT, 150)])
def test_questions_have_groups_and_traps(path, n):
    """Enough questions, unique ids, known groups, traps of every kind."""
    rows = rows_of(path)
    assert len(rows) >= n
    assert len({row["id"] for row in rows}) == len(rows)
    assert sum(size > 1 for size in Counter(row["group"] for row in rows).values()) >= n // 5
    traps = Counter(row["trap"] for row in rows if row["trap"])
    assert set(traps) == TRAPS
    assert min(traps.values()) >= 8
    assert not read_texts(path).set_aside


def test_a_third_is_kept_for_tests():
    """No held-out question is among those that are shipped."""
    shipped, held_out = ({normalise(row["question"]) for row in rows_of(path)} for path in (QUESTIONS, HELD_OUT))
    assert not shipped & held_out
    assert len(held_out) >= len(shipped) * 0.45


def test_pairs_are_labelled_and_agree_with_the_groups():
    """Where both questions of a pair are in the questions, their groups say the same as the label."""
    pairs = read_pairs(PAIRS, strict=True)
    groups = {row["question"]: row["group"] for row in rows_of(QUESTIONS)}
    assert 0.3 < pairs.labels.mean() < 0.6
    for first, second, label in zip(pairs.first, pairs.second, pairs.labels, strict=True):
        if first in groups and second in groups:
            assert (groups[first] == groups[second]) == bool(label), (first, second)


def test_the_default_ranks_held_out_duplicates_high(model):
    """Pairs at or above 0.8 are duplicates far more often than chance (1 in 100 pairs), traps included."""
    rows = rows_of(HELD_OUT)
    matches = find_duplicates(model, [row["question"] for row in rows], threshold=0.8)
    right = [rows[match.left]["group"] == rows[match.right]["group"] for match in matches]
    assert len(right) > 20
    assert sum(right) / len(right) > 0.4
