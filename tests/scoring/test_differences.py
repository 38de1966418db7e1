"""The differences that matter: numbers, negation and names, by hand and on anything that is a string."""

import csv
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsiam.samples import PAIRS
from textsiam.scoring.explaining.differences import (
    DIFFERENCES,
    difference,
    differences,
    entities_of,
    negations_of,
    numbers_of,
    overlap,
)

ANY_TEXT = (
    st.text()
    | st.text(st.characters(codec=None))
    | st.text("aA1 .,'%$½٣İ\u2019\ud800\u200b中\n-")
    | st.binary().map(str)
)

NUMBERS = {
    "5% of 200": "5% 200", "five percent": "5%", "５ ％": "5%", "5 per cent": "5%",
    "$5": "$5", "5 dollars": "$5", "USD 5.00": "$5", "5 US dollars": "$5", "€3.10": "€3.1", "3.10": "3.10", "3.00": "3",
    "₹500 and 1000": "₹500 ₹1000", "500 or 1000 rupees": "₹500 ₹1000", "Rs. 500": "₹500", "5-10 %": "5% 10%",
    "1,000": "1000", "1,00,000": "100000", "1.000,50": "1000.50", "1.234.567": "1234567", "1’000": "1000",
    "1\u00a0000": "1000", "1 000": "1 0", "3,5": "3.5", "007": "7", "10:42": "10:42", "v1.2.3": "1.2.3",
    "twenty-five": "25", "two hundred and five": "205", "a hundred thousand": "100000", "a dozen": "12", "2.5 million": "2500000",
    "500,1000 notes": "500 1000", "half a million": "500000", "1903 -1967": "1903 1967",
    "in 2012, 9 %": "2012 9%", "5, 6 and 7 %": "5% 6% 7%", "the nineteenth": "19", "twenty-second": "22",
    "two and a half": "2.5", "300 m²": "300",
    "5k": "5000", "nineteen ninety": "19 90", "five and six": "5 6", "twenty and five": "20 5", "one two": "1 2",
    "one day": "1", "only one": "1", "how does one learn": "", "one of them": "", "which one": "", "no one": "",
    "3rd": "3", "third": "3", "first floor": "1", "first of all": "", "wait a second": "", "30 seconds": "30",
    "iphone7": "7", "-5 °C": "-5", "٣": "3", "½": "1 2", "often money freight tender": "", "5 and 5": "5",
}  # fmt: skip
NEGATIONS = {
    "I can't": "not", "I can’t": "not", "DON`T": "not", "isn＇t": "not", "dont": "not", "cannot": "not", "can not": "not",
    "why not, or never?": "not never", "no one": "nobody", "nobody": "nobody", "no-one": "nobody", "w/o": "without",
    "without": "without", "nothing nowhere none neither nor no": "nothing nowhere none neither nor no", "not, not": "not not",
    "not only this": "", "whether or not it works": "", "yes or not?": "", "No. 5": "", "turn the wifi off": "",
    "knot note another paint innocent": "", "unlock": "", "no longer pending": "no",
}  # fmt: skip
ENTITIES = {
    "Does Anna's iPhone work with the NASA app in New York?": "Anna iPhone NASA New York",
    "How Do I Reset My Password?": "", "PLEASE HELP ME WITH MY ORDER": "", "PLEASE HELP WITH MY iPhone": "iPhone",
    "What Is Machine Learning and How Does It Work?": "", "how to install whatsapp": "",
    "Who is Donald Trump?": "Donald Trump", "I can NOT log in. Please help. OK?": "", "I'm sure I'll pay, don't I?": "",
    "Paris is big. Rome is bigger.": "", "please ask Mr. Smith": "Smith", "Can the PDFs be read?": "PDF", "eBay": "eBay",
    "at 5PM with 50GB on 5G": "5G", "my B2B account": "B2B", "in the US": "US", "ask us": "", "my AT&T plan": "AT&T",
    "Why is Wi-Fi slow?": "Wi-Fi", "如何在 iPhone 上重置密码？": "iPhone", "": "", "?": "",
}  # fmt: skip
CASES = {"numbers": NUMBERS, "negation": NEGATIONS, "entities": ENTITIES}


@pytest.mark.parametrize(
    ("kind", "text", "expected"), [(kind, text, told) for kind, cases in CASES.items() for text, told in cases.items()]
)
def test_each_kind_finds_what_a_reader_finds(kind, text, expected):
    """By hand, traps included; every kind of the table has cases."""
    assert set(CASES) == set(DIFFERENCES)
    assert list(DIFFERENCES[kind](text).elements()) == expected.split()


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("5% of 200", "15% of 200", "numbers: 5% ≠ 15%"),
        ("5 percent of 1,000", "5 % of one thousand", ""),
        ("the ₹500 notes", "the 500 notes", ""),
        ("it costs $5", "it costs €5", "numbers: $5 ≠ €5"),
        ("with admin rights", "without admin rights", "negation: none ≠ without"),
        ("I can't log in", "I cannot log in", ""),
        ("it's not that I can't", "I can't", "negation: not ≠ none"),
        ("turn the wifi on", "turn the wifi off", ""),
        ("How do I install WhatsApp?", "how to install whatsapp", ""),
        ("Why is Wi-Fi slow?", "the wifi is slow", ""),
        ("Is the iPhone7 good?", "is the iphone 7 good", ""),
        ("Who is in Paris?", "Who is in Rome?", "entities: Paris ≠ Rome"),
        ("Do the iPhones sync?", "my iphone syncs", ""),
    ],
)
def test_differences_are_told_and_spelling_is_forgiven(first, second, told):
    """What only one text says, and nothing where both say it in other letters; swapping the texts swaps the sides."""
    found = differences(first, second)
    assert str(found) == told
    assert bool(found) == bool(told)
    swapped = differences(second, first)
    for kind in DIFFERENCES:
        assert found[kind] == difference(kind, first, second)
        assert (found[kind].first, found[kind].second) == (swapped[kind].second, swapped[kind].first)


def test_the_traps_of_the_sample_are_found():
    """Every pair of the sample that differs in a number is told so, and half of those that differ in a name or thing."""
    rows = list(csv.DictReader(PAIRS.read_text(encoding="utf-8").splitlines()))
    traps = [row for row in rows if row["trap"] == "number"]
    assert traps
    for row in traps:
        assert differences(row["question1"], row["question2"])["numbers"]
    names = [
        bool(differences(row["question1"], row["question2"])["entities"]) for row in rows if row["trap"] == "entity"
    ]
    assert sum(names) >= len(names) / 2, "things with small letters are beyond a rule"


@given(ANY_TEXT, ANY_TEXT)
def test_no_string_breaks_the_rules(first, second):
    """Odd Unicode, lone surrogates included: plain tokens, nothing differs from itself, overlap is a symmetric share."""
    for of in (numbers_of, negations_of, entities_of):
        assert all(count > 0 and token for token, count in of(first).items())
    assert not differences(first, first)
    assert 0 <= overlap(first, second) <= 1
    assert overlap(first, second) == overlap(second, first)
    assert overlap(first, first) == 1
    assert set(differences(first, second).to_json()) == set(DIFFERENCES)


def test_overlap_is_jaccard_of_words():
    """Case, order and punctuation aside; characters in scripts without spaces; two empty texts are the same."""
    assert overlap("Pay NOW!", "now, pay") == 1
    assert overlap("how to pay", "how to order") == 0.5
    assert overlap("付款", "付钱") == pytest.approx(1 / 3)
    assert (overlap("", ""), overlap("", "a")) == (1, 0)


def test_an_unknown_kind_is_refused():
    """With the names that there are."""
    with pytest.raises(ValueError, match="no kind of difference 'dates'. Use one of numbers, negation, entities"):
        difference("dates", "a", "b")


@pytest.mark.parametrize(
    "text", ["9" * 100_000, "9," * 50_000, "one " * 20_000, "A. " * 20_000, "-'" * 50_000, "no " * 20_000]
)
def test_long_texts_take_linear_time(text):
    """A hundred thousand characters of the same kind are read within a second or two."""
    started = time.perf_counter()
    differences(text, "a")
    assert time.perf_counter() - started < 10
