"""The join of 78,969 real questions by the default and its judge: what it finds, what it costs beside cosine alone.

Gold: pairs labelled as duplicates in the two files that the questions come from. It is incomplete, so precision against it is a
lower bound. Each run is a process of its own, the two in turn; cosine alone cuts at the threshold that the default had before
(.945429). Time and peak memory are of the whole process; token vectors on disk count as memory only where they are cached.

    python benchmarks/judged_join.py [--rounds 5] [--dtype float32]
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
from record import SHARED, record

BEFORE = 0.945429


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--one", choices=("judge", "cosine"))
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, asked.dtype)))
        return
    told = {"judge": [], "cosine": []}
    for _ in range(asked.rounds):
        for name, runs in told.items():
            command = [sys.executable, __file__, "--one", name, "--dtype", asked.dtype]
            runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            print(name, runs[-1], flush=True)
    seconds = {name: [run["seconds"] for run in runs] for name, runs in told.items()}
    ratios = np.divide(seconds["judge"], seconds["cosine"])
    figures = {name: runs[0] | {"seconds": seconds[name]} for name, runs in told.items()}
    figures |= {
        "dtype": asked.dtype,
        "time_ratio": [round(float(value), 3) for value in np.quantile(ratios, (0.5, 0, 1))],
    }
    record("judged_join", "The join of real questions by the judge, beside cosine alone", figures)


def one(name: str, dtype: str) -> dict:
    from textsiam import Siamese, find_duplicates

    questions = pq.read_table(SHARED / "qqp_questions.parquet").column("question").to_pylist()
    started = time.perf_counter()
    model = Siamese.load(dtype=dtype, device="cpu")
    found = find_duplicates(model, questions, threshold=BEFORE if name == "cosine" else None)
    seconds = round(time.perf_counter() - started, 1)
    accepted = found.take(np.flatnonzero(found.matching))
    gold, pairs = gold_of(questions), set(zip(accepted.left.tolist(), accepted.right.tolist(), strict=True))
    return {
        "seconds": seconds,
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "pairs": len(found),
        "accepted": len(accepted),
        "vetoed": 0 if found.reason is None else int((found.reason != "").sum()),
        "gold": len(gold),
        "recall_of_gold": round(len(gold & pairs) / len(gold), 4),
        "precision_against_gold": round(len(gold & pairs) / max(1, len(pairs)), 4),
    }


def gold_of(questions: list[str]) -> set[tuple[int, int]]:
    places = {text: place for place, text in enumerate(questions)}
    gold = set()
    for name in ("qqp_pairs", "qqp_duplicates"):
        rows = pq.read_table(SHARED / f"{name}.parquet").to_pandas()
        rows = rows[rows.label == 1]
        for a, b in zip(rows.sentence1, rows.sentence2, strict=True):
            pair = places.get(a, -1), places.get(b, -1)
            if min(pair) >= 0 and pair[0] != pair[1]:
                gold.add((min(pair), max(pair)))
    return gold


if __name__ == "__main__":
    main()
