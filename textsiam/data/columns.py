"""Names of columns: which hold texts, pairs, labels, scores and ids.

Names are compared without case. A column that the caller names always wins. The user sees which columns were chosen.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from textsiam.data.texts import fault_of
from textsiam.errors import UnreadableInput

TEXT_COLUMNS = ("text", "question", "sentence", "query", "title", "utterance", "content", "body")
ID_COLUMNS = ("id", "_id", "qid")
SPLIT_COLUMN = "split"

# Pairs of columns, tried in this order.
PAIR_COLUMNS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("first", "second"),
    ("anchor", "positive"),
)
# `negative`, or `negative_1`, `negative_2`, …, as mined negatives are stored.
NEGATIVE_COLUMN = re.compile(r"negative(?:_([0-9]+))?", re.IGNORECASE)
LABEL_COLUMNS = ("label", "is_duplicate", "labels")
SCORE_COLUMNS = ("score", "similarity_score", "scores")


def find_column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of `names` that is among `columns`, as the source spells it, or None.

    Examples
    --------
    >>> find_column(["ID", "Question"], TEXT_COLUMNS)
    'Question'
    """
    spelled = {column.lower(): column for column in reversed(columns)}
    return next((spelled[name] for name in names if name in spelled), None)


def named_column(source: str, columns: Sequence[str], name: str) -> str:
    """`name`. Raises `UnreadableInput` if the source has no such column, with a hint if the delimiter looks wrong."""
    if name in columns:
        return name
    raise UnreadableInput(f"{source} has no column {name!r}. {_what_it_has(columns)}")


def text_column(source: str, columns: Sequence[str]) -> str:
    """The column that holds texts: the only one, or the one with a usual name. Raises `UnreadableInput` if there is none."""
    if len(columns) == 1 and not _other_delimiter(columns):
        return columns[0]
    if found := find_column(columns, TEXT_COLUMNS):
        return found
    raise UnreadableInput(
        f"{source} does not say which column holds the texts: name it (--column, column=). {_what_it_has(columns)}"
    )


def pair_columns(source: str, columns: Sequence[str]) -> tuple[str, str]:
    """The two columns that hold the texts of a pair. Raises `UnreadableInput` if no two have usual names."""
    for names in PAIR_COLUMNS:
        first, second = (find_column(columns, [name]) for name in names)
        if first and second:
            return first, second
    raise UnreadableInput(
        f"{source} does not say which two columns hold the pairs: name them (--first and --second, first= and second=). "
        f"{_what_it_has(columns)}"
    )


def negative_columns(columns: Sequence[str]) -> list[str]:
    """The columns of negatives, ordered by number: ``negative``, or ``negative_1``, ``negative_2``, ….

    Examples
    --------
    >>> negative_columns(["anchor", "positive", "Negative"])
    ['Negative']
    >>> negative_columns(["negative_10", "negative_2", "negatives"])
    ['negative_2', 'negative_10']
    """
    found = {column: match[1] or -1 for column in columns if (match := NEGATIVE_COLUMN.fullmatch(column))}
    return sorted(found, key=lambda column: int(found[column]))


class PairColumns(NamedTuple):
    """Which columns hold a pair's texts, its label and its score."""

    first: str
    second: str
    label: str | None
    score: str | None

    def mapping(self) -> dict[str, str]:
        """The columns that exist, by what they hold."""
        return {name: column for name, column in self._asdict().items() if column}


def find_pair_columns(
    source: str,
    columns: Sequence[str],
    *,
    first: str | None = None,
    second: str | None = None,
    label: str | None = None,
    score: str | None = None,
) -> PairColumns:
    """The columns that hold pairs: those that the caller names, else those with usual names.

    Raises `UnreadableInput` if a named column is missing, or if no two columns have usual names.
    """

    def named(name: str | None) -> str | None:
        return named_column(source, columns, name) if name else None

    if (first is None) != (second is None):
        raise UnreadableInput(
            f"A pair has two columns, but only {first or second!r} was named. Name both (--first and --second)."
        )
    if first is not None and first == second:
        raise UnreadableInput(
            f"A pair has two columns, but {first!r} was named for both. Name two (--first and --second)."
        )
    first, second = (str(named(first)), str(named(second))) if first and second else pair_columns(source, columns)
    return PairColumns(
        first,
        second,
        named(label) or find_column(columns, LABEL_COLUMNS),
        named(score) or find_column(columns, SCORE_COLUMNS),
    )


def _what_it_has(columns: Sequence[str]) -> str:
    if any(fault_of(column).startswith(("undecodable", "not Unicode")) for column in columns):
        return "Its header cannot be decoded: name the encoding, such as latin-1 (--encoding, encoding=)."
    if delimiter := _other_delimiter(columns):
        return f"Its header {columns[0][:80]!r} looks delimited by {delimiter!r}: name the delimiter (--delimiter, delimiter=)."
    return f"It has: {', '.join(columns)}."


def _other_delimiter(columns: Sequence[str]) -> str:
    return next((mark for mark in ("\t", ";", "|", ",") if mark in columns[0]), "") if len(columns) == 1 else ""
