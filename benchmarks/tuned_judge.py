"""What a judge adds to a fine-tuned twin: `train(judge=True)`, on held-out QQP pairs and on other sets.

The mixture ``qqp`` of ``fine_tune.py``, the default recipe. ``judged``: the log-odds of the twin with its judge; ``twin``: its
cosine alone, which is that of `train` without a judge, weight for weight. The judge starts from the shipped one, which has learnt
parts of the other sets, so only QQP dev compares. Average precision, and recall at which the empirical precision is still .90;
95 % intervals over components of the mean over the seeds.

    python benchmarks/tuned_judge.py [--seeds 0 1 2] [--cache FOLDER]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from fine_tune import compared, data, kept, metric, scored, truth
from judge import recall_at
from record import record

from textsiam import Pairs, Siamese, train


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "textsiam-benchmark" / "tuned")
    asked = parser.parse_args()
    asked.cache.mkdir(parents=True, exist_ok=True)
    learn, tests = data("qqp")
    before = kept(asked.cache / "untuned.npz", lambda: scored(untuned(), tests))
    runs: dict[str, list[dict]] = {}
    for seed in asked.seeds:
        run = kept(asked.cache / f"{seed}.npz", lambda seed=seed: fitted(learn, tests, seed))
        for system, prefix in (("twin", "cosine "), ("judged", "")):
            told = {name: run[prefix + name] for name in tests}
            runs.setdefault(system, []).append(told)
            print(system, seed, {n: round(metric(t)[1](truth(t), told[n]), 4) for n, t in tests.items()}, flush=True)
    dev = truth(tests["qqp_pairs"])
    recalls = {
        name: [round(recall_at(dev, run["qqp_pairs"]), 4) for run in of]
        for name, of in {"before": [before], **runs}.items()
    }
    compared_on = {name: compared(name, pairs, before, runs) for name, pairs in tests.items()}
    figures = {"seeds": asked.seeds, "qqp_dev_recall_at_.9": recalls, "tests": compared_on}
    record("tuned_judge", __doc__.splitlines()[0], figures, asked.seeds[0])


def untuned() -> Siamese:
    return Siamese.load(dtype="float32", device="cpu")


def fitted(learn: dict[str, Pairs], tests: dict[str, Pairs], seed: int) -> dict:
    tuned = train(untuned(), learn, validation=False, seed=seed, judge=True)
    print(tuned.judge.card, flush=True)
    log_odds = {name: tuned.judgement(of.first, of.second).log_odds.astype(np.float64) for name, of in tests.items()}
    return log_odds | {f"cosine {name}": scores for name, scores in scored(tuned, tests).items()}


if __name__ == "__main__":
    main()
