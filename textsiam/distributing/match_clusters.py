"""Clusters from a match table in parts: each row joins the keeper that it matches best, as on one machine.

A row that matches no earlier keeper becomes a keeper (see `textsiam.matching.matches.cluster`). So one pass over the parts, in
order, finds all keepers, with one bit per row in memory. Then one task per part offers each row the best keeper of that part,
and one task per range of rows takes the best offer.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from textsiam.arrays import Rows
from textsiam.distributing.encoders import EncodedTexts
from textsiam.distributing.match_table import Part
from textsiam.distributing.shard_sources import Shard
from textsiam.distributing.workspace import Workspace, key_of
from textsiam.matching.join.exact import first_of_each

_N_BYTES = 1 << 20  # of bits that are counted at the same time


class Offered(NamedTuple):
    """A file of ``row, keeper, score``, sorted by row: the best keeper in a part for each row that is no keeper."""

    name: str
    n: int
    lowest: int
    highest: int


class Settled(NamedTuple):
    """A file of ``cluster, keeper, score`` for each row from start below stop, and how many of them are no keepers."""

    start: int
    stop: int
    name: str
    n_dropped: int


def find_keepers(work: Workspace, parts: Sequence[Part], shards: Sequence[Shard]) -> str:
    """Write one bit per row, 1 for a keeper, and return the file's name. Memory holds these bits and one part."""
    name = f"keepers/{key_of([part.name for part in parts], [(shard.start, shard.n) for shard in shards])}.arrow"
    if name in work:
        return name
    bits = _bits_of(shards)
    for part in parts:
        told = work.read(part.name, "left", "right")
        left, right = told["left"], told["right"]
        starts = np.flatnonzero(np.diff(left, prepend=-1))
        ends = np.append(starts, len(left))[1:]
        for row, start, end in zip(left[starts].tolist(), starts.tolist(), ends.tolist(), strict=True):
            if bits[row >> 3] >> (row & 7) & 1:
                dropped = right[start:end]
                np.bitwise_and.at(bits, dropped >> 3, ~(1 << (dropped & 7)).astype(np.uint8))
    work.write(name, {"bits": bits})
    return name


def offer(work: Workspace, part: Part, keepers: str) -> Offered:
    """Write the best keeper in this part's pairs for each row that is no keeper; ties go to the earlier keeper."""
    name = f"offers/{key_of(part.name, keepers)}.arrow"
    if name not in work:
        told, bits = work.read(part.name), work.read(keepers)["bits"]
        left, right, score = told["left"], told["right"], told["score"]
        first, second = _are(bits, left), _are(bits, right)
        back, ahead = first & ~second, second & ~first  # pairs in which the right, or the left, row is dropped
        pairs = [(right[back], left[back], score[back]), (left[ahead], right[ahead], score[ahead])]
        work.write(name, dict(zip(("row", "keeper", "score"), first_of_each(pairs, 1), strict=True)))
    row = work.read(name, "row")["row"]
    return Offered(name, len(row), *((int(row[0]), int(row[-1])) if len(row) else (0, -1)))


def settle(work: Workspace, rows: tuple[int, int], offers: Sequence[Offered], keepers: str) -> Settled:
    """Write each row's cluster, keeper and score to the keeper (NaN for a keeper itself)."""
    start, stop = rows
    mine = [of for of in offers if of.n and of.lowest < stop and of.highest >= start]
    name = f"clusters/{key_of(rows, [of.name for of in mine], keepers)}.arrow"
    if name not in work:
        bits = work.read(keepers)["bits"]
        parts = [work.between(of.name, "row", start, stop) for of in mine]
        row, best, to_best = first_of_each([(part["row"], part["keeper"], part["score"]) for part in parts], 1)
        keeper = np.arange(start, stop)
        score = np.full(stop - start, np.nan, dtype=np.float32)
        keeper[row - start] = best
        score[row - start] = to_best
        work.write(name, {"cluster": _numbers(bits, keeper), "keeper": keeper, "score": score})
    keeper = work.read(name, "keeper")["keeper"]
    dropped = keeper[keeper != np.arange(start, stop)]
    return Settled(start, stop, name, len(dropped))


def _bits_of(shards: Sequence[Shard]) -> UInt8[np.ndarray, " n_bytes"]:
    """One bit per row: 0 for the rows of shards that were left out, else 1."""
    bits = np.zeros(-(-(shards[-1].stop if shards else 0) // 8), dtype=np.uint8)
    for shard in shards:
        first, last = shard.start >> 3, (shard.stop - 1) >> 3
        there = np.zeros(8 * (last - first + 1), dtype=np.uint8)
        there[shard.start - 8 * first : shard.stop - 8 * first] = 1
        bits[first : last + 1] |= np.packbits(there, bitorder="little")
    return bits


def n_clusters(work: Workspace, settled: Sequence[Settled], n_rows: int) -> int:
    """How many clusters have at least two rows. Memory holds one bit per row."""
    joined = np.zeros(-(-n_rows // 8), dtype=np.uint8)
    for of in settled:
        keeper = work.read(of.name, "keeper")["keeper"]
        chosen = np.unique(keeper[keeper != np.arange(of.start, of.stop)])
        np.bitwise_or.at(joined, chosen >> 3, (1 << (chosen & 7)).astype(np.uint8))
    return int(np.bitwise_count(joined).sum())


def columns_of(settled: Settled, texts: EncodedTexts) -> Iterator[dict[str, Any]]:
    """The columns of a clusters file, ``id, cluster, keeper, score_to_keeper``, for these rows, in blocks of a shard."""
    told = texts.work.read(settled.name)
    for shard in texts.shards:
        if settled.start <= shard.start < settled.stop:
            inside = slice(shard.start - settled.start, shard.stop - settled.start)
            yield {
                "id": texts.of(np.arange(shard.start, shard.stop)),
                "cluster": told["cluster"][inside],
                "keeper": texts.of(told["keeper"][inside]),
                "score_to_keeper": told["score"][inside],
            }


def _are(bits: UInt8[np.ndarray, " n_bytes"], rows: Rows) -> Bool[np.ndarray, " _"]:
    return np.asarray((bits[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1, dtype=np.bool_)


def _numbers(bits: UInt8[np.ndarray, " n_bytes"], keeper: Rows) -> Rows:
    """The number of each keeper among all keepers, from 0; keeps one sum per stretch of bits, not per byte."""
    pieces = [bits[start : start + _N_BYTES] for start in range(0, len(bits), _N_BYTES)]
    totals = np.cumsum([0, *(int(np.bitwise_count(piece).sum(dtype=np.int64)) for piece in pieces)])
    numbers = np.empty(len(keeper), dtype=np.int64)
    piece_of = (keeper >> 3) // _N_BYTES
    for place in np.unique(piece_of).tolist():
        mine = np.flatnonzero(piece_of == place)
        row = keeper[mine] - 8 * _N_BYTES * place
        before = np.concatenate([[0], np.cumsum(np.bitwise_count(pieces[place]), dtype=np.int64)])
        below = pieces[place][row >> 3] & ((1 << (row & 7)) - 1).astype(np.uint8)
        numbers[mine] = totals[place] + before[row >> 3] + np.bitwise_count(below)
    return numbers
