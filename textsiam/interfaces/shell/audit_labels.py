"""Labelling at the terminal: one pair at a time, one key per answer, every answer saved at once."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from textsiam.interfaces.shell.terminal import say

if TYPE_CHECKING:
    from textsiam.auditing.audit import Audit

KEYS = {"y": 1, "n": 0, "s": "skip"}
ASKED = "the same? y(es) n(o) s(kip) u(ndo) q(uit): "


def label_at_terminal(folder: Path, labeller: str, *, training: bool = False, show_score: bool = False) -> int:
    """Ask for labels until no pair is left or the labeller quits; return how many were given.

    The folder is read before every pair and written after every answer. So no answer is lost, and another labeller can work on
    the same folder. Pairs to train on come after those of the random sample; with `training` only they are asked.
    """
    from textsiam.auditing.audit import Audit
    from textsiam.auditing.sampling import AUDIT, TRAINING

    given: list[int] = []
    purposes = [TRAINING] if training else [AUDIT, TRAINING]
    while True:
        audit = Audit.open(folder)
        purpose = next((one for one in purposes if audit.unlabelled(labeller, one)), None)
        if purpose is None:
            say(f"{labeller} has labelled every pair")
            return len(given)
        number = audit.unlabelled(labeller, purpose)[0]
        _show(audit, labeller, number, show_score=show_score)
        key = _key()
        if key == "q":
            left = sum(len(audit.unlabelled(labeller, one)) for one in purposes)
            say(f"{len(given):,} labels given now, {left:,} pairs left: run the same command to go on")
            return len(given)
        if key == "u":
            if not given:
                say("nothing to undo")
                continue
            audit.label({given.pop(): None}, labeller).save(folder)
            continue
        audit.label({number: KEYS[key]}, labeller).save(folder)
        given.append(number)


def _show(audit: "Audit", labeller: str, number: int, *, show_score: bool) -> None:
    from textsiam.auditing.sampling import TRAINING

    purpose = audit.pairs.purpose(number)
    done = audit.n_labelled(labeller, purpose)
    of = "  (to train on)" if purpose == TRAINING else ""
    score = f"  score {audit.pairs.score[number - 1]:.4f}" if show_score else ""
    say(f"\n{done + 1:,} of {done + len(audit.unlabelled(labeller, purpose)):,}{of}{score}")
    for name, text in (("A", audit.pairs.text_a[number - 1]), ("B", audit.pairs.text_b[number - 1])):
        say(f"  {name}  {_visible(text)}")


def _visible(text: str) -> str:
    """The text with its line breaks indented, and a mark for each character that would move the cursor or colour the screen."""
    kept = "".join(mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return kept.replace("\n", "\n     ")


def _key() -> str:
    """One of y, n, s, u, q: a key at a terminal, elsewhere the start of a line. The end of input is q."""
    while True:
        typed = _typed()
        if typed is None:
            return "q"
        if (key := typed.strip().lower()[:1]) in {*KEYS, "u", "q"}:
            return key
        say("press y, n, s, u or q")


def _typed() -> str | None:
    sys.stderr.write(ASKED)
    sys.stderr.flush()
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        say(line.strip() or "")
        return line or None
    mark = typer.getchar()
    say(mark if mark.isprintable() else "")
    return None if mark in {"", "\x04"} else mark
