"""The join in blocks: joins two blocks of vectors exactly, then adds all rows that repeat a text of a pair."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from textsiam.arrays import Found, Rows, Scores, Vectors, slices
from textsiam.distributing.encoders import Encoded
from textsiam.distributing.shard_repeats import Repeats
from textsiam.distributing.workspace import Workspace, key_of
from textsiam.matching.join.tiles import joined, ordered
from textsiam.matching.matches import Matches
from textsiam.matching.repeats import crossed, equals_of
from textsiam.matching.rule import Rule

COLUMNS = ("left", "right", "score")
_N_ROWS = 8_192  # prepared at the same time


@dataclass(frozen=True)
class Block:
    """The vectors that one task compares: files in the workspace, each with the first row of its shard."""

    files: tuple[tuple[str, int], ...]
    n: int

    def load(self, work: Workspace) -> tuple[Rows, Vectors]:
        """Row numbers and vectors; a single file on this machine is not copied."""
        parts = [work.read(name, "row", "embedding") for name, _ in self.files]
        rows = [start + part["row"] for (_, start), part in zip(self.files, parts, strict=True)]
        if len(parts) == 1:
            return rows[0], parts[0]["embedding"]
        return np.concatenate(rows), np.concatenate([part["embedding"] for part in parts])


class Bounds(NamedTuple):
    """A ball that holds all vectors of a block, in the distance of the similarity (for cosine the angle)."""

    centre: Float[np.ndarray, " dim"]
    radius: float


class Joined(NamedTuple):
    """A file of ``left, right, score``, sorted by left and then right row; its lowest and highest left row; what it took.

    Rows are the first rows of their texts; after `expand` they are all rows of these texts.
    """

    name: str
    n: int
    lowest: int
    highest: int
    n_compared: int
    seconds: float
    reused: bool

    @classmethod
    def none(cls, work: Workspace) -> "Joined":
        """No pairs."""
        return cls.of(work, "pairs/none.arrow", 0, lambda: joined([]))

    @classmethod
    def of(cls, work: Workspace, name: str, n_compared: int, find: Callable[[], Found]) -> "Joined":
        """The pairs in this file; `find` finds them if it does not exist."""
        started, reused = time.perf_counter(), name in work
        if not reused:
            work.write(name, dict(zip(COLUMNS, find(), strict=True)))
        left = work.read(name, "left")["left"]
        lowest, highest = (int(left[0]), int(left[-1])) if len(left) else (0, -1)
        return cls(name, len(left), lowest, highest, n_compared, time.perf_counter() - started, reused)


def blocks_of(encoded: Sequence[Encoded], n_rows: int) -> list[Block]:
    """Blocks of neighbouring shards, each with at most `n_rows` vectors or one shard."""
    blocks: list[Block] = []
    files: list[tuple[str, int]] = []
    n = 0
    for of in encoded:
        if files and n + of.n > n_rows:
            blocks.append(Block(tuple(files), n))
            files, n = [], 0
        if of.n:
            files.append((of.name, of.shard.start))
            n += of.n
    return [*blocks, Block(tuple(files), n)] if files else blocks


def bounds_of(work: Workspace, block: Block, similarity: str) -> Bounds | None:
    """The ball around a block's mean; None where the similarity has no distance that obeys the triangle inequality (dot)."""
    if similarity == "dot":
        return None
    name = f"bounds/{key_of(block.files, similarity)}.arrow"
    if name not in work:
        _, vectors = block.load(work)
        parts = list(slices(len(vectors), _N_ROWS))
        centre = np.sum([ready(vectors[part], similarity).sum(0) for part in parts], axis=0) / len(vectors)
        if similarity == "cosine":
            centre /= max(float(np.linalg.norm(centre)), 1e-30)
        radius = max(float(_away(vectors[part], centre, similarity).max()) for part in parts)
        work.write(name, {"centre": np.append(centre, radius)})
    told = work.read(name)["centre"]
    return Bounds(told[:-1], float(told[-1]))


def are_apart(a: Bounds | None, b: Bounds | None, rule: Rule) -> bool:
    """Whether no vector of one block can reach the threshold with one of the other, by the triangle inequality."""
    if a is None or b is None:
        return False
    if rule.similarity == "cosine":
        between = math.acos(float(np.clip(a.centre @ b.centre, -1, 1)))
        # A score just below the threshold may be rounded to it. Near cosine 1, a small difference is a large angle.
        lowest = float(np.nextafter(np.float32(rule.threshold), np.float32(-2))) - 1e-7
        reach = math.acos(max(-1.0, min(1.0, lowest)))
    else:
        between = float(_away(a.centre[None], b.centre, rule.similarity)[0])
        reach = -rule.threshold
    slack = 1e-4 * (1 + between)  # far above the rounding of fp32 vectors, scores and of these sums
    return between - a.radius - b.radius > reach + slack


def block_pairs(bounds: Sequence[Bounds | None], rule: Rule) -> Iterator[tuple[int, int]]:
    """Pairs of blocks that are not provably apart; a block also pairs with itself."""
    for i, first in enumerate(bounds):
        for j in range(i, len(bounds)):
            if i == j or not are_apart(first, bounds[j], rule):
                yield i, j


def join_blocks(work: Workspace, a: Block, b: Block | None, rule: Rule) -> Joined:
    """Find and write the pairs within a block, or between two, unless the workspace holds them already.

    Raises TooManyMatches if more than `Rule.max_matches` pairs reach the threshold in this task alone.
    """
    name = f"pairs/{key_of(a.files, b.files if b else None, rule.threshold, rule.similarity)}.arrow"
    n_compared = a.n * (a.n - 1) // 2 if b is None else a.n * b.n

    def find() -> Found:
        rows, vectors = a.load(work)
        other_rows, others = (rows, None) if b is None else b.load(work)
        left, right, scores = rule.join(vectors, others)
        return rows[left], other_rows[right], scores

    return Joined.of(work, name, n_compared, find)


def expand(work: Workspace, found: Joined, own: Block | None, rule: Rule, repeats: Sequence[str]) -> Joined:
    """Write these pairs for all rows with the same texts; with `own` also the pairs of rows with equal texts.

    `own` is the block whose equal texts this task pairs; None pairs none.
    """
    name = f"pairs/{key_of('expanded', found.name, own and own.files, list(repeats))}.arrow"

    def find() -> Found:
        known = Repeats(work, repeats)
        told = work.read(found.name)
        pairs = _expanded(told["left"], told["right"], told["score"], known, rule.max_matches)
        if own is None:
            return pairs
        rows, vectors = own.load(work)
        return ordered([pairs, equals_of(known.groups(rows), vectors, rule)])

    return Joined.of(work, name, 0, find)


def _expanded(left: Rows, right: Rows, score: Scores, repeats: Repeats, max_matches: int) -> Found:
    rows, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    found = Matches(places[: len(left)], places[len(left) :], score, len(rows))
    side = repeats.groups(rows)
    return crossed(found, side, side, max_matches)


def each_once(found: Sequence[Found]) -> Found:
    """All pairs in order of left and right row, each once: cells find some of them several times."""
    left, right, scores = ordered(found)
    new = np.ones(len(left), dtype=np.bool_)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return left[new], right[new], scores[new]


def ready(rows: Vectors, similarity: str, dtype: type[Any] = np.float64) -> Float[np.ndarray, "n dim"]:
    """The rows in this dtype; for cosine with length 1."""
    rows = rows.astype(dtype)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30) if similarity == "cosine" else rows


def _away(rows: Vectors, centre: Float[np.ndarray, " dim"], similarity: str) -> Float[np.ndarray, " n"]:
    """The distance of each row from the centre; for cosine the angle."""
    made = ready(rows, similarity)
    if similarity == "cosine":
        return np.asarray(np.arccos(np.clip(made @ centre, -1, 1)))
    off = made - centre
    return np.asarray(np.abs(off).sum(1) if similarity == "manhattan" else np.linalg.norm(off, axis=1))
