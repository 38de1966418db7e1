"""An index in a PostgreSQL database with pgvector, where one file is not enough: the same answers, to the last bit.

Vectors are in one of two tables. A third says which of them counts, so that a rebuild fills the other one and one committed
number switches: readers keep what they saw when they began, and no table is ever locked against them.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from textsiam.arrays import Rows, Vectors
from textsiam.errors import IndexNotFound
from textsiam.indexing.storage.ledger import Ledger
from textsiam.indexing.storage.postgres_connection import PostgresDatabase, PostgresError, postgres_errors
from textsiam.indexing.storage.postgres_vectors import TYPES, VectorTable
from textsiam.indexing.storage.store import rebuilt, shown
from textsiam.indexing.storage.turns import Turns

Result = TypeVar("Result")

_TABLES = (
    # Changes of the last day: a writer that lost the connection while committing can look whether they were committed.
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
    view: VectorTable  # its number's last bit says which table it is

    def __init__(self, address: str, timeout_s: float = 60.0) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._turns = Turns(shown(address), timeout_s)
        self.database = PostgresDatabase(address, timeout_s)
        self.ledger = Ledger(self.database)
        with postgres_errors(address):
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
        """A new index, empty, whole or not at all; `tell` writes the settings into the ledger."""
        database = PostgresDatabase(address, 10.0)
        try:
            with postgres_errors(address), database.transaction("BEGIN"):
                database.execute(_LOCK, ("",))  # two processes that create the same one exclude each other
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

    def read(self, work: Callable[[], Result], made: str | None = None, *, endlessly: bool = False) -> Result:
        """Return what `work` returns; it sees one moment (see `Store.read`)."""

        def once() -> Result:
            with self.database.transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
                self._follow(made)
                return work()

        return self._persisting(once, endlessly=endlessly)

    def write(self, work: Callable[[], Result], made: str | None = None) -> Result:
        """Return what `work` returns; its changes are kept whole or not at all; one writer at a time."""
        token = uuid.uuid4().hex
        results: list[Result] = []

        def once() -> Result:
            # Each statement sees what was committed before it: those after the lock see all earlier writers.
            with self.database.transaction("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"):
                self.database.execute(_LOCK, (self.database.schema,))
                if results and self.database.execute("SELECT token FROM commits WHERE token = ?", (token,)):
                    return results[-1]  # only the answer to the commit had been lost
                self._follow(made)
                results.append(work())
                self.database.execute(_DONE, (token,))
            return results[-1]

        return self._persisting(once)

    def drop(self, rows: Rows) -> None:
        """Take rows out of every later search, also after a switch."""
        self.view.drop(rows)
        self._other.drop(rows)

    def stage(self, rows: Rows, vectors: Vectors) -> None:
        """Write vectors that will replace all, into the other table."""
        self._other.write(rows, vectors)

    def unstage(self) -> None:
        """Throw away what was staged."""
        self._other.empty()

    @contextmanager
    def staging(self) -> Iterator[None]:
        """Begin with nothing staged; a transaction that fails rolls it back."""
        self.unstage()
        yield

    def switch(self, dim: int, similarity: str) -> None:
        """The staged vectors count now; transactions under way still see those before."""
        self.database.execute("UPDATE files SET number = number + 1, dim = ?, similarity = ?", (dim, similarity))
        self._follow()
        self.unstage()

    def fault(self) -> str:
        """Nothing: PostgreSQL checks its own pages."""
        return ""

    def compact(self) -> None:
        """Make the space of removed rows free to use again; rows keep their numbers."""

        def once() -> None:
            for table in ("vectors_0", "vectors_1", "items"):
                self.database.execute(f"VACUUM (ANALYZE) {table}")

        self._persisting(once)

    def close(self) -> None:
        """Close the connection."""
        with self._turns.lock:
            self.database.close()

    def __del__(self) -> None:
        if hasattr(self, "database"):
            self.database.close()

    def _persisting(self, once: Callable[[], Result], *, endlessly: bool = False) -> Result:
        """Return what `once` returns, called again where the connection was lost, for up to `timeout_s`."""
        until, pause_s = 0.0, _PAUSE_S
        with self._turns.turn(math.inf if endlessly else None), postgres_errors(self.address):
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

    def _follow(self, made: str | None = None) -> None:
        """Know what was committed by now."""
        state = self.ledger.look()
        self.view = VectorTable(self.database, state.number, state.dim, state.similarity, state.stored_as)
        if made not in {None, state.made}:
            raise rebuilt(self._turns.place)

    @property
    def _other(self) -> VectorTable:
        return replace(self.view, number=self.view.number + 1)


def _prepare(database: PostgresDatabase) -> None:
    """Make sure that there are pgvector and an empty schema."""
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
