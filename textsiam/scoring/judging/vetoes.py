"""Why a pair may not be accepted unread: a number, a unit, a date or a negation that only one text has, opposites, swapped roles.

Embeddings hardly see such differences, so a pair that scores high is reviewed where a rule speaks. A rule reads two texts and
gives its reason, or an empty text; it changes no score, and says nothing about pairs that are rejected anyway. Edit `VETOES` to
add, mend or drop one. Reasons have one form: the kind, what only the first text has, what only the second has, in the words of
the texts (numbers in digits), and a dash for nothing: ``number: 2 | 3``, ``unit: km | miles``, ``negation: – | can't``.

English first; digits and the symbols of units are read in any script. Not covered: words of other languages, names, and the same
numbers in another order, ranges aside (``from 9 to 11``, ``from 11 to 9``; ``3/4``, ``4/3``). Nor is a text that was cut at the
token limit: two strings do not show it.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from textsiam.scoring.explaining.numerals import is_amount_among, words_of
from textsiam.scoring.judging.dates import TWO_SIDED, dates_of
from textsiam.scoring.judging.denials import denials_of, one_sided
from textsiam.scoring.judging.opposites import opposed
from textsiam.scoring.judging.roles import denied_otherwise, exchanged
from textsiam.scoring.judging.units import Amounts, Measure, amounts_of

Veto = Callable[[str, str], str]

CUT = "cut"  # the name of the rule that needs the tokenizer: `textsiam.scoring.scorer.Scorer.held` applies it

_NOTHING = "\u2013"
# Numbers that are also said in these words: "World War II", "the number one", "Second World War".
_SAID_OTHERWISE = {
    "1": "one first once single",
    "2": "second both couple pair ii",
    "3": "iii",
    "4": "iv",
    "5": "V",
    "6": "vi",
    "7": "vii",
    "8": "viii",
    "9": "ix",
    "10": "X",
}
# They may be left out: "at 16" and "at 16 years", "200 degrees" and "200 °C".
_LEFT_OUT = {"year", "degree", "time"}
_NOW = frozenset({"now", "nowadays", "current", "currently", "present", "presently"})
_WORD = re.compile(r"[^\W\d_]+")


def numbers(first: str, second: str) -> str:
    """A number that only one text has.

    ``5`` and ``five``, ``$5`` and ``5``, ``7 days`` and ``a week``, ``1.5 m`` and ``150 cm``, ``10:00`` and ``10`` are the same.

    Examples
    --------
    >>> numbers("Can 2 people share?", "Can three people share?"), numbers("for two people", "for 2 people")
    ('number: 2 | 3', '')
    """
    here, there = amounts_of(first), amounts_of(second)
    if not (here.numbers or there.numbers):
        return ""
    turned = [(a, b) for a, b in here.ranges if (b, a) in there.ranges]
    turned = [(a, b) for a, b in turned if (a, b) not in there.ranges and (b, a) not in here.ranges]
    if turned:
        return _reason("number", [f"{a}, {b}" for a, b in turned], [f"{b}, {a}" for a, b in turned])
    return _reason("number", _only(here, there, second), _only(there, here, first))


def units(first: str, second: str) -> str:
    """A unit that differs: of a number that both texts have, of a rate (``a day``, ``a week``), or of a unit without a number.

    A number may leave out its unit if its text names the unit elsewhere, and years, degrees and times always. Units without a
    number differ only if both texts name one of the same dimension (``in km``, ``in miles``), rates also alone (``a week``).

    Examples
    --------
    >>> units("Is 5 km far?", "Is 5 miles far?"), units("Is 5 km far?", "Is 5 kilometres far?")
    ('unit: km | miles', '')
    """
    here, there = amounts_of(first), amounts_of(second)
    if not (here.measures or there.measures):
        return ""
    for number in dict.fromkeys(here.numbers):
        if number in there.numbers and (of_number := _of_number(number, here, there)):
            return of_number
    only = (
        [of for of in here.measures if not _is_among(of, there)],
        [of for of in there.measures if not _is_among(of, here)],
    )
    for has_kind in (_is_rate, _is_alone):
        sides = [[of for of in side if has_kind(of)] for side in only]
        shared = {_compared(of) for of in sides[0]} & {_compared(of) for of in sides[1]}
        told = [[of.written for of in side if _compared(of) in shared or _counts_alone(of)] for side in sides]
        if told[0] or told[1]:
            return _reason("unit", *told)
    return ""


def dates(first: str, second: str) -> str:
    """A weekday, month, season, time of day, decade or period (``next week``) that only one text has, or different holidays.

    Examples
    --------
    >>> dates("Is it open on Mon?", "Is it open on Tuesday?"), dates("Open on Monday?", "Open Mon-Fri?")
    ('date: Mon | Tuesday', 'date: – | Fri')
    """
    here, there = dates_of(first), dates_of(second)
    if here.keys() == there.keys():
        return ""
    only = _only_dates(here, there, second), _only_dates(there, here, first)
    kinds = [{kind for kind, _ in of.values()} for of in only]
    alone = TWO_SIDED - (kinds[0] & kinds[1])
    return _reason("date", *([written for kind, written in of.values() if kind not in alone] for of in only))


def negation(first: str, second: str) -> str:
    """A negation that only one text has, an opposite by a prefix, or a "not" that stands before another word.

    Examples
    --------
    >>> negation("Why can I log in?", "Why can't I log in?"), negation("How do I lock it?", "How do I unlock it?")
    ("negation: – | can't", 'negation: lock | unlock')
    """
    only = one_sided(denials_of(first), denials_of(second))
    if not any(only) and (moved := denied_otherwise(first, second)):
        only = [moved[0]], [moved[1]]
    return _reason("negation", *only)


def opposites(first: str, second: str) -> str:
    """Opposites without a common stem, of which each text has one side only.

    Examples
    --------
    >>> opposites("How do I turn it on?", "How do I turn it off?"), opposites("Is it cheap?", "Is it inexpensive?")
    ('opposite: on | off', '')
    """
    return _reason("opposite", *([word] for word in found)) if (found := opposed(first, second)) else ""


def roles(first: str, second: str) -> str:
    """Two words that have exchanged their places: who does what to whom, from where to where.

    Examples
    --------
    >>> roles("from Rome to Paris", "from Paris to Rome"), roles("In May, is it open?", "Is it open in May?")
    ('roles: Rome, Paris | Paris, Rome', '')
    """
    return _reason("roles", *found) if (found := exchanged(first, second)) else ""


VETOES: dict[str, Veto] = {
    "numbers": numbers,
    "units": units,
    "dates": dates,
    "negation": negation,
    "opposites": opposites,
    "roles": roles,
}


def vetoed(first: Sequence[str], second: Sequence[str], names: Iterable[str] = VETOES) -> list[str]:
    """Why each pair may not be accepted unread, empty if it may; the first rule that speaks counts.

    ``names`` are keys of `VETOES`, in the order in which they are asked. Which pairs are vetoed does not depend on which text is
    first, and equal texts never are. About .16 ms per pair of questions without numbers, units, dates and negations.

    Raises
    ------
    ValueError
        If there is no rule of a name, or the two columns differ in length.

    Examples
    --------
    >>> vetoed(["Is 5 km far?", "Open on Monday?"], ["is it far to walk 5 km", "Not open on Mon?"])
    ['', 'negation: – | Not']
    """
    names = list(names)
    if unknown := [name for name in names if name not in VETOES]:
        raise ValueError(f"There is no veto {unknown[0]!r}. Use one of {', '.join(VETOES)}.")
    rules = [VETOES[name] for name in names]
    return [
        "" if a == b else next(filter(None, (rule(a, b) for rule in rules)), "")
        for a, b in zip(first, second, strict=True)
    ]


def _only_dates(
    here: Mapping[str, tuple[str, str]], there: Mapping[str, tuple[str, str]], other: str
) -> dict[str, tuple[str, str]]:
    """The dates of a text that the other text lacks; ``now`` makes up for today."""
    found = {name: of for name, of in here.items() if name not in there}
    if "today" in found and not _NOW.isdisjoint(words_of(other)):
        del found["today"]
    return found


def _only(here: Amounts, there: Amounts, other: str) -> list[str]:
    """The numbers of a text that the other text says in no way."""
    found = [number for number in dict.fromkeys(here.numbers) if not is_amount_among(number, there.numbers)]
    if not found:
        return []
    words = {*_WORD.findall(other), *_WORD.findall(other.lower())}
    hours = {number.removesuffix(":00") for number in there.numbers}
    return [
        number
        for number in found
        if number.removesuffix(":00") not in hours
        and words.isdisjoint(_SAID_OTHERWISE.get(number, "").split())
        and not _is_measured_in(number, here, there)
    ]


def _is_measured_in(number: str, here: Amounts, there: Amounts) -> bool:
    """Whether the other text has all that this number measures, in other units."""
    measured = [of for of in here.measures if of.number == number and of.is_said]
    return here.numbers.count(number) == len(measured) and all(any(map(of.equals, there.measures)) for of in measured)


def _of_number(number: str, here: Amounts, there: Amounts) -> str:
    """The units that a number, which both texts have, measures in only one of them."""
    units = [
        {of.unit: of.written for of in side.measures if of.number == number and of.is_said} for side in (here, there)
    ]
    if units[0].keys() == units[1].keys():
        return ""
    only = [{unit: written for unit, written in units[n].items() if unit not in units[1 - n]} for n in (0, 1)]
    for n, other in enumerate((there, here)):
        if not only[1 - n]:
            named = {of.unit for of in other.measures} | _LEFT_OUT
            only[n] = {unit: written for unit, written in only[n].items() if unit not in named}
    if any({*a} == {"degree"} and {*b} <= {"°C", "°F"} for a, b in (only, only[::-1])):
        return ""
    return _reason("unit", only[0].values(), only[1].values())


def _is_rate(of: Measure) -> bool:
    return of.number == "1" and not of.is_said


def _is_alone(of: Measure) -> bool:
    return not of.number and _compared(of) != "time"


def _counts_alone(of: Measure) -> bool:
    """Whether a rate is a difference without another on the other side: "in a week", but not "daily" nor "got a minute"."""
    return _is_rate(of) and _compared(of) == "time" and not of.written.isalpha() and of.unit != "minute"


def _compared(of: Measure) -> str:
    """The dimension in which two rates or two units are compared; all times are one."""
    return "time" if of.dimension == "months" else of.dimension


def _is_among(of: Measure, there: Amounts) -> bool:
    return any(of.unit == other.unit or of.equals(other) for other in there.measures)


def _reason(kind: str, first: Iterable[str], second: Iterable[str]) -> str:
    told = [", ".join(dict.fromkeys(only)) for only in (first, second)]
    return f"{kind}: {told[0] or _NOTHING} | {told[1] or _NOTHING}" if any(told) else ""
