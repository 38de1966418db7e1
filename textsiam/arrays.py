"""The arrays that most modules pass to each other, by name (tests check their shapes); and long ones in pieces."""

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
