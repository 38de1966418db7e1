"""Past one machine: time and memory of tasks on a local Ray cluster of one and two workers, from 10,000 to 1,000,000 texts.

Real questions first; beyond 78,969 each is a real question with a random word of another behind it, so that texts are distinct
and near each other as real ones are. bf16, threshold .9. Files of 10,000 texts in one
workspace: each size encodes what the one before did not. Beside it the plain command at 100,000 texts, in turn; and what 10^8 and
10^9 texts would take, from the costs measured here.

    python benchmarks/distributed.py [--rounds 5] [--most 1000000]
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from record import SHARED, record

from textsiam import read_texts

SEED, THRESHOLD, A_FILE = 0, 0.9, 10_000
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
BESIDE = 100_000  # texts at which the plain command is measured too
GPU_TEXTS_A_SECOND = 100_000  # one H200 with 16 cores: benchmarks/gpu.py


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=SIZES[-1])
    parser.add_argument("--one", help="a run, as JSON")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(run(**json.loads(asked.one))))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEXTSIAM_SCRATCH")) as folder:
        files = written(Path(folder), asked.most)
        sizes = [n for n in SIZES if n <= asked.most]
        told = {
            "two_workers": {n: apart(files, n, 2, f"{folder}/two") for n in sizes},
            "one_worker": {n: apart(files, n, 1, f"{folder}/one") for n in sizes if n <= BESIDE},
            # The vectors are there already: another threshold makes only the join anew.
            "one_worker_join": {n: apart(files, n, 1, f"{folder}/two", threshold=THRESHOLD + 1e-4) for n in sizes[-1:]},
            "approximate": {n: apart(files, n, 2, f"{folder}/two", approximate=True) for n in sizes if n >= BESIDE},
        }
        told["overhead"] = overhead(files, min(BESIDE, asked.most), asked.rounds, folder)
    told["growth"] = growth(told["two_workers"])
    told["on_paper"] = on_paper(told)
    record("distributed", __doc__.splitlines()[0], {"rounds": asked.rounds, "threshold": THRESHOLD, **told}, SEED)


def written(folder: Path, n: int) -> list[str]:
    """The texts, in files of 10,000."""
    questions = list(read_texts(SHARED / "qqp_questions.parquet", column="question"))
    rng = np.random.default_rng(SEED)
    words = [word for text in questions[:5_000] for word in text.split()]
    texts = list(questions[:n])
    while len(texts) < n:
        rows, places = rng.integers(0, len(questions), A_FILE), rng.integers(0, len(words), A_FILE)
        texts += [f"{questions[a]} {words[b]}" for a, b in zip(rows.tolist(), places.tolist(), strict=True)]
    files = []
    for start in range(0, n, A_FILE):
        file = folder / f"{start // A_FILE:04d}.parquet"
        pq.write_table(pa.table({"question": texts[start : min(start + A_FILE, n)]}), file)
        files.append(str(file))
    return files


def apart(files: list[str], n: int, n_workers: int, work: str, **options) -> dict:
    """A run in a process of its own."""
    asked = json.dumps({"files": files[: n // A_FILE], "n_workers": n_workers, "work": work, **options})
    done = subprocess.run([sys.executable, __file__, "--one", asked], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    print(n, n_workers, options, told, flush=True)
    return told


def run(
    files: list[str], n_workers: int, work: str, threshold: float = THRESHOLD, *, approximate: bool = False
) -> dict:
    from textsiam import Siamese
    from textsiam.distributing.approximate_join import Probing
    from textsiam.distributing.encoders import Recipe
    from textsiam.distributing.pipelines import find_duplicates_in_shards
    from textsiam.distributing.runners import OnRay
    from textsiam.distributing.shard_sources import Reading
    from textsiam.distributing.workspace import Workspace

    model = Siamese.load(dtype="bfloat16")
    runner = OnRay(n_workers=n_workers)
    memory = Memory()
    started = time.perf_counter()
    found = find_duplicates_in_shards(
        model,
        files,
        Workspace(work),
        runner,
        recipe=Recipe.of(model),
        reading=Reading(column="question"),
        threshold=threshold,
        approximate=Probing() if approximate else None,
    )
    seconds = time.perf_counter() - started
    told = {"seconds": round(seconds, 2), "pairs": len(found), "clusters": found.n_clusters, "stages": found.told}
    told |= {"recall": found.recall and found.recall.share, "recall_pairs": found.recall and found.recall.n_pairs}
    told |= memory.told()
    runner.close()
    return told


class Memory:
    """The most that this process and the cluster's workers hold; pages that several map are shared out among them."""

    def __init__(self) -> None:
        self.all = self.worker = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def told(self) -> dict[str, int]:
        return {"peak_mb": round(self.all / 2**20), "peak_worker_mb": round(self.worker / 2**20)}

    def _watch(self) -> None:
        me = psutil.Process()
        while True:
            held = []
            for process in [me, *me.children(recursive=True)]:
                try:
                    if process.pid == me.pid or (process.cmdline()[:1] and process.cmdline()[0].startswith("ray::")):
                        held.append(process.memory_full_info().pss)
                except psutil.Error:
                    continue
            self.all, self.worker = max(self.all, sum(held)), max([self.worker, *held[1:]])
            time.sleep(1)


def overhead(files: list[str], n: int, rounds: int, folder: str) -> dict:
    """The whole command with --ray and without, in turn."""
    seconds: dict[str, list[float]] = {"plain": [], "ray": []}
    common = [
        "--column",
        "question",
        "--threshold",
        str(THRESHOLD),
        "--dtype",
        "bfloat16",
        "-o",
        f"{folder}/pairs.parquet",
    ]
    for turn in range(rounds):
        for name, taken in seconds.items():
            ray = ["--ray", "--work", f"{folder}/beside{turn}"] if name == "ray" else []
            command = [sys.executable, "-m", "textsiam", "duplicates", *files[: n // A_FILE], *common, *ray]
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            taken.append(round(time.perf_counter() - started, 2))
            print(name, taken[-1], flush=True)
    ratios = np.array(seconds["ray"]) / np.array(seconds["plain"])
    return {
        "n": n,
        **seconds,
        "ray_over_plain": [round(float(v), 3) for v in (np.median(ratios), ratios.min(), ratios.max())],
    }


def growth(told: dict[int, dict]) -> dict:
    """Exponents of the join's time and of memory from each size to the next."""
    sizes = list(told)
    return {
        f"{a} to {b}": {
            "join": round(
                math.log(told[b]["stages"]["join"]["seconds"] / told[a]["stages"]["join"]["seconds"], b / a), 2
            ),
            "memory": round(math.log(told[b]["peak_mb"] / told[a]["peak_mb"], b / a), 2),
        }
        for a, b in pairwise(sizes)
    }


def on_paper(told: dict) -> dict:
    """Hours for 10^8 and 10^9 texts on 10 and 100 machines like this one, or with a GPU each to encode, if all costs stay."""
    largest = max(told["two_workers"])
    join = told["two_workers"][largest]["stages"]["join"]
    pairs_a_second = join["pairs_compared"] / join["seconds"]  # two workers: one machine
    encode = told["two_workers"][largest]["stages"]["encode"]
    texts_a_second = encode["texts"] / encode["seconds"]
    near = told["approximate"][max(told["approximate"])]["stages"]
    near_seconds = sum(near[stage]["seconds"] for stage in ("centres", "cells", "join"))
    hours = {}
    for n in (10**8, 10**9):
        for machines in (10, 100):
            hours[f"{n:.0e} texts, {machines} machines"] = {
                "encode": round(n / texts_a_second / machines / 3_600, 2),
                "encode_on_gpus": round(n / GPU_TEXTS_A_SECOND / machines / 3_600, 3),
                "join_exact": round(n * n / 2 / pairs_a_second / machines / 3_600, 1),
                "join_approximate": round(near_seconds * (n / largest) ** 1.5 / machines / 3_600, 2),
            }
    return {
        "pairs_a_second_a_machine": round(pairs_a_second),
        "texts_a_second_a_machine": round(texts_a_second),
        "hours": hours,
    }


if __name__ == "__main__":
    main()
