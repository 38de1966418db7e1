"""Encoding beside sentence-transformers, onnxruntime and OpenVINO: speed, share of the machine's limit, and quality.

The same 2,000 real questions, every system in a process of its own with two threads, in turn; medians of the rounds, ratios
of each round paired. Beside each speed: the largest difference of a coordinate from the fp32 vectors of the peer, Spearman's
correlation on STS-B dev, average precision on QQP dev, and, of 4,000 question pairs, Spearman's correlation with textsiam's fp32
scores and how many are decided as those decide them at the default's thresholds (of all 16,006: `default_evidence.py`).

    python benchmarks/encode.py [--rounds 5]
"""

import argparse

import numpy as np
import pyarrow.parquet as pq
from peak import peaks
from record import SHARED, record
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score
from systems import SCORERS, SYSTEMS
from workers import Worker

from textsiam import Siamese, read_pairs, read_texts
from textsiam.scoring.thresholds import decisions

SEED, N_TEXTS, N_PAIRS = 0, 2_000, 4_000
PEER, PEER_BF16, OURS = "sentence-transformers fp32", "sentence-transformers bf16", "textsiam fp32"
# Multiplications and additions of MiniLM-L6's linear layers a token; attention, a hundredth of it on questions, comes extra.
FLOP_A_TOKEN = 2 * 6 * (4 * 384**2 + 2 * 384 * 1_536)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    texts, n_tokens = questions()
    workers = {name: Worker(name) for name in SYSTEMS}
    for worker in workers.values():
        worker.seconds(texts)
    seconds: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    for _ in range(asked.rounds):
        for name, worker in workers.items():
            seconds[name].append(round(worker.seconds(texts), 4))
    limits = peaks()
    reference = workers[PEER].vectors(texts)
    told = {}
    quality = Quality()
    for name, worker in workers.items():
        precision = "int8" if "int8" in name else "bfloat16" if "bf16" in name else "float32"
        rate = FLOP_A_TOKEN * n_tokens / np.median(seconds[name]) / 1e9
        told[name] = {
            "seconds": seconds[name],
            "texts_per_second": round(N_TEXTS / float(np.median(seconds[name]))),
            "times_peer": ratio(seconds[PEER], seconds[name]),
            "times_peer_bf16": ratio(seconds[PEER_BF16], seconds[name]),
            "share_of_limit": round(float(rate) / limits[precision], 3),
            "largest_difference": float(f"{np.abs(worker.vectors(texts) - reference).max():.2g}"),
            **quality.of(name, worker),
            "peak_mb": round(worker.peak_mb()),
        }
        print(name, told[name], flush=True)
    for name, decided in quality.decided.items():
        told[name]["decisions_agree"] = round(float((decided == quality.decided[OURS]).mean()), 5)
        told[name]["spearman_with_fp32"] = round(
            float(spearmanr(quality.scores[name], quality.scores[OURS]).statistic), 6
        )
    deciding = deciding_of(workers, quality, asked.rounds)
    figures = dict(
        n_texts=N_TEXTS, n_tokens=n_tokens, rounds=asked.rounds, limit_gflops=limits, systems=told, deciding=deciding
    )
    record("encode", __doc__.splitlines()[0], figures, SEED)
    for worker in workers.values():
        worker.close()


def deciding_of(workers: dict[str, Worker], quality: "Quality", rounds: int) -> dict:
    """Time to score 1,000 pairs, int8's second look included, beside the time the peer takes to encode their texts."""
    rows = np.random.default_rng(SEED).permutation(len(quality.pairs))[: N_TEXTS // 2].tolist()
    texts = [*(quality.pairs.first[row] for row in rows), *(quality.pairs.second[row] for row in rows)]
    names = [name for name in SCORERS if name != "Siamese.score"]
    scorers = {name: Worker(name) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in (PEER, PEER_BF16, *names)}
    for turn in range(rounds + 1):
        for name in seconds:
            taken = (scorers.get(name) or workers[name]).seconds(texts)
            seconds[name] += [round(taken, 4)] if turn else []
    told = {}
    for name, worker in scorers.items():
        scores = worker.vectors([*quality.pairs.first, *quality.pairs.second])
        alike = decisions(scores, quality.accept, quality.reject) == quality.decided[OURS]
        told[name] = {
            "seconds": seconds[name],
            "times_peer": ratio(seconds[PEER], seconds[name]),
            "times_peer_bf16": ratio(seconds[PEER_BF16], seconds[name]),
            "decisions_agree": round(float(alike.mean()), 5),
        }
        worker.close()
    return told


def questions() -> tuple[list[str], int]:
    """Real questions at random, and how many tokens they have."""
    all_of_them = read_texts(SHARED / "qqp_questions.parquet", column="question")
    rows = np.random.default_rng(SEED).choice(len(all_of_them), N_TEXTS, replace=False)
    texts = [all_of_them[row] for row in rows.tolist()]
    tokens = Siamese.load(dtype="float32").encoder.tokenizer(texts)
    return texts, int(tokens.lengths.sum())


def ratio(theirs: list[float], ours: list[float]) -> list[float]:
    """Median, least and greatest of the rounds' ratios."""
    ratios = np.array(theirs) / np.array(ours)
    return [round(float(value), 2) for value in (np.median(ratios), ratios.min(), ratios.max())]


class Quality:
    """What a system's vectors are worth, by labels and by the decisions that follow from them."""

    def __init__(self) -> None:
        model = Siamese.load(dtype="float32")
        self.accept, self.reject = model.threshold, model.reject_threshold
        stsb = pq.read_table(SHARED / "stsb.parquet").to_pylist()
        self.graded = [row for row in stsb if row["split"] == "dev"]
        pairs = read_pairs(SHARED / "qqp_pairs.parquet")
        self.pairs = pairs.take(np.random.default_rng(SEED).permutation(len(pairs))[:N_PAIRS])
        self.dev = read_pairs(SHARED / "qqp_pairs.parquet", split="dev")
        self.decided: dict[str, np.ndarray] = {}
        self.scores: dict[str, np.ndarray] = {}

    def of(self, name: str, worker: Worker) -> dict[str, float]:
        graded = cosines(worker, [r["sentence1"] for r in self.graded], [r["sentence2"] for r in self.graded])
        scores = cosines(worker, self.pairs.first, self.pairs.second)
        dev = cosines(worker, self.dev.first, self.dev.second)
        self.decided[name], self.scores[name] = decisions(scores, self.accept, self.reject), scores
        return {
            "stsb_dev_spearman": round(float(spearmanr(graded, [r["score"] for r in self.graded]).statistic), 4),
            "qqp_dev_average_precision": round(float(average_precision_score(self.dev.labels, dev)), 4),
        }


def cosines(worker: Worker, first: list[str], second: list[str]) -> np.ndarray:
    vectors = worker.vectors([*first, *second]).astype(np.float64)
    a, b = vectors[: len(first)], vectors[len(first) :]
    return ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).astype(np.float32)


if __name__ == "__main__":
    main()
