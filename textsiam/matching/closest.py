"""The k closest of some rows, tile by tile: as a threshold join, but each row has a threshold of its own, which rises."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from textsiam.matching.matches import Found
from textsiam.matching.tiles import Room, Tiles

Rows = Int[np.ndarray, " _"]
Scores = Float[np.ndarray, " _"]
Waiting = tuple[Rows, Rows, Shaped[np.ndarray, " _"]]  # rows, columns, entries

_MAX_WAITING = 64  # candidates a row that wait to be scored, on average
_CLOSEST = {"cosine": 1.0, "euclidean": 0.0, "manhattan": 0.0}  # what no score is above


def closest(tiles: Tiles, k: int, rows: slice, room: Room) -> Found:
    """Left row, right row and score of each of these rows' k closest: by row, the highest score first, ties by right row.

    `k` is at most the number of others, and the tiles' screen must bound scores on both sides: an exact score is within its
    slack of ``unit · entry``. So k others reach a row's kth largest entry less the slack, and what cannot is not among the k.
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
    for columns in tiles.slices(len(sides.right)):
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
    """The pairs among those waiting that still reach their row's cutoff, rows counted from `start`."""
    if not waiting:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    i, j, entries = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
    reached = entries >= cutoff[i]
    return i[reached] + start, j[reached]


def _complete(chosen: Found, k: int, similarity: str) -> Rows:
    """The rows that have k others as close as can be: those to come, of higher row numbers, cannot come before them."""
    left, _, scores = chosen
    rows, counts = np.unique(left[scores >= _CLOSEST.get(similarity, np.inf)], return_counts=True)
    return np.asarray(rows[counts == k])


def _raise(largest: Shaped[np.ndarray, "r k"], tile: Shaped[np.ndarray, "r c"]) -> None:
    """Take into each row's k largest entries, the smallest of them first, the tile's largest.

    Only the largest of each group of entries counts: the more groups, the rarer that one hides another, and any k entries
    make a right bound.
    """
    k, n_columns = largest.shape[1], tile.shape[1]
    n_groups = min(1 << (4 * k).bit_length(), n_columns)
    grouped = tile[:, : n_columns // n_groups * n_groups].reshape(len(tile), -1, n_groups).max(1)
    rising = (grouped > largest[:, :1]).any(1)  # fewer with every tile
    both = np.concatenate([largest[rising], grouped[rising]], axis=1)
    both.partition(n_groups, axis=1)
    largest[rising] = both[:, n_groups:]


def _merged(tiles: Tiles, k: int, chosen: Found, pairs: tuple[Rows, Rows]) -> Found:
    """The k closest of each row among those chosen before and these pairs, by exact score."""
    sides, (i, j) = tiles.sides, pairs
    if tiles.screen.dtype is np.int32 and len(i):  # a coarse screen: fp32 leaves fewer to score exactly
        near = tiles.pairwise(sides.near, i, j)
        order, place = _ranked(i, j, near)
        kth = np.full(i.max() + 1, -np.inf)
        kth[i[order[place == k - 1]]] = near[order[place == k - 1]]
        close = near >= kth[i] - 2 * sides.plain.slack
        i, j = i[close], j[close]
    left, right, scores = (
        np.concatenate(parts) for parts in zip(chosen, (i, j, tiles.pairwise(sides.scores, i, j)), strict=True)
    )
    order, place = _ranked(left, right, scores)
    best = order[place < k]
    return left[best], right[best], scores[best]


def _ranked(left: Rows, right: Rows, scores: Scores) -> tuple[Rows, Rows]:
    """The order by row, falling score and right row, and each one's place within its row in that order."""
    order = np.lexsort((right, -scores, left))
    ordered = left[order]
    return order, np.arange(len(left)) - np.searchsorted(ordered, ordered)
