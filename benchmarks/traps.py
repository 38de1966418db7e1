"""What the default accepts of hand-written edits that change the meaning (traps) and of those that keep it (keepers), by kind.

``minimal_edits.csv``: 30 pairs of each of eight kinds of either. Three models: the default; the same without vetoes, at its
threshold; and cosine alone at the threshold that the default had before it had a judge (.945429). Exact 95 % intervals.

    python benchmarks/traps.py
"""

from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
from record import record

from textsiam import Siamese, Threshold
from textsiam.scoring.evidence.intervals import binomial_interval
from textsiam.scoring.thresholds import ACCEPT

EDITS = Path(__file__).with_name("minimal_edits.csv")
BEFORE = 0.945429


def main() -> None:
    rows = pa_csv.read_csv(EDITS).to_pandas()
    first, second = rows.sentence1.tolist(), rows.sentence2.tolist()
    model = Siamese.load(dtype="float32", device="cpu")
    assert model.threshold is not None
    threshold = Threshold(model.threshold.value, model.scale)
    models = {
        "default": model,
        "without_vetoes": model.with_vetoes(()).with_thresholds(threshold, None),
        "cosine_before": model.with_judge(None).with_vetoes(()).with_thresholds(Threshold(BEFORE), None),
    }
    figures = {}
    for name, of in models.items():
        accepted = of.decide(first, second) == ACCEPT
        figures[name] = {
            "traps": share(accepted[rows.label == 0]),
            "keepers": share(accepted[rows.label == 1]),
            "by_kind": {kind: share(accepted[rows.kind == kind]) for kind in dict.fromkeys(rows.kind)},
        }
    record("traps", "What the default accepts of edits that change the meaning, and of those that keep it", figures)


def share(accepted: np.ndarray) -> list[float]:
    found = binomial_interval(int(accepted.sum()), len(accepted))
    return [round(value, 4) for value in (found.value, found.low, found.high)]


if __name__ == "__main__":
    main()
