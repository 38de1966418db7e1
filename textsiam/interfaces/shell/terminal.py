"""What a command says and writes: notes and progress on standard error, tables on standard output, errors without a traceback.

Columns go to files, complete or not at all: csv, jsonl or parquet by the file's ending; to standard output as csv.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from textsiam.data.files import replacing
from textsiam.data.writers import WRITERS, Columns, Write, csv_rows
from textsiam.errors import TextsiamError

if TYPE_CHECKING:
    from textsiam.data.texts import Fault, SetAside
    from textsiam.matching.matches import Clusters, Matches
    from textsiam.scoring.siamese import Siamese

# Columns of numbers, which are aligned to the right and never wrapped: counts, scores and shares.
_COUNTS = {"rows", "pairs"}
_SCORES = {"score", "probability", "weakest", "accept at", "reject below"}
_SHARES = {"precision", "found", "recall", "review"}
INTERRUPTED, BAD_INPUT, NO = 130, 2, 1

WRITTEN: list[Path] = []  # files that this command has written


def say(text: str) -> None:
    """Print one line on standard error; if that is full or closed, the line is lost and the command goes on."""
    with suppress(OSError):
        typer.echo(text, err=True)


def mapped(mapping: dict[str, str]) -> str:
    """Which column has which role, in one line."""
    return ", ".join(f"{what} ← {column}" for what, column in mapping.items())


def say_set_aside(aside: "SetAside", target: Path | None) -> None:
    """Report how many rows were set aside and why; write them to `target` if there is one."""
    if aside:
        say(str(aside))
        if any(reason.startswith("undecodable") for reason in aside.counts()):
            say("if the file is not UTF-8, name its encoding, such as --encoding latin-1 or --encoding cp1252")
    if target is not None:
        write_columns(target, [aside.columns()])


def say_renamed(renamed: "Sequence[Fault]") -> None:
    """Report how many ids repeat an earlier one."""
    if renamed:
        few = ", ".join(str(fault.row) for fault in renamed[:5])
        say(f"{len(renamed):,} ids repeat an earlier one and get their row number too, as in a1#7 (rows {few})")


def say_lost(n_cut: int, n_unknown: int) -> None:
    """Report how many texts were cut, and how many have unknown characters."""
    if n_cut:
        say(f"{counted(n_cut, 'text was', 'texts were')} longer than the model's maximum and cut")
    if n_unknown:
        held = counted(n_unknown, "text holds", "texts hold")
        say(f"{held} characters unknown to the model, which it cannot tell from one another")


def counted(n: int, one: str, several: str) -> str:
    """A number and what it counts: ``1 pair``, ``2 pairs``."""
    return f"{n:,} {one if n == 1 else several}"


def say_thresholds(siamese: "Siamese") -> None:
    """Print the thresholds of the model."""
    say(f"accept at or above {siamese.threshold or 'no threshold: never certified'}")
    say(f"reject below {siamese.reject_threshold or 'no threshold: never certified'}")


def answer_json(summary: dict[str, Any], **tables: Any) -> None:
    """Print one JSON object on standard output: the summary, then each table."""
    typer.echo(json.dumps({"summary": summary} | tables, ensure_ascii=False))


def set_aside_told(aside: "SetAside") -> dict[str, Any]:
    """What a JSON answer says of the rows that were set aside."""
    return {"rows": len(aside), "reasons": aside.counts()}


def model_told(siamese: "Siamese") -> dict[str, Any]:
    """What a JSON answer says of the model."""
    return {
        "model": str(siamese.encoder.folder.path),
        "backend": siamese.encoder.backend_name,
        "precision": siamese.encoder.precision,
        "similarity": siamese.similarity,
        "decides_by": siamese.scale,
        "vetoes": list(siamese.vetoes),
    }


@contextmanager
def answering(after_interrupt: str | Callable[[], str | None] | None = None) -> Iterator[None]:
    """Turn errors that users can cause into one line and an exit code; other errors show their traceback.

    After Ctrl-C, print `after_interrupt`, or what it returns; by default the names of the files that are complete.
    """
    WRITTEN.clear()
    try:
        yield
    except KeyboardInterrupt:
        left = after_interrupt() if callable(after_interrupt) else after_interrupt
        say(f"\ntextsiam: interrupted. {left or written()}")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader (head, less) has gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        say(f"textsiam: {told_of(error)}")
        raise typer.Exit(BAD_INPUT) from None
    except UnicodeEncodeError as error:
        say(
            f"textsiam: The encoding of standard output, {error.encoding}, has no {error.object[error.start]!r}. "
            "Write to a file, or set PYTHONIOENCODING=utf-8."
        )
        raise typer.Exit(BAD_INPUT) from None
    except (TextsiamError, ValueError, FloatingPointError) as error:
        say(f"textsiam: {error}")
        raise typer.Exit(BAD_INPUT) from None


def show_matches(matches: "Matches", top: int, *, with_ids: bool = False, n_found: int | None = None) -> None:
    """Print the closest pairs as a table; where the model decided, what it accepts first, then what is for review, and why."""
    import numpy as np

    if matches.by_score or matches.decision is None:
        show_pairs(matches.top(top), n_found or len(matches), with_ids=with_ids)
        return
    matching = matches.matching
    for name, places in (("duplicates", np.flatnonzero(matching)), ("pairs for review", np.flatnonzero(~matching))):
        show_pairs(matches.take(places).top(top), n_found or len(places), with_ids=with_ids, name=name)


def show_pairs(matches: "Matches", n_found: int, *, with_ids: bool = False, name: str = "pairs") -> None:
    """Print the pairs as a table, closest first; `with_ids` adds decisions and the ids of the right texts. No pair, no table.

    The last columns have the reason why a pair was not accepted, and the numbers, negations and names that only one text of a
    pair has: a small encoder hardly sees them.
    """
    from textsiam.scoring.explaining.differences import differences

    if not len(matches):
        return
    texts = matches.text_columns()
    left, right = texts or matches.id_columns()
    columns: list[tuple[str, Iterable[Any]]] = [("score", [f"{score:.4f}" for score in matches.score])]
    if matches.probability is not None:
        columns.append(("probability", [f"{probability:.2f}" for probability in matches.probability]))
    if with_ids and matches.decision is not None:
        columns.append(("decision", map(str, matches.decision)))
    columns.append(("text", map(_short, left)))
    if with_ids:
        columns.append(("id", [_short(name, 40) for name in matches.id_columns()[1]]))
    columns.append(("text", map(_short, right)))
    differ = [str(differences(str(a), str(b))) for a, b in zip(left, right, strict=True)] if texts else []
    if matches.reason is not None and matches.reason.any():
        columns.append(("reason", [_short(told, 60) for told in matches.reason]))
        differ = ["" if reason else told for reason, told in zip(matches.reason, differ, strict=True)]
    if any(differ):
        columns.append(("differ", [_short(told, 60) for told in differ]))
    names, values = zip(*columns, strict=True)
    print_table(names, zip(*values, strict=True), title=f"{len(matches):,} closest of {n_found:,} {name}")


def show_clusters(clusters: "Clusters", top: int) -> None:
    """Print the largest clusters: number of rows, weakest score to the keeper, the keeper and some of the others."""
    from rich.text import Text

    groups = sorted(clusters.groups(), key=len, reverse=True)
    if not groups:
        return
    names = clusters.texts if clusters.texts is not None else clusters.columns()["id"]
    shown = []
    for rows in groups[:top]:
        texts = [_short(names[row]).plain for row in rows[:5]]
        more = f"\n… {len(rows) - 5:,} more" if len(rows) > 5 else ""  # noqa: PLR2004
        shown.append((str(len(rows)), f"{clusters.weakest(rows):.4f}", Text("\n  ".join(texts) + more)))
    title = f"{len(shown):,} largest of {len(groups):,} clusters"
    print_table(("rows", "weakest", "keeper and the rows that match it"), shown, title=title)


def show_scores(columns: dict[str, Any], top: int) -> None:
    """Print the first scored pairs as a table."""
    names = ["score", "probability", "decision", "first", "second", *(["reason"] if any(columns["reason"]) else [])]
    rows = []
    for score, probability, decision, *texts in zip(*(columns[name][:top] for name in names), strict=True):
        told = "" if probability is None else f"{probability:.2f}"
        rows.append((f"{score:.4f}", told, str(decision or ""), *(_short(text or "") for text in texts)))
    print_table(names, rows)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print a table on standard output; characters that its encoding lacks are shown as escapes."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE, title=title, title_justify="left", title_style="bold")
    for name in columns:
        is_number = name in _COUNTS | _SCORES | _SHARES
        shown.add_column(name, justify="right" if is_number else "left", no_wrap=is_number or name == "decision")
    for row in rows:
        shown.add_row(*row)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    Console(width=None if sys.stdout.isatty() else 140).print(shown)


def _short(text: object, n: int = 160) -> Any:
    from rich.text import Text

    line = " ".join(str(text).split())
    # As Text, because brackets in a question are no markup.
    return Text(line if len(line) <= n else line[: n - 1] + "…")


@contextmanager
def while_reading(*sources: str) -> Iterator[None]:
    """Show that files are being read, until the block ends; only on a terminal.

    Shows nothing while a user types the rows, or while `datasets` reads, which shows its own progress.
    """
    is_typed = "-" in sources and sys.stdin.isatty()
    if not sys.stderr.isatty() or is_typed or not all(one == "-" or Path(one).is_file() for one in sources):
        yield
        return
    from rich.console import Console
    from rich.markup import escape

    what = name_of(sources[0]) if len(sources) == 1 else f"{len(sources):,} files"
    with Console(stderr=True).status(escape(f"reading {what}")):
        yield


def name_of(source: str) -> str:
    """The name of a source in messages."""
    return "standard input" if source == "-" else source


@contextmanager
def following(stage: str) -> Iterator[Callable[[int, int], None]]:
    """As `following_all`, for one stage."""
    with following_all() as progress:
        yield partial(progress, stage)


@contextmanager
def following_all() -> Iterator[Callable[[str, int, int], None]]:
    """A function that shows the progress of each stage, its speed and the time left; without a terminal it does nothing."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    shown = Progress(
        TextColumn("{task.description:8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    stages: dict[str, TaskID] = {}
    with shown:

        def follow(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = shown.add_task(stage, total=total or None, rate="")
            task = shown.tasks[stages[stage]]
            shown.update(stages[stage], completed=done, rate=f"{task.speed:,.0f}/s" if task.speed else "")

        yield follow


def write_columns(target: Path, blocks: Iterable[Columns]) -> None:
    """Write blocks of columns to a file or standard output."""
    with writing(target) as write:
        for columns in blocks:
            write(columns)


@contextmanager
def writing(target: Path) -> Iterator[Write]:
    """A function that appends columns to `target`, which appears when the block ends without error; ``-`` is standard output."""
    if str(target) == "-":
        with csv_rows(sys.stdout) as write:
            yield write
        return
    with replacing(target) as temporary, WRITERS.get(target.suffix.lower(), WRITERS[".csv"])(temporary) as write:
        yield write
    WRITTEN.append(target)


def written() -> str:
    """What to say of the files that an interrupted command has written."""
    there = [str(target) for target in WRITTEN if target.exists()]
    return f"{' and '.join(there)} had been written, nothing else." if there else "Nothing was written."


def told_of(error: OSError) -> str:
    """The error of the file system in one line, with what to do."""
    what = error.filename2 or error.filename  # of a copy, the second one could not be written
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        what = what or "the output"
        return f"No space left to write {what}. Nothing half-written remains: free some space, or write elsewhere."
    if error.errno == errno.EFBIG:
        return (
            f"{what or 'The output'} would be larger than the file system, or ulimit -f, allows. "
            "Nothing half-written remains: raise the limit, or write elsewhere."
        )
    told = f"{error.strerror}: {what}" if error.strerror and what else str(error)
    needs_a_right = error.errno in {errno.EACCES, errno.EPERM}
    return f"{told}. Get the permission, or choose another place." if needs_a_right else told
