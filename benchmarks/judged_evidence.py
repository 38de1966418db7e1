"""What the default's judge says can be certified and calibrated like cosine: on pairs that it never learnt, and simulated.

Real: the components of QQP's train split that ``default_judge.py`` left out, with the dev split; Twitter pairs that it did not
sample; the components of PAWS-Wiki that it held out. Certified on half of the components and checked on the other half over 200
random splits, as in ``certify_real.py``, with the vetoes and without; calibrated likewise over 20, as in ``calibration.py``;
beside cosine. What the default itself accepts and rejects of them, at its own thresholds: only QQP is what it promises
something for.
Simulated: populations whose precision lies half a point below the level at every cut, so that every certificate is false, a
quarter of the pairs held by vetoes, most of them negatives; 2,000 draws a setting, 5 % of which may be certified.

    python benchmarks/judged_evidence.py [--splits 200] [--draws 2000]
"""

import argparse
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
from calibration import judged
from certify_real import over_splits
from certify_simulation import SIZES, STRUCTURES, sample
from default_evidence import certification_part
from judge import HELD_OUT, N_TWITTER, of_columns
from record import SHARED, record

from textsiam import Pairs, Siamese, read_pairs
from textsiam.scoring.evidence.certification import certify_scores
from textsiam.scoring.evidence.intervals import binomial_interval
from textsiam.scoring.evidence.scored_pairs import ScoredPairs, score_pairs
from textsiam.scoring.thresholds import ACCEPT, REJECT, REVIEW, decisions

LEVELS, SEED, HELD = (0.70, 0.80, 0.85, 0.90, 0.95), 0, 0.25


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--draws", type=int, default=2_000)
    asked = parser.parse_args()
    model = Siamese.load(dtype="float32", device="cpu")
    cosine = model.with_judge(None).with_vetoes(())
    figures: dict = {"splits": asked.splits, "draws": asked.draws, "simulated": simulated(asked.draws)}
    print(figures["simulated"], flush=True)
    for name, pairs in unlearnt().items():
        scored, by_cosine = score_pairs(model, pairs), score_pairs(cosine, pairs)
        none = np.zeros(len(scored), dtype=bool)
        of = (scored.labels, scored.components)
        figures[name] = {
            "pairs": len(scored),
            "components": len(np.unique(scored.components)),
            "default": at_its_thresholds(model, scored),
            "calibration": judged(scored.scores, by_cosine.scores, *of, 20),
            "calibration_of_cosine": judged(by_cosine.scores, by_cosine.scores, *of, 20),
        } | {
            rule: [over_splits(scores, *of, level, asked.splits, held) for level in LEVELS]
            for rule, scores, held in (
                ("judge", scored.scores, scored.held),
                ("judge_without_vetoes", scored.scores, none),
                ("cosine", by_cosine.scores, none),
            )
        }
        print(name, figures[name], flush=True)
    record("judged_evidence", __doc__.splitlines()[0], figures, SEED)


def unlearnt() -> dict[str, Pairs]:
    left, dev = certification_part(), read_pairs(SHARED / "qqp_pairs.parquet", split="dev")
    first, second = ([*getattr(left, side), *getattr(dev, side)] for side in ("first", "second"))
    return {
        "qqp_pairs": Pairs(first, second, labels=np.concatenate([left.labels, dev.labels])),
        "twitter_url": unsampled(),
        "paws_wiki": held_out("paws_wiki"),
    }


def unsampled() -> Pairs:
    """Twitter pairs that share no text with those that ``judge.py`` sampled."""
    rows = pq.read_table(SHARED / "twitter_url.parquet").to_pandas().drop_duplicates(["sentence1", "sentence2"])
    used = rows.sample(N_TWITTER, random_state=0)
    seen = {*used.sentence1, *used.sentence2}
    rest = rows[~rows.sentence1.isin(seen) & ~rows.sentence2.isin(seen)]
    return Pairs(rest.sentence1.tolist(), rest.sentence2.tolist(), labels=rest.label.to_numpy())


def held_out(name: str) -> Pairs:
    """The components that ``judge.py`` holds out."""
    assert name in HELD_OUT
    rows = pq.read_table(SHARED / f"{name}.parquet").to_pandas().drop_duplicates(["sentence1", "sentence2"])
    labels, never = rows.label.to_numpy(), np.zeros(len(rows), dtype=bool)
    of = of_columns(name, rows.sentence1.tolist(), rows.sentence2.tolist(), labels.astype(float), labels == 1, never)
    return replace(of.pairs, scores=None, labels=labels).take(np.flatnonzero(of.part))


def at_its_thresholds(model: Siamese, scored: ScoredPairs) -> dict:
    """Of all pairs: what the default accepts, rejects and leaves for review."""
    decided = decisions(scored.scores, model.threshold, model.reject_threshold, held=scored.held)
    positive = scored.labels == 1
    return {
        "accepted": share(decided == ACCEPT),
        "accept_precision": share(positive[decided == ACCEPT]),
        "accept_recall": share(decided[positive] == ACCEPT),
        "rejected": share(decided == REJECT),
        "reject_precision": share(~positive[decided == REJECT]),
        "review": share(decided == REVIEW),
    }


def simulated(n_draws: int) -> list[dict]:
    told = []
    for structure in STRUCTURES:
        for level in (0.80, 0.90):
            for n in SIZES:
                rng, false = np.random.default_rng([SEED, STRUCTURES.index(structure), round(100 * level), n]), 0
                for k in range(n_draws):
                    scores, labels, components = sample(structure, "flat", level, n, rng)
                    held = rng.random(n) < HELD
                    labels = np.where(held, rng.random(n) < 0.2, labels).astype(int)
                    how = dict(level=level, seed=k, held=held)
                    if 0 < labels.sum() < n:
                        false += certify_scores(scores, labels, components, **how).value is not None
                told.append({"structure": structure, "level": level, "labels": n, "false": bounds(false, n_draws)})
    return told


def bounds(hits: int, n: int) -> list[float]:
    return [round(bound, 4) for bound in binomial_interval(hits, n)]


def share(hits: np.ndarray) -> list[float]:
    return bounds(int(hits.sum()), len(hits)) if len(hits) else []


if __name__ == "__main__":
    main()
