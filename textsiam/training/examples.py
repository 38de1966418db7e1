"""The data sets of `train` as tasks: read, divided into train and validation without leaks, linked, and taught.

`train` takes one data set or a mapping of several. A mapping of data sets looks much like a mapping of columns: `is_mixture`
tells them apart.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textsiam.data.linking import Examples, Linked, columns_of, link
from textsiam.data.pairs import Pairs, Triplets
from textsiam.data.readers import read_examples
from textsiam.data.splitting import carve, without
from textsiam.data.texts import distinct
from textsiam.encoding.encoder import Encoder
from textsiam.training.embedded_batch import KINDS, Loss
from textsiam.training.losses import LOSSES, Distillation
from textsiam.training.training_tasks import SUITABLE, Task, check_kind
from textsiam.training.validation import judged_rows

logger = logging.getLogger("textsiam")

VALIDATION_SHARE, MIN_ROWS_TO_CARVE = 0.1, 50


class Source(NamedTuple):
    """One data set of a mixture: its name, rows, loss (None: the default for its kind), and share of the batches."""

    name: str
    examples: Examples
    loss: Loss | None = None
    share: float | None = None

    @property
    def kind(self) -> str:
        """As `Task.kind`."""
        table = self.examples
        if not isinstance(table, Pairs):
            return "triplets"
        return "labels" if table.labels is not None else "scores" if table.scores is not None else "positives"

    @property
    def can_be_judged(self) -> bool:
        """Whether a metric is defined on these rows: they have both labels, or more than one score."""
        table = self.examples
        if not isinstance(table, Pairs):
            return len(table) > 0
        truth = table.labels if table.labels is not None else table.scores
        return len(table) > 1 and (truth is None or len(np.unique(np.asarray(truth))) > 1)


class Parted(NamedTuple):
    """The tasks to learn from, the held-out tasks that choose the best checkpoint, and a record of the division."""

    train: list[Task]
    validation: list[Task]
    record: dict[str, Any]


def sources_of(pairs: Any, loss: str | Loss | None) -> list[Source]:
    """The data sets in `train`'s argument: one, or a mapping name → data, (data, loss) or (data, loss, share).

    Raises
    ------
    ValueError
        If a loss is unknown or is not a loss, or if a share is not a number.
    """
    if not is_mixture(pairs):
        return [Source("pairs", _read("pairs", pairs), loss_of(loss))]
    found = []
    for name, member in pairs.items():
        parts: Sequence[Any] = member if is_member(member) else (member,)
        own = parts[1] if len(parts) > 1 else None
        share = parts[2] if len(parts) > 2 else None  # noqa: PLR2004
        if share is not None and (isinstance(share, bool) or not isinstance(share, int | float)):
            raise ValueError(f"The share of {name} is a number above 0, at most 1, but got {share!r}. Correct it.")
        found.append(Source(str(name), _read(str(name), parts[0]), loss_of(own or loss), share))
    return found


def is_mixture(pairs: Any) -> bool:
    """Whether this is a mapping of data sets, not a mapping of columns or the splits of one data set."""
    if not isinstance(pairs, Mapping) or not pairs or type(pairs).__name__ in ("DatasetDict", "IterableDatasetDict"):
        return False
    return all(_is_data(member[0] if is_member(member) else member) for member in pairs.values())


def is_member(member: object) -> bool:
    """Whether this is (data, loss) or (data, loss, share); a list may be one, unless it begins with a text, as a column does."""
    if not isinstance(member, tuple | list) or not 1 <= len(member) <= 3 or not _is_data(member[0]):  # noqa: PLR2004
        return False
    return isinstance(member, tuple) or not isinstance(member[0], str)


def _is_data(member: Any) -> bool:
    """Whether this is a data set (a table, a path, a mapping, or a list of rows), not a column of one."""
    if isinstance(member, Pairs | Triplets | str | Path | Mapping) or hasattr(member, "column_names"):
        return True
    if hasattr(member, "columns"):  # a data frame; a Series has none
        return True
    return isinstance(member, list) and bool(member) and all(isinstance(row, tuple | list) for row in member)


def _read(name: str, data: Any) -> Examples:
    """The rows of a data set. If they are read here, the log says how many rows were set aside, and why."""
    table = read_examples(data)
    if table.set_aside and not isinstance(data, Pairs | Triplets):
        graded = any("label is not 0 or 1" in reason for reason in table.set_aside.counts())
        hint = "; grades go into a column named score (read_pairs(score=))" if graded else ""
        logger.warning("%s: %s%s", name, table.set_aside, hint)
    return table


def loss_of(loss: str | Loss | None) -> Loss | None:
    """The loss of that name or class; an object is returned as it is.

    Raises
    ------
    ValueError
        If there is no loss of that name, or if the object is not a loss.
    """
    if isinstance(loss, str):
        if loss.strip() not in LOSSES:
            raise ValueError(f"There is no loss {loss!r}. Use one of {', '.join(LOSSES)}.")
        return LOSSES[loss.strip()]()
    found = loss() if isinstance(loss, type) else loss
    kinds = getattr(found, "kinds", None)
    if found is not None and not (callable(found) and isinstance(kinds, tuple) and kinds and set(kinds) <= set(KINDS)):
        raise ValueError(
            f"A loss is a name from LOSSES, or a callable with a tuple `kinds` of {', '.join(KINDS)}, but got {loss!r}. "
            "See textsiam.training.embedded_batch.Loss."
        )
    return found


def part(
    sources: Sequence[Source],
    validation: Any,
    seed: int,
    link_score: float | None = None,
    mine: Callable[[Pairs], Triplets] | None = None,
) -> Parted:
    """Tasks to learn from and held-out ones that share no text and no chain of positives with them.

    Parameters
    ----------
    validation
        None: hold out a tenth, if there are enough rows. False: hold out nothing. Else data, or a mapping name → data; rows
        to learn from that share a component with it are left out.
    seed
        Of the choice of the tenth.
    link_score
        Graded pairs at or above it mean the same (see `textsiam.split`).
    mine
        Makes triplets of the positives to learn from; held-out rows stay as they are.

    Raises
    ------
    ValueError
        If no row is left to learn from, or if the given validation data cannot judge a model (it has only one label, say).
    """
    sources = [_as_kind(source) for source in sources]
    learned, held = _held_out(sources, validation, seed, link_score)
    if empty := [source.name for source in learned if not len(source.examples)]:
        raise ValueError(
            f"Of {', '.join(empty)} no row is left to learn from: each shares a text, or a chain of positives, with the "
            "validation data. Give other validation data, or none (--no-validation, validation=False)."
        )
    # Link whole tables: parts of graded tables could imply another score at which to link.
    tables = [source.examples for source in (sources if validation is None else [*sources, *held])]
    graph = link(tables, link_score=link_score)
    record: dict[str, Any] = {
        "carved": validation is None and bool(held),
        "train_rows": _n_rows(learned),
        "validation_rows": _n_rows(held),
        "rows_left_out": _n_rows(sources) - _n_rows(learned) - (_n_rows(held) if validation is None else 0),
        "rows_set_aside": sum(len(source.examples.set_aside) for source in sources),
        "link_score": graph.link_score,
    }
    _check_kinds(learned, are_mined=mine is not None)
    if mine is not None:
        learned = _with_negatives(learned, mine)
        record["rows_without_hard_negatives"] = record["train_rows"] - _n_rows(learned)
        record["train_rows"] = _n_rows(learned)
    checks = [judged_rows(_task(source, graph)) for source in held]
    return Parted([_task(source, graph) for source in learned], checks, record)


def _n_rows(sources: Sequence[Source]) -> int:
    return sum(len(source.examples) for source in sources)


def _with_examples(sources: Sequence[Source], tables: Sequence[Examples]) -> list[Source]:
    return [source._replace(examples=table) for source, table in zip(sources, tables, strict=True)]


def _held_out(
    sources: list[Source], validation: Any, seed: int, link_score: float | None
) -> tuple[list[Source], list[Source]]:
    """The rows of each data set to learn from, and those held out, as `part` describes."""
    tables = [source.examples for source in sources]
    if validation is None and _n_rows(sources) >= MIN_ROWS_TO_CARVE:
        parts = carve(tables, VALIDATION_SHARE, seed=seed, link_score=link_score)
        rest, carved = (_with_examples(sources, side) for side in zip(*parts, strict=True))
        held = [Source(source.name, source.examples) for source in carved if source.can_be_judged]
        # Held-out rows that cannot judge a model are returned; so are all of them if too few rows remain to learn from.
        return (rest, held) if held and _n_rows(rest) > _n_rows(carved) else (sources, [])
    if validation is None or validation is False:
        return sources, []
    members = validation if is_mixture(validation) else {"validation": validation}
    held = [_as_kind(Source(str(name), _read(str(name), data))) for name, data in members.items()]
    if dull := [source.name for source in held if not source.can_be_judged]:
        raise ValueError(
            f"{', '.join(dull)} cannot judge a model: it has one row, or all labels or scores are equal. Give other rows."
        )
    others = [source.examples for source in held]
    return _with_examples(sources, without(tables, others, link_score=link_score)), held


def _with_negatives(sources: Sequence[Source], mine: Callable[[Pairs], Triplets]) -> list[Source]:
    """The rows to learn from, with positives as triplets."""
    if all(source.kind != "positives" for source in sources):
        raise ValueError(
            "Hard negatives are mined for positives without labels. There are none: leave hard_negatives out."
        )
    return [source._replace(examples=_mined(source, mine)) for source in sources]


def taught(parted: Parted, teacher: Encoder | None, dim: int) -> Parted:
    """The tasks, checked; those with a distillation loss also hold the teacher's embeddings of their texts.

    Parameters
    ----------
    dim
        The dimensions of the student's embeddings.

    Raises
    ------
    ValueError
        If a loss cannot use its data, if a teacher is missing or no loss needs it, or if its embeddings are not finite.
    """
    for task in parted.train:
        task.check(has_teacher=teacher is not None)
    if teacher is None:
        return parted
    if not any(isinstance(task.loss, Distillation) for task in parted.train):
        raise ValueError("A teacher was given, but no loss learns from it. Use distillation, or leave the teacher out.")
    tasks = []
    for task in parted.train:
        if isinstance(task.loss, Distillation):
            task.loss.check_dims(dim, teacher.dim)
        vectors = teacher.embed(task.inputs).embeddings if isinstance(task.loss, Distillation) else None
        if vectors is not None and not np.isfinite(vectors).all():
            raise ValueError(f"The teacher embeds some texts of {task.name} to NaN or infinity. Use another teacher.")
        tasks.append(replace(task, taught=vectors))
    return parted._replace(train=tasks)


def _check_kinds(sources: Sequence[Source], *, are_mined: bool) -> None:
    """Refuse a loss that cannot use its data, before the slow search for negatives makes triplets of positives."""
    for source in sources:
        if source.loss is not None:
            kind = "triplets" if are_mined and source.kind == "positives" else source.kind
            check_kind(source.loss, kind, source.name)


def _mined(source: Source, mine: Callable[[Pairs], Triplets]) -> Examples:
    """Positives as triplets; other kinds of data unchanged."""
    table = source.examples
    if not isinstance(table, Pairs) or source.kind != "positives":
        return table
    triplets = mine(table)
    if not len(triplets):
        raise ValueError(
            f"No row of {source.name} has a safe hard negative among its own texts. Leave hard_negatives out, or train on "
            "more data."
        )
    if n_lost := len(table) - len(triplets):
        message = "%d of %d rows of %s have no safe hard negative and are left out"
        logger.warning(message, n_lost, len(table), source.name)
    return triplets


def _as_kind(source: Source) -> Source:
    """The same rows; pairs that all have label 1 become positives."""
    table = source.examples
    if isinstance(table, Pairs) and table.labels is not None and len(table) and np.all(np.asarray(table.labels) == 1):
        return source._replace(examples=replace(table, labels=None, scores=None))
    return source


def _task(source: Source, graph: Linked) -> Task:
    table, kind, columns = source.examples, source.kind, columns_of(source.examples)
    texts, places = distinct(text for column in columns for text in column)
    truth = {kind: np.asarray(getattr(table, kind))} if kind in ("labels", "scores") else {}
    return Task(
        source.name,
        texts,
        np.stack(np.split(places, len(columns)), 1),
        source.loss or LOSSES[SUITABLE[kind][0]](),
        **truth,
        components=graph.components_of(table),
        rows=table.rows,
        share=source.share,
    )
