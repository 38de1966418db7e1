"""The join's kernel: products of int8 matrices through PyTorch, and threads that each keep to one core.

The only module of this folder that imports torch, and itself imported only where a join is large enough to be worth it.
An int8 product is exact in int32: unlike a float's it has no rounding error to bound, and it is twice as fast as bf16's.
"""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Int8, Int32

from textsiam.encoding import processor

# The instructions that multiply int8 exactly. Without them oneDNN adds pairs of products in 16 bits, which overflow.
_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")


def multiply(a: Int8[np.ndarray, "r k"], b: Int8[np.ndarray, "c k"], out: Int32[np.ndarray, "r c"]) -> None:
    """``out[:] = a @ b.T``."""
    torch._int_mm(torch.from_numpy(a), torch.from_numpy(b).T, out=torch.from_numpy(out))  # noqa: SLF001  checked below


@functools.cache
def multiplies_int8() -> bool:
    """Whether this processor multiplies int8 matrices itself, and this torch does it right: its function is private."""
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if not any(flags.get(name) for name in _INSTRUCTIONS):
        return False
    numbers = np.random.default_rng(0).integers(-127, 128, (2, 37, 99), dtype=np.int8)
    numbers[:, 0], numbers[:, 1] = 127, -127  # rows at the ends of the range
    out = np.empty((37, 37), dtype=np.int32)
    try:
        multiply(numbers[0], numbers[1], out)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool((out == numbers[0].astype(np.int32) @ numbers[1].astype(np.int32).T).all())


def n_threads() -> int:
    """How many threads multiply: as many as the encoder takes, or fewer where torch was set to fewer."""
    return min(torch.get_num_threads(), processor.n_threads())


@contextmanager
def threads(n: int) -> Iterator[ThreadPoolExecutor]:
    """`n` threads for products of their own: faster than one product that all of them share."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)  # the number is a thread's own, but new threads begin with the last one set
