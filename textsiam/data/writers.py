"""Writing columns as csv, jsonl or parquet."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

Columns = Mapping[str, Any]
Write = Callable[[Columns], None]

# Columns that hold no strings → their types in parquet.
_TYPES = dict.fromkeys(("score", "log_odds", "probability", "score_to_keeper"), "float32") | dict.fromkeys(
    ("cluster", "row", "label"), "int64"
)


@contextmanager
def csv_rows(stream: TextIO) -> Iterator[Write]:
    """A function that writes columns to a stream, with a header before the first."""
    # Each row ends in one newline, as Unix tools expect. The csv module can do that itself, but then it leaves a lone carriage
    # return within a text unquoted, and readers take it for the end of the row.
    writer = csv.writer(SimpleNamespace(write=lambda row: stream.write(row.removesuffix("\r\n") + "\n")))
    header: list[str] = []

    def write(columns: Columns) -> None:
        if not header:
            header.extend(columns)
            writer.writerow(header)
        writer.writerows(zip(*map(_plain, columns.values()), strict=True))

    yield write
    stream.flush()


@contextmanager
def _csv_file(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as stream, csv_rows(stream) as write:
        yield write


@contextmanager
def _jsonl_file(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as stream:
        yield lambda columns: stream.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows_of(columns))


@contextmanager
def _parquet_file(path: Path) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    held: list[pq.ParquetWriter] = []

    def write(columns: Columns) -> None:
        table = pa.table({name: pa.array(_plain(of), _TYPES.get(name, "string")) for name, of in columns.items()})
        if not held:
            held.append(pq.ParquetWriter(path, table.schema))
        held[0].write_table(table)

    try:
        yield write
    finally:
        for writer in held:
            writer.close()


WRITERS = {
    ".csv": _csv_file,
    ".jsonl": _jsonl_file,
    ".parquet": _parquet_file,
}


def rows_of(columns: Columns) -> Iterator[dict[str, Any]]:
    """One mapping per row, of plain values that JSON can hold."""
    names = list(columns)
    return (dict(zip(names, values, strict=True)) for values in zip(*map(_plain, columns.values()), strict=True))


def _plain(values: Any) -> list[Any]:
    """Python's own numbers and strings; fp32 with as many digits as it needs, not the seventeen of fp64."""
    if getattr(values, "dtype", None) == "float32":
        return [None if value != value else float(str(value)) for value in values]  # noqa: PLR0124  NaN
    return values.tolist() if hasattr(values, "tolist") else list(values)
