"""Rows near a query without a look at every row: they lie in cells, and a query visits the few cells nearest to it.

About 4·√n centroids (spherical k-means) make the cells; a row lies in the cell of the nearest. Rows are held at length 1 as int8
(faiss's inverted lists; Jégou, Douze and Schmid 2011). The *rank* of a cell for a query is how many cells are nearer. A row above
the threshold can escape in two ways. One is excluded, the other measured:

1. Rounding. Rows are first turned at random, so that no coordinate stands out in any row, also in those that come later, and one
   unit fits all. What rounding took off a row has a known length, and by Cauchy and Schwarz takes no more off a cosine.
2. Its cell is not visited. The share that escapes this way is measured, and as many cells are visited as the recall requires.

An index makes such a structure when exact search is no longer fast enough. It is a cache that can be made again, and holds the
rows that there were when it was made. Later rows are searched exactly, so its recall stays what was measured.

Left out: rows added or removed later; graphs (HNSW), which at a million rows and .8 find 98.7% of rows from the edge in 4.5 ms,
cells 99.2% in 0.9 (benchmarks/nearest.py).
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.arrays import Found, Others, Vectors, slices
from textsiam.data.files import replacing
from textsiam.errors import MissingExtra
from textsiam.indexing.search.scan import Scan
from textsiam.matching.join.screens import SPARE, UNIT
from textsiam.matching.join.tiles import Allowed, ordered
from textsiam.matching.rule import Rule

# As many rows as the largest index that was measured (benchmarks/results/index.json): exact search there, encoding included,
# takes 7 ms for one text at the median and 11 at p99 on two cores. Nothing was measured beyond.
APPROXIMATE_FROM = 1_000_000

Numbers = Int[np.ndarray, " k"]

Turn = Float[np.ndarray, "dim dim"]
Counts = Int[np.ndarray, " cells"]

_BLOCK = 8_192
_ROOTS, _TRAINED_ON = 4, 40  # cells: this many times √n, each placed by this many rows
_DEVIATIONS = 6  # of a turned row's coordinates, 1/√dim each, that int8 reaches: beyond are 2 in a billion
_MOST_VISITED = 0.25  # share of cells beyond which the exact scan of leading coordinates is about as fast
_FEW_CELLS = 4  # which may all be visited
N_MATCHES, N_EDGES = 1_000, 8_000  # queries that recall is measured by: as many as take a tenth of building
_FEW_MATCHES = 50  # fewer say nothing of recall
_MAGIC = b"textsiam approximate 1\n"
_N_LAST = 64


class Known(NamedTuple):
    """All that is known besides the rows. `ranks` counts queries by how many cells are nearer than the one they must visit."""

    turn: Float[np.ndarray, "dim dim"]  # orthonormal
    ranks: Int[np.ndarray, "2 cells"]  # of true matches; of edges
    threshold: float
    target: float  # recall
    lost: float  # the greatest length that rounding took off a row
    last: int  # checksum of the last rows

    @property
    def slack(self) -> float:
        """How far an exact cosine can be above faiss's, with the rounding of fp32 (Higham 2002, § 3.1 and § 3.5)."""
        exact, unit = self.turn.astype(np.float64), (len(self.turn) + SPARE) * UNIT
        skew = float(np.linalg.norm(exact.T @ exact - np.eye(len(exact))))
        turned = unit * (float(np.linalg.norm(exact)) + 1)
        return 1.01 * (skew + 2 * turned + turned**2 + self.lost + 2 * unit)

    def settled(self) -> tuple[int, float]:
        """How many cells to visit, and the recall of that for the kind of query where it is lower.

        The target is a quarter of the misses allowed, because the setting is chosen by the queries that it is measured by, and a
        few rows may have most matches: at a million rows a setting that found .995 for those queries found .989 for others.
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

    Raises MissingExtra if it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingExtra("Approximate search needs faiss. Install it: pip install 'textsiam[index]'.") from None
    return faiss


def check(rows: Vectors, dim: int) -> None:
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


def turned(rows: Vectors, turn: Turn) -> Float[np.ndarray, "n dim"]:
    """Rows of length 1, but for zeros, turned."""
    out = np.empty(rows.shape, dtype=np.float32)
    for start, block in _blocks(rows):
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))[:, None]
        unit = (block / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32)
        np.matmul(unit, turn, out=out[start : start + _BLOCK])
    return out


def trained(rows: Vectors, turn: Turn, random: np.random.Generator) -> Any:
    """An empty index, its cells placed by a sample of the rows: spherical k-means."""
    faiss, (n, dim) = library(), rows.shape
    n_cells = max(1, min(int(_ROOTS * n**0.5), n // _TRAINED_ON))
    index = faiss.index_factory(dim, f"IVF{n_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.cp.min_points_per_centroid = 1  # with fewer, faiss warns on standard error
    index.cp.seed = int(random.integers(2**31))
    index.train(turned(rows[np.sort(random.choice(n, min(n, _TRAINED_ON * n_cells), replace=False))], turn))
    # One unit for all coordinates, and not one for each as the sample has them: other rows may be unlike the sample.
    reach = min(1.0, _DEVIATIONS / dim**0.5)
    faiss.copy_array_to_vector(np.repeat(np.array([-reach, 2 * reach], dtype=np.float32), dim), index.sq.trained)
    return index


def append(index: Any, rows: Vectors, turn: Turn) -> float:
    """Add rows; returns the greatest length that rounding took off one of them."""
    lost = 0.0
    for _, block in _blocks(rows):
        unit = turned(block, turn)
        rest = unit - index.sq.decode(index.sq.compute_codes(unit))
        lost = max(lost, float(np.sqrt(np.einsum("ij,ij->i", rest, rest, dtype=np.float64).max())))
        index.add(unit)
    return lost


def ranks_of_matches(index: Any, rows: Vectors, drawn: Numbers, threshold: float, turn: Turn) -> Counts:
    """How often each rank occurs among the cells of all rows that reach the threshold with another, drawn row, by brute force."""
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


def ranks_of_edges(index: Any, rows: Vectors, others: Vectors, threshold: float) -> Counts:
    """How often each rank occurs for rows' own cells, for queries at the edge: the rows moved towards others up to the threshold.

    Both kinds of rows have length 1 and are turned at random already.
    """
    counts, centroids = np.zeros(index.nlist, dtype=np.int64), _centroids(index)
    for block in slices(len(rows), N_MATCHES):
        row, other = rows[block], others[block]
        across = other - np.einsum("ij,ij->i", row, other)[:, None] * row
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), UNIT)  # nearly 0 where both are one row
        nearness = (threshold * row + (1 - threshold**2) ** 0.5 * across) @ centroids.T
        own = np.take_along_axis(nearness, _cells(index, row)[:, None], axis=1)
        ranks = (nearness > own).sum(1)
        counts += np.bincount(ranks[row.any(1)], minlength=index.nlist)  # a row of zeros reaches no threshold
    return counts


def _blocks(rows: Vectors) -> Iterator[tuple[int, Others]]:
    for start in range(0, len(rows), _BLOCK):
        with np.errstate(over="ignore"):  # infinity is refused by `check`
            block = np.asarray(rows[start : start + _BLOCK], dtype=np.float32)
        yield start, block


def _centroids(index: Any) -> Float[np.ndarray, "cells dim"]:
    return np.asarray(index.quantizer.reconstruct_n(0, index.nlist))


def _cells(index: Any, rows: Vectors) -> Numbers:
    return np.asarray(index.quantizer.search(rows, 1)[1][:, 0])


@final
class Approximate:
    """Rows in cells: finds nearly all above a threshold, in a time that grows with √n if cells are equally full.

    Made by `build` or `load`. Several threads may search at once. A query takes one thread.

    Attributes
    ----------
    threshold
        The cosine at which recall was measured. Above it recall is higher; below it a search is refused.
    recall
        The measured share of rows found, the lower of two: of pairs among the rows that reach the threshold (counted from 50
        pairs up), and of rows looked up by a query exactly at the threshold, where they are hardest to find.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(2_000, 16)).astype(np.float32)
    >>> rows[7] = rows[5]
    >>> near = Approximate.build(rows, threshold=0.95)
    >>> near.n, near.recall >= 0.99
    (2000, True)
    >>> near.candidates(rows[5:6], threshold=0.95)
    (array([0, 0]), array([5, 7]))
    """

    def __init__(self, index: Any, known: Known) -> None:
        self._index, self._known, self._slack = index, known, known.slack
        index.nprobe, self.recall = known.settled()

    @classmethod
    def build(cls, rows: Vectors, threshold: float, *, recall: float = 0.99, seed: int = 0) -> "Approximate":
        """Put all rows into cells, and choose how many cells to visit for the recall.

        A million rows of 384 dimensions take about a minute on two cores and 650 MB; time grows with n^1.5, memory with n.

        Parameters
        ----------
        rows
            Of any length but finite; compared by cosine. A memory map is read in blocks, three times.
        threshold
            The lowest cosine that will be searched for, above 0.
        recall
            The least share of rows to find.

        Raises
        ------
        MissingExtra
            If faiss is not installed; the text gives the install line.
        ValueError
            If there are no rows, or not finite ones, or if visiting a quarter of the cells finds too few: search exactly then.
        """
        _check_asked(rows, threshold, recall)
        random = np.random.default_rng(seed)
        turn = np.linalg.qr(random.normal(size=(rows.shape[1], rows.shape[1])))[0].astype(np.float32)
        index = trained(rows, turn, random)
        drawn = random.choice(len(rows), min(len(rows), N_EDGES), replace=False)
        sample = turned(rows[drawn], turn)
        lost = append(index, rows, turn)
        matches = ranks_of_matches(index, rows, drawn[:N_MATCHES], threshold, turn)
        edges = ranks_of_edges(index, sample, random.permutation(sample), threshold)
        built = cls(index, Known(turn, np.stack([matches, edges]), threshold, recall, lost, _of_last(rows)))
        if built.recall < recall:
            raise ValueError(
                f"No fast way finds {recall:.1%} of the rows at {threshold:g}: {built.recall:.1%} are in a quarter of the cells. "
                "Search exactly, or ask for less recall or a higher threshold."
            )
        return built

    @property
    def n(self) -> int:
        """Rows held."""
        return int(self._index.ntotal)

    @property
    def threshold(self) -> float:
        """The lowest cosine that can be searched for."""
        return self._known.threshold

    def is_of(self, rows: Vectors) -> bool:
        """Whether it was built from the first of these rows; only the last of those are compared."""
        return self.n <= len(rows) and _of_last(rows[: self.n]) == self._known.last

    def candidates(self, queries: Others, threshold: float) -> tuple[Numbers, Numbers]:
        """Numbers of queries and of rows, in their order, int64: all from `threshold` up that the visited cells hold.

        None is cut off, however many there are; each takes 50 bytes for a moment. Some are a little below the threshold, by at
        most 0.04 in 384 dimensions, because rows are rounded: score them exactly.

        Raises
        ------
        ValueError
            If the threshold is below the one that recall was measured at, or queries are not finite or of another dimension.
        """
        if not threshold >= self.threshold:
            raise ValueError(
                f"Recall was measured at {self.threshold:g}, but the threshold is {threshold:g}. Build for the lowest threshold."
            )
        check(queries, dim=self._index.d)
        limits, _, found = self._index.range_search(turned(queries, self._known.turn), threshold - self._slack)
        asked = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
        order = np.lexsort((found, asked))
        return asked[order], found[order]

    def find(
        self,
        scan: Scan,
        rows: Shaped[np.ndarray, "n dim"],
        queries: Others,
        rule: Rule,
        alive: Bool[np.ndarray, " n"],
    ) -> Found:
        """Query, row and exact score of the matches among rows that are alive, by query and row; later rows are searched exactly.

        Raises
        ------
        TooManyMatches
            If they are more than the rule allows.
        """
        allowed = Allowed(rule.max_matches, rule.threshold)
        later = scan.find(rows, queries, rule, alive, start=self.n)
        i, j = self.candidates(queries, rule.threshold)
        i, j = i[alive[j]], j[alive[j]]
        allowed.take(len(later[0]))
        return ordered([allowed.reaching(i, j, scan.scores(rows, queries, i, j)), later])

    def save(self, file: Path) -> None:
        """Write it, whole or not at all, with dim + 8 bytes per row; replaces an existing file. Not for one that was loaded.

        Raises
        ------
        OSError
            What the file system says.
        """
        index = self._index
        with replacing(file) as temporary:
            library().write_index(index, str(temporary))
            size = temporary.stat().st_size
            n_head = size - self.n * (index.code_size + 8)  # rows and their numbers come last
            footer = io.BytesIO()
            np.savez(footer, faiss=np.array([size, n_head, _checksum(temporary, n_head)]), **self._known._asdict())
            with temporary.open("ab") as out:
                out.write(footer.getvalue() + len(footer.getvalue()).to_bytes(8, "little") + _MAGIC)

    @classmethod
    def load(cls, file: Path) -> "Approximate":
        """What was saved, mapped: rows are read from the file when their cell is first visited. Nothing is unpickled.

        Raises
        ------
        MissingExtra
            If faiss is not installed; the text gives the install line.
        OSError
            What the file system says.
        ValueError
            If the file is of another kind, cut short or damaged. Rows themselves are not read here, so not checked.
        """
        faiss, known = library(), _read(file)
        try:
            index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
        except RuntimeError as error:
            raise ValueError(f"{file} cannot be read by faiss {faiss.__version__}: {error}. Build it again.") from None
        # Threads that read ahead, 32 started for each query, take far longer than the query itself.
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0
        return cls(index, known)


def _check_asked(rows: Vectors, threshold: float, recall: float) -> None:
    """Raise before the slow work."""
    library()
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a cosine above 0 and up to 1, but is {threshold!r}. Search exactly below.")
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be above 0 and up to 1, but is {recall!r}. Use .99, for example.")
    if not rows.size:
        raise ValueError(
            f"There must be a row to begin with, but the shape is {rows.shape}. Build it when there are rows."
        )
    check(rows, dim=rows.shape[1])


def _read(file: Path) -> Known:
    """What follows faiss's part of a file, after checks: it has its length, and its head, which faiss trusts, is unchanged."""
    wrong = ValueError(
        f"{file} is not an approximate index of this version, or is cut short or damaged. Build it again."
    )
    n_tail = 8 + len(_MAGIC)
    with file.open("rb") as opened:
        end = opened.seek(0, io.SEEK_END)
        opened.seek(max(0, end - n_tail))
        length, magic = int.from_bytes(opened.read(8), "little"), opened.read()
        if magic != _MAGIC or length > end - n_tail:
            raise wrong
        opened.seek(end - n_tail - length)
        try:
            with np.load(io.BytesIO(opened.read(length)), allow_pickle=False) as arrays:
                known = {name: array if array.ndim else array.item() for name, array in arrays.items()}
            size, n_head, checksum = known.pop("faiss").tolist()
            whole = size == end - n_tail - length and _checksum(file, n_head) == checksum
            stored = Known(**known)
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            raise wrong from None
    if not whole:
        raise wrong
    return stored


def _of_last(rows: Vectors) -> int:
    """Of rows that only grow: two histories differ in their last rows."""
    return zlib.crc32(np.ascontiguousarray(rows[-_N_LAST:], dtype=np.float32).tobytes())


def _checksum(file: Path, n_bytes: int) -> int:
    with file.open("rb") as opened:
        return zlib.crc32(opened.read(n_bytes))
