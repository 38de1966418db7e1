"""The latency of one pair: two texts in, one score out, 500 different pairs of real questions; p50 and p99 in milliseconds.

Every system in a process of its own with two threads, in turn, by blocks of 100 pairs; the first warms up and is not counted.
``Siamese.score`` is what users call: encoding, checks of the input, and the cosine in fp64.

    python benchmarks/latency.py
"""

import numpy as np
from record import SHARED, record
from workers import Worker

from textsiam import read_pairs

SEED, N_BLOCKS, N_A_BLOCK = 0, 6, 100
PEER = "sentence-transformers fp32"
NAMES = (
    PEER,
    "sentence-transformers bf16",
    "onnxruntime fp32",
    "textsiam fp32",
    "textsiam bf16",
    "textsiam PyTorch bf16",
)


def main() -> None:
    pairs = read_pairs(SHARED / "qqp_pairs.parquet", split="dev")
    rows = np.random.default_rng(SEED).permutation(len(pairs))[: N_BLOCKS * N_A_BLOCK]
    texts = [(pairs.first[row], pairs.second[row]) for row in rows.tolist()]
    workers = {name: Worker(name) for name in (*NAMES, "Siamese.score")}
    found: dict[str, list[float]] = {name: [] for name in workers}
    for block in range(N_BLOCKS):
        some = texts[block * N_A_BLOCK : (block + 1) * N_A_BLOCK]
        for name, worker in workers.items():
            latencies = worker.latencies(some)
            found[name] += latencies if block else []
    p50 = {name: float(np.median(values)) for name, values in found.items()}
    figures = {
        name: {
            "p50_ms": round(p50[name], 2),
            "p99_ms": round(float(np.quantile(values, 0.99)), 2),
            "share_of_peer": round(p50[name] / p50[PEER], 3),
        }
        for name, values in found.items()
    }
    record("latency", __doc__.splitlines()[0], {"pairs": (N_BLOCKS - 1) * N_A_BLOCK, **figures}, SEED)
    for worker in workers.values():
        worker.close()


if __name__ == "__main__":
    main()
