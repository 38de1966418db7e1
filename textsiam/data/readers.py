"""From sources to texts, pairs and triplets.

Sources are read as streams (see `sources`, `formats` and `streams`). Unusable rows are set aside with row number and reason.
They never stop the reading.
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any, TypeVar

from textsiam.data.columns import find_pair_columns, named_column, negative_columns
from textsiam.data.pairs import Pairs, Triplets
from textsiam.data.sources import open_source
from textsiam.data.streams import pairs_of, stream_texts, triplets_of
from textsiam.data.tables import Dialect, Table
from textsiam.data.texts import SetAside, Texts, as_list
from textsiam.errors import UnreadableInput

Read = TypeVar("Read", Texts, Pairs, Triplets)


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
        pairs = pairs_of(table, columns)
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
        triplets = triplets_of(table, [pair.first, pair.second, *others])
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
