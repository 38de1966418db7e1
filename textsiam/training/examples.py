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
from jaxtyping import Int

from textsiam.data.linking import Examples, link
from textsiam.data.pairs import Pairs, Triplets
from textsiam.data.readers import read_examples
from textsiam.data.splitting import carve, without
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
    loss: Loss | None
    share: float | None


Held = Sequence[tuple[str, Examples]]  # the held-out data sets with their names


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
        return [Source("pairs", _read("pairs", pairs), loss_of(loss), None)]
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
    tables = [_as_kind(source.examples) for source in sources]
    learned, held = _held_out(sources, tables, validation, seed, link_score)
    if empty := [source.name for source, table in zip(sources, learned, strict=True) if not len(table)]:
        raise ValueError(
            f"Of {', '.join(empty)} no row is left to learn from: each shares a text, or a chain of positives, with the "
            "validation data. Give other validation data, or none (--no-validation, validation=False)."
        )
    # Link whole tables: parts of graded tables could imply another score at which to link.
    graph = link([*tables, *(table for _, table in held if validation is not None)], link_score=link_score)
    record = _record(sources, learned, held, graph.link_score, is_carved=validation is None and bool(held))
    _check_kinds(sources, learned, are_mined=mine is not None)
    if mine is not None:
        learned = _with_negatives(sources, learned, mine)
        record["rows_without_hard_negatives"] = record["train_rows"] - sum(map(len, learned))
        record["train_rows"] = sum(map(len, learned))
    tasks = [
        _task(source.name, table, source.loss, source.share, graph.components_of(table))
        for source, table in zip(sources, learned, strict=True)
    ]
    checks = [judged_rows(_task(name, table, None, None, graph.components_of(table))) for name, table in held]
    return Parted(tasks, checks, record)


def _held_out(
    sources: Sequence[Source], tables: Sequence[Examples], validation: Any, seed: int, link_score: float | None
) -> tuple[Sequence[Any], Held]:
    """The rows of each table to learn from, and those held out, as `part` describes."""
    if validation is None and sum(map(len, tables)) >= MIN_ROWS_TO_CARVE:
        parts = carve(tables, VALIDATION_SHARE, seed=seed, link_score=link_score)
        held = [(source.name, own) for source, (_, own) in zip(sources, parts, strict=True) if _can_be_judged(own)]
        # Held-out rows that cannot judge a model are returned; so are all of them if too few rows remain to learn from.
        held = held if sum(len(rest) for rest, _ in parts) > sum(len(own) for _, own in parts) else []
        return [rest for rest, _ in parts] if held else tables, held
    if validation is None or validation is False:
        return tables, []
    members = validation if is_mixture(validation) else {"validation": validation}
    held = [(str(name), _as_kind(_read(str(name), data))) for name, data in members.items()]
    if dull := [name for name, table in held if not _can_be_judged(table)]:
        raise ValueError(
            f"{', '.join(dull)} cannot judge a model: it has one row, or all labels or scores are equal. Give other rows."
        )
    return without(tables, [examples for _, examples in held], link_score=link_score), held


def _record(
    sources: Sequence[Source], learned: Sequence[Examples], held: Held, link_score: float | None, *, is_carved: bool
) -> dict[str, Any]:
    """How the rows were divided, for the model's record."""
    n_rows, n_learned = sum(len(source.examples) for source in sources), sum(map(len, learned))
    n_held = sum(len(table) for _, table in held)
    return {
        "carved": is_carved,
        "train_rows": n_learned,
        "validation_rows": n_held,
        "rows_left_out": n_rows - n_learned - (n_held if is_carved else 0),
        "rows_set_aside": sum(len(source.examples.set_aside) for source in sources),
        "link_score": link_score,
    }


def _with_negatives(
    sources: Sequence[Source], learned: Sequence[Examples], mine: Callable[[Pairs], Triplets]
) -> list[Examples]:
    """The rows to learn from, with positives as triplets."""
    if all(_kind(table) != "positives" for table in learned):
        raise ValueError(
            "Hard negatives are mined for positives without labels. There are none: leave hard_negatives out."
        )
    return [_mined(source.name, table, mine) for source, table in zip(sources, learned, strict=True)]


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


def _check_kinds(sources: Sequence[Source], learned: Sequence[Examples], *, are_mined: bool) -> None:
    """Refuse a loss that cannot use its data, before the slow search for negatives makes triplets of positives."""
    for source, table in zip(sources, learned, strict=True):
        if source.loss is not None:
            kind = _kind(table)
            check_kind(source.loss, "triplets" if are_mined and kind == "positives" else kind, source.name)


def _mined(name: str, table: Examples, mine: Callable[[Pairs], Triplets]) -> Examples:
    """Positives as triplets; other kinds of data unchanged."""
    if isinstance(table, Triplets) or table.labels is not None or table.scores is not None:
        return table
    triplets = mine(table)
    if not len(triplets):
        raise ValueError(
            f"No row of {name} has a safe hard negative among its own texts. Leave hard_negatives out, or train on more data."
        )
    if len(triplets) < len(table):
        logger.warning(
            "%d of %d rows of %s have no safe hard negative and are left out",
            len(table) - len(triplets),
            len(table),
            name,
        )
    return triplets


def _as_kind(table: Examples) -> Examples:
    """The same rows; pairs that all have label 1 become positives."""
    if isinstance(table, Pairs) and table.labels is not None and len(table) and np.all(np.asarray(table.labels) == 1):
        return Pairs(table.first, table.second, rows=table.rows, mapping=table.mapping)
    return table


def _task(name: str, table: Examples, loss: Any, share: float | None, components: Int[np.ndarray, "n width"]) -> Task:
    labels = scores = None
    if isinstance(table, Pairs):
        texts, *columns = table.unique()
        labels, scores = table.labels, None if table.labels is not None else table.scores
    else:
        texts, of_rows = table.unique()
        columns = list(of_rows)
    return Task(
        name,
        texts,
        np.stack(columns, 1),
        loss or LOSSES[SUITABLE[_kind(table)][0]](),
        labels=None if labels is None else np.asarray(labels),
        scores=None if scores is None else np.asarray(scores),
        components=components,
        rows=table.rows,
        share=share,
    )


def _kind(table: Examples) -> str:
    if not isinstance(table, Pairs):
        return "triplets"
    return "labels" if table.labels is not None else "scores" if table.scores is not None else "positives"


def _can_be_judged(table: Examples) -> bool:
    """Whether a metric is defined on these rows: they have both labels, or more than one score."""
    if not isinstance(table, Pairs):
        return len(table) > 0
    truth = table.labels if table.labels is not None else table.scores
    return len(table) > 1 and (truth is None or len(np.unique(np.asarray(truth))) > 1)
