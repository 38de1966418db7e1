"""An index in a folder: SQLite for the ledger, a file of vectors beside it.

SQLite's commit is the moment of truth. A writer first appends vectors behind those that count and waits for the disk, then
commits how many count now; a reader looks that number up within its own transaction and maps no more. Vectors that count are
never changed, so that no lock is needed to read them.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from json import dumps
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.data.files import remove
from textsiam.errors import BrokenIndex, IndexLocked, IndexNotFound
from textsiam.indexing.ledger import Ledger
from textsiam.indexing.scanning import Scan
from textsiam.indexing.vectors import VectorFile, checksums, flush_folder

Result = TypeVar("Result")
Rows = Int[np.ndarray, " _"]
Vectors = Float[np.ndarray, "n dim"]
Found = tuple[Rows, Rows, Float[np.ndarray, " _"]]

LEDGER = "index.sqlite"
_BLOCK = 16_384
# Short rows are written for the next process when so many are new, and a fifth of all.
_N_UNSAVED = 32_768
_N_COMPARED = 64  # short rows that are made again to see whether those on disk belong to these vectors

_TABLES = (
    # Which file of vectors counts, and how it is written; rows that were removed, in the order of their removal.
    "CREATE TABLE files (number INTEGER NOT NULL, dim INTEGER NOT NULL, similarity TEXT NOT NULL, stored_as TEXT NOT NULL)",
    "CREATE TABLE removed (number INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL)",
)


class SqliteDatabase:
    """SQLite as the ledger wants it."""

    def __init__(self, file: Path, timeout_s: float) -> None:
        # Transactions are begun and ended by name; several threads may use it, one at a time.
        self.connection = sqlite3.connect(file, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        return self.connection.execute(sql, parameters).fetchall()

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each set of parameters."""
        self.connection.executemany(sql, parameters)

    def among(self, column: str) -> str:
        """A condition with one parameter."""
        return f"{column} IN (SELECT value FROM json_each(?))"  # noqa: S608  a column of ours

    def listed(self, values: Sequence[Any]) -> str:
        """Values as one parameter."""
        return dumps([value.item() if isinstance(value, np.generic) else value for value in values])


class SqliteStore:
    """A folder with an index.

    Parameters
    ----------
    folder
        Where it is.
    timeout_s
        How long to wait for another writer.
    """

    _n_rows: int
    _n_removed: int
    _similarity: str
    _dim: int
    _stored_as: str
    _file: VectorFile
    _scan: Scan
    _there: Bool[np.ndarray, " room"]  # whether a row is there; longer than needed

    def __init__(self, folder: Path, timeout_s: float = 60.0) -> None:
        if not (folder / LEDGER).is_file():
            raise IndexNotFound(f"There is no index at {folder}. Create one: textsiam index add (Index.create).")
        self.folder, self.timeout_s = folder, timeout_s
        self._lock = threading.RLock()
        self._connect()
        self.read(lambda: None)

    @classmethod
    def create(
        cls, folder: Path, dim: int, similarity: str, stored_as: str, tell: Callable[[Ledger], None]
    ) -> "SqliteStore":
        """A new index, empty, whole or not at all; `tell` writes what the ledger shall know."""
        folder = folder.absolute()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            there = (
                "an index at {} already. Open it"
                if (folder / LEDGER).exists()
                else "something at {} already. Move it away"
            )
            raise FileExistsError(f"There is {there.format(folder)}, or name another folder.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            temporary.chmod(folder.parent.stat().st_mode & 0o777)
            with _told(folder), closing(SqliteDatabase(temporary / LEDGER, 10.0)) as database:
                _write_tables(database, (dim, similarity, stored_as), tell)
            if folder.exists():
                folder.rmdir()
            temporary.rename(folder)  # fails if another process was faster
            flush_folder(folder.parent)
        finally:
            remove(temporary)
        return cls(folder)

    def read(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, all of it seen at one moment."""
        with self._lock, _told(self.folder):
            while True:
                try:
                    with self._transaction("BEGIN"):
                        self._follow()
                        return work()
                except (FileNotFoundError, BrokenIndex):
                    if not self._was_replaced():
                        raise

    def write(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, its changes made for good or not at all; one writer at a time."""
        with self._lock, _told(self.folder):
            with self._transaction("BEGIN IMMEDIATE"):
                self._follow()
                result = work()
            self._tidy()
            return result

    def find(self, queries: Vectors, threshold: float, max_matches: int) -> Found:
        """Every row that is there and reaches the threshold with a query."""
        i, j, scores = self._scan.find(self._rows(), queries, threshold, max_matches)
        there = self._alive[j]
        return i[there], j[there], scores[there]

    def nearest(self, queries: Vectors, k: int) -> Found:
        """The k closest rows of each query."""
        return self._scan.nearest(self._rows(), queries, k, self._alive)

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows, fp32."""
        mapped = self._file.rows(int(rows.max(initial=-1)) + 1)
        return np.asarray(mapped[rows], dtype=np.float32)

    def stored(self, vectors: Vectors) -> Vectors:
        """The vectors as they will be given back."""
        return vectors.astype(self._file.dtype).astype(np.float32)

    def checksums(self, rows: Rows) -> list[int | None]:
        """The checksum of each row's vector as it lies in the file; None beyond its end."""
        mapped = self._file.rows(min(self._n_rows, self._file.n_whole))
        told: list[int | None] = [None] * len(rows)
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            there = np.flatnonzero(block < len(mapped))
            for place, checksum in zip((there + start).tolist(), checksums(mapped[block[there]]), strict=True):
                told[place] = checksum
        return told

    def summed(self, vectors: Vectors) -> list[int]:
        """The checksums that these vectors will have."""
        return checksums(vectors.astype(self._file.dtype))

    def append(self, vectors: Vectors) -> None:
        """Write vectors behind the last row."""
        self._file.write(self.ledger.n_rows, vectors)

    def drop(self, rows: Rows) -> None:
        """Let rows be found no more."""
        self.database.executemany("INSERT INTO removed (row) VALUES (?)", [(row,) for row in rows.tolist()])

    def stage(self, rows: Rows, vectors: Vectors) -> None:
        """Write vectors that shall take the place of all; between them, where rows were removed, stand zeros."""
        if len(rows):
            filled = np.zeros((int(rows[-1] - rows[0]) + 1, vectors.shape[1]), dtype=np.float32)
            filled[rows - rows[0]] = vectors
            VectorFile(self._staged, vectors.shape[1], self._stored_as).write(int(rows[0]), filled)

    def unstage(self) -> None:
        """Throw away what was staged."""
        remove(self._staged)

    def switch(self, dim: int, similarity: str) -> None:
        """The staged vectors count now. The file of those before is deleted by the next change."""
        VectorFile(self._staged, dim, self._stored_as).lengthen(self.ledger.n_rows)
        self.database.execute("UPDATE files SET number = number + 1, dim = ?, similarity = ?", (dim, similarity))
        self._follow()

    def fault(self) -> str:
        """What SQLite finds wrong; short rows that belong to other vectors are thrown away."""
        if self._scan.load(self._short, self._n_rows):
            n = min(len(self._scan), self._file.n_whole)
            blocks = (np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))
            if not all(self._scan.agrees(self._file.rows(n), block) for block in blocks):
                self._scan = Scan(self._similarity, self._dim)
                remove(self._short)
        told = [line for (line,) in self.database.execute("PRAGMA quick_check(5)")]
        return "" if told == ["ok"] else "; ".join(told)

    def compact(self) -> None:
        """Rows are numbered anew without gaps, vectors copied without those removed, and the old file is deleted."""
        self.write(self._compacted)
        self.read(self._tidy)
        with self._lock, _told(self.folder):
            self.database.execute("VACUUM")
            self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            self._file.close()
            self._number = 0
            self.database.close()

    def _compacted(self) -> None:
        there = np.flatnonzero(self._alive)
        if len(there) == self._n_rows:
            return
        mapped = self._rows()
        self.unstage()
        self.ledger.tell("rebuild", None)
        for start in range(0, len(there), _BLOCK):
            block = there[start : start + _BLOCK]
            self.stage(np.arange(start, start + len(block)), np.asarray(mapped[block], dtype=np.float32))
        self.ledger.count(len(there))
        self.database.execute("DELETE FROM removed")
        self.switch(self._dim, self._similarity)
        # In rising order a new number is never above the old one, so that none is taken twice.
        numbers = [(new, old) for new, old in enumerate(there.tolist()) if new != old]
        self.database.executemany("UPDATE items SET row = ? WHERE row = ?", numbers)

    def _connect(self) -> None:
        with _told(self.folder):
            self.database = SqliteDatabase(self.folder / LEDGER, self.timeout_s)
            self.ledger = Ledger(self.database)
        self._number = self._n_rows = self._n_removed = 0
        self._similarity, self._dim, self._stored_as = "cosine", 1, "float32"
        self._file = VectorFile(self._path(0), self._dim, self._stored_as)
        self._scan = Scan(self._similarity, self._dim)
        self._there = np.empty(0, dtype=np.bool_)
        self._process = os.getpid()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        if self._process != os.getpid():
            self._inherited = self.database  # neither used nor closed: it is the other process's
            self._connect()
        before = self._number
        self.database.execute(begin)
        try:
            yield
            self.database.execute("COMMIT")
        except BaseException:
            if begin != "BEGIN" and self._number != before:
                self._number = 0  # what was seen last may never come to be
            with suppress(sqlite3.Error):
                self.database.execute("ROLLBACK")
            raise

    def _follow(self) -> None:
        """Know what was committed by now."""
        ((number, dim, similarity, stored_as),) = self.database.execute("SELECT * FROM files")
        if number != self._number:
            self._number, self._dim, self._similarity, self._stored_as = number, dim, similarity, stored_as
            self._file = VectorFile(self._path(number), dim, stored_as)
            self._scan = Scan(similarity, dim)
            self._n_rows = self._n_removed = 0
            self._there = np.empty(0, dtype=np.bool_)
        n = self.ledger.n_rows
        if n > len(self._there):
            room = np.ones(max(n, 2 * len(self._there)), dtype=np.bool_)
            room[: self._n_rows] = self._alive
            self._there = room
        self._n_rows = n
        condition = "WHERE number > ? ORDER BY number"
        removed = self.database.execute(f"SELECT number, row FROM removed {condition}", (self._n_removed,))  # noqa: S608
        for number, row in removed:
            self._there[row], self._n_removed = False, number

    def _was_replaced(self) -> bool:
        """Whether another process put another file of vectors in the place of ours, after we had looked and before we read."""
        ((number,),) = self.database.execute("SELECT number FROM files")
        return bool(self._number and number != self._number)

    @property
    def _alive(self) -> Bool[np.ndarray, " n"]:
        return self._there[: self._n_rows]

    def _rows(self) -> Shaped[np.ndarray, "n dim"]:
        """All committed vectors, mapped, with their short rows at hand."""
        rows = self._file.rows(self._n_rows)
        if not len(self._scan) and self._scan.load(self._short, len(rows)):
            some = np.random.default_rng().choice(len(self._scan), min(_N_COMPARED, len(self._scan)), replace=False)
            if not self._scan.agrees(rows, np.sort(some)):
                self._scan = Scan(self._similarity, self._dim)
        self._scan.follow(rows)
        return rows

    def _tidy(self) -> None:
        """Keep short rows for the next process, and delete files that count no more. What cannot be done now can be later."""
        with suppress(OSError, ValueError):
            if self._scan.n_unsaved >= max(_N_UNSAVED, len(self._scan) // 5):
                self._scan.save(self._short)
            for file in [*self.folder.glob("vectors-*"), *self.folder.glob("short-*")]:
                if int(file.name.partition("-")[2]) < self._number:
                    file.unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"vectors-{number:06d}"

    @property
    def _staged(self) -> Path:
        return self._path(self._number + 1)

    @property
    def _short(self) -> Path:
        return self.folder / f"short-{self._number:06d}"


def _write_tables(database: SqliteDatabase, files: tuple[int, str, str], tell: Callable[[Ledger], None]) -> None:
    database.execute("BEGIN IMMEDIATE")
    ledger = Ledger(database)
    ledger.create()
    for statement in _TABLES:
        database.execute(statement)
    database.execute("INSERT INTO files VALUES (1, ?, ?, ?)", files)
    tell(ledger)
    database.execute("COMMIT")


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """SQLite's errors as ours, and the system's own."""
    try:
        yield
    except sqlite3.OperationalError as error:
        told = str(error)
        if "locked" in told or "busy" in told:
            raise IndexLocked(
                f"Another process has been writing to {folder} for too long. Wait for it, or open with a longer timeout_s."
            ) from None
        if "full" in told:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / LEDGER)) from None
        if "readonly" in told or "read-only" in told or "unable to open" in told:
            raise PermissionError(errno.EACCES, f"SQLite says: {told}", str(folder / LEDGER)) from None
        raise OSError(errno.EIO, f"SQLite says: {told}", str(folder / LEDGER)) from None
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise BrokenIndex(
            f"{folder / LEDGER} is damaged (SQLite says: {error}). Restore the folder from a copy, or make the index anew."
        ) from None
