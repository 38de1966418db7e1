"""Folds of pairs that do not leak."""

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
    """Folds of pairs that do not leak: no text, and no chain of pairs that mean the same, in training and test.

    Rows whose two texts belong to different folds are in neither part of the split that would leak (`textsiam.folds`); so is a
    pair with an unusable text.

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

    __metadata_request__split = {"groups": True}  # noqa: RUF012  as scikit-learn's own do

    def __init__(self, n_splits: int = 5, *, random_state: int = 0) -> None:
        self.n_splits = n_splits
        self.random_state = random_state

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers for training and for testing, `n_splits` times.

        Parameters
        ----------
        X
            (n, 2) texts.
        y
            (n,) two labels, by which pairs that mean the same are chained. None: all pairs do.
        groups
            (n,) pairs of one group are never on two sides.
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
    """Pairs of texts that keep each group together: a pair goes where both its texts are, or nowhere."""
    if groups is None:
        return []
    order = np.argsort(groups, kind="stable").tolist()
    return [(pairs.first[a], pairs.first[b]) for a, b in pairwise(order) if groups[a] == groups[b]]
