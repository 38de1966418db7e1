"""Sources → texts (also chunk by chunk, for sources larger than memory), pairs and triplets.

Sources are read as streams of records (see `sources` and `formats`). Unusable rows are set aside with row number and reason. They
never stop the reading.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np

from textsiam.data.columns import (
    ID_COLUMNS,
    PairColumns,
    find_column,
    find_pair_columns,
    named_column,
    negative_columns,
    text_column,
)
from textsiam.data.pairs import Pairs, Triplets, fault_of_pair, fault_of_row
from textsiam.data.sources import open_source
from textsiam.data.tables import Dialect, Record, Table
from textsiam.data.texts import Fault, SetAside, Texts, as_list, fault_of
from textsiam.errors import UnreadableInput

Read = TypeVar("Read", Texts, Pairs, Triplets)

N_ROWS_A_CHUNK = 65_536
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def read_texts(
    source: Any,
    *,
    column: str | None = None,
    id_column: str | None = None,
    split: str | None = None,
    strict: bool = False,
    format: str | None = None,  # noqa: A002  the word users know
    delimiter: str | None = None,
    encoding: str = "utf-8",
) -> Texts:
    """The usable texts of a source, with ids. The other rows are in ``.set_aside``.

    Parameters
    ----------
    source
        A path (csv, tsv, jsonl, parquet, arrow or txt, also with ``.gz``), ``"-"`` for standard input, a `datasets.Dataset`,
        the folder or the Hub name of a data set, a data frame (pandas, polars, pyarrow), a mapping of columns, or a list of
        strings.
    column
        The column of texts. Default: the only one, or one with a usual name (`columns.TEXT_COLUMNS`).
    id_column
        The column of ids. Default: ``id``, ``_id`` or ``qid``, else the row numbers. An id that repeats gets its row number
        appended (``a1#7``). Such rows are in ``.renamed``.
    split
        Keep the rows of this split of a data set, or with this value in a file's ``split`` column.
    strict
        Raise `BadRows` if any row would be set aside or renamed.
    format, delimiter, encoding
        How to read a file if its ending does not say.

    Raises
    ------
    UnreadableInput
        If the source has no such column or no usable row.
    OSError
        If a file cannot be opened.

    Examples
    --------
    >>> from textsiam.samples import QUESTIONS
    >>> texts = read_texts(QUESTIONS)
    >>> texts.mapping["text"], texts.ids[0]
    ('question', 'q001')
    >>> read_texts(["How do I pay?", None, " "]).set_aside.counts()
    {'null': 1, 'only whitespace': 1}
    """
    with closing(open_source(source, split, Dialect(format, delimiter, encoding))) as table:
        (texts,) = stream_texts(table, column=column, id_column=id_column, n_rows=sys.maxsize)
    return _with_a_row(texts, table.name, "text", strict=strict)


def read_pairs(
    source: Any,
    *,
    first: str | None = None,
    second: str | None = None,
    label: str | None = None,
    score: str | None = None,
    labelled: bool = True,
    split: str | None = None,
    strict: bool = False,
    format: str | None = None,  # noqa: A002
    delimiter: str | None = None,
    encoding: str = "utf-8",
) -> Pairs:
    """The usable pairs of a source, with labels or scores if it has them. The other rows are in ``.set_aside``.

    Parameters
    ----------
    source
        As for `read_texts`. A list holds rows, ``(first, second)`` or ``(first, second, label)``. A tuple of two or three lists
        holds the columns.
    first, second, label, score
        Columns. Default: usual names (`columns.PAIR_COLUMNS`, ``label`` or ``is_duplicate``, ``score``). Rows whose label is
        not 0 or 1, or whose score is not a finite number, are set aside.
    labelled
        Whether to read labels and scores. If False, no row is set aside because of them.
    split, strict, format, delimiter, encoding
        As for `read_texts`.

    Raises
    ------
    UnreadableInput
        If the source has no such columns or no usable row.
    OSError
        If a file cannot be opened.

    Examples
    --------
    >>> from textsiam.samples import PAIRS
    >>> read_pairs(PAIRS).mapping
    {'first': 'question1', 'second': 'question2', 'label': 'is_duplicate'}
    >>> read_pairs([("How do I pay?", "How to pay?", 1), ("Hello", None, 0)]).set_aside.counts()
    {'second text null': 1}
    """
    with closing(open_source(source, split, Dialect(format, delimiter, encoding))) as table:
        columns = find_pair_columns(table.name, table.columns, first=first, second=second, label=label, score=score)
        columns = columns if labelled else columns._replace(label=None, score=None)
        pairs = _pairs_of(table, columns)
    return _with_a_row(pairs, table.name, "pair", strict=strict)


def read_triplets(
    source: Any,
    *,
    anchor: str | None = None,
    positive: str | None = None,
    negatives: Sequence[str] = (),
    split: str | None = None,
    strict: bool = False,
    format: str | None = None,  # noqa: A002
    delimiter: str | None = None,
    encoding: str = "utf-8",
) -> Triplets:
    """The usable triplets of a source. The other rows are in ``.set_aside``.

    Parameters
    ----------
    source
        As for `read_texts`. It must have columns.
    anchor, positive
        Columns. Default: those of pairs (`columns.PAIR_COLUMNS`).
    negatives
        A list of columns. Default: ``negative``, ``negative_1``, ``negative_2``, …
    split, strict, format, delimiter, encoding
        As for `read_texts`.

    Raises
    ------
    UnreadableInput
        If the source has no such columns or no usable row.
    OSError
        If a file cannot be opened.

    Examples
    --------
    >>> rows = {"anchor": ["How do I pay?"], "positive": ["How to pay?"], "negative": ["Where is my order?"]}
    >>> read_triplets(rows)
    Triplets(1 triplets with 1 negatives each, no row set aside)
    """
    with closing(open_source(source, split, Dialect(format, delimiter, encoding))) as table:
        pair = find_pair_columns(table.name, table.columns, first=anchor, second=positive)
        others = [named_column(table.name, table.columns, name) for name in as_list(negatives)]
        others = others or _other_negatives(table, pair.first, pair.second)
        if not others:
            raise UnreadableInput(
                f"{table.name} does not say which column holds the negatives: name it (negatives=). "
                f"It has: {', '.join(table.columns)}."
            )
        triplets = _triplets_of(table, [pair.first, pair.second, *others])
    return _with_a_row(triplets, table.name, "triplet", strict=strict)


def read_examples(source: Any, **how: Any) -> Pairs | Triplets:
    """The training examples in a source: triplets if it has a column of negatives, else pairs.

    Takes the parameters of `read_pairs` and raises what it raises. Naming a label, a score, or the column of negatives as
    `first` or `second` gives pairs.
    """
    if isinstance(source, Pairs | Triplets):
        if how.get("split") is not None:
            raise UnreadableInput(
                f"{source!r} has no splits, but got split={how['split']!r}. Name the split when reading."
            )
        return source
    split, strict = how.pop("split", None), how.pop("strict", False)
    dialect = Dialect(**{name: how.pop(name) for name in ("format", "delimiter", "encoding") if name in how})
    # Opened once: standard input cannot be read twice.
    with closing(open_source(source, split, dialect)) as table:
        others = _other_negatives(table, how.get("first"), how.get("second"))
        if others and not (how.get("label") or how.get("score")):
            return read_triplets(table, anchor=how.get("first"), positive=how.get("second"), strict=strict)
        return read_pairs(table, strict=strict, **how)


def stream_texts(
    table: Table, *, column: str | None = None, id_column: str | None = None, n_rows: int = N_ROWS_A_CHUNK
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


def _pairs_of(table: Table, columns: PairColumns) -> Pairs:
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


def _triplets_of(table: Table, columns: Sequence[str]) -> Triplets:
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


def _other_negatives(table: Table, first: str | None, second: str | None) -> list[str]:
    return [column for column in negative_columns(table.columns) if column not in {first, second}]


def _with_a_row(read: Read, name: str, what: str, *, strict: bool) -> Read:
    """What was read. Raises if rows were set aside or renamed and `strict`, or if no row is usable."""
    if strict:
        SetAside((*read.set_aside, *getattr(read, "renamed", ()))).refuse()
    if not len(read):
        raise nothing_usable(name, what, read.set_aside)
    return read


def nothing_usable(source: str, what: str, set_aside: SetAside) -> UnreadableInput:
    """The error for a source without a usable row, with the cause and the remedy."""
    cause = str(set_aside) if set_aside else f"it {'is empty' if source == 'the list' else 'has a header and no row'}"
    wrongly_read = any(fault.reason.startswith("undecodable") for fault in set_aside)
    remedy = "Name its encoding, such as latin-1 (--encoding, encoding=)" if wrongly_read else "Give at least one"
    return UnreadableInput(f"{source} has no usable {what}: {cause}. {remedy}.")
