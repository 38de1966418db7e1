"""Vectors in a table of pgvector, searched completely and exactly.

pgvector's distances are fp32. They only choose candidates, within a proven bound of their error; scores are computed here, as
everywhere. Approximate indexes (HNSW, IVFFlat) are never used, even if there is one: answers must be complete.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from textsiam.arrays import Found, Rows, Scores, Vector, Vectors, slices
from textsiam.errors import BrokenIndex
from textsiam.indexing.storage.postgres_connection import PostgresDatabase
from textsiam.indexing.storage.vector_file import DTYPES, checksums
from textsiam.matching.join.exact import first_of_each, top_k_join
from textsiam.matching.join.screens import SPARE, UNIT
from textsiam.matching.join.tiles import Allowed, joined, ordered
from textsiam.matching.rule import Rule
from textsiam.scoring.similarity import EPSILON, scores_of

TYPES = {"float32": "vector", "float16": "halfvec"}
_DISTANCES = {"cosine": "<=>", "dot": "<#>", "euclidean": "<->", "manhattan": "<+>"}
_LENGTHS = {"float32": "vector_norm", "float16": "l2_norm"}  # in fp64
_FEW = 16  # queries that are scanned for within the database; for more, its vectors are fetched once
_BLOCK_BYTES = 2**25  # of vectors at a time
# A row that reaches this cosine is, by `EPSILON`, longer than 1e-12, and its products are no trouble to fp32. Shorter ones may be
# 0 here and NaN there.
_LEAST_COSINE = 1e-6


@dataclass(frozen=True)
class VectorTable:
    """One table of vectors.

    Parameters
    ----------
    database
        Where it is.
    number
        Which of the two: its last bit.
    dim, similarity, stored_as
        What is in it.
    """

    database: PostgresDatabase
    number: int
    dim: int
    similarity: str
    stored_as: str

    def write(self, rows: Rows, vectors: Vectors) -> None:
        """Copy rows into it; of any dimension, as no query knows them before they count.

        Raises ValueError if fp16 cannot hold them.
        """
        dim, numbers = vectors.shape[1], self._numbers
        head = [("n_columns", ">i2"), ("n_row", ">i4"), ("row", ">i4"), ("n_vector", ">i4"), ("head", ">u2", 2)]
        for part in slices(len(rows), self._n_at_once):
            written = np.empty(len(rows[part]), dtype=[*head, ("vector", numbers, dim)])
            written["n_columns"], written["n_row"], written["n_vector"] = 2, 4, 4 + dim * numbers.itemsize
            written["row"], written["head"], written["vector"] = rows[part], (dim, 0), vectors[part]
            if not np.isfinite(written["vector"]).all():
                raise ValueError(f"Some numbers are too large for {self.stored_as}. Make the index with float32.")
            self.database.copy_in(self._name, written.tobytes())

    def append(self, first: int, vectors: Vectors) -> None:
        """Write vectors behind the last row."""
        self.write(np.arange(first, first + len(vectors)), vectors)

    def drop(self, rows: Rows) -> None:
        """Delete rows."""
        self.database.execute(f"DELETE FROM {self._name} WHERE row = ANY(?)", (rows.tolist(),))  # noqa: S608  a name of ours

    def empty(self) -> None:
        """Delete all rows. TRUNCATE would take them even from those who still read them."""
        self.database.execute(f"DELETE FROM {self._name}")  # noqa: S608

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows, in the order asked for.

        Raises BrokenIndex if one is missing.
        """
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        for part, there, read in self.read(rows):
            if not there.all():
                raise _damaged(int((~there).sum()))
            vectors[part] = read
        return vectors

    def read(self, rows: Rows) -> Iterator[tuple[slice, Bool[np.ndarray, " _"], Vectors]]:
        """Some of these rows at a time: which, whether each is there, and the vectors of those that are."""
        for part in slices(len(rows), self._n_at_once):
            known, vectors, _ = self._chosen("WHERE row = ANY(?)", [np.unique(rows[part]).tolist()])
            there = np.isin(rows[part], known)
            yield part, there, vectors[np.searchsorted(known, rows[part][there])]

    def find(self, queries: Vectors, rule: Rule) -> Found:
        """Every row that matches a query; by query, then row."""
        allowed = Allowed(rule.max_matches, rule.threshold)
        few = len(queries) <= _FEW and np.array_equal(self.stored(queries), queries)
        # What rounds to the threshold in fp32 is above the next number below it.
        lowest = float(np.nextafter(np.float32(rule.threshold), np.float32(-np.inf)))
        if few and not (self.similarity == "cosine" and lowest < _LEAST_COSINE):
            parts = self._scanned(queries, lowest)
        else:
            parts = self._joined(queries, rule)
        return ordered([allowed.reaching(*part) for part in parts])

    def find_fast(self, queries: Vectors, rule: Rule) -> tuple[Found, float | None]:
        """As `find`: there is no approximate structure here."""
        return self.find(queries, rule), None

    def is_large(self) -> bool:
        """Whether an approximate structure should be made: never."""
        return False

    def make_fast(self, threshold: float, recall: float) -> float:
        """Not possible here."""
        raise ValueError(
            f"In PostgreSQL search is always exact, but a structure for {threshold:g} with a recall of {recall:g} was asked for. "
            "Search exactly, or keep the index in a folder."
        )

    def check_caches(self) -> None:
        """Nothing: there are none."""

    def nearest(self, queries: Vectors, k: int) -> Found:
        """The k closest rows of each query, the closest first, ties by row."""
        best = joined([])
        if len(queries) <= _FEW and k <= self._n_at_once:
            return joined([self._nearest(queries, number, k) for number in range(len(queries))])
        for rows, vectors in self._blocks():
            pairs = top_k_join(queries, vectors, k=k, similarity=self.similarity)
            best = first_of_each([best, (pairs.left, rows[pairs.right], pairs.score)], k)
        return best

    def stored(self, vectors: Vectors) -> Vectors:
        """These vectors, rounded as the table keeps them."""
        return vectors.astype(DTYPES[self.stored_as]).astype(np.float32)

    def checksums(self, rows: Rows) -> list[int | None]:
        """The checksum of each row's vector; None where there is none."""
        found: list[int | None] = []
        for _, there, vectors in self.read(rows):
            summed = iter(self.summed(vectors))
            found += [next(summed) if is_there else None for is_there in there.tolist()]
        return found

    def summed(self, vectors: Vectors) -> list[int]:
        """The checksums that these vectors will have."""
        return checksums(vectors.astype(DTYPES[self.stored_as]))

    def _scanned(self, queries: Vectors, lowest: float) -> Iterator[Found]:
        """Pairs among which are all that reach `lowest`, found by pgvector."""
        for number, query in enumerate(queries):
            distance, condition, parameters = f"embedding {self._operator}", "<= ?", [self._bound(lowest)]
            if self.similarity == "dot":  # errs by as much as the row is long
                condition = f"<= ? + ? * {_LENGTHS[self.stored_as]}(embedding)"
                parameters.append(self._error * float(np.linalg.norm(query.astype(np.float64))))
            ((sent,),) = self.database.execute(
                f"SELECT string_agg(int4send(row), ''::bytea) FROM {self._name} WHERE {distance} {condition}",  # noqa: S608
                (query, *parameters),
            )
            rows = np.sort(np.frombuffer(sent or b"", dtype=">i4")).astype(np.int64)
            for start in range(0, len(rows), self._n_at_once):
                part = rows[start : start + self._n_at_once]
                yield np.full(len(part), number), part, self._scores(query, self.vectors(part))

    def _bound(self, lowest: float) -> float:
        """What pgvector's distance to a row that reaches `lowest` is at most; for products without their error.

        Sums of dim products or differences in fp32, in any order, err by (dim + spare)·u of the sum of magnitudes (Higham 2002,
        § 3.1); see `textsiam.matching.join.prepared`. For a cosine that is at most the product of lengths, and the lengths
        err half as
        much each. The epsilon in our lengths only lowers cosines above 0, and that in our root is taken off again. Differences
        are of one sign, so that their sum errs relatively.
        """
        if self.similarity == "cosine":
            return 1 - lowest + 2 * self._error + 1e-11
        if self.similarity == "dot":
            return -lowest + 1e-30
        if self.similarity == "euclidean":
            return float((EPSILON**0.5 - min(lowest, 0.0)) * (1 + self._error) + 1e-11)
        return -min(lowest, 0.0) * (1 + self._error) + 1e-30

    def _joined(self, queries: Vectors, rule: Rule) -> Iterator[Found]:
        """All matches, from the vectors fetched a block at a time."""
        for rows, vectors in self._blocks():
            left, right, scores = rule.join(queries, vectors)
            yield left, rows[right], scores

    def _nearest(self, queries: Vectors, number: int, k: int) -> Found:
        """Of any k rows the least score is one that all the k closest reach; pgvector names k that are close."""
        # The sum hides the distance from an approximate index.
        order = f"ORDER BY (embedding {self._operator}) + 0 LIMIT ?"
        rows, vectors, n_damaged = self._chosen(order, [queries[number], k])
        scores = self._scores(queries[number], vectors)
        if len(rows) + n_damaged == k:
            _, rows, scores = self.find(
                queries[number : number + 1], Rule(float(scores.min(initial=np.inf)), self.similarity)
            )
        return first_of_each([(np.full(len(rows), number), rows, scores)], k)

    def _scores(self, query: Vector, vectors: Vectors) -> Scores:
        rows = np.arange(len(vectors))
        return scores_of(self.similarity, query[None], vectors, np.zeros_like(rows), rows)

    def _blocks(self) -> Iterator[tuple[Rows, Vectors]]:
        """All rows in order, some at a time."""
        last = -1
        while True:
            rows, vectors, n_damaged = self._chosen("WHERE row > ? ORDER BY row LIMIT ?", [last, self._n_at_once])
            if n_damaged:
                raise _damaged(n_damaged)
            if not len(rows):
                return
            yield rows, vectors
            last = int(rows[-1])

    def _chosen(self, condition: str, parameters: Sequence[Any]) -> tuple[Rows, Vectors, int]:
        """Rows that are chosen, rising, and their vectors; how many others have another dimension.

        All in one value: a hundred thousand rows of their own would take the client longer.
        """
        ((sent, n_damaged),) = self.database.execute(
            f"SELECT string_agg(int4send(row) || {TYPES[self.stored_as]}_send(embedding), ''::bytea) "  # noqa: S608
            f"FILTER (WHERE vector_dims(embedding) = ?), count(*) FILTER (WHERE vector_dims(embedding) <> ?) "
            f"FROM (SELECT row, embedding FROM {self._name} {condition}) AS chosen",
            (self.dim, self.dim, *parameters),
        )
        dtype = np.dtype([("row", ">i4"), ("head", ">u2", 2), ("vector", self._numbers, self.dim)])
        read = np.frombuffer(sent or b"", dtype=dtype)
        order = np.argsort(read["row"])
        return read["row"][order].astype(np.int64), read["vector"][order].astype(np.float32), n_damaged

    @property
    def _name(self) -> str:
        return f"vectors_{self.number % 2}"

    @property
    def _operator(self) -> str:
        return f"{_DISTANCES[self.similarity]} ?::{TYPES[self.stored_as]}"

    @property
    def _error(self) -> float:
        return (self.dim + SPARE) * UNIT * 1.01

    @property
    def _numbers(self) -> np.dtype[Any]:
        return np.dtype(DTYPES[self.stored_as]).newbyteorder(">")

    @property
    def _n_at_once(self) -> int:
        return max(1, _BLOCK_BYTES // (4 * self.dim))


def _damaged(n: int) -> BrokenIndex:
    return BrokenIndex(
        f"The index has lost vectors: {n:,} are missing or of another dimension. Mend them from the texts with `textsiam index "
        "verify` (Index.verify), or restore the database from a copy."
    )
