"""What one process knows of the vectors of an index in a folder: mapped, some removed, with what makes them fast to search.

A view follows what was committed, forwards only. What it reads of a file of vectors is never changed while that file counts.

Vectors in a file: appended, flushed, mapped into memory, never changed where they were committed.

The file is bare little-endian numbers, row after row. How many rows count is told by the ledger alone, so what a killed writer
left behind the last of them is no part of the index, and the next writer writes over it.
"""

import errno
import os
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped

from textsiam.arrays import Found, Vectors
from textsiam.data.files import remove
from textsiam.errors import BrokenIndex
from textsiam.indexing.search.approximate import Nearby
from textsiam.indexing.search.scan import Scan
from textsiam.indexing.storage.sqlite import SqliteDatabase

DTYPES = {"float32": "<f4", "float16": "<f2"}


class VectorFile:
    """One file of vectors.

    Parameters
    ----------
    path
        Created with the first rows.
    dim
        Numbers a row.
    stored_as
        ``float32``, or ``float16`` for half the space.
    """

    def __init__(self, path: Path, dim: int, stored_as: str) -> None:
        self.path, self.dim, self.dtype = path, dim, np.dtype(DTYPES[stored_as])
        self._mapped = np.empty((0, dim), dtype=self.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes a row."""
        return self.dim * self.dtype.itemsize

    @property
    def n_whole(self) -> int:
        """Whole rows that the file holds, committed or not."""
        return self.path.stat().st_size // self.row_bytes if self.path.exists() else 0

    def rows(self, n: int) -> Shaped[np.ndarray, "n dim"]:
        """The first `n` rows, mapped.

        Raises
        ------
        BrokenIndex
            If the file holds fewer: reading what is not there would end the process.
        """
        there = self.n_whole
        if there < n:
            raise BrokenIndex(
                f"{self.path} holds {there:,} of {n:,} vectors: it was truncated or is missing. Mend it from the texts with "
                "`textsiam index verify` (Index.verify), or restore it from a copy."
            )
        if n > len(self._mapped):
            self._mapped = np.memmap(self.path, self.dtype, "r", shape=(n, self.dim))
        return self._mapped[:n]

    def write(self, first: int, vectors: Float[np.ndarray, "n dim"]) -> None:
        """Put these rows from number `first` on and wait until the disk has them.

        Raises
        ------
        OSError
            What the file system says, such as a full disk; rows before `first` are as they were.
        """
        if not len(vectors):
            return
        left = memoryview(np.ascontiguousarray(vectors, dtype=self.dtype).tobytes())
        place, is_new = first * self.row_bytes, not self.path.exists()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            while left:  # a write may take less than it was given
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
        if is_new or not first:  # whoever made the file may not have lived to do it
            flush_folder(self.path.parent)

    def lengthen(self, n: int) -> None:
        """Make the file hold `n` rows at least; the new ones are zeros."""
        if n > self.n_whole:
            self.write(n - 1, np.zeros((1, self.dim), dtype=np.float32))

    def close(self) -> None:
        """Let the map go."""
        self._mapped = np.empty((0, self.dim), dtype=self.dtype)


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


_BLOCK = 16_384
# Short rows are written for the next process when so many are new, and a fifth of all.
_N_UNSAVED = 32_768
# Short rows that are made again to see whether those on disk belong to these vectors: some, and the last ones, for where a folder
# was put back to an earlier state and then went on otherwise, only what came last differs.
_N_COMPARED = 64


class View:
    """The committed rows of one file of vectors, and of the next one as soon as that counts.

    Parameters
    ----------
    folder
        Of the index.
    """

    number: int  # of the file of vectors; 0: none is known yet
    n_rows: int
    file: VectorFile
    _n_removed: int
    _scan: Scan
    _there: Bool[np.ndarray, " room"]  # whether a row is there; longer than needed

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._use(0, 1, "cosine", "float32")

    def follow(self, database: SqliteDatabase) -> None:
        """Know what this database's transaction sees."""
        ((number, dim, similarity, stored_as),) = database.execute("SELECT * FROM files")
        if number != self.number:
            self._use(number, dim, similarity, stored_as)
        ((n,),) = database.execute("SELECT n_rows FROM counts")
        if n > len(self._there):
            room = np.ones(max(n, 2 * len(self._there)), dtype=np.bool_)
            room[: self.n_rows] = self.alive
            self._there = room
        self.n_rows = n
        condition = "WHERE number > ? ORDER BY number"
        removed = database.execute(f"SELECT number, row FROM removed {condition}", (self._n_removed,))  # noqa: S608
        for n_removed, row in removed:
            self._there[row], self._n_removed = False, n_removed

    def forget(self) -> None:
        """Know nothing."""
        self.file.close()
        self._use(0, 1, "cosine", "float32")

    @property
    def alive(self) -> Bool[np.ndarray, " n"]:
        """Which rows were not removed."""
        return self._there[: self.n_rows]

    def rows(self) -> Shaped[np.ndarray, "n dim"]:
        """All rows, mapped, with their short ones at hand."""
        rows = self.file.rows(self.n_rows)
        short = self._scan.short
        if not len(short) and short.load(self._short, len(rows)):
            n = len(short)
            some = np.random.default_rng().choice(n, min(_N_COMPARED, n), replace=False)
            if not short.agrees(rows, np.union1d(some, np.arange(max(0, n - _N_COMPARED), n))):
                self._scan = Scan(self.similarity, self.dim)
        self._scan.short.follow(rows)
        return rows

    def find(self, queries: Vectors, threshold: float, max_matches: int) -> Found:
        """Every row that is there and reaches the threshold with a query."""
        rows = self.rows()  # first, for it may put another scan in the place of this one
        return self._scan.find(rows, queries, threshold, self.alive, max_matches)

    def nearest(self, queries: Vectors, k: int) -> Found:
        """The k closest rows of each query."""
        rows = self.rows()
        return self._scan.nearest(rows, queries, k, self.alive)

    def find_fast(self, queries: Vectors, threshold: float, max_matches: int) -> tuple[Found, float | None]:
        """As `find`, but for what the approximate structure misses, whose recall comes too; None: there is none."""
        rows = self.rows()
        near = self.nearby.of(self.number, rows, threshold)
        if near is None:
            return self.find(queries, threshold, max_matches), None
        return near.find(self._scan, rows, queries, threshold, self.alive, max_matches), near.recall

    def is_large(self) -> bool:
        """Whether exact search is no longer fast enough, and a structure older than half of the rows, or none, is there."""
        return self.similarity == "cosine" and self.nearby.is_wanted(self.number, self.file.rows(self.n_rows))

    def make_fast(self, threshold: float, recall: float) -> float:
        """Make the approximate structure; its measured recall."""
        if self.similarity != "cosine":
            raise ValueError(
                f"Approximate search is for cosine, but this index compares by {self.similarity}. Search exactly."
            )
        return self.nearby.make(self.number, self.file.rows(self.n_rows), threshold, recall)

    def check_caches(self) -> None:
        """Throw short rows and approximate structures away that belong to other vectors."""
        self.nearby.check(self.number, self.file.rows(min(self.n_rows, self.file.n_whole)))
        short = self._scan.short
        if short.load(self._short, self.n_rows):
            n = min(len(short), self.file.n_whole)
            blocks = (np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))
            if not all(short.agrees(self.file.rows(n), block) for block in blocks):
                self._scan = Scan(self.similarity, self.dim)
                remove(self._short)

    def tidy(self) -> None:
        """Keep short rows for the next process, and delete files that count no more. What cannot be done now can be later."""
        with suppress(OSError, ValueError):
            short = self._scan.short
            if short.n_unsaved >= max(_N_UNSAVED, len(short) // 5):
                short.save(self._short)
            for pattern in ("vectors-*", "short-*", "near-*", "slow-*"):
                for file in self.folder.glob(pattern):
                    if int(file.name.partition("-")[2]) < self.number:
                        file.unlink(missing_ok=True)

    def path(self, number: int) -> Path:
        """The file of vectors of this number."""
        return self.folder / f"vectors-{number:06d}"

    def _use(self, number: int, dim: int, similarity: str, stored_as: str) -> None:
        self.number, self.dim, self.similarity, self.stored_as = number, dim, similarity, stored_as
        self.file = VectorFile(self.path(number), dim, stored_as)
        self.nearby = Nearby(self.folder)
        self.n_rows = self._n_removed = 0
        self._scan = Scan(similarity, dim)
        self._there = np.empty(0, dtype=np.bool_)

    @property
    def _short(self) -> Path:
        return self.folder / f"short-{self.number:06d}"
