"""The exact threshold join against its peers: time, recall and peak memory of each, in a process of its own, in turn.

Vectors are the default model's, of the distinct English texts of more than 12 characters in the shared data, questions first.
For a million, each further row lies between two real ones drawn at random (weights .35 to .65), all shuffled: pairs at .8 are
then half as frequent as among the real questions. Peers get the vectors ready made. Recall is the share of the exact join's
pairs that a peer returns; the exact join itself is compared with fp64 brute force, on a random sample of rows against all. A
peer is measured at the sizes beside its name; its time at 100,000, where that is not among them, is a power law through the
last two.

    python benchmarks/join.py [VECTORS.npy]     encodes first if there is no such file: minutes; default: in the cache folder
"""

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from record import SHARED, record

from textsiam.encoding.model_folder.folder import cache_folder

SEED, THRESHOLD, K, ROUNDS = 0, 0.8, 10, 3
FILES = ("qqp_questions", "stsb", "twitter_url", "mrpc", "paws_wiki", "sick", "flickr8k", "banking77", "covid_faq")
COLUMNS = {"question", "sentence1", "sentence2", "text", "faq_question"}


def ours(vectors):
    from textsiam import threshold_join

    matches = threshold_join(vectors, threshold=THRESHOLD)
    return matches.left, matches.right


def ours_top_k(vectors):
    from textsiam import top_k_join

    matches = top_k_join(vectors, k=K)
    keep = matches.score >= THRESHOLD
    return matches.left[keep], matches.right[keep]


def paraphrase_mining(vectors):
    import torch
    from sentence_transformers.util import paraphrase_mining_embeddings

    pairs = paraphrase_mining_embeddings(torch.from_numpy(vectors))
    return np.array([(i, j) for score, i, j in pairs if score >= THRESHOLD]).reshape(-1, 2).T


def community_detection(vectors):
    """Its answer are groups, not pairs: time only."""
    import torch
    from sentence_transformers.util import community_detection

    community_detection(torch.from_numpy(vectors), threshold=THRESHOLD, min_community_size=2)


def faiss_range(vectors):
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    limits, _, right = index.range_search(vectors, THRESHOLD)
    return np.repeat(np.arange(len(vectors)), np.diff(limits.astype(np.int64))), right


def faiss_k(vectors):
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return neighbours(*index.search(vectors, K + 1))


def usearch_k(vectors):
    """HNSW in int8: approximate."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="i8")
    index.add(np.arange(len(vectors)), vectors)
    found = index.search(vectors, K + 1)
    return neighbours(1 - found.distances, found.keys)


def semhash(vectors):
    """Its engine, at its defaults: HNSW, up to its own limit of neighbours."""
    from semhash.index import Index

    index = Index.from_vectors_and_items(vectors, [[{"text": str(row)}] for row in range(len(vectors))], "usearch")
    found = index.query_threshold(vectors, THRESHOLD)
    left = np.repeat(np.arange(len(vectors)), [len(right) for right, _ in found])
    return left, np.concatenate([right for right, _ in found]).astype(np.int64)


def neighbours(scores, right):
    left = np.repeat(np.arange(len(right)), right.shape[1])
    keep = scores.reshape(-1) >= THRESHOLD
    return left[keep], right.reshape(-1)[keep].astype(np.int64)


def product(vectors):
    """A thousand products of 1,024 × 384 int8 matrices, two at a time as in the join: the machine's peak."""
    from textsiam.matching.join import kernel

    numbers = np.ones((1_024, 384), dtype=np.int8)
    outs = [np.empty((1_024, 1_024), dtype=np.int32) for _ in range(kernel.n_threads())]

    def work(out):
        for _ in range(len(vectors) // len(outs)):
            kernel.multiply(numbers, numbers, out)

    with kernel.threads(len(outs)) as pool:
        started = time.perf_counter()
        list(pool.map(work, outs))
        told["gop_s"] = round(
            2 * 1_024**2 * 384 * (len(vectors) // len(outs)) * len(outs) / 1e9 / (time.perf_counter() - started)
        )


told = {}
# Each with the sizes it is measured at.
SYSTEMS = {
    "ours": (ours, (1_000, 3_000, 10_000, 30_000, 100_000)),
    "ours, 10 closest": (ours_top_k, (10_000, 100_000)),
    "paraphrase_mining": (paraphrase_mining, (10_000, 20_000, 40_000)),
    "community_detection": (community_detection, (10_000, 20_000, 40_000)),
    "faiss flat, range": (faiss_range, (10_000, 20_000, 40_000)),
    "faiss flat, 10 closest": (faiss_k, (10_000, 20_000, 40_000)),
    "usearch int8 HNSW, 10 closest": (usearch_k, (10_000, 100_000)),
    "semhash": (semhash, (10_000, 100_000)),
    "int8 product": (product, (1_000,)),
}


def main(path: Path) -> None:
    if not path.exists():
        encode(path)
    measured = {name: {n: [] for n in sizes} for name, (_, sizes) in SYSTEMS.items()}
    for turn in range(ROUNDS):
        for name, (_, sizes) in SYSTEMS.items():
            for n in sizes:
                if turn == 0 or n <= 10_000 or name == "ours":  # once is enough for what takes a minute
                    measured[name][n].append(run(path, name, n))
    found = {name: told_of(runs) for name, runs in measured.items()}
    peak = found.pop("int8 product")["1000"]["gop_s"]
    found["ours"]["1000000"] = {key: value for key, value in run(path, "ours", 1_000_000).items() if key != "recall"}
    at_100k = {name: of.get("100000", {}).get("seconds") or fitted(of) for name, of in found.items()}
    figures = {
        "table": table(found, at_100k),
        "seconds_at_100000": {name: round(seconds, 2) for name, seconds in at_100k.items()},
        "int8_peak_gop_s": peak,
        "share_of_the_peak_that_all_products_of_384_would_be": round(
            100_000**2 * 384 / 1e9 / at_100k["ours"] / peak, 2
        ),
        "growth_exponents": {name: exponents(of) for name, of in found.items()},
        "growth": {
            name.replace("ours", "textsiam"): {n: told["seconds"] for n, told in of.items()}
            for name, of in found.items()
        },
        "systems": found,
    }
    record(
        "join",
        f"pairs with a cosine of {THRESHOLD} and more among real sentence vectors of 384 dimensions",
        figures,
        SEED,
    )


def table(found, at_100k):
    """What was asked, and what came of it."""
    ours_100k, million = found["ours"]["100000"], found["ours"]["1000000"]
    times = at_100k["paraphrase_mining"] / at_100k["ours"]
    wrong = ours_100k["missing"] + ours_100k["too_many"]
    return {
        "100 k": dict(
            must="1/8 of paraphrase_mining, recall 1",
            aim="1/20",
            told=f"1/{times:.0f} ({at_100k['ours']:.2f} s against {at_100k['paraphrase_mining']:.0f} s), {wrong} of "
            f"{ours_100k['brute_force_pairs']:,} pairs wrong or missing, peak {ours_100k['peak_mb']} MB",
        ),
        "1 M": dict(
            must="finishes, under 4 GB",
            aim="10 minutes",
            told=f"{million['seconds']:.0f} s, peak {million['peak_mb']} MB, {million['pairs']:,} pairs",
        ),
    }


def told_of(runs):
    """Medians for each size."""
    return {
        str(n): {key: statistics.median(one[key] for one in several) for key in several[0]} | {"runs": len(several)}
        for n, several in runs.items()
    }


def fitted(figure) -> float:
    (n, t), (m, u) = [(int(size), told["seconds"]) for size, told in figure.items()][-2:]
    return u * (100_000 / m) ** (math.log(u / t) / math.log(m / n))


def exponents(figure):
    points = [(int(n), told["seconds"]) for n, told in figure.items()]
    return {f"{n:,} to {m:,}": round(math.log(u / t) / math.log(m / n), 2) for (n, t), (m, u) in pairwise(points)}


def run(path: Path, name: str, n: int):
    """One system on n vectors in a process of its own."""
    command = [sys.executable, __file__, str(path), "--one", name, str(n)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    print(name, n, answer.stdout.strip(), flush=True)
    return json.loads(answer.stdout.splitlines()[-1])


def one(path: Path, name: str, n: int) -> None:
    """In the process: warm up on few rows, so that imports are not timed; then time; memory before recall is counted."""
    vectors = taken(path, n)
    system = SYSTEMS[name][0]
    system(vectors[:1_000])
    if name.startswith("ours") and n > 3_000:
        import torch  # noqa: F401  as in a process that has encoded
    started = time.perf_counter()
    found = system(vectors)
    told["seconds"] = round(time.perf_counter() - started, 4)
    told["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if found is not None and n <= 100_000:
        keys = as_keys(*found, n)
        told["pairs"] = len(keys)
        if name == "ours":
            told.update(compared_with_brute_force(vectors, keys))
        else:
            exact = as_keys(*ours(vectors), n)
            told["recall"] = round(len(np.intersect1d(exact, keys)) / len(exact), 4)
    elif found is not None:
        told["pairs"] = len(found[0])
    print(json.dumps(told))


def as_keys(left, right, n):
    """One number for each pair of different rows, whichever comes first."""
    left, right = np.minimum(left, right), np.maximum(left, right)
    return np.unique((left * n + right)[left != right])


def compared_with_brute_force(vectors, keys, n_sample=2_000):
    """Pairs of sampled rows with any other that are missing or too many, against scores in fp64 rounded to fp32."""
    n = len(vectors)
    rows = np.sort(np.random.default_rng(SEED).choice(n, min(n, n_sample), replace=False))
    exact = vectors.astype(np.float64)
    exact /= np.sqrt((exact**2).sum(1) + 1e-12)[:, None]
    expected = []
    for start in range(0, len(rows), 100):
        block = rows[start : start + 100]
        i, j = np.nonzero((exact[block] @ exact.T).astype(np.float32) >= np.float32(THRESHOLD))
        expected.append(as_keys(block[i], j, n))
    expected = np.unique(np.concatenate(expected))
    mine = keys[np.isin(keys // n, rows) | np.isin(keys % n, rows)]
    return {
        "brute_force_rows": len(rows),
        "brute_force_pairs": len(expected),
        "missing": len(np.setdiff1d(expected, mine)),
        "too_many": len(np.setdiff1d(mine, expected)),
    }


def taken(path: Path, n: int):
    """The first n vectors; beyond the real ones, rows between two of them."""
    real = np.load(path, mmap_mode="r")
    if n <= len(real):
        return np.array(real[:n])
    vectors, random = np.empty((n, real.shape[1]), dtype=np.float32), np.random.default_rng(SEED)
    places = random.permutation(n)
    vectors[places[: len(real)]] = real
    for start in range(len(real), n, 50_000):
        block = places[start : start + 50_000]
        weight = random.uniform(0.35, 0.65, (len(block), 1)).astype(np.float32)
        between = weight * real[random.integers(0, len(real), len(block))]
        between += (1 - weight) * real[random.integers(0, len(real), len(block))]
        vectors[block] = between / np.linalg.norm(between, axis=1, keepdims=True)
    return vectors


def encode(path: Path) -> None:
    import pyarrow.parquet as pq

    from textsiam.encoding.encoder import Encoder

    texts = {}
    for file in FILES:
        table = pq.read_table(SHARED / f"{file}.parquet")
        for name in table.column_names:
            if name in COLUMNS:
                texts |= dict.fromkeys(text for text in table[name].to_pylist() if text and len(text) > 12)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, Encoder.load().encode(list(texts)))


if __name__ == "__main__":
    file = Path(sys.argv[1]) if sys.argv[1:] else cache_folder() / "benchmark-vectors.npy"
    if sys.argv[2:3] == ["--one"]:
        one(file, sys.argv[3], int(sys.argv[4]))
    else:
        main(file)
