"""Structures for looking up all rows within a radius: time, size and recall of each, in a process of its own, in turn.

Queries are of two kinds. *Rows* are rows of the set itself, and recall is the share of all pairs with another row that reach
the threshold, by brute force. *Edges* were made by turning a row towards another until their cosine is the threshold, where a
row is hardest to find, and recall is the share of them that find the row. Each structure is tried at ever dearer settings
until the lower of the two is .99; a single query is timed there, rows as queries. (faiss takes one thread for it, usearch too.)
What is found is what reaches the threshold less the structure's own rounding, since it is scored again exactly.

    python benchmarks/nearest.py [VECTORS.npy]     half an hour; default: the vectors of join.py
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from join import taken
from record import record

from textsiam.encoding.model_folder.folder import cache_folder

SEED, N_QUERIES, N_TIMED, BLOCK, RECALL = 0, 1_000, 300, 20_000, 0.99
THRESHOLDS = (0.8, 0.9454)
STEP = 2**0.5  # from a setting to the next


class Scan:
    """The exact scan of leading principal coordinates, as it is without an index."""

    settings = (1,)

    def __init__(self, vectors):
        from textsiam.matching.join.screens import principal_axes

        sample = vectors[np.random.default_rng(SEED).choice(len(vectors), 4_096, replace=False)]
        self.axes = principal_axes(sample)[:, :63]
        self.short = []

    def add(self, rows):
        self.short.append(shortened(rows, self.axes))

    def size(self, _):
        self.short = np.concatenate(self.short)
        return self.short.nbytes

    def find(self, queries, threshold, _):
        return np.nonzero(shortened(queries, self.axes) @ self.short.T >= threshold - 1e-5)


class Cells:
    """faiss's inverted lists: rows by the nearest of some centroids, of which a query visits a few."""

    def __init__(self, vectors, kind="SQ8", times=4, leading=None):
        import faiss

        self.faiss, n = faiss, len(vectors)
        n_cells = int(times * n**0.5)
        self.settings = [max(1, round(n_cells / 256 * STEP**step)) for step in range(17)]
        width = leading or vectors.shape[1]
        self.index = faiss.index_factory(width, f"IVF{n_cells},{kind}", faiss.METRIC_INNER_PRODUCT)
        self.index.by_residual = False
        self.slack = {"Flat": 1e-5, "SQfp16": 1e-3, "SQ8": 0.015}[kind]
        sample = vectors[np.random.default_rng(SEED).choice(n, min(n, 40 * n_cells), replace=False)]
        self.axes = None
        if leading:
            from textsiam.matching.join.screens import principal_axes

            self.axes = principal_axes(sample[:8_192])[:, : leading - 1]
        self.index.cp.min_points_per_centroid = 1
        self.index.train(self.width(sample))

    def width(self, rows):
        return rows if self.axes is None else shortened(rows, self.axes)

    def add(self, rows):
        self.index.add(self.width(rows))

    def size(self, folder):
        return _written(self.faiss.write_index, self.index, folder)

    def find(self, queries, threshold, setting):
        self.index.nprobe = setting
        limits, _, right = self.index.range_search(self.width(queries), threshold - self.slack)
        return np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64))), right


class Graph:
    """faiss's HNSW, which can search a radius."""

    settings = (16, 32, 64, 128, 256, 512, 1_024, 2_048)

    def __init__(self, vectors):
        import faiss

        self.faiss = faiss
        self.index = faiss.index_factory(vectors.shape[1], "HNSW16_SQ8", faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = 100
        self.index.train(vectors[np.random.default_rng(SEED).choice(len(vectors), 20_000, replace=False)])

    def add(self, rows):
        self.index.add(rows)

    def size(self, folder):
        return _written(self.faiss.write_index, self.index, folder)

    def find(self, queries, threshold, setting):
        self.index.hnsw.efSearch = setting
        # One by one: a range search of several queries ends the process (faiss 1.15.1, an assertion in a thread).
        found = [self.index.range_search(queries[i : i + 1], threshold - 0.015)[2] for i in range(len(queries))]
        return np.repeat(np.arange(len(queries)), list(map(len, found))), np.concatenate(found)


class Neighbours:
    """usearch's HNSW: the k closest, twice as many until the last one is below the threshold."""

    settings = Graph.settings

    def __init__(self, vectors, dtype="i8"):
        from usearch.index import Index

        self.index, self.slack = (
            Index(ndim=vectors.shape[1], metric="cos", dtype=dtype),
            0.02 if dtype == "i8" else 1e-3,
        )

    def add(self, rows):
        self.index.add(np.arange(len(self.index), len(self.index) + len(rows)), rows)

    def size(self, folder):
        return _written(lambda index, file: index.save(file), self.index, folder)

    def find(self, queries, threshold, setting):
        self.index.expansion_search = setting
        k, open_, left, right = 32, np.arange(len(queries)), [], []
        while len(open_):
            found = self.index.search(queries[open_], min(k, len(self.index)))
            keys, distances = (np.atleast_2d(of) for of in (found.keys, found.distances))
            good = 1 - distances >= threshold - self.slack
            done = ~good[:, -1] | (k >= len(self.index))
            i, j = np.nonzero(good[done])
            left.append(open_[done][i])
            right.append(keys[done][i, j].astype(np.int64))
            open_, k = open_[~done], k * 2
        return np.concatenate(left), np.concatenate(right)


BOTH, SMALL = (100_000, 1_000_000), (100_000,)
# Each with the sizes it is measured at.
SYSTEMS = {
    "exact scan, 64 coordinates": (Scan, BOTH),
    "faiss IVF fp32": (lambda vectors: Cells(vectors, "Flat"), SMALL),
    "faiss IVF fp16": (lambda vectors: Cells(vectors, "SQfp16"), BOTH),
    "faiss IVF int8": (Cells, BOTH),
    "faiss IVF int8, half the cells": (lambda vectors: Cells(vectors, times=2), BOTH),
    "faiss IVF int8, twice the cells": (lambda vectors: Cells(vectors, times=8), SMALL),
    "faiss IVF int8, 128 coordinates": (lambda vectors: Cells(vectors, leading=128), BOTH),
    "usearch HNSW int8": (Neighbours, BOTH),
    "usearch HNSW fp16": (lambda vectors: Neighbours(vectors, "f16"), SMALL),
    "faiss HNSW int8": (Graph, BOTH),
}


def shortened(rows, axes):
    """Coordinates, and the length of the rest, which makes a product an upper bound."""
    short = rows @ axes
    rest = np.sqrt(np.maximum(1 - (short**2).sum(1), 0))
    return np.ascontiguousarray(np.concatenate([short, rest[:, None]], 1))


def _written(write, index, folder):
    file = str(Path(folder) / "index")
    write(index, file)
    return Path(file).stat().st_size


def main(path: Path) -> None:
    found = {str(n): {} for n in BOTH}
    for n in BOTH:
        for name, (_, sizes) in SYSTEMS.items():
            if n in sizes:
                found[str(n)][name] = run(path, name, n)
    print(table(found))
    figures = {"systems": found, "versions": {name: version(name) for name in ("faiss-cpu", "usearch")}}
    record("nearest", f"all rows within a radius, recall {RECALL} at rows and at edges", figures, SEED)


def table(found):
    """A line for each structure and size; p50 and p99 in milliseconds at each threshold."""
    lines = ["n | structure | build s | add µs/row | bytes/row | " + " | ".join(f"at {t}" for t in THRESHOLDS)]
    for n, systems in found.items():
        for name, of in systems.items():
            at = " | ".join(
                f"{one['p50_ms']}, {one['p99_ms']} ms, rows {one['rows']}, edges {one['edges']} ({one['setting']})"
                for one in of["at"].values()
            )
            lines.append(f"{n} | {name} | {of['build_s']} | {of['add_us_per_row']} | {of['bytes_per_row']} | {at}")
    return "\n".join(lines)


def run(path: Path, name: str, n: int):
    """One structure on n vectors in a process of its own."""
    command = [sys.executable, __file__, str(path), "--one", name, str(n)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(name, n, answer.stdout.strip(), flush=True)
    return json.loads(answer.stdout.splitlines()[-1])


def one(path: Path, name: str, n: int) -> None:
    """In the process: train, add, write; then for each threshold the cheapest setting that finds enough."""
    vectors = taken(path, n)
    started = time.perf_counter()
    structure = SYSTEMS[name][0](vectors)
    trained = time.perf_counter()
    for start in range(0, n, BLOCK):
        structure.add(vectors[start : start + BLOCK])
    added = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        size = structure.size(folder)
    told = {
        "build_s": round(added - started, 1),
        "add_us_per_row": round((added - trained) / n * 1e6, 1),
        "bytes_per_row": round(size / n),
        "at": {str(threshold): at(structure, vectors, threshold) for threshold in THRESHOLDS},
    }
    print(json.dumps(told))


def at(structure, vectors, threshold):
    """The first setting that reaches the recall, or the last, and a single query's time there."""
    rows = np.random.default_rng(SEED).choice(len(vectors), N_QUERIES, replace=False)
    expected, turned = pairs(vectors, rows, threshold), edges(vectors, rows, threshold)
    for setting in structure.settings:
        recalls = {
            "rows": round(share(structure, vectors[rows], threshold, setting, expected, len(vectors)), 4),
            "edges": round(share(structure, turned, threshold, setting, (np.arange(N_QUERIES), rows), len(vectors)), 4),
        }
        if min(recalls.values()) >= RECALL:
            break
    seconds = []
    for row in rows[:N_TIMED]:
        started = time.perf_counter()
        structure.find(vectors[row : row + 1], threshold, setting)
        seconds.append(time.perf_counter() - started)
    p50, p99 = (round(1e3 * float(np.quantile(seconds, q)), 2) for q in (0.5, 0.99))
    return recalls | {"setting": setting, "p50_ms": p50, "p99_ms": p99, "pairs": len(expected[0])}


def share(structure, queries, threshold, setting, expected, n):
    """Of the expected pairs, those found."""
    i, j = (
        np.concatenate(of)
        for of in zip(
            *(
                (found[0] + start, found[1])
                for start in range(0, len(queries), 100)
                for found in [structure.find(queries[start : start + 100], threshold, setting)]
            ),
            strict=True,
        )
    )
    return float(np.isin(expected[0] * n + expected[1], i * n + j).mean())


def pairs(vectors, rows, threshold):
    """By brute force: places among the rows, and other rows that reach the threshold."""
    found = [[], []]
    for start in range(0, len(vectors), BLOCK):
        i, j = np.nonzero(vectors[rows] @ vectors[start : start + BLOCK].T >= threshold)
        keep = rows[i] != j + start
        found[0].append(i[keep])
        found[1].append(j[keep] + start)
    return np.concatenate(found[0]), np.concatenate(found[1])


def edges(vectors, rows, threshold):
    """Rows turned towards others, of which each then is `threshold` away."""
    others = vectors[np.random.default_rng(SEED + 1).integers(0, len(vectors), len(rows))]
    across = others - (others * vectors[rows]).sum(1, keepdims=True) * vectors[rows]
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return threshold * vectors[rows] + (1 - threshold**2) ** 0.5 * across


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    file = Path(sys.argv[1]) if sys.argv[1:] else cache_folder() / "benchmark-vectors.npy"
    if sys.argv[2:3] == ["--one"]:
        one(file, sys.argv[3], int(sys.argv[4]))
    else:
        main(file)
