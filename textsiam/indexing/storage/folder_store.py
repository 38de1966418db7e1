"""An index in a folder: SQLite for the ledger, a file of vectors beside it.

SQLite's commit decides what the index holds. A writer first appends vectors behind those that count and waits until they are on
the disk, then commits how many count now; a reader looks that number up within its own transaction and maps no more. Vectors that
count are never changed, so no lock is needed to read them.
"""

import errno
import math
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from json import dumps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from textsiam.arrays import Rows, Vectors
from textsiam.data.files import check_folder, remove
from textsiam.errors import BrokenIndex, IndexLocked, IndexNotFound
from textsiam.indexing.storage.ledger import Ledger
from textsiam.indexing.storage.store import rebuilt
from textsiam.indexing.storage.turns import Turns
from textsiam.indexing.storage.vector_file import FolderView, VectorFile, flush_folder

Result = TypeVar("Result")

LEDGER = "index.sqlite"
_BLOCK = 16_384
_PAUSE_S = 0.01  # before another try to write
_MOST_MS = 2**31 - 1

# Rows that were removed, in the order of their removal.
_REMOVED = "CREATE TABLE removed (number INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL)"


class Busy(sqlite3.OperationalError):
    """Another process is writing, so no transaction could begin."""


class SqliteDatabase:
    """SQLite as the ledger uses it."""

    among = "{} IN (SELECT value FROM json_each(?))"

    def __init__(self, file: Path, timeout_s: float) -> None:
        # Transactions are begun and ended by name; several threads may use it, one at a time.
        self.connection = sqlite3.connect(file, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        self._waits_ms = -1
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")

    def wait_at_most(self, timeout_s: float) -> None:
        """Wait no longer for other processes from now on; in tenths of a second, so that most calls change nothing."""
        if (waits_ms := min(100 * math.ceil(10 * min(timeout_s, _MOST_MS)), _MOST_MS)) != self._waits_ms:
            self.connection.execute(f"PRAGMA busy_timeout = {waits_ms}")
            self._waits_ms = waits_ms

    @contextmanager
    def transaction(self, begin: str, timeout_s: float) -> Iterator[None]:
        """A transaction, rolled back if anything fails within it.

        Raises Busy if another process did not release the database in time.
        """
        self.wait_at_most(timeout_s)
        try:
            try:
                self.connection.execute(begin)
            except sqlite3.OperationalError as error:
                raise Busy(str(error)) if _is_locked(error) else error from None
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        return self.connection.execute(sql, parameters).fetchall()

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each set of parameters."""
        self.connection.executemany(sql, parameters)

    def listed(self, values: Sequence[Any]) -> str:
        """Values as one parameter, without strings that no row can hold: SQLite would end them at NUL."""
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        return dumps([value for value in plain if not isinstance(value, str) or "\0" not in value])


@contextmanager
def sqlite_errors(file: Path) -> Iterator[None]:
    """Raise SQLite's errors as ours, or as the system's own."""
    try:
        yield
    except sqlite3.OperationalError as error:
        says = str(error)
        if _is_locked(error):
            raise IndexLocked(
                f"Another process has been writing to {file} for too long. Wait for it, or open with a longer timeout_s."
            ) from None
        if "full" in says:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from None
        if "readonly" in says or "read-only" in says or "unable to open" in says:
            says = f"Opening an index, even to read it, needs write permission on its folder; SQLite says: {says}"
            raise PermissionError(errno.EACCES, says, str(file)) from None
        raise OSError(errno.EIO, f"SQLite says: {says}", str(file)) from None
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            raise ValueError(f"The index at {file.parent} was closed. Open it again: Index.open.") from None
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise BrokenIndex(
            f"{file} is damaged (SQLite says: {error}). Restore the folder from a copy, or make a new index."
        ) from None


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return "locked" in str(error) or "busy" in str(error)


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
    view: FolderView
    unfit = ""

    def __init__(self, folder: Path, timeout_s: float = 60.0) -> None:
        shown, folder = folder, folder.absolute()  # the process may change its working directory
        if not (folder / LEDGER).is_file():
            raise IndexNotFound(f"There is no index at {shown}. Create one: textsiam index add (Index.create).")
        self.folder, self.timeout_s, self._turns = folder, timeout_s, Turns(str(shown), timeout_s)
        self._connect()
        self.read(lambda: None)

    @classmethod
    def create(
        cls, folder: Path, dim: int, similarity: str, stored_as: str, tell: Callable[[Ledger], None]
    ) -> "SqliteStore":
        """A new index, empty, whole or not at all; `tell` writes the settings into the ledger."""
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
            with sqlite_errors(temporary), closing(SqliteDatabase(temporary, 10.0)) as database:
                _write_tables(database, (dim, similarity, stored_as), tell)
            os.link(temporary, folder / LEDGER)
            flush_folder(folder)
        except FileExistsError:  # another process was faster
            raise FileExistsError(there) from None
        finally:
            remove(temporary)
        return cls(folder)

    def read(self, work: Callable[[], Result], made: str | None = None, *, endlessly: bool = False) -> Result:
        """Return what `work` returns; it sees one moment (see `Store.read`)."""
        with self._turns.turn(math.inf if endlessly else None) as left_s, sqlite_errors(self.folder / LEDGER):
            self._have_a_connection()
            while True:
                try:
                    with self.database.transaction("BEGIN", left_s):
                        self._follow(made)
                        return work()
                except (FileNotFoundError, BrokenIndex):
                    if not self._was_replaced():
                        raise

    def write(self, work: Callable[[], Result], made: str | None = None) -> Result:
        """Return what `work` returns; its changes are kept whole or not at all; one writer at a time."""
        with sqlite_errors(self.folder / LEDGER):
            until = self._turns.until()
            while True:  # a turn for each try: while one thread waits for another process, the others may read
                with self._turns.turn(until) as left_s:
                    self._have_a_connection()
                    try:
                        with self.database.transaction("BEGIN IMMEDIATE", 0.0):
                            self._follow(made)
                            result = work()
                    except Busy:
                        if not left_s:
                            raise
                    except BaseException:
                        self.view.forget()  # it knows what was rolled back
                        raise
                    else:
                        self.view.tidy()
                        return result
                time.sleep(_PAUSE_S)

    def drop(self, rows: Rows) -> None:
        """Take rows out of every later search."""
        self.database.executemany("INSERT INTO removed (row) VALUES (?)", [(row,) for row in rows.tolist()])
        self.view.follow(self.ledger)

    def stage(self, rows: Rows, vectors: Vectors) -> None:
        """Write vectors that will replace all; between them, where rows were removed, are zeros."""
        if len(rows):
            filled = np.zeros((int(rows[-1] - rows[0]) + 1, vectors.shape[1]), dtype=np.float32)
            filled[rows - rows[0]] = vectors
            VectorFile(self._staged, vectors.shape[1], self.view.stored_as).write(int(rows[0]), filled)

    def unstage(self) -> None:
        """Throw away what was staged."""
        remove(self._staged)

    @contextmanager
    def staging(self) -> Iterator[None]:
        """Begin with nothing staged; what is staged within is thrown away if that fails."""
        self.unstage()
        try:
            yield
        except BaseException:
            with suppress(OSError):
                self.unstage()
            raise

    def switch(self, dim: int, similarity: str) -> None:
        """The staged vectors count now. The next change deletes the file of those before."""
        VectorFile(self._staged, dim, self.view.stored_as).lengthen(self.ledger.state.n_rows)
        self.database.execute("UPDATE files SET number = number + 1, dim = ?, similarity = ?", (dim, similarity))
        self.view.follow(self.ledger)

    def fault(self) -> str:
        """What SQLite finds wrong."""
        lines = [line for (line,) in self.database.execute("PRAGMA quick_check(5)")]
        return "" if lines == ["ok"] else "; ".join(lines)

    def compact(self) -> None:
        """Number the rows without gaps, copy their vectors, and delete the old file."""
        while not self.write(self._compacted):
            pass  # a rebuild was under way, and now starts over
        # Where another process reads or writes, the next compaction can do it.
        with self._turns.turn(math.inf), sqlite_errors(self.folder / LEDGER), suppress(sqlite3.OperationalError):
            self.database.wait_at_most(self.timeout_s)
            self.database.execute("VACUUM")
            self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the files."""
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
        self.ledger.count(n_rows=len(there))
        self.database.execute("DELETE FROM removed")
        self.switch(self.view.dim, self.view.similarity)
        # In rising order a new number is never above the old one, so that none is taken twice.
        numbers = [(new, old) for new, old in enumerate(there.tolist()) if new != old]
        self.database.executemany("UPDATE items SET row = ? WHERE row = ?", numbers)
        return True

    def _connect(self) -> None:
        with sqlite_errors(self.folder / LEDGER):
            made = SqliteDatabase(self.folder / LEDGER, self.timeout_s)
        self.database, self.view = made, FolderView(self.folder)
        if hasattr(self, "ledger"):  # others know it by now
            self.ledger.database = made
        else:
            self.ledger = Ledger(made)
        self._process = os.getpid()

    def _have_a_connection(self) -> None:
        """Connect again in a process that was forked."""
        if self._process != os.getpid():
            self._inherited = self.database.connection  # neither used nor closed: it is the other process's
            self._connect()

    def _follow(self, made: str | None) -> None:
        """Know what the transaction sees."""
        self.view.follow(self.ledger)
        if made not in {None, self.ledger.state.made}:
            raise rebuilt(self._turns.place)

    def _was_replaced(self) -> bool:
        """Whether another process replaced the file of vectors after we had looked and before we read."""
        ((number,),) = self.database.execute("SELECT number FROM files")
        return bool(self.view.number and number != self.view.number)

    @property
    def _staged(self) -> Path:
        return self.view.path(self.view.number + 1)


def _write_tables(database: SqliteDatabase, files: tuple[int, str, str], tell: Callable[[Ledger], None]) -> None:
    with database.transaction("BEGIN IMMEDIATE", 10.0):
        ledger = Ledger(database)
        ledger.create()
        database.execute(_REMOVED)
        database.execute("INSERT INTO files VALUES (1, ?, ?, ?)", files)
        tell(ledger)
