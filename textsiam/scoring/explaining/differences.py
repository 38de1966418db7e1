"""The differences that matter between two texts, and that embeddings hardly see: numbers, negation, names.

By rules alone, in one pass each, so that they can be told for every pair; a score is never changed by them. What the rules
miss stands with each function. A new kind is one function and one line in `DIFFERENCES`.
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
    "Differences",
    "difference",
    "differences",
    "entities_of",
    "negations_of",
    "numbers_of",
    "overlap",
]

# What looks like a negation and denies nothing comes first and is skipped, having no group.
_NEGATION = re.compile(
    r"\b(?:not only|whether or not|or not(?=\s*(?:[?.!,;)]|$))|no\.\s?(?=\d)|"
    r"(?P<not>cannot|can not|not|(?:[a-z]+n't)|(?:do|does|did|is|are|was|were|ca|wo|could|would|should|has|have|had|ai)nt)|"
    r"(?P<nobody>nobody|no[ -]?one)|(?P<without>without|w/o)|(?P<other>never|nothing|nowhere|none|neither|nor|no))\b",
    re.IGNORECASE,
)
_MAY_DENY = re.compile(r"n't|nt\b|\bn(?:o|ever|either)|\bcannot\b|\bwithout\b|w/o", re.IGNORECASE)
# Scripts written without spaces give one word a character.
_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|"
    "(?:(?![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])[^\\W_])+"
)


def negations_of(text: str) -> Counter[str]:
    """The words of a text that deny, as often as they stand there; English only.

    Contractions with any apostrophe or none (``don't``, ``dont``), ``cannot`` and ``can not`` are all ``not``; ``no one`` is
    ``nobody``. ``not only``, ``whether or not``, a final ``or not`` and ``No. 5`` deny nothing. Left out: prefixes (``unlock``),
    opposites (``off``), verbs (``stop``, ``fail``), doubt (``hardly``), and what is denied: two texts may deny different things
    with the same words.

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
        for found in _NEGATION.finditer(text)
        if found.lastgroup
    )


# Kind of difference → the tokens of that kind in a text, as often as they count.
DIFFERENCES: dict[str, Callable[[str], Counter[str]]] = {
    "numbers": numbers_of,
    "negation": negations_of,
    "entities": entities_of,
}
# What is forgiven: whether a token is in the other text after all, spelled in a way that a token alone cannot know.
_FORGIVEN: dict[str, Callable[[str, str], bool]] = {"numbers": is_amount_in, "entities": is_named_in}


class OnlyIn(NamedTuple):
    """The tokens of one kind that only the first text has, and those that only the second has, in order of appearance."""

    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.first or self.second)

    def __str__(self) -> str:
        return " ≠ ".join(", ".join(side) or "none" for side in self)


@dataclass(frozen=True)
class Differences:
    """What one text has and the other has not, for each kind in `DIFFERENCES`; true if there is any.

    Parameters
    ----------
    kinds
        Kind → the tokens on one side alone.

    Examples
    --------
    >>> told = differences("Is it 5 % in Paris?", "Isn't it 15 % in Paris?")
    >>> bool(told), told["numbers"].first, told["entities"].second
    (True, ('5%',), ())
    >>> print(told)
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
        """Plain values: kind → first, second → tokens; kinds without a difference too."""
        return {kind: {"first": list(only.first), "second": list(only.second)} for kind, only in self.kinds.items()}


def differences(first: str, second: str) -> Differences:
    """What one text names or denies and the other does not: numbers, negation, entities.

    Swapping the texts swaps the sides; equal texts differ in nothing; texts without a word have nothing to differ in. Never
    raises for a string. Costs about a tenth of a millisecond a pair of questions.

    Examples
    --------
    >>> print(differences("Does the case fit the iPhone 12?", "Does the case fit the Galaxy 12?"))
    entities: iPhone ≠ Galaxy
    """
    return Differences({kind: difference(kind, first, second) for kind in DIFFERENCES})


def difference(kind: str, first: str, second: str) -> OnlyIn:
    """The tokens of one kind that only one of two texts has.

    Forgiven are a name that the other text has in another case or spelling (``Wi-Fi``, ``wifi``), and a currency that it leaves
    out (``$5``, ``5``).

    Raises
    ------
    ValueError
        If there is no such kind.

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
    """The share of words that two texts have in common, of the distinct lower-cased words of both (Jaccard), in [0, 1].

    1 for texts with the same words in any order, and for two texts without a word; characters count as words in scripts that
    are written without spaces.

    Examples
    --------
    >>> overlap("How do I pay?", "how can I pay"), overlap("", "pay")
    (0.6, 0.0)
    """
    here, there = (set(_WORD.findall(plain(text).casefold())) for text in (first, second))
    return len(here & there) / len(here | there) if here or there else 1.0
