"""What an index needs of the place where it is kept, a folder or a PostgreSQL database, and how messages show that place."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from textsiam.arrays import Found, Rows, Vectors
from textsiam.errors import EncoderMismatch
from textsiam.indexing.storage.ledger import Ledger
from textsiam.matching.rule import Rule

Result = TypeVar("Result")
Place = str | Path

_LONGEST = 1e18  # products of longer vectors may overflow


@runtime_checkable
class View(Protocol):
    """The vectors that count, as a transaction sees them."""

    def find(self, queries: Vectors, rule: Rule) -> Found:
        """Every row that was not removed and matches a query, with its exact score; by query, then row."""

    def find_fast(self, queries: Vectors, rule: Rule) -> tuple[Found, float | None]:
        """As `find`, by an approximate structure if there is one, with its measured recall; None: nothing is missing."""

    def nearest(self, queries: Vectors, k: int) -> Found:
        """The k closest rows of each query, the closest first, ties by row."""

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows, fp32, in the order of `rows`."""

    def stored(self, vectors: Vectors) -> Vectors:
        """These vectors, rounded as the store keeps them. Also outside transactions."""

    def checksums(self, rows: Rows) -> list[int | None]:
        """The checksum of each row's vector as it is stored now; None where there is none to read."""

    def summed(self, vectors: Vectors) -> list[int]:
        """The checksums that these vectors will have."""

    def append(self, first: int, vectors: Vectors) -> None:
        """Write vectors behind the last row, as number `first` and on; they do not count before the ledger says so."""

    def is_large(self) -> bool:
        """Whether an approximate structure should be made, for the first time or again: exact search has become slow."""

    def make_fast(self, threshold: float, recall: float) -> float:
        """Make an approximate structure that answers from this threshold up; its measured recall."""

    def check_caches(self) -> None:
        """Delete caches that belong to other vectors; they can be made again."""


@runtime_checkable
class Store(Protocol):
    """A ledger and the vectors beside it. All but `read`, `write`, `compact` and `close` are called within a transaction."""

    ledger: Ledger
    unfit: str  # characters that no text or id may hold here

    @property
    def view(self) -> View:
        """The vectors that count."""

    def read(self, work: Callable[[], Result], made: str | None = None, *, endlessly: bool = False) -> Result:
        """Return what `work` returns; it sees one moment, whatever others write meanwhile.

        `work` may be called again, also by `write`. Raises EncoderMismatch if the index was made with something else than `made`;
        IndexLocked if other threads were at work for too long.

        Parameters
        ----------
        made
            What the index must have been made with (see `textsiam.indexing.open_index.made_key`). None: anything.
        endlessly
            Without a timeout: for what follows a commit, which must not fail.
        """

    def write(self, work: Callable[[], Result], made: str | None = None) -> Result:
        """Return what `work` returns; others see its changes all at once or, if it fails, none of them.

        One writer at a time: `work` sees all that was written before it. It is called again where a connection was lost.
        """

    def drop(self, rows: Rows) -> None:
        """Take rows out of every later search."""

    def stage(self, rows: Rows, vectors: Vectors) -> None:
        """Write vectors that will replace all that there are, these rows' here; not found before `switch`."""

    def unstage(self) -> None:
        """Throw away what was staged."""

    def staging(self) -> AbstractContextManager[None]:
        """Begin with nothing staged; what is staged within is thrown away if that fails."""

    def switch(self, dim: int, similarity: str) -> None:
        """The staged vectors count now, and no others; every row that was not removed must have been staged."""

    def fault(self) -> str:
        """What the database finds wrong with itself; empty if nothing."""

    def compact(self) -> None:
        """Give back the space of removed rows; a transaction of its own."""

    def close(self) -> None:
        """Close files and connections."""


def rebuilt(place: object) -> EncoderMismatch:
    """What a store raises for a caller who relies on something else than the index is made with."""
    return EncoderMismatch(
        f"The index at {place} was rebuilt since it was opened, with another encoder or threshold. Open it again."
    )


def checked(vectors: Any, dim: int) -> Vectors:
    """Vectors as fp32.

    Raises ValueError if they are not a table, have another dimension, are not finite, or are so long that products overflow.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2:  # noqa: PLR2004
        raise ValueError(f"Vectors are a table of (n, {dim}), but the shape is {vectors.shape}. Give one row per text.")
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
