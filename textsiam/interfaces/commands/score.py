"""``textsiam score``: similarity, probability and decision of pairs."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from textsiam.data.writers import rows_of
from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.options import (
    ModelOptions,
    PairOptions,
    RowOptions,
    check_outputs,
    check_sources,
    spread,
)
from textsiam.interfaces.shell.terminal import (
    answer_json,
    answering,
    counted,
    following,
    mapped,
    model_told,
    say,
    say_lost,
    say_set_aside,
    say_thresholds,
    set_aside_told,
    show_scores,
    while_reading,
    write_columns,
)

if TYPE_CHECKING:
    from textsiam.data.pairs import Pairs
    from textsiam.data.texts import SetAside
    from textsiam.scoring.siamese import Siamese


@spread
def score(
    files: options.Files = None,
    *,
    pair: Annotated[tuple[str, str] | None, Option("--pair", help="Two texts to compare, instead of files.")] = None,
    columns: PairOptions,
    output: options.Output = None,
    top: options.Top = 20,
    prompt: options.Prompt = None,
    rows: RowOptions,
    model: ModelOptions,
    as_json: options.AsJson = False,
) -> None:
    """Score pairs of texts: similarity, probability of meaning the same, and decision.

    `textsiam score pairs.csv -o scored.csv` scores a file with columns such as question1 and question2.

    `textsiam score --pair "How do I pay?" "How can I pay?"` compares two texts.
    """
    with answering():
        started = time.perf_counter()
        if bool(files) == bool(pair):
            raise typer.BadParameter("Give either files of pairs or --pair FIRST SECOND.")
        check_sources(files or [])
        check_outputs(output, rows.set_aside, inputs=files or [], as_json=as_json)
        parts, aside = _read(files, pair, rows.reading(columns))
        say_set_aside(aside, rows.set_aside)
        siamese = model.load()
        scored, n_cut, n_unknown = _scored(siamese, parts, prompt)
        if output:
            write_columns(output, [scored])
        summary = {"pairs": len(scored["row"]), "set_aside": set_aside_told(aside), "truncated": n_cut}
        summary |= {"with_unknown_characters": n_unknown}
        summary |= {"seconds": round(time.perf_counter() - started, 2), **model_told(siamese)}
        if as_json:
            answer_json(summary, **({} if output else {"pairs": list(rows_of(scored))}))
            return
        if output is None:
            show_scores(scored, top)
        say_lost(n_cut, n_unknown)
        say_thresholds(siamese)
        told = f"scored {counted(len(scored['row']), 'pair', 'pairs')} in {summary['seconds']:.1f} s"
        say(told + (f" → {output}" if output else ""))


def _read(
    files: list[str] | None, pair: tuple[str, str] | None, reading: dict[str, Any]
) -> "tuple[dict[str, Pairs], SetAside]":
    """The pairs of each source, and all rows that were set aside."""
    from textsiam.data.readers import read_pairs
    from textsiam.data.texts import SetAside

    if pair:
        one = read_pairs([pair], labelled=False, strict=reading["strict"])
        return {"pair": one}, one.set_aside
    with while_reading(*files or []):
        parts = {name: read_pairs(name, labelled=False, **reading) for name in files or []}
    for part in parts.values():
        say(f"columns: {mapped(part.mapping)}")
    return parts, sum((part.set_aside for part in parts.values()), SetAside())


def _scored(siamese: "Siamese", parts: "dict[str, Pairs]", prompt: str | None) -> tuple[dict[str, Any], int, int]:
    """The columns of the answer, the number of texts that were cut, and the number with unknown characters."""
    firsts = [text for part in parts.values() for text in part.first]
    seconds = [text for part in parts.values() for text in part.second]
    with following("encode") as progress:
        judged = siamese.judgement(firsts, seconds, prompt=prompt, progress=progress)
    probability, decision, reason = judged.columns()
    source = {"source": [name for name, part in parts.items() for _ in range(len(part))]} if len(parts) > 1 else {}
    columns = source | {
        "row": [row for part in parts.values() for row in part.rows],
        "first": firsts,
        "second": seconds,
        "score": judged.score,
        "log_odds": [None] * len(judged.score) if judged.log_odds is None else judged.log_odds,
        "probability": probability if judged.probability is None else judged.probability.astype("float32"),
        "decision": decision,
        "reason": reason,
    }
    # Tokenising again takes a hundredth of the time of encoding, and a judgement does not count texts.
    return columns, *siamese.encoder.count_lost([*firsts, *seconds], prompt=prompt)
