"""Progress of long work, on standard error if that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path


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
