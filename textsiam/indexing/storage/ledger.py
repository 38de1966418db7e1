"""The ledger: ids, texts, hashes, clusters and settings, in SQL that SQLite and PostgreSQL both understand.

It holds no vectors and no transaction; the store does both. Rows are numbered in order of arrival.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from textsiam.arrays import Rows

_N_AT_ONCE = 50_000  # rows of one query

# `score` is that to the cluster's keeper; a keeper has none.
_ITEMS = (
    "CREATE TABLE items (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, hash BIGINT NOT NULL, text TEXT, "
    "checksum BIGINT NOT NULL, cluster INTEGER NOT NULL, score DOUBLE PRECISION)"
)
_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # Which vectors count, and how they are written.
    "CREATE TABLE files (number INTEGER NOT NULL, dim INTEGER NOT NULL, similarity TEXT NOT NULL, stored_as TEXT NOT NULL)",
    # What grows: rows ever written, and clusters ever numbered.
    "CREATE TABLE counts (n_rows INTEGER NOT NULL, n_clusters INTEGER NOT NULL)",
    "INSERT INTO counts VALUES (0, 0)",
    _ITEMS,
    "CREATE INDEX items_hash ON items (hash)",
    "CREATE INDEX items_cluster ON items (cluster)",
    "CREATE TABLE merges (cluster INTEGER PRIMARY KEY, merged_into INTEGER NOT NULL, at TEXT NOT NULL)",
)


_STATE = (
    "SELECT number, dim, similarity, stored_as, n_rows, n_clusters, (SELECT value FROM meta WHERE key = 'made') "
    "FROM files, counts"
)


@runtime_checkable
class Database(Protocol):
    """What the ledger needs of a database. Parameters stand as ``?``."""

    among: str  # a condition with a column's name for ``{}`` and one parameter: the column is one of the values of `listed`

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each set of parameters."""

    def listed(self, values: Sequence[Any]) -> Any:
        """Values as one parameter."""


class State(NamedTuple):
    """What a transaction looks up first."""

    number: int  # of the vectors that count
    dim: int
    similarity: str
    stored_as: str
    n_rows: int  # ever written, removed or not
    n_clusters: int  # ever numbered
    made: str  # see `textsiam.indexing.open_index.made_key`


class Item(NamedTuple):
    """One row of the ledger."""

    row: int
    id: str
    hash: int
    text: str | None
    checksum: int
    cluster: int
    score: float | None


_COLUMNS = ", ".join(Item._fields)


class Merge(NamedTuple):
    """A cluster that ended because all its texts matched another's keeper."""

    cluster: int
    into: int
    at: str  # UTC, ISO 8601


class Ledger:
    """Questions and changes, each one statement or a few, inside the transaction that the store holds."""

    state: State  # as `look` found it, and as `count` changed it

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self) -> None:
        """Make the empty tables."""
        for statement in _TABLES:
            self.database.execute(statement)

    def look(self) -> State:
        """Look up the state; a transaction begins with it, and calls it again after it changed ``files``."""
        ((*known, made),) = self.database.execute(_STATE)
        self.state = State._make((*known, json.loads(made)))
        return self.state

    def value(self, key: str) -> Any:
        """What was written under this key, as plain values; None if nothing was."""
        found = self.database.execute("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(found[0][0]) if found else None

    def put(self, key: str, value: Any) -> None:
        """Write plain values under this key; None deletes it."""
        self.database.execute("DELETE FROM meta WHERE key = ?", (key,))
        if value is not None:
            self.database.execute("INSERT INTO meta VALUES (?, ?)", (key, json.dumps(value)))

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
        """Whether vectors may be staged by something other than a rebuild. If not, the rebuild under way must start over now.

        That must be committed before the staged vectors are touched: otherwise, after a failure, the rebuild would continue with
        vectors that are gone.
        """
        if self.value("rebuild") is None:
            return True
        self.put("rebuild", None)
        return False

    def count(self, *, n_rows: int | None = None, n_clusters: int | None = None) -> None:
        """Write how many rows were ever written, and how many clusters ever numbered. None: as many as before."""
        state = self.state
        self.state = state._replace(
            n_rows=state.n_rows if n_rows is None else n_rows,
            n_clusters=state.n_clusters if n_clusters is None else n_clusters,
        )
        if self.state != state:
            counts = (self.state.n_rows, self.state.n_clusters)
            self.database.execute("UPDATE counts SET n_rows = ?, n_clusters = ?", counts)

    def insert(self, items: Iterable[Item]) -> None:
        """Write new rows."""
        self.database.executemany(f"INSERT INTO items VALUES ({', '.join('?' * len(Item._fields))})", items)  # noqa: S608

    def delete(self, rows: Sequence[int]) -> None:
        """Delete rows."""
        sql = f"DELETE FROM items WHERE {self.database.among.format('row')}"  # noqa: S608  names of ours
        for start in range(0, len(rows), _N_AT_ONCE):
            self.database.execute(sql, (self.database.listed(rows[start : start + _N_AT_ONCE]),))

    def items(self, column: str, values: Iterable[Any], more: str = "") -> list[Item]:
        """The rows whose ``row``, ``id``, ``hash`` or ``cluster`` is one of these, in order of rows."""
        sql = f"SELECT {_COLUMNS} FROM items WHERE {self.database.among.format(column)}{more}"  # noqa: S608  names of ours
        wanted, found = list(dict.fromkeys(values)), []
        for start in range(0, len(wanted), _N_AT_ONCE):
            found += self.database.execute(sql, (self.database.listed(wanted[start : start + _N_AT_ONCE]),))
        return sorted(map(Item._make, found))

    def keepers(self, clusters: Sequence[int]) -> list[Item]:
        """The keepers of these clusters."""
        return self.items("cluster", clusters, " AND score IS NULL")

    def after(self, row: int, n: int) -> list[Item]:
        """The first `n` rows beyond this one."""
        sql = f"SELECT {_COLUMNS} FROM items WHERE row > ? ORDER BY row LIMIT ?"  # noqa: S608  names of ours
        return list(map(Item._make, self.database.execute(sql, (row, n))))

    def all_items(self) -> Iterator[Item]:
        """Every row in order, a block at a time."""
        last = -1
        while block := self.after(last, _N_AT_ONCE):
            yield from block
            last = block[-1].row

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
        rows = self.database.execute("SELECT cluster, merged_into, at FROM merges ORDER BY cluster")
        return [Merge(*row) for row in rows]


def hash_of(text: str | bytes) -> int:
    """A text's hash as a signed 64-bit number, which both databases store.

    Examples
    --------
    >>> hash_of("How do I pay?") == hash_of("How do I pay?"), hash_of("a") == hash_of("b")
    (True, False)
    """
    content = text.encode("utf-8") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def rows_of(items: Iterable[Item]) -> Rows:
    """Their row numbers."""
    return np.array([item.row for item in items], dtype=np.int64)
