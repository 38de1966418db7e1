"""Thresholds certified on half the components of real labelled pairs, verified on the other half, over 200 random splits.

Issued: the share of splits in which a threshold was found. Broken: among the issued, the share whose precision on the held-out
half (one random pair a component, as it was certified) is so low that even its upper bound (one-sided 95 %, exact) lies below
the target. Scores come from the cache that ``benchmarks/encoders.py`` fills.

    python benchmarks/certify_real.py CACHE [--splits 200]
"""

import argparse
from pathlib import Path

import numpy as np
from encoders import cached_scores, labelled
from record import record

from textsiam.data.linking import dependence, link
from textsiam.scoring.evidence.certification import certify_scores, draw
from textsiam.scoring.evidence.intervals import binomial_interval

LEVELS, SEED = (0.60, 0.70, 0.80, 0.85, 0.90, 0.95, 0.98), 0
SETS = {
    "qqp_pairs": ("default", "l3", "mpnet"),
    "twitter_url": ("default", "l3", "mpnet"),
    "mrpc": ("default",),
    "paws_wiki": ("default",),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--splits", type=int, default=200)
    asked = parser.parse_args()
    figures: dict = {"splits": asked.splits}
    for data, encoders in SETS.items():
        pairs = labelled(data)
        components = dependence(link([pairs]).texts[0])
        sizes = np.bincount(components)
        figures[data] = {"pairs": len(pairs), "components": len(sizes), "largest_component": int(sizes.max())}
        for encoder in encoders:
            scores = cached_scores(asked.cache, data, encoder)
            told = [over_splits(scores, pairs.labels, components, level, asked.splits) for level in LEVELS]
            figures[data][encoder] = told
            print(data, encoder, *told, sep="\n", flush=True)
    record("certify_real", "Certified thresholds hold on held-out components of real pairs", figures, SEED)


def over_splits(
    scores: np.ndarray,
    labels: np.ndarray,
    components: np.ndarray,
    level: float,
    n_splits: int,
    held: np.ndarray | None = None,
) -> dict:
    """`held`: the pairs that a veto keeps from being accepted, however high they score."""
    held = np.zeros(len(scores), dtype=bool) if held is None else held
    issued, broken, below, recalls, covered = [], [], [], [], []
    for k in range(n_splits):
        rng = np.random.default_rng([SEED, k])
        side = (rng.permutation(int(components.max()) + 1) % 2)[components]
        ours, theirs = np.flatnonzero(side == 0), np.flatnonzero(side == 1)
        certificate = certify_scores(scores[ours], labels[ours], components[ours], level=level, seed=k, held=held[ours])
        issued.append(certificate.value is not None)
        if certificate.value is not None:
            rows = theirs[draw(components[theirs], len(theirs), k)]
            is_accepted = (scores >= certificate.value) & ~held
            beyond = rows[is_accepted[rows]]
            found = binomial_interval(int(labels[beyond].sum()), len(beyond), 0.90)  # one-sided 95 % each
            broken.append(found.high < level)
            below.append(found.value < level)
            positive = rows[labels[rows] == 1]
            recalls.append(float(is_accepted[positive].mean()))
            covered.append(certificate.recall.low <= recalls[-1] <= certificate.recall.high)
    n = len(broken)
    return {
        "level": level,
        "issued": [round(bound, 4) for bound in binomial_interval(sum(issued), len(issued))],
        "broken": [round(bound, 4) for bound in binomial_interval(sum(broken), n)] if n else None,
        "held_out_estimate_below": round(float(np.mean(below)), 4) if n else None,
        "held_out_recall": round(float(np.mean(recalls)), 4) if n else None,
        "recall_interval_holds_held_out_estimate": round(float(np.mean(covered)), 4) if n else None,
    }


if __name__ == "__main__":
    main()
