"""File formats as streams of records: one record a row, with its number, its values, or what is wrong with it.

A bad row never ends a stream. Everything is read as strings by the csv module, json or pyarrow; nothing guesses that
"None", "NA" or "null" might mean a missing value. `datasets`' own csv reader does, and dies on one ragged row.

Parquet and arrow files as tables, batch by batch. Damage is found before it is followed.
"""

import codecs
import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from textsiam.data.columns import ID_COLUMNS, PAIR_COLUMNS, TEXT_COLUMNS
from textsiam.data.tables import Dialect, Record, Table
from textsiam.errors import UnreadableInput


def read_parquet(name: str, stream: io.BufferedReader, _: Dialect) -> Table:
    """A parquet file; only the wanted columns are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(_arrow_file(name, stream))
    except (pa.ArrowException, OSError) as error:
        raise UnreadableInput(
            f"{name} is no parquet file, or is damaged: {str(error).rstrip('.')}. Write it again, or name the format."
        ) from None
    return Table(
        name,
        tuple(file.schema_arrow.names),
        lambda wanted: _batch_records(name, file.iter_batches(columns=list(wanted))),
    )


def read_arrow(name: str, stream: io.BufferedReader, _: Dialect) -> Table:
    """An arrow file, in the form with a footer (feather) or as a stream."""
    import pyarrow as pa

    source = _arrow_file(name, stream)
    try:
        try:
            file = pa.ipc.open_file(source)
            batches: Iterator[Any] = (file.get_batch(place) for place in range(file.num_record_batches))
        except (pa.ArrowException, OSError):  # the streaming form of the format, which `datasets` writes
            source.seek(0)
            file = pa.ipc.open_stream(source)
            batches = iter(file)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableInput(
            f"{name} is no arrow file, or is damaged: {str(error).rstrip('.')}. Write it again, or name the format."
        ) from None
    return Table(
        name,
        tuple(file.schema.names),
        lambda wanted: _batch_records(name, (batch.select(list(wanted)) for batch in batches)),
    )


def _arrow_file(name: str, stream: io.BufferedReader) -> Any:
    import pyarrow as pa

    with stream:
        return pa.BufferReader(stream.read()) if not Path(name).is_file() or name.endswith(".gz") else pa.OSFile(name)


def _batch_records(name: str, batches: Iterator[Any]) -> Iterator[Record]:
    import pyarrow as pa

    row = 0
    try:
        for batch in batches:
            columns = _values_of(batch)
            for values in zip(*columns, strict=True):
                row += 1
                yield Record(row, dict(zip(batch.schema.names, values, strict=True)))
    except (pa.ArrowException, OSError, MemoryError, SystemError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{name} is damaged after row {row}: {error}. Write it again.") from None


def _values_of(batch: Any) -> list[list[Any]]:
    """The columns as Python values. Validated first: damaged offsets would otherwise be followed into a crash."""
    import pyarrow as pa

    try:
        batch.validate(full=True)
        return [column.to_pylist() for column in batch.columns]
    except (pa.ArrowInvalid, UnicodeDecodeError):  # a cell that is not UTF-8 must not cost the others
        columns = [
            column.cast(pa.large_binary())
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            else column
            for column in batch.columns
        ]
        for column in columns:
            column.validate(full=True)
        return [
            [
                value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
                for value in column.to_pylist()
            ]
            for column in columns
        ]


# A quoted field may hold line breaks, but one that runs over this many lines is taken for a quote never closed:
# the row is reported and reading goes on at the next line, instead of swallowing the rest of the file.
MAX_LINES_IN_A_ROW = 100

# How files begin that are often taken for text, and what to do with them.
_SHEET = "Save the sheet as csv"
_MARKS = {
    b"PK\x03\x04": f"xlsx, ods and other zip archives do. {_SHEET}, or unpack it",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": f"xls and other old Office files do. {_SHEET}",
    b"PAR1": "parquet files do. Name the format (--format parquet, format=)",
    b"ARROW1": "arrow files do. Name the format (--format arrow, format=)",
    b"\x1f\x8b": "gzip does. Let its name end in .gz, or unpack it",
    b"%PDF-": "PDF files do. Give a file of rows",
    b"\x89PNG\r\n": "images do. Give a file of rows",
    b"\xff\xd8\xff": "images do. Give a file of rows",
    b"\xfd7zXZ\x00": "xz does. Unpack it",
    b"\x28\xb5\x2f\xfd": "zstd does. Unpack it",
    b"SQLite format 3\x00": "SQLite databases do. Export a table as csv",
}
_BINARY = {"parquet", "arrow", "feather"}
_WORDS, _CONTROL = (b"PAR1", b"ARROW1"), re.compile(rb"[\x00-\x08\x0e-\x1f]")


def open_table(path: str | Path, dialect: Dialect) -> Table:
    """The rows of a file, or of standard input for ``"-"``.

    The format is `dialect.format`, else the file's ending (``.gz`` may follow), else, for standard input, ``jsonl``
    where the first byte is ``{``, ``csv`` or ``tsv`` where the first line names a known column, and ``txt`` otherwise.

    Raises
    ------
    UnreadableInput
        If the format is unknown, the file is empty, or it is not what its ending says.
    OSError
        If the file cannot be opened.
    """
    name = str(path)
    stream = _open(name) if name != "-" else _standard_input()
    try:
        start = stream.peek(1)
        table = FORMATS[_format_of(name, start, dialect)](name, stream, dialect)
        return replace(table, close=stream.close) if name != "-" else table
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableInput(f"{name} is damaged: {error}. Compress it again.") from None
    except UnreadableInput:
        stream.close()
        raise


def _format_of(name: str, start: bytes, dialect: Dialect) -> str:
    if not start:
        raise UnreadableInput(f"{_shown(name)} is empty. Give a file with at least one row.")
    ending = Path(name.removesuffix(".gz")).suffix.lstrip(".").lower()
    chosen = (dialect.format or (_guessed(start) if name == "-" else ending)).lower()
    mark = next((mark for mark in _MARKS if start.startswith(mark)), b"")
    if mark in _WORDS and not _CONTROL.search(start[len(mark) : 4_096]):
        mark = b""  # a header that says so
    if chosen not in _BINARY and mark:
        raise UnreadableInput(f"{_shown(name)} is no text: it begins as {_MARKS[mark]}.")
    if chosen not in FORMATS:
        lines = " Write one JSON object a line, which is jsonl." if chosen == "json" else ""
        what = f"a format that textsiam does not read: {chosen!r}" if chosen else "no ending that tells a format"
        raise UnreadableInput(
            f"{name} has {what}. Formats are {', '.join(sorted(FORMATS))}; "
            f"name the format if the ending does not tell (--format, format=).{lines}"
        )
    return chosen


def _shown(name: str) -> str:
    return "Standard input" if name == "-" else name


def _guessed(start: bytes) -> str:
    """The format of standard input: JSON objects, a header with a known column name, or plain lines."""
    if start.startswith(b"{"):
        return "jsonl"
    header = start.partition(b"\n")[0].decode("utf-8", "replace").lstrip("\ufeff").strip().lower()
    known = {*TEXT_COLUMNS, *ID_COLUMNS, *chain.from_iterable(PAIR_COLUMNS)}
    formats = {",": "csv", "\t": "tsv"}
    return next((found for mark, found in formats.items() if mark in header and known & {*header.split(mark)}), "txt")


def _open(name: str) -> io.BufferedReader:
    path = Path(name)
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.suffix.lstrip(".") in FORMATS)
        remedy = f"Give its files, such as {path / inside[0]}." if inside else "It holds no file that textsiam reads."
        raise UnreadableInput(f"{path} is a folder, not a file. {remedy}")
    if not path.exists():
        raise FileNotFoundError(f"There is no file {name}. {_remedy_for(name)}.")
    return io.BufferedReader(gzip.GzipFile(path)) if path.suffix == ".gz" else path.open("rb")


def _remedy_for(name: str) -> str:
    """What to do about a file that is not there."""
    if "://" in name:
        return "Addresses are not fetched: download it, and give the file"
    if any(mark in name for mark in "*?["):
        return "Names with wildcards are listed by the shell, without quotes; in quotes they are for --ray"
    return "Check the name, or use - for standard input"


def _standard_input() -> io.BufferedReader:
    stream: Any = sys.stdin.buffer
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)


def _text_lines(name: str, stream: io.BufferedReader, encoding: str) -> Iterator[str]:
    """Physical lines, line ends kept. Undecodable bytes become lone surrogates, which fault_of reports with their row."""
    start = stream.peek(2)[:2]
    try:
        encoding = codecs.lookup(encoding).name  # UTF8, U8 and cp65001 are one encoding
    except LookupError:
        raise UnreadableInput(
            f"{encoding!r} is no text encoding that Python knows. Try utf-8, latin-1 or cp1252."
        ) from None
    if encoding == "utf-8":
        encoding = "utf-16" if start in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    errors = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = io.TextIOWrapper(stream, encoding=encoding, errors=errors, newline="")

    def lines() -> Iterator[str]:
        try:
            with text:
                yield from text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UnreadableInput(f"{name} ends too early or is damaged: {error}. Compress it again.") from None

    return lines()


def _read_csv(name: str, stream: io.BufferedReader, dialect: Dialect) -> Table:
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB would abort the file at its first long text
    delimiter = {"\\t": "\t", "tab": "\t"}.get(dialect.delimiter or ",", dialect.delimiter or ",")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UnreadableInput(f"A delimiter is one character, but got {delimiter!r}. Try a comma, ';', '|' or '\\t'.")
    rows = _csv_rows(_text_lines(name, stream, dialect.encoding), delimiter)
    header, fault = next(rows, ([], "no header"))
    columns = tuple(column.strip() or f"(column {place})" for place, column in enumerate(header, start=1))
    if fault or not any(column.strip() for column in header):
        raise UnreadableInput(
            f"{name} has no readable header ({fault or 'it is blank'}). Its first line must name the columns."
        )
    if len(set(columns)) < len(columns):
        raise UnreadableInput(f"{name} names a column twice: {', '.join(columns)}. Give each column its own name.")

    def records(_: Sequence[str]) -> Iterator[Record]:
        for row, (values, fault) in enumerate(rows, start=1):
            if not fault and values and len(values) != len(columns):
                fault = f"{len(values)} field{'s' if len(values) > 1 else ''} where the header has {len(columns)}"  # noqa: PLW2901
            yield (
                Record(row, {}, fault)
                if fault
                else Record(row, dict(zip(columns, values or ("",) * len(columns), strict=True)))
            )

    return Table(name, columns, records)


def _csv_rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[list[str], str]]:
    """Each logical row's fields, or its fault; after a quoting fault reading goes on at the row's second line."""
    pending: list[str] = []  # lines of the row at hand, in case they must be read again
    again: list[str] = []  # lines to be read before the others

    def feed() -> Iterator[str]:
        nonlocal again
        while True:
            line = again.pop() if again else next(lines, None)
            if line is None:
                return
            pending.append(line)
            if len(pending) > MAX_LINES_IN_A_ROW:
                raise csv.Error("unclosed")
            yield line

    reader = csv.reader(feed(), delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            unclosed = len(pending) > 1 or "unexpected end" in str(error)
            again.extend(reversed(pending[1:]))
            pending.clear()
            reader = csv.reader(feed(), delimiter=delimiter, strict=True)
            yield [], "quote never closed" if unclosed else "text after a closing quote"
        else:
            pending.clear()
            yield fields, ""


def _read_tsv(name: str, stream: io.BufferedReader, dialect: Dialect) -> Table:
    return _read_csv(name, stream, replace(dialect, delimiter=dialect.delimiter or "\t"))


def _read_txt(name: str, stream: io.BufferedReader, dialect: Dialect) -> Table:
    def records(_: Sequence[str]) -> Iterator[Record]:
        for row, line in enumerate(_text_lines(name, stream, dialect.encoding), start=1):
            yield Record(row, {"text": line.rstrip("\r\n")})

    return Table(name, ("text",), records)


def _read_jsonl(name: str, stream: io.BufferedReader, dialect: Dialect) -> Table:
    def parse(row: int, line: str) -> Record:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            return Record(row, {}, "not JSON")
        return (
            Record(row, values)
            if isinstance(values, dict)
            else Record(row, {}, f"JSON, but no object ({type(values).__name__})")
        )

    stream_of = (parse(row, line) for row, line in enumerate(_text_lines(name, stream, dialect.encoding), start=1))
    first = list(islice(stream_of, 100))  # the columns are those of the first hundred rows, in order of appearance
    columns = tuple(dict.fromkeys(column for record in first for column in record.values))
    if not columns:
        raise UnreadableInput(
            f"{name} has no JSON object in its first {len(first)} lines. Write one object a line, or name the format."
        )
    return Table(name, columns, lambda _: chain(first, stream_of))


FORMATS: dict[str, Callable[[str, io.BufferedReader, Dialect], Table]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "ndjson": _read_jsonl,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "feather": read_arrow,
    "txt": _read_txt,
}
