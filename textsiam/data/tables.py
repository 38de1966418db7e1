"""The one form that every source takes: a table of records, and how to read a text file into it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """One row: its number from 1, and its values by column or the reason why it could not be read."""

    row: int
    values: dict[str, object]
    fault: str = ""


@dataclass(frozen=True)
class Table:
    """A source of rows: its name, its columns, a function that streams records of some columns, and one that closes it."""

    name: str
    columns: tuple[str, ...]
    records: Callable[[Sequence[str]], Iterator[Record]]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Dialect:
    """How to read a text file. None means the format's own default."""

    format: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
