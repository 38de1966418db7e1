"""What the commands of an index share: options, how to open it, how to read texts with lasting ids, how to report matches."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer import Argument, Option

from textsiam.data.writers import rows_of
from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.options import ModelOptions, TextOptions
from textsiam.interfaces.shell.terminal import (
    answer_json,
    mapped,
    model_told,
    name_of,
    say,
    say_lost,
    say_set_aside,
    set_aside_told,
    show_matches,
    while_reading,
    write_columns,
)

if TYPE_CHECKING:
    from textsiam.data.tables import Record, Table
    from textsiam.data.texts import SetAside
    from textsiam.indexing.index import Index
    from textsiam.matching.matches import Matches
    from textsiam.scoring.siamese import Siamese


Place = Annotated[str, Argument(help="The index's folder, or the address of a database: postgresql://…")]
Threshold = Annotated[
    float | None,
    Option(
        callback=options.finite, help="Lowest score of a match. Default: the index's own; for a new index the model's."
    ),
]
Timeout = Annotated[float, Option(min=0, help="Most seconds to wait while another process writes.")]


@dataclass(frozen=True, kw_only=True)
class IndexTextOptions(TextOptions):
    """The columns of texts and lasting ids."""

    id_column: Annotated[
        str | None, Option(help="Column of ids. Default: id, else FILE-NAME:ROW; for standard input hashes of texts.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """Where matches go, and the most matches."""

    output: options.Output = None
    top: options.Top = 20
    max_matches: options.MaxMatches = 20_000_000


def opened(
    place: str, model: ModelOptions, threshold: float | None, timeout: float, *, must_exist: bool = False
) -> "Index":
    """The index with its model, in the precision of the index; a new one if there is none, unless it `must_exist`."""
    from textsiam.errors import IndexNotFound
    from textsiam.indexing.index import Index
    from textsiam.indexing.storage.store import shown

    try:
        with Index.open(place, timeout_s=timeout) as there:
            settings = there.settings
    except IndexNotFound:
        if must_exist:
            raise
        siamese = model.load()
        made = Index.create(place, siamese, threshold=threshold)
        say(f"there was no index at {shown(place)}: created one, {threshold_told(made, threshold)}")
        return made
    if threshold is not None and threshold != settings["threshold"]:
        raise typer.BadParameter(
            f"The threshold of the index at {shown(place)} is {settings['threshold']:g} for good. Leave out --threshold."
        )
    siamese = model.load(settings["precision"])
    return Index.open(place, siamese, timeout_s=timeout)


def threshold_told(made: "Index", given: float | None) -> str:
    """The threshold of a new index, and where it is from."""
    siamese: Siamese | None = made.model
    if given is not None or siamese is None or siamese.threshold is None:
        return f"threshold {made.threshold:g} (given by you)"
    return f"threshold {siamese.threshold} (the model's own)"


def tell(
    index: "Index",
    found: "Matches",
    told: dict[str, Any],
    started: float,
    answer: AnswerOptions,
    *,
    as_json: bool,
    set_aside: Path | None = None,
) -> None:
    """Write or show the matches, and report what was done."""
    output = answer.output
    if output:
        write_columns(output, found.blocks())
    say_set_aside(found.set_aside, set_aside)
    told |= {"set_aside": set_aside_told(found.set_aside), "pairs": len(found), "threshold": index.threshold}
    told["seconds"] = round(time.perf_counter() - started, 2)
    if as_json:
        siamese = index.model
        texts = found.text_columns()
        columns = found.columns() | (dict(zip(("text_a", "text_b"), texts, strict=True)) if texts else {})
        pairs = {} if output else {"pairs": list(rows_of(columns))}
        answer_json(told | (model_told(siamese) if siamese else {}), **pairs)
        return
    if output is None and len(found):
        show_matches(found, answer.top, with_ids=True)
    say_lost(len(found.cut), len(found.unknown))
    if found.recall is not None:
        say(f"the search was approximate: in a measurement it found {found.recall:.1%} of the matches")
    counts = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in told.items() if isinstance(n, int))
    say(f"{counts}{f' → {output}' if output else ''}; threshold {index.threshold:g}, in {told['seconds']:.1f} s")


class Given(NamedTuple):
    """The usable texts of sources, with lasting ids."""

    ids: list[str]
    texts: list[str]
    places: list[tuple[str, int]]  # source and row of each
    set_aside: "SetAside"
    numbered: list[str]  # names of files whose ids are row numbers

    def traced(self, aside: "SetAside") -> "SetAside":
        """Rows that an index set aside, by source and row instead of position."""
        from textsiam.data.texts import Fault, SetAside

        return SetAside(tuple(Fault(*self.places[fault.row - 1], fault.reason) for fault in aside))


def read_given(sources: Sequence[str], reading: dict[str, Any]) -> Given:
    """The usable texts of all sources; prints which columns were read.

    Ids are those of the id column. Without one they are ``FILE-NAME:ROW``, and for standard input, which has no name, hashes of
    the texts. In a source with an id column, a row without an id is set aside. Repeated ids are left to the index, which sets
    aside a second text with the same id.

    Raises
    ------
    UnreadableInput, BadRows, OSError
        As `read_texts`.
    BadParameter
        If two files of one name would give the same ids.
    """
    from textsiam.data.texts import SetAside

    parts = [_read(source, **reading) for source in sources]
    columns = zip(*parts, strict=True)
    ids, texts, places, aside, numbered = ([one for part in column for one in part] for column in columns)
    if repeated := [name for name, n in Counter(numbered).items() if n > 1]:
        raise typer.BadParameter(
            f"Two files are named {repeated[0]}, so their rows would have the same ids. Rename one, or give --id-column."
        )
    return Given(ids, texts, places, SetAside(tuple(aside)), numbered)


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
    """The table with a fault in each row without an id: a row number could be the id of another row."""
    if id_name is None:
        return table
    from textsiam.data.texts import is_missing

    def records(wanted: Sequence[str]) -> Iterator["Record"]:
        for record in table.records(wanted):
            value = record.values.get(id_name)
            yield record._replace(fault="no id") if not record.fault and (value == "" or is_missing(value)) else record

    return replace(table, records=records)


def _hash(text: str) -> str:
    from textsiam.indexing.storage.ledger import hash_of

    return f"{hash_of(text) % 2**64:016x}"
