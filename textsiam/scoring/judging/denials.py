"""What a text denies: its negations, without those that deny nothing, and the words that are opposites by a prefix.

``lock`` and ``unlock``, ``active`` and ``inactive`` count where one text has the one and the other text the other word. English
only. Left out on purpose: opposites without a common stem (on and off, buy and sell), what is denied (two texts may deny
different things), doubt (hardly), irony.
"""

import re
from collections import Counter
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from textsiam.scoring.explaining.differences import NEGATION
from textsiam.scoring.explaining.numerals import plain, words_of

_AUXILIARY = "is|are|was|were|do|does|did|has|have|had|wo|ca|could|would|should|ai"
_ASKED = r"(?:how|what|where|why|who|when|whether|if|which)\b"
# They look like negations and deny nothing: courtesy, tags, idioms.
_EMPTY = re.compile(
    "|".join(
        (
            r"\b(?:why\s)?or\swhy\snot\b",
            r"\bif\sso\s?(?:/|or)\s?(?:if\s)?not\b",
            r"\b(?:why|or)\snot\b",
            r"\bif\s(?:not|no|none)(?=\s*[,?.;]|\s(?:why|what|how|who|then)\b)",
            r"\b(?:do\snot|don'?t)\syou\s(?:think|agree|believe)\b",
            r"\b(?:can(?:no|')?t|can\snot)\s(?:wait|help)\b",
            rf"\bi\s(?:do\snot|don'?t)\s(?:really\s)?know\s{_ASKED}",
            rf"\bnot\ssure(?=\s{_ASKED})",
            r"\b(?:have|had|got)\sno\s(?:idea|clue)\b",
            r"\bno\s(?:matter|doubt|wonder|problem)\b",
            r"\bnot\s(?:only|just|merely|surprisingly|to\smention)\b",
            r"\b(?:nothing\sbut|last\sbut\snot\sleast|nor|dos?\s(?:and|&)\sdon'?ts)\b",
            r"\b(\w+)(?:\s?/\s?|\sor\s)(?:\1(?:n?'?t|\snot)|won't)\b",  # should or shouldn't
            rf",\s*(?:{_AUXILIARY})n'?t\s(?:it|he|she|they|we|you|i|there|this|that)\s*(?=[?.!]|$)",  # isn't it?
        )
    ),
    re.IGNORECASE,
)
# One of these in one text makes up for a negation in the other: "I am unable to" and "I cannot".
_IMPLIED = frozenset(
    re.findall(
        r"\w+",
        """unable impossible fail fails failed failing failure refuse refuses refused forget forgot forgotten stop stops stopped
        stopping avoid avoids avoided avoiding prevent prevents preventing quit ban bans banned banning forbid forbidden
        prohibited illegal deny denied denies decline declines declined reject rejects rejected ignore ignores ignoring lack
        lacks lacking absent missing unaware unknown unavailable disable disabled blocked instead rather despite except
        excluding hardly rarely less lesser dislike hate acquitted""",
    )
)
_PREFIXES = ("un", "dis", "in", "im", "il", "ir")
_OPENS = re.compile(r"(?:un|dis|in|im|il|ir)(?=[a-z]{4})")
# Stems that these prefixes turn into their opposite; "un" does so with any ("cover" and "discover" are no opposites).
_OPPOSED = {
    "dis": "abl advantag agre allow appear approv assembl connect continu engag honest like obey qualif respect satisf trust",
    "in": "accurat accessibl activ adequat appropriat capabl complet consistent correct definit dependent direct effectiv "
    "efficient expensiv finit formal offensiv secur sensitiv significant stabil sufficient valid visibl voluntar",
    "im": "balanc matur moral mortal partial patient perfect polit possibl practical probabl proper pur",
    "il": "legal legitimat literat logical",
    "ir": "rational regular relevant responsibl reversibl",
}
_LESS = frozenset({"less", "unless", "regardless", "nevertheless", "nonetheless", "wireless", "bless"})
_NO_OPPOSITES = frozenset({"unless", "unlike"})
_NON = re.compile(r"\bnon[\s-]?(?!sense|etheless)[a-z]{4,}\b", re.IGNORECASE)
_ENDING = re.compile(r"(?:ings?|ed|es|e|s|ly|y|ment|ful|less|ities|ity)$")
_MAY_DENY = frozenset(
    re.findall(
        r"\w+",
        """t dont doesnt didnt isnt arent wasnt werent cant wont couldnt wouldnt shouldnt hasnt havent hadnt aint cannot not
        nobody no without out w never nothing nowhere none neither""",
    )
)


class Denials(NamedTuple):
    """The negations of a text as they are written, and its words in lower case."""

    negations: tuple[str, ...]
    words: frozenset[str]


def denials_of(text: str) -> Denials:
    """The negations that deny something, and all words.

    Examples
    --------
    >>> denials_of("It isn’t mine, so why not, or can't you wait without it?").negations
    ("isn't", "can't", 'without')
    """
    words = words_of(text)
    if words.isdisjoint(_MAY_DENY) and not any(word.startswith("non") for word in words):
        return Denials((), words)
    text = _EMPTY.sub(" ", plain(text))
    negations = [match[0] for match in NEGATION.finditer(text) if match.lastgroup] + _NON.findall(text)
    return Denials(tuple(negations), words)


def one_sided(here: Denials, there: Denials) -> tuple[list[str], list[str]]:
    """What each of two texts denies that the other does not, in words of the texts; two empty lists if they deny as much.

    Negations are counted: ``can't`` and ``cannot``, ``not possible`` and ``impossible`` are the same, and ``unable`` makes up for
    ``not``.
    """
    opposites = _opposites(here.words, there.words), _opposites(there.words, here.words)
    more = len(here.negations) + len(opposites[0]) - len(there.negations) - len(opposites[1])
    if not more:
        return [], []
    paired = {word for pair in opposites[0] + opposites[1] for word in pair}
    implied = _n_implied(there.words - here.words - paired) - _n_implied(here.words - there.words - paired)
    if more * implied > 0:
        return [], []
    words = [[*_more(here, there), *(a for a, _ in opposites[0]), *(b for _, b in opposites[1])]]
    words += [[*_more(there, here), *(b for _, b in opposites[0]), *(a for a, _ in opposites[1])]]
    return words[0], words[1]


def _n_implied(words: AbstractSet[str]) -> int:
    """How many of the words deny something without a negation: ``unable``, ``massless``."""
    return len(_IMPLIED & words) + sum(word.endswith("less") and word not in _LESS for word in words)


def _more(here: Denials, there: Denials) -> list[str]:
    """The negations that a text has more of than the other, case aside."""
    spare = Counter(map(str.lower, there.negations))
    found = []
    for negation in here.negations:
        if spare[negation.lower()]:
            spare[negation.lower()] -= 1
        else:
            found.append(negation)
    return found


def _opposites(words: frozenset[str], others: frozenset[str]) -> list[tuple[str, str]]:
    """The words that only the first text has and whose opposite, the same without a prefix, only the second has."""
    found: list[tuple[str, str]] = []
    for word in words - others:
        if word.startswith(_PREFIXES) and (opens := _OPENS.match(word)) and word not in _NO_OPPOSITES:
            bare, stem = word[opens.end() :], _stem(word[opens.end() :])
            if opens[0] in _OPPOSED and not bare.startswith(tuple(_OPPOSED[opens[0]].split())):
                continue
            if len(stem) > 2 and stem not in map(_stem, words) and _stem(word) not in map(_stem, others):  # noqa: PLR2004
                found += [(word, other) for other in sorted(others - words) if _stem(other) == stem][:1]
        elif word.endswith("less") and f"{word[:-4]}ful" in others:
            found.append((word, f"{word[:-4]}ful"))
    return sorted(found)


def _stem(word: str) -> str:
    """The word without its ending; both sides are treated alike."""
    return _ENDING.sub("", word)
