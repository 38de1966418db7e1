"""Partners: which word of one text stands for which word of the other, and which words have no partner, clash or moved.

Words are compared by the vectors of their tokens, so by what they mean in their text. Words that are the same, or mean the same,
are partners: first as many as possible in the same order, then the others, which moved. Of the rest, words between the same two
partners on both sides stand in the same place and clash; a word to which no word is near is alone. Words that a rule of `VETOES`
names never mean the same; numbers and negations that no rule names never clash and are never alone.

Left out: phrases ("find out" and "discover"), and whether a move changes the meaning. Cosine does not tell every synonym from an
opposite: "begin" and "start" are nearer than "buy" and "sell", "goal" and "aim" are not (figures: ``benchmarks/alignment.py``).
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Any, NamedTuple
from unicodedata import category

import numpy as np
from jaxtyping import Bool, Float

from textsiam.data.pairs import Pairs
from textsiam.encoding.backends import TokenBackend
from textsiam.encoding.token_vectors import TokenVectors
from textsiam.scoring.explaining.differences import difference, negations_of
from textsiam.scoring.explaining.erasure import Span, spans_of
from textsiam.scoring.explaining.numerals import NUMBER_WORDS, numbers_of, plain
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.pair_blocks import Rarity
from textsiam.scoring.judging.vetoes import VETOES
from textsiam.scoring.scorer import Scorer

# Chosen by reading real pairs of QQP dev and the hand-written edits, with the untuned default (benchmarks/alignment.py).
SAME = 0.75  # cosine from which two different words mean the same
NEAR = 0.6  # below it no word of the other text is near
KIN = 0.45  # from it on, words in the same place clash; a single word on both sides that is not common always does
COMMON = 3.0  # rarity of a word in one text of twenty: more common ones are not named, for they say little

N_PAIRS = 1_024  # whose token vectors are held at once

_MARKS = (
    "Pc",
    "Pd",
    "Ps",
    "Pe",
    "Pi",
    "Pf",
    "Po",
)  # classes of characters around a word, except those that belong to it:
_BELONG = frozenset("%#@")
_LONG = 5  # letters from which a word with one wrong letter is still told
_CONTRACTED, _LETTERS, _AROUND = re.compile(r"n?'\w+$"), re.compile(r"[^\W\d_]+"), re.compile(r"^\W+|\W+$")

Link = tuple[int, int]  # the places of a word of the first text and of one of the second


class Couple(NamedTuple):
    """A word of the first text, a word of the second, and the cosine of their vectors."""

    first: str
    second: str
    cosine: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"first": self.first, "second": self.second, "cosine": round(self.cosine, 4)}


@dataclass(frozen=True)
class Partners:
    """The words of two texts, without the punctuation around them, beside their best partners; true if there is more to say.

    Parameters
    ----------
    pairs
        Each word beside its partner, or else beside the nearest word of the other text, in the order of the first text.
    alone_first, alone_second
        Words to which no word of the other text is near, in order.
    clashes
        Words in the same place that mean something else.
    moved
        Words of both texts that stand elsewhere among the others.

    Examples
    --------
    >>> print(Partners((), ("tonight",), (), (Couple("enable", "disable", 0.5),), ()))
    clash: enable | disable; only in the first: tonight
    """

    pairs: tuple[Couple, ...]
    alone_first: tuple[str, ...]
    alone_second: tuple[str, ...]
    clashes: tuple[Couple, ...]
    moved: tuple[Couple, ...]

    def __bool__(self) -> bool:
        return bool(self.clashes or self.alone_first or self.alone_second or self.moved)

    def __str__(self) -> str:
        moved = (a if a.casefold() == b.casefold() else f"{a} | {b}" for a, b, _ in self.moved)
        parts = {
            "clash": (f"{a} | {b}" for a, b, _ in self.clashes),
            "only in the first": self.alone_first,
            "only in the second": self.alone_second,
            "moved": moved,
        }
        said = ((name, ", ".join(dict.fromkeys(words))) for name, words in parts.items())
        return "; ".join(f"{name}: {words}" for name, words in said if words)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with ``text``, the same in one line."""
        couples = {name: [one.to_json() for one in getattr(self, name)] for name in ("pairs", "clashes", "moved")}
        alone = {"alone_first": list(self.alone_first), "alone_second": list(self.alone_second)}
        return couples | alone | {"text": str(self)}


def partners_of(model: Scorer, pairs: Pairs, *, prompt: str | None = None) -> list[Partners | None]:
    """The partners of the words of each pair, in the order of the pairs; swapping the texts swaps the sides.

    None where nothing can be compared: the similarity is not cosine, or the backend gives no vectors of tokens. Equal texts have
    no words alone, clashes and moves. Words after the cut of a long text have no vectors and are left out. Each distinct text is
    encoded once more (in parts of `N_PAIRS` pairs).

    Examples
    --------
    >>> from textsiam import Siamese
    >>> texts = ["How do I lock my account?"], ["How do I unlock my account?"]
    >>> print(*partners_of(Siamese.load(), Pairs(*texts)))
    clash: lock | unlock
    """
    if model.similarity != "cosine" or not isinstance(model.encoder.backend, TokenBackend):
        return [None] * len(pairs)
    rarity = model.judge.rarity if isinstance(model.judge, Judge) else None
    found: list[Partners | None] = []
    for start in range(0, len(pairs), N_PAIRS):
        texts, left, right = pairs.take(range(start, min(start + N_PAIRS, len(pairs)))).unique()
        tokens = model.encoder.tokens(texts, prompt=prompt)
        sides = [_Side.of(text, tokens, row, rarity) for row, text in enumerate(texts)]
        found += [_partners(sides[a], sides[b]) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
    return found


@dataclass(frozen=True, eq=False)
class _Side:
    """One text as words that the encoder read.

    `shown` are the words without the punctuation around them, `keys` the same in one spelling, `pieces` their numbers of tokens.
    `unread` are the keys of the words after the cut.
    """

    text: str
    shown: list[str]
    units: Float[np.ndarray, "n dim"]
    rarity: list[float]
    pieces: list[int]
    unread: frozenset[str]

    @classmethod
    def of(cls, text: str, tokens: TokenVectors, row: int, rarity: Rarity | None) -> "_Side":
        """A word's vector is the mean of its tokens' vectors of length 1; it is as rare as the rarest of them, or infinitely."""
        places = tokens.of(row)
        places = np.arange(places.start, places.stop)[tokens.words[places]]
        starts, ends = tokens.spans[places].T
        shown, units, rare, pieces, unread = [], [np.zeros((0, tokens.vectors.shape[1]), np.float32)], [], [], set()
        for span in spans_of(text):
            start, stop = _core(text, span)
            word = text[start:stop]
            own = places[(starts < stop) & (ends > start)]
            if not word:
                continue
            if not len(own):
                unread.add(_key(word))
                continue
            vectors = tokens.vectors[own]
            mean = (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).sum(0)
            units.append((mean / max(float(np.linalg.norm(mean)), 1e-9))[None].astype(np.float32))
            shown.append(word)
            pieces.append(len(own))
            rare.append(np.inf if rarity is None else float(rarity[np.minimum(tokens.ids[own], len(rarity) - 1)].max()))
        return cls(text, shown, np.concatenate(units), rare, pieces, frozenset(unread))

    @cached_property
    def keys(self) -> list[str]:
        return list(map(_key, self.shown))


def _core(text: str, span: Span) -> Span:
    """The place of a word without the punctuation around it; empty for signs ("-", "+") without it."""
    start, stop = span
    while start < stop and _is_mark(text[start]):
        start += 1
    while start < stop and _is_mark(text[stop - 1]):
        stop -= 1
    word = text[start:stop]
    is_word = any(map(str.isalnum, word)) or not word.isascii() or not _BELONG.isdisjoint(word)
    return (start, stop if is_word else start)


def _is_mark(character: str) -> bool:
    return category(character) in _MARKS and character not in _BELONG


def _key(word: str) -> str:
    return plain(word).casefold()


def _partners(first: _Side, second: _Side) -> Partners:
    """The texts are aligned in one order, so that ties are broken alike whichever way the pair is given."""
    is_swapped = first.text > second.text
    found = _Alignment((second, first) if is_swapped else (first, second))

    def couples(links: Iterable[Link]) -> tuple[Couple, ...]:
        ordered = sorted((link[::-1], link) if is_swapped else (link, link) for link in links)
        return tuple(Couple(first.shown[i], second.shown[j], float(found.cosines[link])) for (i, j), link in ordered)

    moved = [link for link in found.moved if all(found.is_telling(n, word) for n, word in enumerate(link))]
    alone = [found.alone(int(is_swapped)), found.alone(1 - is_swapped)]
    return Partners(couples(found.best()), alone[0], alone[1], couples(found.clashes), couples(moved))


@dataclass(frozen=True, eq=False)
class _Alignment:
    """The links between the words of two texts, of three sorts found in turn; a word is in one at most."""

    sides: tuple[_Side, _Side]

    @cached_property
    def cosines(self) -> Float[np.ndarray, "n m"]:
        first, second = self.sides
        return np.asarray(np.clip(first.units @ second.units.T, -1, 1))

    @cached_property
    def named(self) -> tuple[set[int], set[int]]:
        """The words of each side that a rule names."""
        return _named_by_rules(*self.sides)

    @cached_property
    def is_same(self) -> Bool[np.ndarray, "n m"]:
        """Whether two words are the same, mean the same, or are one word in two spellings."""
        first, second = self.sides
        same = np.array([[a == b for b in second.keys] for a in first.keys], dtype=np.bool_).reshape(self.cosines.shape)
        alike = np.logical_and.outer(~same.any(1), ~same.any(0))  # a word that both texts have stands for itself
        alike[list(self.named[0])] = alike[:, list(self.named[1])] = False
        for i, j in np.argwhere(alike & (self.cosines < np.float32(SAME))):
            alike[i, j] = _is_respelt(first.keys[i], second.keys[j], first.pieces[i], second.pieces[j])
        return np.asarray(same | alike)

    @cached_property
    def in_order(self) -> list[Link]:
        """Partners that do not cross: as many as possible, the nearest ones, and of a repeated word the one nearer in place."""
        n, m = self.cosines.shape
        apart = np.abs(np.arange(n)[:, None] / max(n, 1) - np.arange(m) / max(m, 1))
        return _best_in_order(np.where(self.is_same, 1 + np.maximum(self.cosines, 0) - apart / 4, 0))

    @cached_property
    def moved(self) -> list[Link]:
        """Partners among the other words, nearest first."""
        free = [self._free(n, self.in_order) for n in (0, 1)]
        links = [(i, j) for i in free[0] for j in free[1] if self.is_same[i, j]]
        found: list[Link] = []
        for i, j in sorted(links, key=lambda link: (-self.cosines[link], link)):
            if all(i != taken[0] and j != taken[1] for taken in found):
                found.append((i, j))
        return found

    @cached_property
    def clashes(self) -> list[Link]:
        """Words without a partner between the same partners on both sides; then those that a rule names, wherever they are."""
        taken = self.in_order + self.moved
        free = [{word for word in self._free(n, taken) if not self._is_settled(n, word)} for n in (0, 1)]
        ends = (len(self.sides[0].shown), len(self.sides[1].shown))
        found: list[Link] = []
        for before, after in pairwise([(-1, -1), *self.in_order, ends]):
            found += self._clashing(*(free[n].intersection(range(before[n] + 1, after[n])) for n in (0, 1)))
        return found + self._clashing(*(self.named[n].intersection(self._free(n, taken + found)) for n in (0, 1)))

    def _clashing(self, here: set[int], there: set[int]) -> list[Link]:
        """The words of these that clash, in order. A common word clashes only if both words are single."""
        places = list(product(sorted(here), sorted(there)))
        is_single = len(places) == 1
        fit = np.zeros((len(here), len(there)))
        for place, (i, j) in zip(np.ndindex(fit.shape), places, strict=True):
            n_telling = self.is_telling(0, i) + self.is_telling(1, j)
            if not self._is_of_a_kind(i, j):
                continue
            if self.cosines[i, j] >= KIN and n_telling > (0 if is_single else 1):
                fit[place] = self.cosines[i, j]
            elif is_single and n_telling > 1:
                fit[place] = 1
        return [places[a * len(there) + b] for a, b in _best_in_order(fit)]

    def _is_of_a_kind(self, i: int, j: int) -> bool:
        """Whether both words are numbers, or neither is, or a rule names both."""
        are_named = i in self.named[0] and j in self.named[1]
        return are_named or _is_number(self.sides[0].keys[i]) == _is_number(self.sides[1].keys[j])

    def alone(self, n: int) -> tuple[str, ...]:
        """The words of a side that are in no link, and to which no word of the other side is near; each once."""
        side, other = self.sides[n], self.sides[1 - n]
        nearest, held = self.cosines.max(1 - n, initial=-1), other.unread.union(other.keys)
        found = []
        for word in self._free(n, self.in_order + self.moved + self.clashes):
            is_far = nearest[word] < NEAR and side.keys[word] not in held and not self._is_settled(n, word)
            if word in self.named[n] or (is_far and side.rarity[word] >= COMMON):
                found.append(side.shown[word])
        return tuple(dict.fromkeys(found))

    def best(self) -> list[Link]:
        """Each word's partner, or the word that it clashes with, or the nearest word of the other side."""
        links = self.in_order + self.moved + self.clashes
        if self.cosines.size:
            links = links + [(i, int(self.cosines[i].argmax())) for i in self._free(0, links)]
            links = links + [(int(self.cosines[:, j].argmax()), j) for j in self._free(1, links)]
        return links

    def is_telling(self, n: int, word: int) -> bool:
        """Whether a word is worth naming: it is not common, or a rule names it."""
        return self.sides[n].rarity[word] >= COMMON or word in self.named[n]

    def _is_settled(self, n: int, word: int) -> bool:
        """Whether a word is a number or a negation that the other text has too, in whatever words."""
        key = self.sides[n].keys[word]
        return word not in self.named[n] and bool(negations_of(key) or numbers_of(key))

    def _free(self, n: int, links: list[Link]) -> list[int]:
        taken = {link[n] for link in links}
        return [word for word in range(len(self.sides[n].shown)) if word not in taken]


def _named_by_rules(first: _Side, second: _Side) -> tuple[set[int], set[int]]:
    """The words of each side that a rule of `VETOES` names in its reason."""
    told: tuple[set[str], set[str]] = (set(), set())
    for rule in VETOES.values():
        _, _, reason = rule(first.text, second.text).partition(": ")
        for words, side in zip(told, reason.split(" | "), strict=False):
            words.update(filter(None, (_bare(_key(word)) for word in side.split())))
    return tuple(  # type: ignore[return-value]
        {n for n, key in enumerate(side.keys) if words and not words.isdisjoint(map(_bare, (key, *numbers_of(key))))}
        for side, words in zip((first, second), told, strict=True)
    )


def _is_number(key: str) -> bool:
    return key in NUMBER_WORDS or any(map(str.isdigit, key))


def _bare(key: str) -> str:
    return _AROUND.sub("", key)


def _best_in_order(fit: Float[np.ndarray, "n m"]) -> list[Link]:
    """The links that fit best in sum and do not cross (Needleman & Wunsch 1970, gaps cost nothing); where `fit` is 0, none."""
    n, m = fit.shape
    total = np.zeros((n + 1, m + 1))
    for i in range(n):
        total[i + 1, 1:] = np.maximum.accumulate(np.maximum(total[i, 1:], total[i, :-1] + fit[i]))
    links = []
    while n and m:
        if total[n, m] == total[n - 1, m]:
            n -= 1
        elif total[n, m] == total[n, m - 1]:
            m -= 1
        else:
            n, m = n - 1, m - 1
            links.append((n, m))
    return links[::-1]


def _is_respelt(one: str, other: str, *pieces: int) -> bool:
    """Whether two words are one in two spellings: contracted, an amount without its currency, or misspelt.

    Misspelt are words that differ in one letter or in the order of letters, if the encoder does not know both: a word in one
    piece is in the vocabulary, so "Ireland" is no "Iceland" with a wrong letter.
    """
    if (stem := _CONTRACTED.sub("", one)) and stem == _CONTRACTED.sub("", other):
        return True
    if _LETTERS.findall(one) == _LETTERS.findall(other) and numbers_of(one):
        return not any(difference("numbers", one, other))
    shorter, longer = sorted((one, other), key=len)
    if len(longer) < _LONG or len(longer) - len(shorter) > 1 or shorter[0] != longer[0]:
        return False
    if max(pieces) == 1 or not (one.isalpha() and other.isalpha()):
        return False
    same = next((place for place, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
    return shorter[same + (len(shorter) == len(longer)) :] == longer[same + 1 :] or Counter(one) == Counter(other)
