"""The arrays that most modules pass to each other, by name (tests check their shapes); in pieces, and small products."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

Rows = Int[np.ndarray, " _"]  # row numbers, of any length
Scores = Float[np.ndarray, " _"]  # one for each pair, of any length
Vector = Float[np.ndarray, " dim"]
Vectors = Float[np.ndarray, "n dim"]
Others = Float[np.ndarray, "m dim"]  # vectors to compare others with
Found = tuple[Rows, Rows, Scores]  # left rows, right rows, and the score of each pair


def slices(n: int, size: int, start: int = 0) -> Iterator[slice]:
    """Places from `start` below n, `size` at a time."""
    return (slice(first, min(first + size, n)) for first in range(start, n, size))


N_ALONE, N_ALONE_OF_ONE_ROW = 2**18, 9_216  # multiplications in one product that OpenBLAS computes on a single thread
_N_SMALL = 2**25  # about a millisecond of one thread


def product(a: Float[np.ndarray, "... rows k"], b: Float[np.ndarray, "... k m"]) -> Float[np.ndarray, "... rows m"]:
    """``a @ b``; a small one on one thread.

    BLAS wakes its threads for a product that takes 20 microseconds, and they then wait for the next one in a busy loop: on two
    cores that made the encoder's next pass up to twice as long (benchmarks/LOG.md).

    Examples
    --------
    >>> product(np.ones((2, 3), np.float32), np.ones((3, 1), np.float32)).tolist()
    [[3.0], [3.0]]
    """
    rows, k, m = a.shape[-2], a.shape[-1], b.shape[-1]
    if rows == 1:  # a product with a vector
        return np.asarray(a @ b if k * m < N_ALONE_OF_ONE_ROW else np.einsum("...ik,...km->...im", a, b))
    step = N_ALONE // max(1, k * m)
    if rows <= step or not step or a.size * m > _N_SMALL:
        return np.asarray(a @ b)
    return np.concatenate([a[..., piece, :] @ b for piece in slices(rows, step)], axis=-2)
