"""``textsiam evaluate``: labelled or graded pairs in; how good the model is on them, and how sure that is, out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.data.files import check_writable
from textsiam.errors import UnreadableInput
from textsiam.interfaces import options
from textsiam.interfaces.tables import check_outputs
from textsiam.interfaces.terminal import (
    answer_json,
    answering,
    following,
    load_model,
    mapped,
    model_told,
    say,
    say_set_aside,
)

if TYPE_CHECKING:
    from textsiam.evaluation.evaluation import Evaluation


def evaluate(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] PAIRS",
            help="Labelled or graded pairs (csv, tsv, jsonl, parquet, a data set; - is stdin), a model before it if you like.",
        ),
    ],
    model: options.Model = None,
    baseline: Annotated[
        str | None, typer.Option(help="Another model folder or Hub name, to compare with on the same rows.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a page with figures, slices and worst pairs to this .html; opens offline."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all of it to this .json.")] = None,
    first: options.First = None,
    second: options.Second = None,
    label: options.Label = None,
    score: options.Score = None,
    split: options.SplitName = None,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap draws behind the intervals.")] = 1_000,
    worst: Annotated[
        int, typer.Option(min=0, help="How many pairs that score too high, and too low, to explain.")
    ] = 20,
    seed: options.Seed = 0,
    set_aside: options.SetAsideFile = None,
    strict: options.Strict = False,
    format: options.Format = None,  # noqa: A002  the option is --format
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = "utf-8",
    backend: options.BackendName = "auto",
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure a model on labelled or graded pairs it has not seen, at its own thresholds, with 95 % intervals.

    `textsiam evaluate parts/test.csv --model my-model --report report.html` writes one page that opens offline.

    `textsiam evaluate my-model parts/test.csv` names the model first.
    """
    from textsiam.evaluation.evaluation import evaluate as measure

    with answering():
        source, model = _source(sources, model)
        _check(source, output, report, set_aside, as_json=as_json)
        pairs = _read(
            source,
            set_aside,
            dict(first=first, second=second, label=label, score=score, split=split, strict=strict)
            | dict(format=format, delimiter=delimiter, encoding=encoding),
        )
        siamese = load_model(model, backend, device, dtype)
        other = None if baseline is None else load_model(baseline, backend, device, dtype)
        on = "standard input" if source == "-" else Path(source).name + (f" ({split})" if split else "")
        how: dict[str, Any] = dict(on=on, seed=seed, n_draws=draws, n_worst=worst)
        with following() as progress:
            evaluation = measure(siamese, pairs, baseline=other, progress=progress, **how)
        _write(evaluation, output, report)
        if as_json:
            answer_json(model_told(siamese) | {"report": report and str(report)}, evaluation=evaluation.to_json())
        else:
            typer.echo(str(evaluation))
            say(f"{len(evaluation.suspects):,} labels are suspect" + ("" if report or output else ": see --report"))
        for target in (output, report):
            if target:
                say(f"→ {target}")


def _source(sources: list[str], model: str | None) -> tuple[str, str | None]:
    """The pairs and the model that one or two arguments and --model name."""
    if len(sources) > 2:  # noqa: PLR2004
        raise typer.BadParameter(f"Give the pairs, or a model and the pairs, but {len(sources)} arguments came.")
    if len(sources) == 1:
        return sources[0], model
    if model is not None:
        raise typer.BadParameter(f"Two models came: {sources[0]} and --model {model}. Name one of them.")
    return sources[1], sources[0]


def _check(source: str, output: Path | None, report: Path | None, set_aside: Path | None, *, as_json: bool) -> None:
    """Refuse, before the slow work, outputs that cannot be written, or that would destroy an input or each other."""
    targets = {".json": output, ".html": report}
    named = {ending: target for ending, target in targets.items() if target is not None}
    for ending, target in named.items():
        if target.suffix.lower() not in {ending, ".htm" if ending == ".html" else ending}:
            raise UnreadableInput(f"textsiam writes {target.name} as {ending[1:]}. End its name in {ending}.")
        if source != "-" and target.resolve() == Path(source).resolve():
            raise UnreadableInput(f"{target} is also the input of this command. Name another file.")
        check_writable(target)
    check_outputs(set_aside, inputs=[source, *map(str, named.values())], as_json=as_json)
    if report is not None:
        from textsiam.evaluation.report import check_installed

        check_installed()


def _read(source: str, set_aside: Path | None, reading: dict[str, Any]) -> Any:
    from textsiam.data.readers import read_pairs

    pairs = read_pairs(source, **reading)
    say(f"columns: {mapped(pairs.mapping)}")
    say_set_aside(pairs.set_aside, set_aside)
    return pairs


def _write(evaluation: "Evaluation", output: Path | None, report: Path | None) -> None:
    if output is not None:
        evaluation.save(output)
    if report is not None:
        evaluation.report(report)
