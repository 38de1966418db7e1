"""The options that several commands share."""

import math
from pathlib import Path
from typing import Annotated

import typer


def finite(value: float | None) -> float | None:
    """The value; raises if it is not finite."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number. Give a score.")
    return value


Files = Annotated[
    list[str] | None,
    typer.Argument(
        help="csv, tsv, jsonl, parquet, arrow or txt (.gz too); - is standard input; owner/name a data set."
    ),
]
Column = Annotated[
    str | None,
    typer.Option(help="Column of texts. Default: the only one, or one with a common name (text, question, …)."),
]
IdColumn = Annotated[str | None, typer.Option(help="Column of ids. Default: id, else row numbers.")]
SplitName = Annotated[str | None, typer.Option(help="Only the rows of this split.")]
Format = Annotated[str | None, typer.Option(help="Format of the files. Default: by their endings.")]
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
    str, typer.Option("--backend", help="Library that computes embeddings: auto, openvino (CPUs, no torch) or pytorch.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps. Default: a GPU if there is one.")]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32 (exact), bfloat16, float16 or int8. Default: bfloat16 if the machine computes it, else float32."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on standard output.")]
Ray = Annotated[
    bool,
    typer.Option(
        "--ray", help="Work on a Ray cluster (extra ray); without --ray-address on the cores of this machine."
    ),
]
RayAddress = Annotated[
    str | None, typer.Option(help="The cluster: host:port, auto for one on this machine, or ray://host:10001.")
]
Work = Annotated[
    str | None,
    typer.Option(
        help="Where --ray keeps finished work: a folder or s3://… that all machines see. Default: OUTPUT.work, removed after."
    ),
]
Approximate = Annotated[
    bool,
    typer.Option(
        "--approximate",
        help="With --ray: compare only near texts. Measures and reports the share of pairs that this finds.",
    ),
]
LabelledPairs = Annotated[
    str, typer.Argument(help="Labelled pairs: csv, tsv, jsonl, parquet, a data set; - is standard input.")
]
ModelOutput = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the model to this folder; it may be the folder of --model.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the answer to this .csv, .jsonl or .parquet; - is csv on stdout."),
]
Top = Annotated[int, typer.Option(min=0, help="How many rows of the answer to show.")]
MaxMatches = Annotated[int, typer.Option(min=1, help="Most pairs to find; more than that is an error.")]
Prompt = Annotated[
    str | None, typer.Option(help="Name of one of the model's prompts, or a text to put before each text.")
]
First = Annotated[
    str | None, typer.Option(help="Column of first texts. Default: sentence1, question1, text_a, anchor, …")
]
Second = Annotated[str | None, typer.Option(help="Column of second texts.")]
Label = Annotated[str | None, typer.Option(help="Column of labels 0 and 1. Default: label, is_duplicate.")]
Score = Annotated[str | None, typer.Option(help="Column of graded similarities. Default: score.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same answer.")]
LinkScore = Annotated[
    float | None,
    typer.Option(help="When splitting, graded pairs at or above this score mean the same. Default: 80 % of the range."),
]
