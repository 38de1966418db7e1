"""A connection to PostgreSQL that is made again when it is lost, and the server's errors as users should read them."""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np

from textsiam.errors import IndexLocked, MissingExtra
from textsiam.indexing.ledger import Ledger

try:
    import psycopg
    from pgvector.psycopg import register_vector
    from psycopg import sql as compose
    from psycopg.conninfo import conninfo_to_dict
except ImportError:
    raise MissingExtra(
        "An index in PostgreSQL needs psycopg and pgvector. Install them: pip install 'textsiam[postgres]'."
    ) from None

logger = logging.getLogger("textsiam")

Result = TypeVar("Result")

SCHEMA = "textsiam"  # unless the address names another one (search_path)
_RETRY_S = 0.2


class PostgresDatabase:
    """PostgreSQL as the ledger wants it."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self.connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        cursor = self.connection.execute(statement(sql), parameters)
        return cursor.fetchall() if cursor.description else []

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each set of parameters."""
        with self.connection.cursor() as cursor:
            cursor.executemany(statement(sql), list(parameters))

    def among(self, column: str) -> str:
        """A condition with one parameter."""
        return f"{column} = ANY(?)"

    def listed(self, values: Sequence[Any]) -> list[Any]:
        """Values as one parameter."""
        return [value.item() if isinstance(value, np.generic) else value for value in values]


class Session:
    """A database as one process has it open; several threads may use it, one at a time.

    Parameters
    ----------
    address
        ``postgresql://user:password@host/database``.
    timeout_s
        How long to wait for a lock, and for a server that is away.
    make_schema
        Whether to make the schema, and the extension vector, if they are not there.
    """

    database: PostgresDatabase

    def __init__(self, address: str, timeout_s: float, *, make_schema: bool) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._lock = threading.RLock()
        self._connect(make_schema=make_schema)
        self.ledger = Ledger(self.database)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock, suppress(psycopg.Error):
            if self._process == os.getpid():  # after a fork it is the other process's
                self.database.connection.close()

    def run(self, work: Callable[[], Result], *, reading: bool) -> Result:
        """`work` in a transaction; again where the connection was lost, for as long as one may wait."""
        until = time.monotonic() + self.timeout_s
        with self._lock, self.told():
            while True:
                try:
                    if self._process != os.getpid() or self.database.connection.closed:
                        self._connect()
                    return self._once(work, reading=reading)
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    is_lost = self.database.connection.closed or self.database.connection.broken
                    if isinstance(error, psycopg.errors.LockNotAvailable) or not is_lost or time.monotonic() > until:
                        raise
                    logger.warning("The connection to %s was lost; trying again.", hidden(self.address))
                    self._reconnect(until)

    def _once(self, work: Callable[[], Result], *, reading: bool) -> Result:
        connection = self.database.connection
        # A reader sees one moment; a writer, once it has the lock, sees all that was committed before.
        level = "REPEATABLE READ READ ONLY" if reading else "READ COMMITTED"
        connection.execute(statement(f"BEGIN ISOLATION LEVEL {level}"))
        try:
            if not reading:
                connection.execute(statement(f"SET LOCAL lock_timeout = {max(1, int(self.timeout_s * 1000))}"))
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('textsiam'), hashtext(current_schema()))")
            result = work()
            connection.execute("COMMIT")
        except BaseException:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
            raise
        return result

    def _reconnect(self, until: float) -> None:
        while True:
            try:
                return self._connect()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(_RETRY_S)

    def _connect(self, *, make_schema: bool = False) -> None:
        try:
            connection = psycopg.connect(
                self.address, autocommit=True, connect_timeout=max(1, int(min(self.timeout_s, 10)))
            )
        except psycopg.Error as error:
            raise ConnectionError(
                f"{hidden(self.address)} cannot be reached: {str(error).strip()}. Check address, user and password, and that the "
                "server runs."
            ) from None
        if hasattr(self, "database"):  # others know it and its ledger by now
            self.close()
            self.database.connection = connection
        else:
            self.database = PostgresDatabase(connection)
        self._process = os.getpid()
        with self.told():
            if make_schema:
                _make_extension(connection, self.address)
            (source,) = connection.execute("SELECT source FROM pg_settings WHERE name = 'search_path'").fetchone() or (
                "",
            )
            path = connection.execute("SHOW search_path").fetchone() or ("",)
            name = path[0].split(",")[0].strip().strip('"') if source == "client" else SCHEMA
            if make_schema:
                connection.execute(compose.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(compose.Identifier(name)))
            connection.execute(compose.SQL("SET search_path TO {}, public").format(compose.Identifier(name)))
            if connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
                register_vector(connection)

    @contextmanager
    def told(self) -> Iterator[None]:
        """The server's errors as ours, and the system's own; never with the password."""
        where = hidden(self.address)
        try:
            yield
        except psycopg.errors.LockNotAvailable:
            raise IndexLocked(
                f"Another process has been writing to {where} for too long. Wait for it, or open with a longer timeout_s."
            ) from None
        except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory) as error:
            raise OSError(errno.ENOSPC, f"the server says: {str(error).strip()}", where) from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise PermissionError(errno.EACCES, f"the server says: {str(error).strip()}", where) from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise ConnectionError(
                f"The connection to {where} was lost: {str(error).strip()}. What was committed stays; try again later."
            ) from None


def hidden(address: str) -> str:
    """The address without its password, to be shown.

    Examples
    --------
    >>> hidden("postgresql://me:secret@db.example.org/faq")
    'postgresql://me@db.example.org/faq'
    """
    try:
        told = conninfo_to_dict(address)
    except psycopg.Error:
        return "postgresql://…"
    user, host = told.get("user"), told.get("host", "localhost")
    return f"postgresql://{f'{user}@' if user else ''}{host}/{told.get('dbname') or ''}"


def _make_extension(connection: "psycopg.Connection[Any]", address: str) -> None:
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
    except psycopg.errors.UniqueViolation:
        return  # another process makes it just now
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.UndefinedFile,
        psycopg.errors.FeatureNotSupported,
    ) as error:
        raise PermissionError(
            f"The database at {hidden(address)} has no pgvector, and it cannot be made: {str(error).strip()}. Install "
            "pgvector on the server, or let a superuser run CREATE EXTENSION vector."
        ) from None


def statement(sql: str) -> Any:
    """The statement with psycopg's own marks for parameters."""
    return compose.SQL(sql.replace("?", "%s"))
