"""The words of a text with their places, and the text without one of them.

A word here is what can be taken out: all between two whitespaces, punctuation included. Scripts written without spaces
(Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) have no such words and no short rule to find them, so each character, with
the marks and punctuation after it, counts as one.
"""

import re

# Within a character class: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han.
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_CHARACTER = f"(?=\\w)[{UNSPACED}]"
_WORD = re.compile(f"{_CHARACTER}[^\\w\\s]*|(?:(?!{_CHARACTER})\\S)+")
_SPACED = re.compile(r"\S*[^\W_]\S*")

Span = tuple[int, int]


def spans_of(text: str) -> list[Span]:
    """Start and end of each word, in order: they hold every character that is no whitespace, each once.

    Examples
    --------
    >>> spans_of("How  to pay?"), spans_of("如何付款？")
    ([(0, 3), (5, 7), (8, 12)], [(0, 1), (1, 2), (2, 3), (3, 5)])
    """
    return [found.span() for found in _WORD.finditer(text)]


def without(text: str, span: Span) -> str:
    """The text without this word, and without the whitespace that would then stand double or at an end.

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
    """The text up to its n-th word between whitespaces that has a letter or a digit: each is one token or more.

    Examples
    --------
    >>> clipped("How - to pay?", 2), clipped("How?", 2)
    ('How - to', 'How?')
    """
    for n, found in enumerate(_SPACED.finditer(text), 1):
        if n == n_words:
            return text[: found.end()]
    return text
