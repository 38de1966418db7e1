"""What a judge gains where it was fitted, and loses where it was not, by its share from 0 (cosine alone) to 1, over three seeds.

Fitted on seven data sets with the untuned default (fp32), but for QQP dev and for what is held out: a tenth of the components of
QQP's train part and three tenths of PAWS-Wiki's. Gain: QQP dev (average precision; recall at which the empirical precision is
still .90), the held-out part of QQP, that of PAWS-Wiki (AUC). Loss: each of mrpc, twitter_url, paws_wiki, stsb, sick and pairs
made of covid_faq is left out of the fitting in turn and scored as a whole (average precision; of paws_wiki AUC). Graded pairs
count as the same from three quarters of their scale on. Intervals: 200 resamples of components; for the mean loss over the six
sets, the one-sided 95 % bound. No pair is fitted that shares a text with the set left out. Never fitted on:
``minimal_edits.csv``, written by hand, 30 pairs of each of eight kinds of edit that change the meaning and of eight that keep it;
AUC of all, and of each changing kind against all that keep it.
How rare tokens are is counted over all texts, also those that are not fitted. Each seed's run is kept in a cache folder, so an
interrupted benchmark goes on where it stopped, and two may run side by side with different seeds.

    python benchmarks/judge.py [--seeds 0 1 2] [--cache FOLDER]
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from record import SHARED, record
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from textsiam import Siamese
from textsiam.data.linking import dependence, link
from textsiam.data.pairs import Pairs
from textsiam.data.readers import read_pairs
from textsiam.training.judges.judge_fitting import fit_network_judge
from textsiam.training.judges.judge_pairs import JudgePairs

SHARES = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
LEFT_OUT = ("mrpc", "twitter_url", "paws_wiki", "stsb", "sick", "covid_faq")
EDITS = Path(__file__).with_name("minimal_edits.csv")
SCALES = {"stsb": (0, 5), "sick": (1, 5)}
HELD_OUT = {"qqp_pairs": 0.1, "paws_wiki": 0.3}  # shares of their components
WEIGHTS = {"qqp_pairs": 2.0}
N_TWITTER, N_COVID, N_RESAMPLES = 14_000, 2_500, 200
TRAIN, TEST, DEV = 0, 1, 2


@dataclass
class Set:
    """One data set: its pairs with soft targets, what counts as the same, the part and the component of each pair."""

    pairs: Pairs
    same: np.ndarray
    part: np.ndarray
    component: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "textsiam-benchmark")
    asked = parser.parse_args()
    files = {seed: asked.cache / f"judge-{seed}.json" for seed in asked.seeds}
    if missing := [seed for seed, file in files.items() if not file.exists()]:
        asked.cache.mkdir(parents=True, exist_ok=True)
        model = Siamese.load(dtype="float32", device="cpu")
        sets = dict(read(model))
        whole = JudgePairs.of(model.encoder, {name: of.pairs for name, of in sets.items()}, progress=said)
        for seed in missing:
            files[seed].write_text(json.dumps(run(model, sets, whole, seed)))
    runs = [{float(share): of for share, of in json.loads(files[seed].read_text()).items()} for seed in asked.seeds]
    figures = {"weights": WEIGHTS, "seeds": asked.seeds, "by_share": summary(runs), "runs": runs}
    record("judge", "What a judge gains where it was fitted and loses where it was not, by its share", figures, 0)


def run(model: Siamese, sets: dict[str, Set], whole: JudgePairs, seed: int) -> dict[float, dict]:
    """The gains and losses by share, of judges fitted with this seed."""
    names = list(sets)
    same, part, component = (
        np.concatenate([getattr(of, name) for of in sets.values()]) for name in ("same", "part", "component")
    )
    number = {name: names.index(name) for name in names}
    train, told = part == TRAIN, {}
    corrected = by_share(model, whole, np.flatnonzero(train), np.arange(len(whole)), seed)
    for share, scores in corrected.items():
        told[share] = gains(scores, same, whole.sets, part, number) | edits(scores[whole.sets == number["edits"]])
    losses = {share: {} for share in SHARES}
    for name in LEFT_OUT:
        at = np.flatnonzero(whole.sets == number[name])
        texts = np.union1d(whole.left[at], whole.right[at])
        shares_text = np.isin(whole.left, texts) | np.isin(whole.right, texts)
        scores = by_share(model, whole, np.flatnonzero(train & ~shares_text), at, seed)
        for share in SHARES:
            losses[share][name] = loss(name, same[at], scores[0.0], scores[share], component[at])
        print(seed, name, {share: losses[share][name]["loss"] for share in SHARES}, flush=True)
    for share in SHARES:
        draws = np.mean([losses[share][name]["draws"] for name in LEFT_OUT], axis=0)
        told[share]["loss"] = {name: losses[share][name]["loss"] for name in LEFT_OUT}
        told[share]["mean_loss"] = round(float(np.mean([losses[share][name]["loss"] for name in LEFT_OUT])), 4)
        told[share]["mean_loss_at_most"] = round(float(np.quantile(draws, 0.95)), 4)
        print(seed, share, told[share], flush=True)
    return told


def said(done: int, total: int) -> None:
    print(f"read {done:,} of {total:,} texts", flush=True)


def read(model: Siamese) -> Iterator[tuple[str, Set]]:
    for name in ("qqp_pairs", "mrpc", "twitter_url", "paws_wiki", "stsb", "sick"):
        rows = pq.read_table(SHARED / f"{name}.parquet").to_pandas().drop_duplicates(["sentence1", "sentence2"])
        if name == "twitter_url":
            rows = rows.sample(N_TWITTER, random_state=0)
        low, high = SCALES.get(name, (0, 1))
        scaled = (rows["score" if name in SCALES else "label"].to_numpy(float) - low) / (high - low)
        # A graded score is a soft target: half at .7 of the scale, steep around it.
        targets = 1 / (1 + np.exp(-12 * (scaled - 0.7))) if name in SCALES else scaled
        is_dev = (rows["split"] == "dev").to_numpy() if name == "qqp_pairs" else np.zeros(len(rows), dtype=bool)
        yield name, of_columns(name, rows.sentence1.tolist(), rows.sentence2.tolist(), targets, scaled >= 0.75, is_dev)
    yield "covid_faq", of_columns("covid_faq", *covid_pairs(model))
    edits = read_pairs(EDITS)
    same, alone = np.asarray(edits.labels), np.arange(len(edits))
    yield "edits", Set(replace(edits, labels=None, scores=same), same, np.full(len(edits), TEST), alone)


def of_columns(name: str, first: list, second: list, targets: np.ndarray, same: np.ndarray, is_dev: np.ndarray) -> Set:
    pairs = Pairs(first, second, scores=targets)
    component = dependence(link([Pairs(first, second, labels=same.astype(int))]).texts[0])
    tested = np.random.default_rng(0).random(int(component.max()) + 1) < HELD_OUT.get(name, 0)
    return Set(pairs, same.astype(int), np.where(is_dev, DEV, np.where(tested[component], TEST, TRAIN)), component)


def covid_pairs(model: Siamese) -> tuple[list, list, np.ndarray, np.ndarray, np.ndarray]:
    """Questions of one FAQ entry are the same; each beside another of its entry, and beside one of its ten nearest of others."""
    rows = pq.read_table(SHARED / "covid_faq.parquet").to_pandas()
    rows = rows[(rows.reference_type == "faq") & rows.faq_question.notna()].drop_duplicates("text")
    rows = rows[rows.groupby("faq_question").text.transform("size") > 1].sample(frac=1, random_state=0).reset_index()
    entry, texts = rows.faq_question.astype("category").cat.codes.to_numpy(), rows.text.tolist()
    vectors = model.encode(texts)
    rng, first, second, same = np.random.default_rng(0), [], [], []
    for row in rng.choice(len(texts), N_COVID, replace=False):
        cosines = np.where(entry == entry[row], -1, vectors @ vectors[row])
        alike = np.flatnonzero((entry == entry[row]) & (np.arange(len(texts)) != row))
        for other, label in ((rng.choice(alike), 1), (np.argsort(-cosines)[rng.integers(10)], 0)):
            first.append(texts[row])
            second.append(texts[other])
            same.append(label)
    return first, second, np.array(same, dtype=float), np.array(same), np.zeros(len(same), dtype=bool)


def by_share(
    model: Siamese, whole: JudgePairs, rows: np.ndarray, scored: np.ndarray, seed: int
) -> dict[float, np.ndarray]:
    """The log-odds of the scored pairs by a judge that was fitted on the pairs of `rows`, at each share."""
    judge = fit_network_judge(model.encoder, whole.take(rows), weights=WEIGHTS, share=1.0, seed=seed)
    full = judge.log_odds(whole.cosines[scored], whole.words, whole.left[scored], whole.right[scored])
    start = judge.slope * whole.cosines[scored] + judge.offset
    return {share: start + share * (full - start) for share in SHARES}


def gains(scores: np.ndarray, same: np.ndarray, sets: np.ndarray, part: np.ndarray, number: dict) -> dict:
    dev, test = ((sets == number["qqp_pairs"]) & (part == which) for which in (DEV, TEST))
    paws = (sets == number["paws_wiki"]) & (part == TEST)
    return {
        "qqp_dev": round(float(average_precision_score(same[dev], scores[dev])), 4),
        "qqp_dev_recall_at_.9": round(recall_at(same[dev], scores[dev]), 4),
        "qqp_test": round(float(average_precision_score(same[test], scores[test])), 4),
        "paws_auc": round(float(roc_auc_score(same[paws], scores[paws])), 4),
    }


def edits(scores: np.ndarray) -> dict:
    """How well the hand-written edits are told apart: all, and each kind that changes the meaning against those that keep it."""
    kinds, same = pa_csv.read_csv(EDITS).select(["kind", "label"]).to_pandas().to_numpy().T
    same = same.astype(int)
    told = {"edits_auc": round(float(roc_auc_score(same, scores)), 4)}
    for kind in dict.fromkeys(kinds[same == 0]):
        rows = (same == 1) | (kinds == kind)
        told[f"edits_auc_{kind}"] = round(float(roc_auc_score(same[rows], scores[rows])), 4)
    return told


def recall_at(same: np.ndarray, scores: np.ndarray, precision: float = 0.9) -> float:
    precisions, recalls, _ = precision_recall_curve(same, scores)
    return float(recalls[precisions >= precision].max())


def loss(name: str, same: np.ndarray, cosines: np.ndarray, scores: np.ndarray, component: np.ndarray) -> dict:
    metric = roc_auc_score if name == "paws_wiki" else average_precision_score
    members = np.split(np.argsort(component, kind="stable"), np.cumsum(np.bincount(component))[:-1])
    rng, draws = np.random.default_rng(0), []
    for _ in range(N_RESAMPLES):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        draws.append(metric(same[rows], cosines[rows]) - metric(same[rows], scores[rows]))
    return {"loss": round(float(metric(same, cosines) - metric(same, scores)), 4), "draws": draws}


def summary(runs: list[dict]) -> dict:
    """Means over the seeds, and the largest bound."""
    told = {}
    for share in SHARES:
        of = [run[share] for run in runs]
        means = {
            name: round(float(np.mean([one[name] for one in of])), 4)
            for name in of[0]
            if name not in ("loss", "mean_loss_at_most")
        }
        told[share] = means | {
            "mean_loss_at_most": max(one["mean_loss_at_most"] for one in of),
            "loss": {name: round(float(np.mean([one["loss"][name] for one in of])), 4) for name in LEFT_OUT},
        }
    return told


if __name__ == "__main__":
    main()
