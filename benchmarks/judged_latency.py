"""The latency of one pair through `decide`: by the default with its judge and vetoes, beside cosine alone and the judge alone.

One process with two threads, 1,200 different pairs of real questions, the systems in turn by blocks of 100; the first warms
up.
Ratios are medians over the blocks.

    python benchmarks/judged_latency.py
"""

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
from record import SHARED, record

from textsiam import Siamese, Threshold, read_pairs

SEED, N_BLOCKS, N_A_BLOCK, COSINE = 0, 13, 100, 0.945429


def main() -> None:
    pairs = read_pairs(SHARED / "qqp_pairs.parquet", split="dev")
    rows = np.random.default_rng(SEED).permutation(len(pairs))[: N_BLOCKS * N_A_BLOCK].tolist()
    figures = {}
    for dtype in ("float32", "bfloat16"):
        model = Siamese.load(dtype=dtype, device="cpu")
        assert model.threshold is not None
        without = model.with_vetoes(()).with_thresholds(Threshold(model.threshold.value, model.scale), None)
        cosine = model.with_judge(None).with_vetoes(()).with_thresholds(Threshold(COSINE), None)
        systems = {"cosine": cosine, "judge": without, "judge and vetoes": model}
        times: dict[str, list[list[float]]] = {name: [] for name in systems}
        for block in range(N_BLOCKS):
            for name, of in systems.items():
                times[name].append([])
                for row in rows[block * N_A_BLOCK : (block + 1) * N_A_BLOCK]:
                    started = time.perf_counter()
                    of.decide([pairs.first[row]], [pairs.second[row]])
                    times[name][-1].append(1e3 * (time.perf_counter() - started))
        medians = {name: np.median(blocks[1:], axis=1) for name, blocks in times.items()}
        figures[dtype] = {
            name: {
                "p50_ms": round(float(np.median(np.concatenate(blocks[1:]))), 3),
                "p99_ms": round(float(np.quantile(np.concatenate(blocks[1:]), 0.99)), 3),
                "beside_cosine": round(float(np.median(medians[name] / medians["cosine"])), 3),
            }
            for name, blocks in times.items()
        }
        print(dtype, figures[dtype], flush=True)
    record("judged_latency", "The latency of one pair decided by the judge, beside cosine alone", figures, SEED)


if __name__ == "__main__":
    main()
