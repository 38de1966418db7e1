"""This checkout beside another one, such as the commit before a rebuilding, in one sitting: encode, score, join, index.

    python benchmarks/before_after.py OTHER_CHECKOUT

Each runs in a process of its own with its folder first on the path. They take turns for nine rounds (or ``--rounds``; the first
warms up), also at being first. A ratio is of the medians, other / this: above 1 this checkout is the faster one. Vectors are of
real questions; beyond 78,969 they are real ones jittered. Nothing else should run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import RESULTS, ROOT, SHARED, circumstances, commit_of, record

SEED, ROUNDS = 0, 9
N_TEXTS, N_PAIRS, N_JOIN, N_QUERIES = 4_096, 200, 40_000, 200
SIZES = (10_000, 100_000)
THRESHOLD = 0.9454
KINDS = ("encode fp32", "encode bf16", "score one pair", "join", *(f"index {n:,}" for n in SIZES))


class Side:
    """One checkout's process: asked by a line, answers by a line of seconds by name."""

    def __init__(self, root: Path, folder: Path) -> None:
        program = (
            f"import sys; sys.path[:0] = [{str(root)!r}, {str(Path(__file__).parent)!r}]; import before_after as it; "
            f"it.serve({str(root)!r}, {str(folder)!r})"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, kind: str) -> dict[str, float]:
        self.process.stdin.write(kind + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def serve(root: str, folder: str) -> None:
    import textsiam

    assert Path(textsiam.__file__).is_relative_to(root), textsiam.__file__
    measures = Measures(Path(folder))
    for line in sys.stdin:
        print(json.dumps(measures.of(line.strip())), flush=True)


class Measures:
    def __init__(self, folder: Path) -> None:
        from textsiam import read_texts

        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        self.questions = list(read_texts(SHARED / "qqp_questions.parquet", column="question"))
        self.models: dict[str, object] = {}

    def model(self, dtype: str):
        from textsiam import Siamese

        if dtype not in self.models:
            self.models[dtype] = Siamese.load(dtype=dtype, device="cpu")
        return self.models[dtype]

    def of(self, kind: str) -> dict[str, float]:
        if kind.startswith("encode"):
            model = self.model({"fp32": "float32", "bf16": "bfloat16"}[kind.split()[1]])
            return {kind: took(model.encode, self.questions[:N_TEXTS])}
        if kind == "score one pair":
            model = self.model("float32")
            some = self.questions[: 2 * N_PAIRS]
            return {
                kind: float(
                    np.median([took(model.score, [a], [b]) for a, b in zip(some[::2], some[1::2], strict=True)])
                )
            }
        if kind == "join":
            from textsiam import threshold_join

            return {kind: took(lambda: threshold_join(self.vectors[:N_JOIN], threshold=0.8))}
        return self.index(kind, int(kind.split()[1].replace(",", "")))

    def index(self, kind: str, n: int) -> dict[str, float]:
        from textsiam import Index

        model = self.model("float32")
        with tempfile.TemporaryDirectory() as folder:
            index = Index.create(Path(folder) / "index", model, threshold=THRESHOLD)
            vectors = np.asarray(self.vectors[:n])
            adding = took(lambda: index.add(range(n), embeddings=vectors))
            queries = vectors[:: max(1, n // N_QUERIES)][:N_QUERIES]
            some = self.questions[-N_QUERIES:]
            found = {
                f"{kind}, add all": adding,
                f"{kind}, one query": float(
                    np.median([took(lambda q=q: index.search(embeddings=q[None])) for q in queries])
                ),
                f"{kind}, one text searched": float(np.median([took(index.search, [text]) for text in some])),
                f"{kind}, one text added": float(
                    np.median([took(index.add, [f"new{row}"], [text]) for row, text in enumerate(some[:50])])
                ),
            }
            index.close()
        return found


def took(work, *arguments) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def result_of(name: str) -> dict:
    """What was recorded last, of which the kinds that are not asked for stay."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def write_vectors(folder: Path) -> None:
    from textsiam import Siamese, read_texts

    vectors = Siamese.load().encode(read_texts(SHARED / "qqp_questions.parquet", column="question"))
    random = np.random.default_rng(SEED)
    more = vectors[random.choice(len(vectors), max(SIZES) - len(vectors))]
    more = more + random.normal(scale=0.02, size=more.shape).astype(np.float32)
    more /= np.linalg.norm(more, axis=1, keepdims=True)
    np.save(folder / "vectors.npy", np.concatenate([vectors, more])[random.permutation(max(SIZES))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="More of them narrow what noise hides.")
    asked = parser.parse_args()
    kinds = [kind for kind in asked.kinds if circumstances()["machine"]["avx512_bf16"] or "bf16" not in kind]
    with tempfile.TemporaryDirectory() as folder:
        write_vectors(Path(folder))
        sides = {"other": Side(asked.other.resolve(), Path(folder)), "this": Side(ROOT, Path(folder))}
        seconds: dict[str, dict[str, list[float]]] = {}
        for kind in kinds:
            for round_ in range(asked.rounds):
                for name, side in list(sides.items())[:: 1 if round_ % 2 else -1]:
                    for figure, value in side.ask(kind).items():
                        if round_:
                            seconds.setdefault(figure, {}).setdefault(name, []).append(value)
            print(kind, "done", file=sys.stderr)
        for side in sides.values():
            side.close()
    figures = {}
    for figure, by in seconds.items():
        other, this = (float(np.median(by[name])) for name in ("other", "this"))
        pairs = np.array(by["other"]) / np.array(by["this"])
        figures[figure] = {
            "other_s": round(other, 6),
            "this_s": round(this, 6),
            "ratio": round(other / this, 3),
            "least_and_most": [round(float(pairs.min()), 3), round(float(pairs.max()), 3)],
        }
    if kept := result_of("before_after") if set(asked.kinds) < set(KINDS) else {}:
        figures = kept["figures"] | figures
    record("before_after", __doc__.splitlines()[0], {"other": commit_of(asked.other), **figures}, SEED)


if __name__ == "__main__":
    main()
