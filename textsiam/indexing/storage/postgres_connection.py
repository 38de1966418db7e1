"""A connection to PostgreSQL, as the ledger uses it: in the index's own schema, errors as ours, the password never shown.

Settings belong to the connection, so a connection pooler must pool sessions, not transactions.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from textsiam.errors import BrokenIndex, IndexLocked, IndexNotFound, MissingExtra
from textsiam.indexing.storage.store import shown

try:
    import psycopg
    from pgvector.psycopg import register_vector
    from psycopg.conninfo import conninfo_to_dict
except ImportError:
    raise MissingExtra(
        "An index in PostgreSQL needs psycopg and pgvector, which are not installed: pip install 'textsiam[postgres]'"
    ) from None

PostgresError = psycopg.Error
_SCHEMA = "textsiam"
# Either side notices after a minute that the other is gone: a writer's lock should not outlive its machine by hours.
_DEFAULTS = {"application_name": "textsiam", "connect_timeout": 10}
_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_MOST_MS = 2**31 - 1
# The type `vector` may live in any schema.
_PATH = (
    "SELECT set_config('search_path', concat_ws(', ', quote_ident(?), (SELECT quote_ident(nspname) FROM pg_extension "
    "JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'vector')), false)"
)
# Classes of errors after which another try may succeed: the connection was lost, the server stops or starts, two transactions
# were in each other's way.
_PASSING = ("08", "57P", "40")


class PostgresDatabase:
    """One connection.

    Parameters
    ----------
    address
        ``postgresql://…``
    timeout_s
        How long to wait for another's lock.
    """

    among = "{} = ANY(?)"

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address, self.timeout_s = address, timeout_s
        self.connection: Any = None
        self._process = os.getpid()
        with postgres_errors(address):
            self.connect()

    def connect(self) -> None:
        """Have a usable connection: the one that is there, or a new one."""
        if self._process != os.getpid():  # what was inherited is neither used nor closed: it is the other process's
            self._inherited, self.connection, self._process = self.connection, None, os.getpid()
        if self.connection is not None and not self.connection.closed:
            return
        given: dict[str, Any] = {**_DEFAULTS, **_ALIVE, **conninfo_to_dict(self.address), "client_encoding": "utf8"}
        self.connection = psycopg.connect(**given, autocommit=True)
        try:
            self._set_up()
        except BaseException:
            self.close()  # half set up, it might find another schema's tables
            raise

    def find_vector(self) -> bool:
        """Make the schema and pgvector's types known to the connection; whether they are there."""
        self.execute(_PATH, (self.schema,))
        ((is_there,),) = self.execute("SELECT to_regtype('halfvec') IS NOT NULL")
        if is_there:
            register_vector(self.connection)
        return bool(is_there)

    def has(self, table: str) -> bool:
        """Whether the schema holds this table."""
        ((found,),) = self.execute("SELECT to_regclass(quote_ident(?) || '.' || ?) IS NOT NULL", (self.schema, table))
        return bool(found)

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None and self._process == os.getpid():  # after a fork it is the other process's
            with suppress(psycopg.Error):
                self.connection.close()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        cursor = self.connection.execute(_marked(sql), parameters, binary=True)
        return list(cursor.fetchall()) if cursor.description else []

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each set of parameters."""
        with self.connection.cursor() as cursor:
            cursor.executemany(_marked(sql), parameters)

    def copy_in(self, table: str, rows: bytes) -> None:
        """Append rows in PostgreSQL's binary form."""
        with self.connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows + b"\xff\xff")

    def listed(self, values: Sequence[Any]) -> Any:
        """Values as one parameter, without strings that no row can hold."""
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        return [value for value in plain if not isinstance(value, str) or _can_be_held(value)]

    @contextmanager
    def transaction(self, begin: str) -> Iterator[None]:
        """A transaction, rolled back if anything fails within it."""
        if self.connection.info.transaction_status:
            raise RuntimeError(
                "The index is within a transaction, which another question would end. Ask before or after."
            )
        self.execute(begin)
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            try:
                self.execute("ROLLBACK")
            except psycopg.Error:
                self.close()
            raise

    def may_pass(self, error: Exception) -> bool:
        """Whether another try, perhaps with another connection, may succeed."""
        if not isinstance(error, psycopg.Error):
            return False
        is_lost = self.connection is None or self.connection.closed
        return is_lost or (error.sqlstate or "").startswith(_PASSING)

    def _set_up(self) -> None:
        ((path, source),) = self.execute("SELECT setting, source FROM pg_settings WHERE name = 'search_path'")
        self.schema = (_first(path) if source == "client" else "") or _SCHEMA
        settings: dict[str, Any] = {f"tcp_{name}": value for name, value in _ALIVE.items()}
        settings["lock_timeout"] = min(max(int(1000 * self.timeout_s), 1), _MOST_MS)  # 0 would wait for ever
        ((durable,),) = self.execute("SELECT current_setting('synchronous_commit')")
        settings["synchronous_commit"] = "on" if durable == "off" else durable  # what we call committed is on disk
        pairs = [part for name, value in settings.items() for part in (name, str(value))]
        self.execute(f"SELECT {', '.join(['set_config(?, ?, false)'] * len(settings))}", pairs)
        self.find_vector()


@contextmanager
def postgres_errors(address: str) -> Iterator[None]:
    """Raise PostgreSQL's errors as ours, or as the system's own."""
    try:
        yield
    except psycopg.Error as error:
        raise _ours(error, shown(address)) from None


def _ours(error: Any, place: str) -> Exception:
    state = error.sqlstate or ""
    says = f"PostgreSQL says: {error}".strip()
    if isinstance(error, psycopg.ProgrammingError) and not state:
        # What it says may show parts of a password.
        return ValueError(
            f"{place} is not a connection string of PostgreSQL. Write postgresql://user@host:5432/database."
        )
    if not state or state.startswith(("08", "57P")):
        return ConnectionError(
            f"{place} cannot be reached. {says}. Check host, port, user, password and database, and whether the server "
            "runs."
        )
    for start, make in _ERRORS.items():
        if state.startswith(start):
            return make(place, says)
    return OSError(errno.EIO, says, place)


def _damaged(place: str, says: str) -> BrokenIndex:
    return BrokenIndex(
        f"The index at {place} is damaged. {says}. Repair it from the texts with Index.verify, or restore the database."
    )


# By the first letters of PostgreSQL's error code (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_ERRORS: dict[str, Callable[[str, str], Exception]] = {
    "55P03": lambda place, _: IndexLocked(
        f"Another process has been writing to {place} for too long. Wait for it, or open with a longer timeout_s."
    ),
    "53100": lambda place, says: OSError(errno.ENOSPC, says, place),
    "42501": lambda place, says: PermissionError(errno.EACCES, says, place),
    "25006": lambda place, says: PermissionError(errno.EACCES, says, place),
    "42P01": lambda place, _: IndexNotFound(f"There is no longer an index at {place}. Create one: Index.create."),
    "42P07": lambda place, _: FileExistsError(
        f"{place} holds other tables with the index's names. Name another schema."
    ),
    "22000": _damaged,
    "XX": _damaged,
}


def _first(path: str) -> str:
    """The first name of a search path, which the connection string has set."""
    name = path.partition(",")[0].strip()
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def _marked(sql: str) -> str:
    """Parameters as psycopg writes them."""
    return sql.replace("?", "%s")


def _can_be_held(value: str) -> bool:
    return "\0" not in value and value.encode("utf-8", "ignore").decode("utf-8") == value
