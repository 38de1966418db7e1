"""SQLite as the ledger wants it, and its errors as users should read them."""

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np

from textsiam.errors import BrokenIndex, IndexLocked

_MOST_MS = 2**31 - 1


class Busy(sqlite3.OperationalError):
    """Another process writes, so that no transaction could be begun."""


class SqliteDatabase:
    """SQLite as the ledger wants it."""

    def __init__(self, file: Path, timeout_s: float) -> None:
        # Transactions are begun and ended by name; several threads may use it, one at a time.
        self.connection = sqlite3.connect(file, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")

    def wait_at_most(self, timeout_s: float) -> None:
        """From now on wait no longer for others."""
        self.connection.execute(f"PRAGMA busy_timeout = {int(min(1000 * timeout_s, _MOST_MS))}")

    def begin(self, how: str, wait_s: float) -> None:
        """Begin a transaction.

        Raises
        ------
        Busy
            If another process did not let go in time.
        """
        self.wait_at_most(wait_s)
        try:
            self.connection.execute(how)
        except sqlite3.OperationalError as error:
            raise Busy(str(error)) if _is_locked(error) else error from None

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
        """Values as one parameter, without strings that no row can hold: SQLite would end them at NUL."""
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        return dumps([value for value in plain if not isinstance(value, str) or "\0" not in value])


@contextmanager
def sqlite_told(file: Path) -> Iterator[None]:
    """SQLite's errors as ours, and the system's own."""
    try:
        yield
    except sqlite3.OperationalError as error:
        told = str(error)
        if _is_locked(error):
            raise IndexLocked(
                f"Another process has been writing to {file} for too long. Wait for it, or open with a longer timeout_s."
            ) from None
        if "full" in told:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from None
        if "readonly" in told or "read-only" in told or "unable to open" in told:
            told = f"An index is read, too, by those alone who may write in its folder; SQLite says: {told}"
            raise PermissionError(errno.EACCES, told, str(file)) from None
        raise OSError(errno.EIO, f"SQLite says: {told}", str(file)) from None
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            raise ValueError(f"The index at {file.parent} was closed. Open it again: Index.open.") from None
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise BrokenIndex(
            f"{file} is damaged (SQLite says: {error}). Restore the folder from a copy, or make the index anew."
        ) from None


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return "locked" in str(error) or "busy" in str(error)
