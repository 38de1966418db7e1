"""Why this score: what each word adds to it, by leaving the words out one by one, and the differences that matter.

The method is erasure (Li, Monroe & Jurafsky 2016, "Understanding neural networks through representation erasure",
arXiv:1612.08220): the contribution of a word is the score of the pair minus its score without the word. It asks the model itself
and nothing but the model, so it holds for every encoder and similarity. Left out on purpose: gradients, attention, and
interactions; where a text says a thing twice, leaving out either word changes little, and the contributions do not add up
to the score.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np

from textsiam.data.pairs import Pairs, fault_of_pair
from textsiam.data.texts import as_list
from textsiam.encoding.encoder import Progress
from textsiam.scoring.explaining.differences import Differences, differences
from textsiam.scoring.explaining.erasure import Word, erase
from textsiam.scoring.scorer import Scorer

logger = logging.getLogger("textsiam")

_GREEN, _RED, _STRONGEST = "22,163,74", "220,38,38", 0.55  # tints on which both black and white letters can be read
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Explanation:
    """Score, probability and decision of one pair, what each word adds to the score, and what only one text says.

    Parameters
    ----------
    first, second
        The two texts as they came.
    score
        NaN if a text is unusable; the pair then has no words and no differences.
    probability
        In [0, 1]; None if the model was never calibrated.
    decision
        ``accept``, ``review`` or ``reject``; None if no threshold was ever certified.
    words_first, words_second
        The words of each text in order.
    differences
        Numbers, negations and names that only one text has.

    Examples
    --------
    >>> first, second = (Word("pay", 0, 3, 0.5), Word("5", 4, 5, -0.25)), (Word("pay", 0, 3, float("nan")),)
    >>> print(Explanation("pay 5", "pay", 0.75, 0.5, "review", first, second, differences("pay 5", "pay")))
    score 0.7500, probability 0.50, review
      first   pay(+0.50) 5(-0.25)
      second  pay
      differ  numbers: 5 ≠ none
    """

    first: object
    second: object
    score: float
    probability: float | None
    decision: str | None
    words_first: tuple[Word, ...]
    words_second: tuple[Word, ...]
    differences: Differences

    @property
    def fault(self) -> str:
        """Why the pair has no score; empty if it has one."""
        return fault_of_pair(self.first, self.second)

    @property
    def verdict(self) -> str:
        """Score, probability and decision in one line."""
        if self.fault:
            return f"no score: {self.fault}" + (f", {self.decision}" if self.decision else "")
        probability = "" if self.probability is None else f", probability {self.probability:.2f}"
        return f"score {self.score:.4f}{probability}" + (f", {self.decision}" if self.decision else "")

    def __str__(self) -> str:
        """Lines for a terminal, without colour or control characters: each word with its contribution."""
        if self.fault:
            return self.verdict
        sides = (("first ", self.words_first), ("second", self.words_second))
        lines = [self.verdict, *(f"  {name}  {' '.join(map(_signed, words))}".rstrip() for name, words in sides)]
        if self.differences:
            lines.append(f"  differ  {visible(str(self.differences))}")
        return "\n".join(lines)

    def html(self) -> str:
        """A fragment of HTML: words tinted green where they bring the texts together, red and underlined where not.

        All text is escaped, styles are inline, and nothing is loaded from anywhere. Tints are relative to the strongest word of
        the pair; the contributions stand in tooltips.
        """
        sides = (self.first, self.words_first), (self.second, self.words_second)
        texts = [
            f'<div dir="auto" style="white-space:pre-wrap;overflow-wrap:anywhere">{self._tinted(text, words)}</div>'
            for text, words in sides
        ]
        told = f'<div style="opacity:.75">{_html(str(self.differences))}</div>' if self.differences else ""
        verdict = f'<div style="font-weight:600">{_html(self.verdict)}</div>'
        return f'<div style="line-height:1.7;margin:1em 0">{verdict}{"".join(texts)}{told}</div>'

    def _repr_html_(self) -> str:
        return self.html()

    def _tinted(self, text: object, words: Sequence[Word]) -> str:
        """The text as HTML, whitespace kept, each word in its tint."""
        largest = self.largest()
        parts, end = [], 0
        whole = text if isinstance(text, str) else ""
        for word in words:
            parts += [_html(whole[end : word.start]), _tinted_word(word, largest)]
            end = word.end
        return "".join([*parts, _html(whole[end:])])

    def largest(self) -> float:
        """The largest contribution of a word to the one or the other side, as a positive number; 0 if there is none."""
        words = self.words_first + self.words_second
        return max((abs(word.contribution) for word in words if not np.isnan(word.contribution)), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values: None for what is NaN, and for a text that is no string; undecodable characters as ``?``."""

        def words(of: Sequence[Word]) -> list[dict[str, Any]]:
            return [word._asdict() | {"contribution": _number(word.contribution)} for word in of]

        return {
            "first": _decodable(self.first),
            "second": _decodable(self.second),
            "score": _number(self.score),
            "probability": _number(self.probability),
            "decision": self.decision,
            "words_first": words(self.words_first),
            "words_second": words(self.words_second),
            "differences": self.differences.to_json(),
        }


def explain(
    model: Scorer,
    first: Iterable[object],
    second: Iterable[object],
    *,
    prompt: str | None = None,
    progress: Progress | None = None,
) -> list[Explanation]:
    """Why each pair has its score: one `Explanation` a pair, in the order given; for two strings, a list of one.

    A word is what stands between two whitespaces, punctuation included; in scripts without spaces, a character. It is left out
    whole, and the rest is encoded and compared anew: n words cost n texts to encode, all pairs together in large batches. The
    contribution is the score with the word minus that without: in [-2, 2] for cosine, mostly within ±0.3. Swapping the texts
    swaps the sides. In fp32 contributions are exact to 1e-5; in bf16 those below 1e-2 are noise.

    Of a text longer than the model reads, the words beyond the cut contribute 0, and leaving out a word before the cut lets the
    next one in; how many are cut is logged as a warning.

    Parameters
    ----------
    first, second
        Columns of texts, or two strings that make one pair. A pair with an unusable text (None, empty, only whitespace, no
        string) gets score NaN and no words, and is logged; the others do not suffer.
    prompt
        A prompt of the model by name, or the text put before each text; no word of it is left out.
    progress
        Called with (texts encoded, texts in all) now and then.

    Raises
    ------
    UnreadableInput
        If the columns differ in length, or one alone is a string.
    UnsupportedModel
        If the model has no prompt of that name.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> (told,) = explain(Siamese.load(), "How do I reset my password?", "How do I change my phone?")
    >>> max(told.words_first, key=lambda word: -word.contribution).text
    'password?'
    """
    if isinstance(first, str) and isinstance(second, str):
        first, second = [first], [second]
    first, second = as_list(first), as_list(second)
    pairs = Pairs.usable(first, second)
    if pairs.set_aside:
        logger.warning("%s; they have no explanation", pairs.set_aside)
    # What a word adds is less than what int8 blurs: it is asked of the finer encoder, and the score is that of `score`.
    rescorer = model.rescorer
    exact = replace(model, encoder=rescorer.encoder, rescorer=None) if rescorer else model
    erased = erase(exact, pairs, prompt=prompt, progress=progress)
    words = dict(zip(pairs.rows, ((one.first, one.second) for one in erased), strict=True))
    told = {row: differences(a, b) for row, a, b in zip(pairs.rows, pairs.first, pairs.second, strict=True)}
    scores = np.full(len(first), np.nan, dtype=np.float32)
    scores[np.array(pairs.rows, dtype=np.int64) - 1] = (
        model.score(pairs.first, pairs.second, prompt=prompt) if rescorer else [one.score for one in erased]
    )
    judged = model.judge(scores).columns(len(scores))
    return [
        Explanation(a, b, score, probability, decision, *words.get(row, ((), ())), told.get(row, differences("", "")))
        for row, (a, b, score, probability, decision) in enumerate(
            zip(first, second, scores.tolist(), *judged, strict=True), 1
        )
    ]


def visible(text: str) -> str:
    r"""The text in one line that a terminal cannot take for commands: whitespace as spaces, controls as U+FFFD.

    Examples
    --------
    >>> visible("red: \x1b[31m\n")
    'red: �[31m'
    """
    return " ".join(_CONTROLS.sub("\ufffd", text).split())


def _signed(word: Word) -> str:
    shown = visible(word.text)
    return shown if np.isnan(word.contribution) else f"{shown}({round(word.contribution, 2) + 0:+.2f})"


def _tinted_word(word: Word, largest: float) -> str:
    value = word.contribution
    if np.isnan(value):
        return f'<span title="nothing would remain without it">{_html(word.text)}</span>'
    tint = f"background-color:rgba({_GREEN if value > 0 else _RED},{_STRONGEST * abs(value) / max(largest, 1e-9):.2f})"
    line = ";text-decoration:underline dotted" if value < -largest / 10 else ""
    return f'<span style="{tint}{line};border-radius:.2em" title="{value:+.4f}">{_html(word.text)}</span>'


def _html(text: str) -> str:
    return escape(_CONTROLS.sub("\ufffd", text))


def _decodable(text: object) -> str | None:
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else None


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
