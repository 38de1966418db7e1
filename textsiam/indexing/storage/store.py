"""What an index asks of where it is kept, and which places there are: a folder, or a PostgreSQL database."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from textsiam.arrays import Found, Rows, Vectors
from textsiam.indexing.storage.ledger import Ledger

Result = TypeVar("Result")
Place = str | Path

_LONGEST = 1e18  # products of longer vectors may overflow


@runtime_checkable
class Store(Protocol):
    """A ledger and the vectors beside it. All but the first two methods are called within one of them."""

    ledger: Ledger
    unfit: str  # characters that no text or id may hold here

    def read(self, work: Callable[[], Result], *, endlessly: bool = False) -> Result:
        """What `work` gives, all of it seen at one moment, whatever others write meanwhile.

        It may be called again, as by `write`. Who asks `endlessly` waits for its turn however long that takes: for what follows a
        commit, which must not be turned away.
        """

    def write(self, work: Callable[[], Result]) -> Result:
        """What `work` gives; its changes are made for good and seen by others all at once or, if it fails, not at all.

        One writer at a time: `work` sees all that was written before it. It may be called again where a connection was lost.
        """

    def find(self, queries: Vectors, threshold: float, max_matches: int) -> Found:
        """Every row that is there and reaches the threshold with a query, with its exact score; by query, then row."""

    def find_fast(self, queries: Vectors, threshold: float, max_matches: int) -> tuple[Found, float | None]:
        """As `find`, by an approximate structure if there is one, with its measured recall; None: nothing is missing."""

    def is_large(self) -> bool:
        """Whether an approximate structure should be made, for the first time or anew: exact search is slow by now."""

    def make_fast(self, threshold: float, recall: float) -> float:
        """Make an approximate structure that answers from this threshold up; its measured recall."""

    def nearest(self, queries: Vectors, k: int) -> Found:
        """The k closest rows of each query, the closest first, ties by row."""

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows, fp32, in the order asked for."""

    def stored(self, vectors: Vectors) -> Vectors:
        """The vectors as the store will give them back."""

    def checksums(self, rows: Rows) -> list[int | None]:
        """The checksum of each row's vector as it is stored now; None where there is none to read."""

    def summed(self, vectors: Vectors) -> list[int]:
        """The checksums that these vectors will have."""

    def append(self, vectors: Vectors) -> None:
        """Write vectors behind the last row; the ledger does not count them yet."""

    def drop(self, rows: Rows) -> None:
        """Let rows be found no more."""

    def stage(self, rows: Rows, vectors: Vectors) -> None:
        """Write vectors that shall take the place of all that there are, these rows' here; not found before `switch`."""

    def unstage(self) -> None:
        """Throw away what was staged."""

    def staging(self) -> AbstractContextManager[None]:
        """What is staged within takes the place of what was, and is thrown away if that fails."""

    def switch(self, dim: int, similarity: str) -> None:
        """The staged vectors count now, and no others; every row that is there must have been staged."""

    def fault(self) -> str:
        """What the database finds wrong with itself; empty if nothing."""

    def check_caches(self) -> None:
        """Throw away what belongs to other vectors and can be made again."""

    def compact(self) -> None:
        """Give back the space of removed rows; a transaction of its own."""

    def close(self) -> None:
        """Let go of files and connections."""


def checked(vectors: Any, dim: int) -> Vectors:
    """Vectors as fp32.

    Raises
    ------
    ValueError
        If they are no table, have another dimension, are not finite, or are so long that products overflow.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2:  # noqa: PLR2004
        raise ValueError(f"Vectors are a table of (n, {dim}), but the shape is {vectors.shape}. Give a row a text.")
    if vectors.shape[1] != dim:
        raise ValueError(
            f"This index holds {dim} dimensions, but the vectors have {vectors.shape[1]}. Use its own encoder."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        bad = np.flatnonzero(~(np.einsum("ij,ij->i", vectors, vectors) < _LONGEST**2))[:5].tolist()
    if bad:
        raise ValueError(
            f"Vectors must be finite and shorter than {_LONGEST:g}, but rows {bad} are not. Leave them out."
        )
    return np.asarray(vectors)


def shown(place: Place) -> str:
    """The place as messages show it: an address without its password.

    Examples
    --------
    >>> shown("postgresql://me:secret@localhost/faq?sslpassword=secret")
    'postgresql://me@localhost/faq?sslpassword=...'
    """
    if not is_address(place):
        return str(place)
    # Up to the last @, for a password may hold one although it should not.
    bare = re.sub(r"^(\w+://[^:/@?]*):.*@", r"\1@", str(place))
    return re.sub(r"(password=)[^&]*", r"\1...", bare)


def is_address(place: Place) -> bool:
    """Whether this is a connection string of PostgreSQL and no folder."""
    return isinstance(place, str) and place.startswith(("postgresql://", "postgres://"))
