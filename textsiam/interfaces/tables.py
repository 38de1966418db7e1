"""Columns out: csv, jsonl or parquet by the file's ending, csv or jsonl on standard output; whole or not at all."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from textsiam.data.files import check_writable, replacing
from textsiam.errors import UnreadableInput

Columns = Mapping[str, Any]
Write = Callable[[Columns], None]

WRITTEN: list[Path] = []  # files that a command has finished


def check_outputs(*targets: Path | None, inputs: Iterable[str] = (), as_json: bool = False) -> None:
    """Refuse, before the slow work, outputs that cannot be written, or that would destroy an input or each other.

    Raises
    ------
    UnreadableInput
        If an ending names no format, or one place is named for two things.
    OSError
        If the place cannot be written.
    """
    taken = {Path(name).resolve() for name in inputs if name != "-"}
    standard = int(as_json)
    for target in targets:
        if target is None:
            continue
        if str(target) == "-":
            standard += 1
            if standard > 1:
                raise UnreadableInput(
                    "Standard output was asked for two things (-, --json). Write one of them to a file."
                )
            continue
        if target.exists() and not target.is_file() and not target.is_dir():
            continue  # a pipe or a device
        if target.suffix.lower() not in WRITERS:
            raise UnreadableInput(
                f"textsiam cannot write {target.name}: its ending names no format. End it in {', '.join(WRITERS)}."
            )
        if target.resolve() in taken:
            raise UnreadableInput(f"{target} is also an input or another output of this command. Name another file.")
        taken.add(target.resolve())
        check_writable(target)


def write_columns(target: Path, blocks: Iterable[Columns]) -> None:
    """Write columns that come block by block."""
    with writing(target) as write:
        for columns in blocks:
            write(columns)


@contextmanager
def writing(target: Path) -> Iterator[Write]:
    """A function that appends columns to `target`, which appears when the block ends well; ``-`` is csv on standard output."""
    if str(target) == "-":
        with _csv(sys.stdout) as write:
            yield write
        return
    with replacing(target) as temporary, WRITERS.get(target.suffix.lower(), _csv_file)(temporary) as write:
        yield write
    WRITTEN.append(target)


class _UnixLines:
    """Ends each row in one newline, for these files meet Unix tools first.

    The csv module could do so itself, but then it would leave a lone carriage return within a text unquoted, which readers
    take for the end of the row.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, row: str) -> int:
        return self.stream.write(row.removesuffix("\r\n") + "\n")


@contextmanager
def _csv(stream: TextIO) -> Iterator[Write]:
    writer = csv.writer(_UnixLines(stream))
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
    with path.open("w", encoding="utf-8", newline="") as stream, _csv(stream) as write:
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
        table = pa.table({name: pa.array(_plain(values), _arrow_type(name)) for name, values in columns.items()})
        if not held:
            held.append(pq.ParquetWriter(path, table.schema))
        held[0].write_table(table)

    try:
        yield write
    finally:
        for writer in held:
            writer.close()


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    types = {
        "score": pa.float32(),
        "probability": pa.float32(),
        "score_to_keeper": pa.float32(),
        "cluster": pa.int64(),
        "row": pa.int64(),
    }
    return types.get(name, pa.string())


WRITERS = {
    ".csv": _csv_file,
    ".jsonl": _jsonl_file,
    ".parquet": _parquet_file,
}


def rows_of(columns: Columns) -> Iterator[dict[str, Any]]:
    """The columns as one mapping a row, of plain values that JSON knows."""
    names = list(columns)
    return (dict(zip(names, values, strict=True)) for values in zip(*map(_plain, columns.values()), strict=True))


def _plain(values: Any) -> list[Any]:
    """Python's own numbers and strings; fp32 with the digits that tell it apart, not fp64's seventeen."""
    if getattr(values, "dtype", None) == "float32":
        return [None if value != value else float(str(value)) for value in values]  # noqa: PLR0124  NaN
    return values.tolist() if hasattr(values, "tolist") else list(values)
