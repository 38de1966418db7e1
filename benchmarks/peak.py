"""What this machine's matrix units can do at most: GFLOP/s of one large product in fp32, bf16 and int8, two threads.

The limit that every share in these benchmarks is a share of. Called by the others, so that it is measured in their run.
"""

import time

N_TOKENS, N_IN, N_OUT, N_REPEATS = 2_048, 1_536, 1_536, 15


def peaks() -> dict[str, float]:
    """The best of several repeats, by precision, through oneDNN."""
    import torch

    from textsiam.encoding.pytorch.weights import FrozenLinear

    found = {}
    with torch.inference_mode():
        layer = torch.nn.Linear(N_IN, N_OUT)
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            fast, x = FrozenLinear(layer, dtype), torch.randn(N_TOKENS, N_IN).to(dtype)
            found[name] = _gflops(lambda fast=fast, x=x: fast(x))
        a = torch.randint(-127, 127, (N_TOKENS, N_IN), dtype=torch.int8)
        b = torch.randint(-127, 127, (N_IN, N_OUT), dtype=torch.int8)
        found["int8"] = _gflops(lambda: torch._int_mm(a, b))
    return found


def _gflops(product) -> float:
    seconds = []
    for _ in range(N_REPEATS):
        started = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - started)
    return round(2e-9 * N_TOKENS * N_IN * N_OUT / min(seconds), 1)


if __name__ == "__main__":
    print(peaks())
