"""Edits that turn a meaning round: a negation more or less, with and without, before and after, more and less, an opposite.

Each rule speaks only where its edit is grammatical and changes what is asked. Left out on purpose: yes-or-no questions ("Can I",
"Can't I"), negations beside "any" or "yet", which do not stand without one, and "with" behind words that govern it (deal with).
"""

import re
from collections.abc import Iterator
from random import Random

from textsiam.scoring.counterfactuals.edits import Edit, any_of, either_way, other_words, replaced
from textsiam.scoring.counterfactuals.word_lists import COMPARED, OPPOSITES

_PRONOUN = "I|you|we|they|he|she|people"
_ASKED = re.compile(
    r"(?:^|[.?!,] )(?:how|why|what|which(?: \w+)?|who|where)(?! (?:much|many|long|often|far|else))\s"
    rf"(?:do|does|did|can|could|should|would|will) (?:{_PRONOUN})(?= (?!(?:not|think|feel|mean|know|call|say|believe|have|get to|ever|never"  # noqa: E501
    r"|really|to|top|all|just|also|still|always|actually|best|go about|it|with|like|find|who|in|most)\b)[a-z]+ [a-z])",
    re.IGNORECASE,
)
_STATED = re.compile(
    r"(?<!if )(?<!whether )(?<!what )(?<!how )(?<!where )(?<!when )(?<!who )(?<!that )"
    r"\b(?:(?:he|she|it|this) (?:is|was|can|will|should)|(?:we|you|they) (?:are|were|can|will|should)|I (?:am|was|can|will|should))"  # noqa: E501
    r"(?= (?!not\b|no\b|never\b|be\b|being\b|going\b|supposed\b)[a-z]{3,})",
)
_DENIED = re.compile(
    r"(?<=\w )(?:(?:is|are|was|were|do|does|did|should|would|could|has|have|had)(?P<short>n['\u2019]t)|(?P<can>can)['\u2019]t"
    r"|(?P<cannot>cannot)|(?:is|are|was|were|does|did|can|should|will|would|could)(?P<not> not))\b(?! (?:only|you|it|he|they)\b)",
    re.IGNORECASE,
)
_POLAR = re.compile(
    r"\b(?:any\w*|yet|either|until|unless|at all|ever|much|neither|nor|even|or not|no|never|but|without|that|need|mind|help)\b"
    r"|\bcare\b|\?.*\?",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:not|cannot|never|no|nobody|nothing|none|without)\b|n['\u2019]t\b", re.IGNORECASE)
_WITHOUT = re.compile(
    r"(?<!do )\bwithout\b(?! (?:any\w*|\w+ing|even|it|having|them|him|her|me|you|which|ever|a doubt|doubt)\b)",
    re.IGNORECASE,
)
_WITH = re.compile(
    r"\b(?P<before>live|cook|travel|study|sleep|drink|eat|go|walk|write|build|fly|drive|learn|survive|open|pay|run|swim|coffee|tea|phone"
    r"|car|house|laptop|room|home|login|log in|account|engineer|person|man|woman|apply|enter|use)"
    r" (?P<word>with)(?= (?:an?|my|his|her|milk|sugar|money|parents|salt|experience|children|kids)\b)",
    re.IGNORECASE,
)
_ORDER = re.compile(
    r"(?<!look )(?<!looking )(?<!looked )(?<!looks )(?<!named )(?<!day )(?<!ever )(?<!never )(?<!and )(?<!go )(?<!take )(?<!called )"  # noqa: E501
    r"(?<!right )(?<!soon )(?<!run )(?<!long )(?<!year )(?<!like )(?<!seek )\b(?P<word>before|after)\b"
    r"(?= (?!and\b|or\b|all\b|effects?\b|hours\b|that\b|market\b|life\b|party\b|it\b|yesterday\b|tomorrow\b|\d+ [a-z]+\b)[\w'\u2019]+)(?!-)",  # noqa: E501
    re.IGNORECASE,
)
_ORDERS = {"before": ["after"], "after": ["before"]}
_GRADED = r"(?= \w+(?:ful|ive|able|ible|ous|ant|ent(?<!ment)(?<!student)|ic|ical|ing|ed|ular|ult)\b)"
_MORE = re.compile(
    rf"(?<!any )(?<!no )(?<!once )(?<!the )\b(?:more|less)\b(?:(?= than (?!once\b|just\b))|{_GRADED}(?! \w+s\b))",
    re.IGNORECASE,
)
_MOST = re.compile(rf"(?<=\bthe )(?:most|least)\b{_GRADED}", re.IGNORECASE)
_AT_MOST = re.compile(r"(?<=\bat )(?:most|least)\b(?= (?:\d|two|three|four|five|ten))", re.IGNORECASE)
_DEGREES = {"more": ["less"], "less": ["more"], "most": ["least"], "least": ["most"]}
_COMPARED = either_way(COMPARED)
_COMPARISON = re.compile(
    rf"{any_of(_COMPARED)}(?<!no longer)(?<!any longer)(?! (?:be|off|seller|selling|friends?|known|man|brother|sister|half|and|or|case)\b)",  # noqa: E501
    re.IGNORECASE,
)


def _opposite_forms() -> dict[str, list[str]]:
    """Each form of the table → the same form of its opposites."""
    forms: dict[str, list[str]] = {}
    for line in OPPOSITES.splitlines():
        here, there = (side.split() for side in line.split("|"))
        for one, other in zip(here, there, strict=True):
            forms.setdefault(one, []).append(other)
            forms.setdefault(other, []).append(one)
    forms["lose"], forms["loses"], forms["losing"] = ["gain"], ["gains"], ["gaining"]
    return {form: of for form, of in forms.items() if form != "lost"}


_OPPOSITE = _opposite_forms()
_OPPOSED = re.compile(
    rf"(?<!of )(?<!in )(?<!would ){any_of(_OPPOSITE)}"
    r"(?! (?:up|out|off|on|over|back|down|in|with|temper|life|story|stories|affair|marriage|letter|letters|panther|control|to))",
    re.IGNORECASE,
)


def negation(text: str, draw: Random) -> Iterator[Edit]:  # noqa: ARG001
    """A "not" put in behind the subject of a question or the auxiliary of a statement, or taken out.

    Examples
    --------
    >>> [edit.text for edit in negation("How do I lose weight?", Random(0))]
    ['How do I not lose weight?']
    >>> [edit.text for edit in negation("Why is my phone slow if it isn't old?", Random(0))]
    ['Why is my phone slow if it is old?']
    """
    negations = list(_NEGATED.finditer(text))
    if text.count("?") <= 1 and not negations and not re.search(r"\bany\w*\b", text):
        for pattern in (_ASKED, _STATED):
            for found in pattern.finditer(text):
                yield Edit(
                    f"{text[: found.end()]} not{text[found.end() :]}",
                    f"{found[0].split()[-1]} → {found[0].split()[-1]} not",
                )
    if len(negations) == 1 and not _POLAR.search(text.replace("n't", "").replace("n\u2019t", "")):
        for found in _DENIED.finditer(text):
            short = found["short"] or found["not"] or ""
            bare = found[0][: -len(short)] if short else found[0][:3]
            yield replaced(text, found.start(), found.end(), bare)


def inclusion(text: str, draw: Random) -> Iterator[Edit]:
    """With for without, and without for with where no verb governs it.

    Examples
    --------
    >>> [edit.text for edit in inclusion("Can I drink tea without sugar?", Random(0))]
    ['Can I drink tea with sugar?']
    """
    if len(re.findall(r"\bwith(?:out)?\b", text, re.IGNORECASE)) == 1:
        yield from other_words(text, draw, _WITHOUT, {"without": ["with "]}, lambda _, like: like[:4])
        for found in _WITH.finditer(text):
            yield replaced(text, found.start("word"), found.end(), f"{found['word']}out")


def time_order(text: str, draw: Random) -> Iterator[Edit]:
    """Before for after, after for before.

    Examples
    --------
    >>> [edit.text for edit in time_order("Should I eat before running?", Random(0))]
    ['Should I eat after running?']
    """
    yield from other_words(text, draw, _ORDER, _ORDERS)


def comparison(text: str, draw: Random) -> Iterator[Edit]:
    """Less for more, least for most, smaller for larger, and the other way round.

    Examples
    --------
    >>> [edit.text for edit in comparison("Is gold more expensive than silver?", Random(0))]
    ['Is gold less expensive than silver?']
    """
    for pattern in (_MORE, _MOST, _AT_MOST):
        yield from other_words(text, draw, pattern, _DEGREES)
    yield from other_words(text, draw, _COMPARISON, _COMPARED)


def opposite(text: str, draw: Random) -> Iterator[Edit]:
    """An opposite in the same form: bought for sold, uploading for downloading.

    Examples
    --------
    >>> [edit.text for edit in opposite("Where are used books sold?", Random(0))]
    ['Where are used books bought?']
    """
    yield from other_words(text, draw, _OPPOSED, _OPPOSITE)
