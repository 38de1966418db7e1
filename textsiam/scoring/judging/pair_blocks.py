"""Pairs of texts as padded blocks of tokens: what alignment and the judge's network compute on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from textsiam.arrays import product
from textsiam.encoding.token_vectors import TokenVectors
from textsiam.encoding.tokenizing import places_of

N_CELLS = 131_072  # similarities between tokens that a block may hold, with padding

Rows = Int[np.ndarray, " k"]
Rarity = Float[np.ndarray, " vocabulary"]


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a block of pairs: the words' tokens of each text, without special tokens and prompt, padded on the right.

    `units` are their vectors, scaled to length 1, and 0 at padding; `ids` are -1 there. `weights` say how rare each token is,
    and are 0 at padding.
    """

    units: Float[np.ndarray, "b length dim"]
    ids: Int[np.ndarray, "b length"]
    weights: Float[np.ndarray, "b length"]

    @cached_property
    def mask(self) -> Bool[np.ndarray, "b length"]:
        """Where tokens are."""
        return np.asarray(self.ids >= 0)

    @cached_property
    def n(self) -> Int[np.ndarray, " b"]:
        """Number of tokens of each text; at least 1, so that it may divide."""
        return np.asarray(np.maximum(self.mask.sum(1), 1))

    @cached_property
    def shares(self) -> Float[np.ndarray, "b length"]:
        """The weights of each text's tokens as shares of their sum."""
        return np.asarray(self.weights / np.maximum(self.weights.sum(1, keepdims=True), 1e-9))


@dataclass(frozen=True, eq=False)
class Block:
    """Some pairs: their rows among all pairs, both sides, and the cosine of each token with each token of the other side."""

    rows: Rows
    left: Side
    right: Side

    @cached_property
    def cosines(self) -> Float[np.ndarray, "b n m"]:
        """-1 where one of the two is padding."""
        both = self.left.mask[:, :, None] & self.right.mask[:, None, :]
        return np.where(both, product(self.left.units, self.right.units.transpose(0, 2, 1)), np.float32(-1))

    @cached_property
    def same(self) -> Bool[np.ndarray, "b n m"]:
        """Whether the two tokens are the same word piece."""
        return np.asarray((self.left.ids[:, :, None] == self.right.ids[:, None, :]) & self.left.mask[:, :, None])


@dataclass(frozen=True, eq=False)
class Words:
    """The tokens of n texts that stand for their words, one text after another: ids, and vectors scaled to length 1."""

    ids: Int[np.ndarray, " total"]
    units: Float[np.ndarray, "total dim"]
    ends: Int[np.ndarray, " n"]

    @classmethod
    def of(
        cls,
        parts: Iterable[TokenVectors],
        dtype: type[np.floating[Any]] = np.float32,
        file: IO[bytes] | None = None,
        n_bytes: int = 0,
    ) -> "Words":
        """The words of all texts of these parts, with vectors of this dtype: half precision halves the memory.

        With a file, vectors go there once they take more than `n_bytes`, and are read from there.
        """
        ids, held, lengths, dim = [], [], [], 0
        for tokens in parts:
            kept, counted = tokens.words, np.concatenate([[0], tokens.words.cumsum()])
            vectors = tokens.vectors[kept]
            dim = vectors.shape[1]
            ids.append(tokens.ids[kept])
            held.append((vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(dtype))
            lengths.append(np.diff(counted[tokens.ends], prepend=0))
            if file is not None and (file.tell() or sum(part.nbytes for part in held) > n_bytes):
                file.writelines(part.tobytes() for part in held)
                held = []
        if file is not None and file.tell():
            file.flush()
            units: np.ndarray = np.memmap(file, dtype, "r", shape=(sum(map(len, ids)), dim))
        else:
            units = np.concatenate(held)
        return cls(np.concatenate(ids), units, np.concatenate(lengths).cumsum())

    @cached_property
    def n(self) -> Int[np.ndarray, " n"]:
        """Number of tokens of each text."""
        return np.diff(self.ends, prepend=0)

    def side(self, texts: Rows, rarity: Rarity) -> Side:
        """These texts, padded to the longest of them; to one token if all are empty."""
        n = self.n[texts]
        mask = np.arange(max(1, n.max(initial=0))) < n[:, None]
        places = places_of(self.ends[texts], n)
        units = np.zeros((*mask.shape, self.units.shape[1]), dtype=np.float32)
        ids, weights = np.full(mask.shape, -1, dtype=np.int32), np.zeros(mask.shape, dtype=np.float32)
        units[mask], ids[mask] = self.units[places], self.ids[places]
        weights[mask] = rarity[np.minimum(ids[mask], len(rarity) - 1)]
        return Side(units, ids, weights)

    def block(self, rows: Rows, left: Rows, right: Rows, rarity: Rarity) -> Block:
        """The pairs ``left[i]``, ``right[i]``, which are `rows` among all pairs."""
        return Block(rows, self.side(left, rarity), self.side(right, rarity))


def blocks(words: Words, left: Rows, right: Rows, rarity: Rarity) -> Iterator[Block]:
    """All pairs of texts ``left[i]``, ``right[i]``, in blocks of similar lengths.

    `rarity` has a weight for each token id; ids beyond it get that of the last.
    """
    longest, shortest = np.maximum(words.n[left], words.n[right]), np.minimum(words.n[left], words.n[right])
    order = np.lexsort((shortest, longest))
    start = 0
    while start < len(order):
        # Pairs are sorted by their longer text: the last one of a block says how wide the block is.
        ahead = np.maximum(longest[order[start : start + N_CELLS]], 1)
        size = max(1, int(np.searchsorted(np.arange(1, len(ahead) + 1) * ahead**2, N_CELLS, side="right")))
        rows = order[start : start + size]
        yield words.block(rows, left[rows], right[rows], rarity)
        start += size
