"""The numbers in a text, in one spelling: ``5 %`` and ``five percent`` are the same, ``5`` and ``5 %`` are not.

Reads digits of all scripts; number words, scales and currencies only in English. Left out on purpose: fractions in words (other
than "half a million" and "two and a half"), Roman numerals, arithmetic, dates (their parts are numbers), and units of measure
(5 km and 5 miles are both 5; `textsiam.scoring.judging.units` reads them).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u201b`\u00b4\u2032\uff07", "'"))
_THOUSANDS = re.compile("(?<=\\d)[\u00a0\u2009\u202f](?=\\d{3}(?!\\d))")  # NFKC would turn them into plain spaces

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
)
_RANKS = {word: str(rank) for rank, word in enumerate(_ORDINALS.split(), 1)}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1_000, "lakh": 100_000, "million": 10**6, "crore": 10**7}
_SCALES |= {"billion": 10**9, "trillion": 10**12, "k": 1_000, "mn": 10**6, "bn": 10**9}
_WORDS = {word: value for value, word in enumerate(_SMALL.split())} | {
    word: 10 * n for n, word in enumerate(_TENS.split(), 2)
}
# "One", "first" and "second" count as numbers only before these words ("how does one", "first of all", "wait a second").
_COUNTED = (
    "second|minute|hour|day|night|week|month|quarter|year|semester|floor|person|people|user|child|adult|account|device|copy|"
    "order|item|page|step|level|line|class|grade|edition|round|half|percent|per cent|euro|dollar|rupee|pound|cent|kilometer|"
    "kilometre|km|mile|meter|metre|kilo|kg|gram|liter|litre|room|bag|ticket"
)
_WORD = "|".join([*_WORDS, *(name for name in _SCALES if len(name) > 2)])  # noqa: PLR2004  k, mn, bn need digits
_RUN = re.compile(
    rf"\b(?:an?\s+(?=dozen|hundred|thousand|lakh|million|crore|billion|trillion)|(?={'|'.join(_WORDS)}))"
    rf"(?:(?:{_WORD})\b(?:[\s-]+(?:and\s+)?(?=(?:{_WORD})\b))?)+",
    re.IGNORECASE,
)
_ORDINAL = re.compile(
    rf"\b(?:{'|'.join(list(_RANKS)[2:])}|(?:first|second)(?=[\s-](?:{_COUNTED})\b))\b(?!s)", re.IGNORECASE
)
_TENS_ORDINAL = re.compile(rf"\b({_TENS.replace(' ', '|')})[\s-]({'|'.join(list(_RANKS)[:9])})\b(?!s)", re.IGNORECASE)
_COUNTED_ONE = re.compile(
    rf"\bone[\s-](?:or|to|(?:{_COUNTED})s?)\b|\b(?:only|just|exactly|least|most|than|number)\sone\b", re.IGNORECASE
)
_PART = re.compile(
    r"\b(half|a quarter of) an? (?=dozen|hundred|thousand|lakh|million|crore|billion|trillion)", re.IGNORECASE
)
_AND_A_HALF = re.compile(r"(?<![\w.,])(\d+|one) and a half\b", re.IGNORECASE)
# A power is no number: 300 m² is 300. It is written out, as square and cubic metres are.
_POWER = re.compile(r"(?<=\d)(\s?)([kcm]?m|ft)([²2³3])(?![^\W_])")
NUMBER_WORDS = frozenset((*_WORDS, *_RANKS, *_SCALES, *(f"{scale}s" for scale in _SCALES)))
_DIGIT, _LETTERS = re.compile(r"\d"), re.compile(r"[^\W\d_]+")


_CURRENCIES = "$€£¥₹₩₽"
_SIGNS = {
    "us$": "$",
    "usd": "$",
    "dollar": "$",
    "eur": "€",
    "euro": "€",
    "gbp": "£",
    "jpy": "¥",
    "yen": "¥",
    "inr": "₹",
}
_SIGNS |= {"rs": "₹", "rupee": "₹", "percent": "%", "per cent": "%", "pct": "%"} | {
    sign: sign for sign in f"{_CURRENCIES}%"
}
_NUMERAL = re.compile(
    r"(?:(?<![^\W_])(?P<lead>us\$|usd|eur|gbp|jpy|inr|rs|[$€£¥₹₩₽])\.?\s?)?"
    r"(?P<minus>(?<![\w.,)])(?<!\d\s)[-\u2212](?=\d))?"
    r"(?P<digits>\d+(?:[.:']\d+|,\d{1,3}(?!\d))*)"
    r"(?:(?:st|nd|rd|th)(?![^\W_]))?"
    r"(?:(?P<short>k|mn|bn)(?![^\W_])|[\s-]?(?P<scale>dozen|hundred|thousand|lakh|million|crore|billion|trillion)s?\b)?"
    r"(?:[\s-]?(?P<unit>[%$€£¥₹₩₽]|(?:usd|eur|gbp|jpy|inr|rs|percent|per cent|pct|(?:us\s)?dollar|euro|yen|rupee)s?\b))?",
    re.IGNORECASE,
)
_GROUPED = re.compile(
    r"(\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:'\d{3})+|\d{1,3}(?:\.\d{3}){2,}|\d{1,3}(?:\.\d{3})+(?=,))"
    r"(?:[.,](\d+))?"
)
_DECIMAL = re.compile(r"(\d+)(?:[.,](\d+))?")
_LISTS = re.compile(r"\s*(?:[-\u2013\u2014/,&]|,?\s*and|or|to|vs\.?)\s*", re.IGNORECASE)
_WITHOUT_BOUND, _AFTER_TENS = 10**15, 10
_N_DIGITS = 24  # a longer one is a serial number; it is not multiplied


def plain(text: str) -> str:
    """The text with compatibility characters (NFKC) and apostrophes unified."""
    if text.isascii():
        return text.replace("`", "'")
    return unicodedata.normalize("NFKC", _THOUSANDS.sub("", text.translate(_APOSTROPHES)))


@lru_cache(maxsize=4096)
def words_of(text: str) -> frozenset[str]:
    """The distinct words of a text in lower case, without digits and signs: of ``Can't 5km`` can, t, km.

    A cheap first look for rules that look for words. Texts that came lately are remembered.
    """
    return frozenset(_LETTERS.findall(plain(text).lower()))


def numbers_of(text: str) -> Counter[str]:
    """The numbers of a text, each once, in one spelling and in order of appearance.

    ``1,000``, ``1.000,00``, ``1k`` and ``one thousand`` are ``1000``; ``3rd`` and ``third`` are ``3``; ``$5`` and ``5 dollars``
    are ``$5``. A sign counts for all numbers of a list: ``5 to 10 %`` is 5% and 10%. A single dot is a decimal point; a single
    comma before three digits groups them, and one before four or more separates two numbers. ``10:42`` and ``1.2.3`` stay as
    written. "One", "first" and "second" count only before a thing to count (``one day``).

    Examples
    --------
    >>> list(numbers_of("Is 5 percent of 1,200 the same as sixty?"))
    ['5%', '1200', '60']
    >>> numbers_of("between ₹500 and 1000") == numbers_of("1000 or five hundred rupees")
    True
    """
    return Counter(dict.fromkeys((found.number for found in numerals_in(text)[1]), 1))


class Numeral(NamedTuple):
    """A number in one spelling, and where it stands in the text that `numerals_in` returns."""

    number: str
    start: int
    end: int


def numerals_in(text: str) -> tuple[str, list[Numeral]]:
    """The text with its number words in digits (`plain` otherwise), and the numbers in it, repeated ones too, in order.

    Examples
    --------
    >>> numerals_in("Add two and a half cups")
    ('Add 2.5 cups', [Numeral(number='2.5', start=4, end=7)])
    """
    text = plain(_POWER.sub(lambda found: f" {'sq' if found[3] in '²2' else 'cu'} {found[2]}", text))
    if not _DIGIT.search(text) and NUMBER_WORDS.isdisjoint(words_of(text)):
        return text, []
    text = _PART.sub(lambda found: "0.5 " if found[1].lower() == "half" else "0.25 ", text)
    text = _TENS_ORDINAL.sub(lambda found: str(_WORDS[found[1].lower()] + int(_RANKS[found[2].lower()])), text)
    text = _ORDINAL.sub(lambda found: _RANKS[found[0].lower()], text)
    text = _AND_A_HALF.sub(
        lambda found: f"{found[1] if found[1][0].isdigit() else 1}.5", _RUN.sub(_digits_of_run, text)
    )
    found = list(_NUMERAL.finditer(text))
    signs = [_sign(match) for match in found]
    listed = [n for n, (a, b) in enumerate(pairwise(found)) if _LISTS.fullmatch(text, a.end(), b.start())]
    for n in listed:
        signs[n + 1] = signs[n + 1] or (signs[n] if found[n]["lead"] else "")
    for n in reversed(listed):
        if n + 1 in listed or "," not in text[found[n].end() : found[n + 1].start()]:  # not "in 2012, 9 %"
            signs[n] = signs[n] or signs[n + 1]
    return text, [
        Numeral(_spelled(match, sign), match.start(), match.end()) for match, sign in zip(found, signs, strict=True)
    ]


def is_amount_in(number: str, text: str) -> bool:
    """Whether a text has this number; one of the two may leave out the currency.

    Examples
    --------
    >>> is_amount_in("₹500", "the ban of 500 notes"), is_amount_in("5%", "5 notes"), is_amount_in("$5", "€5")
    (True, False, False)
    """
    return is_amount_among(number, numbers_of(text))


def is_amount_among(number: str, numbers: Collection[str]) -> bool:
    """Whether a number is among others; one of the two may leave out the currency."""
    bare = number.lstrip(_CURRENCIES)
    return bare in numbers or (bare == number and any(other.lstrip(_CURRENCIES) == number for other in numbers))


def _digits_of_run(run: re.Match[str]) -> str:
    """``two hundred and five`` → ``205``; words that are not one number become several."""
    words = re.findall(r"[a-z]+", run[0].lower())
    if words == ["one"] and not _COUNTED_ONE.search(run.string, max(0, run.start() - 8), run.end() + 12):
        return run[0]
    blank = run[0][len(run[0].rstrip(" \t-")) :]
    return " and ".join(map(str, _numbers_in(words))) + blank


def _numbers_in(words: list[str]) -> list[int]:
    """The numbers that these words name, in order. A word that is too large for its place begins a new number."""
    numbers: list[int] = []
    total = part = 0
    room = _WITHOUT_BOUND
    for word in words:
        if scale := _SCALES.get(word):
            part = max(part, 1) * scale
            total, part = (total, part) if scale < _SCALES["thousand"] else (total + part, 0)
            room = scale
        elif word == "and":
            room = 0 if room == _AFTER_TENS else room
        elif (value := _WORDS.get(word)) is not None:
            if room != _WITHOUT_BOUND and not 0 < value < room:
                numbers.append(total + part)
                total = part = 0
            part += value
            room = _AFTER_TENS if value >= _WORDS["twenty"] else 0
    return [*numbers, total + part]


def _sign(found: re.Match[str]) -> str:
    sign = re.sub(r"\s+", " ", (found["lead"] or found["unit"] or "").lower()).removeprefix("us ")
    return _SIGNS.get(sign) or _SIGNS.get(sign.removesuffix("s"), "")


def _spelled(found: re.Match[str], sign: str) -> str:
    digits = found["digits"]
    if not digits.isascii():
        digits = re.sub(r"\d", lambda digit: str(unicodedata.digit(digit[0])), digits)
    value = _value(digits, keep_zeros=not sign)
    scale = _SCALES.get((found["short"] or found["scale"] or "").lower())
    if scale and len(value) <= _N_DIGITS and value.replace(".", "", 1).isdigit():
        value = format((Decimal(value) * scale).normalize(), "f")
    value = ("-" if found["minus"] else "") + value
    return f"{value}%" if sign == "%" else f"{sign}{value}"


def _value(digits: str, *, keep_zeros: bool) -> str:
    """The digits, with a point only before decimals. 3.10 keeps its zero because it may be a version; €3.10 does not."""
    if (parts := _GROUPED.fullmatch(digits) or _DECIMAL.fullmatch(digits)) is None:
        return digits
    whole = re.sub(r"\D", "", parts[1]).lstrip("0") or "0"
    decimals = parts[2] or ""
    stripped = decimals.rstrip("0")
    decimals = decimals if keep_zeros and stripped else stripped
    return f"{whole}.{decimals}" if decimals else whole
