"""An index in a folder: SQLite for the ledger, a file of vectors beside it.

SQLite's commit is the moment of truth. A writer first appends vectors behind those that count and waits for the disk, then
commits how many count now; a reader looks that number up within its own transaction and maps no more. Vectors that count are
never changed, so that no lock is needed to read them.
"""

import math
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from textsiam.arrays import Found, Rows, Vectors
from textsiam.data.files import check_folder, remove
from textsiam.errors import BrokenIndex, IndexNotFound
from textsiam.indexing.storage.ledger import Ledger
from textsiam.indexing.storage.sqlite import Busy, SqliteDatabase, sqlite_told
from textsiam.indexing.storage.turns import Turns
from textsiam.indexing.storage.vector_file import VectorFile, View, checksums, flush_folder

Result = TypeVar("Result")

LEDGER = "index.sqlite"
_BLOCK = 16_384

_TABLES = (
    # Which file of vectors counts, and how it is written; rows that were removed, in the order of their removal.
    "CREATE TABLE files (number INTEGER NOT NULL, dim INTEGER NOT NULL, similarity TEXT NOT NULL, stored_as TEXT NOT NULL)",
    "CREATE TABLE removed (number INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL)",
)


class SqliteStore:
    """A folder with an index.

    Parameters
    ----------
    folder
        Where it is.
    timeout_s
        How long to wait for another writer, or another thread.
    """

    database: SqliteDatabase
    ledger: Ledger
    unfit = ""

    def __init__(self, folder: Path, timeout_s: float = 60.0) -> None:
        shown, folder = folder, folder.absolute()  # the process may go elsewhere
        if not (folder / LEDGER).is_file():
            raise IndexNotFound(f"There is no index at {shown}. Create one: textsiam index add (Index.create).")
        self.folder, self.timeout_s, self._turns = folder, timeout_s, Turns(str(shown), timeout_s)
        self._connect()
        self.read(lambda: None)

    @classmethod
    def create(
        cls, folder: Path, dim: int, similarity: str, stored_as: str, tell: Callable[[Ledger], None]
    ) -> "SqliteStore":
        """A new index, empty, whole or not at all; `tell` writes what the ledger shall know."""
        folder = folder.absolute()
        there = f"There is an index at {folder} already. Open it, or name another folder."
        if (folder / LEDGER).exists():
            raise FileExistsError(there)
        if folder.is_file() or (folder.is_dir() and any(".tmp" not in entry.name for entry in folder.iterdir())):
            raise FileExistsError(f"There is something at {folder} already. Move it away, or name another folder.")
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)  # what a killed process left in it does no harm
        temporary = folder / f".{secrets.token_hex(4)}.tmp"
        try:
            with sqlite_told(temporary), closing(SqliteDatabase(temporary, 10.0)) as database:
                _write_tables(database, (dim, similarity, stored_as), tell)
            os.link(temporary, folder / LEDGER)
            flush_folder(folder)
        except FileExistsError:  # another process was faster
            raise FileExistsError(there) from None
        finally:
            remove(temporary)
        return cls(folder)

    def read(self, work: Callable[[], Result], *, endlessly: bool = False) -> Result:
        """What `work` gives, all of it seen at one moment."""
        with self._turns.turn(math.inf if endlessly else None) as left_s, sqlite_told(self.folder / LEDGER):
            while True:
                try:
                    with self._transaction("BEGIN", left_s):
                        self.view.follow(self.database)
                        return work()
                except (FileNotFoundError, BrokenIndex):
                    if not self._was_replaced():
                        raise

    def write(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, its changes made for good or not at all; one writer at a time."""

        def once() -> Result:
            with self._transaction("BEGIN IMMEDIATE", 0.0):
                self.view.follow(self.database)
                result = work()
            self.view.tidy()
            return result

        with sqlite_told(self.folder / LEDGER):
            return self._turns.patiently(once, Busy)

    def find(self, queries: Vectors, threshold: float, max_matches: int) -> Found:
        """Every row that is there and reaches the threshold with a query."""
        return self.view.find(queries, threshold, max_matches)

    def find_fast(self, queries: Vectors, threshold: float, max_matches: int) -> tuple[Found, float | None]:
        """As `find`, but for what an approximate structure misses, whose measured recall comes too."""
        return self.view.find_fast(queries, threshold, max_matches)

    def is_large(self) -> bool:
        """Whether an approximate structure should be made, for the first time or anew."""
        return self.view.is_large()

    def make_fast(self, threshold: float, recall: float) -> float:
        """Make one that answers from this threshold up; its measured recall."""
        return self.view.make_fast(threshold, recall)

    def nearest(self, queries: Vectors, k: int) -> Found:
        """The k closest rows of each query."""
        return self.view.nearest(queries, k)

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows, fp32."""
        mapped = self.view.file.rows(int(rows.max(initial=-1)) + 1)
        return np.asarray(mapped[rows], dtype=np.float32)

    def stored(self, vectors: Vectors) -> Vectors:
        """The vectors as they will be given back.

        Raises
        ------
        ValueError
            If fp16 cannot hold them.
        """
        with np.errstate(over="ignore"):
            stored = vectors.astype(self.view.file.dtype).astype(np.float32)
        if not np.isfinite(stored).all():
            raise ValueError(f"Some numbers are too large for {self.view.stored_as}. Make the index with float32.")
        return stored

    def checksums(self, rows: Rows) -> list[int | None]:
        """The checksum of each row's vector as it lies in the file; None beyond its end."""
        mapped = self.view.file.rows(min(self.view.n_rows, self.view.file.n_whole))
        told: list[int | None] = [None] * len(rows)
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            there = np.flatnonzero(block < len(mapped))
            for place, checksum in zip((there + start).tolist(), checksums(mapped[block[there]]), strict=True):
                told[place] = checksum
        return told

    def summed(self, vectors: Vectors) -> list[int]:
        """The checksums that these vectors will have."""
        return checksums(vectors.astype(self.view.file.dtype))

    def append(self, vectors: Vectors) -> None:
        """Write vectors behind the last row."""
        self.view.file.write(self.ledger.n_rows, vectors)

    def drop(self, rows: Rows) -> None:
        """Let rows be found no more."""
        self.database.executemany("INSERT INTO removed (row) VALUES (?)", [(row,) for row in rows.tolist()])
        self.view.follow(self.database)

    def stage(self, rows: Rows, vectors: Vectors) -> None:
        """Write vectors that shall take the place of all; between them, where rows were removed, stand zeros."""
        if len(rows):
            filled = np.zeros((int(rows[-1] - rows[0]) + 1, vectors.shape[1]), dtype=np.float32)
            filled[rows - rows[0]] = vectors
            VectorFile(self._staged, vectors.shape[1], self.view.stored_as).write(int(rows[0]), filled)

    def unstage(self) -> None:
        """Throw away what was staged."""
        remove(self._staged)

    @contextmanager
    def staging(self) -> Iterator[None]:
        """What is staged within takes the place of what was, and is thrown away if that fails."""
        self.unstage()
        try:
            yield
        except BaseException:
            with suppress(OSError):
                self.unstage()
            raise

    def switch(self, dim: int, similarity: str) -> None:
        """The staged vectors count now. The file of those before is deleted by the next change."""
        VectorFile(self._staged, dim, self.view.stored_as).lengthen(self.ledger.n_rows)
        self.database.execute("UPDATE files SET number = number + 1, dim = ?, similarity = ?", (dim, similarity))
        self.view.follow(self.database)

    def fault(self) -> str:
        """What SQLite finds wrong."""
        told = [line for (line,) in self.database.execute("PRAGMA quick_check(5)")]
        return "" if told == ["ok"] else "; ".join(told)

    def check_caches(self) -> None:
        """Throw away short rows and approximate structures of other vectors."""
        self.view.check_caches()

    def compact(self) -> None:
        """Rows are numbered anew without gaps, vectors copied without those removed, and the old file is deleted."""
        while not self.write(self._compacted):
            pass  # a rebuild was under way, which was told first that it must begin anew
        # Where another process reads or writes, the next compaction can do it.
        with self._turns.turn(math.inf), sqlite_told(self.folder / LEDGER), suppress(sqlite3.OperationalError):
            self.database.wait_at_most(self.timeout_s)
            self.database.execute("VACUUM")
            self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of the files."""
        with self._turns.lock:
            self.view.forget()
            self.database.close()

    def __del__(self) -> None:
        if os is not None and hasattr(self, "database") and self._process == os.getpid():  # None when Python ends
            self.database.close()

    def _compacted(self) -> bool:
        """Whether it was done."""
        there = np.flatnonzero(self.view.alive)
        if len(there) == self.view.n_rows:
            return True
        if not self.ledger.may_stage():
            return False
        mapped = self.view.rows()
        with self.staging():
            for start in range(0, len(there), _BLOCK):
                block = there[start : start + _BLOCK]
                self.stage(np.arange(start, start + len(block)), np.asarray(mapped[block], dtype=np.float32))
        self.ledger.count(len(there))
        self.database.execute("DELETE FROM removed")
        self.switch(self.view.dim, self.view.similarity)
        # In rising order a new number is never above the old one, so that none is taken twice.
        numbers = [(new, old) for new, old in enumerate(there.tolist()) if new != old]
        self.database.executemany("UPDATE items SET row = ? WHERE row = ?", numbers)
        return True

    def _connect(self) -> None:
        with sqlite_told(self.folder / LEDGER):
            made = SqliteDatabase(self.folder / LEDGER, self.timeout_s)
        if hasattr(self, "database"):  # others know it and its ledger by now
            self.database.connection = made.connection
        else:
            self.database, self.ledger = made, Ledger(made)
        self.view = View(self.folder)
        self._process = os.getpid()

    @contextmanager
    def _transaction(self, begin: str, wait_s: float) -> Iterator[None]:
        if self._process != os.getpid():
            self._inherited = self.database.connection  # neither used nor closed: it is the other process's
            self._connect()
        has_begun = False
        try:
            self.database.begin(begin, wait_s)
            has_begun = True
            yield
            self.database.execute("COMMIT")
        except BaseException:
            if has_begun and begin != "BEGIN":
                self.view.forget()  # what was seen last may never come to be
            with suppress(sqlite3.Error):
                self.database.execute("ROLLBACK")
            raise

    def _was_replaced(self) -> bool:
        """Whether another process put another file of vectors in the place of ours, after we had looked and before we read."""
        ((number,),) = self.database.execute("SELECT number FROM files")
        return bool(self.view.number and number != self.view.number)

    @property
    def _staged(self) -> Path:
        return self.view.path(self.view.number + 1)


def _write_tables(database: SqliteDatabase, files: tuple[int, str, str], tell: Callable[[Ledger], None]) -> None:
    database.execute("BEGIN IMMEDIATE")
    ledger = Ledger(database)
    ledger.create()
    for statement in _TABLES:
        database.execute(statement)
    database.execute("INSERT INTO files VALUES (1, ?, ?, ?)", files)
    tell(ledger)
    database.execute("COMMIT")
