"""Fit the calibration and thresholds that come with the embedded default, and check them on questions it never saw here.

Fitted on the train split of ``qqp_pairs`` (curated question pairs), checked on its dev split, which shares no question with
it. Writes ``textsiam/scoring/default.json`` (plain numbers) and ``results/default_evidence.json``.

- Calibration: isotonic regression (Zadrozny & Elkan 2002) of label on score.
- Thresholds: fixed-sequence testing (Bauer 1991) with exact binomial tails. One pair is drawn from each dependence component
  (pairs that share a text, over all of them), so the draws are independent and the precision certified is that of one
  random pair a component. From the strictest cut with enough pairs to pass nine times in ten if the precision were halfway
  between the level and 1, the cut is loosened by a tenth more pairs at a time, until the first that fails; the highest of
  .95/.90/.85/.80 that certifies any cut is kept. (From the strictest cut that could pass at all, 29 pairs without an error
  for .90, nothing certifies: curated labels are wrong more often than that. See LOG.md.)

    python benchmarks/default_evidence.py
"""

import json
import math

import numpy as np
from record import ROOT, SHARED, record
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import binom, binomtest
from sklearn.isotonic import IsotonicRegression

from textsiam import Pairs, Siamese, read_pairs
from textsiam.encoding.embedded import embedded_model
from textsiam.scoring.calibration import Calibrator

SEED, CONFIDENCE, LEVELS = 0, 0.95, (0.95, 0.90, 0.85, 0.80)


def main() -> None:
    model = Siamese.load(embedded_model(), dtype="float32")
    train, dev = (read_pairs(SHARED / "qqp_pairs.parquet", split=part) for part in ("train", "dev"))
    scores, dev_scores = (model.score(pairs.first, pairs.second).astype(float) for pairs in (train, dev))
    calibrator = fit_calibrator(scores, train.labels, len(train))
    drawn = one_a_component(train, np.random.default_rng(SEED))
    accept, level = highest(scores[drawn], train.labels[drawn] == 1)
    reject, reject_level = highest(-scores[drawn], train.labels[drawn] == 0)
    assert accept is not None
    assert reject is not None
    reject = float(np.nextafter(np.float32(-reject), np.float32(1)))  # certified at or below; the rule is "below"
    held_out = dict(
        accept_precision=share(dev.labels[dev_scores >= accept] == 1),
        accept_recall=share(dev_scores[dev.labels == 1] >= accept),
        reject_precision=share(dev.labels[dev_scores < reject] == 0),
        reject_recall=share(dev_scores[dev.labels == 0] < reject),
        review_share=float(((dev_scores < accept) & (dev_scores >= reject)).mean()),
        calibration_error=calibration_error(calibrator(dev_scores), dev.labels),
        brier=float(((calibrator(dev_scores) - dev.labels) ** 2).mean()),
    )
    told = {
        "fingerprint": model.encoder.folder.fingerprint(),
        "calibrator": calibrator.to_json(),
        "threshold": threshold(
            accept, f"precision ≥ {level:.2f}", len(drawn), held_out["accept_precision"], held_out["accept_recall"]
        ),
        "reject_threshold": threshold(
            reject,
            f"share of non-duplicates below ≥ {reject_level:.2f}",
            len(drawn),
            held_out["reject_precision"],
            held_out["reject_recall"],
        ),
    }
    (ROOT / "textsiam" / "scoring" / "default.json").write_text(
        json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    by_level = {f"{level:.2f}": highest(scores[drawn], train.labels[drawn] == 1, (level,))[0] for level in LEVELS}
    record(
        "default_evidence",
        "The embedded default's thresholds hold on held-out curated question pairs",
        dict(
            n_pairs=len(train),
            n_components=len(drawn),
            accept=accept,
            accept_level=level,
            reject=reject,
            reject_level=reject_level,
            n_knots=len(calibrator.scores),
            cut_certified_by_level=by_level,
            held_out=held_out,
        ),
        SEED,
    )


def fit_calibrator(scores: np.ndarray, labels: np.ndarray, n: int) -> Calibrator:
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    knots = {
        round(float(x), 4): round(float(y), 4) for x, y in zip(fitted.X_thresholds_, fitted.y_thresholds_, strict=True)
    }
    on = "curated question pairs (qqp_pairs train, 37 % duplicates)"
    return Calibrator(tuple(knots), tuple(knots.values()), {"method": "isotonic", "on": on, "n_labels": n})


def one_a_component(pairs: Pairs, rng: np.random.Generator) -> np.ndarray:
    texts, left, right = pairs.unique()
    _, component = connected_components(
        coo_array((np.ones(len(left)), (left, right)), shape=(len(texts),) * 2), directed=False
    )
    shuffled = rng.permutation(len(pairs))
    return shuffled[np.unique(component[left[shuffled]], return_index=True)[1]]


def highest(
    scores: np.ndarray, right: np.ndarray, levels: tuple[float, ...] = LEVELS
) -> tuple[float | None, float | None]:
    """The loosest certified cut of the highest level that certifies any."""
    for level in levels:
        if (cut := certified(scores, right, level)) is not None:
            return cut, level
    return None, None


def certified(scores: np.ndarray, right: np.ndarray, level: float) -> float | None:
    order = np.argsort(-scores, kind="stable")
    ordered, n_right = scores[order], np.cumsum(right[order])
    n, cut = first_n(level), None
    while n <= len(order):
        n_at = int(np.searchsorted(-ordered, -ordered[n - 1], side="right"))  # ties come in together
        if binom.sf(n_right[n_at - 1] - 1, n_at, level) > 1 - CONFIDENCE:
            break
        cut = float(ordered[n - 1])
        n = max(n_at + 1, math.ceil(n_at * 1.1))
    return cut


def first_n(level: float) -> int:
    """The fewest pairs that pass with probability .9 at a precision halfway between the level and 1; it sees no label."""
    ns = np.arange(math.ceil(math.log(1 - CONFIDENCE) / math.log(level)), 20_000)
    needed = binom.isf(1 - CONFIDENCE, ns, level) + 1  # the fewest right ones whose tail is at most 5 %
    return int(ns[np.argmax(binom.sf(needed - 1, ns, (1 + level) / 2) >= 0.9)])


def threshold(value: float, guarantee: str, n: int, precision: dict, recall: dict) -> dict:
    on = "curated question pairs (qqp_pairs train), one pair a component"
    return {
        "value": round(value, 6),
        "similarity": "cosine",
        "guarantee": f"{guarantee} with {CONFIDENCE:.0%} confidence".replace("%", " %"),
        "evidence": {"on": on, "n_labels": n, "seed": SEED, "held_out_precision": precision, "held_out_recall": recall},
    }


def share(hits: np.ndarray) -> dict[str, float | int]:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95)
    return {
        "value": round(float(hits.mean()), 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "n": len(hits),
    }


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = 10) -> float:
    bins = np.array_split(np.argsort(probabilities, kind="stable"), n_bins)
    return float(sum(len(rows) * abs(probabilities[rows].mean() - labels[rows].mean()) for rows in bins) / len(labels))


if __name__ == "__main__":
    main()
