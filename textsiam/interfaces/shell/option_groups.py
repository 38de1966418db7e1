"""Groups of options that belong together: a command has one parameter per group (`…Options`), users see its options.

typer reads the signature of a command. `spread` gives it a signature in which each group is replaced by its options, in order,
and calls the command with the groups. A group may contain groups.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces.shell import options

if TYPE_CHECKING:
    from textsiam.distributing.runners import Runner
    from textsiam.distributing.workspace import Workspace
    from textsiam.scoring.siamese import Siamese

Command = Callable[..., None]


def spread(command: Command) -> Command:
    """The command, with a signature that typer can read.

    Examples
    --------
    >>> def count(files: options.Files, *, rows: RowOptions) -> None:
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

    ray: options.Ray = False
    ray_address: options.RayAddress = None
    work: options.Work = None

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

    def sources(self, files: list[str] | None) -> list[str]:
        """The files that these names and patterns match."""
        from textsiam.distributing.shard_sources import expanded

        return expanded(files or [])

    def workspace(self, output: Path) -> "Workspace":
        """The workspace: the one that was named, else a folder beside the output."""
        from textsiam.distributing.workspace import Workspace

        return Workspace(self.work or f"{output}.work")

    def after_interrupt(self, output: Path | None) -> str:
        """What to say after Ctrl-C."""
        if output is None:
            return "Nothing was written."
        return f"Finished work is kept in {self.work or f'{output}.work'}: run the same command again to go on."

    @contextmanager
    def running(self) -> "Iterator[Runner]":
        """The cluster's workers. What Ray prints goes to standard error, because standard output holds the answer."""
        from textsiam.distributing.runners import OnRay

        with redirect_stdout(sys.stderr):
            runner = OnRay(self.ray_address)
            try:
                yield runner
            finally:
                runner.close()


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """The columns of texts."""

    column: options.Column = None
    id_column: options.IdColumn = None
    split: options.SplitName = None


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """The columns of pairs."""

    first: options.First = None
    second: options.Second = None
    split: options.SplitName = None


@dataclass(frozen=True, kw_only=True)
class LabelledOptions:
    """The columns of labelled pairs."""

    first: options.First = None
    second: options.Second = None
    label: options.Label = None
    split: options.SplitName = None


@dataclass(frozen=True, kw_only=True)
class GradedOptions:
    """The columns of pairs that are labelled or graded."""

    first: options.First = None
    second: options.Second = None
    label: options.Label = None
    score: options.Score = None
    split: options.SplitName = None


@dataclass(frozen=True, kw_only=True)
class DialectOptions:
    """The format of a file, if its name and content do not show it."""

    format: options.Format = None
    delimiter: options.Delimiter = None
    encoding: options.Encoding = "utf-8"


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """How to read rows, and what to do with unusable ones."""

    set_aside: options.SetAsideFile = None
    strict: options.Strict = False
    dialect: DialectOptions

    def reading(self, columns: Any) -> dict[str, Any]:
        """The arguments of `read_texts`, `read_pairs` and the like, with one of the groups of columns."""
        told: dict[str, Any] = vars(columns) | {"strict": self.strict} | vars(self.dialect)
        return told


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Where and how the model computes."""

    backend: options.BackendName = "auto"
    device: options.Device = None
    dtype: options.Dtype = None

    def load(self, model: str | None, dtype: str | None = None) -> "Siamese":
        """The model of this name; `dtype` is used if the options name none."""
        from textsiam.scoring.siamese import Siamese

        return Siamese.load(model, backend=self.backend, device=self.device, dtype=self.dtype or dtype)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and where and how it computes."""

    model: options.Model = None
    computing: ComputeOptions

    def load(self, dtype: str | None = None) -> "Siamese":
        """The model; `dtype` is used if the options name none."""
        return self.computing.load(self.model, dtype)


@dataclass(frozen=True, kw_only=True)
class DuplicatesOptions:
    """All options of ``textsiam duplicates``."""

    files: options.Files = None
    columns: TextOptions
    against: Annotated[
        str | None, typer.Option(help="Compare with the texts of this file, instead of with each other.")
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            callback=options.finite, help="Lowest score of a pair. Default: the model's own accept threshold."
        ),
    ] = None
    output: options.Output = None
    clusters: Annotated[
        Path | None, typer.Option(help="Write each row's cluster, its keeper and its score to the keeper to this file.")
    ] = None
    linkage: Annotated[
        str, typer.Option(help="keeper: every row matches its keeper; complete: every two rows of a cluster match.")
    ] = "keeper"
    repeats_only: Annotated[
        bool, typer.Option("--repeats-only", help="Find only texts that are equal after normalisation; needs no model.")
    ] = False
    sample: Annotated[
        bool, typer.Option("--sample", help="Use the hand-written sample questions that come with textsiam.")
    ] = False
    top: options.Top = 20
    max_matches: options.MaxMatches = 20_000_000
    max_memory_mb: Annotated[int, typer.Option(min=1, help="Working memory of the comparison.")] = 256
    prompt: options.Prompt = None
    rows: RowOptions
    model: ModelOptions
    on_ray: RayOptions
    approximate: options.Approximate = False
    as_json: options.AsJson = False

    @property
    def sources(self) -> list[str]:
        """All files to read."""
        return [*(self.files or []), *([self.against] if self.against else [])]

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments of `read_texts` for each of them."""
        return self.rows.reading(self.columns)
