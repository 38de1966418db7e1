"""Counterfactuals: the same for the same texts and seed, both labels from each text, and each rule on texts of our own."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsiam import counterfactuals, read_texts
from textsiam.data.texts import normalise
from textsiam.samples import QUESTIONS
from textsiam.scoring.counterfactuals.counterfactual_pairs import CHANGES, KEPT, KINDS
from textsiam.scoring.counterfactuals.word_lists import OPPOSITES, UNIT_ROWS
from textsiam.scoring.judging.opposites import opposed
from textsiam.scoring.judging.units import amounts_of

# Kind, text, the only edit wanted.
WANTED = [
    ("negation", "How do I wake the baby?", "How do I not wake the baby?"),
    ("negation", "My oven isn't warm.", "My oven is warm."),
    ("inclusion", "Can I bake bread without yeast?", "Can I bake bread with yeast?"),
    ("time order", "Do I rinse rice before cooking?", "Do I rinse rice after cooking?"),
    ("comparison", "Is cork more durable than foam?", "Is cork less durable than foam?"),
    ("comparison", "Which is the largest lake?", "Which is the smallest lake?"),
    ("opposite", "Where did she buy the boat?", "Where did she sell the boat?"),
    ("roles", "Is there a ferry from Corsica to Elba?", "Is there a ferry from Elba to Corsica?"),
    ("roles", "Did Anna pay Peter?", "Did Peter pay Anna?"),
    ("direction", "Why is my left shoe tight? My left foot hurts.", "Why is my left shoe tight? My right foot hurts."),
    ("spelling", "WHAT COLOUR IS IT?", "WHAT COLOR IS IT?"),
    ("number word", "I have 3 hamsters.", "I have three hamsters."),
    ("contraction", "They do not bark.", "They don't bark."),
    ("order", "What lies between Malta and Sicily?", "What lies between Sicily and Malta?"),
    ("order", "If it rains, will the band play?", "Will the band play if it rains?"),
]
NOTHING = [
    ("number", "Is the 1 left from 3 to 5, or 9/11?"),
    ("number", "Is Windows 10 free?"),
    ("unit", "She is 16 years old."),
    ("negation", "Can I go?"),
    ("negation", "Why don't you have any?"),
    ("inclusion", "How do I deal with it?"),
    ("time order", "Who looked after all the dogs before and after?"),
    ("comparison", "Once more, more or less."),
    ("roles", "How far is it from Rome to Paris?"),
    ("roles", "I start from scratch to finish."),
    ("name", "Is David Hume dead?"),
    ("order", "If the baker is ill, will she open?"),
    ("direction", "Is it an eastern habit?"),
    ("opposite", "Is that an advantage?"),
    ("spelling", "Where is Grey's hat?"),
    ("number word", "Who won World War 2 then?"),
    ("courtesy", "No question."),
    ("typo", "Short words only, twenty."),
    ("contraction", "Why don't you go? Who is it?"),
]


def edits(kind, text, seed=0):
    return list(KINDS[kind](text, Random(seed)))


@pytest.mark.parametrize(("kind", "text", "wanted"), WANTED)
def test_a_rule_makes_the_edit_wanted(kind, text, wanted):
    """The whole edited text, and no other."""
    assert [edit.text for edit in edits(kind, text)] == [wanted]


@pytest.mark.parametrize(("kind", "text"), NOTHING)
def test_a_rule_leaves_alone_what_it_cannot_mend(kind, text):
    """No edit is better than a wrong one."""
    assert edits(kind, text) == []


def test_both_labels_come_from_each_text():
    """Equal numbers of changed and kept, each unlike its text after normalisation, with label and kind that agree."""
    made = counterfactuals(read_texts(QUESTIONS), n_per_text=2)
    assert len(made) > 20
    labels = {}
    for row, first, second, label, kind in zip(
        made.rows, made.pairs.first, made.pairs.second, made.pairs.labels, made.kinds, strict=True
    ):
        labels.setdefault(row, []).append(int(label))
        assert normalise(first) != normalise(second)
        assert kind in (KEPT if label else CHANGES)
    assert all(2 * sum(of) == len(of) for of in labels.values())
    assert set(made.counts()) | set(made.absent()) == set(KINDS)


def test_the_order_of_texts_decides_nothing():
    """The same texts the other way round have the same edits; another seed has others."""
    texts = list(read_texts(QUESTIONS))
    sets = [counterfactuals(of, seed=seed) for of, seed in ((texts, 1), (texts[::-1], 1), (texts, 2))]
    pairs = [set(zip(made.pairs.first, made.pairs.second, made.kinds, strict=True)) for made in sets]
    assert pairs[0] == pairs[1] != pairs[2]


def test_other_languages_are_counted():
    """Without an English function word there are no edits, not even where a digit stands."""
    made = counterfactuals(["Wo finde ich 24 Karten?", None])
    assert (len(made), made.n_texts, made.n_english, len(made.pairs.set_aside)) == (0, 1, 0, 1)


@pytest.mark.parametrize("how", [{"kinds": ["number"]}, {"kinds": ["typo"]}, {"kinds": ["x"]}, {"n_per_text": 0}])
def test_requests_that_cannot_be_met_are_refused(how):
    """Kinds of one label only, an unknown kind, no edit at all."""
    with pytest.raises(ValueError, match=r"kind|meaning|n_per_text"):
        counterfactuals(["Is it?"], **how)


def test_opposites_agree_with_the_table_of_the_judge():
    """Each pair of base forms is found by the veto's table."""
    for line in OPPOSITES.splitlines():
        here, there = (side.split()[0] for side in line.split("|"))
        assert opposed(here, there), line


def test_units_of_a_row_share_a_dimension():
    """By the table that the vetoes read; times and months are one."""
    for row in UNIT_ROWS:
        read = {measure.dimension for unit in row for measure in amounts_of(f"5 {unit}").measures}
        assert len(read - {"months"} if "time" in read else read) == 1, row


@given(st.text(min_size=1, max_size=60))
def test_no_text_breaks_a_rule(text):
    """Each rule takes any text, and says what it changed."""
    for kind in KINDS:
        assert all(edit.change for edit in edits(kind, f"is {text}?"))
