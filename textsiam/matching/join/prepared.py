"""Both sides of a join, checked and made ready: screens to find candidates with, the exact score to judge them by."""

import math
import sys
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from textsiam.arrays import Vectors
from textsiam.matching.join.screens import SPARE, UNIT, Multiply, Screen, plain, sieve
from textsiam.scoring.similarity import EPSILON, SIMILARITIES

Rows = Int[np.ndarray, " n"]
Lengths = Float[np.ndarray, " _"]
Others = Float[np.ndarray, "m other_dim"]

# A sieve takes 0.1 s to make. Importing torch takes 1.6 s, in which NumPy's product of short fp32 rows compares this many.
_PAIRS_FOR_SIEVE, _PAIRS_FOR_TORCH = 20_000_000, 2_000_000_000
_DIM_FOR_SIEVE = 32  # and torch 2.13 multiplies matrices of one int8 column wrongly
_MOST_DIM_FOR_INT8 = 100_000  # products of more int8 may not fit int32
_BLOCK = 256  # rows that fit a core's cache in fp64
# Products of longer rows may overflow: fp32's in screens; fp64's in exact cosines.
_LONGEST, _LONGEST_COSINE = 1e18, 1e150
# Within this of 1 a row's length is left as it is, and the difference counted as an error: no copy of encoders' vectors.
_NEARLY_ONE = 1e-5


class Prepared(NamedTuple):
    """Two sets of vectors to be joined. Rows for screens are fp32 and, for cosine, of length 1."""

    first: Float[np.ndarray, "n dim"]  # as given
    second: Float[np.ndarray, "m dim"]
    left: Float[np.ndarray, "n dim"]  # for screens
    right: Float[np.ndarray, "m dim"]
    similarity: str
    own: bool  # within one set
    plain: Screen

    @classmethod
    def of(cls, vectors: Vectors, against: Others | None, similarity: str) -> "Prepared":
        """Refuses what cannot be joined, before any work."""
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
        """Pairs to compare."""
        n, m = len(self.left), len(self.right)
        return n * (n - 1) // 2 if self.own else n * m

    def screen(self, score: float | None) -> Screen:
        """The fastest screen that lets all pairs from `score` up pass; None: one that tells scores within its slack."""
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
        """What an exact score, for Euclidean a negative square, reaches if it is to round to `threshold` or more in fp32."""
        # Half a unit below the threshold a score still rounds up to it; a whole unit is safe.
        lowest = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
        # See similarity._negative_root.
        return -((EPSILON**0.5 - min(lowest, 0.0)) ** 2) if self.similarity == "euclidean" else lowest

    def near(self, i: Rows, j: Rows) -> Float[np.ndarray, " n"]:
        """Products of pairs in fp32, within the plain screen's slack of their cosines."""
        return np.asarray(np.einsum("ij,ij->i", self.left[i], self.right[j]))

    def scores(self, i: Rows, j: Rows) -> Float[np.ndarray, " n"]:
        """The exact scores of pairs: fp64, rounded once to fp32."""
        paired = SIMILARITIES[self.similarity].paired
        return np.asarray(paired(self.first[i].astype(np.float64), self.second[j].astype(np.float64)), dtype=np.float32)


def _of_int8() -> Multiply | None:
    """Torch's product of int8, where there is torch and it has one."""
    try:
        from textsiam.matching.join import kernel
    except ImportError:
        return None
    return kernel.multiply if kernel.multiplies_int8() else None


def _lengths(rows: Vectors, name: str, limit: float) -> Lengths:
    """The rows' lengths in fp64; ValueError where products of these rows mean nothing."""
    lengths = np.empty(len(rows))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK].astype(np.float64)
            lengths[start : start + _BLOCK] = np.sqrt(np.einsum("ij,ij->i", block, block))
    # A finite row's length may overflow, but only a finite row's length is finite.
    suspects = np.flatnonzero(~np.isfinite(lengths))
    if bad := suspects[~np.isfinite(rows[suspects]).all(1)][:5].tolist():
        raise ValueError(f"{name} must be finite, but rows {bad} hold NaN or infinity. Leave out unusable texts.")
    if (longest := _most(lengths)) > limit:
        raise ValueError(
            f"{name} hold a row of length {longest:.3g}, whose products overflow. Scale both sides down, below {limit:g}."
        )
    return lengths


def _most(lengths: Lengths) -> float:
    return float(lengths.max(initial=0))


def _prepared(vectors: Vectors, lengths: Lengths, similarity: str) -> tuple[Vectors, float]:
    """fp32 rows, for cosine of length 1, and how far one is at most from what it stands for."""
    if similarity != "cosine":
        return vectors.astype(np.float32, copy=False), 0.0
    lengths = np.sqrt(lengths**2 + EPSILON)
    if vectors.dtype == np.float32 and (off := _most(np.abs(lengths - 1))) <= _NEARLY_ONE:
        return vectors, off
    rows = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        rows[block] = vectors[block] / lengths[block, None]
    return rows, UNIT


def _error(dim: int, a: float, b: float, similarity: str) -> float:
    """A bound on |fp32 − exact| for rows up to lengths a and b.

    An inner product of dim terms errs by at most (dim + spare)·u·‖a‖·‖b‖ (Higham 2002, § 3.1).
    """
    bound = (dim + SPARE) * UNIT
    if similarity == "euclidean":
        return 2 * bound * (a + b) ** 2 + 1e-11
    if similarity == "manhattan":
        return bound * math.sqrt(dim) * (a + b) + 1e-30  # what fp32 holds of less is 0
    return 2 * bound * a * b + 1e-11
