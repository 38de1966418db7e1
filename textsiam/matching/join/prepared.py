"""Both sides of a join, checked and prepared: screens to find candidates, and exact scores to decide."""

import math
import sys
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from textsiam.arrays import Vectors, slices
from textsiam.matching.join.screens import SPARE, UNIT, Multiply, Screen, plain, sieve
from textsiam.scoring.similarity import EPSILON, SIMILARITIES, scores_of

Rows = Int[np.ndarray, " n"]
Lengths = Float[np.ndarray, " _"]
Others = Float[np.ndarray, "m other_dim"]

# Making a sieve takes 0.1 s. Importing torch takes 1.6 s: in that time NumPy multiplies this many pairs of short fp32 rows.
_PAIRS_FOR_SIEVE, _PAIRS_FOR_TORCH = 20_000_000, 2_000_000_000
_DIM_FOR_SIEVE = 32  # also, torch 2.13 gives wrong products for matrices with one int8 column
_MOST_DIM_FOR_INT8 = 100_000  # longer int8 products may not fit int32
_BLOCK = 256  # rows that fit a core's cache in fp64
# Products of longer rows may overflow: in fp32 for screens, in fp64 for exact cosines.
_LONGEST, _LONGEST_COSINE = 1e18, 1e150
# Rows with a length this close to 1 are not copied; the difference counts as an error. Encoders give such vectors.
_NEARLY_ONE = 1e-5


class Prepared(NamedTuple):
    """Two sets of vectors to join. Rows for screens are fp32 and, for cosine, of length 1."""

    first: Float[np.ndarray, "n dim"]  # as given
    second: Float[np.ndarray, "m dim"]
    left: Float[np.ndarray, "n dim"]  # for screens
    right: Float[np.ndarray, "m dim"]
    similarity: str
    own: bool  # within one set
    plain: Screen

    @classmethod
    def of(cls, vectors: Vectors, against: Others | None, similarity: str) -> "Prepared":
        """Checks the vectors and prepares them; ValueError if they cannot be joined."""
        vectors, against = np.asarray(vectors), None if against is None else np.asarray(against)
        if similarity not in SIMILARITIES:
            raise ValueError(f"There is no similarity {similarity!r}. Use one of {', '.join(SIMILARITIES)}.")
        second = vectors if against is None else against
        limit = _LONGEST_COSINE if similarity == "cosine" else _LONGEST
        lengths = _lengths(vectors, "vectors", limit)
        other_lengths = lengths if against is None else _lengths(second, "against", limit)
        if vectors.shape[1] != second.shape[1]:
            raise ValueError(
                f"Both sides need one dimension, but got {vectors.shape[1]} and {second.shape[1]}. Encode them with one model."
            )
        left, off = _prepared(vectors, lengths, similarity)
        right, other_off = (left, off) if against is None else _prepared(second, other_lengths, similarity)
        a, b = (1 + _NEARLY_ONE if similarity == "cosine" else _most(rows) for rows in (lengths, other_lengths))
        error = _error(left.shape[1], a, b, similarity) + 1.001 * (off + other_off)
        return cls(vectors, second, left, right, similarity, against is None, plain(left, right, similarity, error))

    @property
    def n_pairs(self) -> int:
        """How many pairs to compare."""
        n, m = len(self.left), len(self.right)
        return n * (n - 1) // 2 if self.own else n * m

    def screen(self, score: float | None) -> Screen:
        """The fastest screen that passes all pairs with `score` or more; for None, one with scores exact within its slack."""
        n_products = self.n_pairs if score is not None else len(self.left) * len(self.right)
        chosen = None
        if self.similarity == "cosine" and self.left.shape[1] >= _DIM_FOR_SIEVE and n_products >= _PAIRS_FOR_SIEVE:
            multiply = None
            wants_torch = "torch" in sys.modules or n_products >= _PAIRS_FOR_TORCH
            if wants_torch and self.left.shape[1] <= _MOST_DIM_FOR_INT8:
                multiply = _of_int8()
            chosen = sieve(self.left, self.right, self.plain.slack, score, multiply)
        return chosen or self.plain

    def lowest(self, threshold: float) -> float:
        """The lowest exact score (for Euclidean, negative square) that rounds to `threshold` or more in fp32."""
        # A score half a unit below the threshold still rounds up to it; a whole unit is safe.
        lowest = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
        # See similarity._negative_root.
        return -((EPSILON**0.5 - min(lowest, 0.0)) ** 2) if self.similarity == "euclidean" else lowest

    def near(self, i: Rows, j: Rows) -> Float[np.ndarray, " n"]:
        """The fp32 products of pairs, within the plain screen's slack of their cosines."""
        return np.asarray(np.einsum("ij,ij->i", self.left[i], self.right[j]))

    def scores(self, i: Rows, j: Rows) -> Float[np.ndarray, " n"]:
        """The exact scores of pairs: computed in fp64, rounded once to fp32."""
        return scores_of(self.similarity, self.first, self.second, i, j)


def _of_int8() -> Multiply | None:
    """Torch's int8 product; None without torch or without such a product."""
    try:
        from textsiam.matching.join import kernel
    except ImportError:
        return None
    return kernel.multiply if kernel.multiplies_int8() else None


def _lengths(rows: Vectors, name: str, limit: float) -> Lengths:
    """The rows' lengths in fp64; ValueError if rows are not finite or their products overflow."""
    lengths = np.empty(len(rows))
    with np.errstate(over="ignore", invalid="ignore"):
        for part in slices(len(rows), _BLOCK):
            block = rows[part].astype(np.float64)
            lengths[part] = np.sqrt(np.einsum("ij,ij->i", block, block))
    # A row with a finite length is finite; the length of a finite row may still overflow.
    suspects = np.flatnonzero(~np.isfinite(lengths))
    if bad := suspects[~np.isfinite(rows[suspects]).all(1)][:5].tolist():
        raise ValueError(f"{name} must be finite, but rows {bad} have NaN or infinity. Leave out unusable texts.")
    if (longest := _most(lengths)) > limit:
        raise ValueError(
            f"{name} have a row of length {longest:.3g}, whose products overflow. Scale both sides below {limit:g}."
        )
    return lengths


def _most(lengths: Lengths) -> float:
    return float(lengths.max(initial=0))


def _prepared(vectors: Vectors, lengths: Lengths, similarity: str) -> tuple[Vectors, float]:
    """fp32 rows (of length 1 for cosine), and the largest difference between a row and its exact value."""
    if similarity != "cosine":
        return vectors.astype(np.float32, copy=False), 0.0
    lengths = np.sqrt(lengths**2 + EPSILON)
    if vectors.dtype == np.float32 and (off := _most(np.abs(lengths - 1))) <= _NEARLY_ONE:
        return vectors, off
    rows = np.empty(vectors.shape, dtype=np.float32)
    for block in slices(len(vectors), _BLOCK):
        rows[block] = vectors[block] / lengths[block, None]
    return rows, UNIT


def _error(dim: int, a: float, b: float, similarity: str) -> float:
    """A bound on |fp32 − exact| for rows of length a and b at most.

    The error of an inner product of dim terms is at most (dim + spare)·u·‖a‖·‖b‖ (Higham 2002, § 3.1).
    """
    bound = (dim + SPARE) * UNIT
    if similarity == "euclidean":
        return 2 * bound * (a + b) ** 2 + 1e-11
    if similarity == "manhattan":
        return bound * math.sqrt(dim) * (a + b) + 1e-30  # fp32 rounds smaller numbers to 0
    return 2 * bound * a * b + 1e-11
