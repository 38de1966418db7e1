"""Options that come together, each group one noun (`…Options`): a command takes the noun, whoever types sees the options.

typer reads a command's signature. `spread` gives it one in which a parameter that is a group stands for all of the group's
options, in their order; what was typed comes to the command as the group. A group may hold groups.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.ray_options import RayOptions

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

Command = Callable[..., None]


def spread(command: Command) -> Command:
    """The command as typer reads it.

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
    spread_command.__signature__ = inspect.Signature(told)  # type: ignore[attr-defined] # typer asks for it
    return spread_command


def _parameters(name: str, kind: Any, default: Any) -> Iterator[inspect.Parameter]:
    """A parameter, or those of a group's options."""
    if is_dataclass(kind):
        for field in fields(kind):
            own = inspect.Parameter.empty if field.default is MISSING else field.default
            yield from _parameters(field.name, field.type, own)
    else:
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _gathered(kind: Any, name: str, given: Mapping[str, Any]) -> Any:
    """The value of a parameter, which may be a group."""
    if not is_dataclass(kind):
        return given[name]
    values = {field.name: _gathered(field.type, field.name, given) for field in fields(kind)}
    return kind(**values)  # type: ignore[operator] # a class, not one of its instances


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Where the texts of a source stand."""

    column: options.Column = None
    id_column: options.IdColumn = None
    split: options.SplitName = None


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Where the pairs of a source stand."""

    first: options.First = None
    second: options.Second = None
    split: options.SplitName = None


@dataclass(frozen=True, kw_only=True)
class LabelledOptions:
    """Where the labelled pairs of a source stand."""

    first: options.First = None
    second: options.Second = None
    label: options.Label = None
    split: options.SplitName = None


@dataclass(frozen=True, kw_only=True)
class GradedOptions:
    """Where the pairs of a source stand, labelled or graded."""

    first: options.First = None
    second: options.Second = None
    label: options.Label = None
    score: options.Score = None
    split: options.SplitName = None


@dataclass(frozen=True, kw_only=True)
class DialectOptions:
    """How a file is written, where its name and content do not tell."""

    format: options.Format = None
    delimiter: options.Delimiter = None
    encoding: options.Encoding = "utf-8"


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """How rows are read, and what becomes of those that cannot be used."""

    set_aside: options.SetAsideFile = None
    strict: options.Strict = False
    dialect: DialectOptions

    def reading(self, columns: Any) -> dict[str, Any]:
        """What `read_texts`, `read_pairs` and their like are asked, with one of the groups of columns."""
        told: dict[str, Any] = vars(columns) | {"strict": self.strict} | vars(self.dialect)
        return told


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """What computes."""

    backend: options.BackendName = "auto"
    device: options.Device = None
    dtype: options.Dtype = None

    def load(self, model: str | None, dtype: str | None = None) -> "Siamese":
        """A model; in this dtype where none was asked for."""
        from textsiam.scoring.siamese import Siamese

        return Siamese.load(model, backend=self.backend, device=self.device, dtype=self.dtype or dtype)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and what computes."""

    model: options.Model = None
    computing: ComputeOptions

    def load(self, dtype: str | None = None) -> "Siamese":
        """The model; in this dtype where none was asked for."""
        return self.computing.load(self.model, dtype)


@dataclass(frozen=True, kw_only=True)
class DuplicatesOptions:
    """All that ``textsiam duplicates`` is told."""

    files: options.Files = None
    columns: TextOptions
    against: Annotated[str | None, typer.Option(help="Compare with this file's texts, not among themselves.")] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            callback=options.finite, help="Lowest score of a pair. Default: the model's own accept threshold."
        ),
    ] = None
    output: options.Output = None
    clusters: Annotated[
        Path | None, typer.Option(help="Write every row's cluster, its keeper and the score to it to this file.")
    ] = None
    linkage: Annotated[
        str, typer.Option(help="keeper: every row matches its keeper; complete: every two rows of a cluster match.")
    ] = "keeper"
    repeats_only: Annotated[
        bool, typer.Option("--repeats-only", help="Only texts equal after normalisation; needs no model.")
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
        """All that is read."""
        return [*(self.files or []), *([self.against] if self.against else [])]

    @property
    def reading(self) -> dict[str, Any]:
        """How `read_texts` reads each of them."""
        return self.rows.reading(self.columns)
