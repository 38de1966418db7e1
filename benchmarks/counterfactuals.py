"""Edits of the real questions by rule: how many of each kind, and the first 50 of each, to be read."""

import sys
import time

import pyarrow.parquet as pq
from record import SHARED, record

from textsiam import counterfactuals

N_READ = 50

if __name__ == "__main__":
    texts = pq.read_table(SHARED / "qqp_questions.parquet")["question"].to_pylist()
    start = time.perf_counter()
    made = counterfactuals(texts)
    seconds = time.perf_counter() - start
    for kind in sys.argv[1:] or made.counts():
        print(f"## {kind}")
        of_kind = [(made.changes[n], made.pairs.second[n]) for n, of in enumerate(made.kinds) if of == kind]
        for change, edited in of_kind[:N_READ]:
            print(f"[{change}] {edited}")
    told = {"texts": made.n_texts, "english": made.n_english, "pairs": len(made), "seconds": round(seconds, 1)}
    told |= {"counts": made.counts(), "absent": made.absent()}
    record("counterfactuals", "Rules edit real questions; counts by kind, quality not included", told, seed=0)
