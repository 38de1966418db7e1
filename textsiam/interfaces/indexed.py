"""Texts on their way into an index: read with ids that hold from one call to the next."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from textsiam.interfaces.progress import name_of, while_reading
from textsiam.interfaces.terminal import mapped, say

if TYPE_CHECKING:
    from textsiam.data.tables import Record, Table
    from textsiam.data.texts import SetAside


class Given(NamedTuple):
    """Usable texts of sources, with ids under which an index can keep them."""

    ids: list[str]
    texts: list[str]
    places: list[tuple[str, int]]  # source and row of each
    set_aside: "SetAside"
    numbered: list[str]  # names of the files whose ids are made of row numbers

    def traced(self, aside: "SetAside") -> "SetAside":
        """What an index set aside, by source and row instead of position."""
        from textsiam.data.texts import Fault, SetAside

        return SetAside(tuple(Fault(*self.places[fault.row - 1], fault.reason) for fault in aside))


def read_given(sources: Sequence[str], reading: dict[str, Any]) -> Given:
    """The usable texts of all sources; which column became what is said.

    An id is what the id column says. Where there is none it is ``FILE-NAME:ROW``, and for standard input, which has no name that
    would tell one day's from another's, the text's hash. A row without id, in a source that has them, is set aside; an id that
    comes again is left to the index, which sets aside another text under it.

    Raises
    ------
    UnreadableInput, BadRows, OSError
        As `read_texts`.
    BadParameter
        If two files of one name would give the same ids.
    """
    from textsiam.data.texts import SetAside

    parts = [_read(source, **reading) for source in sources]
    numbered = [name for part in parts for name in part.numbered]
    if repeated := [name for name, n in Counter(numbered).items() if n > 1]:
        raise typer.BadParameter(
            f"Two files are named {repeated[0]}, and their rows would have the same ids. Rename one, or give --id-column."
        )
    return Given(
        [name for part in parts for name in part.ids],
        [text for part in parts for text in part.texts],
        [place for part in parts for place in part.places],
        SetAside(tuple(fault for part in parts for fault in part.set_aside)),
        numbered,
    )


def _read(
    source: str,
    *,
    column: str | None = None,
    id_column: str | None = None,
    split: str | None = None,
    strict: bool = False,
    **dialect: Any,
) -> Given:
    from textsiam.data.columns import ID_COLUMNS, find_column, named_column
    from textsiam.data.readers import read_texts
    from textsiam.data.sources import open_source
    from textsiam.data.tables import Dialect

    with closing(open_source(source, split, Dialect(**dialect))) as table:
        id_name = find_column(table.columns, ID_COLUMNS)
        if id_column:
            id_name = named_column(table.name, table.columns, id_column)
        with while_reading(source):
            texts = read_texts(_with_ids(table, id_name), column=column, id_column=id_column, strict=strict)
    name, rows = Path(table.name).name, list(texts.rows)
    own, numbered = texts.mapping["id"], []
    if id_name and id_name != texts.mapping["text"]:
        again = {fault.row for fault in texts.renamed}
        ids = [
            told.removesuffix(f"#{row}") if row in again else told for told, row in zip(texts.ids, rows, strict=True)
        ]
    elif source == "-":
        ids, own = [_hash(text) for text in texts], "the text's hash (--id-column names a column)"
    else:
        ids, own, numbered = [f"{name}:{row}" for row in rows], f"{name}:ROW (--id-column names a column)", [name]
    say(f"{name_of(source)}: {mapped({**texts.mapping, 'id': own})}")
    return Given(ids, list(texts), [(table.name, row) for row in rows], texts.set_aside, numbered)


def _with_ids(table: "Table", id_name: str | None) -> "Table":
    """The table, but rows without an id are faults: a row number might be another row's id."""
    if id_name is None:
        return table
    from textsiam.data.texts import is_missing

    def records(wanted: Sequence[str]) -> Iterator["Record"]:
        for record in table.records(wanted):
            value = record.values.get(id_name)
            yield record._replace(fault="no id") if not record.fault and (value == "" or is_missing(value)) else record

    return replace(table, records=records)


def _hash(text: str) -> str:
    from textsiam.indexing.arriving import hash_of

    return f"{hash_of(text) % 2**64:016x}"
