"""Edits that change a quantity: another number, another unit of the same dimension, another date, another version.

A number keeps its form: as many digits, its separators, its ending (3rd, 5th), the round ones round, and the article before it.
Left alone: 0 and 1 (grammar depends on them), ranges, fractions, and numbers that are part of a name or a sum.
"""

import re
from collections.abc import Iterator
from random import Random

from textsiam.scoring.counterfactuals.edits import Edit, among, any_of, cased, chosen, other_words, replaced
from textsiam.scoring.counterfactuals.word_lists import MONTHS, SMALL_NUMBERS, UNIT_ROWS, VERSIONS, WEEKDAYS

_ALONE = r"(?<![\w.,:/^+*=<>#'\u2019-])(?<![-\u2013+*=x\u00d7/<>] )"
_DIGITS = re.compile(
    rf"{_ALONE}(?P<sign>[$€£₹]?)(?P<digits>[1-9]\d{{0,2}}(?:,\d{{3}})+|[1-9]\d*(?:\.\d{{1,2}})?)(?P<end>st|nd|rd|th)?"
    r"(?![\w:/^+*=<>-])(?![.,]\d)(?! ?[-\u2013+*=\u00d7/<>])(?!\s?(?:[ap]\.?m\b|o'clock))"
)
_WORD = re.compile(any_of(SMALL_NUMBERS.values()), re.IGNORECASE)
_NEXT_NUMBER = re.compile(
    r"\s*(?:-|\u2013|to|and|or|vs\.?|,|out of|of|in)\s+(?:the\s+)?[$€£₹]?(?:\d|two|three|four|five|six|ten)",
    re.IGNORECASE,
)
_LAST_NUMBER = re.compile(
    r"(?:\d\w*|one|two|three|four|five|six)[%]?\s*(?:-|\u2013|to|and|or|vs\.?|,|out of|of|in)\s+(?:the\s+)?$",
    re.IGNORECASE,
)
_YEARS = range(1900, 2031)
_YEAR = re.compile(rf"{_ALONE}(?:19|20)\d\d(?![\w/:-])(?![.,]\d)")
_NO_YEAR = re.compile(r"\s+(?:rupees?|dollars?|euros?|notes?|km|miles|calories|words|people|users|rs)\b", re.IGNORECASE)
_LATER = re.compile(r"\b(?:will|going to|upcoming|next|'ll|would)\b", re.IGNORECASE)
_CLOCK = re.compile(r"(?<![\w:.-])(1[0-2]|[1-9])(?=(?::[0-5]\d)?\s?[ap]\.?m\b)", re.IGNORECASE)
_DAY = re.compile(rf"(?<!black )(?<!good )(?<!cyber )(?<!super ){any_of(WEEKDAYS)}", re.IGNORECASE)
_MONTH = re.compile(rf"{any_of(MONTHS)}(?! fool)", re.IGNORECASE)
_SEASON = re.compile(r"\b(?:summer|winter)\b(?! (?:olympic|war))")
_NAMED = re.compile(
    rf"\b(?:{'|'.join(VERSIONS)}|galaxy|lumia|ps|xbox|chapter|moto g|redmi|mi|note|galaxy note|bmw|class)\s$",
    re.IGNORECASE,
)
_UNIT_OF = {unit: [row for row in UNIT_ROWS if unit in row] for row in UNIT_ROWS for unit in row}
_UNIT = re.compile(
    rf"(?<=\d)(?P<gap>[\s-]?)(?!(?<=\D[2-6])g\b)(?P<unit>{'|'.join(sorted(_UNIT_OF, key=lambda unit: (-len(unit), unit)))})\b(?![-/'\u2019²³])"  # noqa: E501
    r"(?![\s-](?:olds?|per|an hour|and|degree)\b)"
)
_VERSION = re.compile(rf"\b({'|'.join(VERSIONS)}) (\d+(?:\.\d+)?)(?![\w-])(?!\.\d)", re.IGNORECASE)
_VOWEL = re.compile(r"8|11(?!\d)|18(?!\d)|11,|18,")
_FEW = 9


def number(text: str, draw: Random) -> Iterator[Edit]:
    """Another number of the same form.

    Examples
    --------
    >>> [edit.change for edit in number("Can 3,000 people come on the 2nd?", Random(0))]
    ['3,000 → 8,000', '2nd → 8th']
    """
    for found in _DIGITS.finditer(text):
        if not _in_list(text, found) and not _NAMED.search(text, 0, found.start()) and not _is_year(text, found):
            digits = found["digits"]
            if others := _others(digits, text, text[: found.start()]):
                new = chosen(others, draw)
                ending = _ending(int(new)) if found["end"] else ""
                if not (found["end"] and not new.isdigit()):
                    yield replaced(text, found.start("digits"), found.end(), new + ending)
    for found in _WORD.finditer(text):
        if not _in_list(text, found):
            others = [
                word for word in SMALL_NUMBERS.values() if word not in text.lower() and word not in ("eight", "eleven")
            ]
            if found[0].lower() not in ("eight", "eleven"):
                yield replaced(text, found.start(), found.end(), cased(chosen(others, draw), found[0]))


def unit(text: str, draw: Random) -> Iterator[Edit]:
    """A neighbouring unit of the same dimension, behind the same number.

    Examples
    --------
    >>> [edit.text for edit in unit("Is 5 GB enough for 3 days?", Random(1))]
    ['Is 5 MB enough for 3 days?', 'Is 5 GB enough for 3 weeks?']
    """
    for found in _UNIT.finditer(text):
        near = []
        for row in _UNIT_OF[found["unit"]]:
            at = row.index(found["unit"])
            near += [other for other in row[max(0, at - 1) : at + 2] if other != found["unit"]]
        near = [other for other in near if not re.search(rf"\b{other}\b", text)]
        if near:
            new = chosen(near, draw)
            edit = replaced(text, found.start("unit"), found.end(), new)
            yield edit


def date(text: str, draw: Random) -> Iterator[Edit]:
    """Another weekday, month, season, year or hour.

    Examples
    --------
    >>> [edit.change for edit in date("Will it open on Monday at 9 am?", Random(0))]
    ['Monday → Sunday', '9 → 10']
    """
    yield from other_words(text, draw, _DAY, among([WEEKDAYS]))
    yield from other_words(text, draw, _MONTH, among([MONTHS]))
    yield from other_words(text, draw, _SEASON, {"summer": ["winter"], "winter": ["summer"]})
    for found in _YEAR.finditer(text):
        if not _in_list(text, found) and not _NO_YEAR.match(text, found.end()):
            year = int(found[0])
            span = range(year + 1, year + 5) if _LATER.search(text) else range(year - _FEW, year)
            others = [str(other) for other in span if other in _YEARS and str(other) not in text]
            if others:
                yield replaced(text, found.start(), found.end(), chosen(others, draw))
    hours = list(_CLOCK.finditer(text))
    if len(hours) == 1:
        others = [str(hour) for hour in range(1, 13) if str(hour) not in text and str(hour) != hours[0][0]]
        if others:
            yield replaced(text, hours[0].start(), hours[0].end(), chosen(others, draw))


def version(text: str, draw: Random) -> Iterator[Edit]:
    """Another version of the same product.

    Examples
    --------
    >>> [edit.text for edit in version("Is Windows 10 free?", Random(0))]
    ['Is Windows 11 free?']
    """
    for found in _VERSION.finditer(text):
        has_point = "." in found[2]
        others = [one for one in VERSIONS[found[1].lower()] if ("." in one) == has_point and one not in text]
        if found[2] in VERSIONS[found[1].lower()] and others:
            new = chosen(others, draw)
            yield replaced(text, found.start(2), found.end(2), new)._replace(change=f"{found[0]} → {found[1]} {new}")


def _in_list(text: str, found: re.Match[str]) -> bool:
    """Whether another number stands before or behind: a range, a list or a score."""
    return bool(_NEXT_NUMBER.match(text, found.end()) or _LAST_NUMBER.search(text[: found.start()]))


def _is_year(text: str, found: re.Match[str]) -> bool:
    digits = found["digits"]
    return len(digits) == 4 and digits.isdigit() and int(digits) in _YEARS and not _NO_YEAR.match(text, found.end())  # noqa: PLR2004


def _others(digits: str, text: str, before: str) -> list[str]:
    """Other numbers with the same digits and separators in place: as round, near in size, not in the text yet."""
    value = int(re.sub(r"\D", "", digits))
    if digits == "1" or len(str(value)) > _FEW or (digits.startswith("1.") and not digits.strip("1.0")):
        return []
    step = 1
    while value % (step * 10) == 0:
        step *= 10
    lead = value // step
    if lead < 10:  # noqa: PLR2004
        leads = range(2 if step == 1 and digits.isdigit() else 1, 10)
    else:
        every = 5 if lead % 5 == 0 else 1
        every *= max(1, lead // (every * 100))  # about a hundred candidates, however long the number is
        leads = range(
            -(-max(10 ** (len(str(lead)) - 1), lead // 2) // every) * every, min(10 ** len(str(lead)), lead * 2), every
        )
    found = [_as_written(other * step, digits) for other in leads if other != lead and (step > 1 or other % 10)]
    found = [other for other in found if not re.search(rf"(?<!\d){re.escape(other)}(?!\d)", text)]
    if re.search(r"\ban?\s[$€£₹]?$", before, re.IGNORECASE):
        found = [other for other in found if bool(_VOWEL.match(other)) == bool(_VOWEL.match(digits))]
    return found


def _as_written(value: int, like: str) -> str:
    digits = iter(str(value))
    return "".join(next(digits) if sign.isdigit() else sign for sign in like)


def _ending(value: int) -> str:
    if value % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
