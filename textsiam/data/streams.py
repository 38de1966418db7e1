"""Records → texts (also chunk by chunk, for sources larger than memory), pairs and triplets. Unusable rows are set aside."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np

from textsiam.data.columns import ID_COLUMNS, PairColumns, find_column, named_column, text_column
from textsiam.data.pairs import Pairs, Triplets, fault_of_pair, fault_of_row
from textsiam.data.tables import Record, Table
from textsiam.data.texts import Fault, SetAside, Texts, fault_of

N_ROWS_A_CHUNK = 65_536

_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def stream_texts(
    table: Table,
    *,
    column: str | None = None,
    id_column: str | None = None,
    n_rows: int = N_ROWS_A_CHUNK,
) -> Iterator[Texts]:
    """The usable texts of a table, `n_rows` rows at a time; at least one chunk, which may be empty.

    Raises `UnreadableInput` if the table has no such column.
    """
    text_name = named_column(table.name, table.columns, column) if column else text_column(table.name, table.columns)
    id_name = (
        named_column(table.name, table.columns, id_column) if id_column else find_column(table.columns, ID_COLUMNS)
    )
    if id_name == text_name:
        id_name = None
    seen: set[str] = set()

    def read(record: Record) -> tuple[tuple[str, str], str]:
        value, name = record.values.get(text_name), _id_of(record, id_name)
        return (str(value), name), record.fault or fault_of(value) or _fault_of_id(name)

    records = _records(table, [text_name, id_name])
    # At least one chunk, and no empty one after the last row.
    for chunk in chain([islice(records, n_rows)], (chain([first], islice(records, n_rows - 1)) for first in records)):
        (texts, ids), rows, set_aside = _usable(chunk, table.name, 2, read)
        renamed = []
        for place, row in enumerate(rows) if id_name else ():
            if ids[place] in seen:
                renamed.append(Fault(table.name, row, "repeats an id"))
            while ids[place] in seen:
                ids[place] = f"{ids[place]}#{row}"
            seen.add(ids[place])
        yield Texts(texts, ids, rows, set_aside, {"text": text_name, "id": id_name or "row number"}, tuple(renamed))


def pairs_of(table: Table, columns: PairColumns) -> Pairs:
    """The usable pairs of a table; there may be none."""
    read = partial(_pair_of, columns=columns)
    (first, second, labels, scores), rows, set_aside = _usable(_records(table, columns), table.name, 4, read)
    return Pairs(
        first,
        second,
        labels=np.array(labels, dtype=np.int64) if columns.label else None,
        scores=np.array(scores, dtype=np.float64) if columns.score else None,
        rows=rows,
        set_aside=set_aside,
        mapping=columns.mapping(),
    )


def triplets_of(table: Table, columns: Sequence[str]) -> Triplets:
    """The usable triplets of a table (anchor, positive, one or more negatives); there may be none."""
    keys = ["negative"] if len(columns) == 3 else [f"negative_{k}" for k in range(1, len(columns) - 1)]  # noqa: PLR2004
    mapping = dict(zip(("anchor", "positive", *keys), columns, strict=True))
    names = ("anchor", "positive", *["negative"] * (len(columns) - 2))

    def read(record: Record) -> tuple[list[str], str]:
        texts = [record.values.get(column) for column in columns]
        return [str(text) for text in texts], record.fault or fault_of_row(names, texts)

    records = _records(table, columns)
    (anchors, positives, *negatives), rows, set_aside = _usable(records, table.name, len(columns), read)
    return Triplets(anchors, positives, negatives, rows, set_aside, mapping)


def _records(table: Table, wanted: Sequence[str | None]) -> Iterator[Record]:
    return table.records(list(dict.fromkeys(name for name in wanted if name)))


def _usable(
    records: Iterable[Record], source: str, width: int, read: Callable[[Record], tuple[Sequence[Any], str]]
) -> tuple[list[list[Any]], list[int], SetAside]:
    """Columns of the usable rows, their numbers, and the other rows; `read` gives a row's values, and its fault or ``""``."""
    columns: list[list[Any]] = [[] for _ in range(width)]
    rows, faults = [], []
    for record in records:
        values, fault = read(record)
        if fault:
            faults.append(Fault(source, record.row, fault))
            continue
        rows.append(record.row)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    return columns, rows, SetAside(tuple(faults))


def _id_of(record: Record, id_name: str | None) -> str:
    value = record.values.get(id_name) if id_name else None
    return str(record.row) if value is None or value == "" else str(value)


def _fault_of_id(name: str) -> str:
    return (
        f"id {fault}" if not name.isascii() and (fault := fault_of(name)).startswith(("undecodable", "not Uni")) else ""
    )


def _pair_of(record: Record, columns: PairColumns) -> tuple[tuple[str, str, int, float], str]:
    values = record.values
    first, second = values.get(columns.first), values.get(columns.second)
    label, score, fault = 0, 0.0, record.fault or fault_of_pair(first, second)
    if columns.label and not fault:
        label = _LABELS.get(str(values.get(columns.label)).strip().lower(), -1)
        fault = "label is not 0 or 1" if label < 0 else ""
    if columns.score and not fault:
        score = _number(values.get(columns.score))
        fault = "" if math.isfinite(score) else "score is not a number"
    return (str(first), str(second), label, score), fault


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
