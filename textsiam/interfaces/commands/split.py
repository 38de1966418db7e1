"""``textsiam split``: splits labelled pairs into parts that share no text and no chain of positives."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from textsiam.data.files import check_folder, remove, replacing
from textsiam.data.writers import WRITERS
from textsiam.errors import UnreadableInput
from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.labelled_pairs import read_with
from textsiam.interfaces.shell.options import GradedOptions, RowOptions, check_outputs, spread
from textsiam.interfaces.shell.terminal import answer_json, answering, say, set_aside_told, write_columns

if TYPE_CHECKING:
    from textsiam.data.linking import Examples

SHARES = (0.8, 0.1, 0.1)  # as in `textsiam.split`, whose import would slow down --help


@spread
def split(
    source: Annotated[str, Argument(help="Pairs or triplets: csv, tsv, jsonl, parquet, a data set; - is stdin.")],
    *,
    output: Annotated[Path, Option("--output", "-o", help="Folder for the parts; it must not contain them yet.")],
    columns: GradedOptions,
    shares: Annotated[
        tuple[float, float, float], Option(help="Shares of the rows for train, calibration and test.")
    ] = SHARES,
    folds: Annotated[int, Option(min=0, help="Write this many folds for cross-validation instead.")] = 0,
    seed: options.Seed = 0,
    link_score: options.LinkScore = None,
    ending: Annotated[str, Option("--as", help="Format of the parts: csv, jsonl or parquet.")] = "csv",
    rows: RowOptions,
    as_json: options.AsJson = False,
) -> None:
    """Split labelled pairs into train, calibration and test without leaks.

    No text, in any case and spacing, and no chain of positives is in two parts.

    `textsiam split pairs.csv -o parts` writes parts/train.csv, parts/calibration.csv and parts/test.csv. Columns keep their
    names; the column `row` has each row's number in the source.
    """
    from textsiam.data.readers import read_examples

    with answering():
        targets = _targets(output, folds, ending)
        _check(source, output, targets, folds, shares)
        check_outputs(rows.set_aside, inputs=[source, *map(str, targets.values())], as_json=as_json)
        pairs = read_with(read_examples, source, rows.reading(columns), rows.set_aside)
        parts, told, line = _divided(pairs, folds, shares, dict(seed=seed, link_score=link_score))
        say(line)
        _write(output, {targets[name]: part for name, part in parts.items()})
        files = [str(target) for target in targets.values()]
        if as_json:
            answer_json({"set_aside": set_aside_told(pairs.set_aside), **told, "files": files})
        for name in files:
            say(f"→ {name}")


def _targets(folder: Path, folds: int, ending: str) -> dict[str, Path]:
    """The file of each part."""
    if f".{ending}" not in WRITERS:
        raise typer.BadParameter(f"There is no format {ending}. Use {', '.join(name[1:] for name in WRITERS)}.")
    names = [f"{side}_{k}" for k in range(1, folds + 1) for side in ("train", "test")]
    return {name: folder / f"{name}.{ending}" for name in names or ("train", "calibration", "test")}


def _check(source: str, folder: Path, targets: dict[str, Path], folds: int, shares: Sequence[float]) -> None:
    """Refuse, before the slow work, options that cannot work and outputs that would overwrite something."""
    from textsiam.data.splitting import check_folds, checked_shares

    checked_shares(shares)
    if folds:
        check_folds(folds)
        if tuple(shares) != SHARES:
            raise typer.BadParameter("Folds have equal size, but --shares was given too. Give --folds or --shares.")
    if str(folder) == "-":
        raise UnreadableInput("The parts are several files, but standard output (-) was named. Name a folder.")
    if existing := [target for target in targets.values() if target.exists() or target.is_symlink()]:
        raise FileExistsError(f"{existing[0]} exists. Name another folder, or remove it first.")
    place = folder.resolve()
    if source != "-" and Path(source).is_dir() and Path(source).resolve() in (place, *place.parents):
        raise UnreadableInput(
            f"{folder} is inside {source}, so the parts would become part of the source. Name another folder."
        )
    check_folder(folder)


def _divided(
    pairs: "Examples", folds: int, shares: Sequence[float], how: dict[str, Any]
) -> "tuple[dict[str, Examples], dict[str, Any], str]":
    """The parts or folds, what a JSON answer says of them, and the line for people."""
    from textsiam.data.splitting import folds as make_folds
    from textsiam.data.splitting import split

    if not folds:
        found = split(pairs, shares=shares, **how)
        return {"train": found.train, "calibration": found.calibration, "test": found.test}, found.report, str(found)
    made = make_folds(pairs, folds, **how)
    parts = {
        f"{side}_{k}": part
        for k, both in enumerate(made, 1)
        for side, part in zip(("train", "test"), both, strict=True)
    }
    in_no_test = len(pairs) - sum(len(test) for _, test in made)
    told = {"seed": how["seed"], "rows": len(pairs), "in_no_test_part": in_no_test}
    line = f"{folds} folds of {len(pairs):,} rows, {in_no_test:,} of them between two test parts and therefore in none"
    return parts, told | {"parts": {name: {"rows": len(part)} for name, part in parts.items()}}, line


def _write(folder: Path, parts: "dict[Path, Examples]") -> None:
    """Write all parts or none: they appear when the last one is written."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{secrets.token_hex(4)}.tmp"
    temporary.mkdir()
    try:
        for target, part in parts.items():
            _write_part(temporary / target.name, _columns(part))
        for target in parts:
            (temporary / target.name).rename(target)
    finally:
        remove(temporary)


def _write_part(target: Path, columns: dict[str, Any]) -> None:
    if target.suffix != ".parquet":
        write_columns(target, [columns])
        return
    # Not by WRITERS, which write columns of answers: here labels are whole numbers, and scores keep all digits.
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {
        name: pa.array(values, None if hasattr(values, "dtype") else pa.string()) for name, values in columns.items()
    }
    with replacing(target) as temporary:
        pq.write_table(pa.table(arrays), temporary)


def _columns(part: "Examples") -> dict[str, Any]:
    """The columns of a part under their own names, with the number of each row in the source."""
    import numpy as np

    from textsiam.data.linking import columns_of

    texts = columns_of(part)
    kinds = ("anchor", "positive") if "anchor" in part.mapping else ("first", "second")
    negatives = [kind for kind in part.mapping if kind.startswith("negative")]
    columns: dict[str, Any] = {
        part.mapping[kind]: list(column) for kind, column in zip((*kinds, *negatives), texts, strict=True)
    }
    for kind in ("label", "score"):
        if (values := getattr(part, f"{kind}s", None)) is not None:
            columns[part.mapping[kind]] = values
    return columns | {"source_row" if "row" in columns else "row": np.array(part.rows, dtype=np.int64)}
