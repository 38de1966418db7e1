"""The match table in parts: pairs in order of their left rows, the same as on one machine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textsiam.arrays import Found
from textsiam.distributing.blocks import COLUMNS, Joined, each_once
from textsiam.distributing.shard_sources import Shard
from textsiam.distributing.workspace import Workspace, key_of


@dataclass(frozen=True)
class Part:
    """Rows from start below stop, and a file of the pairs whose left row is one of them: ``left, right, score``, in order."""

    start: int
    stop: int
    name: str
    n: int


def ranges_of(shards: Sequence[Shard], n_rows: int) -> list[tuple[int, int]]:
    """Ranges of the rows of neighbouring shards, each with at most `n_rows` rows or one shard."""
    ranges: list[tuple[int, int]] = []
    for shard in shards:
        if ranges and shard.stop - ranges[-1][0] <= n_rows:
            ranges[-1] = (ranges[-1][0], shard.stop)
        else:
            ranges.append((shard.start, shard.stop))
    return ranges


def gather(work: Workspace, rows: tuple[int, int], joined: Sequence[Joined], top: int) -> tuple[Part, Found]:
    """Write the pairs with these left rows from all blocks, in order; return the part and its `top` closest pairs."""
    start, stop = rows
    name = f"parts/{key_of(rows, [of.name for of in joined])}.arrow"
    if name not in work:
        parts = [work.between(of.name, "left", start, stop) for of in joined]
        pairs = each_once([(part["left"], part["right"], part["score"]) for part in parts])
        work.write(name, dict(zip(COLUMNS, pairs, strict=True)))
    told = work.read(name)
    return Part(start, stop, name, len(told["left"])), top_of((told["left"], told["right"], told["score"]), top)


def top_of(pairs: Found, top: int) -> Found:
    """The pairs of highest score, highest first; ties by left, then right row."""
    left, right, scores = pairs
    order = np.lexsort((right, left, -scores))[:top]
    return left[order], right[order], scores[order]
