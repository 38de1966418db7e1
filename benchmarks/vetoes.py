"""What the vetoes of the judge catch, and what they cost: by rule, on hand-written edits and on real labelled pairs; their time.

``minimal_edits.csv``: 30 pairs of each of sixteen kinds of edit, half of which change the meaning; how many of each kind are
vetoed. Real pairs (graded ones are the same from score 4 on): the share of positives that each rule vetoes, and its precision,
the share of vetoed pairs that are no positives, beside the share of all pairs that are none. The rules were mended by reading
the edits, and pairs of all these sets (of twitter_url only for opposites). Time: one pair at a time, nothing remembered;
``silent`` pairs have no number, unit, date and negation.

    python benchmarks/vetoes.py
"""

import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from record import SHARED, record

from textsiam.scoring.explaining.numerals import words_of
from textsiam.scoring.judging.dates import dates_of
from textsiam.scoring.judging.denials import denials_of
from textsiam.scoring.judging.units import amounts_of
from textsiam.scoring.judging.vetoes import VETOES, vetoed

EDITS = Path(__file__).with_name("minimal_edits.csv")
SETS = ("qqp_pairs train", "qqp_pairs dev", "mrpc train", "sick", "stsb", "paws_wiki train", "twitter_url train")
SAME_FROM, N_TIMED = 4, 4_000


def main() -> None:
    figures = {"edits": edits(), "real": {name: real(name) for name in SETS}, "time": timed(*columns(SETS[0])[:2])}
    record(
        "vetoes", "What vetoes catch among edits that change the meaning, and what they cost among positives", figures
    )


def edits() -> dict:
    rows = pa_csv.read_csv(EDITS).to_pylist()
    reasons = vetoed([row["sentence1"] for row in rows], [row["sentence2"] for row in rows])
    by_kind = defaultdict(list)
    for row, reason in zip(rows, reasons, strict=True):
        by_kind["change" if row["label"] == 0 else "keep", row["kind"]].append(bool(reason))
    return {f"{sort}: {kind}": f"{sum(told)}/{len(told)}" for (sort, kind), told in by_kind.items()}


def columns(name: str) -> tuple[list[str], list[str], np.ndarray]:
    name, _, part = name.partition(" ")
    rows = pq.read_table(SHARED / f"{name}.parquet").to_pandas()
    rows = rows[rows.split == part] if part else rows
    same = rows.label == 1 if "label" in rows else rows.score >= SAME_FROM
    return rows.sentence1.tolist(), rows.sentence2.tolist(), same.to_numpy()


def real(name: str) -> dict:
    first, second, same = columns(name)
    found = {}
    for rules in (*([rule] for rule in VETOES), list(VETOES)):
        told = np.array(list(map(bool, vetoed(first, second, rules))))
        found[rules[0] if len(rules) == 1 else "all"] = {
            "vetoed": int(told.sum()),
            "share_of_positives": round(float(told[same].mean()), 4),
            "precision": round(float((~same)[told].mean()), 3) if told.any() else None,
        }
    return {"pairs": len(first), "not_the_same": round(float((~same).mean()), 3), **found}


def timed(first: list[str], second: list[str]) -> dict:
    microseconds, silent = [], []
    for pair in zip(first[:N_TIMED], second[:N_TIMED], strict=True):
        for remembered in (words_of, amounts_of, dates_of):
            remembered.cache_clear()
        started = time.perf_counter()
        vetoed(*([text] for text in pair))
        microseconds.append((time.perf_counter() - started) * 1e6)
        silent.append(not any(any(amounts_of(text)) or dates_of(text) or denials_of(text).negations for text in pair))
    return {
        sort: {
            "pairs": int(rows.sum()),
            "median_us": round(float(np.median(np.array(microseconds)[rows])), 1),
            "mean_us": round(float(np.mean(np.array(microseconds)[rows])), 1),
        }
        for sort, rows in (("all", np.ones(len(silent), dtype=bool)), ("silent", np.array(silent)))
    }


if __name__ == "__main__":
    main()
