"""An audit of the real join of 78,969 questions, labelled by gold links; its estimates beside the truth over all matches.

The labeller knows what QQP knows: pairs in one class of equal questions (label 1, closed transitively, over both files) are
right, pairs labelled 0 are wrong, and of the rest nobody knows anything. Two views: ``unknown_wrong`` (what is not known to be
right is wrong: a lower bound, for QQP labelled few of the pairs that a join finds) and ``known_only`` (the join restricted to
the pairs that QQP knows: their precision is that of QQP's choice of pairs, not of the join). In both every match has a label,
so each audit can be held against the truth: estimates and certificates of 200 audits.

The join (minutes of encoding) is kept in a cache folder.

    python benchmarks/audit.py CACHE [--seeds 200]
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from audit_simulation import Truth
from record import SHARED, record

from textsiam import Matches, Siamese, find_duplicates, read_pairs, read_texts
from textsiam.auditing.audit import Audit, start_audit
from textsiam.auditing.estimates import precision_at, recall_at
from textsiam.auditing.proof import prove
from textsiam.auditing.sampling import ALLOCATIONS, draw_sample
from textsiam.scoring.evidence.intervals import binomial_interval

THRESHOLD, LEVELS, N, SEED = 0.8, (0.5, 0.6, 0.7, 0.8, 0.9), 300, 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--seeds", type=int, default=200)
    asked = parser.parse_args()
    started = time.perf_counter()
    matches, join = joined(asked.cache)
    links = gold(matches)
    figures: dict = {
        "matches": len(matches),
        "join": {"threshold": THRESHOLD} | join,
        "known_right": int((links == 1).sum()),
        "known_wrong": int((links == 0).sum()),
        "unknown": int((links < 0).sum()),
        "labels": N,
        "seeds": asked.seeds,
    }
    known = np.flatnonzero(links >= 0)
    views = {
        "unknown_wrong": (matches, (links == 1).astype(np.int64)),
        "known_only": (matches.take(known), links[known]),
    }
    for name, (found, labels) in views.items():
        figures[name] = {
            "one_audit": one_audit(found, labels, asked.cache / name),
            **against_truth(found, labels, asked),
        }
    figures["seconds"] = round(time.perf_counter() - started, 1)
    claim = "An audit of a real join estimates its precision and recall within its intervals, and certifies no false threshold"
    record("audit", claim, figures, SEED)


def joined(cache: Path) -> tuple[Matches, dict]:
    """Every pair of questions at or above the threshold, and what finding them took."""
    target, texts = cache / "matches.npz", read_texts(SHARED / "qqp_questions.parquet")
    if not target.exists():
        started = time.perf_counter()
        model = Siamese.load(dtype="float32", device="cpu")
        found = find_duplicates(model, texts, threshold=THRESHOLD)
        cache.mkdir(parents=True, exist_ok=True)
        columns = {name: getattr(found, name) for name in ("left", "right", "score", "probability")}
        seconds, threads = time.perf_counter() - started, int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
        np.savez(target, **columns, seconds=seconds, threads=threads)
    kept = np.load(target)
    columns = {name: kept[name] for name in ("left", "right", "score", "probability")}
    found = Matches(**columns, n_left=len(texts), left_ids=texts.ids, left_texts=texts)
    return found, {"seconds": round(float(kept["seconds"]), 1), "threads": int(kept["threads"])}


def gold(matches: Matches) -> np.ndarray:
    """(matches,) 1 in one class of equal questions, 0 labelled 0 (and in no such class), -1 unknown."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    texts = matches.left_texts
    places = {text: place for place, text in enumerate(texts)}
    same, other = [], set()
    for name in ("qqp_pairs", "qqp_duplicates"):
        pairs = read_pairs(SHARED / f"{name}.parquet")
        for first, second, label in zip(pairs.first, pairs.second, pairs.labels.tolist(), strict=True):
            a, b = places[first], places[second]
            if label:
                same.append((a, b))
            else:
                other.add((min(a, b), max(a, b)))
    rows = np.array(same)
    graph = coo_array((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), shape=(len(texts), len(texts)))
    group = connected_components(graph, directed=False)[1]
    is_other = np.array([pair in other for pair in zip(matches.left.tolist(), matches.right.tolist(), strict=True)])
    return np.where(group[matches.left] == group[matches.right], 1, np.where(is_other, 0, -1))


def one_audit(matches: Matches, labels: np.ndarray, folder: Path) -> dict:
    """As a user does it: start, save, label one by one as if at the terminal, open, finish at every level."""
    started = time.perf_counter()
    audit = start_audit(matches, n=N, threshold=THRESHOLD, seed=SEED)
    if folder.exists():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    audit.save(folder)
    drawn = labels[audit.design.place[audit.pairs.cell]]
    seconds = []
    for number, label in enumerate(drawn.tolist(), start=1):
        before = time.perf_counter()
        Audit.open(folder).label({number: label}, "gold").save(folder)
        seconds.append(time.perf_counter() - before)
    results = {f"{level:.1f}": Audit.open(folder).finish(level) for level in LEVELS}
    truth = Truth(matches.score, labels)
    told = {"milliseconds_a_label": round(1e3 * float(np.median(seconds)), 1), "levels": {}}
    for level, result in results.items():
        value = result.threshold.value
        told["levels"][level] = {
            "threshold": value,
            "recall": None if value is None else [round(bound, 4) for bound in result.recall],
            "true_precision": None if value is None else round(truth.precision(value), 4),
            "true_recall": None if value is None else round(truth.recall(value), 4),
            "more_labels": result.more_labels,
        }
    told["precision"] = [round(bound, 4) for bound in results["0.5"].precision]
    told["true_precision"] = round(truth.precision(float(matches.score.min())), 4)
    told["bands"] = [band.to_json() for band in results["0.5"].bands]
    return told | {"seconds": round(time.perf_counter() - started, 1)}


def against_truth(matches: Matches, labels: np.ndarray, asked: argparse.Namespace) -> dict:
    return {allocation: over_seeds(matches, labels, allocation, asked.seeds) for allocation in ALLOCATIONS}


def over_seeds(matches: Matches, labels: np.ndarray, allocation: str, n_seeds: int) -> dict:
    """Coverage, width, false certificates and certificates found, over audits with other seeds."""
    truth, lowest = Truth(matches.score, labels), float(matches.score.min())
    cuts = [lowest, *map(float, np.quantile(matches.score, [0.5, 0.9]))]
    precisions, recalls = [truth.precision(cut) for cut in cuts], [truth.recall(cut) for cut in cuts]
    covered, recall_covered, widths = np.zeros(len(cuts)), np.zeros(len(cuts)), np.zeros(len(cuts))
    found = {level: [] for level in LEVELS}
    for seed in range(n_seeds):
        design = draw_sample(matches.score, N, allocation=allocation, seed=seed)
        told = labels[design.place]
        for place, cut in enumerate(cuts):
            precision, recall = precision_at(design, told, cut), recall_at(design, told, cut)
            covered[place] += precision.low <= precisions[place] <= precision.high
            recall_covered[place] += recall.low <= recalls[place] <= recall.high
            widths[place] += (precision.high - precision.low) / 2
        for level in LEVELS:
            found[level].append(prove(design, told, precision=level).value)
    return {
        "cuts": [round(cut, 4) for cut in cuts],
        "true_precision": [round(value, 4) for value in precisions],
        "true_recall": [round(value, 4) for value in recalls],
        "precision_coverage": (covered / n_seeds).tolist(),
        "recall_coverage": (recall_covered / n_seeds).tolist(),
        "precision_half_width": (widths / n_seeds).round(4).tolist(),
        "certificates": {f"{level:.1f}": certificates(values, truth, level) for level, values in found.items()},
    }


def certificates(values: list[float | None], truth: Truth, level: float) -> dict:
    issued = [value for value in values if value is not None]
    false = sum(truth.precision(value) < level for value in issued)
    loosest = truth.loosest(level)
    return {
        "found": round(len(issued) / len(values), 4),
        "false": [round(bound, 4) for bound in binomial_interval(int(false), len(values))],
        "median_threshold": round(float(np.median(issued)), 4) if issued else None,
        "mean_true_recall": round(float(np.mean([0 if value is None else truth.recall(value) for value in values])), 4),
        "loosest_true_threshold": loosest,
        "its_recall": None if loosest is None else round(truth.recall(loosest), 4),
    }


if __name__ == "__main__":
    main()
