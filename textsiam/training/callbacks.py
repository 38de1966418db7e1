"""What watches a run: a guard against gradients that are NaN or infinite, Ctrl-C, and lines in the log.

The progress bar on a terminal is transformers' own.
"""

import logging
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from transformers import TrainerCallback

from textsiam.training.training_tasks import Task

logger = logging.getLogger("textsiam")

REMEDY = "lower the learning rate or the loss's scale, and start again (restart=True, --restart)."


class RowsRead:
    """The rows that the current update has read: several batches where gradients are accumulated."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.batches: list[tuple[int, Int[np.ndarray, " n"]]] = []

    def add(self, number: int, rows: Int[np.ndarray, " n"]) -> None:
        """Add a batch of the task of that number."""
        self.batches.append((number, rows))

    def last(self, wrong: Any = slice(None)) -> str:
        """The data set and row numbers of the last batch, or only of the rows that `wrong` marks."""
        return self._told(self.batches[-1][0], self.batches[-1][1][wrong])

    def __str__(self) -> str:
        return "; ".join(self._told(number, rows) for number, rows in self.batches)

    def _told(self, number: int, rows: Int[np.ndarray, " n"]) -> str:
        task = self.tasks[number]
        return f"{task.name}, rows {', '.join(str(task.rows[row]) for row in rows)}"


class Guard(TrainerCallback):
    """Stops before a gradient that is NaN or infinite reaches the weights, and names the rows of the update."""

    def __init__(self, rows_read: RowsRead) -> None:
        self.rows_read = rows_read

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget the rows of the update before."""
        self.rows_read.batches.clear()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """Raise FloatingPointError if the norm of the gradient is not finite."""
        if args.fp16:
            return  # fp16 meets infinite gradients by design, and skips those steps itself
        gradients = [w.grad for w in model.parameters() if w.grad is not None]
        if gradients and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            raise FloatingPointError(
                f"The gradient became NaN or infinite at step {state.global_step + 1}, on {self.rows_read}; {REMEDY}"
            )


class Interruption(TrainerCallback):
    """The first Ctrl-C finishes the step, saves a checkpoint and raises KeyboardInterrupt; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self.before: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take over Ctrl-C, in the main thread."""
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._ask)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop after Ctrl-C."""
        if args.world_size > 1:
            flag = torch.tensor(float(self.asked), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.asked = bool(flag)  # all processes stop after the same step
        if self.asked:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is saved: raise KeyboardInterrupt after Ctrl-C."""
        if self.asked:
            self.stop()
            raise KeyboardInterrupt

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Restore Ctrl-C; raise KeyboardInterrupt if it was pressed."""
        self.stop()
        if self.asked:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Restore the handler of Ctrl-C that was there before."""
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
            self.before = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.stop()


class Lines(TrainerCallback):
    """Where no progress bar is shown (``disable_tqdm``): loss, metric and time left, in the log ``textsiam``."""

    def __init__(self) -> None:
        self.started, self.first_step = time.perf_counter(), 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock; a resumed run starts at its checkpoint's step."""
        self.started, self.first_step = time.perf_counter(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Log a loss or a metric."""
        names = {"loss": "loss", "eval_metric": "validation"}
        told = ", ".join(f"{name} {logs[key]:.4f}" for key, name in names.items() if logs and key in logs)
        if told and args.disable_tqdm and state.is_world_process_zero:
            n_done, n_left = state.global_step - self.first_step, state.max_steps - state.global_step
            seconds = (time.perf_counter() - self.started) / max(n_done, 1) * n_left
            logger.info("step %d of %d: %s, %.0f s left", state.global_step, state.max_steps, told, seconds)
