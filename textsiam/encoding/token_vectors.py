"""The vectors of the tokens of texts, from the same forward pass as the embeddings, and where each token stands in its text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """The tokens of n texts, one after another: vectors, ids, places in the text; and the embeddings of the texts.

    Parameters
    ----------
    vectors
        (total, dim) fp32: the last layer's hidden state of each token, before pooling; special tokens and the prompt included.
    ids
        (total,) int32: the tokens' ids in the vocabulary.
    spans
        (total, 2) int32: first character and the character after the last, in the text as given. Both are 0 for special
        tokens, for tokens of the prompt, and for what the tokenizer adds.
    ends
        (n,) int64: where the tokens of each text end. A text without usable content has none.
    embeddings
        (n, dim) fp32: what `Encoder.encode` gives, pooled from these vectors.
    cut
        (n,): whether the text has more tokens than the model reads.
    unknown
        (n,): whether the text has characters that the model does not know.

    Examples
    --------
    >>> from textsiam.encoding.encoder import Encoder
    >>> tokens = Encoder.load().tokens(["How do I pay?"])
    >>> ["How do I pay?"[start:end] for start, end in tokens.spans[tokens.words]]
    ['How', 'do', 'I', 'pay', '?']
    """

    vectors: Float[np.ndarray, "total dim"]
    ids: Int[np.ndarray, " total"]
    spans: Int[np.ndarray, "total 2"]
    ends: Int[np.ndarray, " n"]
    embeddings: Float[np.ndarray, "n dim"]
    cut: Bool[np.ndarray, " n"]
    unknown: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.ends)

    @cached_property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Number of tokens of each text."""
        return np.diff(self.ends, prepend=0)

    @cached_property
    def words(self) -> Bool[np.ndarray, " total"]:
        """Which tokens stand for characters of their text: neither special tokens nor the prompt."""
        return self.spans[:, 1] > self.spans[:, 0]

    def of(self, row: int) -> slice:
        """The tokens of one text."""
        return slice(int(self.ends[row] - self.lengths[row]), int(self.ends[row]))

    def __getitem__(self, rows: slice) -> "TokenVectors":
        """These texts, one after another."""
        start, stop, _ = rows.indices(len(self))
        first = int(self.ends[start - 1]) if start else 0
        last = int(self.ends[stop - 1]) if stop > start else first
        columns = {name: getattr(self, name)[first:last] for name in ("vectors", "ids", "spans")}
        columns |= {name: getattr(self, name)[start:stop] for name in ("embeddings", "cut", "unknown")}
        return TokenVectors(**columns, ends=self.ends[start:stop] - first)

    def among(self, n: int, rows: Sequence[int]) -> "TokenVectors":
        """These texts as the given rows of `n`; the others have no tokens and NaN as their embedding."""
        lengths, (cut, unknown) = np.zeros(n, dtype=np.int64), np.zeros((2, n), dtype=np.bool_)
        embeddings = np.full((n, self.embeddings.shape[1]), np.nan, dtype=np.float32)
        lengths[rows], embeddings[rows], cut[rows], unknown[rows] = (
            self.lengths,
            self.embeddings,
            self.cut,
            self.unknown,
        )
        return TokenVectors(self.vectors, self.ids, self.spans, lengths.cumsum(), embeddings, cut, unknown)


def joined(parts: Sequence[TokenVectors]) -> TokenVectors:
    """The texts of all parts, one after another. There is at least one part."""
    if len(parts) == 1:
        return parts[0]
    names = ("vectors", "ids", "spans", "embeddings", "cut", "unknown")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return TokenVectors(**columns, ends=np.concatenate([part.lengths for part in parts]).cumsum())
