"""What explanations say word by word: on hand-written edits by kind, on real pairs, and their time.

``minimal_edits.csv``: how many edits of each kind have a clash, a word without a partner, a moved word, or nothing to say; and in
how many the changed words are named: on each side that has words which the other lacks, at least one of them (where neither has
any, as in other orders, a moved word). Real pairs: the same shares by label, on all pairs of QQP dev. The thresholds `SAME`,
`NEAR` and `KIN` were chosen by reading these edits and 120 pairs of QQP dev; `curves` gives other values of one at a time.

    python benchmarks/alignment.py [MODEL]

MODEL is a folder of a model with a judge; without one, common words are named too.
"""

import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from record import SHARED, record

from textsiam import Pairs, Siamese
from textsiam.scoring.explaining import partners
from textsiam.scoring.explaining.partners import Partners, partners_of

EDITS = Path(__file__).with_name("minimal_edits.csv")
CURVES = {"SAME": (0.65, 0.7, 0.75, 0.8, 0.85), "NEAR": (0.5, 0.6, 0.7), "KIN": (0.3, 0.45, 0.6)}


def main() -> None:
    models = {"no judge": Siamese.load(dtype="float32")}
    if len(sys.argv) > 1:
        models["judge"] = Siamese.load(sys.argv[1], dtype="float32")
    figures = {name: {"edits": edits(model), "real": real(model)} for name, model in models.items()}
    figures["curves"] = curves(list(models.values())[-1])
    record(
        "alignment",
        "Explanations name the words that an edit changed, as words that clash, are alone or moved",
        figures,
    )


def read_edits() -> tuple[Pairs, list[tuple[str, str]]]:
    rows = pa_csv.read_csv(EDITS).to_pylist()
    kinds = [("change" if row["label"] == 0 else "keep", row["kind"]) for row in rows]
    return Pairs([row["sentence1"] for row in rows], [row["sentence2"] for row in rows]), kinds


def sorts_of(found: Partners) -> list[str]:
    sorts = {"clash": found.clashes, "alone": found.alone_first + found.alone_second, "moved": found.moved}
    return [name for name, words in sorts.items() if words] or ["nothing"]


def is_named(found: Partners, first: str, second: str) -> bool:
    texts = [{word.strip(".,;:!?").casefold() for word in text.split()} for text in (first, second)]
    named = [
        {word.casefold() for word in (*alone, *(couple[n] for couple in found.clashes + found.moved))}
        for n, alone in enumerate((found.alone_first, found.alone_second))
    ]
    changed = [texts[n] - texts[1 - n] for n in (0, 1)]
    if not any(changed):
        return bool(found.moved)
    return all(not of or of & words for of, words in zip(changed, named, strict=True))


def edits(model: Siamese) -> dict:
    pairs, kinds = read_edits()
    by_kind: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (sort, kind), found, first, second in zip(
        kinds, partners_of(model, pairs), pairs.first, pairs.second, strict=True
    ):
        by_kind[f"{sort}: {kind}"].update([*sorts_of(found), "edits"])
        by_kind[f"{sort}: {kind}"]["named"] += is_named(found, first, second)
    names = ("edits", "named", "clash", "alone", "moved", "nothing")
    return {kind: {name: counts[name] for name in names} for kind, counts in by_kind.items()}


def real(model: Siamese) -> dict:
    rows = pq.read_table(SHARED / "qqp_pairs.parquet").to_pandas()
    rows = rows[rows.split == "dev"]
    pairs = Pairs(rows.sentence1.tolist(), rows.sentence2.tolist())
    partners_of(model, pairs.take(range(64)))
    started = time.perf_counter()
    found = partners_of(model, pairs)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    model.encoder.tokens(pairs.unique()[0])
    encoding = time.perf_counter() - started
    shares = {}
    for label in (0, 1):
        of = [one for one, other in zip(found, rows.label, strict=True) if other == label]
        counts = Counter(sort for one in of for sort in sorts_of(one))
        named = [len(one.clashes) + len(one.alone_first) + len(one.alone_second) + len(one.moved) for one in of]
        shares[f"label {label}"] = {
            "pairs": len(of),
            **{sort: round(counts[sort] / len(of), 3) for sort in ("clash", "alone", "moved", "nothing")},
            "named_words_median": float(np.median(named)),
        }
    of_pair = {"encoding": encoding, "aligning": seconds - encoding}
    return shares | {"ms_per_pair": {name: round(1e3 * value / len(pairs), 2) for name, value in of_pair.items()}}


def curves(model: Siamese) -> dict:
    """Edits that change the meaning whose words are named, and edits that keep it without a clash, of 240 each."""
    found = {}
    for name, values in CURVES.items():
        chosen = getattr(partners, name)
        for value in values:
            setattr(partners, name, value)
            counts = edits(model)
            named = sum(counts[kind]["named"] for kind in counts if kind.startswith("change"))
            clashing = sum(counts[kind]["clash"] for kind in counts if kind.startswith("keep"))
            alone = counts["keep: courtesy"]["alone"]
            found[f"{name} {value}"] = {
                "changes_named": named,
                "keepers_without_clash": 240 - clashing,
                "courtesies_alone": alone,
            }
        setattr(partners, name, chosen)
    return found


if __name__ == "__main__":
    main()
