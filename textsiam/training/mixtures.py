"""Whether what `train` was handed is one data set or several: a mapping of data sets looks much like a mapping of columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textsiam.data.pairs import Pairs
from textsiam.data.triplets import Triplets


def is_mixture(pairs: Any) -> bool:
    """A mapping of data sets, and neither one of columns nor the splits of one data set."""
    if not isinstance(pairs, Mapping) or not pairs or type(pairs).__name__ in ("DatasetDict", "IterableDatasetDict"):
        return False
    return all(_is_data(member[0] if is_member(member) else member) for member in pairs.values())


def is_member(member: object) -> bool:
    """(data, loss) or (data, loss, share); as a list too, where its first is no text, for then it would be a column."""
    if not isinstance(member, tuple | list) or not 1 <= len(member) <= 3 or not _is_data(member[0]):  # noqa: PLR2004
        return False
    return isinstance(member, tuple) or not isinstance(member[0], str)


def _is_data(member: Any) -> bool:
    """A data set, not a column of one: a table, a path, a mapping, or a list of rows."""
    if isinstance(member, Pairs | Triplets | str | Path | Mapping) or hasattr(member, "column_names"):
        return True
    if hasattr(member, "columns"):  # a data frame; a Series has none
        return True
    return isinstance(member, list) and bool(member) and all(isinstance(row, tuple | list) for row in member)
