"""Sources as tables: files, data sets, data frames, mappings and lists."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from textsiam.data.columns import SPLIT_COLUMN
from textsiam.data.formats import FORMATS, open_table
from textsiam.data.tables import Dialect, Record, Table
from textsiam.data.texts import as_list
from textsiam.errors import UnreadableInput

# A folder with one of these holds a data set, saved by `datasets` or laid out as on the Hub.
_SAVED = ("dataset_dict.json", "state.json")
_HUB_LAYOUT = ("dataset_infos.json", "data")


def open_source(source: Any, split: str | None = None, dialect: Dialect | None = None) -> Table:
    """A table of the source's rows, or of one split's rows.

    Raises `UnreadableInput` if the kind of source is unknown, or if a data set has several splits and none is named, and
    `OSError` if a file cannot be opened.

    Examples
    --------
    >>> open_source({"question": ["How do I pay?"], "id": [7]}).columns
    ('question', 'id')
    """
    if isinstance(source, Table):
        return _only(source, split)
    if isinstance(source, (str, Path)):
        return _of_name(source, split, dialect or Dialect())
    if isinstance(source, Mapping) and source and all(hasattr(part, "column_names") for part in source.values()):
        return _of_splits("the data set", source, split)
    if hasattr(source, "column_names") and hasattr(source, "with_format"):  # datasets.Dataset, IterableDataset
        table = _of_dataset("the data set", source)
        return table if split is not None and str(source.split) == split else _only(table, split)
    if isinstance(source, Mapping):
        return _only(_of_columns("the columns", dict(source)), split)
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):  # pandas, polars, pyarrow
        names = source.column_names if hasattr(source, "column_names") else list(source.columns)
        return _only(_of_columns("the data frame", {str(name): source[name] for name in names}), split)
    if isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray)):
        return _only(_of_rows(source), split)
    raise UnreadableInput(
        f"textsiam cannot read a {type(source).__name__}. "
        "Give a path, a data set, a data frame, a mapping of columns, or a list."
    )


def _only(table: Table, split: str | None) -> Table:
    """The rows whose ``split`` column says `split`; the whole table if that is None.

    Raises `UnreadableInput` if there is no such column. If there is no such row, the end of the stream raises it.
    """
    if split is None:
        return table
    if SPLIT_COLUMN not in table.columns:
        table.close()
        raise UnreadableInput(
            f"{table.name} has no column {SPLIT_COLUMN!r} to take {split!r} from. It has: {', '.join(table.columns)}."
        )

    def records(wanted: Sequence[str]) -> Iterator[Record]:
        others: dict[str, None] = {}
        found = False
        for record in table.records(list(dict.fromkeys([*wanted, SPLIT_COLUMN]))):
            if record.fault or record.values.get(SPLIT_COLUMN) == split:
                found = found or not record.fault
                yield record
            else:
                others[str(record.values.get(SPLIT_COLUMN))] = None
        if not found:
            raise UnreadableInput(f"{table.name} has no row of split {split!r}. It has: {', '.join(others)}.")

    return replace(table, records=records)


def _of_name(source: str | Path, split: str | None, dialect: Dialect) -> Table:
    path = Path(source)
    if path.is_dir() and _is_data_set(path):
        return _of_folder(path, split)
    if str(source) == "-" or path.exists() or isinstance(source, Path) or not _may_be_on_the_hub(str(source)):
        return _only(open_table(source, dialect), split)
    return _of_splits(str(source), _load(str(source)), split)


def _is_data_set(folder: Path) -> bool:
    """Whether `datasets` saved it, or the Hub laid it out: a card with a header of settings, or a folder ``data``."""
    card = folder / "README.md"
    has_card = card.is_file() and card.read_bytes()[:3] == b"---"
    return has_card or any((folder / mark).exists() for mark in (*_SAVED, *_HUB_LAYOUT))


def _may_be_on_the_hub(name: str) -> bool:
    return (
        name.count("/") == 1
        and not name.startswith((".", "/", "~"))
        and Path(name).suffix.lstrip(".") not in {*FORMATS, "gz"}
    )


def _of_folder(folder: Path, split: str | None) -> Table:
    import datasets

    saved = any((folder / mark).exists() for mark in _SAVED)
    found = datasets.load_from_disk(str(folder)) if saved else _load(str(folder))
    return _of_splits(str(folder), found, split) if isinstance(found, Mapping) else _of_dataset(str(folder), found)


def _load(name: str) -> Any:
    import datasets

    try:
        try:
            # By default its csv reader takes "None", "NA" and "null" for missing values.
            return datasets.load_dataset(name, keep_default_na=False)
        except (ValueError, TypeError) as error:
            if "keep_default_na" not in str(error):  # only the csv reader has that setting
                raise
            return datasets.load_dataset(name)
    except (OSError, ValueError, ConnectionError) as error:
        raise UnreadableInput(
            f"{name} is neither a file here nor a data set that could be loaded: {error}. Check the name, or the network."
        ) from None


def _of_splits(name: str, parts: Mapping[str, Any], split: str | None) -> Table:
    if split is None and len(parts) == 1:
        split = next(iter(parts))
    if split is None or split not in parts:
        given = "none was named" if split is None else f"{split!r} is not one of them"
        raise UnreadableInput(
            f"{name} has the splits {', '.join(parts)}, and {given}. Name one (--split, split=), or give that part alone."
        )
    return _of_dataset(f"{name}[{split}]", parts[split])


def _of_dataset(name: str, dataset: Any) -> Table:
    def records(wanted: Sequence[str]) -> Iterator[Record]:
        batches = dataset.with_format(None).select_columns(list(wanted)).iter(batch_size=1_000)
        yield from _numbered(chain.from_iterable(_transposed(batch) for batch in batches))

    if not dataset.column_names:
        raise UnreadableInput(
            f"{name} does not know its columns. Give it features, or read it into a datasets.Dataset first."
        )
    return Table(name, tuple(dataset.column_names), records)


def _of_columns(name: str, columns: dict[str, Any]) -> Table:
    lists = {column: as_list(values) for column, values in columns.items()}
    if len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{column} has {len(values)}" for column, values in lists.items())
        raise UnreadableInput(f"Columns of one table have equal lengths, but {lengths}. Align them row by row.")
    return Table(
        name, tuple(lists), lambda wanted: _numbered(_transposed({column: lists[column] for column in wanted}))
    )


def _of_rows(rows: Iterable[Any]) -> Table:
    if isinstance(rows, tuple) and len(rows) in {2, 3} and all(isinstance(column, list) for column in rows):
        return _of_columns("the lists", dict(zip(("first", "second", "label"), rows, strict=False)))
    held = list(rows)
    if not held:
        return _of_columns("the list", {"text": [], "first": [], "second": []})  # empty as texts and as pairs
    if any(isinstance(row, (tuple, list)) for row in held):
        labelled = any(isinstance(row, (tuple, list)) and len(row) > 2 for row in held)  # noqa: PLR2004
        return Table(
            "the list", ("first", "second", "label") if labelled else ("first", "second"), lambda _: _pairs_of(held)
        )
    return _of_columns("the list", {"text": held})


def _pairs_of(rows: Iterable[Any]) -> Iterator[Record]:
    for row, values in enumerate(rows, start=1):
        if isinstance(values, (tuple, list)) and len(values) in {2, 3}:
            yield Record(row, dict(zip(("first", "second", "label"), values, strict=False)))
        else:
            yield Record(row, {}, "not a pair")


def _transposed(columns: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, object]]:
    names = list(columns)
    return (dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True))


def _numbered(rows: Iterable[dict[str, object]]) -> Iterator[Record]:
    return (Record(row, values) for row, values in enumerate(rows, start=1))
