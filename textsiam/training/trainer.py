"""The training loop: transformers' Trainer with our own data, loss on embeddings, and evaluation.

The rest is the Trainer's: TrainingArguments, callbacks, tracking, mixed precision, several processes, checkpoints. This module
knows nothing about texts: `tower` may be any ``nn.Module`` that maps a batch of inputs to vectors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from textsiam.training.batches import Batches, Collator, Key
from textsiam.training.callbacks import REMEDY, Guard, Interruption, Lines, RowsRead
from textsiam.training.checkpoints import Marker
from textsiam.training.embedded_batch import EmbeddedBatch
from textsiam.training.training_tasks import Task
from textsiam.training.validation import judge

N_INPUTS_A_PASS = 256

Prepare = Callable[[list[Any]], Any]


class TwinTrainer(Trainer):
    """transformers' Trainer for twins: one tower embeds batches of pairs, and the loss sees the embeddings of all processes.

    Parameters
    ----------
    tower
        An ``nn.Module``. Its forward takes what `prepare` returns (a mapping as keywords) and returns (inputs, dim).
    tasks
        The tasks to learn from, each with its loss.
    arguments
        transformers' TrainingArguments; ``per_device_train_batch_size`` is in rows of a task.
    prepare
        A list of inputs → what the tower's forward takes.
    validation
        Held-out tasks; the mean of their metrics is ``eval_metric``.
    similarity
        The similarity for judging held-out tasks: a name from `textsiam.scoring.similarity.SIMILARITIES`.
    callbacks
        transformers' callbacks, besides our own.

    Raises
    ------
    ValueError
        If a task's loss cannot use its data.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from textsiam.training.losses import Contrastive
    >>> from textsiam.training.training_tasks import Task
    >>> points = [torch.tensor([1.0, 0.1]), torch.tensor([0.9, 0.2]), torch.tensor([-0.1, 1.0]), torch.tensor([0.8, 0.3])]
    >>> task = Task("points", points, np.array([[0, 1], [2, 3]]), Contrastive(), labels=np.array([1, 0]))
    >>> how = TrainingArguments(tempfile.mkdtemp(), max_steps=1, disable_tqdm=True, report_to="none", save_strategy="no")
    >>> TwinTrainer(nn.Linear(2, 2), [task], how).train().global_step
    1
    """

    loss_is_scaled_for_ga = False  # a mean over the batch: the Trainer divides it by the accumulated batches

    def __init__(
        self,
        tower: nn.Module,
        tasks: Sequence[Task],
        arguments: TrainingArguments,
        prepare: Prepare = torch.stack,
        *,
        validation: Sequence[Task] = (),
        similarity: str = "cosine",
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        for task in tasks:
            task.check()
        self.tasks, self.prepare, self.validation, self.similarity = tasks, prepare, validation, similarity
        # One process drives one device: torch's DataParallel would split a batch's groups of texts. Use torchrun.
        _ = arguments.device
        arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001
        self.interruption, self.rows_read = Interruption(), RowsRead(tasks)
        super().__init__(
            model=tower,
            args=arguments,
            data_collator=lambda keys: keys,
            train_dataset=_Keys(tasks),
            eval_dataset=_Keys(validation) if validation else None,
            callbacks=[Marker(), Guard(self.rows_read), self.interruption, Lines(), *callbacks],
        )
        self.remove_callback(PrinterCallback)

    def train(self, *args: Any, **settings: Any) -> Any:
        """Transformers' own training; afterwards, the previous handler of Ctrl-C is restored."""
        try:
            return super().train(*args, **settings)
        finally:
            self.interruption.stop()

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches as `Batches` plans them; each process prepares its own slice."""
        world = self.args.world_size
        plan = Batches(self.tasks, self._train_batch_size * world, self.args.seed)
        return _Loader(
            _Keys(self.tasks),
            batch_sampler=plan,
            collate_fn=Collator(self.tasks, self.prepare, self.args.process_index, world),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.device.type == "cuda",
        )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The task's loss on the embeddings of the whole batch, of all processes."""
        self.rows_read.add(inputs["task"], inputs["rows"])
        batch = self._embedded(embed(model, inputs["inputs"]), inputs)
        loss = self.tasks[inputs["task"]].loss(batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ValueError(
                f"A loss returns one number as a tensor, but {self.tasks[inputs['task']].loss!r} returned {loss!r}. Correct it."
            )
        if not torch.isfinite(loss):
            raise FloatingPointError(self._infinite(batch, loss.item()))
        return (loss, batch) if return_outputs else loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The metric of each held-out task, and their mean as ``eval_metric``; every process measures all of them.

        Raises
        ------
        ValueError
            If there is no held-out task.
        FloatingPointError
            As `embed_inputs` raises it.
        """
        if not self.validation:
            raise ValueError("There is no held-out task to evaluate on. Give validation tasks.")
        self.model.eval()
        found = {task.name: judge(task, self.embed_inputs(task.inputs), self.similarity) for task in self.validation}
        metrics = {f"{metric_key_prefix}_{name}_{judged.metric}": judged.value for name, judged in found.items()}
        metrics[f"{metric_key_prefix}_metric"] = float(np.mean([judged.value for judged in found.values()]))
        metrics = _of_first_process(metrics, self.args.world_size)
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def embed_inputs(self, inputs: Sequence[Any]) -> Float[np.ndarray, "n dim"]:
        """The tower's vectors of these inputs, in evaluation mode.

        Raises
        ------
        FloatingPointError
            If a vector is NaN or infinite.
        """
        self.model.eval()
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(inputs), N_INPUTS_A_PASS):
                prepared = self._prepare_input(self.prepare(list(inputs[start : start + N_INPUTS_A_PASS])))
                vectors.append(embed(self.model, prepared).float().cpu().numpy())
        found = np.concatenate(vectors)
        if n_wrong := int((~np.isfinite(found)).any(1).sum()):
            raise FloatingPointError(
                f"After {self.state.global_step} steps {n_wrong} of {len(found)} inputs embed to NaN or infinity: training "
                f"diverged; {REMEDY}"
            )
        return found

    def _embedded(self, vectors: Float[Tensor, "m dim"], inputs: Mapping[str, Any]) -> EmbeddedBatch:
        """The rows of all processes; only this process's own have gradients."""
        # In fp32: with mixed precision a tower may return bf16, in which a margin of .001 is lost.
        rows = vectors.float()[inputs["places"]]
        if self.args.world_size > 1:
            rows = gather_rows(rows, len(inputs["rows"]), self.args.process_index, self.args.world_size)
        return EmbeddedBatch(
            rows[:, 0],
            rows[:, 1],
            labels=inputs.get("labels"),
            scores=inputs.get("scores"),
            negatives=rows[:, 2:] if rows.shape[1] > 2 else None,  # noqa: PLR2004
            components=inputs.get("components"),
            taught=inputs.get("taught"),
        )

    def _infinite(self, batch: EmbeddedBatch, loss: float) -> str:
        finite = torch.isfinite(batch.first).all(1) & torch.isfinite(batch.second).all(1)
        for others in (batch.negatives, batch.taught):
            finite = finite if others is None else finite & torch.isfinite(others).flatten(1).all(1)
        wrong = slice(None) if bool(finite.all()) else ~finite.cpu().numpy()
        return (
            f"The loss became {loss} at step {self.state.global_step + 1}, on {self.rows_read.last(wrong)}. "
            f"Look at these rows; if they are correct: {REMEDY}"
        )


def embed(tower: nn.Module, prepared: Any) -> Float[Tensor, "n dim"]:
    """The tower's vectors of what `prepare` returned; a mapping becomes keywords."""
    return cast("Tensor", tower(**prepared) if isinstance(prepared, Mapping) else tower(prepared))


def gather_rows(rows: Float[Tensor, "own width dim"], n: int, rank: int, world: int) -> Float[Tensor, "n width dim"]:
    """The rows of all processes, in order; gradients reach this process's own rows.

    Every process computes the loss of the whole batch, and its gradient through its own rows. torch then averages over the
    processes, which divides by their number: gradients are multiplied by it first. The result is exactly the gradient of one
    process with the whole batch.
    """
    import torch.distributed as dist

    sizes = [len(part) for part in np.array_split(np.arange(n), world)]
    padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    gathered = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(gathered, padded)
    if rows.requires_grad:
        rows.register_hook(lambda gradient: gradient * world)  # type: ignore[no-untyped-call]
    parts = [
        rows if place == rank else part[:size] for place, (part, size) in enumerate(zip(gathered, sizes, strict=True))
    ]
    return torch.cat(parts)


def _of_first_process(metrics: dict[str, float], world: int) -> dict[str, float]:
    """The first process's metrics, for all processes: if a tie broke differently in one, it would choose another checkpoint."""
    if world == 1:
        return metrics
    import torch.distributed as dist

    shared = [metrics]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


class _Keys(Dataset[Key]):
    """Returns the batch sampler's keys unchanged: the collator finds the rows."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.n_rows = sum(len(task.columns) for task in tasks)

    def __getitem__(self, key: Key) -> Key:
        return key

    def __len__(self) -> int:
        return self.n_rows


class _Loader(DataLoader[Any]):
    """A DataLoader that passes the epoch on to its plan, also if the Trainer skips batches to resume a run."""

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch: each has an order of its own."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
