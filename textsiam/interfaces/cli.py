"""The command line: subcommands are the verbs. Answers go to standard output; progress and what was done to stderr.

Exit codes: 0 done; 1 the answer is no; 2 bad usage or input; 130 interrupted.
"""

import atexit
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from textsiam.interfaces.commands import audit, index, index_care
from textsiam.interfaces.commands.calibrate import calibrate
from textsiam.interfaces.commands.certify import certify
from textsiam.interfaces.commands.duplicates import duplicates
from textsiam.interfaces.commands.encode import encode
from textsiam.interfaces.commands.evaluate import evaluate
from textsiam.interfaces.commands.explain import explain
from textsiam.interfaces.commands.score import score
from textsiam.interfaces.commands.serve import serve
from textsiam.interfaces.commands.split import split
from textsiam.interfaces.commands.train import train
from textsiam.interfaces.shell.terminal import BAD_INPUT, say

VERBS = (duplicates, score, encode, split, train, calibrate, certify, evaluate, explain, serve)
GROUPS = {
    "audit": (
        "Certify a threshold for a join from a random sample of its own pairs: plan, start, label, finish.",
        (audit.plan, audit.start, audit.label, audit.status, audit.finish),
    ),
    "index": (
        "Keep texts in an index and ask whether a new text is a duplicate of one of them.",
        (
            *(index.create, index.add, index.update, index.remove, index.search),
            *(index_care.info, index_care.clusters, index_care.export),
            *(index_care.compact, index_care.verify, index_care.rebuild),
        ),
    ),
}

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")
for verb in VERBS:
    app.command()(verb)
for name, (told, verbs) in GROUPS.items():
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help=told)
    for verb in verbs:
        group.command()(verb)
    app.add_typer(group, name=name)


@app.callback(invoke_without_command=True)
def textsiam(show: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    """Find duplicate questions, score paraphrases, encode sentences, fine-tune on your pairs: decisions with evidence."""
    if show:
        from textsiam import __version__

        typer.echo(f"textsiam {__version__}")
        raise typer.Exit


def main() -> None:
    """The console script."""
    _open_missing_streams()
    try:
        app()
    except SystemExit as end:
        leave(end.code)
    except OSError as error:  # help or version that nobody can read
        say(f"textsiam: {error}")
        leave(BAD_INPUT)


def _open_missing_streams() -> None:
    """A service or a cron job may start a process without standard streams: what is said there is lost, and no more."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their numbers
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  for as long as the process


def leave(code: object) -> NoReturn:
    """End the process; without torch at once, for taking the libraries apart piece by piece takes a tenth of a second.

    All is said and done: another Ctrl-C ends it at once, instead of showing where Python was while it cleared up.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if "torch" in sys.modules or not isinstance(code, int | None):
        raise SystemExit(code)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        raise SystemExit(code) from None  # a reader that has gone: Python's own end knows what to do
    atexit._run_exitfuncs()  # noqa: SLF001  temporary files are removed, logs written
    os._exit(code or 0)
