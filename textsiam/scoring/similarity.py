"""Four similarities, for pairs of rows and as a matrix. Larger is always closer, so distances are negative.

Every formula uses only operators that NumPy and PyTorch share, so inference and training run the same code. The epsilon is inside
the root, because a plain root has NaN gradients for equal rows and zero rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from textsiam.arrays import Rows as Numbers
from textsiam.arrays import Scores

# NumPy arrays or PyTorch tensors; functions return the same kind.
Rows = Float[Any, "n dim"]
Others = Float[Any, "m dim"]

EPSILON = 1e-12
_N_AT_ONCE = 512  # pairs whose rows fit a core's cache


def paired_cosine(first: Rows, second: Rows) -> Float[Any, " n"]:
    """Cosine of the angle between row i of `first` and row i of `second`.

    Shape (n, dim), (n, dim) → (n,), in [-1, 1] up to rounding. A zero row scores 0 with everything.

    Examples
    --------
    >>> import numpy as np
    >>> paired_cosine(np.array([[1.0, 0.0]]), np.array([[3.0, 4.0]])).round(6)
    array([0.6])
    """
    return (first * second).sum(-1) / (_length(first) * _length(second))


def cosine_matrix(first: Rows, second: Others) -> Float[Any, "n m"]:
    """Cosine between every row of `first` and every row of `second`: (n, dim), (m, dim) → (n, m)."""
    return (first / _length(first)[:, None]) @ (second / _length(second)[:, None]).T


def paired_dot(first: Rows, second: Rows) -> Float[Any, " n"]:
    """Inner product of row i with row i: (n, dim), (n, dim) → (n,).

    Examples
    --------
    >>> import numpy as np
    >>> paired_dot(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([11.])
    """
    return (first * second).sum(-1)


def dot_matrix(first: Rows, second: Others) -> Float[Any, "n m"]:
    """Inner product of every row with every row: (n, dim), (m, dim) → (n, m)."""
    return first @ second.T


def paired_euclidean(first: Rows, second: Rows) -> Float[Any, " n"]:
    """Negative Euclidean distance between row i and row i: (n, dim), (n, dim) → (n,), at most 0, 0 for equal rows.

    Examples
    --------
    >>> import numpy as np
    >>> paired_euclidean(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).round(5)
    array([-5.])
    """
    difference = first - second
    return _negative_root((difference * difference).sum(-1))


def euclidean_matrix(first: Rows, second: Others) -> Float[Any, "n m"]:
    """Negative Euclidean distance between every row and every row: (n, dim), (m, dim) → (n, m).

    Uses the expanded square, so it needs one matrix product; close rows lose digits (about 1e-3 in fp32 for unit vectors).
    """
    squares = (first * first).sum(-1)[:, None] + (second * second).sum(-1)[None, :] - 2 * (first @ second.T)
    return _negative_root(squares.clip(min=0))


def paired_manhattan(first: Rows, second: Rows) -> Float[Any, " n"]:
    """Negative Manhattan distance between row i and row i: (n, dim), (n, dim) → (n,), at most 0.

    Examples
    --------
    >>> import numpy as np
    >>> paired_manhattan(np.array([[0.0, 0.0]]), np.array([[3.0, -4.0]]))
    array([-7.])
    """
    return -abs(first - second).sum(-1)


def manhattan_matrix(first: Rows, second: Others) -> Float[Any, "n m"]:
    """Negative Manhattan distance between every row and every row: (n, dim), (m, dim) → (n, m).

    Needs memory for n × m × dim numbers: for large sets call it block by block.
    """
    return -abs(first[:, None, :] - second[None, :, :]).sum(-1)


class Similarity(NamedTuple):
    """A similarity for aligned rows, (n, dim), (n, dim) → (n,), and for all pairs of rows, (n, dim), (m, dim) → (n, m)."""

    paired: Callable[[Any, Any], Any]
    matrix: Callable[[Any, Any], Any]


SIMILARITIES: dict[str, Similarity] = {
    "cosine": Similarity(paired_cosine, cosine_matrix),
    "dot": Similarity(paired_dot, dot_matrix),
    "euclidean": Similarity(paired_euclidean, euclidean_matrix),
    "manhattan": Similarity(paired_manhattan, manhattan_matrix),
}


def scores_of(
    similarity: str,
    first: Float[np.ndarray, "n dim"],
    second: Float[np.ndarray, "m dim"],
    left: Numbers,
    right: Numbers,
) -> Scores:
    """The score of row ``left[k]`` of `first` with row ``right[k]`` of `second`: computed in fp64, rounded once to fp32.

    Examples
    --------
    >>> rows = np.array([[1, 0], [3, 4]], dtype=np.float32)
    >>> scores_of("cosine", rows, rows, np.array([0, 1]), np.array([1, 1]))
    array([0.6, 1. ], dtype=float32)
    """
    paired = SIMILARITIES[similarity].paired
    scores = np.empty(len(left), dtype=np.float32)
    for start in range(0, len(left), _N_AT_ONCE):
        block = slice(start, start + _N_AT_ONCE)
        scores[block] = paired(first[left[block]].astype(np.float64), second[right[block]].astype(np.float64))
    return scores


def _length(rows: Rows) -> Float[Any, " n"]:
    return ((rows * rows).sum(-1) + EPSILON) ** 0.5


def _negative_root(squares: Float[Any, "*shape"]) -> Float[Any, "*shape"]:
    # Shifted by the root of epsilon, so that equal rows score exactly 0.
    return EPSILON**0.5 - (squares + EPSILON) ** 0.5
