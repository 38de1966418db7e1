"""What the commands of an index share: their options, how they open it, what they say."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.data.writers import rows_of
from textsiam.interfaces import options
from textsiam.interfaces.groups import ModelOptions
from textsiam.interfaces.tables import write_columns
from textsiam.interfaces.terminal import (
    answer_json,
    model_told,
    say,
    say_lost,
    say_set_aside,
    set_aside_told,
    show_pairs,
)

if TYPE_CHECKING:
    from textsiam.indexing.index import Index
    from textsiam.matching.matches import Matches
    from textsiam.scoring.siamese import Siamese

Place = Annotated[str, typer.Argument(help="The index's folder, or the address of a database: postgresql://…")]
Threshold = Annotated[
    float | None,
    typer.Option(
        callback=options.finite, help="Lowest score of a match. Default: the index's own; for a new index the model's."
    ),
]
Timeout = Annotated[float, typer.Option(min=0, help="Seconds to wait while another process writes.")]
IdColumn = Annotated[
    str | None, typer.Option(help="Column of ids. Default: id, else FILE-NAME:ROW; for standard input hashes of texts.")
]


@dataclass(frozen=True, kw_only=True)
class IndexTextOptions:
    """Where the texts of a source stand, with ids that stay theirs."""

    column: options.Column = None
    id_column: IdColumn = None
    split: options.SplitName = None


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """Where matches go, and how many there may be."""

    output: options.Output = None
    top: options.Top = 20
    max_matches: options.MaxMatches = 20_000_000


def opened(
    place: str, model: ModelOptions, threshold: float | None, timeout: float, *, must_exist: bool = False
) -> "Index":
    """The index with its model, in the precision that it was made with; a new one if there is none and there may be."""
    from textsiam.errors import IndexNotFound
    from textsiam.indexing.index import Index
    from textsiam.indexing.store import shown

    try:
        with Index.open(place, timeout_s=timeout) as there:
            settings = there.settings
    except IndexNotFound:
        if must_exist:
            raise
        siamese = model.load()
        made = Index.create(place, siamese, threshold=threshold)
        say(f"there was no index at {shown(place)}: made one, {threshold_told(made, threshold)}")
        return made
    if threshold is not None and threshold != settings["threshold"]:
        raise typer.BadParameter(
            f"The index at {shown(place)} has the threshold {settings['threshold']:g}, for good. Leave --threshold out."
        )
    siamese = model.load(settings["precision"])
    return Index.open(place, siamese, timeout_s=timeout)


def threshold_told(made: "Index", given: float | None) -> str:
    """A new index's threshold, and where it came from."""
    siamese: Siamese | None = made.model
    if given is not None or siamese is None or siamese.threshold is None:
        return f"threshold {made.threshold:g} (given by you)"
    return f"threshold {siamese.threshold} (the model's own)"


def tell(
    index: "Index",
    found: "Matches",
    told: dict[str, Any],
    started: float,
    answer: AnswerOptions,
    *,
    as_json: bool,
    set_aside: Path | None = None,
) -> None:
    """The matches, and what was done."""
    output = answer.output
    if output:
        write_columns(output, found.blocks())
    say_set_aside(found.set_aside, set_aside)
    told |= {"set_aside": set_aside_told(found.set_aside), "pairs": len(found), "threshold": index.threshold}
    told["seconds"] = round(time.perf_counter() - started, 2)
    if as_json:
        siamese = index.model
        pairs = {} if output else {"pairs": list(rows_of(_with_texts(found)))}
        answer_json(told | (model_told(siamese) if siamese else {}), **pairs)
        return
    if output is None and len(found):
        show_pairs(found.top(answer.top), len(found), with_ids=True)
    say_lost(len(found.cut), len(found.unknown))
    if found.recall is not None:
        say(f"the search was approximate: it finds {found.recall:.1%} of the matches where that was measured")
    counts = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in told.items() if isinstance(n, int))
    say(f"{counts}{f' → {output}' if output else ''}; threshold {index.threshold:g}, in {told['seconds']:.1f} s")


def _with_texts(found: "Matches") -> dict[str, Any]:
    """The columns, and the texts where they are known."""
    texts = found.text_columns()
    return found.columns() | (dict(zip(("text_a", "text_b"), texts, strict=True)) if texts else {})
