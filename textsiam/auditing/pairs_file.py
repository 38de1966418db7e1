"""A join's matches, read from a pairs file, with their texts."""

from array import array
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from textsiam.data.pairs import fault_of_row
from textsiam.data.readers import read_texts
from textsiam.data.sources import open_source
from textsiam.data.tables import Record, Table
from textsiam.data.texts import Fault, SetAside, Texts, is_missing
from textsiam.errors import UnreadableInput
from textsiam.matching.matches import Matches

N_SHOWN = 5  # unknown ids in a message
_TOLD = ("log_odds", "probability", "reason")  # columns that a pairs file may have


def read_matches(
    source: Any, texts: Any = None, against: Any = None, reading: Mapping[str, Any] | None = None
) -> tuple[Matches, SetAside]:
    """The matches of a pairs file with their texts, and the rows that were set aside.

    Raises UnreadableInput if a column is missing, if there is no match, if texts are missing, or if an id is not among the texts;
    OSError if a file cannot be opened.

    Parameters
    ----------
    source
        A file that `textsiam duplicates -o` wrote (csv, jsonl, parquet, …), or a data frame or mapping with its columns
        ``id_a``, ``id_b``, ``score`` and, optionally, ``log_odds``, ``probability`` and ``reason``.
    texts, against
        The texts that were joined, and those they were compared with if others; ids find them. Default: the source's own
        columns ``text_a`` and ``text_b``.
    reading
        Parameters of `read_texts`: ``column``, ``id_column``, ``split``, ``format``, ``delimiter``, ``encoding``.

    Examples
    --------
    >>> pairs = {"id_a": ["1"], "id_b": ["2"], "score": [0.9]}
    >>> matches, set_aside = read_matches(pairs, ["How do I pay?", "How to pay?"])
    >>> list(matches), len(set_aside)
    ([Match(left=0, right=1, score=0.8999999761581421)], 0)
    """
    with closing(open_source(source)) as table:
        columns = _columns(table, texts is not None)
        sides = _Sides(table.name, texts, against, reading or {})
        score, numbers = array("f"), {name: array("f") for name in ("log_odds", "probability")}
        reasons: list[str] = []
        faults = []
        for record in table.records(columns):
            fault, value = _score(record)
            fault = fault or sides.add(record)
            if fault:
                faults.append(Fault(table.name, record.row, fault))
                continue
            score.append(value)
            for name, column in numbers.items():
                column.append(_number(record.values.get(name)))
            reasons.append("" if is_missing(reason := record.values.get("reason")) else str(reason))
    sides.refuse_unknown()
    if not len(score):
        aside = f" ({SetAside(tuple(faults))})" if faults else ""
        raise UnreadableInput(f"{table.name} holds no match{aside}. Join with a lower threshold, then audit that.")
    told: dict[str, Any] = {}
    for name, values in numbers.items():
        filled = np.array(values, dtype=np.float32)
        told[name] = None if np.isnan(filled).any() else filled
    told["reason"] = np.array([*reasons, None], dtype=object)[:-1] if any(reasons) else None
    return sides.matches(np.array(score, dtype=np.float32), **told), SetAside(tuple(faults))


def _columns(table: Table, has_texts: bool) -> list[str]:  # noqa: FBT001
    if missing := [name for name in ("id_a", "id_b", "score") if name not in table.columns]:
        raise UnreadableInput(
            f"{table.name} is no pairs file: it has no column {', '.join(missing)}. It has: {', '.join(table.columns)}. Give "
            "what `textsiam duplicates -o` wrote."
        )
    own = [] if has_texts else ["text_a", "text_b"]
    if [name for name in own if name not in table.columns]:
        raise UnreadableInput(
            f"{table.name} holds ids and no texts, but labellers read texts. Give the file that was searched (--texts, texts=)."
        )
    return ["id_a", "id_b", "score", *own, *(name for name in _TOLD if name in table.columns)]


def _score(record: Record) -> tuple[str, float]:
    """What is wrong with the row's score, or ``""``, and the score."""
    if record.fault:
        return record.fault, 0.0
    value = _number(record.values.get("score"))
    return ("" if np.isfinite(value) else f"score {record.values.get('score')!r} is no finite number"), value


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


class _Sides:
    """The two sides of the matches: places among the texts that were read, or the matches' own texts."""

    def __init__(self, name: str, texts: Any, against: Any, reading: Mapping[str, Any]) -> None:
        if against is not None and texts is None:
            raise UnreadableInput(
                f"{name} was compared with other texts, but no texts were given. Give both (--texts, --against)."
            )
        self.name, self.left, self.right = name, array("q"), array("q")
        self.texts: Texts | None = None if texts is None else read_texts(texts, **reading)
        self.others: Texts | None = None if against is None else read_texts(against, **reading)
        self.places = [_places(side) for side in (self.texts, self.others or self.texts)]
        self.own: tuple[list[str], ...] = ([], [], [], [])  # id_a, id_b, text_a, text_b
        self.unknown: list[str] = []

    def add(self, record: Record) -> str:
        """Why the row is no match, or ``""`` if it was added."""
        ids = [str(record.values.get(name)) for name in ("id_a", "id_b")]
        if self.texts is None:
            values = [record.values.get(name) for name in ("text_a", "text_b")]
            if fault := fault_of_row(("text_a", "text_b"), values):
                return fault
            for column, cell in zip(self.own, [*ids, *map(str, values)], strict=True):
                column.append(cell)
            return ""
        rows = [places.get(name, -1) for places, name in zip(self.places, ids, strict=True)]
        self.unknown += [f"{name!r} (row {record.row})" for name, row in zip(ids, rows, strict=True) if row < 0]
        self.left.append(rows[0])
        self.right.append(rows[1])
        return ""

    def refuse_unknown(self) -> None:
        """Raise UnreadableInput if an id is not among the texts."""
        if self.unknown:
            raise UnreadableInput(
                f"{self.name} names {len(self.unknown):,} ids that the texts do not hold: {', '.join(self.unknown[:N_SHOWN])}. "
                "Give the files that were searched, with the same --column and --id-column."
            )

    def matches(self, score: np.ndarray, **told: Any) -> Matches:
        """All matches that were added."""
        if self.texts is None:
            id_a, id_b, text_a, text_b = self.own
            rows = np.arange(len(id_a))
            sides: dict[str, Any] = dict(left_ids=id_a, right_ids=id_b, left_texts=text_a, right_texts=text_b)
            return Matches(rows, rows, score, len(rows), len(rows), **sides, **told)
        left, right = (np.array(rows, dtype=np.int64) for rows in (self.left, self.right))
        sides = dict(left_ids=self.texts.ids, left_texts=self.texts)
        if self.others is not None:
            sides |= dict(right_ids=self.others.ids, right_texts=self.others, n_right=len(self.others))
        return Matches(left, right, score, len(self.texts), **sides, **told)


def _places(texts: Texts | None) -> dict[str, int]:
    return {} if texts is None else {str(name): place for place, name in enumerate(texts.ids)}
