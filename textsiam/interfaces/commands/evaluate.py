"""``textsiam evaluate``: measures a model on labelled or graded pairs, with intervals."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from textsiam.data.files import check_writable
from textsiam.errors import UnreadableInput
from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.labelled_pairs import read_with
from textsiam.interfaces.shell.options import ComputeOptions, GradedOptions, RowOptions, check_outputs, spread
from textsiam.interfaces.shell.terminal import answer_json, answering, following_all, model_told, say


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Files to write the evaluation to."""

    report: Annotated[
        Path | None, Option(help="Write a page with figures, slices and worst pairs to this .html; it opens offline.")
    ] = None
    output: Annotated[Path | None, Option("--output", "-o", help="Write the whole evaluation to this .json.")] = None

    def named(self) -> dict[str, Path]:
        """Each file that was named, by the ending that it must have."""
        targets = {".json": self.output, ".html": self.report}
        return {ending: target for ending, target in targets.items() if target is not None}

    def check(self, source: str, set_aside: Path | None, *, as_json: bool) -> None:
        """Refuse, before the slow work, outputs that cannot be written, or that would destroy an input or each other."""
        named = self.named()
        for ending, target in named.items():
            if target.suffix.lower() not in {ending, ".htm" if ending == ".html" else ending}:
                raise UnreadableInput(f"textsiam writes {target.name} as {ending[1:]}. End its name in {ending}.")
            if source != "-" and target.resolve() == Path(source).resolve():
                raise UnreadableInput(f"{target} is also the input of this command. Name another file.")
            check_writable(target)
        check_outputs(set_aside, inputs=[source, *map(str, named.values())], as_json=as_json)
        if self.report is not None:
            from textsiam.evaluation.report import check_installed

            check_installed()


@dataclass(frozen=True, kw_only=True)
class MeasuringOptions:
    """How many draws are behind the intervals, and how many pairs to explain: arguments of `textsiam.evaluate`."""

    n_draws: Annotated[int, Option("--draws", min=1, help="Number of bootstrap draws for the intervals.")] = 1_000
    n_worst: Annotated[
        int,
        Option("--worst", min=0, help="How many pairs with too high a score, and with too low a score, to explain."),
    ] = 20
    seed: options.Seed = 0


@spread
def evaluate(
    sources: Annotated[
        list[str],
        Argument(
            metavar="[MODEL] PAIRS",
            help="Labelled or graded pairs (csv, tsv, jsonl, parquet, a data set; - is stdin), optionally after a model.",
        ),
    ],
    *,
    model: options.Model = None,
    baseline: Annotated[
        str | None, Option(help="Another model folder or Hub name, to compare on the same rows.")
    ] = None,
    files: FileOptions,
    columns: GradedOptions,
    measuring: MeasuringOptions,
    rows: RowOptions,
    computing: ComputeOptions,
    as_json: options.AsJson = False,
) -> None:
    """Measure a model on pairs it has not seen, labelled or graded, at its own thresholds, with 95 % intervals.

    `textsiam evaluate parts/test.csv --model my-model --report report.html` writes one page that opens offline.

    `textsiam evaluate my-model parts/test.csv` names the model first.
    """
    from textsiam.data.readers import read_pairs
    from textsiam.evaluation.evaluation import evaluate as measure

    with answering():
        source, model = _source(sources, model)
        files.check(source, rows.set_aside, as_json=as_json)
        pairs = read_with(read_pairs, source, rows.reading(columns), rows.set_aside)
        siamese = computing.load(model)
        other = None if baseline is None else computing.load(baseline)
        on = "standard input" if source == "-" else Path(source).name + (f" ({columns.split})" if columns.split else "")
        with following_all() as progress:
            evaluation = measure(siamese, pairs, baseline=other, on=on, progress=progress, **vars(measuring))
        if files.output is not None:
            evaluation.save(files.output)
        if files.report is not None:
            evaluation.report(files.report)
        if as_json:
            answer_json(
                model_told(siamese) | {"report": files.report and str(files.report)}, evaluation=evaluation.to_json()
            )
        else:
            typer.echo(str(evaluation))
            say(f"{len(evaluation.suspects):,} labels are suspect" + ("" if files.named() else ": see --report"))
        for target in files.named().values():
            say(f"→ {target}")


def _source(sources: list[str], model: str | None) -> tuple[str, str | None]:
    """The pairs and the model, from one or two arguments and --model."""
    if len(sources) > 2:  # noqa: PLR2004
        raise typer.BadParameter(f"Give the pairs, or a model and the pairs, not {len(sources)} arguments.")
    if len(sources) == 1:
        return sources[0], model
    if model is not None:
        raise typer.BadParameter(f"There are two models: {sources[0]} and --model {model}. Name one of them.")
    return sources[1], sources[0]
