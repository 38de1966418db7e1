"""The exact joins in bounded memory: every pair that reaches a threshold, or the k closest rows of every row.

A screen (see `screens`) computes cheap scores for one tile of the score matrix. Entries that reach the threshold minus a proven
bound of the screen's error are scored again in fp64, rounded once to fp32, and compared. So the same vectors give the same
matches, with any block size, number of threads, screen or BLAS. The k closest work alike, but each row has its own threshold,
which rises from tile to tile.

Left out: approximate search (`textsiam.indexing.search.approximate`). Faster searchers are tested against this module.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Shaped

from textsiam.arrays import Found, Rows, Scores, Vectors, slices
from textsiam.matching.join.prepared import Others, Prepared
from textsiam.matching.join.tiles import Allowed, Room, Tiles, joined
from textsiam.matching.matches import Matches

Progress = Callable[[int, int], None]
Waiting = tuple[Rows, Rows, Shaped[np.ndarray, " _"]]  # rows, columns, entries

MAX_MATCHES = 20_000_000
# Strips joined at once: small arrays kept between large short-lived ones fragment memory, 40 KB per tile.
_N_RECENT = 32
_MAX_WAITING = 64  # mean number of candidates per row that wait for their exact scores
_CLOSEST = {"cosine": 1.0, "euclidean": 0.0, "manhattan": 0.0}  # the highest possible score


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
        (m, dim): compare `vectors` with these instead of with each other. Within one set each pair appears once (left < right).
    threshold
        The lowest score; compared in fp32, like the scores returned.
    similarity
        A name from `SIMILARITIES`.
    max_memory_mb
        Working memory. It does not include the vectors, the matches (20 bytes each, 40 while they are joined), an fp32 copy of
        the vectors (unless they are fp32, and of length 1 for cosine), and the short rows of large cosine joins: briefly up
        to another fp32 copy (usually a third), then a quarter of that.
    max_matches
        The most matches to return. More raise `TooManyMatches`; none are dropped silently.
    progress
        Called with (pairs compared, all pairs) from time to time.

    Returns
    -------
    matches
        Ordered by left, then right row. Empty if a set is empty. The time grows with n²/2, or n·m.

    Raises
    ------
    ValueError
        If vectors are not finite, vectors are longer than 1e18 (1e150 for cosine), dimensions differ, the threshold is not
        finite, or the similarity is unknown.
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
        pairs = tiles.candidates(rows, strip, room, lowest)
        found = [allowed.reaching(i, j, sides.scores(i, j)) for i, j in pairs]
        n, m = rows.stop - rows.start, strip[-1].stop - strip[0].start
        return n * m - (n * (n + 1) // 2 if sides.own and rows == strip[0] else 0), *joined(found)

    with closing(tiles.in_order(matches_of, tiles.strips())) as done:
        left, right, scores = _collected(done, sides.n_pairs, progress)
    order = np.argsort(left, kind="stable")  # tiles arrive by row: the right rows of one left row are already in order
    left = left[order]
    right = right[order]
    scores = scores[order]
    return Matches(left, right, scores, len(sides.left), None if sides.own else len(sides.right))


def _collected(
    done: Iterable[tuple[int, Rows, Rows, Scores]], n_pairs: int, progress: Progress | None
) -> tuple[Rows, Rows, Scores]:
    """The matches of all strips. This is a function so that no name keeps a strip alive: one can hold nearly all matches."""
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

    Parameters are those of `threshold_join`. Within one set a row is not its own neighbour, and a pair may appear twice, once
    from each side. A row has fewer than k neighbours only if there are fewer other rows.

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
    tasks = [(rows,) for rows in slices(n, tiles.side)] if wanted > 0 else []
    with closing(tiles.in_order(partial(closest, tiles, wanted), tasks)) as done:
        for (rows,), part in zip(tasks, done, strict=True):
            found.append(part)
            if progress:
                progress(rows.stop, n)
    return Matches(*joined(found), n, None if sides.own else n_others)


def closest(tiles: Tiles, k: int, rows: slice, room: Room) -> Found:
    """Left row, right row and score of the k closest of each of these rows, ordered by row, falling score and right row.

    `k` is at most the number of other rows. The tiles' screen must bound scores on both sides: an exact score is within the
    slack of ``unit · entry``. So k rows reach a row's k-th largest entry minus the slack, and no row below it is among the k.
    """
    sides, screen = tiles.sides, tiles.screen
    n_rows = rows.stop - rows.start
    ends = np.iinfo(np.int32)
    least, most = (ends.min, ends.max) if screen.dtype is np.int32 else (-np.inf, np.inf)
    largest = np.full((n_rows, k), least, dtype=screen.dtype)
    chosen: Found = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    is_complete = np.zeros(n_rows, dtype=bool)
    waiting: list[Waiting] = []
    n_waiting = 0
    for columns in slices(len(sides.right), tiles.side):
        tile = room.tile(n_rows, columns.stop - columns.start, screen.dtype)
        screen.fill(rows, columns, tile)
        itself = sides.own and rows == columns
        if itself:
            np.fill_diagonal(tile, least)
        _raise(largest, tile)
        cutoff = screen.cutoff(largest[:, 0] * np.float64(screen.unit) - screen.slack)
        cutoff[is_complete] = most
        for i, j in room.places(tile, cutoff[:, None]).blocks(tiles.n_at_once):
            other = (i != j if itself else True) & ~is_complete[i]
            waiting.append((i[other], j[other] + columns.start, tile[i, j][other]))
            n_waiting += len(waiting[-1][0])
            if n_waiting > _MAX_WAITING * n_rows:
                chosen = _merged(tiles, k, chosen, _reaching(waiting, cutoff, rows.start))
                is_complete[_complete(chosen, k, sides.similarity) - rows.start] = True
                waiting, n_waiting = [], 0
    return _merged(tiles, k, chosen, _reaching(waiting, cutoff, rows.start))


def _reaching(waiting: list[Waiting], cutoff: Any, start: int) -> tuple[Rows, Rows]:
    """The waiting pairs that still reach their row's cutoff; row numbers begin at `start`."""
    if not waiting:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    i, j, entries = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
    reached = entries >= cutoff[i]
    return i[reached] + start, j[reached]


def _complete(chosen: Found, k: int, similarity: str) -> Rows:
    """The rows whose k neighbours have the highest possible score: later rows, with higher numbers, cannot replace them."""
    left, _, scores = chosen
    rows, counts = np.unique(left[scores >= _CLOSEST.get(similarity, np.inf)], return_counts=True)
    return np.asarray(rows[counts == k])


def _raise(largest: Shaped[np.ndarray, "r k"], tile: Shaped[np.ndarray, "r c"]) -> None:
    """Update each row's k largest entries (smallest first) with the largest of the tile.

    Only the largest of each group of entries counts. More groups make it rarer that one entry hides another; any k entries
    give a valid bound.
    """
    k, n_columns = largest.shape[1], tile.shape[1]
    n_groups = min(1 << (4 * k).bit_length(), n_columns)
    grouped = tile[:, : n_columns // n_groups * n_groups].reshape(len(tile), -1, n_groups).max(1)
    rising = (grouped > largest[:, :1]).any(1)  # fewer rows with every tile
    both = np.concatenate([largest[rising], grouped[rising]], axis=1)
    both.partition(n_groups, axis=1)
    largest[rising] = both[:, n_groups:]


def _merged(tiles: Tiles, k: int, chosen: Found, pairs: tuple[Rows, Rows]) -> Found:
    """The k closest of each row, by exact score, among those chosen before and these pairs."""
    sides, (i, j) = tiles.sides, pairs
    if tiles.screen.dtype is np.int32 and len(i):  # after a coarse screen, fp32 leaves fewer pairs to score exactly
        near = tiles.pairwise(sides.near, i, j)
        order, place = _ranked(i, j, near)
        kth = np.full(i.max() + 1, -np.inf)
        kth[i[order[place == k - 1]]] = near[order[place == k - 1]]
        close = near >= kth[i] - 2 * sides.plain.slack
        i, j = i[close], j[close]
    return first_of_each([chosen, (i, j, tiles.pairwise(sides.scores, i, j))], k)


def first_of_each(found: Sequence[Found], k: int) -> Found:
    """The k pairs of highest score of each left row, in order of left row, falling score and right row."""
    left, right, scores = joined(found)
    order, place = _ranked(left, right, scores)
    best = order[place < k]
    return left[best], right[best], scores[best]


def _ranked(left: Rows, right: Rows, scores: Scores) -> tuple[Rows, Rows]:
    """The order by left row, falling score and right row; and the rank of each pair within its left row, in that order."""
    order = np.lexsort((right, -scores, left))
    ordered = left[order]
    return order, np.arange(len(left)) - np.searchsorted(ordered, ordered)


SEARCHERS: dict[str, Callable[..., Matches]] = {
    "exact": threshold_join,
}
