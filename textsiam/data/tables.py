"""A source of rows as a table of records, whatever it was: a file, a data set, a data frame, a list."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """One row: its number from 1, and its values by column, or the fault that hides them."""

    row: int
    values: dict[str, object]
    fault: str = ""


@dataclass(frozen=True)
class Table:
    """A source of rows: its name, its columns, a stream of records of the wanted columns, and how to close it."""

    name: str
    columns: tuple[str, ...]
    records: Callable[[Sequence[str]], Iterator[Record]]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Dialect:
    """How a file of text is to be understood. None means the format's own default."""

    format: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
