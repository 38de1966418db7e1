"""The approximate join: compares only vectors that share a cell, and measures which share of the pairs that finds.

Cells are the neighbourhoods of k-means centres. A vector lives in the cell of its nearest centre and visits the cells of the
next ones. In each cell, the vectors that live there are compared with each other and with all visitors, exactly. So the join
finds a pair if one of its vectors visits the cell where the other one lives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from textsiam.arrays import Found, Rows, Vectors, slices
from textsiam.distributing.blocks import Block, Joined, each_once, ready
from textsiam.distributing.encoders import Encoded
from textsiam.distributing.match_table import Part
from textsiam.distributing.workspace import Workspace, key_of
from textsiam.matching.rule import Rule

_N_ROWS_A_CENTRE = 64  # of the sample for k-means
_N_DISTANCES_AT_ONCE = 8_000_000


@dataclass(frozen=True)
class Probing:
    """How approximate the join is.

    Parameters
    ----------
    n_probes
        Cells per vector: it lives in one and visits the others. More cells find more pairs and cost more time.
    n_cells
        Number of cells. Default: the square root of the number of distinct texts.
    n_sample
        How many texts are compared with all others, exactly, to measure the recall.
    seed
        Of k-means and of both samples.
    """

    n_probes: int = 8
    n_cells: int | None = None
    n_sample: int = 1_000
    seed: int = 0


class Assigned(NamedTuple):
    """A file of ``cell, place, lives``, sorted by cell: which vectors of a shard are in which cells."""

    name: str
    encoded: Encoded


class Recall(NamedTuple):
    """How many pairs a sample of the distinct texts has with all others, and how many of them the join found.

    ``low`` and ``high`` bound the share with 95 % confidence. The bootstrap draws texts, because pairs of one text depend on each
    other.
    """

    n_texts: int
    n_pairs: int
    n_found: int
    share: float | None  # None where the texts have no pair
    low: float | None
    high: float | None

    @classmethod
    def of(cls, n_pairs: Rows, n_found: Rows, seed: int = 0) -> "Recall":
        """The recall, from the number of pairs of each text and the number of them that were found."""
        total = int(n_pairs.sum())
        if not total:
            return cls(len(n_pairs), 0, 0, None, None, None)
        draws = np.random.default_rng(seed).integers(0, len(n_pairs), (1_000, len(n_pairs)))
        pairs, found = n_pairs[draws].sum(1), n_found[draws].sum(1)
        low, high = np.quantile(found[pairs > 0] / pairs[pairs > 0], (0.025, 0.975))
        return cls(len(n_pairs), total, int(n_found.sum()), float(n_found.sum() / total), float(low), float(high))


def find_centres(work: Workspace, encoded: Sequence[Encoded], probing: Probing, similarity: str) -> str:
    """Write the centres of k-means on a sample and return the file's name. For cosine, vectors and centres have length 1."""
    from sklearn.cluster import MiniBatchKMeans

    n = sum(of.n for of in encoded)
    n_cells = max(1, min(n, probing.n_cells or round(n**0.5)))
    name = f"cells/{key_of([of.name for of in encoded], n_cells, probing.seed, similarity)}.arrow"
    if name not in work:
        rng = np.random.default_rng(probing.seed)
        share = min(1.0, n_cells * _N_ROWS_A_CENTRE / n)
        sample = []
        for of in encoded:
            vectors = work.read(of.name, "embedding")["embedding"]
            rows = np.sort(rng.permutation(len(vectors))[: max(1, round(share * len(vectors)))])
            sample.append(ready(vectors[rows], similarity, np.float32))
        points = np.concatenate(sample)
        n_cells = min(n_cells, len(points))
        means = MiniBatchKMeans(n_cells, batch_size=4_096, n_init=1, max_iter=20, random_state=probing.seed)
        work.write(name, {"centre": ready(means.fit(points).cluster_centers_, similarity, np.float32)})
    return name


def assign(work: Workspace, of: Encoded, centres: str, n_probes: int, similarity: str) -> Assigned:
    """Write the cells of each vector of a shard."""
    name = f"cells/{key_of(of.name, centres, n_probes)}.arrow"
    if name not in work:
        centre = work.read(centres, "centre")["centre"]
        vectors = work.read(of.name, "embedding")["embedding"]
        n_probes = min(n_probes, len(centre))
        cells = np.empty((len(vectors), n_probes), dtype=np.int32)
        n_at_once = max(64, _N_DISTANCES_AT_ONCE // len(centre))
        for block in slices(len(vectors), n_at_once):
            rows = ready(vectors[block], similarity, np.float32)
            away = (centre * centre).sum(
                1
            ) - 2 * rows @ centre.T  # squared distance, without the square of the row itself
            few = np.argpartition(away, n_probes - 1, axis=1)[:, :n_probes]
            order = np.argsort(np.take_along_axis(away, few, axis=1), axis=1, kind="stable")
            cells[block] = np.take_along_axis(few, order, axis=1)
        cell = cells.reshape(-1)
        place = np.repeat(np.arange(len(vectors)), n_probes)
        lives = np.tile(np.arange(n_probes) == 0, len(vectors))
        order = np.lexsort((place, cell))
        work.write(name, {"cell": cell[order], "place": place[order], "lives": lives[order]})
    return Assigned(name, of)


def groups_of(n_cells: int, n: int, n_a_task: int) -> list[tuple[int, int]]:
    """Ranges of cells; in each range live about `n_a_task` vectors."""
    size = max(1, round(n_cells * n_a_task / max(1, n)))
    return [(start, min(start + size, n_cells)) for start in range(0, n_cells, size)]


def join_cells(work: Workspace, assigned: Sequence[Assigned], cells: tuple[int, int], rule: Rule) -> Joined:
    """Find the pairs in these cells and write them as `join_blocks` does; other tasks may find some of them again."""
    files = [(of.name, of.encoded.shard.start) for of in assigned]
    name = f"pairs/{key_of(files, cells, rule.threshold, rule.similarity)}.arrow"
    n_compared = 0

    def find() -> Found:
        nonlocal n_compared
        cell, row, lives, vectors = _members(work, assigned, cells)
        found: list[Found] = []
        for number in range(*cells):
            mine = np.arange(*np.searchsorted(cell, (number, number + 1)))
            own, visitors = mine[lives[mine]], mine[~lives[mine]]
            n_compared += len(own) * (len(own) - 1) // 2 + len(own) * len(visitors)
            found += _met(vectors, row, own, visitors, rule)
        return each_once(found)

    return Joined.of(work, name, 0, find)._replace(n_compared=n_compared)


def draw(work: Workspace, encoded: Sequence[Encoded], probing: Probing) -> Block:
    """A block of random texts."""
    n = sum(of.n for of in encoded)
    name = (
        f"cells/{key_of('sample', [(of.name, of.shard.start) for of in encoded], probing.n_sample, probing.seed)}.arrow"
    )
    n_sample = min(n, probing.n_sample)
    if name not in work:
        chosen = np.sort(np.random.default_rng(probing.seed).choice(n, n_sample, replace=False, shuffle=False))
        rows, vectors, before = [], [], 0
        for of in encoded:
            mine = chosen[slice(*np.searchsorted(chosen, (before, before + of.n)))] - before
            if len(mine):
                told = work.read(of.name, "row", "embedding")
                rows.append(of.shard.start + told["row"][mine])
                vectors.append(told["embedding"][mine])
            before += of.n
        work.write(name, {"row": np.concatenate(rows), "embedding": np.concatenate(vectors)})
    return Block(((name, 0),), n_sample)


def measure_recall(
    work: Workspace, sample: Block, block: Block, rule: Rule, parts: Sequence[Part]
) -> tuple[Rows, Rows]:
    """Compare the sample with a block, exactly: each text's number of pairs, and how many of them are in the match table."""
    rows, vectors = sample.load(work)
    others, other_vectors = block.load(work)
    texts, near, _ = rule.join(vectors, other_vectors)
    a, b = rows[texts], others[near]
    text, left, right = texts[a != b], np.minimum(a, b)[a != b], np.maximum(a, b)[a != b]
    known = np.zeros(len(left), dtype=np.bool_)
    for part in parts:
        inside = np.flatnonzero((left >= part.start) & (left < part.stop))
        if len(inside):
            told = work.read(part.name, "left", "right")
            starts = np.searchsorted(told["left"], left[inside], side="left").tolist()
            ends = np.searchsorted(told["left"], left[inside], side="right").tolist()
            known[inside] = [
                bool((told["right"][start:end] == row).any())
                for start, end, row in zip(starts, ends, right[inside].tolist(), strict=True)
            ]
    return np.bincount(text, minlength=len(rows)), np.bincount(text[known], minlength=len(rows))


def _members(
    work: Workspace, assigned: Sequence[Assigned], cells: tuple[int, int]
) -> tuple[Rows, Rows, np.ndarray, Vectors]:
    """The members of these cells, sorted by cell: cell, row, whether it lives there, vector."""
    parts = []
    for of in assigned:
        told = work.between(of.name, "cell", *cells)
        place = told["place"]
        vectors = work.read(of.encoded.name, "row", "embedding")
        row = of.encoded.shard.start + vectors["row"][place]
        parts.append((told["cell"], row, told["lives"], vectors["embedding"][place]))
    cell, row, lives, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(cell, kind="stable")
    return cell[order], row[order], lives[order], rows[order]


def _met(vectors: Vectors, row: Rows, own: Rows, visitors: Rows, rule: Rule) -> list[Found]:
    """The pairs in one cell."""
    found = []
    for others in (None, visitors):
        if len(own) and (others is None or len(others)):
            left, right, scores = rule.join(vectors[own], None if others is None else vectors[others])
            a, b = row[own][left], row[own if others is None else others][right]
            found.append((np.minimum(a, b), np.maximum(a, b), scores))
    return found
