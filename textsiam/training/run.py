"""One run of fine-tuning: from the start model, or the last checkpoint, to trained weights and a record."""

import hashlib
import logging
import platform
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

from textsiam.encoding.pytorch.twin import Twin, computes_bf16, load_twin
from textsiam.encoding.pytorch.weights import quiet, randomise, read_transformer
from textsiam.scoring.siamese import Siamese
from textsiam.training.batches import Batches
from textsiam.training.checkpoints import (
    best_of,
    is_finished,
    latest,
    patience_spent,
    remove_incomplete,
    state_of,
    wait,
)
from textsiam.training.embedded_batch import Fittable
from textsiam.training.examples import Parted
from textsiam.training.recipe import Recipe
from textsiam.training.towers import TextTower, add_lora, freeze_unused, merge_lora, set_dropout, text_preparer
from textsiam.training.trainer import TwinTrainer
from textsiam.training.training_tasks import Task
from textsiam.training.validation import Judged, compare, judge

logger = logging.getLogger("textsiam")

# TrainingArguments (or their prefixes) that do not affect the weights.
_HARMLESS = ("report_to", "logging", "run_name", "disable_tqdm", "save_", "dataloader_", "push_to_hub", "hub_")
N_ROWS_TO_FIT = 2_000  # a loss that depends on the start model's scores
N_TOKENS_A_GROUP = {"cpu": 2_048, "cuda": 16_384}


class Run:
    """One run: the tower, its trainer, and the record of the run."""

    def __init__(
        self,
        start: Siamese,
        parted: Parted,
        recipe: Recipe,
        seed: int,
        checkpoints: Path,
        arguments: dict[str, Any],
        callbacks: list[TrainerCallback],
    ) -> None:
        self.start, self.parted, self.recipe, self.seed, self.checkpoints = start, parted, recipe, seed, checkpoints
        self.arguments = arguments
        self.twin = self._twin()
        device = self.twin.device.type
        tower = TextTower(self.twin, recompute=recipe.recompute)
        world = TrainingArguments(output_dir=str(checkpoints), use_cpu=device == "cpu", report_to="none").world_size
        n_an_epoch = len(Batches(parted.train, recipe.batch_size * world, seed))
        # Rounded up: the last update of an epoch may have fewer batches.
        n_updates = -(-n_an_epoch // int(arguments.get("gradient_accumulation_steps", 1)))
        n_steps = recipe.max_steps or max(1, round(recipe.epochs * n_updates))
        settings = recipe.arguments(n_steps, n_updates, is_validated=bool(parted.validation))
        settings |= {"output_dir": str(checkpoints), "seed": seed, "use_cpu": device == "cpu"}
        settings["bf16"] = computes_bf16(self.twin.device) if recipe.bf16 is None else recipe.bf16
        patience = [EarlyStoppingCallback(recipe.patience)] if recipe.patience and parted.validation else []
        # With recompute, a group's activations are all that memory holds: smaller groups need less.
        n_tokens = N_TOKENS_A_GROUP.get(device, 2_048) // (4 if recipe.recompute else 1)
        self.prepare = text_preparer(start.encoder, n_tokens)
        self.trainer = TwinTrainer(
            tower,
            parted.train,
            TrainingArguments(**settings | arguments),
            self.prepare,
            validation=parted.validation,
            similarity=start.similarity,
            callbacks=[*patience, *callbacks],
        )

    def settings(self) -> dict[str, Any]:
        """All that the weights depend on, as plain values: by these a run recognises its own checkpoints."""
        folder = self.start.encoder.folder
        return {
            "model": folder.fingerprint(),
            "data": _hash(self.parted.train),
            "validation": _hash(self.parted.validation),
            "losses": [_named(task.loss) for task in self.parted.train],
            "seed": self.seed,
            "processes": self.trainer.args.world_size,
            "precision": _precision(self.trainer.args),
            "arguments": {
                name: _named(value) for name, value in self.arguments.items() if not name.startswith(_HARMLESS)
            },
            **self.recipe.to_json(),
        }

    def fit(self) -> tuple[Twin, dict[str, Any]]:
        """The trained twin, and the record of the run as plain values."""
        self._fit_losses()
        n_cut = {task.name: self._cut(task) for task in self.parted.train}
        before = self._judged()
        started = time.perf_counter()
        if self.trainer.args.should_save and (dropped := remove_incomplete(self.checkpoints)):
            logger.warning("%s is incomplete and was deleted", ", ".join(dropped))
        wait()
        last = latest(self.checkpoints)
        is_over = last is not None and is_finished(last)
        if not is_over:
            self.start.encoder.release()
            if last is not None:
                logger.warning("continuing from %s", last)
                self._restore_patience(last)
            with quiet():
                self.trainer.train(resume_from_checkpoint=str(last) if last else None)
        seconds = time.perf_counter() - started
        wait()
        # Judge as before the run: without the mixed precision that the Trainer added to the tower.
        self.trainer.accelerator.unwrap_model(self.trainer.model, keep_fp32_wrapper=False)
        last = latest(self.checkpoints)
        if last is not None and (is_over or self.parted.validation):  # else these are the last weights already
            self._load(best_of(last) if self.parted.validation else last)
        merge_lora(self.twin)
        if self.recipe.kept:
            # Read again: a copy kept through the run would need memory all the time.
            _interpolate(self.twin, read_transformer(self.start.encoder.folder.transformer), self.recipe.kept)
        self.trainer.embed_inputs(self.parted.train[0].inputs[:1])  # diverged weights must not replace a model
        state = self.trainer.state
        history = {"log_history": state.log_history, "global_step": state.global_step}
        record = self._record(before, self._judged(), seconds, state_of(last) if is_over and last else history)
        for name, of in record["data"].items():
            of["texts_cut"] = n_cut[name]
        return self.twin, record

    def _cut(self, task: Task) -> int:
        """How many of the task's texts are longer than the model reads; the log says so."""
        n_cut, _ = self.start.encoder.count_lost(task.inputs)
        if n_cut:
            limit = self.start.encoder.folder.max_length
            logger.warning(
                "%d of %d texts of %s exceed %d tokens and are cut", n_cut, len(task.inputs), task.name, limit
            )
        return n_cut

    def _restore_patience(self, checkpoint: Path) -> None:
        """Restore the count of evaluations without a better metric, and nothing else; the Trainer would restore more."""
        spent = patience_spent(checkpoint)
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, EarlyStoppingCallback):
                callback.early_stopping_patience_counter = spent

    def _fit_losses(self) -> None:
        """Fit the losses that depend on the start model's scores, on up to 2,000 rows."""
        fitted = []
        for task in self.parted.train:
            if isinstance(task.loss, Fittable) and task.labels is not None:
                # Random rows: the first rows of a file sorted by label have only one label.
                rows = np.sort(np.random.default_rng(self.seed).permutation(len(task.columns))[:N_ROWS_TO_FIT])
                some = task.take(rows)
                judged = judge(some, self.trainer.embed_inputs(some.inputs))
                task = replace(task, loss=task.loss.fitted(judged.scores, judged.truth))  # noqa: PLW2901
            fitted.append(task)
        self.parted = self.parted._replace(train=fitted)
        self.trainer.tasks = fitted

    def _twin(self) -> Twin:
        backend = self.start.encoder.backend
        device = str(backend.device) if isinstance(backend, Twin) else "cpu"
        twin = load_twin(self.start.encoder.folder, device, "float32", trainable=True)
        if self.recipe.random_start:
            randomise(twin.transformer, self.seed)
        set_dropout(twin, self.recipe.dropout)
        if self.recipe.lora:
            add_lora(twin, self.recipe.lora, self.seed)
        freeze_unused(twin)
        return twin

    def _load(self, checkpoint: Path) -> None:
        from safetensors.torch import load_file

        self.trainer.model.load_state_dict(load_file(checkpoint / "model.safetensors", device=str(self.twin.device)))

    def _judged(self) -> list[Judged]:
        return [
            judge(task, self.trainer.embed_inputs(task.inputs), self.start.similarity)
            for task in self.parted.validation
        ]

    def _record(
        self, before: list[Judged], after: list[Judged], seconds: float, state: Mapping[str, Any]
    ) -> dict[str, Any]:
        history = state["log_history"]
        named = zip(self.parted.validation, before, after, strict=True)
        metrics = {task.name: compare(task, old, new, self.seed) for task, old, new in named}
        for name, found in metrics.items():
            if found["difference"][0] < 0:
                values = (found["metric"], name, found["before"][0], found["after"][0])
                logger.warning("%s fell on the validation rows of %s: %.4f → %.4f", *values)
        return {
            "start": "random weights" if self.recipe.random_start else self.start.encoder.name,
            "data": {
                task.name: {"rows": len(task.columns), "holds": task.kind, "loss": repr(task.loss), "share": task.share}
                for task in self.parted.train
            },
            "split": self.parted.record,
            "hyperparameters": {
                **self.recipe.to_json(),
                "seed": self.seed,
                "processes": self.trainer.args.world_size,
                **{name: _named(value) for name, value in self.arguments.items()},
            },
            "metrics": metrics,
            "curve": [[entry["step"], round(entry["loss"], 6)] for entry in history if "loss" in entry],
            "validation_curve": [[e["step"], round(e["eval_metric"], 6)] for e in history if "eval_metric" in e],
            "steps": state["global_step"],
            "seconds": round(seconds, 1),
            "environment": {name: version(name) for name in ("textsiam", "torch", "transformers", "accelerate")}
            | {
                "python": platform.python_version(),
                "device": str(self.twin.device),
                "precision": _precision(self.trainer.args),
            },
        }


def _interpolate(twin: Twin, start: nn.Module, keep: float) -> None:
    of_start = start.state_dict()
    with torch.no_grad():
        for name, value in twin.transformer.state_dict().items():
            if value.is_floating_point():
                value.mul_(1 - keep).add_(of_start[name].to(value.device), alpha=keep)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the caller's random state afterwards, because the Trainer seeds all generators."""
    state, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  the global one is what is kept
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(of_numpy)  # noqa: NPY002


def _named(value: object) -> str:
    """A text that is the same in another process: an object's class and values, weights as hashes, no memory addresses."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(torch.as_tensor(value).detach().cpu()).tobytes()).hexdigest()
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_named(key)}: {_named(of)}' for key, of in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_named, value))}]"
    values: dict[str, Any] = dict(getattr(value, "__dict__", {}))
    if isinstance(value, nn.Module):
        values = {name: of for name, of in values.items() if not name.startswith("_")} | dict(value.state_dict())
    elif type(value).__repr__ is not object.__repr__ and not is_dataclass(value):
        return repr(value)
    return f"{type(value).__qualname__}({', '.join(f'{name}={_named(of)}' for name, of in values.items())})"


def _hash(tasks: Sequence[Task]) -> str:
    found = hashlib.sha256()
    for task in tasks:
        found.update(repr((task.name, list(task.inputs), task.share)).encode())
        for values in (task.columns, task.labels, task.scores, task.taught):
            found.update(b"-" if values is None else values.tobytes())
    return found.hexdigest()


def _precision(arguments: TrainingArguments) -> str:
    return "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "float32"
