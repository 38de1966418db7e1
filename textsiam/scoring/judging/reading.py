"""Pairs of texts, read by the judge: both texts encoded once, their tokens compared, in bounded memory.

Token vectors are kept in half precision, on disk where they would take more than `N_BYTES` of memory; so every road rounds them
alike, and one machine, an index and a cluster give the same log-odds (in fp32 to .002, which batches and threads cost).
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from textsiam.encoding.encoder import Encoder, Progress
from textsiam.encoding.token_vectors import TokenVectors
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.pair_blocks import Rows, Words
from textsiam.scoring.similarity import scores_of

N_TEXTS_AT_ONCE = 1_024
N_PAIRS_AT_ONCE = 16_384
N_BYTES = 2**28  # of token vectors in memory


class Reading(NamedTuple):
    """What was read of some pairs.

    Parameters
    ----------
    score
        (k,) fp32: the similarity of the embeddings; NaN where a text was unusable.
    log_odds
        (k,) fp32: the judge's, that both texts mean the same; NaN where they were not read. None: there is no judge.
    cut
        (k,) whether a text was cut at the model's maximum length.
    """

    score: Float[np.ndarray, " k"]
    log_odds: Float[np.ndarray, " k"] | None
    cut: Bool[np.ndarray, " k"]

    @property
    def deciding(self) -> Float[np.ndarray, " k"]:
        """What probabilities and decisions are made of: the log-odds if there is a judge, else the score."""
        return self.score if self.log_odds is None else self.log_odds

    def take(self, rows: Rows) -> "Reading":
        """The reading of these pairs, in this order."""
        return Reading(self.score[rows], None if self.log_odds is None else self.log_odds[rows], self.cut[rows])

    def among(self, n: int, rows: Rows) -> "Reading":
        """These pairs as the given rows of `n`; of the others nothing was read."""
        score, cut = np.full(n, np.nan, dtype=np.float32), np.zeros(n, dtype=np.bool_)
        score[rows], cut[rows] = self.score, self.cut
        log_odds = None if self.log_odds is None else np.full(n, np.nan, dtype=np.float32)
        if log_odds is not None:
            log_odds[rows] = self.log_odds
        return Reading(score, log_odds, cut)


class ReadTexts(NamedTuple):
    """The words of n texts, their embeddings, and which were cut."""

    words: Words
    embeddings: Float[np.ndarray, "n dim"]
    cut: Bool[np.ndarray, " n"]


def read_texts_in(
    stack: ExitStack,
    encoder: Encoder,
    texts: Sequence[str],
    *,
    prompt: str | None = None,
    progress: Progress | None = None,
) -> ReadTexts:
    """The words of usable texts, in half precision; what does not fit into memory lies in a file that `stack` removes."""
    embeddings, cut = np.empty((len(texts), encoder.dim), dtype=np.float32), np.zeros(len(texts), dtype=np.bool_)

    def parts() -> Iterator[TokenVectors]:
        for start in range(0, max(len(texts), 1), N_TEXTS_AT_ONCE):
            tokens = encoder.tokens(texts[start : start + N_TEXTS_AT_ONCE], prompt=prompt)
            stop = start + len(tokens)
            embeddings[start:stop], cut[start:stop] = tokens.embeddings, tokens.cut
            yield tokens
            if progress:
                progress(stop, len(texts))

    file = stack.enter_context(tempfile.TemporaryFile(prefix="textsiam-words-"))  # noqa: SIM115  the stack closes it
    return ReadTexts(Words.of(parts(), np.float16, file=file, n_bytes=N_BYTES), embeddings, cut)


def read(
    encoder: Encoder,
    judge: Judge,
    texts: Sequence[str],
    left: Rows,
    right: Rows,
    *,
    scores: Float[np.ndarray, " k"] | None = None,
    prompt: str | None = None,
    progress: Progress | None = None,
) -> Reading:
    """The pairs of usable, distinct texts ``texts[left[i]]``, ``texts[right[i]]``, read; swapping the sides changes nothing.

    `scores` are their cosines, if they are known already.
    """
    _, place, back = np.unique(np.stack([left, right]), axis=1, return_index=True, return_inverse=True)
    if len(place) < len(left):  # rows that repeat texts repeat their pairs
        how: dict[str, Any] = dict(scores=None if scores is None else scores[place], prompt=prompt, progress=progress)
        return read(encoder, judge, texts, left[place], right[place], **how).take(back)
    with ExitStack() as stack:
        known = read_texts_in(stack, encoder, texts, prompt=prompt, progress=progress)
        ranks = np.empty(len(texts), dtype=np.int64)  # one order for each pair, so that rounding is the same either way
        ranks[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
        first, second = (np.where(ranks[left] <= ranks[right], *both) for both in ((left, right), (right, left)))
        if scores is None:
            scores = scores_of("cosine", known.embeddings, known.embeddings, first, second)
        log_odds = np.empty(len(left), dtype=np.float32)
        for start in range(0, len(left), N_PAIRS_AT_ONCE):
            part = slice(start, start + N_PAIRS_AT_ONCE)
            log_odds[part] = judge.log_odds(scores[part], known.words, first[part], second[part])
        return Reading(scores, log_odds, known.cut[left] | known.cut[right])
