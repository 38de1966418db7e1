"""A GPU, beside sentence-transformers in bf16 there: encoding questions and long texts, calls of 1 to 4,096, training.

All 78,969 real questions, and 16,384 texts of real questions joined until they fill 256 tokens; the peer at every batch size of
32 to 4,096, its best one counts. Systems in turn in one process, medians of the rounds, ratios of each round paired with the
peer's best. Texts in, vectors on the CPU out. Beside the speeds: the share of the peak (a product of 8,192² matrices in bf16),
and what bf16 on the GPU changes of fp32's scores and decisions on 16,006 labelled pairs.

    python benchmarks/gpu.py [--rounds 5]
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from encode import FLOP_A_TOKEN, ratio
from record import SHARED, record
from scipy.stats import spearmanr

from textsiam import Siamese, read_pairs, read_texts
from textsiam.encoding.embedded import find_model
from textsiam.encoding.encoder import Encoder
from textsiam.scoring.thresholds import decisions

SEED = 0
ACCEPT, REJECT = 0.9454, 0.7037  # the default's
PEER_BATCHES = (32, 128, 512, 2_048, 4_096)
CALLS = (1, 8, 64, 512, 4_096)
Encode = Callable[[list[str]], object]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    questions = list(read_texts(SHARED / "qqp_questions.parquet", column="question"))
    encoder = Encoder.load(device="cuda", dtype="bfloat16")
    longs = long_texts(questions)
    peer = peer_model()
    peak = peak_tflops()
    figures = {
        "gpu": torch.cuda.get_device_name(),
        "peak_tflops_bf16": round(peak, 1),
        "questions": throughput(encoder, peer, questions, asked.rounds, peak),
        "texts_of_256_tokens": throughput(encoder, peer, longs, asked.rounds, peak),
        "calls": calls(encoder, peer, questions, asked.rounds),
        "quality": quality(encoder),
    }
    record("gpu", __doc__.splitlines()[0], figures, SEED)


def peer_model():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(find_model()), device="cuda", model_kwargs={"torch_dtype": torch.bfloat16})


def long_texts(questions: list[str], n: int = 16_384) -> list[str]:
    """Real questions joined at random until they fill the model's maximum."""
    rng = np.random.default_rng(SEED)
    joined = [" ".join(questions[row] for row in rng.integers(0, len(questions), 24)) for _ in range(n)]
    return [text[:1_600] for text in joined]


def peak_tflops(n: int = 8_192, times: int = 20) -> float:
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        a @ b
    torch.cuda.synchronize()
    return 2 * n**3 * times / (time.perf_counter() - started) / 1e12


def throughput(encoder: Encoder, peer, texts: list[str], rounds: int, peak: float) -> dict:
    systems: dict[str, Encode] = {
        f"sentence-transformers, batch {size}": lambda texts, size=size: peer.encode(texts, batch_size=size)
        for size in PEER_BATCHES
    }
    systems["textsiam"] = lambda texts: encoder.embed(texts).embeddings
    n_tokens = sum(int(encoder.tokenizer(texts[at : at + 8_192]).lengths.sum()) for at in range(0, len(texts), 8_192))
    seconds = timed(systems, texts, rounds)
    best = min(list(systems)[:-1], key=lambda name: float(np.median(seconds[name])))
    return {
        "n_texts": len(texts),
        "n_tokens": n_tokens,
        "peer_best": best,
        "systems": {
            name: {
                "seconds": taken,
                "texts_per_second": round(len(texts) / float(np.median(taken))),
                "times_peer_best": ratio(seconds[best], taken),
                "share_of_peak": round(FLOP_A_TOKEN * n_tokens / float(np.median(taken)) / 1e12 / peak, 4),
            }
            for name, taken in seconds.items()
        },
        "forward_alone": forward_alone(encoder, texts, n_tokens, peak),
    }


def timed(systems: dict[str, Encode], texts: list[str], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(rounds + 1):
        for name, encode in systems.items():
            torch.cuda.synchronize()
            started = time.perf_counter()
            encode(texts)
            torch.cuda.synchronize()
            seconds[name] += [round(time.perf_counter() - started, 5)] if turn else []
    return seconds


def forward_alone(encoder: Encoder, texts: list[str], n_tokens: int, peak: float) -> dict:
    """The GPU's own time, from token ids to vectors, nothing tokenised."""
    parts = [encoder.tokenizer(texts[at : at + 8_192]) for at in range(0, len(texts), 8_192)]
    taken = []
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for tokens in parts:
            encoder._embed(tokens)
        taken.append(time.perf_counter() - started)
    rate = FLOP_A_TOKEN * n_tokens / min(taken) / 1e12
    return {
        "seconds": round(min(taken), 4),
        "texts_per_second": round(len(texts) / min(taken)),
        "share_of_peak": round(rate / peak, 4),
    }


def calls(encoder: Encoder, peer, questions: list[str], rounds: int) -> dict:
    """Milliseconds a call of n texts, median over 20 calls a round, and the peer's at that batch size."""
    told = {}
    for n in CALLS:
        systems: dict[str, Encode] = {
            "peer": lambda texts, n=n: [peer.encode(part, batch_size=n) for part in texts],
            "textsiam": lambda texts: [encoder.embed(part) for part in texts],
        }
        parts = [questions[at * n : (at + 1) * n] for at in range(min(20, len(questions) // n))]
        seconds = timed(systems, parts, rounds)
        told[n] = {
            **{name: round(1e3 * float(np.median(taken)) / len(parts), 3) for name, taken in seconds.items()},
            "times_peer": ratio(seconds["peer"], seconds["textsiam"]),
        }
    return told


def quality(encoder: Encoder) -> dict:
    model = Siamese.load(device="cuda", dtype="float32")
    pairs = read_pairs(SHARED / "qqp_pairs.parquet")
    found = []
    for each in (model.encoder, encoder):
        a, b = each.embed(pairs.first).embeddings, each.embed(pairs.second).embeddings
        found.append((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
    alike = decisions(found[0], ACCEPT, REJECT) == decisions(found[1], ACCEPT, REJECT)
    return {
        "n_pairs": len(pairs),
        "spearman_with_fp32": round(float(spearmanr(*found).statistic), 6),
        "largest_difference": float(f"{np.abs(found[0] - found[1]).max():.2g}"),
        "decisions_agree": round(float(alike.mean()), 5),
    }


if __name__ == "__main__":
    main()
