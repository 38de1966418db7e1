"""How far probabilities can be believed on components that the calibration never saw; also with the encoder exchanged.

Half the components calibrate, the other half judges, over 20 random splits: expected calibration error (ten bins of equal mass,
debiased, rows of one component taken as dependent) with its interval, and the Brier score. ``without`` is what the default
encoder's calibration would say of the other encoder's scores: why a calibrator belongs to its encoder. Scores come from the cache
that ``benchmarks/encoders.py`` fills.

    python benchmarks/calibration.py CACHE [--splits 20]
"""

import argparse
from pathlib import Path

import numpy as np
from encoders import cached_scores, labelled
from record import record

from textsiam.data.linking import dependence, link
from textsiam.scoring.evidence.calibration_fit import fit_calibrator
from textsiam.scoring.evidence.reliability import brier_score, calibration_error, reliability_curve, told_reliability

SEED, SETS, ENCODERS = 0, ("qqp_pairs", "twitter_url"), ("default", "l3", "mpnet")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--splits", type=int, default=20)
    asked = parser.parse_args()
    figures: dict = {"splits": asked.splits}
    for data in SETS:
        pairs = labelled(data)
        components = dependence(link([pairs]).texts[0])
        columns = {encoder: cached_scores(asked.cache, data, encoder) for encoder in ENCODERS}
        figures[data] = {
            encoder: judged(scores, columns["default"], pairs.labels, components, asked.splits)
            for encoder, scores in columns.items()
        }
        print(data, {encoder: of["calibration_error"] for encoder, of in figures[data].items()}, flush=True)
    record(
        "calibration", "Calibration error on held-out components is at most .03, whatever the encoder", figures, SEED
    )


def judged(scores: np.ndarray, default: np.ndarray, labels: np.ndarray, components: np.ndarray, n_splits: int) -> dict:
    errors, briers, without, methods, told = [], [], [], [], None
    for k in range(n_splits):
        rng = np.random.default_rng([SEED, k])
        fitted = (rng.permutation(int(components.max()) + 1) % 2)[components] == 0
        calibrator = fit_calibrator(scores[fitted], labels[fitted], components[fitted], seed=k)
        of = (labels[~fitted], components[~fitted])
        probabilities = calibrator(scores[~fitted].astype(float))
        errors.append(calibration_error(probabilities, *of))
        briers.append(brier_score(probabilities, *of).value)
        methods.append(calibrator.evidence["method"])
        foreign = fit_calibrator(default[fitted], labels[fitted], components[fitted], method="isotonic")
        without.append(calibration_error(foreign(scores[~fitted].astype(float)), *of).value)
        told = told or told_reliability(reliability_curve(probabilities, *of))
    return {
        "calibration_error": [round(bound, 4) for bound in errors[0]],
        "over_splits": {
            "mean": round(float(np.mean([error.value for error in errors])), 4),
            "largest": round(max(error.value for error in errors), 4),
            "largest_upper_bound": round(max(error.high for error in errors), 4),
        },
        "brier": round(float(np.mean(briers)), 4),
        "methods": {name: methods.count(name) for name in sorted(set(methods))},
        "without": round(float(np.mean(without)), 4),
        "reliability": told,
    }


if __name__ == "__main__":
    main()
