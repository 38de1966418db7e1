"""Days, months, seasons and times of day in a text, each in one spelling: ``Mon`` is Monday, ``Sept`` September, ``fall`` autumn.

A literal table of English words. Words that mean something else as well (may, march, sun, sat, fall, spring, night) count only
where the words around them say so: ``in May``, ``on Sat``, ``at night``. Left out on purpose: numbers within dates (3 April,
2019, 10:42; `textsiam.scoring.explaining.numerals` reads them), before, after and ago, and other languages.
"""

import re
from functools import lru_cache

from textsiam.scoring.explaining.numerals import plain, words_of


def _behind(words: str) -> str:
    """A pattern that holds behind each of these words."""
    return "|".join(rf"(?<=\b{word}[\s-])" for word in words.split())


_DAY_OF = r"(?<=\d\s)|(?<=\dst\s)|(?<=\dnd\s)|(?<=\drd\s)|(?<=\dth\s)|(?<=\dth\sof\s)"
_BEFORE_NUMBER = r"(?=\.?,?\s?'?\d)"
_IN = _behind("in since until till during early late mid last next of")
# Weekdays and months shortened: with a capital behind "on" or "in", beside a number, or next to each other.
_ON = _behind("on every next last until till by from this")
_WEEKDAYS = {
    "Monday": "Mon",
    "Tuesday": "Tues?",
    "Wednesday": "Wed",
    "Thursday": "Thu(?:rs?)?",
    "Friday": "Fri",
    "Saturday": "Sat",
    "Sunday": "Sun",
}
_SHORT_DAY = rf"(?:{'|'.join(_WEEKDAYS.values())})"
_LINKED = rf"\s?(?:[-\u2013/,&]|to|and|or)\s?(?:{_SHORT_DAY}|{'|'.join(_WEEKDAYS)})\b"
_MONTHS = {
    "January": "jan",
    "February": "feb",
    "April": "apr",
    "June": "jun",
    "July": "jul",
    "August": "aug",
    "September": "sept?",
    "October": "oct",
    "November": "nov",
    "December": "dec",
}
_WORD_MONTHS = {"March": "mar", "May": "may"}


def _weekday(name: str, short: str) -> str:
    return (
        rf"{name}s?|(?-i:(?:(?:{_ON}){short}|{short}(?={_LINKED})|(?<=[-\u2013/&]){short}|(?<=to\s){short}|"
        rf"(?<=and\s){short}(?=\b[^a-z]*$)|{short}{_BEFORE_NUMBER}))"
    )


def _month(name: str, short: str) -> str:
    titled = short.capitalize()
    return rf"{name}|(?:{_DAY_OF}){short}|{short}{_BEFORE_NUMBER}|(?:{_IN})(?-i:{titled})"


def _word_month(name: str, short: str) -> str:
    """A month that is a word as well: behind "in", beside a day or year, with a capital behind other words."""
    capital = rf"(?-i:{name}|{short.capitalize()})"
    return (
        rf"(?:{_behind('in since until till during')}){name}|(?:{_IN}){capital}|"
        rf"{name}(?=\s\d{{1,2}}(?:st|nd|rd|th)\b|,?\s\d{{4}}\b)|{capital}(?=\.?\s\d{{1,2}}\b)|"
        rf"(?:{_DAY_OF}|{_behind('by from before after between this')}){capital}"
    )


_SPRING = r"(?!\s(?:boot|mvc|framework|data|security|batch|rolls?|water|of|in)\b)"
_OF_DECADE = _behind("the in early late mid my his her their")
_HOLIDAYS = ("Easter", "Halloween", "Thanksgiving", "Ramadan", "Diwali", "Hanukkah")
_DECADES = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
# Date → its kind and how it is written. Kinds of the same name are compared with each other.
DATES: dict[str, tuple[str, str]] = {
    **{name: ("weekday", _weekday(name, short)) for name, short in _WEEKDAYS.items()},
    "weekend": ("weekday", "weekends?"),
    "weekday": ("weekday", "weekdays?"),
    **{name: ("month", _month(name, short)) for name, short in _MONTHS.items()},
    **{name: ("month", _word_month(name, short)) for name, short in _WORD_MONTHS.items()},
    "winter": ("season", "winters?"),
    "spring": ("season", rf"(?:{_IN}|{_behind('this every the')})spring{_SPRING}"),
    "summer": ("season", "summers?"),
    "autumn": ("season", rf"autumns?|(?:{_IN}|{_behind('this every')}|(?<=\bin\sthe\s))fall{_SPRING}"),
    "day before yesterday": ("day", r"day\sbefore\syesterday"),
    "yesterday": ("day", "yesterday"),
    "today": ("day", r"today(?!'?s\b)"),
    "tonight": ("day", r"tonight|this\s(?:evening|night)"),
    "day after tomorrow": ("day", r"day\safter\stomorrow"),
    "tomorrow": ("day", "tomorrow|tmrw"),
    "morning": ("time of day", r"(?<!\bgood\s)mornings?"),
    "noon": ("time of day", "noon|midday"),
    "afternoon": ("time of day", r"(?<!\bgood\s)afternoons?"),
    "evening": ("time of day", r"(?<!\bgood\s)evenings?"),
    "night": (
        "time of day",
        rf"(?:{_behind('at in last every each tomorrow yesterday late')}|(?<=in\sthe\s)|(?<=day\s))nights?(?!\s(?:sky|club))",
    ),
    "midnight": ("time of day", "midnight"),
    "am": ("am or pm", r"\d+(?:[.:]\d+)?\s?a\.?m\b\.?"),
    "pm": ("am or pm", r"\d+(?:[.:]\d+)?\s?p\.?m\b\.?"),
    **{
        f"{which} {period}": ("period", rf"(?:{words})\s{period}s?(?!\s\d{{4}})")
        for which, words in {
            "last": "last|previous|past",
            "this": "this|current",
            "next": "next|coming|upcoming|following",
        }.items()
        for period in ("week", "weekend", "month", "quarter", "semester", "year", "decade", "century")
    },
    **{
        which: (
            "last or next",
            rf"{which}(?=\s(?:{'|'.join([*_WEEKDAYS, *_MONTHS, *_WORD_MONTHS])}|winter|spring|summer|fall)\b)",
        )
        for which in ("last", "next")
    },
    "Christmas": ("holiday", "christmas|xmas"),
    "New Year": ("holiday", r"new\syear(?:'?s)?(?=\s(?:eve|day)\b)|new\syear's"),
    **{name: ("holiday", name) for name in _HOLIDAYS},
    "eve": ("eve", r"(?:(?<=christmas\s)|(?<=year\s)|(?<=year's\s)|(?<=years\s))eve"),
    **{
        f"19{ten}s": ("decade", rf"(?:19|{_OF_DECADE}){ten}'?s|{word}")
        for ten, word in zip(range(20, 100, 10), _DECADES, strict=True)
    },
    **{f"20{ten:02}s": ("decade", rf"20{ten:02}'?s") for ten in range(0, 40, 10)},
}
# Of these kinds only two different dates are a difference, not one alone.
TWO_SIDED = frozenset({"last or next", "holiday"})
DECADE = re.compile(rf"(?<![^\W_])(?:20[0-3]|19[2-9]|(?:{_OF_DECADE})[2-9])0'?s\b", re.IGNORECASE)
_NAMES = list(DATES)
_DATE = re.compile(
    rf"(?<![^\W_])(?:{'|'.join(f'({pattern})' for _, pattern in DATES.values())})(?![^\W\d_])", re.IGNORECASE
)
# A date begins with one of these words, or is a number before s, am or pm.
_TOKEN = re.compile(r"[^\W\d_]+|\d+(?:[.:]\d+)?(?='?s\b|\s?[ap]\.?m\b)", re.IGNORECASE)
_WORDS = {name.lower() + plural for name in _WEEKDAYS for plural in ("", "s")}
_WORDS |= {
    word.lower() for word in (*_MONTHS, *_MONTHS.values(), *_WORD_MONTHS, *_WORD_MONTHS.values(), *_DECADES, *_HOLIDAYS)
}
_WORDS |= set(
    re.findall(
        r"\w+",
        """mon tue tues wed thu thur thurs fri sat sun sep sept weekend weekends weekday weekdays winter winters spring summer
        summers autumn autumns fall yesterday today tonight tomorrow tmrw morning mornings noon midday afternoon afternoons
        evening evenings night nights midnight last previous past this current next coming upcoming following day eve
        christmas xmas new""",
    )
)
_NUMBER = re.compile(r"\d")


@lru_cache(maxsize=4096)
def dates_of(text: str) -> dict[str, tuple[str, str]]:
    """Date → its kind, and how it is written in the text; in order of appearance. Texts that came lately are remembered.

    Examples
    --------
    >>> dates_of("Is it open on Sat morning in May?")
    {'Saturday': ('weekday', 'Sat'), 'morning': ('time of day', 'morning'), 'May': ('month', 'May')}
    >>> dates_of("You may march in the sun, I sat on the night train")
    {}
    """
    if _WORDS.isdisjoint(words_of(text)) and not _NUMBER.search(text):
        return {}
    text = plain(text)
    found: dict[str, tuple[str, str]] = {}
    end = 0
    for token in _TOKEN.finditer(text):
        is_first_look = token.start() >= end and (token[0].lower() in _WORDS or token[0][0].isdigit())
        if is_first_look and (match := _DATE.match(text, token.start())):
            name, end = _NAMES[(match.lastindex or 0) - 1], match.end()
            found.setdefault(name, (DATES[name][0], match[0]))
    return found
