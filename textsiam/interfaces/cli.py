"""The command line: registers every verb. Answers go to standard output; progress and reports go to standard error.

Exit codes: 0 done; 1 the answer is no, or the work is incomplete; 2 bad usage or input; 130 interrupted.
"""

import atexit
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer import Option

from textsiam.interfaces.commands import audit, index, index_care, judge
from textsiam.interfaces.commands.calibrate import calibrate
from textsiam.interfaces.commands.certify import certify
from textsiam.interfaces.commands.counterfactuals import counterfactuals
from textsiam.interfaces.commands.duplicates import duplicates
from textsiam.interfaces.commands.encode import encode
from textsiam.interfaces.commands.evaluate import evaluate
from textsiam.interfaces.commands.explain import explain
from textsiam.interfaces.commands.score import score
from textsiam.interfaces.commands.serve import serve
from textsiam.interfaces.commands.split import split
from textsiam.interfaces.commands.train import train
from textsiam.interfaces.shell.terminal import BAD_INPUT, say

VERBS = (duplicates, score, encode, split, train, calibrate, certify, evaluate, explain, counterfactuals, serve)
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
    "judge": ("Fit the judge, which decides by reading both texts.", (judge.fit,)),
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
def textsiam(show: Annotated[bool, Option("--version", help="Show the version and stop.")] = False) -> None:
    """Find duplicate questions, score paraphrases, encode sentences, fine-tune on your pairs: decisions with evidence."""
    if show:
        from textsiam import __version__

        typer.echo(f"textsiam {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and end the process."""
    _open_missing_streams()
    try:
        app()
    except SystemExit as end:
        leave(end.code)
    except OSError as error:  # help or version cannot be written
        say(f"textsiam: {error}")
        leave(BAD_INPUT)


def _open_missing_streams() -> None:
    """Open standard streams that are missing, as in a service or a cron job; what is written there is lost."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their numbers
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  open until the process ends


def leave(code: object) -> NoReturn:
    """End the process. Without torch, skip Python's own cleanup, which takes a tenth of a second.

    Another Ctrl-C ends the process at once, without a traceback of the cleanup.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    at_once = "torch" not in sys.modules and isinstance(code, int | None)
    if at_once:
        atexit._run_exitfuncs()  # noqa: SLF001  removes temporary files, writes logs
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except OSError as error:  # the reader has gone, or the disk is full
            setattr(sys, name, None)  # else Python tries again, and ends with a code of its own
            if name == "stdout" and not isinstance(error, BrokenPipeError):
                say(f"textsiam: {error}")
                code = code or BAD_INPUT
    if at_once and isinstance(code, int | None):
        os._exit(code or 0)
    raise SystemExit(code)
