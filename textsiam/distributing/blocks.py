"""The join in blocks: every pair of two blocks of vectors, by the exact join of one machine, and all rows that repeat them."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from textsiam.distributing.repeats import Repeats
from textsiam.distributing.vectors import Encoded
from textsiam.distributing.workspace import Workspace, key_of
from textsiam.matching.exact import threshold_join
from textsiam.matching.matches import Matches
from textsiam.matching.repeats import RowPairs, crossed, merged, repeats_of
from textsiam.scoring.similarity import SIMILARITIES

_N_ROWS = 8_192  # made ready at a time

Vectors = Float[np.ndarray, "n dim"]
Rows = Int[np.ndarray, " _"]
Scores = Float[np.ndarray, " _"]


@dataclass(frozen=True)
class Joining:
    """What is joined, and how."""

    threshold: float
    similarity: str
    max_memory_mb: int = 256
    max_matches: int = 20_000_000


@dataclass(frozen=True)
class Block:
    """Vectors that are compared in one task: files in the workspace, and the row where each one's shard starts."""

    files: tuple[tuple[str, int], ...]
    n: int

    def load(self, work: Workspace) -> tuple[Rows, Vectors]:
        """Row numbers and vectors; of one file on this machine without a copy."""
        parts = [work.read(name, "row", "embedding") for name, _ in self.files]
        rows = [start + part["row"] for (_, start), part in zip(self.files, parts, strict=True)]
        if len(parts) == 1:
            return rows[0], parts[0]["embedding"]
        return np.concatenate(rows), np.concatenate([part["embedding"] for part in parts])


class Bounds(NamedTuple):
    """A ball that holds all of a block's vectors, by the similarity's own distance (cosine: the angle)."""

    centre: Float[np.ndarray, " dim"]
    radius: float


class Joined(NamedTuple):
    """A file of ``left, right, score`` by left, then right row; the lowest and highest left row; what it took."""

    name: str
    n: int
    lowest: int
    highest: int
    n_compared: int
    seconds: float
    reused: bool

    @classmethod
    def of(cls, work: Workspace, name: str, n_compared: int, started: float, *, reused: bool) -> "Joined":
        """What lies there."""
        left = work.read(name, "left")["left"]
        lowest, highest = (int(left[0]), int(left[-1])) if len(left) else (0, -1)
        return cls(name, len(left), lowest, highest, n_compared, time.perf_counter() - started, reused)


def blocks_of(encoded: Sequence[Encoded], n_rows: int) -> list[Block]:
    """Neighbouring shards, up to so many vectors together."""
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
    _, vectors = block.load(work)
    parts = [slice(start, start + _N_ROWS) for start in range(0, len(vectors), _N_ROWS)]
    centre = np.sum([_ready(vectors[part], similarity).sum(0) for part in parts], axis=0) / len(vectors)
    if similarity == "cosine":
        centre /= max(float(np.linalg.norm(centre)), 1e-30)
    return Bounds(centre, max(float(_away(vectors[part], centre, similarity).max()) for part in parts))


def are_apart(a: Bounds | None, b: Bounds | None, joining: Joining) -> bool:
    """Whether no vector of one block can reach the threshold with one of the other, by the triangle inequality."""
    if a is None or b is None:
        return False
    if joining.similarity == "cosine":
        between = math.acos(float(np.clip(a.centre @ b.centre, -1, 1)))
        reach = math.acos(max(-1.0, min(1.0, joining.threshold)))
    else:
        between = float(_away(a.centre[None], b.centre, joining.similarity)[0])
        reach = -joining.threshold
    slack = 1e-4 * (1 + between)  # far above the rounding of fp32 vectors, scores and of these sums
    return between - a.radius - b.radius > reach + slack


def block_pairs(bounds: Sequence[Bounds | None], joining: Joining) -> Iterator[tuple[int, int]]:
    """Pairs of blocks, one with itself included, that are not provably apart."""
    for i, first in enumerate(bounds):
        for j in range(i, len(bounds)):
            if i == j or not are_apart(first, bounds[j], joining):
                yield i, j


def join_blocks(work: Workspace, a: Block, b: Block | None, joining: Joining, repeats: Sequence[str]) -> Joined:
    """Find the pairs of a block, or of two, and write them for all rows that hold the texts; what is there is not found again.

    Raises
    ------
    TooManyMatches
        If more than `Joining.max_matches` pairs of rows reach the threshold in this block alone.
    """
    started = time.perf_counter()
    key = key_of(a.files, b.files if b else None, joining.threshold, joining.similarity, list(repeats))
    name = f"pairs/{key}.arrow"
    n_compared = a.n * (a.n - 1) // 2 if b is None else a.n * b.n
    reused = name in work
    if not reused:
        known = Repeats(work, repeats)
        rows, vectors = a.load(work)
        other_rows, others = (rows, None) if b is None else b.load(work)
        found = threshold_join(
            vectors,
            others,
            threshold=joining.threshold,
            similarity=joining.similarity,
            max_memory_mb=joining.max_memory_mb,
            max_matches=joining.max_matches,
        )
        pairs = expanded(rows[found.left], other_rows[found.right], found.score, known, joining.max_matches)
        if b is None:
            pairs = of_equals(pairs, rows, vectors, known, joining)
        work.write(name, {"left": pairs.left, "right": pairs.right, "score": pairs.score})
    return Joined.of(work, name, n_compared, started, reused=reused)


def expanded(left: Rows, right: Rows, score: Scores, repeats: Repeats, max_matches: int) -> RowPairs:
    """Pairs of rows whose text did not come before → pairs of all rows that hold these texts, in order."""
    rows, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    found = Matches(places[: len(left)], places[len(left) :], score, len(rows))
    side = repeats.groups(rows)
    return crossed(found, side, side, max_matches)


def of_equals(pairs: RowPairs, rows: Rows, vectors: Vectors, repeats: Repeats, joining: Joining) -> RowPairs:
    """These pairs, and those of rows that hold the same text, where its score with itself reaches the threshold."""
    side = repeats.groups(rows)
    repeated = np.flatnonzero(side.sizes > 1)
    some = vectors[repeated].astype(np.float64)
    own = np.asarray(SIMILARITIES[joining.similarity].paired(some, some), dtype=np.float32)
    reach = own >= np.float32(joining.threshold)
    return merged(pairs, repeats_of(side, repeated[reach], own[reach]))


def _ready(rows: Vectors, similarity: str) -> Float[np.ndarray, "n dim"]:
    """In fp64, for cosine of length 1."""
    rows = rows.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30) if similarity == "cosine" else rows


def _away(rows: Vectors, centre: Float[np.ndarray, " dim"], similarity: str) -> Float[np.ndarray, " n"]:
    """Each row's distance from the centre, for cosine the angle."""
    ready = _ready(rows, similarity)
    if similarity == "cosine":
        return np.asarray(np.arccos(np.clip(ready @ centre, -1, 1)))
    off = ready - centre
    return np.asarray(np.abs(off).sum(1) if similarity == "manhattan" else np.linalg.norm(off, axis=1))
