"""Parquet and arrow files as tables, batch by batch. Damage is found before it is followed."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
