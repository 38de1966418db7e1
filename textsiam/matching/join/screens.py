"""Screens: cheap scores of whole blocks, below the exact score by at most a proven bound.

Pairs that pass a screen are scored again exactly, so a screen changes the speed of a join and never its result. There are two.
`plain` is one fp32 product over all dimensions, for any similarity. `sieve` multiplies short int8 rows, for cosine:

1. Keep a row's coordinates on the leading principal axes, and only the length of the rest. By Cauchy and Schwarz that length
   bounds the rest's product: the product of two short rows is at least that of the long ones.
2. Round to int8 with one unit for all rows. The length of what rounding removes is known, so Cauchy and Schwarz bound its
   effect on a product. The axes are rotated at random, because one large coordinate needs a coarse unit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int8

from textsiam.arrays import Others, Vectors, slices
from textsiam.scoring.similarity import SIMILARITIES

Multiply = Callable[[Any, Any, Any], object]  # (a (r, k), b (c, k), out (r, c)): out becomes a @ b.T

# fp32's rounding (half a unit in the last place), and spare terms for the few operations beside the sum.
UNIT, SPARE = 2.0**-24, 16
_LENGTHS = (64, 96, 128, 192, 256)  # lengths of short rows to try; shorter int8 products are no faster
_N_SHARES = 4  # coordinates for the length of the rest
_N_SAMPLE = 1_024  # rows that choose axes and length: the choice affects only the speed
_BLOCK = 8_192
# Nanoseconds measured on one core: to test an entry, to multiply a coordinate, to score another candidate.
_TEST_NS, _SCORE_NS, _MOST_NS = 0.1, 300.0, 7.0
_MULTIPLY_NS = {np.int8: 0.002, np.float32: 0.016}
_ROUNDED = 0.02  # the usual largest effect of rounding to int8 on a product of unit vectors


class Screen(NamedTuple):
    """Cheap scores of blocks: a pair's exact score is at most ``unit · entry + slack``."""

    fill: Callable[[slice, slice, Any], object]  # (rows, columns, out (r, c)) computes a block's entries
    dtype: type[Any]  # of the entries: np.float32 or np.int32
    unit: float
    slack: float

    def cutoff(self, score: Any) -> Any:
        """The lowest entry of a pair whose exact score is `score` or more; elementwise for an array."""
        least = (np.asarray(score, dtype=np.float64) - self.slack) / self.unit
        if self.dtype is np.int32:
            ends = np.iinfo(np.int32)
            return np.clip(np.floor(least), ends.min, ends.max).astype(np.int32)
        return np.nextafter(least.astype(np.float32), np.float32(-np.inf))


def plain(left: Vectors, right: Others, similarity: str, error: float) -> Screen:
    """All dimensions in fp32. Entries are scores (negative squares for Euclidean) within `error` of the exact ones."""

    def fill(rows: slice, columns: slice, out: Float[np.ndarray, "r c"]) -> None:
        a, b = left[rows], right[columns]
        if similarity == "manhattan":
            out[:] = SIMILARITIES["manhattan"].matrix(a, b)
            return
        np.matmul(a, b.T, out=out)
        if similarity == "euclidean":
            out *= 2
            out -= (a * a).sum(1)[:, None]
            out -= (b * b).sum(1)[None, :]

    return Screen(fill, np.float32, 1.0, error)


def sieve(left: Vectors, right: Others, error: float, score: float | None, multiply: Multiply | None) -> Screen | None:
    """A screen of short rows, at the fastest length that passes all pairs of `score` or more.

    None if nothing is faster than `plain`.

    Parameters
    ----------
    left, right
        fp32 rows of length 1 at most, except for rounding. Within one set, the same array twice.
    error
        How far an exact score can be above the product of these rows.
    score
        None keeps all coordinates: then every entry's score is within `slack` of the exact one, on both sides.
    multiply
        The int8 product. None: short rows stay fp32, for NumPy's product.
    """
    kind = np.float32 if multiply is None else np.int8
    axes = principal_axes(_drawn(left, 4))
    length = len(axes) if score is None else _best_length(left, right, axes, score, kind)
    if kind is np.float32 and length == len(axes):
        return None
    axes = _turned(axes[:, : n_leading(length, len(axes))])
    shrunk = shrinkage(axes)
    short = [shortened(rows, axes, length, shrunk) for rows in ([left] if right is left else [left, right])]
    longest = max(_longest(rows) for rows in short)
    error += shrunk
    if multiply is None:
        return _of_product(short, _multiply, np.float32, 1.0, error + (length + SPARE) * UNIT * longest**2)
    unit = float(np.float32(max(np.abs(rows).max(initial=0) for rows in short) / 127)) or 1.0
    rounded, lost = zip(*(_rounded(rows, unit) for rows in short), strict=True)
    taken = max(lost) * (2 * longest + max(lost))  # |ab − a'b'| ≤ |a − a'|·|b| + |a|·|b − b'| + |a − a'|·|b − b'|
    return _of_product(list(rounded), multiply, np.int32, unit**2, error + taken + SPARE * UNIT)


def principal_axes(rows: Vectors) -> Float[np.ndarray, "dim dim"]:
    """Orthonormal columns; the rows' coordinates are largest on the first ones."""
    return np.ascontiguousarray(np.linalg.eigh(rows.T @ rows)[1][:, ::-1])


def _turned(axes: Float[np.ndarray, "dim k"]) -> Float[np.ndarray, "dim k"]:
    """Random other axes of the same subspace, on which coordinates have similar sizes."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(axes.shape[1], axes.shape[1])))[0]
    return np.asarray(axes @ turn.astype(np.float32))


def n_leading(length: int, dim: int) -> int:
    """How many entries of a short row are coordinates; the others hold the length of the rest."""
    return length if length == dim else length - _N_SHARES


def shortened(
    rows: Vectors, axes: Float[np.ndarray, "dim k"], length: int, shrunk: float
) -> Float[np.ndarray, "n length"]:
    """Coordinates on the axes; then the length of the rest, in equal shares so that no entry is large."""
    leading = axes.shape[1]
    short = np.empty((len(rows), length), dtype=np.float32)
    for block in slices(len(rows), _BLOCK):
        # For one row, do not start OpenBLAS's threads: they stay busy afterwards.
        coordinates = np.einsum("ij,jk->ik", rows, axes) if len(rows) == 1 else rows[block] @ axes
        short[block, :leading] = coordinates
        if length > leading:
            rest = np.einsum("ij,ij->i", rows[block], rows[block]) - np.einsum("ij,ij->i", coordinates, coordinates)
            short[block, leading:] = np.sqrt((np.maximum(rest, 0) + np.float32(shrunk)) / (length - leading))[:, None]
    return short


def shrinkage(axes: Float[np.ndarray, "dim k"]) -> float:
    """A bound on the error of coordinates' products and squares: axes are only nearly orthonormal, and fp32 rounds.

    With axes A and AᵀA = I + S, coordinates xA stand for x(A(I + S)^½⁻). So the error of xA·yA is at most |S|/(1 − |S|). That
    of a computed row of coordinates is at most (dim + spare)·u·|x|·|A| (Higham 2002, § 3.5).
    """
    exact = axes.astype(np.float64)
    skew = float(np.linalg.norm(exact.T @ exact - np.eye(exact.shape[1])))
    rounding = (len(exact) + SPARE) * UNIT * (float(np.linalg.norm(exact)) + 1)  # the 1 is for the rest's squares
    return 1.01 * (skew + 2 * rounding + rounding**2)


def _rounded(rows: Vectors, unit: float) -> tuple[Int8[np.ndarray, "n dim"], float]:
    """Rows in multiples of the unit, and the largest length that rounding removes from a row."""
    rounded, lost = np.empty(rows.shape, dtype=np.int8), 0.0
    for block in slices(len(rows), _BLOCK):
        whole = np.clip(np.rint(rows[block] / np.float32(unit)), -127, 127)
        rounded[block] = whole
        lost = max(lost, _longest(rows[block] - whole * np.float32(unit)))
    return rounded, lost


def _best_length(
    left: Vectors, right: Others, axes: Float[np.ndarray, "dim dim"], score: float, kind: type[Any]
) -> int:
    """The length with the least time for products and candidates together, estimated on a sample."""
    dim = len(axes)
    a, b = np.array_split(_drawn(left, 2), 2) if left is right else (_drawn(left, 1), _drawn(right, 1))
    least = score - (_ROUNDED if kind is np.int8 else 0.0)

    def cost(length: int) -> float:
        leading = axes[:, : n_leading(length, dim)]
        entries = shortened(a, leading, length, 0.0) @ shortened(b, leading, length, 0.0).T
        share = float(np.mean(entries >= least))
        return _TEST_NS + _MULTIPLY_NS[kind] * length + min(share * _SCORE_NS, _MOST_NS)

    return min([*(length for length in _LENGTHS if length < dim), dim], key=cost)


def _of_product(short: list[Any], multiply: Multiply, dtype: type[Any], unit: float, slack: float) -> Screen:
    a, b = short[0], short[-1]
    return Screen(lambda rows, columns, out: multiply(a[rows], b[columns], out), dtype, unit, slack)


def _multiply(a: Vectors, b: Others, out: Float[np.ndarray, "n m"]) -> None:
    np.matmul(a, b.T, out=out)


def _drawn(rows: Vectors, n_samples: int) -> Others:
    return rows[np.random.default_rng(0).choice(len(rows), min(n_samples * _N_SAMPLE, len(rows)), replace=False)]


def _longest(rows: Vectors) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64).max(initial=0)))
