"""Encoding on a GPU beside sentence-transformers in bf16 there: questions, long texts, calls of 1 to 4,096 texts.

20,000 real questions, and 4,096 texts of real questions joined until they fill 256 tokens; the peer's batch size is the best of
32 to 8,192. Each system in a process of its own, in turn; medians of the rounds, ratios of each round paired. Texts in, vectors
on the CPU out. Beside the speeds: the share of the peak (a product of 8,192 x 8,192 matrices in bf16), what the GPU takes for
the forward alone, and what bf16 changes of fp32's scores and decisions on 16,006 labelled pairs. Training: `train_speed.py`.

    python benchmarks/gpu.py [--rounds 5]
"""

import argparse
import time

import numpy as np
import torch
from encode import FLOP_A_TOKEN, ratio
from record import SHARED, record
from scipy.stats import spearmanr
from workers import Worker

from textsiam import read_pairs, read_texts
from textsiam.encoding.encoder import Encoder
from textsiam.encoding.tokenizing import batches_of

SEED, N_QUESTIONS, N_LONG = 0, 20_000, 4_096
ACCEPT, REJECT = 0.9454, 0.7037  # the default's
PEER, OURS, EXACT = "sentence-transformers bf16 on GPU", "textsiam bf16 on GPU", "textsiam fp32 on GPU"
PEER_BATCHES = (32, 512, 2_048, 8_192)
CALLS = {1: 30, 8: 30, 64: 20, 512: 8, 4_096: 2}  # texts a call: how many calls


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    everything = list(read_texts(SHARED / "qqp_questions.parquet", column="question"))
    rows = np.random.default_rng(SEED).permutation(len(everything))[:N_QUESTIONS]
    questions = [everything[row] for row in rows.tolist()]
    kinds = {"questions": questions, "texts_of_256_tokens": long_texts(questions)}
    peak = peak_tflops()
    workers = {name: Worker(name) for name in (PEER, OURS, EXACT)}
    told = {kind: throughput(workers, texts, asked.rounds, peak) for kind, texts in kinds.items()}
    told["all_questions"] = {
        "n_texts": len(everything),
        **timed(workers, {OURS: len(everything)}, everything, asked.rounds),
    }
    told["calls"] = {n: calls(workers, questions[: n * times], n, asked.rounds) for n, times in CALLS.items()}
    told["quality"] = quality(workers)
    figures = {"gpu": torch.cuda.get_device_name(), "peak_tflops_bf16": round(peak, 1), "rounds": asked.rounds, **told}
    record("gpu", __doc__.splitlines()[0], figures, SEED)
    for worker in workers.values():
        worker.close()


def long_texts(questions: list[str]) -> list[str]:
    """Real questions joined at random until they fill the model's maximum."""
    rng = np.random.default_rng(SEED)
    return [" ".join(questions[row] for row in rng.integers(0, len(questions), 24))[:1_600] for _ in range(N_LONG)]


def peak_tflops(n: int = 8_192, times: int = 20) -> float:
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    taken = []
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(times):
            a @ b
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return 2 * n**3 * times / min(taken) / 1e12


def timed(workers: dict[str, Worker], batches: dict[str, int], texts: list[str], rounds: int, call: int = 0) -> dict:
    """Seconds of each system a round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in batches}
    for turn in range(rounds + 1):
        for name, batch in batches.items():
            taken = workers[name].seconds((texts, batch, call or len(texts)))
            seconds[name] += [round(taken, 5)] if turn else []
    return seconds


def throughput(workers: dict[str, Worker], texts: list[str], rounds: int, peak: float) -> dict:
    few = texts[: len(texts) // 4]
    tried = {size: timed(workers, {PEER: size}, few, 1)[PEER][0] for size in PEER_BATCHES}
    best = min(tried, key=tried.__getitem__)
    seconds = timed(workers, {PEER: best, OURS: 0, EXACT: 0}, texts, rounds)
    n_tokens, forward = forward_alone(texts)
    share = FLOP_A_TOKEN * n_tokens / 1e12 / peak
    return {
        "n_texts": len(texts),
        "n_tokens": n_tokens,
        "peer_batches": {size: round(len(few) / taken) for size, taken in tried.items()},
        "peer_batch": best,
        "systems": {
            name: {
                "seconds": taken,
                "texts_per_second": round(len(texts) / float(np.median(taken))),
                "times_peer": ratio(seconds[PEER], taken),
                "share_of_peak": round(share / float(np.median(taken)), 4),
            }
            for name, taken in seconds.items()
        },
        "forward_alone": {"seconds": round(forward, 4), "share_of_peak": round(share / forward, 4)},
    }


def forward_alone(texts: list[str]) -> tuple[int, float]:
    """Tokens, and the seconds from token ids to vectors on the GPU, nothing tokenised."""
    encoder = Encoder.load(device="cuda", dtype="bfloat16")
    backend = encoder.backend
    tokens = encoder.tokenizer(texts)
    places = batches_of(tokens.lengths, backend.token_budget, backend.padding_budget)
    batches = [tokens.padded(rows, encoder.tokenizer.pad_id()) for rows in places]
    taken = []
    for _ in range(4):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in backend.embed_many(batches):
            pass
        taken.append(time.perf_counter() - started)
    return int(tokens.lengths.sum()), min(taken)


def calls(workers: dict[str, Worker], texts: list[str], n: int, rounds: int) -> dict:
    """Milliseconds a call of n texts."""
    seconds = timed(workers, {PEER: n, OURS: 0}, texts, rounds, n)
    milliseconds = {name: round(1e3 * n / len(texts) * float(np.median(taken)), 3) for name, taken in seconds.items()}
    return {**milliseconds, "times_peer": ratio(seconds[PEER], seconds[OURS])}


def quality(workers: dict[str, Worker]) -> dict:
    pairs = read_pairs(SHARED / "qqp_pairs.parquet")
    texts = [*pairs.first, *pairs.second]
    scores = {}
    for name in (EXACT, OURS):
        vectors = workers[name].vectors((texts, 0, len(texts))).astype(np.float64)
        a, b = vectors[: len(pairs)], vectors[len(pairs) :]
        scores[name] = ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).astype(np.float32)
    alike = np.equal(*(np.digitize(found, (REJECT, ACCEPT)) for found in scores.values()))
    return {
        "n_pairs": len(pairs),
        "spearman_with_fp32": round(float(spearmanr(scores[EXACT], scores[OURS]).statistic), 6),
        "largest_difference": float(f"{np.abs(scores[EXACT] - scores[OURS]).max():.2g}"),
        "decisions_agree": round(float(alike.mean()), 5),
    }


if __name__ == "__main__":
    main()
