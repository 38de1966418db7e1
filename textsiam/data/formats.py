"""File formats as streams of records: csv, tsv, jsonl, plain text, parquet and arrow, also compressed by gzip.

A record is one row: its number and its values, or what is wrong with it. A bad row never ends a stream; a damaged file does.
Text stays text: "None", "NA" and "null" are not missing values. (The csv reader of `datasets` takes them for such, and fails on
one ragged row.) What each column means is left to `textsiam.data.columns`.
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

# A quoted field may hold line breaks. Beyond this many lines the quote counts as never closed: the row is reported, and
# reading continues at the next line instead of losing the rest of the file.
MAX_LINES_IN_A_ROW = 100

# First bytes of files that are often given as text, and what to do with such files.
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

    The format is `dialect.format`, else the file's ending (``.gz`` may follow). Standard input without a format is ``jsonl`` if
    its first byte is ``{``, ``csv`` or ``tsv`` if its first line has a known column name, and ``txt`` otherwise.

    Raises `UnreadableInput` if the format is unknown or the file is empty, damaged or of another format, and `OSError` if it
    cannot be opened.
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
        mark = b""  # a text that begins with this word
    if chosen not in _BINARY and mark:
        raise UnreadableInput(f"{_shown(name)} is not text: it begins as {_MARKS[mark]}.")
    if chosen not in FORMATS:
        lines = " Write one JSON object per line, which is jsonl." if chosen == "json" else ""
        what = f"a format that textsiam does not read: {chosen!r}" if chosen else "no ending that names a format"
        raise UnreadableInput(
            f"{name} has {what}. Formats are {', '.join(sorted(FORMATS))}; "
            f"name the format if the ending does not (--format, format=).{lines}"
        )
    return chosen


def _shown(name: str) -> str:
    return "Standard input" if name == "-" else name


def _guessed(start: bytes) -> str:
    """The format of standard input: jsonl, csv or tsv with a known column name, or plain lines."""
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
    """What to do about a missing file."""
    if "://" in name:
        return "textsiam does not download: fetch it yourself, and give the file"
    if any(mark in name for mark in "*?["):
        return "The shell expands wildcards only without quotes; quoted wildcards are for --ray"
    return "Check the name, or use - for standard input"


def _standard_input() -> io.BufferedReader:
    stream: Any = sys.stdin.buffer
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)


def _text_lines(name: str, stream: io.BufferedReader, encoding: str) -> Iterator[str]:
    """Physical lines with their line ends. Undecodable bytes become lone surrogates, which `fault_of` reports with their row."""
    start = stream.peek(2)[:2]
    try:
        encoding = codecs.lookup(encoding).name  # UTF8, U8 and cp65001 are the same
    except LookupError:
        raise UnreadableInput(
            f"Python does not know the text encoding {encoding!r}. Try utf-8, latin-1 or cp1252."
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
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB would fail at the first long text
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
            fields = [] if fault else zip(columns, values or ("",) * len(columns), strict=True)
            yield Record(row, dict(fields), fault)

    return Table(name, columns, records)


def _csv_rows(lines: Iterator[str], delimiter: str) -> Iterator[tuple[list[str], str]]:
    """Each logical row's fields, or its fault. After a quoting fault, reading continues at the row's second line."""
    pending: list[str] = []  # lines of the current row, in case they must be read again
    again: list[str] = []  # lines to read again before the others

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
        if not isinstance(values, dict):
            return Record(row, {}, f"JSON, but no object ({type(values).__name__})")
        return Record(row, values)

    parsed = (parse(row, line) for row, line in enumerate(_text_lines(name, stream, dialect.encoding), start=1))
    first = list(islice(parsed, 100))  # the columns are those of the first hundred rows, in order of appearance
    columns = tuple(dict.fromkeys(column for record in first for column in record.values))
    if not columns:
        raise UnreadableInput(
            f"{name} has no JSON object in its first {len(first)} lines. Write one object per line, or name the format."
        )
    return Table(name, columns, lambda _: chain(first, parsed))


def _read_parquet(name: str, stream: io.BufferedReader, _: Dialect) -> Table:
    """A parquet file, of which only the wanted columns are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(_arrow_file(name, stream))
    except (pa.ArrowException, OSError) as error:
        raise UnreadableInput(
            f"{name} is not a parquet file, or is damaged: {str(error).rstrip('.')}. Write it again, or name the format."
        ) from None
    return Table(
        name,
        tuple(file.schema_arrow.names),
        lambda wanted: _batch_records(name, file.iter_batches(columns=list(wanted))),
    )


def _read_arrow(name: str, stream: io.BufferedReader, _: Dialect) -> Table:
    """An arrow file: with a footer (feather), or as a stream."""
    import pyarrow as pa

    source = _arrow_file(name, stream)
    try:
        try:
            file = pa.ipc.open_file(source)
            batches: Iterator[Any] = (file.get_batch(place) for place in range(file.num_record_batches))
        except (pa.ArrowException, OSError):  # the streaming form, which `datasets` writes
            source.seek(0)
            file = pa.ipc.open_stream(source)
            batches = iter(file)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableInput(
            f"{name} is not an arrow file, or is damaged: {str(error).rstrip('.')}. Write it again, or name the format."
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
            for values in zip(*_values_of(batch), strict=True):
                row += 1
                yield Record(row, dict(zip(batch.schema.names, values, strict=True)))
    except (pa.ArrowException, OSError, MemoryError, SystemError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{name} is damaged after row {row}: {error}. Write it again.") from None


def _values_of(batch: Any) -> list[list[Any]]:
    """The columns as Python values. They are validated first, because reading along damaged offsets crashes the process."""
    import pyarrow as pa

    try:
        batch.validate(full=True)
        return [column.to_pylist() for column in batch.columns]
    except (pa.ArrowInvalid, UnicodeDecodeError):  # one cell that is not UTF-8 must not spoil the others
        found = []
        for column in batch.columns:
            is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            stored = column.cast(pa.large_binary()) if is_text else column
            stored.validate(full=True)
            values = stored.to_pylist()
            found.append([of.decode("utf-8", "surrogateescape") if isinstance(of, bytes) else of for of in values])
        return found


FORMATS: dict[str, Callable[[str, io.BufferedReader, Dialect], Table]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "ndjson": _read_jsonl,
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "feather": _read_arrow,
    "txt": _read_txt,
}
