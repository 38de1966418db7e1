"""The arrays that most modules pass to each other, by name; their shapes are checked in tests."""

import numpy as np
from jaxtyping import Float, Int

Rows = Int[np.ndarray, " _"]  # row numbers, of any length
Scores = Float[np.ndarray, " _"]  # one for each pair, of any length
Vector = Float[np.ndarray, " dim"]
Vectors = Float[np.ndarray, "n dim"]
Others = Float[np.ndarray, "m dim"]  # vectors to compare others with
Found = tuple[Rows, Rows, Scores]  # left rows, right rows, and the score of each pair
