"""An index in PostgreSQL with pgvector, for when one folder is outgrown: many processes on many machines, one set of answers.

Readers see one moment (REPEATABLE READ); writers queue for an advisory lock, so that of two texts that arrive at once the later
one is compared with the earlier. Search is exact: no approximate index is made or used. Few queries are compared by the server,
many by this process, which then reads all vectors once.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from textsiam.errors import BrokenIndex, IndexNotFound, TooManyMatches
from textsiam.indexing.connection import PostgresDatabase, Session, hidden, statement
from textsiam.indexing.ledger import Ledger
from textsiam.indexing.vectors import DTYPES, checksums
from textsiam.matching.exact import Allowed, threshold_join
from textsiam.matching.screens import SPARE, UNIT
from textsiam.scoring.similarity import SIMILARITIES

Result = TypeVar("Result")
Rows = Int[np.ndarray, " _"]
Vectors = Float[np.ndarray, "_ _"]
Found = tuple[Rows, Rows, Float[np.ndarray, " _"]]

_DISTANCES = {"cosine": "<=>", "dot": "<#>", "euclidean": "<->", "manhattan": "<+>"}
_TYPES = {"float32": "vector", "float16": "halfvec"}
_FEW = 16  # queries that the server compares; for more one reading of all vectors is cheaper
_N_AT_ONCE = 8_192


class PostgresStore:
    """A schema of a database with an index.

    Parameters
    ----------
    address
        ``postgresql://user:password@host/database``. Several indexes of one database lie in schemas of their own:
        ``?options=-csearch_path%3Dfaq``.
    timeout_s
        How long to wait for another writer, and for a server that is away.
    """

    database: PostgresDatabase
    ledger: Ledger
    unfit = "\0"  # characters that no text or id may hold here

    def __init__(self, address: str, timeout_s: float = 60.0, *, must_exist: bool = True) -> None:
        self.address = address
        self._session = Session(address, timeout_s, make_schema=not must_exist)
        self.database, self.ledger = self._session.database, self._session.ledger
        self._dim, self._similarity, self._stored_as = 1, "cosine", "float32"
        if must_exist and not self._has_tables():
            self.close()
            raise IndexNotFound(
                f"There is no index at {hidden(address)}. Create one: textsiam index add (Index.create)."
            )

    @classmethod
    def create(
        cls, address: str, dim: int, similarity: str, stored_as: str, tell: Callable[[Ledger], None]
    ) -> "PostgresStore":
        """A new index, empty, whole or not at all; `tell` writes what the ledger shall know."""
        store = cls(address, must_exist=False)
        try:
            store.write(lambda: store.fill(dim, similarity, stored_as, tell))
        except BaseException:
            store.close()
            raise
        return store

    def fill(self, dim: int, similarity: str, stored_as: str, tell: Callable[[Ledger], None]) -> None:
        """Make the tables of a new index.

        Raises
        ------
        FileExistsError
            If they are there.
        """
        if self._has_tables():
            raise FileExistsError(
                f"There is an index at {hidden(self.address)} already. Open it, or name another schema (search_path)."
            )
        self.ledger.create()
        kinds = "dim INTEGER NOT NULL, similarity TEXT NOT NULL, stored_as TEXT NOT NULL"
        self.database.execute(f"CREATE TABLE vectors_kind ({kinds})")
        self.database.execute("INSERT INTO vectors_kind VALUES (?, ?, ?)", (dim, similarity, stored_as))
        self._make_table("vectors", dim, stored_as)
        tell(self.ledger)

    def read(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, all of it seen at one moment."""
        return self._session.run(lambda: self._learned(work), reading=True)

    def write(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, its changes made for good or not at all; one writer at a time."""
        return self._session.run(lambda: self._learned(work), reading=False)

    def find(self, queries: Vectors, threshold: float, max_matches: int) -> Found:
        """Every row that is there and reaches the threshold with a query."""
        if len(queries) > _FEW:
            return self._found_here(queries, threshold, max_matches)
        allowed, found = Allowed(max_matches, threshold), []
        for number, query in enumerate(queries):
            rows, vectors = self._near(query, threshold)
            scores = self._scores(query, vectors)
            reach = scores >= np.float32(threshold)
            allowed.take(int(reach.sum()))
            found.append((np.full(int(reach.sum()), number), rows[reach], scores[reach]))
        return _joined(found)

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
        """The k closest rows of each query, ties by row."""
        found = []
        for number, query in enumerate(queries):
            ((n,),) = self.database.execute("SELECT count(*) FROM vectors")
            if not n:
                continue
            order = f"SELECT row, embedding FROM vectors ORDER BY {self._distance} LIMIT ?"  # noqa: S608  no value in it
            rows, vectors = self._columns(order, (self._parameter(query), k))
            if k < n:  # the kth by the server's arithmetic bounds the kth by ours
                rows, vectors = self._near(query, float(self._scores(query, vectors).min()))
            scores = self._scores(query, vectors)
            best = np.lexsort((rows, -scores))[:k]
            found.append((np.full(len(best), number), rows[best], scores[best]))
        return _joined(found)

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows, fp32, in the order asked for."""
        found, vectors = self._columns(
            "SELECT row, embedding FROM vectors WHERE row = ANY(?) ORDER BY row", (rows.tolist(),)
        )
        if len(found) < len(np.unique(rows)):
            missing = np.setdiff1d(rows, found)[:5].tolist()
            raise BrokenIndex(
                f"The index at {hidden(self.address)} has lost vectors, such as those of rows {missing}. "
                "Mend it from the texts with `textsiam index verify` (Index.verify)."
            )
        return vectors[np.searchsorted(found, rows)]

    def stored(self, vectors: Vectors) -> Vectors:
        """The vectors as they will be given back."""
        return vectors.astype(DTYPES[self._stored_as]).astype(np.float32)

    def checksums(self, rows: Rows) -> list[int | None]:
        """The checksum of each row's vector as the server has it; None where it has none."""
        found, vectors = self._columns(
            "SELECT row, embedding FROM vectors WHERE row = ANY(?) ORDER BY row", (rows.tolist(),)
        )
        told = dict(zip(found.tolist(), self.summed(vectors), strict=True))
        return [told.get(row) for row in rows.tolist()]

    def summed(self, vectors: Vectors) -> list[int]:
        """The checksums that these vectors will have."""
        return checksums(vectors.astype(DTYPES[self._stored_as]))

    def append(self, vectors: Vectors) -> None:
        """Write vectors behind the last row."""
        first = self.ledger.n_rows
        self._copy("vectors", np.arange(first, first + len(vectors)), vectors)

    def drop(self, rows: Rows) -> None:
        """Let rows be found no more."""
        self.database.execute("DELETE FROM vectors WHERE row = ANY(?)", (rows.tolist(),))

    def stage(self, rows: Rows, vectors: Vectors) -> None:
        """Write vectors that shall take the place of all."""
        ((there,),) = self.database.execute("SELECT to_regclass('staged') IS NOT NULL")
        if not there:
            self._make_table("staged", vectors.shape[1], self._stored_as)
        self._copy("staged", rows, vectors)

    def unstage(self) -> None:
        """Throw away what was staged."""
        self.database.execute("DROP TABLE IF EXISTS staged")

    def switch(self, dim: int, similarity: str) -> None:
        """The staged vectors count now."""
        ((there,),) = self.database.execute("SELECT to_regclass('staged') IS NOT NULL")
        if not there:
            self._make_table("staged", dim, self._stored_as)
        self.database.execute(
            "DELETE FROM staged WHERE row NOT IN (SELECT row FROM items)"
        )  # removed since they were staged
        self.database.execute("DROP TABLE vectors")
        self.database.execute("ALTER TABLE staged RENAME TO vectors")
        self.database.execute("ALTER INDEX staged_pkey RENAME TO vectors_pkey")
        self.database.execute("UPDATE vectors_kind SET dim = ?, similarity = ?", (dim, similarity))
        self._learn()

    def fault(self) -> str:
        """What the database finds wrong: PostgreSQL has checks of its own."""
        return ""

    def compact(self) -> None:
        """Let the server reuse the space of removed rows."""
        with self._session.told():
            for table in ("items", "vectors"):
                self.database.execute(f"VACUUM {table}")

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def __del__(self) -> None:
        if hasattr(self, "_session"):
            self.close()

    def _near(self, query: Float[np.ndarray, " dim"], threshold: float) -> tuple[Rows, Vectors]:
        """Rows and vectors among which are all that reach the threshold.

        The server adds up dim products in fp32: the bound of `textsiam.matching.prepared`, doubled, for it does not sum like
        ours.
        """
        dim, length = len(query), float(np.linalg.norm(query.astype(np.float64)))
        unit = 4 * (dim + SPARE) * UNIT
        if self._similarity == "cosine":
            if threshold <= unit or length < 1e-3:  # short rows score near 0 with us and NaN there: look at all  # noqa: PLR2004
                return self._columns("SELECT row, embedding FROM vectors ORDER BY row", ())
            most = 1 - threshold + unit + 1e-6
        else:
            ((longest,),) = self.database.execute(
                "SELECT coalesce(max(vector_norm(embedding::vector)), 0) FROM vectors"
            )
            scale = {"dot": length * longest, "euclidean": length + longest, "manhattan": (length + longest) * dim**0.5}
            most = -threshold + unit * scale[self._similarity] + 1e-6
        return self._columns(
            f"SELECT row, embedding FROM vectors WHERE {self._distance} <= ? ORDER BY row",  # noqa: S608  no value in it
            (self._parameter(query), most),
        )

    def _found_here(self, queries: Vectors, threshold: float, max_matches: int) -> Found:
        """The same for many queries: every vector is read once."""
        found: list[Found] = []
        left, last = max_matches, -1
        while True:
            rows, vectors = self._columns(
                "SELECT row, embedding FROM vectors WHERE row > ? ORDER BY row LIMIT ?", (last, _N_AT_ONCE)
            )
            if not len(rows):
                i, j, scores = _joined(found)
                order = np.lexsort((j, i))
                return i[order], j[order], scores[order]
            try:
                pairs = threshold_join(
                    queries, vectors, threshold=threshold, similarity=self._similarity, max_matches=left
                )
            except TooManyMatches:
                Allowed(max_matches, threshold).take(max_matches + 1)  # said with the limit that was given
                raise
            found.append((pairs.left, rows[pairs.right], pairs.score))
            left -= len(pairs)
            last = int(rows[-1])

    def _scores(self, query: Float[np.ndarray, " dim"], vectors: Vectors) -> Float[np.ndarray, " _"]:
        paired = SIMILARITIES[self._similarity].paired
        same = np.broadcast_to(query.astype(np.float64), vectors.shape)
        return np.asarray(paired(same, vectors.astype(np.float64)), dtype=np.float32)

    def _columns(self, sql: str, parameters: Sequence[Any]) -> tuple[Rows, Vectors]:
        """Row numbers and vectors that a statement gives."""
        with self.database.connection.cursor(binary=True) as cursor:
            cursor.execute(statement(sql), parameters)
            told = cursor.fetchall()
        rows = np.array([row for row, _ in told], dtype=np.int64)
        vectors = np.empty((len(told), self._dim), dtype=np.float32)
        for place, (_, vector) in enumerate(told):
            vectors[place] = vector.to_numpy() if hasattr(vector, "to_numpy") else vector
        return rows, vectors

    def _copy(self, table: str, rows: Rows, vectors: Vectors) -> None:
        kind = _TYPES[self._stored_as]
        copy = statement(f"COPY {table} (row, embedding) FROM STDIN (FORMAT BINARY)")
        with self.database.connection.cursor() as cursor, cursor.copy(copy) as stream:
            stream.set_types(["int4", kind])
            for row, vector in zip(rows.tolist(), vectors, strict=True):
                stream.write_row((row, self._parameter(vector)))

    def _parameter(self, vector: Float[np.ndarray, " dim"]) -> Any:
        from pgvector import HalfVector, Vector

        return HalfVector(vector) if self._stored_as == "float16" else Vector(vector)

    @property
    def _distance(self) -> str:
        return f"embedding {_DISTANCES[self._similarity]} ?"

    def _make_table(self, name: str, dim: int, stored_as: str) -> None:
        # Numbers that are not compressed and lie in the row itself are read fastest.
        self.database.execute(
            f"CREATE TABLE {name} (row INTEGER PRIMARY KEY, embedding {_TYPES[stored_as]}({int(dim)}) NOT NULL)"
        )
        self.database.execute(f"ALTER TABLE {name} ALTER COLUMN embedding SET STORAGE PLAIN")

    def _learned(self, work: Callable[[], Result]) -> Result:
        self._learn()
        return work()

    def _learn(self) -> None:
        if self._has_tables():
            ((self._dim, self._similarity, self._stored_as),) = self.database.execute("SELECT * FROM vectors_kind")

    def _has_tables(self) -> bool:
        return bool(self.database.execute("SELECT to_regclass('vectors_kind') IS NOT NULL")[0][0])


def _joined(found: list[Found]) -> Found:
    left, right, scores = zip(*found, strict=True) if found else ((), (), ())
    none = np.empty(0, dtype=np.int64)
    i, j = np.concatenate([none, *left]), np.concatenate([none, *right])
    return i, j, np.concatenate([np.empty(0, np.float32), *scores])
