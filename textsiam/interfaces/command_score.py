"""``textsiam score``: pairs in; similarity, probability and decision out."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces import options
from textsiam.interfaces.tables import check_outputs, rows_of, write_columns
from textsiam.interfaces.terminal import (
    answering,
    following,
    load_model,
    mapped,
    model_told,
    say,
    say_set_aside,
    show_scores,
)

if TYPE_CHECKING:
    from textsiam.data.pairs import Pairs
    from textsiam.scoring.siamese import Siamese


def score(
    files: options.Files = None,
    pair: Annotated[tuple[str, str] | None, typer.Option("--pair", help="Two texts to compare, not files.")] = None,
    first: Annotated[
        str | None, typer.Option(help="Column of first texts. Default: sentence1, question1, text_a, anchor, …")
    ] = None,
    second: Annotated[str | None, typer.Option(help="Column of second texts.")] = None,
    split: options.SplitName = None,
    output: options.Output = None,
    top: options.Top = 20,
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
    """Score pairs of texts: similarity, probability of meaning the same, and decision.

    `textsiam score pairs.csv -o scored.csv` scores a file with columns such as question1 and question2.

    `textsiam score --pair "How do I pay?" "How can I pay?"` compares two texts.
    """
    from textsiam.data.readers import read_pairs
    from textsiam.data.texts import SetAside

    with answering():
        started = time.perf_counter()
        check_outputs(output, set_aside)
        if bool(files) == bool(pair):
            raise typer.BadParameter("Give either files of pairs or --pair FIRST SECOND.")
        reading = dict(first=first, second=second, split=split, format=format, delimiter=delimiter, encoding=encoding)
        sources: list[tuple[Any, dict[str, Any]]] = [(name, reading) for name in files] if files else [([pair], {})]
        parts = [read_pairs(source, strict=strict, **how) for source, how in sources]
        for part in parts:
            say(f"columns: {mapped(part.mapping)}")
        aside = sum((part.set_aside for part in parts), SetAside())
        say_set_aside(aside, set_aside)
        siamese = load_model(model, backend, device, dtype)
        columns = _scored(siamese, parts)
        write_columns(output, lambda: columns)
        seconds = round(time.perf_counter() - started, 2)
        if as_json:
            summary = {"pairs": len(columns["row"]), "set_aside": len(aside), "seconds": seconds, **model_told(siamese)}
            answer = {"summary": summary} | ({} if output else {"pairs": list(rows_of(columns))})
            typer.echo(json.dumps(answer, ensure_ascii=False))
            return
        if output is None:
            show_scores(columns, top)
        say(f"accept at or above {siamese.threshold or 'no threshold: never certified'}")
        say(f"reject below {siamese.reject_threshold or 'no threshold: never certified'}")
        say(f"scored {len(columns['row']):,} pairs in {seconds:.1f} s" + (f" → {output}" if output else ""))


def _scored(siamese: "Siamese", parts: "list[Pairs]") -> dict[str, Any]:
    from textsiam.scoring.thresholds import decisions

    firsts = [text for part in parts for text in part.first]
    seconds = [text for part in parts for text in part.second]
    with following() as progress:
        scores = siamese.score(firsts, seconds, progress=lambda done, total: progress("encode", done, total))
    nothing = [None] * len(scores)
    decided = decisions(scores, siamese.threshold, siamese.reject_threshold) if siamese.threshold else nothing
    return {
        "row": [row for part in parts for row in part.rows],
        "first": firsts,
        "second": seconds,
        "score": scores,
        "probability": siamese.calibrated(scores).astype("float32") if siamese.calibrator else nothing,
        "decision": decided,
    }
