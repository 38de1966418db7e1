"""Explanations of a score: what each word adds to it, the differences that matter, and words without an equal partner.

The method is erasure (Li, Monroe & Jurafsky 2016, "Understanding neural networks through representation erasure",
arXiv:1612.08220): the contribution of a word is the score of the pair minus its score without the word. It needs only the
model's scores, so it works for every encoder and similarity. Left out on purpose: gradients, attention, and interactions. If a
text says a thing twice, leaving out either word changes little. Contributions do not add up to the score.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np

from textsiam.data.pairs import Pairs, fault_of_pair
from textsiam.data.texts import as_list
from textsiam.encoding.encoder import Progress
from textsiam.scoring.explaining.differences import Differences, differences
from textsiam.scoring.explaining.erasure import Word, erase
from textsiam.scoring.explaining.partners import Partners, partners_of
from textsiam.scoring.scorer import Column, Scorer

logger = logging.getLogger("textsiam")

_GREEN, _RED, _STRONGEST = "22,163,74", "220,38,38", 0.55  # black and white letters are both readable on these tints
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Explanation:
    """Score, probability and decision of one pair, what each word adds, and the differences of the two texts.

    Parameters
    ----------
    first, second
        The two texts as given.
    score
        NaN if a text is unusable; such a pair has no words and no differences.
    probability
        In [0, 1]; None if the model is not calibrated.
    decision
        ``accept``, ``review`` or ``reject``; None if the model has no threshold.
    words_first, words_second
        The words of each text in order.
    differences
        Numbers, negations and names that only one text has.
    reason
        Why the pair was not accepted although it scores high enough; None for all others.
    partners
        Which words clash, have no partner or moved; None for a pair with an unusable text, and where the model has no vectors of
        tokens or does not compare by cosine.

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
    reason: str | None = None
    partners: Partners | None = None

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
        decision = f", {self.decision}" if self.decision else ""
        return f"score {self.score:.4f}{probability}{decision}" + (f" ({visible(self.reason)})" if self.reason else "")

    @property
    def differing(self) -> str:
        """What differs, in one line: numbers, negations and names, then words that clash, have no partner or moved."""
        return "; ".join(visible(str(found)) for found in (self.differences, self.partners) if found)

    def __str__(self) -> str:
        """Lines for a terminal, without colour or control characters: each word with its contribution."""
        if self.fault:
            return self.verdict
        sides = (("first ", self.words_first), ("second", self.words_second))
        lines = [self.verdict, *(f"  {name}  {' '.join(map(_signed, words))}".rstrip() for name, words in sides)]
        if self.differing:
            lines.append(f"  differ  {self.differing}")
        return "\n".join(lines)

    def html(self) -> str:
        """An HTML fragment: green words bring the texts together, red underlined ones drive them apart.

        All text is escaped, styles are inline, and nothing is loaded. Tints are relative to the strongest word of the pair;
        tooltips show the contributions.
        """
        sides = (self.first, self.words_first), (self.second, self.words_second)
        texts = [
            f'<div dir="auto" style="white-space:pre-wrap;overflow-wrap:anywhere">{self._tinted(text, words)}</div>'
            for text, words in sides
        ]
        note = f'<div style="opacity:.75">{_html(self.differing)}</div>' if self.differing else ""
        verdict = f'<div style="font-weight:600">{_html(self.verdict)}</div>'
        return f'<div style="line-height:1.7;margin:1em 0">{verdict}{"".join(texts)}{note}</div>'

    def _repr_html_(self) -> str:
        return self.html()

    def _tinted(self, text: object, words: Sequence[Word]) -> str:
        """The text as HTML with each word in its tint; whitespace is kept."""
        largest = self.largest()
        parts, end = [], 0
        whole = text if isinstance(text, str) else ""
        for word in words:
            parts += [_html(whole[end : word.start]), _tinted_word(word, largest)]
            end = word.end
        return "".join([*parts, _html(whole[end:])])

    def largest(self) -> float:
        """The largest absolute contribution of a word; 0 if there is none."""
        words = self.words_first + self.words_second
        return max((abs(word.contribution) for word in words if not np.isnan(word.contribution)), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values: None for NaN and for a text that is not a string; undecodable characters become ``?``."""

        def words(of: Sequence[Word]) -> list[dict[str, Any]]:
            return [word._asdict() | {"contribution": _number(word.contribution)} for word in of]

        return {
            "first": _decodable(self.first),
            "second": _decodable(self.second),
            "score": _number(self.score),
            "probability": _number(self.probability),
            "decision": self.decision,
            "reason": self.reason,
            "words_first": words(self.words_first),
            "words_second": words(self.words_second),
            "differences": self.differences.to_json(),
            "partners": None if self.partners is None else self.partners.to_json(),
        }


def explain(
    model: Scorer, first: Column, second: Column, *, prompt: str | None = None, progress: Progress | None = None
) -> list[Explanation]:
    """Why each pair has its score: one `Explanation` per pair, in the order given; for two strings, a list of one.

    A word is all between two whitespaces, with its punctuation; in scripts without spaces, a character. Its contribution is the
    score with the word minus the score without it: in [-2, 2] for cosine, mostly within ±0.3. So n words cost n texts to encode;
    all pairs share large batches. Each text is encoded once more for the partners of its words (see
    `textsiam.scoring.explaining.partners`). Swapping the texts swaps the sides. In fp32 contributions are exact to 1e-5; in bf16
    those below 1e-2 are noise.

    The model cuts long texts. Words after the cut contribute 0, and leaving out a word before the cut lets the next one in. A
    warning logs how many pairs have such a text.

    Parameters
    ----------
    first, second
        Columns of texts, or two strings that make one pair. A pair with an unusable text (None, empty, only whitespace, not a
        string) gets score NaN and no words, and is logged.
    prompt
        The name of a prompt of the model, or a text to put before each text. Its words are not explained.
    progress
        Called with (texts encoded, all texts) from time to time.

    Raises
    ------
    UnreadableInput
        If the columns differ in length, or only one of them is a string.
    UnsupportedModel
        If the model has no prompt of that name.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> (why,) = explain(Siamese.load(), "How do I reset my password?", "How do I change my phone?")
    >>> max(why.words_first, key=lambda word: -word.contribution).text
    'password?'
    """
    if isinstance(first, str) and isinstance(second, str):
        first, second = [first], [second]
    first, second = as_list(first), as_list(second)
    pairs = Pairs.usable(first, second)
    if pairs.set_aside:
        logger.warning("%s; they have no explanation", pairs.set_aside)
    # int8 errors are larger than most contributions: the finer encoder explains; the score is that of `score`.
    rescorer = model.rescorer
    exact = replace(model, encoder=rescorer.encoder, rescorer=None) if rescorer else model
    erased = erase(exact, pairs, prompt=prompt, progress=progress)
    words = dict(zip(pairs.rows, ((one.first, one.second) for one in erased), strict=True))
    differing = {row: differences(a, b) for row, a, b in zip(pairs.rows, pairs.first, pairs.second, strict=True)}
    partners = dict(zip(pairs.rows, partners_of(exact, pairs, prompt=prompt), strict=True))
    scores = np.full(len(first), np.nan, dtype=np.float32)
    scores[np.array(pairs.rows, dtype=np.int64) - 1] = (
        model.score(pairs.first, pairs.second, prompt=prompt) if rescorer else [one.score for one in erased]
    )
    judged = model.judgement(first, second, scores=scores, prompt=prompt).columns()
    return [
        Explanation(
            a,
            b,
            score,
            probability,
            decision,
            *words.get(row, ((), ())),
            differing.get(row, differences("", "")),
            reason,
            partners.get(row),
        )
        for row, (a, b, score, probability, decision, reason) in enumerate(
            zip(first, second, scores.tolist(), *judged, strict=True), 1
        )
    ]


def visible(text: str) -> str:
    r"""The text in one line, safe for a terminal: whitespace becomes spaces, control characters become U+FFFD.

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
        return f'<span title="no text remains without it">{_html(word.text)}</span>'
    tint = f"background-color:rgba({_GREEN if value > 0 else _RED},{_STRONGEST * abs(value) / max(largest, 1e-9):.2f})"
    line = ";text-decoration:underline dotted" if value < -largest / 10 else ""
    return f'<span style="{tint}{line};border-radius:.2em" title="{value:+.4f}">{_html(word.text)}</span>'


def _html(text: str) -> str:
    return escape(_CONTROLS.sub("\ufffd", text))


def _decodable(text: object) -> str | None:
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else None


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
