"""The whole road on real questions: time, peak memory, exactness and recall of ``textsiam duplicates``.

Runs the command as a user does, as a process of its own, over all questions of ``qqp_questions``, then checks its answer:
every pair of a random sample at or above the threshold against brute force in fp64, and the share of gold duplicate pairs
found. Gold pairs are those labelled 1 in ``qqp_pairs`` and ``qqp_duplicates``; an unlabelled pair is unknown, not wrong.

    python benchmarks/road.py [THRESHOLD]        the model's own threshold if none is given
"""

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import SHARED, record

from textsiam import Siamese, read_pairs, read_texts

SEED, N_SAMPLE, N_SHOWN = 0, 5_000, 50
WITHIN = {"float32": 1e-6, "bfloat16": 0.0025}  # what two encodings of a pair may differ by, by precision class


def main() -> None:
    given = sys.argv[1:2]
    questions = SHARED / "qqp_questions.parquet"
    with tempfile.TemporaryDirectory() as folder:
        pairs_file = Path(folder) / "pairs.csv"
        command = [sys.executable, "-m", "textsiam", "duplicates", str(questions), "--column", "question", "--json"]
        command += ["-o", str(pairs_file), "--clusters", str(Path(folder) / "clusters.csv")]
        command += ["--threshold", given[0]] if given else []
        started = time.perf_counter()
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        summary = json.loads(answer.stdout)["summary"]
        rows = list(csv.DictReader(pairs_file.open(encoding="utf-8")))
    found = {(row["id_a"], row["id_b"]) for row in rows}
    texts = read_texts(questions)
    threshold = float(summary["threshold"]["value"])
    figures = dict(
        seconds=round(seconds, 1),
        peak_memory_mb=round(peak_mb),
        threshold=threshold,
        pairs=summary["pairs"],
        clusters=summary["clusters"],
        rows_that_match_their_keeper=summary["dropped"],
        brute_force=compared_with_brute_force(texts, found, threshold, summary["precision"]),
        gold=gold_recall(texts, found),
    )
    record(f"road_{'default' if not given else given[0]}", "textsiam duplicates over 78,969 questions", figures, SEED)
    show(texts, rows)


def compared_with_brute_force(texts, found, threshold: float, precision: str) -> dict[str, object]:
    """Of a random sample, the pairs at or above the threshold by fp64 brute force on freshly encoded fp32 vectors."""
    sample = np.sort(np.random.default_rng(SEED).choice(len(texts), N_SAMPLE, replace=False))
    vectors = Siamese.load(dtype="float32").encode([texts[row] for row in sample.tolist()]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.triu(vectors @ vectors.T, k=1)
    names = [texts.ids[row] for row in sample.tolist()]
    expected = {(names[i], names[j]) for i, j in zip(*np.nonzero(scores >= threshold), strict=True)}
    here = set(names)
    ours = {pair for pair in found if pair[0] in here and pair[1] in here}
    # Scores of another batch, or of bf16, differ: only pairs that close to the threshold may be decided otherwise.
    near = {
        (names[i], names[j]) for i, j in zip(*np.nonzero(np.abs(scores - threshold) < WITHIN[precision]), strict=True)
    }
    return dict(
        sample=N_SAMPLE,
        expected=len(expected),
        missing=len(expected - ours - near),
        too_many=len(ours - expected - near),
        precision=precision,
        within=WITHIN[precision],
        within_of_the_threshold=len(near),
        of_them_decided_otherwise=len((expected ^ ours) & near),
    )


def gold_recall(texts, found) -> dict[str, float]:
    """Share of labelled duplicates that were found, for each file."""
    ids = dict(zip(texts, texts.ids, strict=True))
    shares = {}
    for file in ("qqp_pairs", "qqp_duplicates"):
        pairs = read_pairs(SHARED / f"{file}.parquet")
        gold = {
            tuple(sorted((ids[a], ids[b]), key=lambda name: int(name[1:])))
            for a, b, label in zip(pairs.first, pairs.second, pairs.labels, strict=True)
            if label == 1 and a in ids and b in ids and a != b
        }
        shares[file] = round(len(gold & found) / len(gold), 4)
        shares[f"{file}_pairs"] = len(gold)
        if file == "qqp_pairs":
            labelled = {
                tuple(sorted((ids[a], ids[b]), key=lambda name: int(name[1:]))): label
                for a, b, label in zip(pairs.first, pairs.second, pairs.labels, strict=True)
            }
            ours = [labelled[pair] for pair in found if pair in labelled]
            shares["labelled_pairs_found"] = len(ours)
            shares["of_them_duplicates"] = round(float(np.mean(ours)), 4)
    return shares


def show(texts, rows) -> None:
    """Random found pairs, for a person to look at."""
    by_id = dict(zip(texts.ids, texts, strict=True))
    for place in np.random.default_rng(SEED).choice(len(rows), min(N_SHOWN, len(rows)), replace=False).tolist():
        row = rows[place]
        print(f"{float(row['score']):.4f}  {by_id[row['id_a']]}  |  {by_id[row['id_b']]}")


if __name__ == "__main__":
    main()
