"""An index in a PostgreSQL database with pgvector, for when one file is outgrown: the same answers, to the last bit.

Vectors lie in one of two tables. Which of them counts is written in a third, so that a rebuild fills the other one and a single
committed number switches: readers keep what they saw when they began, and no table is ever locked against them.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np

from textsiam.arrays import Found, Rows, Vectors
from textsiam.errors import IndexNotFound
from textsiam.indexing.storage.ledger import Ledger
from textsiam.indexing.storage.postgres_connection import PostgresDatabase, PostgresError, told
from textsiam.indexing.storage.postgres_vectors import TYPES, VectorTable
from textsiam.indexing.storage.store import shown
from textsiam.indexing.storage.turns import Turns
from textsiam.indexing.storage.vector_file import DTYPES, checksums

Result = TypeVar("Result")

_TABLES = (
    # Which table of vectors counts (its number's last bit), and what is in it.
    "CREATE TABLE files (number INTEGER NOT NULL, dim INTEGER NOT NULL, similarity TEXT NOT NULL, stored_as TEXT NOT NULL)",
    # Changes of the last day: whoever lost the connection while committing can look whether it came to be.
    "CREATE TABLE commits (token TEXT PRIMARY KEY, at TIMESTAMPTZ NOT NULL DEFAULT now())",
    # Without a dimension: another encoder may have another.
    "CREATE TABLE vectors_0 (row INTEGER PRIMARY KEY, embedding {} NOT NULL)",
    "CREATE TABLE vectors_1 (row INTEGER PRIMARY KEY, embedding {} NOT NULL)",
    # Within the table as long as a page holds them: PostgreSQL would put what is above 2 kB elsewhere, where scans are slow.
    "ALTER TABLE vectors_0 ALTER embedding SET STORAGE MAIN",
    "ALTER TABLE vectors_1 ALTER embedding SET STORAGE MAIN",
)
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('textsiam'), hashtext(?))"
_DONE = "WITH old AS (DELETE FROM commits WHERE at < now() - interval '1 day') INSERT INTO commits (token) VALUES (?)"
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # before connecting again


class PostgresStore:
    """A schema with an index: ``textsiam``, or the first of the search path that the connection string sets.

    Parameters
    ----------
    address
        ``postgresql://user@host/database``, for another schema with ``?options=-csearch_path%3Dname``.
    timeout_s
        How long to wait for another thread, for another writer, and for a server that was lost.
    """

    unfit = "\0"  # characters that no text or id may hold here
    _table: VectorTable

    def __init__(self, address: str, timeout_s: float = 60.0) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._turns = Turns(shown(address), timeout_s)
        self.database = PostgresDatabase(address, timeout_s)
        self.ledger = Ledger(self.database)
        with told(address):
            is_there = self.database.has("files")
        if not is_there:
            self.close()
            raise IndexNotFound(
                f"There is no index at {shown(address)}. Create one: textsiam index add (Index.create)."
            )
        self.read(lambda: None)

    @classmethod
    def create(
        cls, address: str, dim: int, similarity: str, stored_as: str, tell: Callable[[Ledger], None]
    ) -> "PostgresStore":
        """A new index, empty, whole or not at all; `tell` writes what the ledger shall know."""
        database = PostgresDatabase(address, 10.0)
        try:
            with told(address), database.transaction("BEGIN"):
                database.execute(_LOCK, ("",))  # two who make the same at once are in each other's way
                _prepare(database)
                ledger = Ledger(database)
                ledger.create()
                for statement in _TABLES:
                    database.execute(statement.format(TYPES[stored_as]))
                database.execute("INSERT INTO files VALUES (0, ?, ?, ?)", (dim, similarity, stored_as))
                tell(ledger)
        finally:
            database.close()
        return cls(address)

    def read(self, work: Callable[[], Result], *, endlessly: bool = False) -> Result:
        """What `work` gives, all of it seen at one moment."""

        def once() -> Result:
            with self.database.transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
                self._follow()
                return work()

        return self._persisting(once, endlessly=endlessly)

    def write(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, its changes made for good or not at all; one writer at a time."""
        token = uuid.uuid4().hex
        results: list[Result] = []

        def once() -> Result:
            # Each statement sees what was committed before it: those after the lock see all earlier writers.
            with self.database.transaction("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"):
                self.database.execute(_LOCK, (self.database.schema,))
                if results and self.database.execute("SELECT token FROM commits WHERE token = ?", (token,)):
                    return results[-1]  # only the answer to the commit had been lost
                self._follow()
                results.append(work())
                self.database.execute(_DONE, (token,))
            return results[-1]

        return self._persisting(once)

    def find(self, queries: Vectors, threshold: float, max_matches: int) -> Found:
        """Every row that is there and reaches the threshold with a query."""
        return self._table.find(queries, threshold, max_matches)

    def find_fast(self, queries: Vectors, threshold: float, max_matches: int) -> tuple[Found, float | None]:
        """As `find`: there is no approximate structure here."""
        return self.find(queries, threshold, max_matches), None

    def is_large(self) -> bool:
        """Whether an approximate structure should be made: never."""
        return False

    def make_fast(self, threshold: float, recall: float) -> float:
        """Refused."""
        raise ValueError(
            f"In PostgreSQL search is always exact, but a structure for {threshold:g} with a recall of {recall:g} was asked for. "
            "Search exactly, or keep the index in a folder."
        )

    def nearest(self, queries: Vectors, k: int) -> Found:
        """The k closest rows of each query."""
        return self._table.nearest(queries, k)

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows, fp32, in the order asked for."""
        return self._table.vectors(rows)

    def stored(self, vectors: Vectors) -> Vectors:
        """The vectors as they will be given back."""
        return self._table.stored(vectors)

    def checksums(self, rows: Rows) -> list[int | None]:
        """The checksum of each row's vector; None where there is none."""
        told_: list[int | None] = []
        for _, there, vectors in self._table.read(rows):
            summed = iter(self.summed(vectors))
            told_ += [next(summed) if is_there else None for is_there in there.tolist()]
        return told_

    def summed(self, vectors: Vectors) -> list[int]:
        """The checksums that these vectors will have."""
        return checksums(vectors.astype(DTYPES[self._table.stored_as]))

    def append(self, vectors: Vectors) -> None:
        """Write vectors behind the last row."""
        first = self.ledger.n_rows
        self._table.write(np.arange(first, first + len(vectors)), vectors)

    def drop(self, rows: Rows) -> None:
        """Let rows be found no more, nor after a switch."""
        self._table.drop(rows)
        self._other.drop(rows)

    def stage(self, rows: Rows, vectors: Vectors) -> None:
        """Write vectors that shall take the place of all, into the other table."""
        self._other.write(rows, vectors)

    def unstage(self) -> None:
        """Throw away what was staged."""
        self._other.empty()

    @contextmanager
    def staging(self) -> Iterator[None]:
        """What is staged within takes the place of what was; a transaction that fails forgets it."""
        self.unstage()
        yield

    def switch(self, dim: int, similarity: str) -> None:
        """The staged vectors count now; who reads goes on seeing those before."""
        self.database.execute("UPDATE files SET number = number + 1, dim = ?, similarity = ?", (dim, similarity))
        self._follow()
        self.unstage()

    def fault(self) -> str:
        """Nothing: PostgreSQL checks its own pages."""
        return ""

    def check_caches(self) -> None:
        """Nothing: there are none."""

    def compact(self) -> None:
        """Let the space of removed rows be used again; rows keep their numbers."""

        def once() -> None:
            for table in ("vectors_0", "vectors_1", "items"):
                self.database.execute(f"VACUUM (ANALYZE) {table}")

        self._persisting(once)

    def close(self) -> None:
        """Let go of the connection."""
        with self._turns.lock:
            self.database.close()

    def __del__(self) -> None:
        if hasattr(self, "database"):
            self.database.close()

    def _persisting(self, once: Callable[[], Result], *, endlessly: bool = False) -> Result:
        """What `once` gives, done again where the connection was lost, until `timeout_s` have passed since."""
        until, pause_s = 0.0, _PAUSE_S
        with self._turns.turn(math.inf if endlessly else None), told(self.address):
            while True:
                try:
                    self.database.connect()
                    return once()
                except PostgresError as error:
                    until = until or time.monotonic() + self.timeout_s
                    if not self.database.may_pass(error) or time.monotonic() + pause_s > until:
                        raise
                    self.database.close()
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _follow(self) -> None:
        """Know what was committed by now."""
        (files,) = self.database.execute("SELECT number, dim, similarity, stored_as FROM files")
        self._table = VectorTable(self.database, *files)

    @property
    def _other(self) -> VectorTable:
        return replace(self._table, number=self._table.number + 1)


def _prepare(database: PostgresDatabase) -> None:
    """See to it that there are pgvector and an empty schema."""
    place = shown(database.address)
    ((encoding,),) = database.execute("SHOW server_encoding")
    if encoding != "UTF8":
        raise ValueError(f"Texts need a database in UTF8, but {place} is in {encoding}. Create one: ENCODING 'UTF8'.")
    try:
        database.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
        says = ""
    except PostgresError as error:
        says = f" (PostgreSQL says: {error})"
    if says or not database.find_vector():
        raise OSError(
            f"{place} has no pgvector of version 0.7 or newer{says}. Install it on the server, then let a superuser CREATE, or "
            "ALTER EXTENSION vector UPDATE, in this database."
        )
    ((is_there, name),) = database.execute(
        "SELECT to_regnamespace(quote_ident(?)) IS NOT NULL, quote_ident(?)", 2 * (database.schema,)
    )
    if not is_there:
        database.execute(f"CREATE SCHEMA {name}")
    if database.has("files"):
        raise FileExistsError(f"There is an index at {place} already. Open it, or name another schema.")
