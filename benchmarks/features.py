"""What features of the texts would add to cosine: Brier score and average precision on held-out components.

Cosine calibrated by the package, beside a logistic regression and gradient-boosted trees (scikit-learn) on cosine, token overlap,
difference in length, and whether numbers, negations or names differ. Half the components fit, the other half judges, five random
splits. Scores come from the cache that ``benchmarks/encoders.py`` fills.

    python benchmarks/features.py CACHE
"""

import argparse
from pathlib import Path

import numpy as np
from encoders import cached_scores, labelled
from record import record
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from textsiam.data.linking import dependence, link
from textsiam.scoring.evidence.calibration_fit import fit_calibrator
from textsiam.scoring.explaining.differences import DIFFERENCES, differences, overlap

SETS, SEED, N_SPLITS = ("qqp_pairs", "twitter_url", "mrpc", "paws_wiki"), 0, 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    cache, figures = parser.parse_args().cache, {}
    for data in SETS:
        pairs = labelled(data)
        scores = cached_scores(cache, data).astype(float)
        columns = np.column_stack([scores, [of_pair(a, b) for a, b in zip(pairs.first, pairs.second, strict=True)]])
        components = dependence(link([pairs]).texts[0])
        told = [judged(columns, pairs.labels, components, k) for k in range(N_SPLITS)]
        figures[data] = {
            name: {metric: round(float(np.mean([of[name][metric] for of in told])), 4) for metric in told[0][name]}
            for name in told[0]
        }
        print(data, figures[data], flush=True)
    record(
        "features", "Features of the texts add to cosine on held-out components", figures | {"splits": N_SPLITS}, SEED
    )


def of_pair(first: str, second: str) -> list[float]:
    lengths = sorted((len(first.split()), len(second.split())))
    told = differences(first, second)
    differ = [float(any(told[kind])) for kind in DIFFERENCES]
    return [overlap(first, second), 1 - lengths[0] / max(lengths[1], 1), *differ]


def judged(columns: np.ndarray, labels: np.ndarray, components: np.ndarray, seed: int) -> dict:
    fitted = (np.random.default_rng([SEED, seed]).permutation(int(components.max()) + 1) % 2)[components] == 0
    calibrator = fit_calibrator(columns[fitted, 0], labels[fitted], components[fitted])
    models = {
        "logistic": make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression(C=1.0, max_iter=1_000)),
        "trees": HistGradientBoostingClassifier(max_iter=150, learning_rate=0.05, max_leaf_nodes=8, random_state=0),
    }
    told = {"cosine": calibrator(columns[~fitted, 0])}
    for name, model in models.items():
        told[name] = model.fit(columns[fitted], labels[fitted]).predict_proba(columns[~fitted])[:, 1]
    held = labels[~fitted]
    return {
        name: {"brier": float(((of - held) ** 2).mean()), "average_precision": float(average_precision_score(held, of))}
        for name, of in told.items()
    }


if __name__ == "__main__":
    main()
