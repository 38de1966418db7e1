"""Fine-tuning makes the default better, at least as well as sentence-transformers' own trainer, and forgets little.

Mixtures, each tested on rows that share no text and no chain of positives with its training rows:

- ``qqp``: qqp_pairs train (labels) and as many batches again of a quarter of that from qqp_duplicates train (positives);
  tested on qqp_pairs dev. Absent, and so to be kept: twitter_url, mrpc, stsb, sick.
- ``news``: mrpc and twitter_url (4,000 rows of it), own leak-free split. Absent: qqp_pairs dev, stsb, sick.
- ``graded``: stsb and sick, own leak-free split. Absent: qqp_pairs dev, mrpc, twitter_url.
- ``paws``: paws_wiki, own leak-free split, where the order of words decides. Absent: qqp_pairs dev, mrpc, stsb.

Systems, with the same rows, batch size and seeds: ``peer`` is sentence-transformers' trainer at the settings its users
choose (learning rate 2e-5, a tenth warm-up, one epoch; its losses of the same name), ``same`` is `train` at exactly those
settings, ``default`` is `train` with its own recipe, ``free`` the same with nothing of the start kept. All train in bf16 where
the CPU computes it, and all are scored in fp32 by the same encoder (equal to sentence-transformers' to 1e-6). ``--larger``
names the folder of another model that is scored as it is, beside them. Every run's scores are kept in a cache folder, so an
interrupted benchmark goes on where it stopped. Its pairs a second are for orientation, whatever else the machine did at the
time: `train_speed.py` measures speed.

    python benchmarks/fine_tune.py qqp [--seeds 0 1 2] [--systems peer same default] [--larger FOLDER] [--cache FOLDER]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from record import SHARED, record

from textsiam import Pairs, Siamese, read_pairs, split, train
from textsiam.data.linking import dependence, link
from textsiam.encoding.model_folder.finding import embedded_model
from textsiam.encoding.pytorch.twin import computes_bf16
from textsiam.evaluation.metrics import average_precision, best_f1, spearman
from textsiam.scoring.evidence.intervals import bootstrap

BATCH = 64
N_ROWS = {"twitter_url": 4_000}  # of a set that would take too long whole, beside seven others on two cores
BF16 = computes_bf16(torch.device("cpu"))
PEER = dict(epochs=1, learning_rate=2e-5, keep=0.0, dropout=0.1, batch_size=BATCH)
LOSS = {"labels": "online_contrastive", "positives": "multiple_negatives_ranking", "scores": "cosent"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mixture", choices=["qqp", "news", "graded", "paws"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--systems", nargs="+", default=["peer", "same", "default"])
    parser.add_argument("--larger", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "textsiam-benchmark")
    asked = parser.parse_args()
    learn, tests = data(asked.mixture)
    cache = asked.cache / asked.mixture
    cache.mkdir(parents=True, exist_ok=True)
    before = untuned(embedded_model(), tests, asked.cache)
    runs: dict[str, list[dict]] = {}
    if asked.larger:
        runs["larger"] = [
            kept(cache / "larger.npz", lambda: scored(Siamese.load(asked.larger, dtype="float32"), tests))
        ]
    for seed in asked.seeds:
        for system in asked.systems:
            run = kept(
                cache / f"{system}-{seed}.npz", lambda system=system, seed=seed: SYSTEMS[system](learn, tests, seed)
            )
            runs.setdefault(system, []).append(run)
            print(
                asked.mixture,
                system,
                seed,
                {n: round(metric(t)[1](truth(t), run[n]), 4) for n, t in tests.items()},
                flush=True,
            )
    record(
        f"fine_tune_{asked.mixture}",
        __doc__.splitlines()[0],
        {
            "larger": asked.larger and asked.larger.name,
            "train_rows": {name: len(pairs) for name, pairs in learn.items()},
            "seeds": asked.seeds,
            "tests": {name: compared(name, pairs, before, runs) for name, pairs in tests.items()},
            "pairs_per_second": {
                system: [round(float(run["pairs_per_second"]), 1) for run in of if "pairs_per_second" in run]
                for system, of in runs.items()
            },
        },
        asked.seeds[0],
    )


def data(mixture: str) -> tuple[dict[str, Pairs], dict[str, Pairs]]:
    """What to learn from, and what to test on; the mixture's own tests come first."""

    def read(name: str, part: str | None = None) -> Pairs:
        return read_pairs(SHARED / f"{name}.parquet", split=part)

    parts = {name: split(read(name), seed=0) for name in ("mrpc", "twitter_url", "sick", "stsb")}
    own = {name: of.test for name, of in parts.items()}
    whole = {"mrpc": read("mrpc"), "twitter_url": own["twitter_url"], "stsb": read("stsb", "dev"), "sick": read("sick")}
    if mixture == "qqp":
        pairs, duplicates = read("qqp_pairs", "train"), read("qqp_duplicates", "train")
        positives = some(duplicates, len(pairs) // 4)
        learn = {"qqp_pairs": pairs, "qqp_duplicates": Pairs(positives.first, positives.second)}
        return learn, {"qqp_pairs": read("qqp_pairs", "dev"), **whole}
    if mixture == "paws":
        paws = split(read("paws_wiki"), seed=0)
        absent = {"qqp_pairs": read("qqp_pairs", "dev"), "mrpc": whole["mrpc"], "stsb": whole["stsb"]}
        return {"paws_wiki": paws.train}, {"paws_wiki": paws.test, **absent}
    names = ("mrpc", "twitter_url") if mixture == "news" else ("stsb", "sick")
    others = {name: of for name, of in whole.items() if name not in names}
    learn = {name: some(parts[name].train, N_ROWS.get(name, len(parts[name].train))) for name in names}
    return learn, {n: own[n] for n in names} | {"qqp_pairs": read("qqp_pairs", "dev")} | others


def some(pairs: Pairs, n: int) -> Pairs:
    """At most n rows, drawn at random."""
    return pairs.take(np.sort(np.random.default_rng(0).permutation(len(pairs))[:n]))


def kind(pairs: Pairs) -> str:
    return "labels" if pairs.labels is not None else "scores" if pairs.scores is not None else "positives"


def ours(learn: dict[str, Pairs], tests: dict[str, Pairs], seed: int, settings: dict, losses: dict) -> dict:
    mixture = {name: (pairs, losses.get(kind(pairs))) for name, pairs in learn.items()}
    tuned = train(Siamese.load(embedded_model(), dtype="float32"), mixture, validation=False, seed=seed, **settings)
    told = tuned.training
    return scored(tuned, tests) | {"pairs_per_second": told["steps"] * BATCH / told["seconds"]}


def peer(learn: dict[str, Pairs], tests: dict[str, Pairs], seed: int) -> dict:
    from datasets import Dataset, DatasetDict
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import (
        CoSENTLoss,
        MultipleNegativesRankingLoss,
        OnlineContrastiveLoss,
    )

    model = SentenceTransformer(str(embedded_model()), device="cpu")
    theirs = {"labels": OnlineContrastiveLoss, "positives": MultipleNegativesRankingLoss, "scores": CoSENTLoss}
    tables = {}
    for name, pairs in learn.items():
        columns = {"sentence1": list(pairs.first), "sentence2": list(pairs.second)}
        extra = (
            {"label": pairs.labels}
            if kind(pairs) == "labels"
            else {"label": pairs.scores}
            if kind(pairs) == "scores"
            else {}
        )
        tables[name] = Dataset.from_dict(columns | {key: np.asarray(values).tolist() for key, values in extra.items()})
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=2e-5, warmup_steps=0.1,
            seed=seed, data_seed=seed, use_cpu=True, bf16=BF16, save_strategy="no", report_to="none", disable_tqdm=True,
            batch_sampler="no_duplicates" if "qqp_duplicates" in learn else "batch_sampler",
        )  # fmt: skip
        losses = {name: theirs[kind(pairs)](model) for name, pairs in learn.items()}
        trainer = SentenceTransformerTrainer(model, arguments, train_dataset=DatasetDict(tables), loss=losses)
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        model.save_pretrained(f"{folder}/tuned")
        found = scored(Siamese.load(f"{folder}/tuned", dtype="float32"), tests)
    return found | {"pairs_per_second": sum(map(len, learn.values())) / seconds}


SYSTEMS = {
    "peer": peer,
    "same": lambda learn, tests, seed: ours(learn, tests, seed, PEER, LOSS),
    "default": lambda learn, tests, seed: ours(learn, tests, seed, {}, {}),
    "free": lambda learn, tests, seed: ours(learn, tests, seed, dict(keep=0.0), {}),
}


def scored(model: Siamese, tests: dict[str, Pairs]) -> dict:
    return {name: model.score(pairs.first, pairs.second).astype(np.float64) for name, pairs in tests.items()}


def untuned(folder: Path, tests: dict[str, Pairs], cache: Path) -> dict:
    """Scores of a model as it is, kept for each test set: mixtures share them."""
    found: dict = {}
    for name, pairs in tests.items():
        file = cache / f"{folder.parent.name}-{folder.name}-{name}-{len(pairs)}.npz"
        found |= kept(file, lambda name=name, pairs=pairs: scored(Siamese.load(folder, dtype="float32"), {name: pairs}))
    return found


def kept(file: Path, make) -> dict:
    if not file.exists():
        np.savez(file.with_suffix(".part.npz"), **make())
        file.with_suffix(".part.npz").rename(file)
    return dict(np.load(file))


def truth(pairs: Pairs) -> np.ndarray:
    return np.asarray(pairs.labels if pairs.labels is not None else pairs.scores)


def metric(pairs: Pairs):
    return ("spearman", spearman) if kind(pairs) == "scores" else ("average_precision", average_precision)


def compared(name: str, pairs: Pairs, before: dict, runs: dict[str, list[dict]]) -> dict:
    """Each system's mean over the seeds, and paired differences with 95 % intervals over components."""
    called, figure = metric(pairs)
    groups = dependence(link([pairs]).columns[0])

    def mean(y: np.ndarray, scores: np.ndarray) -> float:
        return float(np.mean([figure(y, column) for column in np.atleast_2d(scores.T)]))

    def interval(scores: np.ndarray, minus: np.ndarray | None = None) -> list[float]:
        found = bootstrap(mean, truth(pairs), scores, minus=minus, components=groups, n_draws=500)
        return [round(value, 4) for value in found]

    start = np.stack([before[name]] * max(map(len, runs.values())), 1)
    told: dict = {"metric": called, "rows": len(pairs), "before": interval(start[:, :1])}
    columns = {system: np.stack([run[name] for run in of], 1) for system, of in runs.items()}
    for system, scores in columns.items():
        told[system] = {
            "mean": interval(scores),
            "by_seed": [round(figure(truth(pairs), column), 4) for column in scores.T],
            "minus_before": interval(scores, start[:, : scores.shape[1]]),
        }
        if called == "average_precision":
            told[system]["best_f1"] = [round(best_f1(truth(pairs), column), 4) for column in scores.T]
        for other in ("peer", "larger"):
            if system != other and other in columns and system != "larger":
                beside = np.broadcast_to(columns[other], scores.shape) if other == "larger" else columns[other]
                if beside.shape == scores.shape:
                    told[system][f"minus_{other}"] = interval(scores, beside)
    if called == "average_precision":
        told["best_f1_before"] = round(best_f1(truth(pairs), before[name]), 4)
    return told


if __name__ == "__main__":
    main()
