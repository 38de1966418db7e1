"""``textsiam index``: texts kept for years, and whether a new one is a duplicate of one that is there."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces import options
from textsiam.interfaces.indexed import Given, read_given
from textsiam.interfaces.tables import check_outputs, rows_of, write_columns
from textsiam.interfaces.terminal import (
    NO,
    answer_json,
    answering,
    check_sources,
    following,
    load_model,
    mapped,
    model_told,
    say,
    say_lost,
    say_renamed,
    say_set_aside,
    set_aside_told,
    show_pairs,
)

if TYPE_CHECKING:
    from textsiam.indexing.index import Index
    from textsiam.matching.matches import Matches
    from textsiam.scoring.siamese import Siamese

index = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Keep texts in an index and ask whether a new one is a duplicate of one that is there: add, search, and care for it.",
)

Place = Annotated[str, typer.Argument(help="The index's folder, or the address of a database: postgresql://…")]
Threshold = Annotated[
    float | None,
    typer.Option(
        callback=options.finite, help="Lowest score of a match. Default: the index's own; for a new index the model's."
    ),
]
Timeout = Annotated[float, typer.Option(min=0, help="Seconds to wait while another process writes.")]
MaxMatches = Annotated[int, typer.Option(min=1, help="Most pairs to find; more is an error, never a silent cut.")]
IdColumn = Annotated[
    str | None, typer.Option(help="Column of ids. Default: id, else FILE-NAME:ROW; for standard input hashes of texts.")
]
KEPT = "What was added stays: run the same command again to go on."


@index.command()
def create(
    place: Place,
    threshold: Threshold = None,
    no_texts: Annotated[
        bool, typer.Option("--no-texts", help="Keep vectors and ids only: no rebuild, and lost vectors stay lost.")
    ] = False,
    stored_as: Annotated[
        str, typer.Option("--stored-as", help="float32, or float16 for half the space, rounded.")
    ] = "float32",
    prompt: options.Prompt = None,
    model: options.Model = None,
    backend: options.BackendName = "auto",
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> None:
    """Make an empty index. `textsiam index add` does it too, with defaults.

    `textsiam index create faq.index --threshold 0.9 --stored-as float16`
    """
    from textsiam.indexing.index import Index
    from textsiam.indexing.store import shown

    with answering():
        siamese = load_model(model, backend, device, dtype)
        made = Index.create(
            place, siamese, threshold=threshold, keep_texts=not no_texts, prompt=prompt, stored_as=stored_as
        )
        if as_json:
            answer_json({"index": shown(place), "threshold": made.threshold, **model_told(siamese)})
        else:
            say(f"made {shown(place)}: {_told_threshold(made, threshold)}")


@index.command()
def add(
    place: Place,
    files: options.Files = None,
    column: options.Column = None,
    id_column: IdColumn = None,
    split: options.SplitName = None,
    threshold: Threshold = None,
    output: options.Output = None,
    top: options.Top = 20,
    max_matches: MaxMatches = 20_000_000,
    timeout: Timeout = 60.0,
    set_aside: options.SetAsideFile = None,
    strict: options.Strict = False,
    format: options.Format = None,  # noqa: A002  the option is --format
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = "utf-8",
    model: options.Model = None,
    backend: options.BackendName = "auto",
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> None:
    """Put texts into the index and show which of them match one that was there before.

    `textsiam index add faq.index questions.csv` makes the index if there is none. Texts need ids that stay theirs: without an id
    column they are FILE:ROW. What is there already with the same text is left as it is, so the same command can be run again.
    """
    with answering(KEPT):
        started = time.perf_counter()
        reading = dict(column=column, id_column=id_column, split=split, strict=strict)
        reading |= dict(format=format, delimiter=delimiter, encoding=encoding)
        given = _read(files, reading, (output, set_aside), as_json=as_json)
        opened = _opened(place, (model, backend, device, dtype), threshold, timeout)
        before = len(opened)
        with following() as progress:
            found = opened.add(
                given.ids, given.texts, max_matches=max_matches, progress=lambda n, total: progress("add", n, total)
            )
        n_new = len(opened) - before
        n_usable = len(given.ids) - len(found.set_aside)
        found = replace(found, set_aside=given.set_aside + given.traced(found.set_aside))
        told = {"texts": len(given.ids), "added": n_new, "there_already": n_usable - n_new}
        if given.numbered and any("another text" in reason for reason in found.set_aside.counts()):
            say(f"ids are {given.numbered[0]}:ROW: if its rows are others than before, rename it or give --id-column")
        _tell(
            opened,
            found,
            told | {"in_index": len(opened)},
            started,
            output=output,
            aside=set_aside,
            top=top,
            as_json=as_json,
        )


@index.command()
def update(
    place: Place,
    files: options.Files = None,
    column: options.Column = None,
    id_column: IdColumn = None,
    split: options.SplitName = None,
    output: options.Output = None,
    top: options.Top = 20,
    max_matches: MaxMatches = 20_000_000,
    timeout: Timeout = 60.0,
    set_aside: options.SetAsideFile = None,
    strict: options.Strict = False,
    format: options.Format = None,  # noqa: A002  the option is --format
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = "utf-8",
    model: options.Model = None,
    backend: options.BackendName = "auto",
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> None:
    """Give ids that are in the index another text, and show what the new texts match.

    `textsiam index update faq.index corrected.csv --id-column id`
    """
    with answering(KEPT):
        started = time.perf_counter()
        reading = dict(column=column, id_column=id_column, split=split, strict=strict)
        reading |= dict(format=format, delimiter=delimiter, encoding=encoding)
        given = _read(files, reading, (output, set_aside), as_json=as_json)
        opened = _opened(place, (model, backend, device, dtype), None, timeout, must_exist=True)
        with following() as progress:
            found = opened.update(
                given.ids, given.texts, max_matches=max_matches, progress=lambda n, total: progress("update", n, total)
            )
        found = replace(found, set_aside=given.set_aside + given.traced(found.set_aside))
        told = {"texts": len(given.ids), "in_index": len(opened)}
        _tell(opened, found, told, started, output=output, aside=set_aside, top=top, as_json=as_json)


@index.command()
def search(
    place: Place,
    texts: Annotated[list[str] | None, typer.Argument(help="The texts to look up; or --file.")] = None,
    file: Annotated[str | None, typer.Option(help="Look up the texts of this file; - is standard input.")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="The k closest, whatever their score.")] = None,
    threshold: Threshold = None,
    exact: Annotated[bool, typer.Option("--exact", help="Search exactly even where the index is very large.")] = False,
    output: options.Output = None,
    top: options.Top = 20,
    max_matches: MaxMatches = 20_000_000,
    column: options.Column = None,
    id_column: options.IdColumn = None,
    format: options.Format = None,  # noqa: A002  the option is --format
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = "utf-8",
    model: options.Model = None,
    backend: options.BackendName = "auto",
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> None:
    """Is this text a duplicate of one in the index? Exit code 0: yes, one reaches the threshold; 1: none does.

    `textsiam index search faq.index "How can I get a new password?"`; with `-k 5` the five closest, duplicates or not.
    """
    from textsiam.data.readers import read_texts
    from textsiam.data.texts import fault_of
    from textsiam.errors import UnreadableInput

    with answering():
        started = time.perf_counter()
        if bool(texts) == bool(file):
            raise typer.BadParameter("Give texts or --file, not both." if texts else "Give a text, or --file.")
        if file:
            reading: dict[str, Any] = dict(
                column=column, id_column=id_column, format=format, delimiter=delimiter, encoding=encoding
            )
            check_outputs(output, inputs=[file], as_json=as_json)
            asked: Any = read_texts(file, **reading)
            say(f"{file}: {mapped(asked.mapping)}")
            say_renamed(asked.renamed)
            say_set_aside(asked.set_aside, None)
        else:
            check_outputs(output, as_json=as_json)
            asked = texts or []
            if fault := next(filter(None, map(fault_of, asked)), ""):
                raise UnreadableInput(f"A text to look up is {fault}. Leave it out.")
        opened = _opened(place, (model, backend, device, dtype), None, 60.0, must_exist=True)
        searcher = "exact" if exact else "auto"
        found = opened.search(asked, threshold=threshold, k=k, searcher=searcher, max_matches=max_matches)
        reach = found.score >= (opened.threshold if threshold is None else threshold)
        n_matched = len(set(found.left[reach].tolist()))
        told = {"texts": len(asked), "with_a_match": n_matched, "recall": found.recall}
        _tell(opened, found, told, started, output=output, top=top, as_json=as_json)
        if not n_matched:
            raise typer.Exit(NO)


@index.command()
def remove(
    place: Place,
    ids: Annotated[list[str], typer.Argument(help="Ids of texts to take out.")],
    timeout: Timeout = 60.0,
    as_json: options.AsJson = False,
) -> None:
    """Take texts out. Where one was its cluster's keeper, the best of the others follows. Exit code 1: no id was there.

    `textsiam index remove faq.index questions.csv:17 questions.csv:18`
    """
    from textsiam.indexing.index import Index

    with answering():
        with Index.open(place, timeout_s=timeout) as opened:
            n, left = opened.remove(ids), len(opened)
        if as_json:
            answer_json({"removed": n, "unknown": len(set(ids)) - n, "in_index": left})
        else:
            say(f"removed {n:,} of {len(set(ids)):,} texts; {left:,} are left")
        if not n:
            raise typer.Exit(NO)


def _read(
    files: list[str] | None, reading: dict[str, Any], outputs: tuple[Path | None, ...], *, as_json: bool
) -> Given:
    if not files:
        raise typer.BadParameter("Give files, or - for standard input.")
    check_sources(files)
    check_outputs(*outputs, inputs=files, as_json=as_json)
    return read_given(files, reading)


def _opened(
    place: str,
    how: tuple[str | None, str, str | None, str | None],
    threshold: float | None,
    timeout: float,
    *,
    must_exist: bool = False,
) -> "Index":
    """The index with its model, in the precision that it was made with; a new one if there is none and there may be."""
    from textsiam.errors import IndexNotFound
    from textsiam.indexing.index import Index
    from textsiam.indexing.store import shown

    model, backend, device, dtype = how
    try:
        with Index.open(place, timeout_s=timeout) as there:
            settings = there.settings
    except IndexNotFound:
        if must_exist:
            raise
        siamese = load_model(model, backend, device, dtype)
        made = Index.create(place, siamese, threshold=threshold)
        say(f"there was no index at {shown(place)}: made one, {_told_threshold(made, threshold)}")
        return made
    if threshold is not None and threshold != settings["threshold"]:
        raise typer.BadParameter(
            f"The index at {shown(place)} has the threshold {settings['threshold']:g}, for good. Leave --threshold out."
        )
    siamese = load_model(model, backend, device, dtype or settings["precision"])
    return Index.open(place, siamese, timeout_s=timeout)


def _told_threshold(made: "Index", given: float | None) -> str:
    siamese: Siamese | None = made.model
    if given is not None or siamese is None or siamese.threshold is None:
        return f"threshold {made.threshold:g} (given by you)"
    return f"threshold {siamese.threshold} (the model's own)"


def _tell(
    opened: "Index",
    found: "Matches",
    told: dict[str, Any],
    started: float,
    *,
    output: Path | None,
    top: int,
    as_json: bool,
    aside: Path | None = None,
) -> None:
    """The matches, and what was done."""
    if output:
        write_columns(output, found.blocks())
    say_set_aside(found.set_aside, aside)
    told |= {"set_aside": set_aside_told(found.set_aside), "pairs": len(found), "threshold": opened.threshold}
    told["seconds"] = round(time.perf_counter() - started, 2)
    if as_json:
        siamese = opened.model
        answer_json(
            told | (model_told(siamese) if siamese else {}),
            **({} if output else {"pairs": list(rows_of(found.columns()))}),
        )
        return
    if output is None and len(found):
        show_pairs(found.top(top), len(found))
    say_lost(len(found.cut), len(found.unknown))
    if found.recall is not None:
        say(f"the search was approximate: it finds {found.recall:.1%} of the matches where that was measured")
    counts = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in told.items() if isinstance(n, int))
    say(f"{counts}{f' → {output}' if output else ''}; threshold {opened.threshold:g}, in {told['seconds']:.1f} s")
