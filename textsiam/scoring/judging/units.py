"""Units of measure in a text, with the numbers that they measure: ``5 km`` and ``5 kilometres`` are the same length.

A literal table of English names and of symbols; the symbols are read beside digits of any script. Left out on purpose: currencies
(`textsiam.scoring.explaining.numerals` reads them with the number), names in other languages, feet and inches by quotation marks,
sums (``1 hour 30 minutes`` is 1 hour and 30 minutes, not 90), and the case of symbols (``Mb`` is ``MB``).
"""

import re
from functools import lru_cache
from itertools import pairwise
from math import isclose, nan
from typing import NamedTuple

from textsiam.scoring.explaining.numerals import NUMBER_WORDS, numerals_in, words_of
from textsiam.scoring.judging.dates import DECADE

# Unit → its dimension, its size in a unit that the dimension shares, and its spellings, a plural s aside: those that are a unit
# anywhere, and those that are one only behind a number (m, pound, glass mean something else as well).
UNITS: dict[str, tuple[str, float, str, str]] = {
    "millisecond": ("time", 1e-3, "millisecond msec", "ms"),
    "second": ("time", 1, "", r"second sec (?<=\s)s"),
    "minute": ("time", 60, "minute", "min"),
    "hour": ("time", 3600, "hour", "hr hrs h"),
    "day": ("time", 86_400, "day", ""),
    "night": ("nights", 1, "", "night"),
    "week": ("time", 604_800, "week wk wks", ""),
    "fortnight": ("time", 1_209_600, "fortnight", ""),
    "month": ("months", 1, "month mth", "mo"),
    "year": ("months", 12, "year yr yrs", r"y\.o yo"),
    "decade": ("months", 120, "decade", ""),
    "century": ("months", 1200, "century centuries", ""),
    "time": ("times", 1, "", "time"),
    "mm": ("length", 1e-3, "millimetre millimeter mm", ""),
    "cm": ("length", 0.01, "centimetre centimeter cm cms", ""),
    "m": ("length", 1, "", "metre meter mtr (?-i:m)"),
    "km": ("length", 1000, "kilometre kilometer km kms", ""),
    "inch": ("length", 0.0254, "inch inches", "(?<=-)in"),
    "foot": ("length", 0.3048, "", "foot feet ft"),
    "yard": ("length", 0.9144, "", "yard yd"),
    "mile": ("length", 1609.344, "mile", "mi"),
    "light year": ("length", 9.461e15, r"light[\s-]year", ""),
    "square m": ("area", 1, r"square[\s-]metre square[\s-]meter sq\.?\s?m sqm", ""),
    "square km": ("area", 1e6, r"square[\s-]kilometre square[\s-]kilometer sq\.?\s?km", ""),
    "square foot": ("area", 0.09290304, r"square[\s-]foot square[\s-]feet sq\.?\s?ft sqft", ""),
    "hectare": ("area", 1e4, "hectare", "ha"),
    "acre": ("area", 4046.8564, "acre", ""),
    "cubic m": ("volume", 1000, r"cubic[\s-]metre cubic[\s-]meter cu\s?m", ""),
    "ml": ("volume", 1e-3, "millilitre milliliter", "ml"),
    "cl": ("volume", 0.01, "centilitre centiliter", "cl"),
    "litre": ("volume", 1, "litre liter ltr", "l"),
    "gallon": ("volume", 3.78541, "gallon gal", ""),
    "pint": ("volume", 0.473176, "pint", ""),
    "cup": ("cups", 1, "", "cup"),
    "glass": ("glasses", 1, "", "glass glasses"),
    "bottle": ("bottles", 1, "", "bottle"),
    "spoon": ("spoons", 1, "", "spoon spoonful"),
    "teaspoon": ("spoons", 0.5, "teaspoon tsp", ""),
    "tablespoon": ("spoons", 1.5, "tablespoon tbsp", ""),
    "µg": ("mass", 1e-6, "microgram µg μg mcg", ""),
    "mg": ("mass", 1e-3, "milligram", "mg"),
    "g": ("mass", 1, "gram gramme", "gm (?-i:g)"),
    "kg": ("mass", 1000, "kilogram kg kgs kilo", ""),
    "tonne": ("mass", 1e6, "tonne", "ton t"),
    "ounce": ("mass", 28.349523, "ounce oz", ""),
    "pound": ("mass", 453.59237, "lb lbs", "pound"),
    "stone": ("mass", 6350.29, "", "stone"),
    "bit": ("bits", 1, "", "bit"),
    "kbit": ("bits", 1e3, "kilobit kbit kbps kbit/s", ""),
    "Mbit": ("bits", 1e6, "megabit mbit mbps mbit/s", ""),
    "Gbit": ("bits", 1e9, "gigabit gbit gbps gbit/s", ""),
    "byte": ("bytes", 1, "byte", ""),
    "KB": ("bytes", 1e3, "kilobyte kb", ""),
    "MB": ("bytes", 1e6, "megabyte mb", ""),
    "GB": ("bytes", 1e9, "gigabyte gb", ""),
    "TB": ("bytes", 1e12, "terabyte", "tb"),
    "km/h": ("speed", 1, r"km/h kmh kph kmph (?:kms?|kilomet(?:er|re)s?)\s(?:per|an)\shour", ""),
    "mph": ("speed", 1.609344, r"mph miles?/h miles?\s(?:per|an)\shour", ""),
    "m/s": ("speed", 3.6, "", r"m/s met(?:er|re)s?\sper\ssecond"),
    "knot": ("speed", 1.852, "", "knot kn"),
    "degree": ("degrees", 1, "", "degree deg °"),
    "°C": ("celsius", 1, r"celsius centigrade °\s?c degrees?\s(?:c|celsius|centigrade)", r"(?-i:C)(?!\.[A-Z])"),
    "°F": ("fahrenheit", 1, r"fahrenheit °\s?f degrees?\s(?:f|fahrenheit)", "(?-i:F)"),
    "kelvin": ("kelvin", 1, "kelvin", ""),
    "W": ("power", 1, "watt", "w(?!/)"),
    "kW": ("power", 1000, "kilowatt kw", ""),
    "MW": ("power", 1e6, "megawatt", ""),
    "horsepower": ("horsepower", 1, "horsepower bhp", "hp"),
    "kWh": ("energy", 1, r"kilowatt[\s-]hour kwh", ""),
    "joule": ("joules", 1, "joule kj", ""),
    "calorie": ("calories", 1, "calorie kcal", ""),
    "V": ("volts", 1, "volt", "v"),
    "A": ("amperes", 1, "ampere amp", ""),
    "mAh": ("charge", 1, "mah", ""),
    "Hz": ("frequency", 1, "hertz hz", ""),
    "kHz": ("frequency", 1e3, "khz", ""),
    "MHz": ("frequency", 1e6, "mhz", ""),
    "GHz": ("frequency", 1e9, "ghz", ""),
    "pixel": ("pixels", 1, "", "pixel px"),
    "megapixel": ("pixels", 1e6, "megapixel", "mp"),
}
# Longer spellings first: "degrees Celsius" before "degree".
_NAMES = sorted(UNITS, key=lambda name: -max(map(len, " ".join(UNITS[name][2:]).split())))


def _any_unit(*, behind_number: bool) -> str:
    """A pattern with one group per unit of `_NAMES`; a group without spellings matches nothing."""
    groups = []
    for name in _NAMES:
        _, _, alone, behind = UNITS[name]
        spellings = f"{alone} {behind}".split() if behind_number else alone.split()
        # Symbols have no plural, those that are listed aside: "has" is no number of hectares.
        plurals = "|".join(spelling + "s?" * (len(spelling) > 2) for spelling in spellings)  # noqa: PLR2004
        groups.append(f"({plurals})" if spellings else "((?!))")
    return rf"(?:{'|'.join(groups)})(?![a-z\u00df-\u024f])"


_MEASURED = re.compile(
    rf"[\s-]?(?:(?:more|full|whole|extra|straight|consecutive)\s)?{_any_unit(behind_number=True)}", re.IGNORECASE
)
_ALONE = re.compile(rf"(?<![^\W_]){_any_unit(behind_number=False)}", re.IGNORECASE)
# One of a unit, without a number: "per day", "in a week", "200 a month".
_ONE = re.compile(r"(?:(?<![^\W_])(?:(?:per|each|every)\s|(?:(?:in|within)\s)?an?\s)|/\s?)$", re.IGNORECASE)
_RATES = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}
_RATES |= {"annual": "year", "annually": "year", "everyday": "day"}
_PART = re.compile(
    rf"\b(?<!\band\sa\s)(half|(?:an?\s)?quarter)(?:\sof)?(?:\san?)?\s(?={_any_unit(behind_number=False)})",
    re.IGNORECASE,
)
_AND_A_HALF = re.compile(r"\ban? ([a-z]+) and a half\b", re.IGNORECASE)
_TIMES = re.compile(r"\b(twice|thrice)\b", re.IGNORECASE)
_LIST = re.compile(r"\s*(?:[-\u2013/&]|to|or|and)\s*", re.IGNORECASE)
_TO = re.compile(r"(?:\s\w+)?\s(?:to|into)\s(?:\w+\s)?|\s?/\s?")
_WORD, _NUMBER = re.compile(r"[^\W\d_]+"), re.compile(r"\d")
# A unit without a number begins with one of these words.
_UNIT_WORDS = frozenset(
    word + plural
    for name in _NAMES
    for word in re.findall(r"[a-z]{2,}", UNITS[name][2].replace("\\s", " "))
    for plural in ("", "s")
) - {"per", "an"}
_CHANGED = frozenset({"twice", "thrice", "half", "quarter"})
_MAY_HOLD = NUMBER_WORDS | _UNIT_WORDS | _CHANGED | frozenset(_RATES)


class Measure(NamedTuple):
    """A unit in a text, with its number in one spelling: ``1`` for ``a week`` and ``per week``, empty for the unit alone.

    ``size`` is the number in the unit that its dimension shares, NaN without one; ``is_said`` tells a number from ``a week``.
    """

    number: str
    unit: str
    size: float
    written: str
    is_said: bool

    @property
    def dimension(self) -> str:
        """What is measured; measures of one dimension can be equal in different units."""
        return UNITS[self.unit][0]

    def equals(self, other: "Measure") -> bool:
        """Whether both are the same amount: 1.5 m and 150 cm, a week and 7 days."""
        return self.dimension == other.dimension and isclose(self.size, other.size, rel_tol=1e-3)


class Amounts(NamedTuple):
    """The numbers of a text in one spelling, repeated ones too; its units, first those with numbers; its ranges (9 to 11)."""

    numbers: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    ranges: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=4096)
def amounts_of(text: str) -> Amounts:
    """The numbers and the units of a text; texts that came lately are remembered.

    In a list the last unit counts for all numbers: ``2 or 3 days`` is 2 days or 3 days.

    Examples
    --------
    >>> [(of.number, of.unit) for of in amounts_of("Is 5 to 10 km in half an hour a good pace?").measures]
    [('5', 'km'), ('10', 'km'), ('0.5', 'hour')]
    """
    words = words_of(text)
    if _MAY_HOLD.isdisjoint(words) and not _NUMBER.search(text) and text.isascii():
        return Amounts()
    text = DECADE.sub(" ", text) if "s" in words else text
    if not _CHANGED.isdisjoint(words):
        text = _TIMES.sub(lambda found: "2 times" if found[0][:2].lower() == "tw" else "3 times", text)
        text = _AND_A_HALF.sub(r"1.5 \1", text)
        text = _PART.sub(lambda found: "0.5 " if found[1].lower() == "half" else "0.25 ", text)
    text, numerals = numerals_in(text)
    found = [_MEASURED.match(text, numeral.end) for numeral in numerals]
    for n in reversed(range(len(numerals) - 1)):
        if found[n] is None and _LIST.fullmatch(text, numerals[n].end, numerals[n + 1].start):
            found[n] = found[n + 1]
    measures = [_measure(match, numeral.number) for match, numeral in zip(found, numerals, strict=True) if match]
    if not (_UNIT_WORDS.isdisjoint(words) and _RATES.keys().isdisjoint(words)):
        measures += _without_number(text, {match.end() for match in found if match})
    return Amounts(
        tuple(numeral.number for numeral in numerals),
        tuple(measures),
        tuple((a.number, b.number) for a, b in pairwise(numerals) if _TO.fullmatch(text, a.end, b.start)),
    )


def _without_number(text: str, taken: set[int]) -> list[Measure]:
    """The units that no number measures: ``a week``, ``daily``, ``miles``."""
    measures = []
    for word in _WORD.finditer(text):
        name = word[0].lower()
        if name in _RATES:
            measures.append(Measure("1", _RATES[name], nan, word[0], is_said=False))
        elif name in _UNIT_WORDS and (match := _ALONE.match(text, word.start())) and match.end() not in taken:
            one = _ONE.search(text[max(0, word.start() - 10) : word.start()])
            measures.append(_measure(match, "1" if one else "", one[0] if one else ""))
            taken.add(match.end())
    return measures


def _measure(found: re.Match[str], number: str, before: str | None = None) -> Measure:
    """What is found, with its number; ``before`` is what is said in its place."""
    unit = _NAMES[(found.lastindex or 0) - 1]
    try:
        size = float(number) * UNITS[unit][1]
    except ValueError:  # no number, a price, a share or a time of day
        size = nan
    return Measure(number, unit, size, ((before or "") + found[0]).strip(" -"), is_said=before is None)
