"""``textsiam index search``: whether a text is a duplicate of one in the index."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces import options
from textsiam.interfaces.command_index import index
from textsiam.interfaces.groups import ModelOptions, RowOptions, TextOptions, spread
from textsiam.interfaces.index_terminal import AnswerOptions, Place, Threshold, Timeout, opened, tell
from textsiam.interfaces.progress import following, name_of, while_reading
from textsiam.interfaces.tables import check_outputs
from textsiam.interfaces.terminal import NO, answering, mapped, say, say_renamed

if TYPE_CHECKING:
    from textsiam.data.texts import Texts

__all__ = ["index"]  # with this command and those of command_index


@index.command()
@spread
def search(
    place: Place,
    texts: Annotated[list[str] | None, typer.Argument(help="The texts to look up; or --file.")] = None,
    *,
    file: Annotated[str | None, typer.Option(help="Look up the texts of this file; - is standard input.")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="The k closest, whatever their score.")] = None,
    threshold: Threshold = None,
    exact: Annotated[bool, typer.Option("--exact", help="Search exactly even where the index is very large.")] = False,
    answer: AnswerOptions,
    timeout: Timeout = 60.0,
    columns: TextOptions,
    rows: RowOptions,
    model: ModelOptions,
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
        check_outputs(answer.output, rows.set_aside, inputs=[file] if file else [], as_json=as_json)
        asked: Any = _read(file, rows.reading(columns)) if file else _checked(texts or [])
        with opened(place, model, None, timeout, must_exist=True) as there:
            with following() as progress:
                found = there.search(
                    asked,
                    threshold=threshold,
                    k=k,
                    searcher="exact" if exact else "auto",
                    max_matches=answer.max_matches,
                    progress=lambda n, total: progress("encode", n, total),
                )
            reach = found.score >= (there.threshold if threshold is None else threshold)
            n_matched = len(set(found.left[reach].tolist()))
            if file:
                found = replace(found, set_aside=asked.set_aside)
            told = {"texts": len(asked), "with_a_match": n_matched, "recall": found.recall}
            tell(there, found, told, started, answer, set_aside=rows.set_aside, as_json=as_json)
        if not n_matched:
            raise typer.Exit(NO)


def _read(file: str, reading: dict[str, Any]) -> "Texts":
    from textsiam.data.readers import read_texts

    with while_reading(file):
        asked = read_texts(file, **reading)
    say(f"{name_of(file)}: {mapped(asked.mapping)}")
    say_renamed(asked.renamed)
    return asked


def _checked(texts: list[str]) -> list[str]:
    """The texts; refuses what is none, for that it matches nothing would be no answer."""
    from textsiam.data.texts import fault_of
    from textsiam.errors import UnreadableInput

    if fault := next(filter(None, map(fault_of, texts)), ""):
        raise UnreadableInput(f"A text to look up is {fault}. Leave it out.")
    return texts
