"""Exact repeats across all shards: texts are sorted by hash, a bucket of them at a time; the first of equals stands for all."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from textsiam.distributing.sources import Shard
from textsiam.distributing.workspace import Workspace
from textsiam.matching.repeats import Side

Rows = Int[np.ndarray, " _"]
N_TEXTS_A_BUCKET = 4_000_000  # 24 bytes each, and as much again to sort them


class Found(NamedTuple):
    """A bucket's file, how many texts in it repeat an earlier one, and how many pairs of equal texts there are."""

    name: str
    n_repeats: int
    n_pairs: int


def find_repeats_of(work: Workspace, shards: Sequence[Shard], bucket: int, n_buckets: int, name: str) -> Found:
    """Write ``row`` and ``first`` of every text in this bucket that repeats an earlier one, by row."""
    highs, lows, rows = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for shard in shards:
        told = work.read(shard.name, "high", "low")
        inside = np.flatnonzero(told["high"] % np.uint64(n_buckets) == bucket)
        highs.append(told["high"][inside])
        lows.append(told["low"][inside])
        rows.append(shard.start + inside)
    high, low, row = np.concatenate(highs), np.concatenate(lows), np.concatenate(rows)
    order = np.lexsort((row, low, high))
    high, low, row = high[order], low[order], row[order]
    begins = np.ones(len(row), dtype=np.bool_)
    begins[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(begins)
    sizes = np.diff(starts, append=len(row))
    first = np.repeat(row[starts], sizes)
    repeats = np.flatnonzero(~begins)
    repeats = repeats[np.argsort(row[repeats], kind="stable")]
    work.write(name, {"row": row[repeats], "first": first[repeats]})
    return Found(name, len(repeats), int((sizes * (sizes - 1) // 2).sum()))


class Repeats:
    """Which rows repeat an earlier one; only as much of it is read as is asked for.

    Parameters
    ----------
    names
        The files of all buckets.
    """

    def __init__(self, work: Workspace, names: Sequence[str]) -> None:
        self.work, self.names = work, tuple(names)

    def distinct(self, start: int, stop: int) -> Bool[np.ndarray, " n"]:
        """Of the rows from `start` below `stop`, those whose text did not come before."""
        first = np.ones(stop - start, dtype=np.bool_)
        for name in self.names:
            rows = self.work.read(name, "row")["row"]
            first[rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)] - start] = False
        return first

    def firsts(self, start: int, stop: int) -> Rows:
        """For each of the rows from `start` below `stop` the first row with its text: itself where none came before."""
        found = np.arange(start, stop)
        for name in self.names:
            told = self.work.read(name)
            inside = slice(*np.searchsorted(told["row"], (start, stop)))
            found[told["row"][inside] - start] = told["first"][inside]
        return found

    def groups(self, distinct: Rows) -> Side:
        """For distinct rows, in order, all rows that hold the text of each, in order: what `crossed` and `repeats_of` need."""
        rows, owners = [distinct], [np.arange(len(distinct))]
        if len(distinct):
            for name in self.names:
                told = self.work.read(name)
                inside = np.flatnonzero((told["first"] >= distinct[0]) & (told["first"] <= distinct[-1]))
                places = np.searchsorted(distinct, told["first"][inside])
                mine = distinct[np.minimum(places, len(distinct) - 1)] == told["first"][inside]
                rows.append(told["row"][inside][mine])
                owners.append(places[mine])
        row, owner = np.concatenate(rows), np.concatenate(owners)
        order = np.lexsort((row, owner))
        sizes = np.bincount(owner, minlength=len(distinct))
        return Side(row[order], [], owner[order], row[order], np.cumsum(sizes) - sizes, sizes)
