"""Vectors in a file: appended, flushed, mapped into memory, never changed where they were committed.

The file is bare little-endian numbers, row after row. How many rows count is told by the ledger alone, so what a killed writer
left behind the last of them is no part of the index, and the next writer writes over it.
"""

import errno
import os
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from textsiam.errors import BrokenIndex

Rows = Int[np.ndarray, " _"]
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
