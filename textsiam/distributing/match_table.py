"""The match table in parts: pairs in order of their left rows, the same as on one machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from textsiam.arrays import Rows
from textsiam.distributing.blocks import Joined
from textsiam.distributing.shard_sources import Shard
from textsiam.distributing.workspace import Workspace, key_of


@dataclass(frozen=True)
class Part:
    """Rows from start below stop, and a file of the pairs whose left row is one of them: ``left, right, score``, in order."""

    start: int
    stop: int
    name: str
    n: int


class Best(NamedTuple):
    """The closest pairs of a part: left and right rows, scores."""

    left: Rows
    right: Rows
    score: Any


def ranges_of(shards: Sequence[Shard], n_rows: int) -> list[tuple[int, int]]:
    """Ranges of the rows of neighbouring shards, each with at most `n_rows` rows or one shard."""
    ranges: list[tuple[int, int]] = []
    for shard in shards:
        if ranges and shard.stop - ranges[-1][0] <= n_rows:
            ranges[-1] = (ranges[-1][0], shard.stop)
        else:
            ranges.append((shard.start, shard.stop))
    return ranges


def gather(work: Workspace, rows: tuple[int, int], joined: Sequence[Joined], top: int) -> tuple[Part, Best]:
    """Write the pairs with these left rows from all blocks, in order; return the part and its `top` closest pairs."""
    start, stop = rows
    mine = [of for of in joined if of.n and of.lowest < stop and of.highest >= start]
    name = f"parts/{key_of(rows, [of.name for of in mine])}.arrow"
    if name in work:
        told = work.read(name)
        return Part(start, stop, name, len(told["left"])), _best(told, top)
    columns: dict[str, list[Any]] = {"left": [np.empty(0, np.int64)], "right": [np.empty(0, np.int64)]}
    columns["score"] = [np.empty(0, np.float32)]
    for of in mine:
        told = work.read(of.name)
        inside = slice(*np.searchsorted(told["left"], (start, stop)))
        for key, found in columns.items():
            found.append(told[key][inside])
    whole = {key: np.concatenate(found) for key, found in columns.items()}
    order = np.lexsort((whole["right"], whole["left"]))
    left, right = whole["left"][order], whole["right"][order]
    new = np.ones(len(order), dtype=np.bool_)  # an approximate join may find a pair in two cells
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    order = order[new]
    whole = {key: values[order] for key, values in whole.items()}
    work.write(name, whole)
    return Part(start, stop, name, len(order)), _best(whole, top)


def _best(pairs: dict[str, Any], top: int) -> Best:
    order = np.lexsort((pairs["right"], pairs["left"], -pairs["score"]))[:top]
    return Best(pairs["left"][order], pairs["right"][order], pairs["score"][order])
