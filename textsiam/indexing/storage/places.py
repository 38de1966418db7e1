"""Which places an index can be kept in, and the store for each: a folder, or a PostgreSQL database."""

from collections.abc import Callable
from pathlib import Path

from textsiam.indexing.storage.ledger import Ledger
from textsiam.indexing.storage.store import Place, Store, is_address


def create_store(place: Place, dim: int, similarity: str, stored_as: str, tell: Callable[[Ledger], None]) -> Store:
    """A new, empty store, whole or not at all; `tell` writes the settings into the ledger."""
    if is_address(place):
        from textsiam.indexing.storage.postgres_store import PostgresStore

        return PostgresStore.create(str(place), dim, similarity, stored_as, tell)
    from textsiam.indexing.storage.folder_store import SqliteStore

    return SqliteStore.create(Path(place).expanduser(), dim, similarity, stored_as, tell)


def open_store(place: Place, timeout_s: float) -> Store:
    """The existing store."""
    if is_address(place):
        from textsiam.indexing.storage.postgres_store import PostgresStore

        return PostgresStore(str(place), timeout_s)
    from textsiam.indexing.storage.folder_store import SqliteStore

    return SqliteStore(Path(place).expanduser(), timeout_s)
