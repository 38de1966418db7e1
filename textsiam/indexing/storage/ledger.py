"""The ledger: ids, texts, hashes, clusters and settings, in SQL that SQLite and PostgreSQL both speak.

It knows nothing of vectors and holds no transaction; the store does both. Rows are numbered in order of arrival.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from textsiam.arrays import Rows

_N_AT_ONCE = 50_000  # rows of a query that are asked for at once

# `score` is that to the cluster's keeper; a keeper has none.
_ITEMS = (
    "CREATE TABLE items (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, hash BIGINT NOT NULL, text TEXT, "
    "checksum BIGINT NOT NULL, cluster INTEGER NOT NULL, score DOUBLE PRECISION)"
)
TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # What grows: rows ever written, and clusters ever numbered.
    "CREATE TABLE counts (n_rows INTEGER NOT NULL, n_clusters INTEGER NOT NULL)",
    "INSERT INTO counts VALUES (0, 0)",
    _ITEMS,
    "CREATE INDEX items_hash ON items (hash)",
    "CREATE INDEX items_cluster ON items (cluster)",
    "CREATE TABLE merges (cluster INTEGER PRIMARY KEY, merged_into INTEGER NOT NULL, at TEXT NOT NULL)",
)


@runtime_checkable
class Database(Protocol):
    """What the ledger asks of a database. Parameters stand as ``?``."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each set of parameters."""

    def among(self, column: str) -> str:
        """A condition with one parameter: the column is one of the values that `listed` made the parameter of."""

    def listed(self, values: Sequence[Any]) -> Any:
        """Values as one parameter."""


class Item(NamedTuple):
    """One row of the ledger."""

    row: int
    id: str
    hash: int
    text: str | None
    checksum: int
    cluster: int
    score: float | None


class Merge(NamedTuple):
    """A cluster that ended because all its texts matched another's keeper."""

    cluster: int
    into: int
    at: str  # UTC, ISO 8601


class Ledger:
    """Questions and changes, each one statement or a few, inside whatever transaction the store holds."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self) -> None:
        """Make the empty tables."""
        for statement in TABLES:
            self.database.execute(statement)

    def told(self, key: str) -> Any:
        """What was written under this key, as plain values; None if nothing was."""
        found = self.database.execute("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(found[0][0]) if found else None

    def tell(self, key: str, value: Any) -> None:
        """Write plain values under this key; None forgets it."""
        self.database.execute("DELETE FROM meta WHERE key = ?", (key,))
        if value is not None:
            self.database.execute("INSERT INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    @property
    def n_rows(self) -> int:
        """Rows ever written, removed or not."""
        return int(self.database.execute("SELECT n_rows FROM counts")[0][0])

    def __len__(self) -> int:
        return int(self.database.execute("SELECT count(*) FROM items")[0][0])

    def n_until(self, row: int) -> int:
        """Texts up to this row."""
        return int(self.database.execute("SELECT count(*) FROM items WHERE row <= ?", (row,))[0][0])

    def in_clusters(self) -> tuple[int, int]:
        """Clusters of two texts or more, and the texts in them besides their keepers."""
        ((n, n_members),) = self.database.execute(
            "SELECT count(DISTINCT cluster), count(*) FROM items WHERE score IS NOT NULL"
        )
        return int(n), int(n_members)

    def n_without_text(self) -> int:
        """Rows whose text is not kept."""
        return int(self.database.execute("SELECT count(*) FROM items WHERE text IS NULL")[0][0])

    def may_stage(self) -> bool:
        """Whether vectors may be staged that are no rebuild's. If not, the rebuild under way was told to begin anew.

        That must be committed before what it staged is touched: else, after a failure, it would go on with what is no more.
        """
        if self.told("rebuild") is None:
            return True
        self.tell("rebuild", None)
        return False

    def count(self, n_rows: int) -> None:
        """From now on so many rows were ever written."""
        self.database.execute("UPDATE counts SET n_rows = ?", (n_rows,))

    @property
    def n_clusters(self) -> int:
        """Clusters ever numbered."""
        return int(self.database.execute("SELECT n_clusters FROM counts")[0][0])

    def count_clusters(self, n_clusters: int) -> None:
        """From now on so many clusters were ever numbered."""
        self.database.execute("UPDATE counts SET n_clusters = ?", (n_clusters,))

    def insert(self, items: Iterable[Item]) -> None:
        """Write new rows."""
        self.database.executemany(f"INSERT INTO items VALUES ({', '.join('?' * len(Item._fields))})", items)  # noqa: S608

    def delete(self, rows: Sequence[int]) -> None:
        """Forget rows."""
        for part in _parts(rows):
            self.database.execute(
                f"DELETE FROM items WHERE {self.database.among('row')}",  # noqa: S608  no value is part of the text
                (self.database.listed(part),),
            )

    def items(self, column: str, values: Sequence[Any]) -> list[Item]:
        """The rows whose ``row``, ``id``, ``hash`` or ``cluster`` is one of these, in order of rows."""
        found: list[Item] = []
        for part in _parts(list(dict.fromkeys(values))):
            found += map(
                Item._make, self._select(f"WHERE {self.database.among(column)}", (self.database.listed(part),))
            )
        return sorted(found)

    def keepers(self, clusters: Sequence[int]) -> list[Item]:
        """The keepers of these clusters."""
        found: list[Item] = []
        for part in _parts(clusters):
            condition = f"WHERE score IS NULL AND {self.database.among('cluster')}"
            found += map(Item._make, self._select(condition, (self.database.listed(part),)))
        return found

    def after(self, row: int, n: int) -> list[Item]:
        """The first `n` rows beyond this one."""
        return list(map(Item._make, self._select("WHERE row > ? ORDER BY row LIMIT ?", (row, n))))

    def all_items(self) -> Iterator[Item]:
        """Every row in order, a block at a time."""
        last = -1
        while block := self.after(last, _N_AT_ONCE):
            yield from block
            last = block[-1].row

    def placed(self, rows: Sequence[int]) -> dict[int, tuple[int, float | None]]:
        """Cluster and score to its keeper of each of these rows; a keeper's score is None."""
        found: dict[int, tuple[int, float | None]] = {}
        for part in _parts(rows):
            told = self.database.execute(
                f"SELECT row, cluster, score FROM items WHERE {self.database.among('row')}",  # noqa: S608
                (self.database.listed(part),),
            )
            found.update({row: (cluster, score) for row, cluster, score in told})
        return found

    def place(self, placed: Iterable[tuple[int, tuple[int, float | None]]]) -> None:
        """Give rows another cluster and score."""
        self.database.executemany(
            "UPDATE items SET cluster = ?, score = ? WHERE row = ?",
            [(cluster, score, row) for row, (cluster, score) in placed],
        )

    def sum_up(self, checksums: Iterable[tuple[int, int]]) -> None:
        """Give rows another checksum: (row, checksum)."""
        self.database.executemany(
            "UPDATE items SET checksum = ? WHERE row = ?", [(checksum, row) for row, checksum in checksums]
        )

    def merge(self, cluster: int, into: int) -> None:
        """Record that a cluster ended in another."""
        self.database.execute("DELETE FROM merges WHERE cluster = ?", (cluster,))
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self.database.execute("INSERT INTO merges VALUES (?, ?, ?)", (cluster, into, at))

    def merges(self) -> list[Merge]:
        """All merges, in order of the clusters that ended."""
        told = self.database.execute("SELECT cluster, merged_into, at FROM merges ORDER BY cluster")
        return [Merge(*row) for row in told]

    def _select(self, condition: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self.database.execute(f"SELECT {', '.join(Item._fields)} FROM items {condition}", parameters)  # noqa: S608


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + _N_AT_ONCE] for start in range(0, len(values), _N_AT_ONCE))


def hash_of(text: str | bytes) -> int:
    """A text's hash as a signed 64-bit number, which both databases store.

    Examples
    --------
    >>> hash_of("How do I pay?") == hash_of("How do I pay?"), hash_of("a") == hash_of("b")
    (True, False)
    """
    told = text.encode("utf-8") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little", signed=True)


def rows_of(items: Iterable[Item]) -> Rows:
    """Their row numbers."""
    return np.array([item.row for item in items], dtype=np.int64)
