"""``textsiam index``: texts kept for years, and what each new one matches among them: created, added to, changed."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces import options
from textsiam.interfaces.index_terminal import (
    How,
    IdColumn,
    MaxMatches,
    Place,
    Threshold,
    Timeout,
    opened,
    tell,
    threshold_told,
)
from textsiam.interfaces.indexed import Given, read_given
from textsiam.interfaces.tables import check_outputs
from textsiam.interfaces.terminal import (
    NO,
    answer_json,
    answering,
    check_sources,
    following,
    load_model,
    model_told,
    say,
)

if TYPE_CHECKING:
    from textsiam.indexing.index import Index
    from textsiam.matching.matches import Matches

index = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Keep texts in an index and ask whether a new one is a duplicate of one that is there: add, search, and care for it.",
)

KEPT = "What was written stays: run the same command again to go on."


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
            say(f"made {shown(place)}: {threshold_told(made, threshold)}")


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
    reading = dict(column=column, id_column=id_column, split=split, strict=strict)
    reading |= dict(format=format, delimiter=delimiter, encoding=encoding)
    _write(
        "add",
        place,
        files,
        reading,
        (model, backend, device, dtype),
        threshold=threshold,
        timeout=timeout,
        max_matches=max_matches,
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
    reading = dict(column=column, id_column=id_column, split=split, strict=strict)
    reading |= dict(format=format, delimiter=delimiter, encoding=encoding)
    _write(
        "update",
        place,
        files,
        reading,
        (model, backend, device, dtype),
        threshold=None,
        timeout=timeout,
        max_matches=max_matches,
        output=output,
        aside=set_aside,
        top=top,
        as_json=as_json,
    )


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
        with Index.open(place, timeout_s=timeout) as there:
            unknown = [name for name in dict.fromkeys(ids) if name not in there]
            n, left = there.remove(ids), len(there)
        if as_json:
            answer_json({"removed": n, "unknown": unknown, "in_index": left})
        else:
            told = f"; not in it: {', '.join(unknown)}" if unknown else ""
            say(f"removed {n:,} of {len(set(ids)):,} texts{told}; {left:,} are left")
        if not n:
            raise typer.Exit(NO)


def _write(
    verb: str,
    place: str,
    files: list[str] | None,
    reading: dict[str, Any],
    how: How,
    *,
    threshold: float | None,
    timeout: float,
    max_matches: int,
    output: Path | None,
    aside: Path | None,
    **shown: Any,
) -> None:
    """Add, or update."""
    with answering(KEPT):
        started = time.perf_counter()
        if not files:
            raise typer.BadParameter("Give files, or - for standard input.")
        check_sources(files)
        check_outputs(output, aside, inputs=files, as_json=shown["as_json"])
        given = read_given(files, reading)
        with opened(place, how, threshold, timeout, must_exist=verb == "update") as there:
            found = _written(there, verb, given, strict=reading["strict"], max_matches=max_matches)
            n, n_usable = found.added or 0, len(given.ids) - len(found.set_aside)
            found = replace(found, set_aside=given.set_aside + given.traced(found.set_aside))
            counts = {"added": n, "there_already": n_usable - n} if verb == "add" else {"updated": n}
            told = {"texts": len(given.ids), **counts, "in_index": len(there)}
            if given.numbered and any("another text" in reason for reason in found.set_aside.counts()):
                say(
                    f"ids are {given.numbered[0]}:ROW: if its rows are others than before, rename it or give --id-column"
                )
            tell(there, found, told, started, output=output, aside=aside, **shown)


def _written(there: "Index", verb: str, given: Given, **how: Any) -> "Matches":
    from textsiam.errors import BadRows

    with following() as progress:
        try:
            found: Matches = getattr(there, verb)(
                given.ids, given.texts, progress=lambda n, total: progress(verb, n, total), **how
            )
        except BadRows as error:
            given.traced(error.set_aside).refuse()
            raise
    return found
