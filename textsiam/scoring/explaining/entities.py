"""Names of people, places, products and firms in a text, found by their capital letters.

Left out on purpose: a model that knows names. It would be slower than the encoder and know only one language.
"""

import re
from collections import Counter
from itertools import pairwise

from textsiam.scoring.explaining.numerals import plain

_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|[^\W_]+(?:['&-][^\W_]+)*")
_PARTS = re.compile(r"[^\W\d_]+|\d+")
_STARTS = re.compile(r"[.!?:;\n\"\u2026\u201c\u201d\u201e\u00ab\u00bb\u2022(\[]")
_MIXED = re.compile("[a-z\u00df-\u00f6\u00f8-\u00ff][A-Z\u00c0-\u00d6\u00d8-\u00de]")
_TITLES = frozenset({"mr", "mrs", "ms", "dr", "st", "vs", "prof", "mt", "ft"})
# Common words, capitalised in Title Case: with a capital they are still no names.
_PLAIN = frozenset(
    re.findall(
        r"\w+",
        """a about after all also always am an and any anyone anything are aren as at be because been before being
        best but by can cannot could couldn did didn do does doesn doing don each ever every everyone everything few
        for free from get give go good had has hasn have haven he her here him his how i if in into is isn it its just
        know less like long lot made make many may me might more most much must my need never next no nobody none nor
        not nothing now of off ok okay on once one only or other our out over own please put same say see shall she
        should so some something still such take than thanks that the their them then there these they thing things
        this those through time to too two under until up upon use using very want was wasn way we well were what when
        where whether which while who whom whose why will with without won would yes yet you your yours really help
        urgent asap faq etc eg ie vs re fyi ps q aka diy tl dr""",
    )
)
# Units, times and sizes are no names, even in capitals.
_UNITS = frozenset(
    re.findall(
        r"\w+",
        "pm am kb mb gb tb km kg mg cm mm ml hz khz mhz ghz kw kwh mah k m b bn mn w v l c f p x s st nd rd th mp "
        "fps mbps gbps xl xs",
    )
)


def entities_of(text: str) -> Counter[str]:
    """The names in a text as written, each once, in order of appearance: ``Paris``, ``NASA``, ``iPhone``.

    A word counts if it is capitalised within a sentence, mixes cases (``iPhone``), or is all capitals (``NASA``, ``B2B``), and
    is no common English word. A name of two words counts as two. In a text of mostly capitals only mixed cases count; in Title
    Case also words of all capitals. Misses names at the start of a sentence, in lower case, and in scripts without capitals;
    takes German nouns for names.

    To compare two texts, use `textsiam.scoring.explaining.differences.difference`, which ignores case.

    Examples
    --------
    >>> list(entities_of("Does Anna's iPhone work with the NASA app in New York?"))
    ['Anna', 'iPhone', 'NASA', 'New', 'York']
    >>> list(entities_of("How Do I Reset My Password?")), list(entities_of("PLEASE HELP ME WITH MY ORDER"))
    ([], [])
    """
    text = plain(text)
    found = [] if text.islower() else list(_WORD.finditer(text))
    if not found:
        return Counter()
    words = [word[0] for word in found]
    inside = [False, *(not _STARTS.search(_between(text, a, b)) for a, b in pairwise(found))]
    is_shouted = 2 * sum(word.isupper() and len(word) > 1 for word in words) > sum(len(word) > 1 for word in words)
    is_titled = is_shouted or _is_titled([word for word, within in zip(words, inside, strict=True) if within])
    names = [
        name
        for word, within in zip(words, inside, strict=True)
        if (name := _bare(word))
        and (
            (within and not is_titled and _is_capital(name))
            or (not is_shouted and _is_acronym(name))
            or any(_MIXED.search(part) for part in name.split("-"))
        )
    ]
    return Counter(dict.fromkeys(names, 1))


def is_named_in(name: str, text: str) -> bool:
    """Whether a text has this name in any case and spelling: ``Wi-Fi`` is in "wifi" and "wi fi", ``iPhone7`` in "iphone 7".

    Examples
    --------
    >>> is_named_in("Wi-Fi", "my wifi is slow"), is_named_in("Paris", "in London")
    (True, False)
    """
    words = _WORD.findall(plain(text).casefold())
    known = {_stem(re.sub(r"\W", "", word)) for word in words} | {part for word in words for part in _stems(word)}
    folded = name.casefold()
    return _stem(re.sub(r"\W", "", folded)) in known or all(part in known for part in _stems(folded))


def _between(text: str, before: re.Match[str], after: re.Match[str]) -> str:
    """The text between two words, without the full stop of an abbreviation: in "Mr. Smith" no sentence begins."""
    between = text[before.end() : after.start()]
    return between.removeprefix(".") if before[0].casefold() in _TITLES else between


def _is_titled(inside: list[str]) -> bool:
    """Whether all kinds of words are capitalised within sentences: How Do I Pay."""
    common = [word for word in inside if _is_common(word) and word[0] != "I"]
    if common:
        return 2 * sum(word[0].isupper() for word in common) > len(common)
    return not any(word[0].islower() for word in inside)


def _bare(word: str) -> str:
    """The word without 's, and without the plural s after capitals (PDFs); empty for a common word, a unit or a title."""
    name = word.removesuffix("'s").removesuffix("'S")
    name = name[:-1] if len(name) > 2 and name.endswith("s") and name[:-1].isupper() else name  # noqa: PLR2004
    is_plain = _is_common(name) or name.lstrip("0123456789").casefold() in _UNITS | _TITLES
    return "" if is_plain else name


def _is_common(word: str) -> bool:
    return word.casefold().partition("'")[0] in _PLAIN


def _is_capital(name: str) -> bool:
    return len(name) > 1 and any(part[:1].isupper() for part in name.split("-"))


def _is_acronym(name: str) -> bool:
    return len(name) > 1 and name.isupper()


def _stems(word: str) -> list[str]:
    return [_stem(part) for part in _PARTS.findall(word)]


def _stem(word: str) -> str:
    """The word without a final s, plural or not: both sides are treated alike."""
    return word.removesuffix("s") if len(word) > 3 else word  # noqa: PLR2004
