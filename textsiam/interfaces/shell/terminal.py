"""What people see: notes on standard error, tables on standard output, errors without a traceback."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from textsiam.interfaces.shell.outputs import WRITTEN, told_of, write_columns, written

if TYPE_CHECKING:
    from textsiam.data.texts import Fault, SetAside
    from textsiam.matching.matches import Clusters, Matches
    from textsiam.scoring.siamese import Siamese

# Columns of numbers, which stand to the right and are never broken.
_NUMBERS = {
    "score",
    "probability",
    "weakest",
    "rows",
    "pairs",
    "precision",
    "accept at",
    "found",
    "recall",
    "reject below",
    "review",
}
INTERRUPTED, BAD_INPUT, NO = 130, 2, 1


def say(text: str) -> None:
    """One line on standard error; lost where that is full or closed, which is no reason to fail."""
    with suppress(OSError):
        typer.echo(text, err=True)


def mapped(mapping: dict[str, str]) -> str:
    """Which column became what, in one line."""
    return ", ".join(f"{what} ← {column}" for what, column in mapping.items())


def say_set_aside(aside: "SetAside", target: Path | None) -> None:
    """How many rows were set aside and why; all of them to `target` if there is one."""
    if aside:
        say(str(aside))
        if any(reason.startswith("undecodable") for reason in aside.counts()):
            say("if the file is not UTF-8, name its encoding, such as --encoding latin-1 or --encoding cp1252")
    if target is not None:
        write_columns(target, [aside.columns()])


def say_renamed(renamed: "Sequence[Fault]") -> None:
    """How many ids came before."""
    if renamed:
        few = ", ".join(str(fault.row) for fault in renamed[:5])
        say(f"{len(renamed):,} ids came before and carry their row number now, as in a1#7 (rows {few})")


def say_lost(n_cut: int, n_unknown: int) -> None:
    """What the encoder could not read of the texts."""
    if n_cut:
        say(f"{counted(n_cut, 'text was', 'texts were')} longer than the model's maximum and cut")
    if n_unknown:
        held = counted(n_unknown, "text holds", "texts hold")
        say(f"{held} characters unknown to the model, which it cannot tell from one another")


def counted(n: int, one: str, several: str) -> str:
    """A number and what it counts: ``1 pair``, ``2 pairs``."""
    return f"{n:,} {one if n == 1 else several}"


def say_thresholds(siamese: "Siamese") -> None:
    """Where the model accepts and rejects."""
    say(f"accept at or above {siamese.threshold or 'no threshold: never certified'}")
    say(f"reject below {siamese.reject_threshold or 'no threshold: never certified'}")


def answer_json(summary: dict[str, Any], **tables: Any) -> None:
    """One JSON object on standard output: the summary, then each table that was not written to a file."""
    typer.echo(json.dumps({"summary": summary} | tables, ensure_ascii=False))


def check_sources(sources: "Sequence[str]") -> None:
    """Refuse a source named twice: its rows would all be duplicates of themselves, or standard input empty."""
    places = [source if source == "-" or not Path(source).exists() else Path(source).resolve() for source in sources]
    repeated = next((source for place, source in enumerate(sources) if places[place] in places[:place]), None)
    if repeated is not None:
        raise typer.BadParameter(f"{repeated} was given twice. Give each source once; --against is for another set.")


def check_linkage(linkage: str) -> None:
    """Refuse an unknown linkage before the slow work.

    Raises
    ------
    ValueError
        If there is no such linkage.
    """
    from textsiam.matching.matches import LINKAGES

    if linkage not in LINKAGES:
        raise ValueError(f"There is no linkage {linkage!r}. Use one of {', '.join(LINKAGES)}.")


def set_aside_told(aside: "SetAside") -> dict[str, Any]:
    """What a JSON answer says of the rows set aside."""
    return {"rows": len(aside), "reasons": aside.counts()}


def model_told(siamese: "Siamese") -> dict[str, Any]:
    """What a JSON answer says of the model."""
    return {
        "model": str(siamese.encoder.folder.path),
        "backend": siamese.encoder.backend_name,
        "precision": siamese.encoder.precision,
        "similarity": siamese.similarity,
    }


@contextmanager
def answering(after_interrupt: str | Callable[[], str | None] | None = None) -> Iterator[None]:
    """Turn what users can cause into one clear line and an exit code; let everything else show its traceback.

    `after_interrupt` says what an interruption left, or is asked for it; else the files that were finished are named.
    """
    WRITTEN.clear()
    try:
        yield
    except KeyboardInterrupt:
        left = after_interrupt() if callable(after_interrupt) else after_interrupt
        say(f"\ntextsiam: interrupted. {left or written()}")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader (head, less) has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        say(f"textsiam: {told_of(error)}")
        raise typer.Exit(BAD_INPUT) from None
    except UnicodeEncodeError as error:
        say(
            f"textsiam: Standard output is {error.encoding} here, which has no {error.object[error.start]!r}. "
            "Write to a file, or set PYTHONIOENCODING=utf-8."
        )
        raise typer.Exit(BAD_INPUT) from None
    except (ValueError, ImportError, RuntimeError, FloatingPointError) as error:
        from textsiam.errors import TextsiamError

        if not isinstance(error, (TextsiamError, ValueError, FloatingPointError)):
            raise
        say(f"textsiam: {error}")
        raise typer.Exit(BAD_INPUT) from None


def show_pairs(matches: "Matches", n_found: int, *, with_ids: bool = False) -> None:
    """The pairs as a table, closest first; with decisions and the right rows' ids where they answer for an index.

    No pair, no table.
    """
    if not len(matches):
        return
    texts = matches.text_columns()
    left, right = texts or matches.id_columns()
    has_probability = matches.probability is not None
    names = matches.id_columns()[1] if with_ids else []
    decisions = matches.decision if with_ids else None
    differ = _differences(left, right) if texts else [""] * len(matches)
    shown = table(
        "score",
        *(["probability"] if has_probability else []),
        *(["decision"] if decisions is not None else []),
        "text",
        *(["id"] if with_ids else []),
        "text",
        *(["differ"] if any(differ) else []),
        title=f"{len(matches):,} closest of {n_found:,} pairs",
    )
    for place, (a, b) in enumerate(zip(left, right, strict=True)):
        probability = [f"{matches.probability[place]:.2f}"] if matches.probability is not None else []
        told = [_short(differ[place], 60)] if any(differ) else []
        decision = [str(decisions[place])] if decisions is not None else []
        name = [_short(names[place], 40)] if with_ids else []
        shown.add_row(f"{matches.score[place]:.4f}", *probability, *decision, _short(a), *name, _short(b), *told)
    print_table(shown)


def _differences(left: Sequence[Any], right: Sequence[Any]) -> list[str]:
    """For each pair the numbers, negations and names that only one of its texts has: what a small encoder hardly sees."""
    from textsiam.scoring.explaining.differences import differences

    return [str(differences(str(a), str(b))) for a, b in zip(left, right, strict=True)]


def show_clusters(clusters: "Clusters", top: int) -> None:
    """The largest clusters: keeper, the others with their score to it, the weakest link."""
    from rich.text import Text

    groups = sorted(clusters.groups(), key=len, reverse=True)
    if not groups:
        return
    shown = table(
        "rows",
        "weakest",
        "keeper and the rows that match it",
        title=f"{min(top, len(groups)):,} largest of {len(groups):,} clusters",
    )
    names = clusters.texts if clusters.texts is not None else clusters.columns()["id"]
    for rows in groups[:top]:
        texts = [_short(names[row]).plain for row in rows[:5]]
        more = f"\n… {len(rows) - 5:,} more" if len(rows) > 5 else ""  # noqa: PLR2004
        shown.add_row(str(len(rows)), f"{clusters.weakest(rows):.4f}", Text("\n  ".join(texts) + more))
    print_table(shown)


def show_scores(columns: dict[str, Any], top: int) -> None:
    """The first scored pairs as a table."""
    names = ("score", "probability", "decision", "first", "second")
    shown = table(*names)
    for values in list(zip(*(columns[name] for name in names), strict=True))[:top]:
        score, probability, decision, first, second = values
        told = "" if probability is None else f"{probability:.2f}"
        shown.add_row(f"{score:.4f}", told, str(decision or ""), _short(first), _short(second))
    print_table(shown)


def table(*columns: str, title: str | None = None) -> Any:
    """An empty table with these columns; numbers to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE, title=title, title_justify="left", title_style="bold")
    for name in columns:
        number = name in _NUMBERS
        made.add_column(name, justify="right" if number else "left", no_wrap=number or name == "decision")
    return made


def _short(text: object, n: int = 160) -> Any:
    from rich.text import Text

    line = " ".join(str(text).split())
    return Text(line if len(line) <= n else line[: n - 1] + "…")  # as Text: brackets in a question are no markup


def print_table(shown: Any) -> None:
    """The table on standard output; what its encoding lacks is shown as an escape, for people read it and no program."""
    from rich.console import Console

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")

    Console(width=None if sys.stdout.isatty() else 140).print(shown)
