"""Rows near a query without a look at every row: they lie in cells, and a query visits the few cells nearest to it.

About 4·√n centroids (spherical k-means) make the cells; rows are held there as int8 (faiss's inverted lists; Jégou, Douze
and Schmid 2011). A row above the threshold can escape in two ways. One is excluded, the other measured:

1. Rounding. Rows are first turned at random, so that no coordinate stands out in any row, whenever it comes, and one unit
   does for all. What rounding took off a row has a known length, and by Cauchy and Schwarz takes no more off a cosine.
2. Its cell is not visited. The share that escapes so is measured, and as many cells are visited as the recall asks for.

Left out: exact scores, which the caller computes of what is found; rows added or removed later; graphs (HNSW), which at a million
rows and .8 find 98.7% of rows from the edge in 4.5 ms, cells 99.2% in 0.9 (benchmarks/nearest.py).
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int

from textsiam.data.files import replacing
from textsiam.indexing import cells

Rows = Float[np.ndarray, "n dim"]
Others = Float[np.ndarray, "m dim"]
Numbers = Int[np.ndarray, " k"]

_MAGIC = b"textsiam approximate 1\n"
_N_LAST = 64


@final
class Approximate:
    """Rows in cells: finds nearly all above a threshold, in a time that grows with √n where cells are alike.

    Made by `build` or `load`. Several threads may ask at once. A query takes one thread.

    Attributes
    ----------
    threshold
        The cosine that recall was measured at. Above it recall is higher; below it nothing is promised, nor answered.
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

    def __init__(self, index: Any, known: cells.Known) -> None:
        self._index = index
        self._learn(known)

    @classmethod
    def build(cls, rows: Rows, threshold: float, *, recall: float = 0.99, seed: int = 0) -> "Approximate":
        """All rows in cells, visited as many as the recall asks for.

        A million rows of 384 dimensions take about a minute on two cores and 650 MB; time grows with n^1.5, memory with n.

        Parameters
        ----------
        rows
            Of any length but finite; compared by cosine. A memory map is read in blocks, three times.
        threshold
            The lowest cosine that will be asked for, above 0.
        recall
            The least share to be found.

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
        index = cells.trained(rows, turn, random)
        drawn = random.choice(len(rows), min(len(rows), cells.N_EDGES), replace=False)
        sample = cells.turned(rows[drawn], turn)
        lost = cells.append(index, rows, turn)
        matches = cells.ranks_of_matches(index, rows, drawn[: cells.N_MATCHES], threshold, turn)
        edges = cells.ranks_of_edges(index, sample, random.permutation(sample), threshold)
        built = cls(index, cells.Known(turn, np.stack([matches, edges]), threshold, recall, lost, _of_last(rows)))
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
        """The lowest cosine that can be asked for."""
        return self._known.threshold

    def is_of(self, rows: Rows) -> bool:
        """Whether it was built from the first of these rows, as far as the last ones of those tell."""
        return self.n <= len(rows) and _of_last(rows[: self.n]) == self._known.last

    def candidates(self, queries: Others, threshold: float) -> tuple[Numbers, Numbers]:
        """Numbers of queries and of rows, in their order, int64: all that visited cells hold from `threshold` up.

        None is cut off, however many there are, at 50 bytes each for a moment. Some are a little below the threshold, by 0.04 or
        less in 384 dimensions, for rows are rounded: score them exactly.

        Raises
        ------
        ValueError
            If the threshold is below the one that recall was measured at, or queries are not finite or of another dimension.
        """
        if not threshold >= self.threshold:
            raise ValueError(
                f"Recall was measured at {self.threshold:g}, but {threshold:g} is asked for. Build for the lowest threshold."
            )
        cells.check(queries, dim=self._index.d)
        limits, _, found = self._index.range_search(cells.turned(queries, self._known.turn), threshold - self._slack)
        asked = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
        order = np.lexsort((found, asked))
        return asked[order], found[order]

    def save(self, file: Path) -> None:
        """Written whole or not at all, at dim + 8 bytes a row; any file there is replaced. Not for one that was loaded.

        Raises
        ------
        OSError
            What the file system says.
        """
        index = self._index
        with replacing(file) as temporary:
            cells.library().write_index(index, str(temporary))
            size = temporary.stat().st_size
            n_head = size - self.n * (index.code_size + 8)  # rows and their numbers come last
            footer = io.BytesIO()
            np.savez(footer, faiss=np.array([size, n_head, _checksum(temporary, n_head)]), **self._known._asdict())
            with temporary.open("ab") as out:
                out.write(footer.getvalue() + len(footer.getvalue()).to_bytes(8, "little") + _MAGIC)

    @classmethod
    def load(cls, file: Path) -> "Approximate":
        """What was saved, mapped: rows are read from the file when their cell is first visited. Not unpickled.

        Raises
        ------
        MissingExtra
            If faiss is not installed; the text gives the install line.
        OSError
            What the file system says.
        ValueError
            If the file is of another kind, cut short or damaged. Rows themselves, not read here, are taken on trust.
        """
        faiss, known = cells.library(), _read(file)
        try:
            index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
        except RuntimeError as error:
            raise ValueError(f"{file} cannot be read by faiss {faiss.__version__}: {error}. Build it anew.") from None
        # Threads that read ahead, 32 started for each query, take far longer than the query itself.
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0
        return cls(index, known)

    def _learn(self, known: cells.Known) -> None:
        self._known, self._slack = known, known.slack
        self._index.nprobe, self.recall = known.settled()


def _check_asked(rows: Rows, threshold: float, recall: float) -> None:
    """Raise before the slow work."""
    cells.library()
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a cosine above 0 and up to 1, but is {threshold!r}. Search exactly below.")
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be above 0 and up to 1, but is {recall!r}. Ask for .99, say.")
    if not rows.size:
        raise ValueError(
            f"There must be a row to begin with, but the shape is {rows.shape}. Build once there are some."
        )
    cells.check(rows, dim=rows.shape[1])


def _read(file: Path) -> cells.Known:
    """What stands after faiss's part of a file, which is as long as it was; its head, which faiss trusts, is unaltered."""
    wrong = ValueError(f"{file} is no approximate index of this version, or is cut short or damaged. Build it anew.")
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
            told = cells.Known(**known)
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            raise wrong from None
    if not whole:
        raise wrong
    return told


def _of_last(rows: Rows) -> int:
    """Of rows that only grow: two histories differ in what came last."""
    return zlib.crc32(np.ascontiguousarray(rows[-_N_LAST:], dtype=np.float32).tobytes())


def _checksum(file: Path, n_bytes: int) -> int:
    with file.open("rb") as opened:
        return zlib.crc32(opened.read(n_bytes))
