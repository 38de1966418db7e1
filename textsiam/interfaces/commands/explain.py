"""``textsiam explain``: shows what each word adds to a pair's score, the differences that matter, and words that clash."""

import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.labelled_pairs import read_with
from textsiam.interfaces.shell.options import ModelOptions, PairOptions, RowOptions, check_outputs, spread
from textsiam.interfaces.shell.terminal import (
    answer_json,
    answering,
    following,
    model_told,
    say,
    say_thresholds,
    set_aside_told,
)

if TYPE_CHECKING:
    from textsiam.data.pairs import Pairs
    from textsiam.scoring.explaining.erasure import Word
    from textsiam.scoring.explaining.explanation import Explanation
    from textsiam.scoring.siamese import Siamese


@spread
def explain(
    first_text: Annotated[str | None, Argument(help="A text.")] = None,
    second_text: Annotated[str | None, Argument(help="The text to compare it with.")] = None,
    *,
    pairs: Annotated[
        str | None, Option(help="A file or data set of pairs, instead of two texts; - is standard input.")
    ] = None,
    columns: PairOptions,
    top: Annotated[int, Option(min=1, help="How many pairs of the file to explain, from the first one.")] = 20,
    html: Annotated[
        Path | None, Option("--html", help="Write the explanations to this .html page, which opens offline.")
    ] = None,
    prompt: options.Prompt = None,
    rows: RowOptions,
    model: ModelOptions,
    as_json: options.AsJson = False,
) -> None:
    """Explain a pair's score: what each word adds, what only one text has, and which words clash or moved.

    `textsiam explain "How do I pay?" "How can I pay?"` leaves out each word in turn: + raises the score, - lowers it.

    `textsiam explain --pairs pairs.csv --top 50 --html why.html` explains the first pairs of a file.
    """
    from textsiam.data.readers import read_pairs
    from textsiam.scoring.explaining.explanation import explain as explanations

    with answering():
        texts = [text for text in (first_text, second_text) if text is not None]
        if len(texts) != (0 if pairs else 2):
            raise typer.BadParameter("Give either two texts or --pairs FILE.")
        _check(html, rows.set_aside, pairs, as_json=as_json)
        reading = rows.reading(columns) | {"labelled": False}
        read = read_with(read_pairs, pairs, reading, rows.set_aside) if pairs else _pair(*texts)
        siamese = model.load()
        with following("encode") as progress:
            told = explanations(siamese, read.first[:top], read.second[:top], prompt=prompt, progress=progress)
        if html:
            _write_page(html, told)
        if as_json:
            _answer(siamese, read, told)
            return
        if not html:
            _show(told)
        say_thresholds(siamese)
        more = f" of {len(read):,}; --top changes it" if len(told) < len(read) else ""
        say(f"explained {len(told):,} {'pairs' if len(told) > 1 else 'pair'}{more}" + (f" → {html}" if html else ""))


def _check(html: Path | None, set_aside: Path | None, pairs: str | None, *, as_json: bool) -> None:
    """Refuse, before the slow work, outputs that cannot be written or would destroy the input or each other."""
    from textsiam.data.files import check_writable

    check_outputs(set_aside, inputs=[pairs] if pairs else [], as_json=as_json)
    if html is None:
        return
    if str(html) == "-" or html.resolve() in {Path(name).resolve() for name in (pairs, set_aside) if name}:
        raise typer.BadParameter(f"--html needs a file of its own, but {html} has another use. Name another file.")
    check_writable(html)


def _pair(first: str, second: str) -> "Pairs":
    from textsiam.data.pairs import Pairs, fault_of_pair
    from textsiam.errors import UnreadableInput

    if fault := fault_of_pair(first, second):
        raise UnreadableInput(f"Nothing can be explained: {fault}. Give two texts with something to read.")
    return Pairs([first], [second])


def _answer(siamese: "Siamese", read: "Pairs", told: "list[Explanation]") -> None:
    summary = {"pairs": len(read), "explained": len(told), "set_aside": set_aside_told(read.set_aside)}
    cuts = {"accept_at": siamese.threshold, "reject_below": siamese.reject_threshold}
    summary |= {name: cut and cut.value for name, cut in cuts.items()} | model_told(siamese)
    rows = list(read.rows)
    answer_json(summary, explanations=[{"row": row} | one.to_json() for row, one in zip(rows, told, strict=False)])


def _show(told: "list[Explanation]") -> None:
    """Words in colour on a terminal that shows it, else with numbers."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
    is_coloured = console.is_terminal and console.color_system is not None and not console.no_color
    for place, one in enumerate(told):
        if place:
            typer.echo()
        if is_coloured:
            _show_coloured(console, one)
        else:
            typer.echo(str(one))


def _show_coloured(console: Any, one: "Explanation") -> None:
    from rich.text import Text

    from textsiam.scoring.explaining.explanation import visible

    console.print(Text(one.verdict, style="bold"))
    for words in (one.words_first, one.words_second):
        line = Text("  ")
        for word in words:
            line.append(visible(word.text), style=_style(word, one.largest()))
            line.append(" ")
        console.print(line)
    if one.differing:
        console.print(Text(f"  {one.differing}"))


def _style(word: "Word", largest: float) -> str:
    """Green raises the score, red lowers it; bold is above half of the largest contribution, below a tenth has no style."""
    share = word.contribution / (largest or 1.0)
    if not abs(share) > 0.1:  # noqa: PLR2004  NaN too
        return ""
    return ("bold " if abs(share) > 0.5 else "") + ("green" if share > 0 else "red underline")  # noqa: PLR2004


def _write_page(target: Path, told: "list[Explanation]") -> None:
    """Write a page of explanations, complete or not at all; the page loads nothing and runs no script."""
    from textsiam.data.files import replacing

    title = escape("Why these scores: textsiam explain")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="viewport" content="width=device-width"><title>{title}</title></head>\n'
        '<body style="font-family:system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em">\n'
        f"<h1>{title}</h1>\n<p>Green words raise the score of a pair, red words lower it: each word was left out and the pair "
        "scored again. Point at a word to see its contribution. Below them: what only one text has, words that "
        "clash (same place, other meaning), and words that moved.</p>\n"
    )
    with replacing(target) as temporary:
        temporary.write_text(page + "\n".join(one.html() for one in told) + "\n</body></html>\n", encoding="utf-8")
