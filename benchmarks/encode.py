"""Encoder against sentence-transformers on 2,000 real questions: equality of vectors, and time as a ratio.

Both in fp32 at their defaults on the CPU, the same texts, in turn in one process after a warm-up; medians of five.

    python benchmarks/encode.py
"""

import time
from statistics import median

import numpy as np
from record import SHARED, record
from sentence_transformers import SentenceTransformer

from textsiam import Encoder, read_texts
from textsiam.encoding.embedded import embedded_model

SEED, N_TEXTS, N_ROUNDS = 0, 2_000, 5


def main() -> None:
    questions = read_texts(SHARED / "qqp_questions.parquet", column="question")
    rows = np.random.default_rng(SEED).choice(len(questions), N_TEXTS, replace=False)
    texts = [questions[row] for row in rows.tolist()]
    ours = Encoder.load(embedded_model(), device="cpu", dtype="float32")
    theirs = SentenceTransformer(str(embedded_model()), device="cpu")
    difference = float(np.abs(ours.encode(texts) - theirs.encode(texts)).max())
    seconds: dict[str, list[float]] = {"textsiam": [], "sentence-transformers": []}
    for _ in range(N_ROUNDS):
        for name, encoder in (("textsiam", ours), ("sentence-transformers", theirs)):
            started = time.perf_counter()
            encoder.encode(texts)
            seconds[name].append(round(time.perf_counter() - started, 3))
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    record(
        "encode",
        "Equal to sentence-transformers to 1e-5 in fp32, and how much faster",
        dict(
            n_texts=N_TEXTS,
            largest_difference=difference,
            seconds=seconds,
            times_faster=round(median(ratios), 2),
            from_to=[round(min(ratios), 2), round(max(ratios), 2)],
        ),
        SEED,
    )


if __name__ == "__main__":
    main()
