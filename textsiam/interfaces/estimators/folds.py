"""Folds of pairs without leaks, for scikit-learn."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import BaseCrossValidator

from textsiam.data.pairs import Pairs
from textsiam.data.splitting import folds
from textsiam.interfaces.estimators.inputs import labels_of, numbered, two_columns, usable_pairs


class PairKFold(BaseCrossValidator):
    """Folds of pairs without leaks: no text, and no chain of pairs that mean the same, is in both training and test.

    A row whose two texts are in different folds is left out of a split that would leak (see `textsiam.folds`). A pair with an
    unusable text is in no split.

    Parameters
    ----------
    n_splits
        At least 2.
    random_state
        The same seed gives the same folds.

    Examples
    --------
    >>> pairs = [("a", "b"), ("b", "c"), ("d", "e"), ("f", "g")]
    >>> for train, test in PairKFold(2).split(pairs, [1, 1, 1, 0]):
    ...     print(train, test)
    [2] [0 1 3]
    [0 1 3] [2]
    """

    __metadata_request__split = {"groups": True}  # noqa: RUF012  like scikit-learn's own

    def __init__(self, n_splits: int = 5, *, random_state: int = 0) -> None:
        self.n_splits = n_splits
        self.random_state = random_state

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The row numbers for training and for testing, `n_splits` times.

        Parameters
        ----------
        X
            (n, 2) texts.
        y
            (n,) two labels; pairs that mean the same form chains. None: all pairs mean the same.
        groups
            (n,) group of each pair; pairs of one group stay on one side.
        """
        first, second = two_columns(X)
        usable, rows = usable_pairs(first, second)
        labels = None if y is None else labels_of(y, len(first))[rows]
        pairs = Pairs(usable.first, usable.second, labels=labels)
        links = links_of(pairs, None if groups is None else numbered(groups, len(first))[rows])
        for train, test in folds(pairs, self.n_splits, seed=self.random_state, links=links):
            yield rows[np.asarray(train.rows, dtype=np.int64) - 1], rows[np.asarray(test.rows, dtype=np.int64) - 1]

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: ARG002
        """How many splits there are."""
        return self.n_splits


def links_of(pairs: Pairs, groups: Int[np.ndarray, " n"] | None) -> list[tuple[str, str]]:
    """Links between texts that keep each group on one side."""
    if groups is None:
        return []
    order = np.argsort(groups, kind="stable").tolist()
    return [(pairs.first[a], pairs.first[b]) for a, b in pairwise(order) if groups[a] == groups[b]]
