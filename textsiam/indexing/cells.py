"""Cells of rows, in faiss, of which a query visits those nearest to it: what `approximate` is made of.

Rows are given as they are, and held at length 1, turned at random and rounded to int8 (faiss's inverted lists: Jégou, Douze and
Schmid 2011). A row lies in the cell of the nearest of some centroids; the *rank* of a cell for a query is how many are nearer.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from textsiam.errors import MissingExtra
from textsiam.matching.screens import SPARE, UNIT

Rows = Float[np.ndarray, "n dim"]
Others = Float[np.ndarray, "m dim"]
Turn = Float[np.ndarray, "dim dim"]
Numbers = Int[np.ndarray, " k"]
Counts = Int[np.ndarray, " cells"]

_BLOCK = 8_192
_ROOTS, _TRAINED_ON = 4, 40  # cells: so many √n, each placed by so many rows
_DEVIATIONS = 6  # of a turned row's coordinates, 1/√dim each, that int8 reaches: beyond are 2 in a billion
_MOST_VISITED = 0.25  # share of cells beyond which the exact scan of leading coordinates is about as fast
_FEW_CELLS = 4  # which may all be visited
N_MATCHES, N_EDGES = 1_000, 8_000  # queries that recall is measured by: as many as take a tenth of building
_FEW_MATCHES = 50  # fewer say nothing of recall


class Known(NamedTuple):
    """All that is known beside the rows. `ranks` counts queries by how many cells are nearer than the one they must visit."""

    turn: Float[np.ndarray, "dim dim"]  # orthonormal
    ranks: Int[np.ndarray, "2 cells"]  # of true matches; of edges
    threshold: float
    target: float  # recall
    lost: float  # the greatest length that rounding took off a row
    last: int  # checksum of the last rows

    @property
    def slack(self) -> float:
        """By how much an exact cosine can be above faiss's, with the rounding of fp32 (Higham 2002, § 3.1 and § 3.5)."""
        exact, unit = self.turn.astype(np.float64), (len(self.turn) + SPARE) * UNIT
        skew = float(np.linalg.norm(exact.T @ exact - np.eye(len(exact))))
        turned = unit * (float(np.linalg.norm(exact)) + 1)
        return 1.01 * (skew + 2 * turned + turned**2 + self.lost + 2 * unit)

    def settled(self) -> tuple[int, float]:
        """How many cells to visit and the recall that this has, at worst of the kinds of query.

        A quarter of the misses allowed is aimed at, for the setting is chosen by the queries that it is measured by, and a few
        rows may have most matches: at a million rows one that found .995 of what it was chosen by found .989 of others.
        """
        few = (_FEW_MATCHES, 1)
        curves = [
            kind.cumsum() / kind.sum() for kind, least in zip(self.ranks, few, strict=True) if kind.sum() >= least
        ]
        worst = np.min(curves or [np.zeros(self.ranks.shape[1])], axis=0)
        most = max(min(_FEW_CELLS, len(worst)), int(_MOST_VISITED * len(worst)))
        visited = min(int(np.searchsorted(worst, (3 + self.target) / 4)) + 1, most)
        return visited, float(worst[visited - 1])


def library() -> Any:
    """The module faiss, imported at first use.

    Raises
    ------
    MissingExtra
        If it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingExtra("Approximate search needs faiss. Install it: pip install 'textsiam[index]'.") from None
    return faiss


def check(rows: Rows, dim: int) -> None:
    """Raise ValueError for rows of another dimension, or with NaN or infinity."""
    if rows.shape[1] != dim:
        raise ValueError(
            f"Rows must have {dim} dimensions, but these have {rows.shape[1]}. Encode them with one model."
        )
    for start, block in _blocks(rows):
        if bad := np.flatnonzero(~np.isfinite(block).all(1))[:5].tolist():
            raise ValueError(
                f"Rows must be finite in fp32, but rows {[start + row for row in bad]} are not. Leave out unusable texts."
            )


def turned(rows: Rows, turn: Turn) -> Float[np.ndarray, "n dim"]:
    """Rows of length 1, but for zeros, turned."""
    out = np.empty(rows.shape, dtype=np.float32)
    for start, block in _blocks(rows):
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))[:, None]
        unit = (block / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32)
        np.matmul(unit, turn, out=out[start : start + _BLOCK])
    return out


def trained(rows: Rows, turn: Turn, random: np.random.Generator) -> Any:
    """An empty index, its cells placed by a sample of the rows: spherical k-means."""
    faiss, (n, dim) = library(), rows.shape
    n_cells = max(1, min(int(_ROOTS * n**0.5), n // _TRAINED_ON))
    index = faiss.index_factory(dim, f"IVF{n_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.cp.min_points_per_centroid = 1  # fewer would be remarked on standard error
    index.cp.seed = int(random.integers(2**31))
    index.train(turned(rows[np.sort(random.choice(n, min(n, _TRAINED_ON * n_cells), replace=False))], turn))
    # One unit for all coordinates, and not one for each as the sample has them: other rows may be unlike the sample.
    reach = min(1.0, _DEVIATIONS / dim**0.5)
    faiss.copy_array_to_vector(np.repeat(np.array([-reach, 2 * reach], dtype=np.float32), dim), index.sq.trained)
    return index


def append(index: Any, rows: Rows, turn: Turn) -> float:
    """Rows are added; the greatest length that rounding took off one of them is returned."""
    lost = 0.0
    for _, block in _blocks(rows):
        unit = turned(block, turn)
        rest = unit - index.sq.decode(index.sq.compute_codes(unit))
        lost = max(lost, float(np.sqrt(np.einsum("ij,ij->i", rest, rest, dtype=np.float64).max())))
        index.add(unit)
    return lost


def ranks_of_matches(index: Any, rows: Rows, drawn: Numbers, threshold: float, turn: Turn) -> Counts:
    """Ranks of the cells of all rows that reach the threshold with a drawn one, other than itself, by brute force; counted."""
    queries = turned(rows[drawn], turn)
    order = np.argsort(-(queries @ _centroids(index).T), axis=1)
    ranks = np.argsort(order, axis=1).astype(np.int32)  # its inverse
    counts = np.zeros(index.nlist, dtype=np.int64)
    for start, block in _blocks(rows):
        unit = turned(block, turn)
        i, j = np.nonzero(queries @ unit.T >= threshold)
        other = drawn[i] != start + j
        near, place = np.unique(j[other], return_inverse=True)
        counts += np.bincount(ranks[i[other], _cells(index, unit[near])[place]], minlength=index.nlist)
    return counts


def ranks_of_edges(index: Any, rows: Rows, others: Rows, threshold: float) -> Counts:
    """Ranks of rows' own cells for the rows turned towards others until the cosine with themselves is the threshold; counted.

    Both kinds of rows are of length 1 and turned at random already.
    """
    counts, centroids = np.zeros(index.nlist, dtype=np.int64), _centroids(index)
    for start in range(0, len(rows), N_MATCHES):
        row, other = rows[start : start + N_MATCHES], others[start : start + N_MATCHES]
        across = other - np.einsum("ij,ij->i", row, other)[:, None] * row
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), UNIT)  # nearly 0 where both are one row
        nearness = (threshold * row + (1 - threshold**2) ** 0.5 * across) @ centroids.T
        own = np.take_along_axis(nearness, _cells(index, row)[:, None], axis=1)
        ranks = (nearness > own).sum(1)
        counts += np.bincount(ranks[row.any(1)], minlength=index.nlist)  # a row of zeros reaches no threshold
    return counts


def _blocks(rows: Rows) -> Iterator[tuple[int, Others]]:
    for start in range(0, len(rows), _BLOCK):
        with np.errstate(over="ignore"):  # infinity is refused by `check`
            block = np.asarray(rows[start : start + _BLOCK], dtype=np.float32)
        yield start, block


def _centroids(index: Any) -> Float[np.ndarray, "cells dim"]:
    return np.asarray(index.quantizer.reconstruct_n(0, index.nlist))


def _cells(index: Any, rows: Rows) -> Numbers:
    return np.asarray(index.quantizer.search(rows, 1)[1][:, 0])
