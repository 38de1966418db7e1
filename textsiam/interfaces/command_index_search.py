"""``textsiam index search``: whether a text is a duplicate of one in the index."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces import options
from textsiam.interfaces.command_index import index
from textsiam.interfaces.index_terminal import MaxMatches, Place, Threshold, Timeout, opened, tell
from textsiam.interfaces.tables import check_outputs
from textsiam.interfaces.terminal import NO, answering, following, mapped, say, say_renamed

if TYPE_CHECKING:
    from textsiam.data.texts import Texts

__all__ = ["index"]  # with this command and those of command_index


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
    timeout: Timeout = 60.0,
    column: options.Column = None,
    id_column: options.IdColumn = None,
    split: options.SplitName = None,
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
    """Is this text a duplicate of one in the index? Exit code 0: yes, one reaches the threshold; 1: none does.

    `textsiam index search faq.index "How can I get a new password?"`; with `-k 5` the five closest, duplicates or not;
    with `--file questions.csv` all of a file.
    """
    with answering():
        started = time.perf_counter()
        if bool(texts) == bool(file):
            raise typer.BadParameter("Give texts or --file, not both." if texts else "Give a text, or --file.")
        check_outputs(output, set_aside, inputs=[file] if file else [], as_json=as_json)
        asked: Any = texts
        reading = dict(column=column, id_column=id_column, split=split, strict=strict)
        if file:
            asked = _read(file, **reading, format=format, delimiter=delimiter, encoding=encoding)
        else:
            _check(texts or [])
        with opened(place, (model, backend, device, dtype), None, timeout, must_exist=True) as there:
            with following() as progress:
                found = there.search(
                    asked,
                    threshold=threshold,
                    k=k,
                    searcher="exact" if exact else "auto",
                    max_matches=max_matches,
                    progress=lambda n, total: progress("encode", n, total),
                )
            reach = found.score >= (there.threshold if threshold is None else threshold)
            n_matched = len(set(found.left[reach].tolist()))
            if file:
                found = replace(found, set_aside=asked.set_aside)
            told = {"texts": len(asked), "with_a_match": n_matched, "recall": found.recall}
            tell(there, found, told, started, output=output, aside=set_aside, top=top, as_json=as_json)
        if not n_matched:
            raise typer.Exit(NO)


def _read(file: str, **reading: Any) -> "Texts":
    from textsiam.data.readers import read_texts

    asked = read_texts(file, **reading)
    say(f"{'standard input' if file == '-' else file}: {mapped(asked.mapping)}")
    say_renamed(asked.renamed)
    return asked


def _check(texts: list[str]) -> None:
    """Refuse what is no text: that it matches nothing would be no answer."""
    from textsiam.data.texts import fault_of
    from textsiam.errors import UnreadableInput

    if fault := next(filter(None, map(fault_of, texts)), ""):
        raise UnreadableInput(f"A text to look up is {fault}. Leave it out.")
