"""One edit of a text, and what the rules share: the case of a word, a choice by seed, words of a table.

Edits are made on the text as it is written: nothing but the replaced words changes.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import NamedTuple


class Edit(NamedTuple):
    """An edited text and what was changed in it, such as ``24 → 38``."""

    text: str
    change: str


Rule = Callable[[str, Random], Iterator[Edit]]

_ARTICLE = re.compile(r"\ban?\s$", re.IGNORECASE)
_VOWEL = re.compile("[aeiou]", re.IGNORECASE)  # of letters, not of sounds: the lists hold no "hour" and no "user"


def replaced(text: str, start: int, end: int, new: str) -> Edit:
    """The text with one span replaced.

    Examples
    --------
    >>> replaced("It costs 24 euros.", 9, 11, "38")
    Edit(text='It costs 38 euros.', change='24 → 38')
    """
    return Edit(text[:start] + new + text[end:], f"{text[start:end].strip()} → {new.strip()}")


def swapped(text: str, first: tuple[int, int], second: tuple[int, int]) -> Edit:
    """The text with two spans in each other's place; the first stands before the second."""
    (a, b), (c, d) = first, second
    edited = text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]
    return Edit(edited, f"{text[a:b]}, {text[c:d]} → {text[c:d]}, {text[a:b]}")


def cased(word: str, like: str) -> str:
    """A word in the case of another: all capitals, a capital, or as the word is listed."""
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def named(name: str, like: str) -> str:
    """A name as it is listed, in lower case if the name that it replaces is."""
    return name.lower() if like.islower() else name


def chosen(of: Sequence[str], draw: Random) -> str:
    """One of several. Only `Random.random` is promised to be the same in all versions of Python."""
    return of[int(draw.random() * len(of))]


def either_way(pairs: str) -> dict[str, list[str]]:
    """``a|b`` per line → a: [b], b: [a]. A word with several partners has them all."""
    table: dict[str, list[str]] = {}
    for pair in pairs.strip().splitlines():
        here, there = pair.split("|")
        table.setdefault(here, []).append(there)
        table.setdefault(there, []).append(here)
    return table


def among(groups: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    """Each member of a group, in lower case → the others."""
    return {one.lower(): [other for other in group if other != one] for group in groups for one in group}


def any_of(words: Iterable[str]) -> str:
    """A pattern for whole words, longer ones first; a hyphen or an apostrophe beside them makes another word."""
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return rf"(?<![\w'\u2019.@#/-])(?:{'|'.join(map(re.escape, ordered))})(?![\w@/-])(?!\.\w)(?!['\u2019](?!s\b))"


def other_words(
    text: str,
    draw: Random,
    pattern: re.Pattern[str],
    table: Mapping[str, Sequence[str]],
    case: Callable[[str, str], str] = cased,
) -> Iterator[Edit]:
    """An edit for each word of a table that a pattern finds: a partner that the text does not hold yet, and that fits its article.

    Examples
    --------
    >>> animals = {"cat": ["owl", "dog"]}
    >>> [edit.text for edit in other_words("Is it a cat?", Random(0), re.compile("cat"), animals)]
    ['Is it a dog?']
    """  # noqa: E501
    lower = text.lower()
    if not any(word in lower for word in table):  # a cheap first look: most texts have none
        return
    for found in pattern.finditer(text):
        partners = [word for word in table[found[0].lower()] if word.lower() not in lower]
        if _ARTICLE.search(text, 0, found.start()):
            partners = [word for word in partners if bool(_VOWEL.match(word)) == bool(_VOWEL.match(found[0]))]
        if partners:
            yield replaced(text, found.start(), found.end(), case(chosen(partners, draw), found[0]))
