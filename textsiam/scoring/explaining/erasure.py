"""Erasure: what each word adds to a score, from the score of the pair without that word.

A word is all between two whitespaces, with its punctuation. Scripts written without spaces (Chinese, Japanese, Thai, Lao, Khmer,
Burmese, Tibetan) have no short rule to find words. There each character is a word, with the marks and punctuation after it.
Left out: combinations of words (see `explanation`).
"""

import logging
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from textsiam.data.pairs import Pairs
from textsiam.data.texts import distinct, fault_of
from textsiam.encoding.encoder import Progress
from textsiam.scoring.scorer import Scorer

logger = logging.getLogger("textsiam")

# Texts encoded in one call: enough to fill the batches, and 12 MB of vectors at 384 dimensions.
N_TEXTS_A_BLOCK = 8_192
# Within a character class: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han.
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_CHARACTER = f"(?=\\w)[{UNSPACED}]"
_WORD = re.compile(f"{_CHARACTER}[^\\w\\s]*|(?:(?!{_CHARACTER})\\S)+")
_SPACED = re.compile(r"\S*[^\W_]\S*")

Span = tuple[int, int]


def spans_of(text: str) -> list[Span]:
    """Start and end of each word, in order. Each character is in exactly one word, except whitespace.

    Examples
    --------
    >>> spans_of("How  to pay?"), spans_of("如何付款？")
    ([(0, 3), (5, 7), (8, 12)], [(0, 1), (1, 2), (2, 3), (3, 5)])
    """
    return [found.span() for found in _WORD.finditer(text)]


def without(text: str, span: Span) -> str:
    """The text without this word, and without whitespace that would then be double or at an end.

    Examples
    --------
    >>> without("How to pay?", (4, 6)), without("How to pay?", (7, 11)), without("如何付款", (0, 1))
    ('How pay?', 'How to', '何付款')
    """
    before, after = text[: span[0]], text[span[1] :]
    if not before or before[-1].isspace():
        after = after.lstrip()
    return before + after if after else before.rstrip()


def clipped(text: str, n_words: int) -> str:
    """The text up to its n-th whitespace-separated word with a letter or digit; each such word has one token or more.

    Examples
    --------
    >>> clipped("How - to pay?", 2), clipped("How?", 2)
    ('How - to', 'How?')
    """
    for n, found in enumerate(_SPACED.finditer(text), 1):
        if n == n_words:
            return text[: found.end()]
    return text


class Word(NamedTuple):
    """A word, its place (``text[start:end]``), and what it adds to the score.

    The contribution is positive if the word brings the two texts together, negative if it drives them apart, and NaN if no text
    remains without it.
    """

    text: str
    start: int
    end: int
    contribution: float


class Erased(NamedTuple):
    """The score of a pair, the words of its two texts, and whether the model cuts one of them."""

    score: float
    first: tuple[Word, ...]
    second: tuple[Word, ...]
    is_cut: bool


class _Side(NamedTuple):
    """One text of a pair, the part of it that the model may read (its head), and the places of all its words."""

    text: str
    head: str
    spans: list[Span]

    def erased(self) -> list[str]:
        """The head without each of its words; ``""`` if no usable text remains."""
        texts = [without(self.head, span) for span in self.spans if span[1] <= len(self.head)]
        return ["" if fault_of(text) else text for text in texts]

    def words(self, score: float, erased: list[str], scores: Iterator[float]) -> tuple[Word, ...]:
        """The words with their contributions; takes one of `scores` for each usable text of `erased`."""
        contributions = [score - next(scores) if text else float("nan") for text in erased]
        contributions += [0.0] * (len(self.spans) - len(erased))  # beyond the head
        places = zip(self.spans, contributions, strict=True)
        return tuple(Word(self.text[start:end], start, end, contribution) for (start, end), contribution in places)


_Sides = tuple[_Side, _Side]


def erase(model: Scorer, pairs: Pairs, *, prompt: str | None = None, progress: Progress | None = None) -> list[Erased]:
    """For each pair its score and what each word adds, in the order of the pairs (see `explain`).

    Pairs are encoded in blocks of about `N_TEXTS_A_BLOCK` texts, so memory depends on the longest pair, not on all pairs.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> (erased,) = erase(Siamese.load(), Pairs(["pay now"], ["pay"]))
    >>> [word.contribution > 0 for word in erased.first]
    [True, False]
    """
    before = model.encoder.prompt_text(prompt)
    sides = [
        (_side(model, first, before), _side(model, second, before))
        for first, second in zip(pairs.first, pairs.second, strict=True)
    ]
    sizes = [2 + len(first.spans) + len(second.spans) for first, second in sides]
    n_texts = sum(sizes)
    erased: list[Erased] = []
    for start, stop in _blocks(sizes):
        n_before, n_here = sum(sizes[:start]), sum(sizes[start:stop])

        def report(done: int, of: int, n_before: int = n_before, n_here: int = n_here) -> None:
            if progress:
                progress(n_before + done * n_here // of, n_texts)

        erased += _erase_block(model, sides[start:stop], prompt, report)
    if cut := [row for row, one in zip(pairs.rows, erased, strict=True) if one.is_cut]:
        limit = model.encoder.folder.max_length
        logger.warning("%d pairs have a text cut at %d tokens: rows %s", len(cut), limit, cut[:10])
    return erased


def _erase_block(model: Scorer, block: list[_Sides], prompt: str | None, progress: Progress) -> list[Erased]:
    """The scores and words of a block; its texts, whole and without each word, are encoded in one call."""
    erased = [(first.erased(), second.erased()) for first, second in block]
    compared: list[tuple[str, str]] = []
    starts: list[int] = []
    for (first, second), (of_first, of_second) in zip(block, erased, strict=True):
        starts.append(len(compared))
        compared += [(first.text, second.text)]
        compared += [(text, second.text) for text in of_first if text]
        compared += [(first.text, text) for text in of_second if text]
    texts, places = distinct(chain.from_iterable(compared))
    scores, cut = model.score_rows(texts, places[::2], places[1::2], prompt=prompt, progress=progress)
    left = iter(scores.tolist())
    results = []
    for (first, second), (of_first, of_second), start in zip(block, erased, starts, strict=True):
        score = next(left)
        words = first.words(score, of_first, left), second.words(score, of_second, left)
        results.append(Erased(score, *words, bool(cut[start])))
    return results


def _side(model: Scorer, text: str, before: str) -> _Side:
    """One side. The head of a very long text is enough: without any one word it is still as long as the model reads."""
    head = clipped(text, model.encoder.folder.max_length + 1)
    if len(head) < len(text):
        tokens = model.encoder.tokenizer([before + text, before + head])
        whole, part = np.split(tokens.ids, tokens.ends[:1])
        if not np.array_equal(whole, part):  # a tokenizer that cuts on the left reads the tail
            head = text
    return _Side(text, head, spans_of(text))


def _blocks(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Start and stop of each block of pairs to encode together."""
    start = n_texts = 0
    for place, size in enumerate(sizes):
        if n_texts + size > N_TEXTS_A_BLOCK and place > start:
            yield start, place
            start, n_texts = place, 0
        n_texts += size
    if sizes:
        yield start, len(sizes)
