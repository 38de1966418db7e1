"""Which texts are tokenised in one call, and which computed in one batch."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

# Texts tokenised in one call: enough to keep the tokenizer's threads busy, little enough to show progress. Long texts
# are bounded by their characters, for the tokenizer holds about a hundred bytes a token, cut or not.
N_TEXTS_A_CALL, N_CHARACTERS_A_CALL = 8_192, 2_000_000


def batches_of(
    lengths: Int[np.ndarray, " n"], token_budget: int, padding_budget: int
) -> Iterator[Int[np.ndarray, " m"]]:
    """Rows of each batch, longest first: neighbours in length, and no more padding among them than is allowed.

    All but the last hold a number of rows that comes again (`rounded_down`): every new shape costs a backend time and memory.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        rows = order[start : start + max(1, token_budget // longest)]
        size = int(np.searchsorted(np.cumsum(longest - lengths[rows]), padding_budget, side="right"))
        if start + size < len(order):
            size = rounded_down(size)
        yield rows[:size]
        start += size


def rounded_down(n: int) -> int:
    """The largest of 1, 2, 4 and the multiples of 8 that is no larger.

    Examples
    --------
    >>> [rounded_down(n) for n in (1, 3, 7, 8, 30)]
    [1, 2, 4, 8, 24]
    """
    return n - n % 8 if n >= 8 else 1 << (n.bit_length() - 1)  # noqa: PLR2004


def rounded_up(n: int) -> int:
    """The smallest of 1, 2, 4 and the multiples of 8 that is no smaller.

    Examples
    --------
    >>> [rounded_up(n) for n in (1, 3, 7, 8, 30)]
    [1, 4, 8, 8, 32]
    """
    return -(-n // 8) * 8 if n > 4 else 1 << (n - 1).bit_length()  # noqa: PLR2004


def calls_of(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Neighbouring texts that are tokenised together."""
    start = n_characters = 0
    for place, text in enumerate(texts):
        n_characters += len(text)
        if place - start == N_TEXTS_A_CALL or (n_characters > N_CHARACTERS_A_CALL and place > start):
            yield start, place
            start, n_characters = place, len(text)
    if len(texts):
        yield start, len(texts)
