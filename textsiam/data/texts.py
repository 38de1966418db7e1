"""Texts with ids, what makes a text usable, and the record of the unusable ones.

A text is usable if it is a string, is valid Unicode and has at least one visible character. Texts without one all get the
same vector and would score 1.0 against each other. So they are set aside when they are read, with row number and reason.
No text is dropped silently.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

import numpy as np
from jaxtyping import Int, Shaped

from textsiam.errors import BadRows, UnreadableInput

# One letter or digit is enough. Hangul fillers are letters in Unicode, but invisible.
_LETTER = re.compile("[^\\W_\u115f\u1160\u3164\uffa0]")
# Categories that are invisible by themselves: controls, formats, separators, unassigned, marks on another character.
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp", "Mn", "Me"})
_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffd")


def _is_visible(text: str) -> bool:
    return bool(_LETTER.search(text)) or any(
        mark not in _UNSEEN and unicodedata.category(mark) not in _UNSEEN_CATEGORIES for mark in text
    )


def is_missing(value: object) -> bool:
    """Whether a value is one of the marks for "nothing here": None, NaN, pandas' NA and NaT."""
    # pandas' marks are recognised by name: comparing pd.NA raises, and importing pandas would be slow.
    is_nan = isinstance(value, (float, np.floating)) and bool(np.isnan(value))
    return value is None or is_nan or type(value).__name__ in {"NAType", "NaTType"}


def as_list(values: Iterable[Any]) -> Sequence[Any]:
    """The values of a column by position: of a list, a tuple, an iterator, an array, or a pandas, polars or arrow series.

    A pandas Series is indexed by its labels, which are not positions after a filter or a sort. Raises `UnreadableInput` if
    `values` is a single string (it would give its characters), a table (it would give its names), or not iterable.

    Examples
    --------
    >>> as_list(iter(["a", "b"]))
    ['a', 'b']
    """
    if isinstance(values, (str, bytes)):
        raise UnreadableInput(f"Expected a list of texts, but got one string: {values[:40]!r}. Put it in a list.")
    if isinstance(values, (list, tuple, Texts)):
        return values
    is_table = hasattr(values, "columns") or hasattr(values, "column_names")
    if is_table or not hasattr(values, "__iter__"):
        remedy = "Give one of its columns; read_texts finds it" if is_table else "Give a list"
        raise UnreadableInput(f"Expected a list of texts, but got a {type(values).__name__}. {remedy}.")
    method = next((name for name in ("to_pylist", "to_list", "tolist") if hasattr(values, name)), None)
    return list(getattr(values, method)() if method else values)


def fault_of(value: object) -> str:
    """Why this value is not a usable text, or ``""`` if it is one.

    Examples
    --------
    >>> fault_of("How do I pay?"), fault_of("NA"), fault_of(" "), fault_of(None), fault_of(3)
    ('', '', 'only whitespace', 'null', 'not text (int)')
    """
    if not isinstance(value, str):
        return "null" if is_missing(value) else f"not text ({type(value).__name__})"
    if not value:
        return "empty"
    if not _is_visible(value) and not any("\ud800" <= mark <= "\udfff" for mark in value):
        return "only whitespace" if value.isspace() else "nothing visible"
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            code = ord(value[error.start])
            # Readers decode with surrogateescape, which puts the undecodable byte 0xNN at U+DCNN.
            return f"undecodable (byte 0x{code - 0xDC00:02x})" if 0xDC80 <= code <= 0xDCFF else "not Unicode"  # noqa: PLR2004
    return ""


def normalise(text: str) -> str:
    r"""The text without differences of compatibility characters, case and whitespace (NFKC, casefold, single spaces).

    Examples
    --------
    >>> normalise("  How do I\tPAY？ ")
    'how do i pay?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def distinct(texts: Iterable[str]) -> tuple[list[str], Int[np.ndarray, " n"]]:
    """Each distinct text once, in order of first appearance, and for every text its place among them.

    Examples
    --------
    >>> distinct(["b", "a", "b"])
    (['b', 'a'], array([0, 1, 0]))
    """
    places: dict[str, int] = {}
    rows = [places.setdefault(text, len(places)) for text in texts]
    return list(places), np.array(rows, dtype=np.int64)


def few(values: Sequence[object], n: int = 10) -> str:
    """The first `n` values, with an ellipsis if there are more.

    Examples
    --------
    >>> few([3, 5, 8], 2)
    '3, 5, …'
    """
    return ", ".join(map(str, values[:n])) + (", …" if len(values) > n else "")


class Fault(NamedTuple):
    """One unusable row: where it is and why it is unusable. Rows count from 1, without the header."""

    source: str
    row: int
    reason: str


@dataclass(frozen=True)
class SetAside:
    """The unusable rows of a source, with reasons.

    Examples
    --------
    >>> print(SetAside((Fault("faq.csv", 3, "empty"), Fault("faq.csv", 9, "empty"), Fault("faq.csv", 4, "null"))))
    3 rows set aside: 2 empty (rows 3, 9), 1 null (row 4)
    """

    faults: tuple[Fault, ...] = ()

    def __len__(self) -> int:
        return len(self.faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __add__(self, other: "SetAside") -> "SetAside":
        return SetAside(self.faults + other.faults)

    @property
    def rows(self) -> tuple[int, ...]:
        """Row numbers, in the order of the source."""
        return tuple(fault.row for fault in self.faults)

    def counts(self) -> dict[str, int]:
        """Number of rows per reason, most frequent first."""
        return dict(Counter(fault.reason for fault in self.faults).most_common())

    def __str__(self) -> str:
        if not self.faults:
            return "no row set aside"
        rows: dict[str, list[int]] = {}
        for fault in self.faults:
            rows.setdefault(fault.reason, []).append(fault.row)
        parts = []
        for reason in list(self.counts())[:8]:
            own = rows[reason]
            parts.append(f"{len(own):,} {reason} (row{'s' if len(own) > 1 else ''} {few(own, 5)})")
        if len(rows) > len(parts):
            parts.append(f"{len(rows) - len(parts):,} other reasons")
        return f"{len(self):,} row{'s' if len(self) > 1 else ''} set aside: {', '.join(parts)}"

    def columns(self) -> dict[str, list[str] | list[int]]:
        """``source``, ``row`` and ``reason`` of each row, as columns for a file."""
        return {name: [getattr(fault, name) for fault in self.faults] for name in Fault._fields}

    def refuse(self) -> None:
        """Raise `BadRows`, with rows and reasons, if any row was set aside."""
        if self.faults:
            sources = ", ".join(dict.fromkeys(fault.source for fault in self.faults))
            raise BadRows(f"{sources}: {self}. Correct these rows, or read without `strict` to use the others.", self)


@dataclass(frozen=True, eq=False, repr=False)
class Texts(Sequence[str]):
    """Usable texts with their ids and rows: a sequence of strings.

    Parameters
    ----------
    texts
        Strings, each usable (see `fault_of`).
    ids
        One id per text, all different. Default: the row numbers.
    rows
        Row number of each text in its source, from 1. Default: 1, 2, 3, …
    set_aside
        The unusable rows of the source, with reasons.
    mapping
        Which column was read as what, to show to the user.
    renamed
        Rows whose id repeats an earlier one, so that the row number was appended, as in ``a1#7``.

    Raises
    ------
    UnreadableInput
        If a text is unusable, an id repeats, or the columns differ in length.

    Examples
    --------
    >>> texts = Texts(["How do I pay?", "How to pay?"], ids=["q1", "q2"])
    >>> len(texts), texts[1], texts.ids[1]
    (2, 'How to pay?', 'q2')
    """

    texts: Sequence[str]
    ids: Sequence[str] | Shaped[np.ndarray, " n"] = ()
    rows: Sequence[int] | Shaped[np.ndarray, " n"] = ()
    set_aside: SetAside = field(default_factory=SetAside)
    mapping: dict[str, str] = field(default_factory=dict)
    renamed: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", as_list(self.texts))
        object.__setattr__(self, "rows", self.rows if len(self.rows) else range(1, len(self.texts) + 1))
        object.__setattr__(self, "ids", self.ids if len(self.ids) else [str(row) for row in self.rows])
        if not len(self.texts) == len(self.ids) == len(self.rows):
            raise UnreadableInput(
                f"Texts needs one id and one row for each text, but got {len(self.texts)} texts, {len(self.ids)} ids "
                f"and {len(self.rows)} rows. Give columns of equal length."
            )
        for row, text in zip(self.rows, self.texts, strict=True):
            if fault := fault_of(text):
                raise UnreadableInput(
                    f"Row {row} is not a usable text: {fault}. Use read_texts, which sets such rows aside."
                )
        if repeated := first_repeat(self.ids):
            raise UnreadableInput(f"Ids must differ, but {repeated!r} names more than one text. Give each its own id.")

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        return list(self.texts[place]) if isinstance(place, slice) else self.texts[place]

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"Texts({len(self):,} texts, {self.set_aside})"

    @property
    def n_read(self) -> int:
        """Number of rows in the source, usable or not."""
        return len(self) + len(self.set_aside)


def join_texts(parts: Mapping[str, Texts]) -> Texts:
    """The texts of several named sources as one. If there is more than one, ids begin with the source's name (``a.csv:17``).

    Examples
    --------
    >>> join_texts({"a.csv": Texts(["x"]), "b.csv": Texts(["y"])}).ids
    ['a.csv:1', 'b.csv:1']
    """
    if len(parts) == 1:
        return next(iter(parts.values()))
    return Texts(
        [text for part in parts.values() for text in part.texts],
        ids=[f"{name}:{own}" for name, part in parts.items() for own in part.ids],
        set_aside=SetAside(tuple(fault for part in parts.values() for fault in part.set_aside)),
        mapping={
            name: ", ".join(f"{what} ← {column}" for what, column in part.mapping.items())
            for name, part in parts.items()
        },
        renamed=tuple(fault for part in parts.values() for fault in part.renamed),
    )


def first_repeat(ids: Iterable[str]) -> str | None:
    """The first id that repeats an earlier one, or None.

    Examples
    --------
    >>> first_repeat(["a", "b", "a"])
    'a'
    """
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            return name
        seen.add(name)
    return None
