"""The shipped judge adapted to 100, 300, 1,000, 2,000 and 5,000 labels of data it was not fitted on, over 200 draws.

The components of QQP that ``default_judge.py`` left out (fewer than 5,000 labels), and captions of photographs (flickr8k): two
of one photograph are the same, and each third caption stands beside the nearest fourth one of another photograph; no caption is
in two pairs. Half of the components are the pool that labels are drawn from, the other half are scored: average precision of the
adapted judge less that of the shipped one. "replaced" is the same regression without shrinkage; "tuned", over five draws, what
`fit_judge` does from 2,000 labels on: the network is fitted further too.

    python benchmarks/adapt.py [--draws 200]
"""

import argparse

import numpy as np
import pyarrow.parquet as pq
from default_evidence import certification_part
from record import SHARED, record
from sklearn.metrics import average_precision_score

from textsiam import Pairs, Siamese
from textsiam.scoring.judging.judge import Judge
from textsiam.training.judges import judge_adapting
from textsiam.training.judges.judge_adapting import AdaptingPairs, adapt_judge
from textsiam.training.judges.judge_pairs import JudgePairs
from textsiam.training.judges.own_judge import FAMILY, MIN_TO_TUNE

SIZES, SEED, N_PHOTOGRAPHS, N_TUNED = (100, 300, 1_000, 2_000, 5_000), 0, 5_200, 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=200)
    n_draws = parser.parse_args().draws
    model = Siamese.load(dtype="float32", device="cpu")
    assert isinstance(model.judge, Judge)
    figures = {}
    for name, pairs in (("flickr8k", captions(model)), ("qqp_left_out", certification_part())):
        read = JudgePairs.of(model.encoder, {"pairs": pairs})
        of = AdaptingPairs.read(model.judge, read)
        rng = np.random.default_rng(SEED)
        in_pool = (rng.random(int(of.components.max()) + 1) < 0.5)[of.components]
        pool, test = np.flatnonzero(in_pool), of.take(np.flatnonzero(~in_pool))
        shipped = precision_of(model.judge, model.judge, test)
        cosine = float(average_precision_score(test.labels, test.cosines))
        figures[name] = {"pool": len(pool), "test": len(test), "cosine": round(cosine, 4), "shipped": round(shipped, 4)}
        for size in SIZES:
            if size > len(pool):
                continue
            rows = [rng.choice(pool, size, replace=False) for _ in range(n_draws)]
            drawn = [of.take(some) for some in rows]
            adapted = [adapt_judge(model.judge, model.encoder, some, seed=draw) for draw, some in enumerate(drawn)]
            gains = np.array([precision_of(judge, model.judge, test) for judge in adapted]) - shipped
            kept = float(np.mean([judge.card["adapted"]["strength"] == "all" for judge in adapted]))
            strengths, judge_adapting.STRENGTHS = judge_adapting.STRENGTHS, (1e-3,)
            replaced = [
                precision_of(adapt_judge(model.judge, model.encoder, some), model.judge, test) for some in drawn[:20]
            ]
            judge_adapting.STRENGTHS = strengths
            low, middle, high = np.quantile(gains, (0.05, 0.5, 0.95)).round(4).tolist()
            told = {"median": middle, "from_5_%": low, "to_95_%": high, "mean": round(float(gains.mean()), 4)}
            told |= {"kept_as_it_was": kept, "replaced": round(float(np.median(replaced)) - shipped, 4)}
            if size >= MIN_TO_TUNE:
                left = read.take(np.flatnonzero(~in_pool))
                tuned = [
                    tuned_precision(model, read.take(some), left, draw) for draw, some in enumerate(rows[:N_TUNED])
                ]
                told["tuned"] = np.round(np.subtract(np.quantile(tuned, (0, 0.5, 1)), shipped), 4).tolist()
            figures[name][str(size)] = told
            print(name, size, told, flush=True)
    record("adapt", "What a judge gains or loses when it is adapted to few labels of other data", figures, SEED)


def tuned_precision(model: Siamese, labelled: JudgePairs, test: JudgePairs, seed: int) -> float:
    judge = FAMILY["tuned"](model.encoder, labelled, model.judge, seed=seed)
    return float(average_precision_score(test.targets, judge.log_odds(test.cosines, test.words, test.left, test.right)))


def captions(model: Siamese) -> Pairs:
    rows = pq.read_table(SHARED / "flickr8k.parquet").to_pandas()
    rows = rows[rows.split == "train"].drop_duplicates("text")
    groups = [list(of) for _, of in rows.groupby("group").text if len(of) > 3]
    order = np.random.default_rng(SEED).permutation(len(groups))[:N_PHOTOGRAPHS]
    same, third, fourth = zip(*(((of[0], of[1]), of[2], of[3]) for of in (groups[k] for k in order)), strict=True)
    cosines = model.encode(list(third)) @ model.encode(list(fourth)).T
    np.fill_diagonal(cosines, -2)
    nearest = []
    for row in cosines:  # each fourth caption once
        nearest.append(int(row.argmax()))
        cosines[:, nearest[-1]] = -2
    different = [(one, fourth[at]) for one, at in zip(third, nearest, strict=True)]
    first, second = zip(*same, *different, strict=True)
    return Pairs(list(first), list(second), labels=np.repeat([1, 0], len(order)))


def precision_of(judge: Judge, shipped: Judge, of: AdaptingPairs) -> float:
    """Of the judge's log-odds, from the parts that the shipped one was read for."""
    network, described = of.parts[:, 1] / shipped.share, of.parts[:, 2:]
    linear = 0 if judge.linear is None else described @ judge.linear
    log_odds = judge.slope * of.cosines + judge.offset + judge.share * network + linear
    return float(average_precision_score(of.labels, log_odds))


if __name__ == "__main__":
    main()
