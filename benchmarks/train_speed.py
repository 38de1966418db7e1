"""Training throughput beside sentence-transformers' trainer: the same pairs, loss and batch, in turn, one process a run.

Multiple negatives ranking at batch 64 on real duplicate questions; medians of the rounds, the ratio of each round paired.
Pairs a second are of the steps alone: loading the model and the data is not counted. Peak memory is the process's, in all
and beyond what it held before the first step. ``peer`` is at its defaults (fp32), ``peer_bf16`` has ``bf16=True``; ours is
at its defaults (bf16 where the machine computes it), in fp32, with the peer's dropout, and recomputing activations.

    python benchmarks/train_speed.py [--rounds 5] [--steps 20] [--device cuda] [--batch 64]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np
from record import SHARED, record


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--one", choices=list(SYSTEMS))
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(SYSTEMS[asked.one](Setting(asked.steps, asked.batch, asked.device))))
        return
    found: dict[str, list[dict]] = {name: [] for name in SYSTEMS}
    for turn in range(asked.rounds + (asked.device == "cuda")):
        for name in SYSTEMS:
            told = one(name, Setting(asked.steps, asked.batch, asked.device))
            found[name] += [told] if turn or asked.device == "cpu" else []
            print(name, told, flush=True)
    rates = {name: np.array([run["pairs_per_second"] for run in of]) for name, of in found.items()}
    told = {
        name: {
            "pairs_per_second": round(float(np.median(rates[name])), 1),
            "times_peer": round(float(np.median(rates[name] / rates["peer"])), 2),
            "times_peer_range": [round(float(value), 2) for value in np.quantile(rates[name] / rates["peer"], [0, 1])],
            "times_peer_bf16": round(float(np.median(rates[name] / rates["peer_bf16"])), 2),
            **{key: round(float(np.median([run[key] for run in of]))) for key in ("peak_mb", "beyond_start_mb")},
        }
        for name, of in found.items()
    }
    record(
        "train_speed" if asked.device == "cpu" else f"train_speed_{asked.device}_{asked.batch}",
        __doc__.splitlines()[0],
        {"rounds": asked.rounds, "steps": asked.steps, "batch": asked.batch, **told},
        0,
    )


class Setting(NamedTuple):
    steps: int
    batch: int
    device: str


def one(name: str, setting: Setting) -> dict:
    """A run in a process of its own; on a GPU, whose start takes longer than the steps, in this one, the first not counted."""
    if setting.device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return SYSTEMS[name](setting)
    command = [sys.executable, __file__, "--one", name, "--steps", str(setting.steps), "--batch", str(setting.batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def columns(setting: Setting) -> tuple[list[str], list[str]]:
    from textsiam import read_pairs

    pairs = read_pairs(SHARED / "qqp_duplicates.parquet", split="train")
    rows = np.random.default_rng(0).permutation(len(pairs))[: 2 * setting.batch * setting.steps]
    return [pairs.first[row] for row in rows], [pairs.second[row] for row in rows]


def peak_mb() -> float:
    """Of the process, or of the GPU's memory where one computes."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(setting: Setting, begin_after: int = 2):
    """A callback that times the steps after the first few."""
    from transformers import TrainerCallback

    class Timed(TrainerCallback):
        started = ended = held = 0.0

        def on_train_begin(self, args, state, control, **_):
            self.held = peak_mb()

        def on_step_end(self, args, state, control, **_):
            if state.global_step == begin_after:
                self.started = now()
            if state.global_step == setting.steps:
                self.ended = now()

        def told(self) -> dict:
            rate = (setting.steps - begin_after) * setting.batch / (self.ended - self.started)
            return {"pairs_per_second": rate, "peak_mb": peak_mb(), "beyond_start_mb": peak_mb() - self.held}

    def now() -> float:
        if setting.device == "cuda":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    return Timed()


def ours(setting: Setting, **settings) -> dict:
    from textsiam import Pairs, Siamese, train
    from textsiam.encoding.model_folder.finding import find_model

    watch = timed(setting)
    recipe = dict(max_steps=setting.steps, batch_size=setting.batch, validation=False, keep=0.0) | settings
    model = Siamese.load(find_model(), dtype="float32", device=setting.device)
    train(model, Pairs(*columns(setting)), callbacks=[watch], arguments={"save_strategy": "no"}, **recipe)
    return watch.told()


def peer(setting: Setting, **settings) -> dict:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from textsiam.encoding.model_folder.finding import find_model

    watch, (first, second) = timed(setting), columns(setting)
    model = SentenceTransformer(str(find_model()), device=setting.device)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, max_steps=setting.steps, per_device_train_batch_size=setting.batch,
            learning_rate=2e-5, use_cpu=setting.device == "cpu",
            save_strategy="no", report_to="none", disable_tqdm=True, batch_sampler="no_duplicates", **settings,
        )  # fmt: skip
        table = Dataset.from_dict({"anchor": first, "positive": second})
        SentenceTransformerTrainer(
            model, arguments, train_dataset=table, loss=MultipleNegativesRankingLoss(model), callbacks=[watch]
        ).train()
    return watch.told()


SYSTEMS = {
    "peer": peer,
    "peer_bf16": lambda setting: peer(setting, bf16=True),
    "ours": ours,
    "ours_fp32": lambda setting: ours(setting, bf16=False),
    "ours_with_dropout": lambda setting: ours(setting, dropout=0.1),
    "ours_recompute": lambda setting: ours(setting, recompute=True),
}

if __name__ == "__main__":
    main()
