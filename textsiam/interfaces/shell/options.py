"""The options that several commands share, alone and in groups (`…Options`), and the checks of files before the slow work.

A command has one parameter per group; users see its options. typer reads the signature of a command: `spread` gives it one in
which each group is replaced by its options, in order, and calls the command with the groups. A group may contain groups.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from textsiam.data.files import check_writable
from textsiam.data.writers import WRITERS
from textsiam.errors import UnreadableInput

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

Command = Callable[..., None]


def finite(value: float | None) -> float | None:
    """The value; raises if it is not finite."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number. Give a score.")
    return value


def check_sources(sources: "Sequence[str]") -> None:
    """Refuse a source that is given twice: its rows would be duplicates of themselves; standard input would be empty."""
    places = [source if source == "-" or not Path(source).exists() else Path(source).resolve() for source in sources]
    for n, source in enumerate(sources):
        if places[n] in places[:n]:
            raise typer.BadParameter(f"{source} was given twice. Give each source once; --against is for another set.")


def check_outputs(
    *targets: Path | None, inputs: Iterable[str] = (), as_json: bool = False, model: Path | None = None
) -> None:
    """Refuse, before the slow work, outputs that cannot be written, or that would destroy an input or each other.

    Into the folder `model` a model must be writable.

    Raises
    ------
    UnreadableInput
        If an ending names no format, or one file is named twice.
    OSError
        If a file cannot be written, or the folder holds anything but a model.
    """
    if model is not None:
        from textsiam.encoding.model_folder.layout import check_model_target

        check_model_target(model)
    taken = {Path(name).resolve() for name in inputs if name != "-"}
    standard = int(as_json)
    for target in targets:
        if target is None:
            continue
        if str(target) == "-":
            standard += 1
            if standard > 1:
                raise UnreadableInput("Standard output would get two answers (-, --json). Write one of them to a file.")
            continue
        if target.exists() and not target.is_file() and not target.is_dir():
            continue  # a pipe or a device
        if target.suffix.lower() not in WRITERS:
            raise UnreadableInput(
                f"textsiam cannot write {target.name}: its ending names no format. End it in {', '.join(WRITERS)}."
            )
        if target.resolve() in taken:
            raise UnreadableInput(f"{target} is also an input or another output of this command. Name another file.")
        taken.add(target.resolve())
        check_writable(target)


Files = Annotated[
    list[str] | None,
    Argument(help="csv, tsv, jsonl, parquet, arrow or txt (.gz too); - is standard input; owner/name a data set."),
]
SplitName = Annotated[str | None, Option(help="Only the rows of this split.")]
SetAsideFile = Annotated[
    Path | None,
    Option("--set-aside", help="Write the rows set aside, with reasons, to this .csv or .jsonl (- shows them)."),
]
Model = Annotated[str | None, Option(help="Model folder or Hub name. Default: $TEXTSIAM_MODEL, else the embedded one.")]
BackendName = Annotated[
    str, Option("--backend", help="Library that computes embeddings: auto, openvino (CPUs, no torch) or pytorch.")
]
Device = Annotated[str | None, Option(help="cpu, cuda, cuda:1 or mps. Default: a GPU if there is one.")]
AsJson = Annotated[bool, Option("--json", help="Answer with one JSON object on standard output.")]
LabelledPairs = Annotated[
    str, Argument(help="Labelled pairs: csv, tsv, jsonl, parquet, a data set; - is standard input.")
]
ModelOutput = Annotated[
    Path | None, Option("--output", "-o", help="Write the model to this folder; it may be the folder of --model.")
]
Output = Annotated[
    Path | None, Option("--output", "-o", help="Write the answer to this .csv, .jsonl or .parquet; - is csv on stdout.")
]
Top = Annotated[int, Option(min=0, help="How many rows of the answer to show.")]
MaxMatches = Annotated[int, Option(min=1, help="Most pairs to find; more than that is an error.")]
Prompt = Annotated[str | None, Option(help="Name of one of the model's prompts, or a text to put before each text.")]
Seed = Annotated[int, Option(help="The same seed gives the same answer.")]
LinkScore = Annotated[
    float | None,
    Option(help="When splitting, graded pairs at or above this score mean the same. Default: 80 % of the range."),
]


def spread(command: Command) -> Command:
    """The command, with a signature that typer can read.

    Examples
    --------
    >>> def count(files: Files, *, rows: RowOptions) -> None:
    ...     print(files, rows.strict, rows.dialect.encoding)
    >>> list(inspect.signature(spread(count)).parameters)
    ['files', 'set_aside', 'strict', 'format', 'delimiter', 'encoding']
    >>> spread(count)(files=["a.csv"], set_aside=None, strict=True, format=None, delimiter=None, encoding="utf-8")
    ['a.csv'] True utf-8
    """
    own = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def spread_command(**given: Any) -> None:
        command(**{one.name: _gathered(one.annotation, one.name, given) for one in own})

    told = [parameter for one in own for parameter in _parameters(one.name, one.annotation, one.default)]
    spread_command.__signature__ = inspect.Signature(told)  # type: ignore[attr-defined] # typer reads it
    return spread_command


def _parameters(name: str, kind: Any, default: Any) -> Iterator[inspect.Parameter]:
    """One parameter, or the parameters of a group's options."""
    if is_dataclass(kind):
        for field in fields(kind):
            own = inspect.Parameter.empty if field.default is MISSING else field.default
            yield from _parameters(field.name, field.type, own)
    else:
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _gathered(kind: Any, name: str, given: Mapping[str, Any]) -> Any:
    """The value of one parameter, or a group with all its values."""
    if not is_dataclass(kind):
        return given[name]
    values = {field.name: _gathered(field.type, field.name, given) for field in fields(kind)}
    return kind(**values)  # type: ignore[operator] # a class, not one of its instances


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """``--ray`` and the options that go with it; true with ``--ray``."""

    ray: Annotated[
        bool,
        Option("--ray", help="Work on a Ray cluster (extra ray); without --ray-address on the cores of this machine."),
    ] = False
    ray_address: Annotated[
        str | None, Option(help="The cluster: host:port, auto for one on this machine, or ray://host:10001.")
    ] = None
    work: Annotated[
        str | None,
        Option(
            help="Where --ray keeps finished work: a folder or s3://… that all machines see. Default: OUTPUT.work, removed after."
        ),
    ] = None

    def __bool__(self) -> bool:
        return self.ray

    def check(self, *, approximate: bool = False) -> None:
        """Refuse options that mean nothing without ``--ray``."""
        if not self and (self.ray_address or self.work or approximate):
            raise typer.BadParameter(
                "--ray-address, --work and --approximate go with --ray. Add --ray, or leave them out."
            )

    def refuse(self, **given: bool) -> None:
        """Refuse options that only work without ``--ray``."""
        if names := [f"--{name.replace('_', '-')}" for name, is_given in given.items() if is_given]:
            raise typer.BadParameter(f"{', '.join(names)} cannot be combined with --ray. Leave one of the two out.")

    def work_beside(self, output: Path) -> str:
        """Where the work is: the place that was named, else a folder beside the output."""
        return self.work or f"{output}.work"

    def after_interrupt(self, output: Path | None) -> str:
        """What to say after Ctrl-C."""
        if output is None:
            return "Nothing was written."
        return f"Finished work is kept in {self.work_beside(output)}: run the same command again to go on."


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """The columns of texts."""

    column: Annotated[
        str | None,
        Option(help="Column of texts. Default: the only one, or one with a common name (text, question, …)."),
    ] = None
    id_column: Annotated[str | None, Option(help="Column of ids. Default: id, else row numbers.")] = None
    split: SplitName = None


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """The columns of pairs."""

    first: Annotated[
        str | None, Option(help="Column of first texts. Default: sentence1, question1, text_a, anchor, …")
    ] = None
    second: Annotated[str | None, Option(help="Column of second texts.")] = None
    split: SplitName = None


@dataclass(frozen=True, kw_only=True)
class LabelledOptions(PairOptions):
    """The columns of labelled pairs."""

    label: Annotated[str | None, Option(help="Column of labels 0 and 1. Default: label, is_duplicate.")] = None


@dataclass(frozen=True, kw_only=True)
class GradedOptions(LabelledOptions):
    """The columns of pairs that are labelled or graded."""

    score: Annotated[str | None, Option(help="Column of graded similarities. Default: score.")] = None


@dataclass(frozen=True, kw_only=True)
class DialectOptions:
    """The format of a file, if its name and content do not show it."""

    format: Annotated[str | None, Option(help="Format of the files. Default: by their endings.")] = None
    delimiter: Annotated[str | None, Option(help="Delimiter of a csv file. Default: a comma, for tsv a tab.")] = None
    encoding: Annotated[str, Option(help="Text encoding of the files.")] = "utf-8"


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """How to read rows, and what to do with unusable ones."""

    set_aside: SetAsideFile = None
    strict: Annotated[bool, Option("--strict", help="Stop if any row is unusable, instead of setting it aside.")] = (
        False
    )
    dialect: DialectOptions

    def reading(self, columns: Any) -> dict[str, Any]:
        """The arguments of `read_texts`, `read_pairs` and the like, with one of the groups of columns."""
        told: dict[str, Any] = vars(columns) | {"strict": self.strict} | vars(self.dialect)
        return told


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Where and how the model computes."""

    backend: BackendName = "auto"
    device: Device = None
    dtype: Annotated[
        str | None,
        Option(
            help="float32 (exact), bfloat16, float16 or int8. Default: bfloat16 if the machine computes it, else float32."
        ),
    ] = None

    def load(self, model: str | None, dtype: str | None = None) -> "Siamese":
        """The model of this name; `dtype` is used if the options name none."""
        from textsiam.scoring.siamese import Siamese

        return Siamese.load(model, backend=self.backend, device=self.device, dtype=self.dtype or dtype)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and where and how it computes."""

    model: Model = None
    computing: ComputeOptions

    def load(self, dtype: str | None = None) -> "Siamese":
        """The model; `dtype` is used if the options name none."""
        return self.computing.load(self.model, dtype)


@dataclass(frozen=True, kw_only=True)
class DuplicatesOptions:
    """All options of ``textsiam duplicates``."""

    files: Files = None
    columns: TextOptions
    against: Annotated[str | None, Option(help="Compare with the texts of this file, instead of with each other.")] = (
        None
    )
    threshold: Annotated[
        float | None, Option(callback=finite, help="Lowest score of a pair. Default: the model's own accept threshold.")
    ] = None
    output: Output = None
    clusters: Annotated[
        Path | None, Option(help="Write each row's cluster, its keeper and its score to the keeper to this file.")
    ] = None
    linkage: Annotated[
        str, Option(help="keeper: every row matches its keeper; complete: every two rows of a cluster match.")
    ] = "keeper"
    repeats_only: Annotated[
        bool, Option("--repeats-only", help="Find only texts that are equal after normalisation; needs no model.")
    ] = False
    sample: Annotated[
        bool, Option("--sample", help="Use the hand-written sample questions that come with textsiam.")
    ] = False
    top: Top = 20
    max_matches: MaxMatches = 20_000_000
    max_memory_mb: Annotated[int, Option(min=1, help="Working memory of the comparison.")] = 256
    prompt: Prompt = None
    rows: RowOptions
    model: ModelOptions
    on_ray: RayOptions
    approximate: Annotated[
        bool,
        Option(
            "--approximate",
            help="With --ray: compare only near texts. Measures and reports the share of pairs that this finds.",
        ),
    ] = False
    as_json: AsJson = False
