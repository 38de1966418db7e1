"""Heads of short rows: a third of their numbers is enough to rule nearly all rows out where the threshold is high.

One query against a million rows takes as long as it takes to read them. A head holds a short row's first coordinates and the
length of the others, so that by Cauchy and Schwarz the product of two heads is never below that of the short rows. A query tries
them on some rows first: where too many pass, heads would cost more than they save.
"""

import numpy as np
from jaxtyping import Float, Int

from textsiam.indexing.products import times
from textsiam.matching.screens import SPARE, UNIT

Short = Float[np.ndarray, "_ length"]

_N_LEADING = 23
_BLOCK = 16_384
_N_TRIED = 16_384
_MOST = 0.01  # the share that may pass: single rows are read slowly
FROM = 65_536  # rows, from which on they pay


class Heads:
    """Heads of some short rows.

    Parameters
    ----------
    short
        (n, length), fp32.
    """

    def __init__(self, short: Short) -> None:
        self.short = short
        self._heads = np.concatenate([_heads(short[start : start + _BLOCK]) for start in range(0, len(short), _BLOCK)])
        # The lengths' rounding and the two products'.
        self._slack = 2 * (short.shape[1] + 2 * SPARE) * UNIT * 1.01

    def reaching(self, query: Float[np.ndarray, " length"], lowest: float) -> Int[np.ndarray, " _"] | None:
        """Rows among which are all whose product with the query is `lowest` or more; None: too many to look at one by one."""
        head, least = _heads(query[None])[0], np.float32(lowest - self._slack)
        if np.count_nonzero(times(self._heads[:_N_TRIED], head) >= least) > _MOST * _N_TRIED:
            return None
        rows = np.flatnonzero(times(self._heads, head) >= least)
        if len(rows) > _MOST * len(self._heads):
            return None
        return rows[times(self.short[rows], query) >= least]


def _heads(short: Short) -> Float[np.ndarray, "_ _"]:
    heads = np.empty((len(short), _N_LEADING + 1), dtype=np.float32)
    heads[:, :_N_LEADING] = short[:, :_N_LEADING]
    rest = short[:, _N_LEADING:]
    heads[:, _N_LEADING] = np.sqrt(np.einsum("ij,ij->i", rest, rest))
    return heads
