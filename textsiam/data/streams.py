"""Records → texts, pairs and triplets, chunk by chunk, for sources larger than memory. Unusable rows are set aside."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from textsiam.data.columns import ID_COLUMNS, PairColumns, find_column, named_column, text_column
from textsiam.data.pairs import Pairs, Triplets, fault_of_pair
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
    for records in _chunks(table, [text_name, id_name], n_rows):
        texts, ids, rows, faults, renamed = [], [], [], [], []
        for record in records:
            value = record.values.get(text_name)
            name = _id_of(record, id_name)
            if fault := record.fault or fault_of(value) or _fault_of_id(name):
                faults.append(Fault(table.name, record.row, fault))
                continue
            if id_name:
                if name in seen:
                    renamed.append(Fault(table.name, record.row, "repeats an id"))
                while name in seen:
                    name = f"{name}#{record.row}"
                seen.add(name)
            texts.append(str(value))
            ids.append(name)
            rows.append(record.row)
        yield Texts(
            texts,
            ids,
            rows,
            SetAside(tuple(faults)),
            {"text": text_name, "id": id_name or "row number"},
            tuple(renamed),
        )


def stream_pairs(table: Table, columns: PairColumns, *, n_rows: int = N_ROWS_A_CHUNK) -> Iterator[Pairs]:
    """The usable pairs of a table, `n_rows` rows at a time; at least one chunk, which may be empty."""
    for records in _chunks(table, columns, n_rows):
        kept, rows, faults = [], [], []
        for record in records:
            pair, fault = _pair_of(record, columns)
            if fault:
                faults.append(Fault(table.name, record.row, fault))
            else:
                kept.append(pair)
                rows.append(record.row)
        first, second, labels, scores = zip(*kept, strict=True) if kept else ((), (), (), ())
        yield Pairs(
            list(first),
            list(second),
            labels=np.array(labels, dtype=np.int64) if columns.label else None,
            scores=np.array(scores, dtype=np.float64) if columns.score else None,
            rows=rows,
            set_aside=SetAside(tuple(faults)),
            mapping=columns.mapping(),
        )


def stream_triplets(table: Table, columns: Sequence[str], *, n_rows: int = N_ROWS_A_CHUNK) -> Iterator[Triplets]:
    """The usable triplets of a table (anchor, positive, one or more negatives), by chunks like `stream_pairs`."""
    keys = ["negative"] if len(columns) == 3 else [f"negative_{k}" for k in range(1, len(columns) - 1)]  # noqa: PLR2004
    mapping = dict(zip(("anchor", "positive", *keys), columns, strict=True))
    names = ("anchor", "positive", *["negative"] * (len(columns) - 2))
    for records in _chunks(table, columns, n_rows):
        kept, rows, faults = [], [], []
        for record in records:
            texts = [record.values.get(column) for column in columns]
            found = (f"{name} {fault}" for name, text in zip(names, texts, strict=True) if (fault := fault_of(text)))
            if fault := record.fault or next(found, ""):
                faults.append(Fault(table.name, record.row, fault))
            else:
                kept.append([str(text) for text in texts])
                rows.append(record.row)
        anchors, positives, *negatives = map(list, zip(*kept, strict=True)) if kept else ([] for _ in columns)
        yield Triplets(anchors, positives, negatives, rows, SetAside(tuple(faults)), mapping)


def _chunks(table: Table, wanted: Sequence[str | None], n_rows: int) -> Iterator[list[Record]]:
    records = table.records(list(dict.fromkeys(name for name in wanted if name)))
    chunk = list(islice(records, n_rows))
    while True:
        following = list(islice(records, n_rows))
        yield chunk
        if not following:
            return
        chunk = following


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
