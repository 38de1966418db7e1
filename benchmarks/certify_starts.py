"""Where sequences of tests should begin: how often a threshold is found on real pairs, and the recall it buys.

Of each set one pair a component is drawn; of these so many are taken at random as labels, 200 times. ``quarter``: one sequence
from a quarter of the draws (at most what a share halfway to 1 needs); ``strict``: one from the fewest draws that can pass;
``both``: the two share the risk; ``ours``: `textsiam.scoring.evidence.planning.starts`. Scores come from the cache that
``benchmarks/encoders.py`` fills.

    python benchmarks/certify_starts.py CACHE
"""

import argparse
import math
from pathlib import Path

import numpy as np
from encoders import cached_scores, labelled
from record import record

from textsiam.data.linking import dependence, link
from textsiam.scoring.evidence.certification import STEP, draw
from textsiam.scoring.evidence.planning import fewest_draws, labels_needed, labels_without_error, passes, starts

SETS, SIZES = ("qqp_pairs", "mrpc", "twitter_url", "paws_wiki"), (200, 800, 2_000, 7_000)
LEVELS, N_DRAWS, SEED = (0.80, 0.90, 0.95), 200, 0


def quarter(n: int, level: float, confidence: float = 0.95) -> list[tuple[int, float]]:
    most = labels_needed(level, (1 + level) / 2, confidence) or n
    return [(max(labels_without_error(level, confidence), min(most, n // 4)), confidence)]


def strict(_n: int, level: float, confidence: float = 0.95) -> list[tuple[int, float]]:
    return [(labels_without_error(level, confidence), confidence)]


def both(n: int, level: float) -> list[tuple[int, float]]:
    return [(fewest_draws(level, 0.975, 1), 0.975), *quarter(n, level, 0.975)]


RULES = {"quarter": quarter, "strict": strict, "both": both, "ours": starts}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    cache = parser.parse_args().cache
    rows = []
    for data in SETS:
        pairs = labelled(data)
        drawn = draw(dependence(link([pairs]).texts[0]), len(pairs), SEED)
        scores, labels = cached_scores(cache, data)[drawn], pairs.labels[drawn]
        for n in (n for n in SIZES if n <= len(drawn)):
            for level in LEVELS:
                rows.append({"data": data, "labels": n, "level": level} | compared(scores, labels, n, level))
                print(rows[-1], flush=True)
    record(
        "certify_starts",
        "Where sequences of tests begin decides what they find",
        {"draws": N_DRAWS, "rows": rows},
        SEED,
    )


def compared(scores: np.ndarray, labels: np.ndarray, n: int, level: float) -> dict:
    rng = np.random.default_rng([SEED, n, round(100 * level)])
    begins = {name: rule(n, level) for name, rule in RULES.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES}
    for _ in range(N_DRAWS):
        some = rng.permutation(len(scores))[:n]
        n_right = np.cumsum(labels[some[np.argsort(-scores[some], kind="stable")]])
        for name, begin in begins.items():
            last = max(loosest(n_right, start, level, confidence) for start, confidence in begin)
            found[name].append((last > 0, n_right[last - 1] / n_right[-1] if last else 0.0))
    return {
        name: {
            "found": round(float(np.mean(found[name], 0)[0]), 3),
            "recall": round(float(np.mean(found[name], 0)[1]), 3),
        }
        for name in RULES
    }


def loosest(n_right: np.ndarray, start: int, level: float, confidence: float) -> int:
    n, last = start, 0
    while n <= len(n_right) and passes(int(n_right[n - 1]), n, level, confidence):
        last, n = n, max(n + 1, math.ceil(n * STEP))
    return last


if __name__ == "__main__":
    main()
