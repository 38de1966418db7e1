"""What one process knows of the vectors of an index in a folder: mapped, some removed, with what makes them fast to search.

A view follows what was committed, forwards only. What it reads of a file of vectors is never changed while that file counts.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.data.files import remove
from textsiam.indexing.database import SqliteDatabase
from textsiam.indexing.nearby import Nearby
from textsiam.indexing.scanning import Scan
from textsiam.indexing.vectors import VectorFile
from textsiam.matching.matches import Found

Rows = Int[np.ndarray, " _"]
Vectors = Float[np.ndarray, "n dim"]

_BLOCK = 16_384
# Short rows are written for the next process when so many are new, and a fifth of all.
_N_UNSAVED = 32_768
# Short rows that are made again to see whether those on disk belong to these vectors: some, and the last ones, for where a folder
# was put back to an earlier state and then went on otherwise, only what came last differs.
_N_COMPARED = 64


class View:
    """The committed rows of one file of vectors, and of the next one as soon as that counts.

    Parameters
    ----------
    folder
        Of the index.
    """

    number: int  # of the file of vectors; 0: none is known yet
    n_rows: int
    file: VectorFile
    _n_removed: int
    _scan: Scan
    _there: Bool[np.ndarray, " room"]  # whether a row is there; longer than needed

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._use(0, 1, "cosine", "float32")

    def follow(self, database: SqliteDatabase) -> None:
        """Know what this database's transaction sees."""
        ((number, dim, similarity, stored_as),) = database.execute("SELECT * FROM files")
        if number != self.number:
            self._use(number, dim, similarity, stored_as)
        ((n,),) = database.execute("SELECT n_rows FROM counts")
        if n > len(self._there):
            room = np.ones(max(n, 2 * len(self._there)), dtype=np.bool_)
            room[: self.n_rows] = self.alive
            self._there = room
        self.n_rows = n
        condition = "WHERE number > ? ORDER BY number"
        removed = database.execute(f"SELECT number, row FROM removed {condition}", (self._n_removed,))  # noqa: S608
        for n_removed, row in removed:
            self._there[row], self._n_removed = False, n_removed

    def forget(self) -> None:
        """Know nothing."""
        self.file.close()
        self._use(0, 1, "cosine", "float32")

    @property
    def alive(self) -> Bool[np.ndarray, " n"]:
        """Which rows were not removed."""
        return self._there[: self.n_rows]

    def rows(self) -> Shaped[np.ndarray, "n dim"]:
        """All rows, mapped, with their short ones at hand."""
        rows = self.file.rows(self.n_rows)
        short = self._scan.short
        if not len(short) and short.load(self._short, len(rows)):
            n = len(short)
            some = np.random.default_rng().choice(n, min(_N_COMPARED, n), replace=False)
            if not short.agrees(rows, np.union1d(some, np.arange(max(0, n - _N_COMPARED), n))):
                self._scan = Scan(self.similarity, self.dim)
        self._scan.short.follow(rows)
        return rows

    def find(self, queries: Vectors, threshold: float, max_matches: int) -> Found:
        """Every row that is there and reaches the threshold with a query."""
        rows = self.rows()  # first, for it may put another scan in the place of this one
        return self._scan.find(rows, queries, threshold, self.alive, max_matches)

    def nearest(self, queries: Vectors, k: int) -> Found:
        """The k closest rows of each query."""
        rows = self.rows()
        return self._scan.nearest(rows, queries, k, self.alive)

    def find_fast(self, queries: Vectors, threshold: float, max_matches: int) -> tuple[Found, float | None]:
        """As `find`, but for what the approximate structure misses, whose recall comes too; None: there is none."""
        rows = self.rows()
        near = self.nearby.of(self.number, rows, threshold)
        if near is None:
            return self.find(queries, threshold, max_matches), None
        return near.find(self._scan, rows, queries, threshold, self.alive, max_matches), near.recall

    def is_large(self) -> bool:
        """Whether exact search is no longer fast enough, and a structure older than half of the rows, or none, is there."""
        return self.similarity == "cosine" and self.nearby.is_wanted(self.number, self.file.rows(self.n_rows))

    def make_fast(self, threshold: float, recall: float) -> float:
        """Make the approximate structure; its measured recall."""
        if self.similarity != "cosine":
            raise ValueError(
                f"Approximate search is for cosine, but this index compares by {self.similarity}. Search exactly."
            )
        return self.nearby.make(self.number, self.file.rows(self.n_rows), threshold, recall)

    def check_caches(self) -> None:
        """Throw short rows and approximate structures away that belong to other vectors."""
        self.nearby.check(self.number, self.file.rows(min(self.n_rows, self.file.n_whole)))
        short = self._scan.short
        if short.load(self._short, self.n_rows):
            n = min(len(short), self.file.n_whole)
            blocks = (np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))
            if not all(short.agrees(self.file.rows(n), block) for block in blocks):
                self._scan = Scan(self.similarity, self.dim)
                remove(self._short)

    def tidy(self) -> None:
        """Keep short rows for the next process, and delete files that count no more. What cannot be done now can be later."""
        with suppress(OSError, ValueError):
            short = self._scan.short
            if short.n_unsaved >= max(_N_UNSAVED, len(short) // 5):
                short.save(self._short)
            for pattern in ("vectors-*", "short-*", "near-*", "slow-*"):
                for file in self.folder.glob(pattern):
                    if int(file.name.partition("-")[2]) < self.number:
                        file.unlink(missing_ok=True)

    def path(self, number: int) -> Path:
        """The file of vectors of this number."""
        return self.folder / f"vectors-{number:06d}"

    def _use(self, number: int, dim: int, similarity: str, stored_as: str) -> None:
        self.number, self.dim, self.similarity, self.stored_as = number, dim, similarity, stored_as
        self.file = VectorFile(self.path(number), dim, stored_as)
        self.nearby = Nearby(self.folder)
        self.n_rows = self._n_removed = 0
        self._scan = Scan(similarity, dim)
        self._there = np.empty(0, dtype=np.bool_)

    @property
    def _short(self) -> Path:
        return self.folder / f"short-{self.number:06d}"
