"""The options that several commands share, each described once."""

import math
from pathlib import Path
from typing import Annotated

import typer


def finite(value: float | None) -> float | None:
    """The number, if it is one."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number. Give a score.")
    return value


Files = Annotated[
    list[str] | None,
    typer.Argument(
        help="csv, tsv, jsonl, parquet, arrow or txt (.gz too); - is standard input; owner/name a data set."
    ),
]
Column = Annotated[
    str | None,
    typer.Option(help="Column of texts. Default: the only one, or one with a usual name (text, question, …)."),
]
IdColumn = Annotated[str | None, typer.Option(help="Column of ids. Default: id, else row numbers.")]
SplitName = Annotated[str | None, typer.Option(help="Only the rows of this split.")]
Format = Annotated[str | None, typer.Option(help="Format, where the file's ending does not tell.")]
Delimiter = Annotated[str | None, typer.Option(help="Delimiter of a csv file. Default: a comma, for tsv a tab.")]
Encoding = Annotated[str, typer.Option(help="Text encoding of the files.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop if any row is unusable, instead of setting it aside.")]
SetAsideFile = Annotated[
    Path | None,
    typer.Option("--set-aside", help="Write the rows set aside, with reasons, to this .csv or .jsonl (- shows them)."),
]
Model = Annotated[
    str | None, typer.Option(help="Model folder or Hub name. Default: $TEXTSIAM_MODEL, else the embedded one.")
]
BackendName = Annotated[
    str, typer.Option("--backend", help="What computes the embeddings: auto, openvino (CPUs, no torch) or pytorch.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps. Default: a GPU if there is one.")]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32 (exact), bfloat16, float16 or int8. Default: bfloat16 where the machine computes it, else float32."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on standard output.")]
Ray = Annotated[
    bool,
    typer.Option(
        "--ray", help="Work in tasks on a Ray cluster (extra ray), on this machine's cores without --ray-address."
    ),
]
RayAddress = Annotated[
    str | None, typer.Option(help="The cluster: host:port, auto for one that runs here, ray://host:10001.")
]
Work = Annotated[
    str | None,
    typer.Option(
        help="Where --ray keeps what is finished, a folder or s3://… that all machines see. Default: OUTPUT.work, removed after."
    ),
]
Approximate = Annotated[
    bool,
    typer.Option(
        "--approximate", help="With --ray: compare only what is near. The share of pairs found is measured and told."
    ),
]
LabelledPairs = Annotated[
    str, typer.Argument(help="Labelled pairs: csv, tsv, jsonl, parquet, a data set; - is standard input.")
]
ModelOutput = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the model to this folder; it may be the one it came from.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the answer to this .csv, .jsonl or .parquet; - is csv on stdout."),
]
Top = Annotated[int, typer.Option(min=0, help="How many rows of an answer to show.")]
MaxMatches = Annotated[int, typer.Option(min=1, help="Most pairs to find; more is an error, never a silent cut.")]
Prompt = Annotated[str | None, typer.Option(help="One of the model's prompts by name, or a text to put before each.")]
First = Annotated[
    str | None, typer.Option(help="Column of first texts. Default: sentence1, question1, text_a, anchor, …")
]
Second = Annotated[str | None, typer.Option(help="Column of second texts.")]
Label = Annotated[str | None, typer.Option(help="Column of labels 0 and 1. Default: label, is_duplicate.")]
Score = Annotated[str | None, typer.Option(help="Column of graded similarities. Default: score.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same answer.")]
LinkScore = Annotated[
    float | None,
    typer.Option(help="Graded pairs at or above it mean the same when data is split. Default: 80 % of the range."),
]
