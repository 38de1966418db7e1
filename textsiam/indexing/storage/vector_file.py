"""The vectors of an index in a folder: a file that only grows, and what one process knows of it.

The file is bare little-endian numbers, row after row. How many rows count is written in the ledger alone, so what a killed writer
left behind the last of them is not part of the index, and the next writer writes over it. Rows that count are never changed.

A view knows which rows count and which were removed, and keeps what makes them fast to search: short rows, and beyond some size
an approximate structure. Both lie beside the file as caches that can be made again.
"""

import errno
import logging
import os
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped

from textsiam.arrays import Found, Rows, Vectors
from textsiam.data.files import remove
from textsiam.errors import BrokenIndex
from textsiam.indexing.search import approximate
from textsiam.indexing.search.approximate import Approximate
from textsiam.indexing.search.scan import Scan
from textsiam.indexing.storage.ledger import Ledger
from textsiam.matching.rule import Rule

logger = logging.getLogger("textsiam")

DTYPES = {"float32": "<f4", "float16": "<f2"}

_BLOCK = 16_384
# Short rows are written for the next process when this many are new, and a fifth of all.
_N_UNSAVED = 32_768
# Short rows that are computed again to check that those on disk belong to these vectors: some at random, and the last ones. Where
# a folder was restored to an earlier state and then grew differently, only the last rows differ.
_N_COMPARED = 64


class VectorFile:
    """One file of vectors.

    Parameters
    ----------
    path
        Created with the first rows.
    dim
        Numbers per row.
    stored_as
        ``float32``, or ``float16`` for half the space.
    """

    def __init__(self, path: Path, dim: int, stored_as: str) -> None:
        self.path, self.dim, self.dtype = path, dim, np.dtype(DTYPES[stored_as])
        self._mapped = np.empty((0, dim), dtype=self.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes per row."""
        return self.dim * self.dtype.itemsize

    @property
    def n_whole(self) -> int:
        """Whole rows that the file holds, committed or not."""
        return self.path.stat().st_size // self.row_bytes if self.path.exists() else 0

    def rows(self, n: int) -> Shaped[np.ndarray, "n dim"]:
        """The first `n` rows, mapped.

        Raises BrokenIndex if the file holds fewer: reading what is not there would end the process.
        """
        there = self.n_whole
        if there < n:
            raise BrokenIndex(
                f"{self.path} holds {there:,} of {n:,} vectors: it was truncated or is missing. Repair it from the texts with "
                "`textsiam index verify` (Index.verify), or restore it from a copy."
            )
        if n > len(self._mapped):
            self._mapped = np.memmap(self.path, self.dtype, "r", shape=(n, self.dim))
        return self._mapped[:n]

    def write(self, first: int, vectors: Float[np.ndarray, "n dim"]) -> None:
        """Write these rows from number `first` on and wait until the disk has them.

        Raises OSError as the file system does, such as for a full disk; rows before `first` are as they were.
        """
        if not len(vectors):
            return
        left = memoryview(np.ascontiguousarray(vectors, dtype=self.dtype).tobytes())
        place, is_new = first * self.row_bytes, not self.path.exists()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            while left:  # a file system may write less than it was given
                n = os.pwrite(descriptor, left, place)
                if not n:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))  # noqa: TRY301
                left, place = left[n:], place + n
            os.fsync(descriptor)
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise
        finally:
            os.close(descriptor)
        if is_new or not first:  # the process that created the file may have been killed before it did
            flush_folder(self.path.parent)

    def lengthen(self, n: int) -> None:
        """Make the file hold at least `n` rows; new ones are zeros."""
        if n > self.n_whole:
            self.write(n - 1, np.zeros((1, self.dim), dtype=np.float32))


def checksums(vectors: Shaped[np.ndarray, "n dim"]) -> list[int]:
    """The CRC-32 of each row's bytes."""
    return [zlib.crc32(row) for row in np.ascontiguousarray(vectors)]


def flush_folder(folder: Path) -> None:
    """Wait until the disk knows the folder's entries; nothing where folders cannot be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderView:
    """The rows of one file of vectors that count, and of the next one as soon as that counts."""

    number: int  # of the file of vectors; 0: none is known yet
    n_rows: int
    file: VectorFile
    _n_removed: int
    _scan: Scan
    _there: Bool[np.ndarray, " room"]  # whether a row is there; longer than needed
    _loaded: Approximate | None  # the approximate structure, if it is of these rows
    _loaded_from: tuple[int, int] | None  # inode and time of its file

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.forget()

    def follow(self, ledger: Ledger) -> None:
        """Know what the ledger's transaction sees."""
        state = ledger.look()
        if state.number != self.number:
            self._use(state.number, state.dim, state.similarity, state.stored_as)
        n = state.n_rows
        if n > len(self._there):
            room = np.ones(max(n, 2 * len(self._there)), dtype=np.bool_)
            room[: self.n_rows] = self.alive
            self._there = room
        self.n_rows = n
        removed = "SELECT number, row FROM removed WHERE number > ? ORDER BY number"
        for n_removed, row in ledger.database.execute(removed, (self._n_removed,)):
            self._there[row], self._n_removed = False, n_removed

    def forget(self) -> None:
        """Know nothing."""
        self._use(0, 1, "cosine", "float32")

    @property
    def alive(self) -> Bool[np.ndarray, " n"]:
        """Which rows were not removed."""
        return self._there[: self.n_rows]

    def rows(self) -> Shaped[np.ndarray, "n dim"]:
        """All rows, mapped, with their short ones made."""
        rows = self.file.rows(self.n_rows)
        short = self._scan.short
        if not len(short) and short.load(self._path("short"), len(rows)):
            n = len(short)
            some = np.random.default_rng().choice(n, min(_N_COMPARED, n), replace=False)
            if not short.agrees(rows, np.union1d(some, np.arange(max(0, n - _N_COMPARED), n))):
                self._scan = Scan(self.similarity, self.dim)
        self._scan.short.follow(rows)
        return rows

    def find(self, queries: Vectors, rule: Rule) -> Found:
        """Every row that was not removed and matches a query."""
        rows, alive = self.rows(), self._there[: self.n_rows]
        return self._scan.find(rows, queries, rule, alive)  # the scan that `rows` may have replaced

    def find_fast(self, queries: Vectors, rule: Rule) -> tuple[Found, float | None]:
        """As `find`, but for what the approximate structure misses, with its recall; None: there is none, nothing is missing."""
        rows, cells = self.rows(), self._approximate()
        if cells is None or cells.threshold > rule.threshold:
            return self._scan.find(rows, queries, rule, self.alive), None
        return cells.find(self._scan, rows, queries, rule, self.alive), cells.recall

    def nearest(self, queries: Vectors, k: int) -> Found:
        """The k closest rows of each query."""
        rows = self.rows()
        return self._scan.nearest(rows, queries, k, self.alive)

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows, fp32."""
        mapped = self.file.rows(int(rows.max(initial=-1)) + 1)
        return np.asarray(mapped[rows], dtype=np.float32)

    def stored(self, vectors: Vectors) -> Vectors:
        """These vectors, rounded as the file keeps them.

        Raises ValueError if fp16 cannot hold them.
        """
        with np.errstate(over="ignore"):
            stored = vectors.astype(self.file.dtype).astype(np.float32)
        if not np.isfinite(stored).all():
            raise ValueError(f"Some numbers are too large for {self.stored_as}. Make the index with float32.")
        return stored

    def checksums(self, rows: Rows) -> list[int | None]:
        """The checksum of each row's vector as it is in the file; None beyond its end."""
        mapped = self.file.rows(min(self.n_rows, self.file.n_whole))
        found: list[int | None] = [None] * len(rows)
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            there = np.flatnonzero(block < len(mapped))
            for place, checksum in zip((there + start).tolist(), checksums(mapped[block[there]]), strict=True):
                found[place] = checksum
        return found

    def summed(self, vectors: Vectors) -> list[int]:
        """The checksums that these vectors will have."""
        return checksums(vectors.astype(self.file.dtype))

    def append(self, first: int, vectors: Vectors) -> None:
        """Write vectors behind the last row."""
        self.file.write(first, vectors)

    def is_large(self) -> bool:
        """Whether there are enough rows for an approximate structure, and twice as many as at the last try to make one."""
        if self.similarity != "cosine" or self.n_rows < approximate.APPROXIMATE_FROM:
            return False
        cells = self._approximate()
        n_tried = 0 if cells is None else cells.n
        with suppress(OSError, ValueError):
            n_tried = max(n_tried, int(self._path("slow").read_text()))
        return self.n_rows >= 2 * n_tried

    def make_fast(self, threshold: float, recall: float) -> float:
        """Make the approximate structure; its measured recall.

        Raises MissingExtra if faiss is not installed; ValueError if no fast setting reaches the recall, or the similarity is not
        cosine.
        """
        if self.similarity != "cosine":
            raise ValueError(
                f"Approximate search is for cosine, but this index compares by {self.similarity}. Search exactly."
            )
        rows = self.file.rows(self.n_rows)
        try:
            cells = Approximate.build(rows, threshold, recall=recall)
        except ValueError:
            with suppress(OSError):  # so that not every later change tries again
                self._path("slow").write_text(str(len(rows)))
            raise
        cells.save(self._path("near"))
        self._loaded_from = None
        return cells.recall

    def check_caches(self) -> None:
        """Delete short rows and an approximate structure that belong to other vectors."""
        n_there = min(self.n_rows, self.file.n_whole)
        if self._path("near").exists() and self._approximate(n_there) is None:
            remove(self._path("near"))
        short = self._scan.short
        if short.load(self._path("short"), self.n_rows):
            n = min(len(short), n_there)
            blocks = (np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))
            if not all(short.agrees(self.file.rows(n), block) for block in blocks):
                self._scan = Scan(self.similarity, self.dim)
                remove(self._path("short"))

    def tidy(self) -> None:
        """Keep short rows for the next process, and delete files that no longer count. What fails now can be done later."""
        with suppress(OSError, ValueError):
            short = self._scan.short
            if short.n_unsaved >= max(_N_UNSAVED, len(short) // 5):
                short.save(self._path("short"))
            for pattern in ("vectors-*", "short-*", "near-*", "slow-*"):
                for file in self.folder.glob(pattern):
                    if int(file.name.partition("-")[2]) < self.number:
                        file.unlink(missing_ok=True)

    def path(self, number: int) -> Path:
        """The file of vectors of this number."""
        return self.folder / f"vectors-{number:06d}"

    def _approximate(self, n: int | None = None) -> Approximate | None:
        """The structure on disk, mapped, if it is of the first `n` rows (default: of all); read again when it was replaced."""
        rows = self.file.rows(self.n_rows if n is None else n)
        try:
            status = self._path("near").stat()
            state = status.st_ino, status.st_mtime_ns
            if state != self._loaded_from:
                self._loaded, self._loaded_from = None, state
                loaded = Approximate.load(self._path("near"))
                if loaded.n > len(rows):  # of rows that this transaction does not see yet
                    self._loaded_from = None
                elif loaded.is_of(rows):
                    self._loaded = loaded
        except FileNotFoundError:
            self._loaded = self._loaded_from = None
        except (OSError, ValueError, ImportError) as error:
            if self._loaded is None:
                logger.warning("The approximate structure cannot be used, so the search is exact: %s", error)
        return self._loaded

    def _use(self, number: int, dim: int, similarity: str, stored_as: str) -> None:
        self.number, self.dim, self.similarity, self.stored_as = number, dim, similarity, stored_as
        self.file = VectorFile(self.path(number), dim, stored_as)
        self.n_rows = self._n_removed = 0
        self._scan = Scan(similarity, dim)
        self._there = np.empty(0, dtype=np.bool_)
        self._loaded = self._loaded_from = None

    def _path(self, kind: str) -> Path:
        """A cache's file; ``slow`` holds the number of rows for which no structure was fast enough."""
        return self.folder / f"{kind}-{self.number:06d}"
