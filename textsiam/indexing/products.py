"""The product of many rows with one vector, at the pace of memory, on threads that sleep as soon as they are done.

OpenBLAS's own wait awake for some 20 ms, which takes the cores from whoever computes next: the encoder, whose text was to be
looked up. So no call here is large enough for OpenBLAS to share it among threads.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from jaxtyping import Float

_MOST_NUMBERS = 9_200  # of a matrix that OpenBLAS multiplies on one thread
_FOR_A_THREAD = 2**20  # numbers that pay for one
_MOST_THREADS = 4  # memory gives no more


def times(
    rows: Float[np.ndarray, "n k"], vector: Float[np.ndarray, " k"], out: Float[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " n"]:
    """``rows @ vector``, of fp32.

    Parameters
    ----------
    rows, vector
        Contiguous.
    out
        Where to put it.

    Examples
    --------
    >>> times(np.eye(2, dtype=np.float32), np.array([3, 4], dtype=np.float32))
    array([3., 4.], dtype=float32)
    """
    out = np.empty(len(rows), dtype=np.float32) if out is None else out
    n_parts = max(1, min(_n_threads(), rows.size // _FOR_A_THREAD))
    ends = [len(rows) * part // n_parts for part in range(n_parts + 1)]
    parts = [slice(start, stop) for start, stop in pairwise(ends)]
    waiting = [_pool(os.getpid()).submit(_times, rows[part], vector, out[part]) for part in parts[1:]]
    _times(rows[parts[0]], vector, out[parts[0]])
    for future in waiting:
        future.result()
    return out


def _times(rows: Float[np.ndarray, "n k"], vector: Float[np.ndarray, " k"], out: Float[np.ndarray, " n"]) -> None:
    step = max(1, _MOST_NUMBERS // rows.shape[1])
    n = len(rows) // step * step
    # A stack of matrices is one call of NumPy's, but one of OpenBLAS's for each.
    np.matmul(rows[:n].reshape(-1, step, rows.shape[1]), vector, out=out[:n].reshape(-1, step))
    np.matmul(rows[n:], vector, out=out[n:])


def _n_threads() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_THREADS, allowed)


@functools.cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """One for each process: a fork has none of its parent's threads."""
    return ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="textsiam")
