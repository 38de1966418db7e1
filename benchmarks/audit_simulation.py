"""Audits of made-up joins whose every label is known: false certificates, coverage, thresholds found, 2,000 samples a
setting with the default allocation of labels.

Seven populations of 6,000 matches with fixed labels: ``rising`` (precision rises with the score), ``flat`` (half a point below
the level at every cut, so that every certificate is false), ``noisy`` (the closest twentieth is wrong now and then),
``waves`` (precision goes up and down), ``skewed`` (rising, most matches near the join's threshold), ``hidden`` (skewed; all
errors among the many matches near the join's threshold, the whole half a point below the level), ``ties`` (a third at 1.0,
half a point below the level; the rest rising). A certificate is false where the precision at its cut, over all matches, is
below the level. Each allocation of labels to strata sees the same populations.

    python benchmarks/audit_simulation.py [--draws 2000] [--other-draws 500] [--sizes 60 200 800] [--dry]
"""

import argparse
import time

import numpy as np
from record import record

from textsiam.auditing.estimates import precision_at, recall_at
from textsiam.auditing.proof import prove
from textsiam.auditing.sampling import ALLOCATIONS, draw_sample
from textsiam.scoring.evidence.intervals import binomial_interval

N, LEVELS, CONFIDENCE, SEED, DEFAULT = 6_000, (0.80, 0.95), 0.95, 0, "root"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--other-draws", type=int, default=500, help="for the allocations that are not the default")
    parser.add_argument("--sizes", type=int, nargs="+", default=[60, 200, 800])
    parser.add_argument("--allocations", nargs="+", default=sorted(ALLOCATIONS, key=DEFAULT.__ne__))
    parser.add_argument("--levels", type=float, nargs="+", default=list(LEVELS))
    parser.add_argument("--dry", action="store_true", help="show, write nothing")
    asked = parser.parse_args()
    started, rows = time.perf_counter(), []
    for allocation in asked.allocations:
        n_draws = asked.draws if allocation == DEFAULT else min(asked.draws, asked.other_draws)
        for name in POPULATIONS:
            for level in asked.levels:
                for n in asked.sizes:
                    rows.append(setting(name, allocation, level, n, n_draws))
                    print(*rows[-1].values(), flush=True)
    figures = {allocation: summary(rows, allocation) for allocation in asked.allocations}
    figures |= dict(draws=asked.draws, other_draws=asked.other_draws, matches=N, confidence=CONFIDENCE, settings=rows)
    if asked.dry:
        return print({allocation: figures[allocation] for allocation in asked.allocations})
    return record(
        "audit_simulation",
        "An audit certifies falsely in at most 5 % of samples, whatever the join's scores and labels look like",
        figures | {"seconds": round(time.perf_counter() - started)},
        SEED,
    )


def summary(rows: list[dict], allocation: str) -> dict:
    own = [row for row in rows if row["allocation"] == allocation]
    honest = [row for row in own if row["population"] not in ("flat", "hidden")]
    return {
        "worst_false": max(row["false"][0] for row in own),
        "mean_found": round(float(np.mean([row["found"] for row in honest])), 4),
        "mean_recall_certified": round(float(np.mean([row["recall_certified"] for row in honest])), 4),
        "worst_precision_coverage": min(min(row["precision_coverage"]) for row in own),
        "worst_recall_coverage": min(row["recall_coverage"] for row in own),
        "mean_half_width": round(float(np.mean([row["half_width"] for row in own])), 4),
    }


def setting(name: str, allocation: str, level: float, n: int, n_draws: int, n_matches: int = N) -> dict:
    scores, labels = POPULATIONS[name](level, np.random.default_rng([SEED, list(POPULATIONS).index(name)]), n_matches)
    truth = Truth(scores, labels)
    cuts = (float(scores.min()), float(np.quantile(scores, 0.6)))
    recall, precisions = truth.recall(cuts[1]), [truth.precision(cut) for cut in cuts]
    found, false, recalls, covered, recall_covered, widths = [], [], [], [], [], []
    for k in range(n_draws):
        design = draw_sample(scores, n, allocation=allocation, seed=k)
        told = labels[design.place]
        value = prove(design, told, precision=level, confidence=CONFIDENCE).value
        found.append(value is not None)
        false.append(value is not None and truth.precision(value) < level)
        recalls.append(0.0 if value is None else truth.recall(value))
        intervals = [precision_at(design, told, cut) for cut in cuts]
        covered.append([of.low <= true <= of.high for of, true in zip(intervals, precisions, strict=True)])
        of = recall_at(design, told, cuts[1])
        recall_covered.append(of.low <= recall <= of.high)
        widths.append((intervals[0].high - intervals[0].low) / 2)
    return {
        "population": name,
        "allocation": allocation,
        "level": level,
        "labels": n,
        "false": [round(bound, 4) for bound in binomial_interval(sum(false), n_draws)],
        "found": round(float(np.mean(found)), 4),
        "recall_certified": round(float(np.mean(recalls)), 4),
        "precision_coverage": [round(float(share), 4) for share in np.mean(covered, axis=0)],
        "recall_coverage": round(float(np.mean(recall_covered)), 4),
        "half_width": round(float(np.mean(widths)), 4),
    }


class Truth:
    """Precision and recall at any cut, over all matches."""

    def __init__(self, scores: np.ndarray, labels: np.ndarray) -> None:
        order = np.argsort(-scores, kind="stable")
        self.ordered, self.n_right = -scores[order], np.cumsum(labels[order])

    def precision(self, cut: float) -> float:
        n = int(np.searchsorted(self.ordered, -np.float32(cut), side="right"))
        return float(self.n_right[n - 1] / n)

    def recall(self, cut: float) -> float:
        n = int(np.searchsorted(self.ordered, -np.float32(cut), side="right"))
        return float(self.n_right[n - 1] / self.n_right[-1])

    def loosest(self, level: float) -> float | None:
        """The lowest cut at which the precision over all matches reaches the level."""
        ends = np.flatnonzero(np.append(np.diff(self.ordered) > 0, True))
        kept = ends[self.n_right[ends] >= level * (ends + 1)]
        return float(-self.ordered[kept[-1]]) if len(kept) else None


def even(scores: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Labels whose cumulated count follows the chances along the scores as closely as whole numbers can, never above."""
    order = np.argsort(-scores, kind="stable")
    labels = np.empty(len(scores), dtype=np.int64)
    labels[order] = np.diff(np.floor(np.cumsum(chances[order]) + 1e-9), prepend=0).astype(np.int64)
    return labels


def uniform(rng: np.random.Generator, n: int) -> np.ndarray:
    return (0.8 + 0.2 * rng.random(n)).astype(np.float32)


def skew(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.minimum(0.8 + rng.exponential(0.025, n), 1).astype(np.float32)


def logistic(scores: np.ndarray, middle: float = 0.86, top: float = 0.998) -> np.ndarray:
    return top / (1 + np.exp(-60 * (scores.astype(np.float64) - middle)))


def rising(_level, rng, n):
    scores = uniform(rng, n)
    return scores, (rng.random(n) < logistic(scores)).astype(np.int64)


def flat(level, rng, n):
    scores = uniform(rng, n)
    return scores, even(scores, np.full(n, level - 0.005))


def noisy(level, rng, n):
    scores = uniform(rng, n)
    chances = np.where(scores > 0.99, level - 0.02, logistic(scores))
    return scores, (rng.random(n) < chances).astype(np.int64)


def waves(level, rng, n):
    scores = uniform(rng, n)
    return scores, even(scores, np.clip(level + (1 - level) * np.sin(70 * scores), 0, 1))


def skewed(_level, rng, n):
    scores = skew(rng, n)
    return scores, (rng.random(n) < logistic(scores, 0.82)).astype(np.int64)


def hidden(level, rng, n):
    scores = skew(rng, n)
    many = scores < 0.82
    return scores, even(scores, np.where(many, 1 - (1 - level + 0.005) / many.mean(), 1.0))


def ties(level, rng, n):
    scores = np.where(rng.random(n) < 1 / 3, np.float32(1), uniform(rng, n))
    return scores, np.where(scores == 1, even(scores, np.full(n, level - 0.005)), even(scores, logistic(scores, 0.84)))


POPULATIONS = {
    "rising": rising,
    "flat": flat,
    "noisy": noisy,
    "waves": waves,
    "skewed": skewed,
    "hidden": hidden,
    "ties": ties,
}

if __name__ == "__main__":
    main()
