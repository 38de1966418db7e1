"""What callers hand to `train`, as tasks: read, parted into train and validation without leaks, linked, and taught."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from textsiam.data.linking import Examples, link
from textsiam.data.pairs import Pairs
from textsiam.data.readers import read_examples
from textsiam.data.splitting import carve, without
from textsiam.data.triplets import Triplets
from textsiam.encoding.encoder import Encoder
from textsiam.training.batches import SUITABLE, Task
from textsiam.training.embedded import Loss
from textsiam.training.losses import LOSSES

VALIDATION_SHARE, MIN_ROWS_TO_CARVE = 0.1, 50


class Source(NamedTuple):
    """One data set of a mixture: its name, its rows, its loss by name or object (None: the usual one), its share of batches."""

    name: str
    examples: Examples
    loss: str | Loss | None
    share: float | None


class Parted(NamedTuple):
    """The tasks to learn from, the held-out ones to choose the best checkpoint by, and what was done, as plain values."""

    train: list[Task]
    validation: list[Task]
    told: dict[str, Any]


def sources_of(pairs: Any, loss: str | Loss | None) -> list[Source]:
    """The data sets of `train`'s argument: one, or a mapping name → data, (data, loss) or (data, loss, share).

    Raises
    ------
    ValueError
        If a member of a mapping is none of these, or a loss is unknown.
    """
    if not _is_mixture(pairs):
        return [Source("pairs", read_examples(pairs), loss_of(loss), None)]
    found = []
    for name, member in pairs.items():
        parts = member if isinstance(member, tuple) else (member,)
        if not 1 <= len(parts) <= 3:  # noqa: PLR2004
            raise ValueError(f"{name} must be data, (data, loss) or (data, loss, share), but has {len(parts)} parts.")
        own = parts[1] if len(parts) > 1 else None
        share = parts[2] if len(parts) > 2 else None  # noqa: PLR2004
        found.append(Source(str(name), read_examples(parts[0]), loss_of(own or loss), share))
    return found


def loss_of(loss: str | Loss | None) -> Loss | None:
    """The loss of that name; an object is itself.

    Raises
    ------
    ValueError
        If there is no loss of that name.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"There is no loss {loss!r}. Use one of {', '.join(LOSSES)}.")
        return LOSSES[loss]()
    return loss


def part(
    sources: Sequence[Source], validation: Any, seed: int, encoder: Encoder | None, link_score: float | None = None
) -> Parted:
    """Tasks to learn from and held-out ones that share no text and no chain of positives with them.

    Parameters
    ----------
    validation
        None: a tenth is carved, where there are rows enough; False: none; else data, or a mapping name → data, and rows
        to learn from that share a component with it are left out.
    seed
        Of the carving.
    encoder
        The teacher, which embeds every distinct text once, or None.
    link_score
        From which graded pairs mean the same (see `textsiam.split`).
    """
    tables = [source.examples for source in sources]
    n_given = sum(map(len, tables))
    held: list[tuple[str, Examples]] = []
    if validation is None:
        parts = [(table, table) for table in tables]
        if n_given >= MIN_ROWS_TO_CARVE:
            parts = carve(tables, VALIDATION_SHARE, seed=seed, link_score=link_score)
            held = [(source.name, own) for source, (_, own) in zip(sources, parts, strict=True)]
        learned = [rest for rest, _ in parts]
    elif validation is False:
        learned = tables
    else:
        members = validation if _is_mixture(validation) else {"validation": validation}
        held = [(str(name), read_examples(data)) for name, data in members.items()]
        learned = without(tables, [examples for _, examples in held], link_score=link_score)
    empty = [source.name for source, table in zip(sources, learned, strict=True) if not len(table)]
    if empty:
        raise ValueError(
            f"Of {', '.join(empty)} no row is left to learn from: each shares a text, or a chain of positives, with the "
            "validation data. Give other validation data."
        )
    # Over the whole tables: parts of graded ones alone could have other scores from which they are linked.
    graph = link([*tables, *(table for _, table in held if validation is not None)], link_score=link_score)
    tasks = [
        _task(source.name, table, source.loss, source.share, graph.components_of(table), encoder)
        for source, table in zip(sources, learned, strict=True)
    ]
    checks = [
        _task(name, table, None, None, graph.components_of(table), None)
        for name, table in held
        if _can_be_judged(table)
    ]
    told = {
        "carved": validation is None and bool(held),
        "train_rows": sum(len(task.columns) for task in tasks),
        "validation_rows": sum(len(task.columns) for task in checks),
        "rows_left_out": n_given - sum(map(len, learned)) - (sum(len(t) for _, t in held) if validation is None else 0),
        "link_score": graph.link_score,
    }
    return Parted(tasks, checks, told)


def _task(
    name: str,
    table: Examples,
    loss: Any,
    share: float | None,
    components: Int[np.ndarray, "n width"],
    teacher: Encoder | None,
) -> Task:
    if isinstance(table, Pairs):
        texts, *columns = table.unique()
        labels, scores = table.labels, None if table.labels is not None else table.scores
    else:
        texts, of_rows = table.unique()
        columns, labels, scores = list(of_rows), None, None
    kind = "triplets" if isinstance(table, Triplets) else "labels" if labels is not None else "scores"
    kind = "positives" if kind == "scores" and scores is None else kind
    return Task(
        name,
        texts,
        np.stack(columns, 1),
        loss or LOSSES[SUITABLE[kind][0]](),
        labels=None if labels is None else np.asarray(labels),
        scores=None if scores is None else np.asarray(scores),
        components=components,
        rows=table.rows,
        taught=teacher.embed(texts).embeddings if teacher else None,
        share=share,
    )


def _can_be_judged(table: Examples) -> bool:
    """Whether a metric is defined on these rows: both labels, or more than one score."""
    if not isinstance(table, Pairs):
        return len(table) > 0
    truth = table.labels if table.labels is not None else table.scores
    return len(table) > 1 and (truth is None or len(np.unique(np.asarray(truth))) > 1)


def _is_mixture(pairs: Any) -> bool:
    """A mapping of data sets, not of columns: columns are lists, and splits of one data set have columns of their own."""
    if not isinstance(pairs, Mapping) or not pairs:
        return False
    return any(
        isinstance(member, (tuple, Pairs, str)) or type(member).__name__ == "Triplets" for member in pairs.values()
    )
