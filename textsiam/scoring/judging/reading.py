"""Pairs of texts, read by the judge: both texts encoded once, their tokens compared, in bounded memory.

Token vectors are kept in half precision, on disk where they would take more than `N_BYTES` of memory; so every road rounds them
alike, and one machine, an index and a cluster give the same log-odds (in fp32 to .002, which batches and threads cost).
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from textsiam.arrays import slices
from textsiam.encoding.encoder import Encoded, Encoder, Progress
from textsiam.encoding.token_vectors import TokenVectors
from textsiam.scoring.judging.callable_judge import CallableJudge
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.pair_blocks import Rows, Words
from textsiam.scoring.similarity import scores_of

N_TEXTS_AT_ONCE = 1_024
N_PAIRS_AT_ONCE = 16_384
N_BYTES = 2**28  # of token vectors in memory
N_KEPT_BYTES = 2**31  # of token vectors that a search keeps from its first pass; with more it reads again what it found
_CHARACTERS_A_TOKEN = 4  # in English; only for the estimate


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


class KnownTexts(NamedTuple):
    """Distinct texts that were read: their words in half precision, and what `Encoder.embed` gives."""

    texts: Sequence[str]
    words: Words
    encoded: Encoded

    def rows_of(self, texts: Sequence[str]) -> Rows:
        """Where these texts are among them."""
        places = {text: place for place, text in enumerate(self.texts)}
        return np.array([places[text] for text in texts], dtype=np.int64)


def read_texts_in(
    stack: ExitStack,
    encoder: Encoder,
    texts: Sequence[str],
    *,
    prompt: str | None = None,
    progress: Progress | None = None,
    in_memory: bool = False,
) -> KnownTexts:
    """Usable, distinct texts, read. Unless `in_memory`, words beyond `N_BYTES` lie in a file, which `stack` removes."""
    encoded = Encoded.blank(len(texts), encoder.dim)

    def parts() -> Iterator[TokenVectors]:
        for start in range(0, max(len(texts), 1), N_TEXTS_AT_ONCE):
            tokens = encoder.tokens(texts[start : start + N_TEXTS_AT_ONCE], prompt=prompt)
            stop = start + len(tokens)
            encoded.put(slice(start, stop), Encoded(tokens.embeddings, tokens.cut, tokens.unknown, tokens.lengths))
            yield tokens
            if progress:
                progress(stop, len(texts))

    if in_memory or len(texts) <= N_TEXTS_AT_ONCE:  # one part is in memory anyway
        return KnownTexts(texts, Words.of(parts(), np.float16), encoded)
    file = stack.enter_context(tempfile.TemporaryFile(prefix="textsiam-words-"))  # noqa: SIM115  the stack closes it
    return KnownTexts(texts, Words.of(parts(), np.float16, file=file, n_bytes=N_BYTES), encoded)


def may_keep(encoder: Encoder, texts: Sequence[str]) -> bool:
    """Whether the words of all these texts take at most `N_KEPT_BYTES`, by an estimate."""
    longest = encoder.folder.max_length
    n_tokens = sum(min(longest, 2 + len(text) // _CHARACTERS_A_TOKEN) for text in texts)
    return bool(2 * encoder.dim * n_tokens <= N_KEPT_BYTES)


def read(
    encoder: Encoder,
    judge: "Judge | CallableJudge",
    texts: Sequence[str],
    left: Rows,
    right: Rows,
    *,
    scores: Float[np.ndarray, " k"] | None = None,
    known: KnownTexts | None = None,
    prompt: str | None = None,
    progress: Progress | None = None,
) -> Reading:
    """The pairs of usable, distinct texts ``texts[left[i]]``, ``texts[right[i]]``, read; swapping the sides changes nothing.

    `scores` are their cosines, if they are known already; `known` has all texts, if they were read already.
    """
    # One order of the texts and of each pair, so that batches, blocks and rounding are the same whichever way they are given.
    order = sorted(range(len(texts)), key=texts.__getitem__)
    ranks = np.empty(len(texts), dtype=np.int64)
    ranks[order] = np.arange(len(texts))
    texts, left, right = [texts[row] for row in order], ranks[left], ranks[right]
    first, second = np.minimum(left, right), np.maximum(left, right)
    # Rows that repeat texts repeat their pairs.
    _, place, back = np.unique(first * len(texts) + second, return_index=True, return_inverse=True)
    first, second, total = first[place], second[place], len(place) + (0 if known else len(texts))
    follow = progress or (lambda *_: None)
    if isinstance(judge, CallableJudge):
        encoded = encoder.embed(texts, prompt=prompt)
        cosines = (
            scores_of("cosine", encoded.embeddings, encoded.embeddings, first, second)
            if scores is None
            else scores[place]
        )
        log_odds = judge([texts[row] for row in first.tolist()], [texts[row] for row in second.tolist()])
        return Reading(cosines, log_odds, encoded.cut[first] | encoded.cut[second]).take(back)
    with ExitStack() as stack:
        if known is None:
            known = read_texts_in(stack, encoder, texts, prompt=prompt, progress=lambda done, _: follow(done, total))
        else:
            rows = known.rows_of(texts)
            first, second = rows[first], rows[second]
        vectors = known.encoded.embeddings
        cosines = scores_of("cosine", vectors, vectors, first, second) if scores is None else scores[place]
        log_odds = np.empty(len(place), dtype=np.float32)
        for part in slices(len(place), N_PAIRS_AT_ONCE):
            log_odds[part] = judge.log_odds(cosines[part], known.words, first[part], second[part])
            follow(total - len(place) + part.stop, total)
        cut = known.encoded.cut[first] | known.encoded.cut[second]
        return Reading(cosines, log_odds, cut).take(back)
