"""When exact search is no longer fast enough: an approximate structure beside the vectors, a cache that can be made again.

It holds the rows that there were when it was made; rows that came later are searched exactly, so that its recall stays what was
measured. What it finds is scored exactly.
"""

import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.data.files import remove
from textsiam.indexing.approximate import Approximate
from textsiam.indexing.scanning import Scan
from textsiam.matching.exact import Allowed
from textsiam.matching.matches import Found

logger = logging.getLogger("textsiam")

Rows = Int[np.ndarray, " _"]
Queries = Float[np.ndarray, "m dim"]

# Chosen so that exact search with encoding, 7 ms among a million on two cores (p99 11), is expected to stay below 20.
# Not measured there.
FROM = 2_000_000


class Near:
    """An approximate structure in use.

    Parameters
    ----------
    cells
        The structure.
    """

    def __init__(self, cells: Approximate) -> None:
        self._cells = cells

    @property
    def recall(self) -> float:
        """The share of matches found, as measured when it was made."""
        return self._cells.recall

    def find(
        self,
        scan: Scan,
        rows: Shaped[np.ndarray, "n dim"],
        queries: Queries,
        threshold: float,
        alive: Bool[np.ndarray, " n"],
        max_matches: int,
    ) -> Found:
        """Query, row and exact score of what is found, by query and row; of the rows beyond the structure all."""
        n = self._cells.n
        allowed = Allowed(max_matches, threshold)
        later = scan.find(rows, queries, threshold, alive, max_matches, start=n)
        i, j = self._cells.candidates(queries, threshold)
        i, j = i[alive[j]], j[alive[j]]
        scores = scan.scores(rows, queries, i, j)
        reach = scores >= np.float32(threshold)
        allowed.take(int(reach.sum()) + len(later[0]))
        i, j, scores = (np.concatenate(parts) for parts in zip((i[reach], j[reach], scores[reach]), later, strict=True))
        order = np.lexsort((j, i))
        return i[order], j[order], scores[order]


class Nearby:
    """The approximate structures of a folder.

    Parameters
    ----------
    folder
        Of the index.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: Approximate | None = None
        self._state: tuple[int, int] | None = None

    def of(self, number: int, rows: Shaped[np.ndarray, "n dim"], threshold: float) -> Near | None:
        """The structure of these rows, if there is one that answers from this threshold up."""
        cells = self._load(number, rows)
        return Near(cells) if cells and cells.threshold <= threshold else None

    def is_wanted(self, number: int, rows: Shaped[np.ndarray, "n dim"]) -> bool:
        """Whether there are enough rows for one, and twice as many as when the last one was made, or could not be."""
        if len(rows) < FROM:
            return False
        cells = self._load(number, rows)
        n = 0 if cells is None else cells.n
        with suppress(OSError, ValueError):
            n = max(n, int(self._slow(number).read_text()))
        return len(rows) >= 2 * n

    def check(self, number: int, rows: Shaped[np.ndarray, "n dim"]) -> None:
        """Remove a structure of other rows."""
        if self._file(number).exists() and self._load(number, rows) is None:
            remove(self._file(number))

    def make(self, number: int, rows: Shaped[np.ndarray, "n dim"], threshold: float, recall: float) -> float:
        """Make the structure; its measured recall.

        Raises
        ------
        MissingExtra
            If faiss is not installed.
        ValueError
            If no fast setting reaches the recall.
        """
        try:
            made = Approximate.build(rows, threshold, recall=recall)
        except ValueError:
            with suppress(OSError):  # so that not every later change tries again
                self._slow(number).write_text(str(len(rows)))
            raise
        made.save(self._file(number))
        self._state = None
        return made.recall

    def _load(self, number: int, rows: Shaped[np.ndarray, "n dim"]) -> Approximate | None:
        """The structure on disk, mapped, if it is of these rows; read again when another process made it anew."""
        try:
            told = self._file(number).stat()
            state = told.st_ino, told.st_mtime_ns
            if state != self._state:
                self._loaded, self._state = None, state
                loaded = Approximate.load(self._file(number))
                if loaded.n > len(rows):  # of rows that this transaction does not see yet
                    self._state = None
                elif loaded.is_of(rows):
                    self._loaded = loaded
        except FileNotFoundError:
            self._loaded = self._state = None
        except (OSError, ValueError, ImportError) as error:
            if self._loaded is None:
                logger.warning("The approximate structure cannot be used, so the search is exact: %s", error)
        return self._loaded

    def _file(self, number: int) -> Path:
        return self.folder / f"near-{number:06d}"

    def _slow(self, number: int) -> Path:
        """Holds for how many rows no structure was fast enough."""
        return self.folder / f"slow-{number:06d}"
