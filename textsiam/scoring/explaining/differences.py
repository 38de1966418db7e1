"""Differences between two texts that matter and that embeddings hardly see: numbers, negation, names.

Rules find them, fast enough for every pair; they never change a score. Each function says what its rules miss. A new kind is one
function and one line in `DIFFERENCES`.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from textsiam.scoring.explaining.entities import entities_of, is_named_in
from textsiam.scoring.explaining.numerals import is_amount_in, numbers_of, plain

__all__ = [
    "DIFFERENCES",
    "NEGATION",
    "Differences",
    "difference",
    "differences",
    "entities_of",
    "negations_of",
    "numbers_of",
    "overlap",
]

# Phrases that look like a negation and deny nothing come first; they have no group, so they are skipped.
NEGATION = re.compile(
    r"\b(?:not only|whether or not|or not(?=\s*(?:[?.!,;)]|$))|no\.\s?(?=\d)|"
    r"(?P<not>cannot|can not|not|(?:[a-z]+n't)|(?:do|does|did|is|are|was|were|ca|wo|could|would|should|has|have|had|ai)nt)|"
    r"(?P<nobody>nobody|no[ -]?one)|(?P<without>with ?out|w/o)|(?P<other>never|nothing|nowhere|none|neither|nor|no))\b",
    re.IGNORECASE,
)
_MAY_DENY = re.compile(r"n't|nt\b|\bn(?:o|ever|either)|\bcannot\b|\bwith ?out\b|w/o", re.IGNORECASE)
# In scripts written without spaces, each character is a word.
_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|"
    "(?:(?![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])[^\\W_])+"
)


def negations_of(text: str) -> Counter[str]:
    """The negations in a text and how often each appears; English only.

    Contractions with or without an apostrophe (``don't``, ``dont``), ``cannot`` and ``can not`` all count as ``not``; ``no one``
    is ``nobody``. ``not only``, ``whether or not``, a final ``or not`` and ``No. 5`` do not count. Misses prefixes (``unlock``),
    opposites (``off``), verbs (``stop``, ``fail``) and doubt (``hardly``). It does not find what is denied: two texts may deny
    different things with the same words.

    Examples
    --------
    >>> negations_of("I can’t log in, and nobody told me why not.")
    Counter({'not': 2, 'nobody': 1})
    """
    text = plain(text)
    if not _MAY_DENY.search(text):
        return Counter()
    return Counter(
        found[0].lower() if found.lastgroup == "other" else found.lastgroup
        for found in NEGATION.finditer(text)
        if found.lastgroup
    )


# Kind of difference → the tokens of that kind in a text, with their counts.
DIFFERENCES: dict[str, Callable[[str], Counter[str]]] = {
    "numbers": numbers_of,
    "negation": negations_of,
    "entities": entities_of,
}
# Kind → whether the other text has this token in another spelling; such a token is no difference.
_FORGIVEN: dict[str, Callable[[str, str], bool]] = {"numbers": is_amount_in, "entities": is_named_in}


class OnlyIn(NamedTuple):
    """The tokens of one kind that only the first or only the second text has, in order of appearance."""

    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.first or self.second)

    def __str__(self) -> str:
        return " ≠ ".join(", ".join(side) or "none" for side in self)


@dataclass(frozen=True)
class Differences:
    """What only one of two texts has, for each kind in `DIFFERENCES`; true if there is any difference.

    `kinds` maps each kind to the tokens that only one text has.

    Examples
    --------
    >>> found = differences("Is it 5 % in Paris?", "Isn't it 15 % in Paris?")
    >>> bool(found), found["numbers"].first, found["entities"].second
    (True, ('5%',), ())
    >>> print(found)
    numbers: 5% ≠ 15%; negation: none ≠ not
    """

    kinds: Mapping[str, OnlyIn]

    def __getitem__(self, kind: str) -> OnlyIn:
        return self.kinds[kind]

    def __bool__(self) -> bool:
        return any(self.kinds.values())

    def __str__(self) -> str:
        return "; ".join(f"{kind}: {only}" for kind, only in self.kinds.items() if only)

    def to_json(self) -> dict[str, Any]:
        """Plain values: kind → ``first`` and ``second`` → tokens; also kinds without a difference."""
        return {kind: {"first": list(only.first), "second": list(only.second)} for kind, only in self.kinds.items()}


def differences(first: str, second: str) -> Differences:
    """The numbers, negations and entities that only one of two texts has.

    Swapping the texts swaps the sides. Equal texts, and texts without words, have no differences. Never raises for strings.
    Takes about 0.1 ms per pair of questions.

    Examples
    --------
    >>> print(differences("Does the case fit the iPhone 12?", "Does the case fit the Galaxy 12?"))
    entities: iPhone ≠ Galaxy
    """
    return Differences({kind: difference(kind, first, second) for kind in DIFFERENCES})


def difference(kind: str, first: str, second: str) -> OnlyIn:
    """The tokens of one kind that only one of two texts has.

    A name in another case or spelling (``Wi-Fi``, ``wifi``) is no difference, nor a number without its currency (``$5``, ``5``).

    Raises
    ------
    ValueError
        If the kind is unknown.

    Examples
    --------
    >>> difference("entities", "How do I install WhatsApp on an iPad?", "how to install whatsapp on android")
    OnlyIn(first=('iPad',), second=())
    """
    if kind not in DIFFERENCES:
        raise ValueError(f"There is no kind of difference {kind!r}. Use one of {', '.join(DIFFERENCES)}.")
    here, there = DIFFERENCES[kind](first), DIFFERENCES[kind](second)
    only = (here - there).elements(), (there - here).elements()
    if (forgiven := _FORGIVEN.get(kind)) is None:
        return OnlyIn(*map(tuple, only))
    return OnlyIn(
        tuple(token for token in only[0] if not forgiven(token, second)),
        tuple(token for token in only[1] if not forgiven(token, first)),
    )


def overlap(first: str, second: str) -> float:
    """The share of distinct words, ignoring case, that both texts have (Jaccard), in [0, 1].

    1 for texts with the same words in any order, and for two texts without words. In scripts written without spaces, characters
    are words.

    Examples
    --------
    >>> overlap("How do I pay?", "how can I pay"), overlap("", "pay")
    (0.6, 0.0)
    """
    here, there = (set(_WORD.findall(plain(text).casefold())) for text in (first, second))
    return len(here & there) / len(here | there) if here or there else 1.0
