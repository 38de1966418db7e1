"""Reads the inputs of scikit-learn estimators as columns of texts, pairs, labels and groups."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from textsiam.data.pairs import Pairs
from textsiam.data.texts import as_list
from textsiam.errors import UnreadableInput

logger = logging.getLogger("textsiam")


def one_column(given: Any) -> Sequence[Any]:
    """Texts from a list, an array (n,) or (n, 1), a Series, or a data frame with one column; else UnreadableInput."""
    if isinstance(given, (list, tuple)) and given and isinstance(given[0], (list, tuple, np.ndarray)):
        given = np.array(given, dtype=object)
    if getattr(given, "ndim", 1) == 1 and not hasattr(given, "columns"):
        return as_list(given)
    columns = _columns(given)
    if len(columns) != 1:
        raise UnreadableInput(
            f"One column of texts was expected, but got {len(columns)}. Name one: "
            "ColumnTransformer([('text', SentenceEncoder(), 'question')])."
        )
    return columns[0]


def two_columns(given: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """The first and second texts from rows of two, an array (n, 2), a data frame with two columns, or `Pairs`.

    UnreadableInput if there are more or fewer columns.
    """
    if isinstance(given, Pairs):
        return as_list(given.first), as_list(given.second)
    columns = _columns(given)
    if len(columns) != 2:  # noqa: PLR2004  a pair
        raise UnreadableInput(
            f"Pairs are two columns of texts, but got {len(columns)}. Give rows of two texts, or a data frame with two columns."
        )
    return columns[0], columns[1]


def names_of(given: Any) -> np.ndarray | None:
    """The names of a data frame's columns, if all are strings."""
    names = list(getattr(given, "columns", []))
    return np.array(names, dtype=object) if names and all(isinstance(name, str) for name in names) else None


def _columns(given: Any) -> list[Sequence[Any]]:
    """The columns of a table."""
    if hasattr(given, "toarray"):
        raise UnreadableInput("Sparse data has numbers, but these estimators read texts. Give the texts themselves.")
    if hasattr(given, "__array__") and not hasattr(given, "ndim") and not hasattr(given, "columns"):
        given = np.asarray(given)
    if hasattr(given, "columns") and hasattr(given, "shape"):  # pandas, polars
        return [as_list(given[name]) for name in given.columns]
    if hasattr(given, "ndim"):
        if given.ndim != 2:  # noqa: PLR2004
            raise UnreadableInput(f"A table of texts has two dimensions, but the shape is {given.shape}. Reshape it.")
        return [list(column) for column in np.asarray(given).T]
    rows = as_list(given)
    lengths = {len(row) if isinstance(row, (list, tuple, np.ndarray)) else 0 for row in rows}
    if len(lengths) > 1 or lengths == {0}:
        raise UnreadableInput(
            f"A table needs rows of equal length, but got lengths {sorted(lengths)}. Give rows of two texts."
        )
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[], []]


def usable_pairs(first: Sequence[Any], second: Sequence[Any]) -> tuple[Pairs, Int[np.ndarray, " usable"]]:
    """The pairs with two usable texts, and their row numbers from 0; the others are logged."""
    pairs = Pairs.usable(first, second)
    if pairs.set_aside:
        logger.warning("%s", pairs.set_aside)
    return pairs, np.asarray(pairs.rows, dtype=np.int64) - 1


def numbered(values: Any, n: int) -> Int[np.ndarray, " n"]:
    """Labels or groups as numbers from 0, in sorted order."""
    found = np.asarray(values)
    if found.shape != (n,):
        raise UnreadableInput(
            f"Each pair has one label or group, but got {n:,} pairs and shape {found.shape}. Align them row by row."
        )
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def labels_of(values: Any, n: int) -> Int[np.ndarray, " n"]:
    """Labels as 0 and 1: unchanged if they are so already (perhaps only one of them), else numbered in sorted order."""
    found = np.asarray(values)
    if found.shape == (n,) and found.dtype.kind in "biuf" and np.isin(found, (0, 1)).all():
        return found.astype(np.int64)
    return numbered(values, n)
