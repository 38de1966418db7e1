"""The index beside faiss, usearch and semhash: adding, looking up one text, memory, disk, opening, recall, at three sizes.

Vectors are those of `join.py`: real sentences first; for a million, each further row lies between two real ones (which makes rows
with thousands of matches). Queries are 500 vectors more of the same kind. Every system runs in a process of its own, is filled in
batches of 10,000, and then answers the queries one by one, all systems in turn, five rounds of 100. Recall is the share of all
matches, by the exact join, that a system returns.

What is compared is not alike: textsiam writes to disk and waits for it, compares every vector with all before it and keeps
clusters while it adds; the peers add to memory. faiss's flat index and textsiam search a radius; usearch and semhash give the k
closest (10, and semhash's own 100), whose score is then cut.

    python benchmarks/index.py [VECTORS.npy]     an hour; default: the vectors of join.py
"""

import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from join import encode, taken
from record import SHARED, record

from textsiam.encoding.model_folder.folder import cache_folder

SEED, SIZES, N_QUERIES, N_ROUNDS, BATCH, N_ONE = 0, (10_000, 100_000, 1_000_000), 500, 5, 10_000, 100
THRESHOLDS = (0.9454, 0.8)  # the default model's own, and a usual one


class Ours:
    """A folder."""

    searcher = "exact"

    def __init__(self, folder: Path, dim: int) -> None:
        from textsiam import Index, Siamese

        self.folder, self.model = folder / "index", Siamese.load()
        self.index = Index.create(self.folder, self.model, threshold=THRESHOLDS[0], keep_texts=False)
        self.n = 0

    def add(self, vectors):
        self.index.add(range(self.n, self.n + len(vectors)), embeddings=vectors)
        self.n += len(vectors)

    def ready(self):
        pass

    def find(self, query, threshold):
        return self.index.search(embeddings=query[None], threshold=threshold, searcher=self.searcher).right

    def disk(self):
        return sum(file.stat().st_size for file in self.folder.iterdir())

    def open_again(self):
        code = (
            "import sys, time, numpy as np; from textsiam import Index\n"
            "query = np.load(sys.argv[2]); started = time.perf_counter()\n"
            "index = Index.open(sys.argv[1]); opened = time.perf_counter(); index.search(embeddings=query, threshold=.9454)\n"
            "print(opened - started, time.perf_counter() - opened)"
        )
        np.save(self.folder.parent / "query.npy", np.ones((1, self.index.dim), dtype=np.float32))
        command = [sys.executable, "-c", code, str(self.folder), str(self.folder.parent / "query.npy")]
        done = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(5)]
        opened, first = (statistics.median(float(times[column]) for times in done) for column in (0, 1))
        return {"open_s": round(opened, 3), "first_query_s": round(first, 3)}

    def with_texts(self, texts):
        """Milliseconds a text, encoding included."""
        took = []
        for text in texts:
            started = time.perf_counter()
            self.index.search([text])
            took.append((time.perf_counter() - started) * 1e3)
        return took


class OursApproximate(Ours):
    """The same, with its approximate structure."""

    searcher = "approximate"

    def ready(self):
        self.index.approximate(threshold=THRESHOLDS[-1])


class FaissFlat:
    """All vectors in memory."""

    def __init__(self, folder: Path, dim: int) -> None:
        import faiss

        self.index = faiss.IndexFlatIP(dim)

    def add(self, vectors):
        self.index.add(vectors)

    def ready(self):
        pass

    def find(self, query, threshold):
        return self.index.range_search(query[None], threshold)[2]


class FaissGraph(FaissFlat):
    """HNSW, the 10 closest."""

    def __init__(self, folder: Path, dim: int) -> None:
        import faiss

        self.index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)

    def find(self, query, threshold):
        scores, rows = self.index.search(query[None], 10)
        return rows[0][scores[0] >= threshold]


class Usearch:
    """HNSW in int8, the 10 closest."""

    def __init__(self, folder: Path, dim: int) -> None:
        from usearch.index import Index

        self.index, self.folder = Index(ndim=dim, metric="cos", dtype="i8"), folder

    def add(self, vectors):
        self.index.add(np.arange(len(self.index), len(self.index) + len(vectors)), vectors)

    def ready(self):
        pass

    def find(self, query, threshold):
        found = self.index.search(query, 10)
        return np.asarray(found.keys, dtype=np.int64)[1 - np.asarray(found.distances) >= threshold]

    def disk(self):
        self.index.save(str(self.folder / "usearch"))
        return (self.folder / "usearch").stat().st_size


class Semhash:
    """Its index takes all vectors at once."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.vectors = []

    def add(self, vectors):
        self.vectors.append(vectors)

    def ready(self):
        from semhash.index import Index

        vectors = np.concatenate(self.vectors)
        items = [[{"text": str(row)}] for row in range(len(vectors))]
        self.vectors = []
        self.index = Index.from_vectors_and_items(vectors, items, "usearch")

    def find(self, query, threshold):
        ((rows, _),) = self.index.query_threshold(query[None], threshold)
        return rows


SYSTEMS = {
    "textsiam": (Ours, SIZES),
    "textsiam, approximate": (OursApproximate, SIZES[1:]),
    "faiss flat, range": (FaissFlat, SIZES),
    "faiss HNSW, 10 closest": (FaissGraph, SIZES),
    "usearch int8 HNSW, 10 closest": (Usearch, SIZES),
    "semhash": (Semhash, SIZES[:2]),  # a million take it more than ten minutes
}


def serve(name: str, file: str, pipe) -> None:
    """In the process of one system: fill it, then answer."""
    vectors = np.load(file, mmap_mode="r")
    queries, vectors = np.array(vectors[-N_QUERIES:]), vectors[:-N_QUERIES]
    with tempfile.TemporaryDirectory() as folder:
        before = memory()
        system = SYSTEMS[name][0](Path(folder), vectors.shape[1])
        started = time.perf_counter()
        for start in range(0, len(vectors) - N_ONE, BATCH):
            system.add(np.array(vectors[start : min(start + BATCH, len(vectors) - N_ONE)]))
        if name == "semhash":
            system.add(np.array(vectors[-N_ONE:]))
        filled = time.perf_counter() - started
        started = time.perf_counter()
        system.ready()
        ready = time.perf_counter() - started
        one = [timed(system.add, np.array(vectors[row : row + 1])) for row in range(len(vectors) - N_ONE, len(vectors))]
        told = {"add_per_s": round((len(vectors) - N_ONE) / (filled + (ready if name == "semhash" else 0)))}
        if name != "semhash":
            told["add_one_ms"] = round(statistics.median(one) * 1e3, 3)
        if ready > 1:
            told["make_structure_s"] = round(ready, 1)
        told |= system.open_again() if hasattr(system, "open_again") else {}
        told |= {"disk_mb": round(system.disk() / 2**20)} if hasattr(system, "disk") else {}
        for threshold in THRESHOLDS:
            system.find(queries[0], threshold)
        pipe.send(told)
        while (asked := pipe.recv()) is not None:
            pipe.send(answer(system, queries, asked, before))


def answer(system, queries, asked, before):
    if asked == "memory":
        now = memory()
        return {"anonymous_mb": now[0] - before[0], "mapped_mb": now[1] - before[1]}
    if asked == "texts":
        import pyarrow.parquet as pq

        texts = pq.read_table(SHARED / "qqp_questions.parquet")["question"].to_pylist()[: 2 * N_QUERIES]
        return system.with_texts(texts)[N_QUERIES:] if hasattr(system, "with_texts") else None
    threshold, start, stop = asked
    took, found = [], []
    for number in range(start, stop):
        started = time.perf_counter()
        rows = system.find(queries[number], threshold)
        took.append((time.perf_counter() - started) * 1e3)
        found.append(np.asarray(rows))
    return took, found


def timed(work, *arguments) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def memory() -> tuple[int, int]:
    """MB of this process, anonymous and mapped."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(round(int(lines[name].split()[0]) / 1024) for name in ("RssAnon", "RssFile"))


def measured(path: Path, n: int) -> dict:
    """All systems of this size, filled one after another, then asked in turn."""
    vectors = taken(path, n + N_QUERIES)
    exact = {threshold: exact_matches(vectors, threshold) for threshold in THRESHOLDS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vectors.npy"
        np.save(file, vectors)
        del vectors
        workers, told = started(file, n)
        for threshold in THRESHOLDS:
            for name, (took, found) in asked_in_turn(workers, threshold).items():
                told[name][f"at {threshold}"] = judged(took, found, exact[threshold])
        for name, (pipe, process) in workers.items():
            pipe.send("texts")
            if (took := pipe.recv()) is not None:
                told[name]["with_text"] = quantiles(took)
            pipe.send("memory")
            told[name] |= pipe.recv()
            pipe.send(None)
            process.join()
    return told


def exact_matches(vectors, threshold):
    from textsiam import threshold_join

    matches = threshold_join(vectors[-N_QUERIES:], vectors[:-N_QUERIES], threshold=threshold)
    return [matches.right[matches.left == number] for number in range(N_QUERIES)]


def started(file: Path, n: int):
    """A process for each system of this size, filled."""
    context, workers, told = multiprocessing.get_context("spawn"), {}, {}
    for name, (_, sizes) in SYSTEMS.items():
        if n in sizes and name in os.environ.get("TEXTSIAM_SYSTEMS", name):
            pipe, theirs = context.Pipe()
            process = context.Process(target=serve, args=(name, str(file), theirs), daemon=True)
            process.start()
            told[name], workers[name] = pipe.recv(), (pipe, process)
            print(n, name, told[name], flush=True)
    return workers, told


def asked_in_turn(workers, threshold):
    answers = {name: ([], []) for name in workers}
    size = N_QUERIES // N_ROUNDS
    for turn in range(N_ROUNDS):
        for name, (pipe, _) in workers.items():
            pipe.send((threshold, turn * size, (turn + 1) * size))
            for sums, part in zip(answers[name], pipe.recv(), strict=True):
                sums.extend(part)
    return answers


def judged(took, found, exact) -> dict:
    hits = sum(len(np.intersect1d(mine, right)) for mine, right in zip(found, exact, strict=True))
    n = sum(map(len, exact))
    return {**quantiles(took), "matches": n, "recall": round(hits / n, 4)}


def quantiles(took) -> dict:
    return {"p50_ms": round(float(np.median(took)), 3), "p99_ms": round(float(np.percentile(took, 99)), 3)}


def exponents(of: dict) -> dict:
    points = [(n, told[f"at {THRESHOLDS[0]}"]["p50_ms"]) for n, told in of.items()]
    return {f"{n:,} to {m:,}": round(math.log(u / t) / math.log(m / n), 2) for (n, t), (m, u) in pairwise(points)}


def main() -> None:
    path = Path(sys.argv[1]) if sys.argv[1:] else cache_folder() / "benchmark-vectors.npy"
    if not path.exists():
        encode(path)
    sizes = [int(size) for size in os.environ.get("TEXTSIAM_SIZES", "").split()] or SIZES
    found = {n: measured(path, n) for n in sizes}
    by_system = {name: {n: told[name] for n, told in found.items() if name in told} for name in SYSTEMS}
    figures = {
        "systems": {name: {str(n): told for n, told in of.items()} for name, of in by_system.items()},
        "growth_exponents_of_p50": {name: exponents(of) for name, of in by_system.items() if len(of) > 1},
        "rows": "real sentences first, beyond 213,276 between two real ones",
        "versions": versions(),
    }
    record("index", "looking up one text among n, and adding it, with vectors of 384 dimensions", figures, SEED)


def versions() -> dict:
    from importlib.metadata import version

    return {name: version(name) for name in ("faiss-cpu", "usearch", "semhash")}


if __name__ == "__main__":
    main()
