"""``textsiam index create|add|update|remove|search``: keep texts in an index, and find duplicates of new ones among them."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.index_options import (
    AnswerOptions,
    Given,
    IndexTextOptions,
    Place,
    Threshold,
    Timeout,
    opened,
    read_given,
    tell,
    threshold_told,
)
from textsiam.interfaces.shell.options import (
    ModelOptions,
    RowOptions,
    TextOptions,
    check_outputs,
    check_sources,
    spread,
)
from textsiam.interfaces.shell.terminal import (
    NO,
    answer_json,
    answering,
    following,
    mapped,
    model_told,
    name_of,
    say,
    say_renamed,
    while_reading,
)

if TYPE_CHECKING:
    from textsiam.data.texts import Texts
    from textsiam.indexing.index import Index
    from textsiam.matching.matches import Matches


KEPT = "What was written is kept: run the same command again to go on."


@spread
def create(
    place: Place,
    *,
    threshold: Threshold = None,
    no_texts: Annotated[
        bool, Option("--no-texts", help="Keep only vectors and ids: then nothing can be rebuilt or repaired.")
    ] = False,
    stored_as: Annotated[
        str, Option("--stored-as", help="float32, or float16: half the space, with rounding.")
    ] = "float32",
    prompt: options.Prompt = None,
    model: ModelOptions,
    as_json: options.AsJson = False,
) -> None:
    """Create an empty index. `textsiam index add` also does this, with default options.

    `textsiam index create faq.index --threshold 0.9 --stored-as float16`
    """
    from textsiam.indexing.index import Index
    from textsiam.indexing.storage.store import shown

    with answering():
        siamese = model.load()
        made = Index.create(
            place, siamese, threshold=threshold, keep_texts=not no_texts, prompt=prompt, stored_as=stored_as
        )
        if as_json:
            answer_json({"index": shown(place), "threshold": made.threshold, **model_told(siamese)})
        else:
            say(f"created {shown(place)}: {threshold_told(made, threshold)}")


@dataclass(frozen=True, kw_only=True)
class WritingOptions:
    """How to write texts to the index, and where their matches go."""

    answer: AnswerOptions
    timeout: Timeout = 60.0
    rows: RowOptions
    model: ModelOptions
    as_json: options.AsJson = False


@spread
def add(
    place: Place,
    files: options.Files = None,
    *,
    columns: IndexTextOptions,
    threshold: Threshold = None,
    writing: WritingOptions,
) -> None:
    """Add texts to the index and show which of them match a text that was there before.

    `textsiam index add faq.index questions.csv` creates the index if there is none. Every text needs a lasting id: without an id
    column it is FILE:ROW. An id that is there with the same text stays as it is, so you can run the same command again.
    """
    _write("add", place, files, columns, threshold, writing)


@spread
def update(place: Place, files: options.Files = None, *, columns: IndexTextOptions, writing: WritingOptions) -> None:
    """Replace the texts of ids that are in the index, and show what the new texts match.

    `textsiam index update faq.index corrected.csv --id-column id`
    """
    _write("update", place, files, columns, None, writing)


def remove(
    place: Place,
    ids: Annotated[list[str], Argument(help="Ids of the texts to remove.")],
    timeout: Timeout = 60.0,
    as_json: options.AsJson = False,
) -> None:
    """Remove texts. If one was the keeper of its cluster, the best of the others takes its place. Exit code 1: no id was there.

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
    place: Place,
    files: options.Files,
    columns: IndexTextOptions,
    threshold: Threshold,
    writing: WritingOptions,
) -> None:
    """Add, or update."""
    answer, rows = writing.answer, writing.rows
    with answering(KEPT):
        started = time.perf_counter()
        if not files:
            raise typer.BadParameter("Give files, or - for standard input.")
        check_sources(files)
        check_outputs(answer.output, rows.set_aside, inputs=files, as_json=writing.as_json)
        given = read_given(files, rows.reading(columns))
        with opened(place, writing.model, threshold, writing.timeout, must_exist=verb == "update") as there:
            found = _written(there, verb, given, strict=rows.strict, max_matches=answer.max_matches)
            n, n_usable = found.added or 0, len(given.ids) - len(found.set_aside)
            found = replace(found, set_aside=given.set_aside + given.traced(found.set_aside))
            counts = {"added": n, "there_already": n_usable - n} if verb == "add" else {"updated": n}
            told = {"texts": len(given.ids), **counts, "in_index": len(there)}
            if given.numbered and any("another text" in reason for reason in found.set_aside.counts()):
                say(
                    f"ids are {given.numbered[0]}:ROW: if the rows of the file have changed, rename it or give --id-column"
                )
            tell(there, found, told, started, answer, set_aside=rows.set_aside, as_json=writing.as_json)


def _written(there: "Index", verb: str, given: Given, **how: Any) -> "Matches":
    from textsiam.errors import BadRows

    with following(verb) as progress:
        try:
            found: Matches = getattr(there, verb)(given.ids, given.texts, progress=progress, **how)
        except BadRows as error:
            given.traced(error.set_aside).refuse()
            raise
    return found


@spread
def search(
    place: Place,
    texts: Annotated[list[str] | None, Argument(help="The texts to search for; or --file.")] = None,
    *,
    file: Annotated[str | None, Option(help="Search for the texts of this file; - is standard input.")] = None,
    k: Annotated[int | None, Option("-k", min=1, help="The k closest texts, with any score.")] = None,
    threshold: Threshold = None,
    exact: Annotated[bool, Option("--exact", help="Search exactly, even in a very large index.")] = False,
    answer: AnswerOptions,
    timeout: Timeout = 60.0,
    columns: TextOptions,
    rows: RowOptions,
    model: ModelOptions,
    as_json: options.AsJson = False,
) -> None:
    """Find the duplicates of a text in the index. Exit code 0: at least one text reaches the threshold; 1: none does.

    `textsiam index search faq.index "How can I get a new password?"` searches for one text, with `-k 5` for the five closest
    texts, duplicates or not, and with `--file questions.csv` for all texts of a file.
    """
    with answering():
        started = time.perf_counter()
        if bool(texts) == bool(file):
            raise typer.BadParameter("Give texts or --file, not both." if texts else "Give a text, or --file.")
        check_outputs(answer.output, rows.set_aside, inputs=[file] if file else [], as_json=as_json)
        asked: Any = _read(file, rows.reading(columns)) if file else _checked(texts or [])
        with opened(place, model, None, timeout, must_exist=True) as there:
            how: dict[str, Any] = dict(threshold=threshold, k=k, searcher="exact" if exact else "auto")
            with following("encode") as progress:
                found = there.search(asked, max_matches=answer.max_matches, progress=progress, **how)
            reach = found.matching
            if found.by_score or k is not None:
                reach &= found.score >= (there.threshold if threshold is None else threshold)
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
    """The texts; refuses unusable ones, for which "no match" would be a wrong answer."""
    from textsiam.data.texts import fault_of
    from textsiam.errors import UnreadableInput

    if fault := next(filter(None, map(fault_of, texts)), ""):
        raise UnreadableInput(f"A text to search for is {fault}. Leave it out.")
    return texts
