"""The exact joins: every pair that reaches a threshold, and no other; the k closest. Block by block in bounded memory.

A tile of the score matrix is computed in fp32 as one matrix product and compared with the threshold less a proven bound of
its rounding error; the few pairs that pass are scored again in fp64, rounded once to fp32 and compared for good. So the
result does not depend on block sizes, threads or the BLAS in use: the same vectors give the same matches.

This is the reference that faster searchers are tested against.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from textsiam.errors import TooManyMatches
from textsiam.matching.matches import Matches
from textsiam.scoring.similarity import EPSILON, SIMILARITIES

Rows = Int[np.ndarray, " n"]
Vectors = Float[np.ndarray, "n dim"]
Progress = Callable[[int, int], None]

MAX_MATCHES = 20_000_000
# Rounding of fp32 (half a unit in the last place) and room for the few operations beside the sum.
_UNIT, _SPARE = 2.0**-24, 16
# Rows and columns of the largest tile: beyond it a matrix product gains nothing and caches lose.
_MAX_SIDE = 2_048


def threshold_join(
    vectors: Vectors,
    against: Float[np.ndarray, "m other_dim"] | None = None,
    *,
    threshold: float,
    similarity: str = "cosine",
    max_memory_mb: int = 256,
    max_matches: int = MAX_MATCHES,
    progress: Progress | None = None,
) -> Matches:
    """Every pair of rows whose score is at least `threshold`, and no other.

    Parameters
    ----------
    vectors
        (n, dim) finite, fp32 or fp64.
    against
        (m, dim), to compare with instead of `vectors` with itself. Within one set each pair comes once (left < right).
    threshold
        A score; compared in fp32, in which scores are given.
    similarity
        A name from `SIMILARITIES`.
    max_memory_mb
        Working memory beyond the vectors, one fp32 copy of them, and the result (20 bytes a match).
    max_matches
        The most matches to return. More raise `TooManyMatches`; nothing is ever cut off silently.
    progress
        Called with (pairs compared, pairs in all) now and then.

    Returns
    -------
    matches
        Ordered by left, then right row. Empty if a set is empty. Time grows with n²·dim/2, or n·m·dim.

    Raises
    ------
    ValueError
        If vectors are not finite, dimensions differ, the threshold is not finite, or there is no such similarity.
    TooManyMatches
        If more than `max_matches` pairs reach the threshold.

    Examples
    --------
    >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    >>> list(threshold_join(vectors, threshold=0.7))
    [Match(left=0, right=1, score=0.800000011920929)]
    """
    vectors, against = np.asarray(vectors), None if against is None else np.asarray(against)
    join = _Join.of(vectors, against, similarity, max_memory_mb)
    if not np.isfinite(threshold):
        raise ValueError(f"A threshold is a finite score, but got {threshold}. Give a number.")
    cutoff = join.cutoff(threshold)
    found: list[tuple[Rows, Rows, Float[np.ndarray, " n"]]] = []
    n_found = n_compared = 0
    n_pairs = len(vectors) * (len(vectors) - 1) // 2 if against is None else len(vectors) * len(against)
    for rows, columns, tile in join.tiles(join.side):
        for left, right in _at_least(tile, cutoff, join.n_candidates):
            i, j = left + rows.start, right + columns.start
            if against is None:
                i, j = i[i < j], j[i < j]
            scores = join.scores(i, j)
            keep = scores >= np.float32(threshold)
            found.append((i[keep], j[keep], scores[keep]))
            n_found += len(found[-1][0])
            if n_found > max_matches:
                raise TooManyMatches(
                    f"More than {max_matches:,} pairs reach {threshold:g}, among the first {n_compared + tile.size:,} compared. "
                    f"Raise the threshold, or allow more (--max-matches, max_matches=)."
                )
        n_compared += tile.size if against is not None or rows != columns else tile.shape[0] * (tile.shape[0] - 1) // 2
        if progress:
            progress(n_compared, n_pairs)
    left, right, scores = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else _nothing()
    order = np.lexsort((right, left))
    return Matches(left[order], right[order], scores[order], len(vectors), None if against is None else len(against))


def top_k_join(
    vectors: Vectors,
    against: Float[np.ndarray, "m other_dim"] | None = None,
    *,
    k: int,
    similarity: str = "cosine",
    max_memory_mb: int = 256,
    progress: Progress | None = None,
) -> Matches:
    """For every row the k closest rows, highest score first; ties go to the lower row number.

    Parameters are those of `threshold_join`. Within one set a row is no neighbour of itself, and a pair may come twice, once
    from each side. A row has fewer than k neighbours only where the other set is smaller.

    Raises
    ------
    ValueError
        As `threshold_join`, or if k is less than 1.

    Examples
    --------
    >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    >>> [(match.left, match.right) for match in top_k_join(vectors, k=1)]
    [(0, 1), (1, 0), (2, 1)]
    """
    if k < 1:
        raise ValueError(f"k is at least 1, but got {k}. Ask for one neighbour or more.")
    vectors, against = np.asarray(vectors), None if against is None else np.asarray(against)
    join = _Join.of(vectors, against, similarity, max_memory_mb)
    own = against is None
    n_others = len(join.right)
    wanted = min(k, n_others - own)
    found = []
    n_rows = max(1, min(join.side, max_memory_mb * 2**20 // (16 * max(1, n_others))))
    for start in range(0, len(vectors) if wanted > 0 else 0, n_rows):
        rows = slice(start, min(start + n_rows, len(vectors)))
        tile = join.tile(rows, slice(0, n_others))
        if own:
            tile[np.arange(len(tile)), np.arange(rows.start, rows.stop)] = -np.inf
        kth = np.partition(tile, n_others - wanted, axis=1)[:, n_others - wanted]
        left, right = np.nonzero(tile >= (kth - 2 * join.error)[:, None])
        scores = join.scores(left + start, right)
        order = np.lexsort((right, -scores, left))
        rank = np.arange(len(left)) - np.searchsorted(left, left)  # place within the row; left rises
        best = order[rank < wanted]
        found.append((left[best] + start, right[best], scores[best]))
        if progress:
            progress(rows.stop, len(vectors))
    left, right, scores = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else _nothing()
    return Matches(left, right, scores, len(vectors), None if own else n_others)


SEARCHERS: dict[str, Callable[..., Matches]] = {
    "exact": threshold_join,
}


class _Join(NamedTuple):
    """Both sides prepared for tiles: for cosine scaled to length 1, so that a tile is one matrix product."""

    first: Float[np.ndarray, "n dim"]  # as given
    second: Float[np.ndarray, "m dim"]
    left: Float[np.ndarray, "n dim"]  # prepared, fp32
    right: Float[np.ndarray, "m dim"]
    similarity: str
    own: bool
    error: float  # no tile entry is further than this from the exact value
    side: int  # rows and columns of a tile
    n_candidates: int  # pairs scored at once

    @classmethod
    def of(
        cls, vectors: Vectors, against: Float[np.ndarray, "m other_dim"] | None, similarity: str, max_memory_mb: int
    ) -> "_Join":
        if similarity not in SIMILARITIES:
            raise ValueError(f"There is no similarity {similarity!r}. Use one of {', '.join(SIMILARITIES)}.")
        if max_memory_mb < 1:
            raise ValueError(f"The join needs at least 1 MB to work in, but got {max_memory_mb}. Give it more.")
        second = vectors if against is None else against
        for rows, name in ((vectors, "vectors"), (second, "against")):
            if bad := np.flatnonzero(~np.isfinite(rows).all(1))[:5].tolist():
                raise ValueError(
                    f"{name} must be finite, but rows {bad} hold NaN or infinity. Leave out unusable texts."
                )
        if vectors.shape[1] != second.shape[1]:
            raise ValueError(
                f"Both sides need one dimension, but got {vectors.shape[1]} and {second.shape[1]}. Encode them with one model."
            )
        left = _prepared(vectors, similarity)
        right = left if against is None else _prepared(against, similarity)
        dim, bytes_free = vectors.shape[1], max_memory_mb * 2**20
        # Half of the memory for tiles (a score and its place; Manhattan all differences), half for exact scoring.
        bytes_an_entry = 8 * dim + 8 if similarity == "manhattan" else 16
        side = max(1, min(_MAX_SIDE, math.isqrt(bytes_free // 2 // bytes_an_entry)))
        n_candidates = max(1, bytes_free // 2 // (dim * 32 + 64))
        error = _error(left, right, similarity)
        return cls(vectors, second, left, right, similarity, against is None, error, side, n_candidates)

    def tile(self, rows: slice, columns: slice) -> Float[np.ndarray, "r c"]:
        """Scores of a block in fp32, for Euclidean squared, each within `error` of the exact value."""
        a, b = self.left[rows], self.right[columns]
        if self.similarity == "manhattan":
            return np.asarray(SIMILARITIES["manhattan"].matrix(a, b))
        tile = a @ b.T
        if self.similarity == "euclidean":
            tile *= 2
            tile -= (a * a).sum(1)[:, None]
            tile -= (b * b).sum(1)[None, :]
        return np.asarray(tile)

    def tiles(self, side: int) -> Iterator[tuple[slice, slice, Float[np.ndarray, "r c"]]]:
        """Blocks of the matrix; within one set only those on and above the diagonal."""
        for i in range(0, len(self.left), side):
            for j in range(i if self.own else 0, len(self.right), side):
                rows, columns = slice(i, min(i + side, len(self.left))), slice(j, min(j + side, len(self.right)))
                yield rows, columns, self.tile(rows, columns)

    def cutoff(self, threshold: float) -> np.float32:
        """What a tile's entry must reach for its pair to be a candidate."""
        # Half a unit below the threshold a score still rounds up to it; a whole unit is safe.
        lowest = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
        if self.similarity == "euclidean":  # a tile holds negative squares; see similarity._negative_root
            lowest = -((EPSILON**0.5 - min(lowest, 0.0)) ** 2)
        return np.float32(np.nextafter(np.float32(lowest - self.error), np.float32(-np.inf)))

    def scores(self, i: Rows, j: Rows) -> Float[np.ndarray, " n"]:
        """The exact scores of pairs: fp64, rounded once to fp32; at most `n_candidates` pairs in memory."""
        paired = SIMILARITIES[self.similarity].paired
        scores = np.empty(len(i), dtype=np.float32)
        for start in range(0, len(i), self.n_candidates):
            block = slice(start, start + self.n_candidates)
            scores[block] = paired(self.first[i[block]].astype(np.float64), self.second[j[block]].astype(np.float64))
        return scores


def _prepared(vectors: Vectors, similarity: str) -> Vectors:
    if similarity != "cosine":
        return vectors.astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64) + EPSILON)
    return np.asarray(vectors / lengths[:, None], dtype=np.float32)


def _error(left: Vectors, right: Float[np.ndarray, "m dim"], similarity: str) -> float:
    """A bound on |tile − exact|: an inner product of dim terms errs by at most (dim + spare)·u·‖a‖·‖b‖ (Higham 2002, § 3.1)."""
    if not len(left) or not len(right):
        return 0.0
    dim: int = left.shape[1]
    a, b = (math.sqrt(float(np.einsum("ij,ij->i", side, side, dtype=np.float64).max())) for side in (left, right))
    bound = (dim + _SPARE) * _UNIT
    if similarity == "euclidean":
        return 2 * bound * (a + b) ** 2 + 1e-11
    if similarity == "manhattan":
        return bound * math.sqrt(dim) * (a + b)
    return 2 * bound * a * b + 1e-11


def _at_least(tile: Float[np.ndarray, "r c"], cutoff: np.float32, n_at_once: int) -> Iterator[tuple[Rows, Rows]]:
    """Places of a tile's entries that reach the cutoff, a bounded number at a time."""
    flat = np.flatnonzero(tile.reshape(-1) >= cutoff)
    for start in range(0, len(flat), n_at_once):
        yield np.divmod(flat[start : start + n_at_once], tile.shape[1])


def _nothing() -> tuple[Rows, Rows, Float[np.ndarray, " n"]]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
