"""``textsiam split``: labelled pairs in; parts that share no text and no chain of positives out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces import options
from textsiam.interfaces.tables import WRITERS, write_columns
from textsiam.interfaces.terminal import answer_json, answering, mapped, say, say_set_aside, set_aside_told

if TYPE_CHECKING:
    from textsiam.data.splitting import Examples, Split


def split(
    source: Annotated[str, typer.Argument(help="Pairs or triplets: csv, tsv, jsonl, parquet, a data set; - is stdin.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the parts; it must not hold them yet.")],
    first: options.First = None,
    second: options.Second = None,
    label: options.Label = None,
    score: options.Score = None,
    split: options.SplitName = None,
    shares: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of the rows for train, calibration and test.")
    ] = (0.8, 0.1, 0.1),
    folds: Annotated[int, typer.Option(min=0, help="Write so many folds for cross-validation instead.")] = 0,
    seed: options.Seed = 0,
    link_score: options.LinkScore = None,
    ending: Annotated[str, typer.Option("--as", help="Format of the parts: csv, jsonl or parquet.")] = "csv",
    set_aside: options.SetAsideFile = None,
    strict: options.Strict = False,
    format: options.Format = None,  # noqa: A002  the option is --format
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = "utf-8",
    as_json: options.AsJson = False,
) -> None:
    """Split labelled pairs into train, calibration and test without leaks.

    No text, no text equal but for case and spaces, and no chain of positives stands in two parts.

    `textsiam split pairs.csv -o parts` writes parts/train.csv, parts/calibration.csv and parts/test.csv.
    """
    from textsiam.data.readers import read_examples
    from textsiam.data.splitting import folds as make_folds
    from textsiam.data.splitting import split as make_split

    with answering():
        if f".{ending}" not in WRITERS:
            raise typer.BadParameter(f"There is no format {ending}. Use {', '.join(name[1:] for name in WRITERS)}.")
        reading = dict(split=split, strict=strict, format=format, delimiter=delimiter, encoding=encoding)
        columns = dict(first=first, second=second, label=label, score=score)
        pairs = read_examples(
            source, **columns, **{name: value for name, value in reading.items() if value is not None}
        )
        say(f"columns: {mapped(pairs.mapping)}")
        say_set_aside(pairs.set_aside, set_aside)
        summary: dict[str, Any] = {"rows": len(pairs), "set_aside": set_aside_told(pairs.set_aside)}
        if folds:
            made = make_folds(pairs, folds, seed=seed, link_score=link_score)
            parts = {
                f"{name}_{k}": part
                for k, both in enumerate(made, 1)
                for name, part in zip(("train", "test"), both, strict=True)
            }
            summary |= {"parts": {name: {"rows": len(part)} for name, part in parts.items()}}
        else:
            found: Split = make_split(pairs, seed=seed, shares=shares, link_score=link_score)
            parts = {"train": found.train, "calibration": found.calibration, "test": found.test}
            summary |= found.report
            say(str(found))
        written = _write(output, parts, ending)
        if as_json:
            answer_json(summary | {"files": written})
        for name in written:
            say(f"→ {name}")


def _write(folder: Path, parts: "dict[str, Examples]", ending: str) -> list[str]:
    targets = {name: folder / f"{name}.{ending}" for name in parts}
    if existing := [str(target) for target in targets.values() if target.exists()]:
        raise FileExistsError(f"{existing[0]} exists. Name another folder, or remove it first.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        write_columns(targets[name], [_columns(part)])
    return [str(target) for target in targets.values()]


def _columns(part: "Examples") -> dict[str, Any]:
    """The part's columns by the names they had, with the row each came from."""
    from textsiam.data.splitting import columns_of

    told = part.mapping
    names = [told.get(key, key) for key in (("anchor", "positive") if "anchor" in told else ("first", "second"))]
    texts = columns_of(part)
    negatives = [f"negative_{k}" for k in range(1, len(texts) - 1)]
    columns: dict[str, Any] = dict(zip([*names, *negatives], texts, strict=True))
    for kind, default in (("labels", "label"), ("scores", "score")):
        if (values := getattr(part, kind, None)) is not None:
            columns[told.get(default, default)] = values
    return columns | {"row": list(part.rows)}
