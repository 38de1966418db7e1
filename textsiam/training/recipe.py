"""The hyper-parameters of a run. The defaults did best; benchmarks/LOG.md lists what did worse."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

KEEP = 0.4  # the default of `keep`


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of fine-tuning.

    Parameters
    ----------
    epochs
        How often all rows are seen; may be a fraction.
    max_steps
        Stop after this many updates, instead of `epochs`. None: as `epochs` says.
    batch_size
        Rows per update and process.
    learning_rate
        AdamW's highest learning rate. It rises during the `warmup` and then falls linearly to 0.
    warmup
        The share of the steps in which the learning rate rises, 0 to 1.
    weight_decay
        AdamW's weight decay, on matrices only.
    dropout
        The probability of every dropout in the transformer.
    keep
        The share of the start model's weights in the result, 0 to 1: start · keep + trained · (1 - keep). The result keeps
        most of the start model's quality on other data, and loses a little on this data (Wortsman et al. 2022, "Robust
        fine-tuning of zero-shot models", equation 1, with α = 1 - keep). None: 0.4, or 0 for a random start.
    hard_negatives
        How many negatives to mine for each positive pair, if the pairs have no labels (see `mine_negatives`).
    lora
        The rank of low-rank adapters that are trained instead of the weights and merged into the result. None: train all weights.
    recompute
        Keep the activations of only one group of texts, at the cost of one more forward pass: for batches of thousands.
    evaluations
        How often to measure the validation metric and save a checkpoint, evenly over the run.
    patience
        Stop after this many evaluations without a better metric. None: never.
    bf16
        Mixed precision. None: if the device computes bf16 natively, as many GPUs and CPUs with AVX512-BF16 or AMX do. In bf16
        the update of several processes equals that of one only up to rounding of their gradients; False is exact to fp32.
    random_start
        Start with random weights instead of the model's own.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> Recipe().changed(epochs=1, batch_size=32).batch_size
    32
    """

    epochs: float = 2.0
    max_steps: int | None = None
    batch_size: int = 64
    learning_rate: float = 2e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.0
    keep: float | None = None
    hard_negatives: int = 0
    lora: int | None = None
    recompute: bool = False
    evaluations: int = 4
    patience: int | None = None
    bf16: bool | None = None
    random_start: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check(field.name, getattr(field.type, "__name__", str(field.type)), getattr(self, field.name))
        if self.random_start and (self.keep or self.lora):
            raise ValueError("A random start has nothing worth keeping or adapting. Leave out keep and lora.")

    @staticmethod
    def _check(name: str, declared: str, value: Any) -> None:
        """Check one hyper-parameter's type and range, by its declaration and its name."""
        if value is None and "None" in declared:
            return
        if declared.startswith("bool"):
            wanted, is_right = "True or False", isinstance(value, bool)
        elif declared.startswith("int"):
            least = 0 if name == "hard_negatives" else 1
            wanted = f"a whole number, at least {least}"
            is_right = isinstance(value, int) and not isinstance(value, bool) and value >= least
        elif name in ("warmup", "dropout", "keep"):
            wanted, is_right = "a share from 0 to 1", isinstance(value, int | float) and 0 <= value <= 1
        else:
            wanted = "a number, at least 0" if name == "weight_decay" else "a number above 0"
            is_right = (
                isinstance(value, int | float) and 0 <= value < float("inf") and (value > 0 or name == "weight_decay")
            )
        if not is_right:
            raise ValueError(f"{name} is {wanted}, but got {value!r}. Correct it.")

    @property
    def kept(self) -> float:
        """The share of the start model's weights in the result."""
        return (0.0 if self.random_start else KEEP) if self.keep is None else self.keep

    def changed(self, **changes: Any) -> "Recipe":
        """The recipe with these hyper-parameters changed.

        Raises
        ------
        ValueError
            If there is no such hyper-parameter, or if its value is out of range.
        """
        names = [field.name for field in fields(self)]
        if unknown := sorted(set(changes) - set(names)):
            raise ValueError(f"There is no hyper-parameter {', '.join(unknown)}. There are: {', '.join(names)}.")
        return replace(self, **changes)

    def halved(self) -> "Recipe":
        """The recipe for half of the data: as many epochs; of a given number of steps, half."""
        return self if self.max_steps is None else replace(self, max_steps=-(-self.max_steps // 2))

    def arguments(self, n_steps: int, n_an_epoch: float, *, is_validated: bool) -> dict[str, Any]:
        """Transformers' TrainingArguments, as keywords, for a run of `n_steps` updates, `n_an_epoch` per epoch."""
        every = -(-n_steps // self.evaluations)
        return {
            "max_steps": n_steps,
            "num_train_epochs": max(1.0, n_steps / n_an_epoch),
            "per_device_train_batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "warmup_steps": int(self.warmup * n_steps),
            "weight_decay": self.weight_decay,
            "lr_scheduler_type": "linear",
            "logging_steps": max(1, min(25, n_steps // 20)),
            "logging_nan_inf_filter": False,
            "save_strategy": "steps",
            "save_steps": every,
            "save_total_limit": 2,
            "eval_strategy": "steps" if is_validated else "no",
            "eval_steps": every,
            "load_best_model_at_end": is_validated,
            "metric_for_best_model": "eval_metric" if is_validated else None,
            "greater_is_better": True if is_validated else None,
            "restore_callback_states_from_checkpoint": False,
            "remove_unused_columns": False,
            "ddp_find_unused_parameters": False,
            "report_to": "none",
            "disable_tqdm": not sys.stderr.isatty(),
        }

    def to_json(self) -> Mapping[str, Any]:
        """Plain values."""
        return asdict(self) | {"keep": self.kept}
