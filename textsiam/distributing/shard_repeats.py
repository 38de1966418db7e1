"""Exact repeats across all shards: one task sorts one bucket of hashes; the first row of equal texts stands for all."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from textsiam.arrays import Rows
from textsiam.distributing.shard_sources import Shard
from textsiam.distributing.workspace import Workspace
from textsiam.matching.repeats import Side

N_TEXTS_A_BUCKET = 4_000_000  # 24 bytes each, and as much to sort them


class Found(NamedTuple):
    """A bucket's file, how many of its texts repeat an earlier one, and how many pairs of equal texts it has."""

    name: str
    n_repeats: int
    n_pairs: int


def find_repeats_of(work: Workspace, shards: Sequence[Shard], bucket: int, n_buckets: int, name: str) -> Found:
    """Write ``row`` and ``first`` of every text in this bucket that repeats an earlier one, sorted by row; and again by first.

    A bucket is a range of hashes. The hashes of each shard are sorted, so the task reads only this range.
    """
    if f"{name}.json" in work:
        return Found(name, *work.read_json(f"{name}.json"))
    highs, lows, rows = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    begin, end = (number * 2**64 // n_buckets for number in (bucket, bucket + 1))
    for shard in shards:
        told = work.read(shard.hashes)
        start = int(np.searchsorted(told["high"], np.uint64(begin)))
        stop = len(told["high"]) if end == 2**64 else int(np.searchsorted(told["high"], np.uint64(end)))
        highs.append(told["high"][start:stop])
        lows.append(told["low"][start:stop])
        rows.append(shard.start + told["place"][start:stop])
    high, low, row = np.concatenate(highs), np.concatenate(lows), np.concatenate(rows)
    order = np.lexsort((row, low, high))
    high, low, row = high[order], low[order], row[order]
    begins = np.ones(len(row), dtype=np.bool_)
    begins[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(begins)
    sizes = np.diff(starts, append=len(row))
    first, row = np.repeat(row[starts], sizes)[~begins], row[~begins]
    by_row, by_first = np.argsort(row, kind="stable"), np.lexsort((row, first))
    work.write(name, {"row": row[by_row], "first": first[by_row], "of": first[by_first], "repeat": row[by_first]})
    n_pairs = int((sizes * (sizes - 1) // 2).sum())
    work.write_json(f"{name}.json", [len(row), n_pairs])
    return Found(name, len(row), n_pairs)


class Repeats:
    """Which rows repeat the text of an earlier one; each call reads only the rows that it is about.

    `names` are the files of all buckets.
    """

    def __init__(self, work: Workspace, names: Sequence[str]) -> None:
        self.work, self.names = work, tuple(names)

    def distinct(self, start: int, stop: int) -> Bool[np.ndarray, " n"]:
        """Which of the rows from `start` below `stop` are the first ones with their text."""
        first = np.ones(stop - start, dtype=np.bool_)
        for name in self.names:
            first[self.work.between(name, "row", start, stop)["row"] - start] = False
        return first

    def firsts(self, start: int, stop: int) -> Rows:
        """For each row from `start` below `stop`, the first row with its text; that may be the row itself."""
        found = np.arange(start, stop)
        for name in self.names:
            told = self.work.between(name, "row", start, stop)
            found[told["row"] - start] = told["first"]
        return found

    def sizes(self, distinct: Rows) -> Rows:
        """How many rows have the text of each of these distinct rows, which must be in order."""
        return 1 + np.bincount(self._repeats_of(distinct)[0], minlength=len(distinct))

    def groups(self, distinct: Rows) -> Side:
        """All rows with the text of each of these distinct rows, which must be in order: what `crossed` and `repeats_of` need."""
        owners, repeats = self._repeats_of(distinct)
        row = np.concatenate([distinct, repeats])
        owner = np.concatenate([np.arange(len(distinct)), owners])
        order = np.lexsort((row, owner))
        sizes = np.bincount(owner, minlength=len(distinct))
        return Side(row[order], [], owner[order], row[order], np.cumsum(sizes) - sizes, sizes)

    def _repeats_of(self, distinct: Rows) -> tuple[Rows, Rows]:
        """The rows that repeat the texts of these distinct rows, and the place of each text among them."""
        owners, repeats = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for name in self.names if len(distinct) else ():
            told = self.work.between(name, "of", distinct[0], distinct[-1] + 1)
            places = np.searchsorted(distinct, told["of"])
            mine = distinct[np.minimum(places, len(distinct) - 1)] == told["of"]
            owners.append(places[mine])
            repeats.append(told["repeat"][mine])
        return np.concatenate(owners), np.concatenate(repeats)
