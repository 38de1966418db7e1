"""Fit the calibration and certify the thresholds that come with the embedded default; check them on questions never seen here.

From the train split of ``qqp_pairs`` (curated question pairs), checked on its dev split, which shares no question with it, by the
package's own `calibrate` and `certify`. The accept threshold is that of the highest of four levels that can be certified; looking
at four costs, so each is tested with a quarter of the risk (Bonferroni: 98.75 % confidence each, 95 % together). Writes
``textsiam/scoring/default.json`` (plain numbers) and ``results/default_evidence.json``.

    python benchmarks/default_evidence.py
"""

import json
from dataclasses import replace

import numpy as np
from record import ROOT, SHARED, record

from textsiam import Siamese, Threshold, admit, read_pairs
from textsiam.encoding.model_folder.finding import embedded_model
from textsiam.scoring.evidence.certification import draw
from textsiam.scoring.evidence.choosing import Chosen, choose
from textsiam.scoring.evidence.intervals import binomial_interval
from textsiam.scoring.evidence.reliability import brier_score, calibration_error
from textsiam.scoring.evidence.scored_pairs import ScoredPairs, score_pairs
from textsiam.scoring.thresholds import REVIEW, decisions

SEED, CONFIDENCE, LEVELS, REJECT = 0, 0.95, (0.95, 0.90, 0.85, 0.80), 0.95
ON = "curated Quora question pairs, one pair a component"


def main() -> None:
    loaded = Siamese.load(embedded_model(), dtype="float32")
    model = replace(loaded, calibrator=None, threshold=None, reject_threshold=None)
    train, dev = (
        score_pairs(model, read_pairs(SHARED / "qqp_pairs.parquet", split=part), on=ON) for part in ("train", "dev")
    )
    calibrator = model.calibrate(train, seed=SEED).calibrator
    assert calibrator is not None
    by_level = {level: chosen(train, level) for level in LEVELS}
    found = next(of for of in by_level.values() if of.accept.value is not None)
    rejected = choose(train, precision=found.accept_certificate.level, reject_precision=REJECT, seed=SEED).reject
    assert rejected is not None
    accept = replace(
        found.accept,
        guarantee=f"precision ≥ {found.accept_certificate.level:.2f} with 95 % confidence",
        evidence={**found.accept.evidence, "levels_tried": list(LEVELS)},
    )
    accept, rejected = admitted(model, short(accept), short(rejected)), short(rejected)
    told = {
        "fingerprint": model.encoder.fingerprint,
        "calibrator": calibrator.to_json(),
        "threshold": accept.to_json(),
        "reject_threshold": rejected.to_json(),
    }
    (ROOT / "textsiam" / "scoring" / "default.json").write_text(
        json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    figures = dict(
        n_pairs=len(train),
        n_components=len(np.unique(train.components)),
        accept=[accept.value, accept.guarantee],
        reject=[rejected.value, rejected.guarantee],
        method=calibrator.evidence["method"],
        n_knots=len(calibrator.scores),
        by_level={f"{level:.2f}": str(of.accept_certificate) for level, of in by_level.items()},
        one_level_alone={
            f"{level:.2f}": str(choose(train, precision=level, seed=SEED).accept_certificate) for level in LEVELS
        },
        held_out=held_out(dev, accept, rejected, calibrator(dev.scores.astype(float))),
    )
    record(
        "default_evidence", "The embedded default's thresholds hold on held-out curated question pairs", figures, SEED
    )


def admitted(model: Siamese, accept: Threshold, reject: Threshold) -> Threshold:
    """With the record of how bf16 and int8 decide beside fp32."""
    pairs = read_pairs(SHARED / "qqp_pairs.parquet")
    model = replace(model, threshold=accept, reject_threshold=reject)
    for dtype in ("bfloat16", "int8"):
        model = admit(model, pairs, dtype=dtype)
    return model.threshold


def chosen(scored: ScoredPairs, level: float) -> Chosen:
    return choose(scored, precision=level, confidence=1 - (1 - CONFIDENCE) / len(LEVELS), seed=SEED)


def short(threshold: Threshold) -> Threshold:
    """The value with the digits that matter, rounded to the safe side."""
    return replace(threshold, value=float(np.ceil(1e6 * threshold.value) / 1e6)) if threshold.value else threshold


def held_out(dev: ScoredPairs, accept: Threshold, reject: Threshold, probabilities: np.ndarray) -> dict:
    rows = draw(dev.components, len(dev), SEED)
    scores, positive = dev.scores[rows], dev.labels[rows] == 1
    decided = decisions(scores, accept, reject)
    return dict(
        components=len(rows),
        accept_precision=share(positive[decided == "accept"]),
        accept_recall=share(decided[positive] == "accept"),
        reject_precision=share(~positive[decided == "reject"]),
        reject_recall=share(decided[~positive] == "reject"),
        review_share=round(float((decided == REVIEW).mean()), 4),
        calibration_error=[round(bound, 4) for bound in calibration_error(probabilities, dev.labels, dev.components)],
        brier=[round(bound, 4) for bound in brier_score(probabilities, dev.labels, dev.components)],
    )


def share(hits: np.ndarray) -> dict[str, float | int]:
    value, low, high = binomial_interval(int(hits.sum()), len(hits))
    return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4), "n": len(hits)}


if __name__ == "__main__":
    main()
