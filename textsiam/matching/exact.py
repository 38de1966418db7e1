"""The exact joins: every pair that reaches a threshold, and no other; the k closest. Block by block in bounded memory.

A screen (see `screens`) computes cheap scores of a tile of the score matrix; those that reach the threshold less a proven bound
of the screen's error are scored again in fp64, rounded once to fp32 and compared for good. So the result does not depend on
block sizes, threads, the screen or the BLAS in use: the same vectors give the same matches.

This is the reference that faster searchers are tested against.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from textsiam.errors import TooManyMatches
from textsiam.matching.closest import closest
from textsiam.matching.matches import Matches
from textsiam.matching.prepared import Prepared
from textsiam.matching.tiles import Room, Tiles

Rows = Int[np.ndarray, " _"]
Scores = Float[np.ndarray, " _"]
Vectors = Float[np.ndarray, "n dim"]
Others = Float[np.ndarray, "m other_dim"]
Progress = Callable[[int, int], None]

MAX_MATCHES = 20_000_000
# Strips whose matches are put together: small arrays kept among large passing ones scatter memory, 40 KB for every tile.
_N_RECENT = 32


def threshold_join(
    vectors: Vectors,
    against: Others | None = None,
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
        Working memory beyond the vectors, what is made of them, and the matches (20 bytes each, twice that while they are put
        together). Made of them are an fp32 copy, unless they are fp32 and for cosine of length 1, and in large cosine joins
        short rows: for a moment up to another fp32 copy (a third is usual), then a quarter of that.
    max_matches
        The most matches to return. More raise `TooManyMatches`; nothing is ever cut off silently.
    progress
        Called with (pairs compared, pairs in all) now and then.

    Returns
    -------
    matches
        Ordered by left, then right row. Empty if a set is empty. Time grows with n²/2, or n·m.

    Raises
    ------
    ValueError
        If vectors are not finite or too long (but for cosine above 1e18), dimensions differ, the threshold is not finite, or
        there is no such similarity.
    TooManyMatches
        If more than `max_matches` pairs reach the threshold.

    Examples
    --------
    >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    >>> list(threshold_join(vectors, threshold=0.7))
    [Match(left=0, right=1, score=0.800000011920929)]
    """
    if not np.isfinite(threshold):
        raise ValueError(f"A threshold is a finite score, but got {threshold}. Give a number.")
    sides = Prepared.of(vectors, against, similarity)
    lowest = sides.lowest(threshold)
    tiles = Tiles.of(sides, sides.screen(lowest), max_memory_mb)
    allowed = Allowed(max_matches, threshold)

    def matches_of(rows: slice, strip: list[slice], room: Room) -> tuple[int, Rows, Rows, Scores]:
        found = []
        for i, j in tiles.candidates(rows, strip, room, lowest):
            scores = sides.scores(i, j)
            keep = scores >= np.float32(threshold)
            allowed.take(int(keep.sum()))
            found.append((i[keep], j[keep], scores[keep]))
        n, m = rows.stop - rows.start, strip[-1].stop - strip[0].start
        return n * m - (n * (n + 1) // 2 if sides.own and rows == strip[0] else 0), *joined(found)

    with closing(tiles.in_order(matches_of, tiles.strips())) as done:
        left, right, scores = _collected(done, sides.n_pairs, progress)
    order = np.argsort(left, kind="stable")  # tiles come row by row, so of one row the right ones are in order already
    left = left[order]
    right = right[order]
    scores = scores[order]
    return Matches(left, right, scores, len(sides.left), None if sides.own else len(sides.right))


def _collected(
    done: Iterable[tuple[int, Rows, Rows, Scores]], n_pairs: int, progress: Progress | None
) -> tuple[Rows, Rows, Scores]:
    """The matches of all strips. A function of its own, so that no name keeps the strips, of which one can hold nearly all."""
    found, recent, n_compared = [], [], 0
    for n, *columns in done:
        recent.append(columns)
        if len(recent) == _N_RECENT:
            found.append(joined(recent))
            recent = []
        n_compared += n
        if progress:
            progress(n_compared, n_pairs)
    return joined([*found, *recent])


class Allowed:
    """Counts what all threads find, so that they stop as soon as it is too much."""

    def __init__(self, max_matches: int, threshold: float) -> None:
        self.max_matches, self.threshold = max_matches, threshold
        self._n_found, self._lock = 0, threading.Lock()

    def take(self, n: int) -> None:
        """Count so many more matches.

        Raises
        ------
        TooManyMatches
            If they are more than allowed.
        """
        with self._lock:
            self._n_found += n
        if self._n_found > self.max_matches:
            raise TooManyMatches(
                f"More than {self.max_matches:,} pairs reach {self.threshold:g}. Raise the threshold, or allow more "
                "(--max-matches, max_matches=)."
            )


def top_k_join(
    vectors: Vectors,
    against: Others | None = None,
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
    sides = Prepared.of(vectors, against, similarity)
    n, n_others = len(sides.left), len(sides.right)
    wanted = min(k, n_others - sides.own)
    tiles = Tiles.of(sides, sides.screen(None), max_memory_mb)
    found = []
    tasks = [(rows,) for rows in tiles.slices(n)] if wanted > 0 else []
    with closing(tiles.in_order(partial(closest, tiles, wanted), tasks)) as done:
        for (rows,), part in zip(tasks, done, strict=True):
            found.append(part)
            if progress:
                progress(rows.stop, n)
    return Matches(*joined(found), n, None if sides.own else n_others)


SEARCHERS: dict[str, Callable[..., Matches]] = {
    "exact": threshold_join,
}


def joined(found: list[Any]) -> tuple[Rows, Rows, Scores]:
    """Columns of matches that were found part by part, in the order of the parts."""
    left, right, scores = zip(*found, strict=True) if found else ((), (), ())
    return (
        np.concatenate([np.empty(0, np.int64), *left]),
        np.concatenate([np.empty(0, np.int64), *right]),
        np.concatenate([np.empty(0, np.float32), *scores]),
    )
