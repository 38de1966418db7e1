"""What watches a run: gradients that blow up, Ctrl-C, and which rows are at fault.

Progress of a run: a bar where somebody watches (step, loss, pairs a second, time left, metric), else lines in the log.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from tqdm import tqdm
from transformers import TrainerCallback

from textsiam.training.training_tasks import Task

REMEDY = "lower the learning rate or the loss's scale, and start anew (restart=True, --restart)."


class RowsRead:
    """The rows that the update in the making has read (several batches where gradients are accumulated), and how many in all."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.batches: list[tuple[int, Int[np.ndarray, " n"]]] = []
        self.n_rows = 0

    def add(self, number: int, rows: Int[np.ndarray, " n"]) -> None:
        """A batch of the task of that number."""
        self.batches.append((number, rows))
        self.n_rows += len(rows)

    def last(self, wrong: Any = slice(None)) -> str:
        """The last batch's data set and row numbers, or those that `wrong` marks."""
        return self._told(self.batches[-1][0], self.batches[-1][1][wrong])

    def __str__(self) -> str:
        return "; ".join(self._told(number, rows) for number, rows in self.batches)

    def _told(self, number: int, rows: Int[np.ndarray, " n"]) -> str:
        task = self.tasks[number]
        return f"{task.name}, rows {', '.join(str(task.rows[row]) for row in rows)}"


class Guard(TrainerCallback):
    """Stops before a gradient that is NaN or infinite reaches the weights; names the rows that the update has read."""

    def __init__(self, rows_read: RowsRead) -> None:
        self.rows_read = rows_read

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An update begins: nothing has been read for it."""
        self.rows_read.batches.clear()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """See the class."""
        if args.fp16:
            return  # which meets infinite gradients by design, and skips those steps itself
        gradients = [w.grad for w in model.parameters() if w.grad is not None]
        if gradients and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            raise FloatingPointError(
                f"The gradient became NaN or infinite at step {state.global_step + 1}, on {self.rows_read}; {REMEDY}"
            )


class Interruption(TrainerCallback):
    """On the first Ctrl-C the step is finished, a checkpoint is saved and KeyboardInterrupt raised; a second stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self.before: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._ask)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop, if asked to."""
        if args.world_size > 1:
            flag = torch.tensor(float(self.asked), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.asked = bool(flag)  # all processes stop after the same step
        if self.asked:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is there: leave."""
        if self.asked:
            self.stop()
            raise KeyboardInterrupt

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Listen no more."""
        self.stop()
        if self.asked:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Give Ctrl-C back to whom it belonged."""
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
            self.before = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.stop()


logger = logging.getLogger("textsiam")


class Progress(TrainerCallback):
    """Shows what the Trainer does, on standard error; on a terminal as a bar, otherwise through the logger ``textsiam``."""

    def __init__(self, rows_read: RowsRead) -> None:
        self.rows_read = rows_read
        self.bar: Any = None
        self.started = 0.0
        self.first_step = 0
        self.shown: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin; after a resumption where the run stood."""
        self.started, self.first_step = time.perf_counter(), state.global_step
        if state.is_world_process_zero:
            off = not sys.stderr.isatty()
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step", disable=off)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One step more."""
        if self.bar is not None:
            rate = self.rows_read.n_rows / max(time.perf_counter() - self.started, 1e-9)
            self.shown["pairs/s"] = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"  # noqa: PLR2004
            self.bar.set_postfix(self.shown, refresh=False)
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """A loss or a metric."""
        if self.bar is None or not logs:
            return
        for name, key in (("loss", "loss"), ("validation", "eval_metric")):
            if key in logs:
                self.shown[name] = f"{logs[key]:.4f}"
        if self.bar.disable and ("loss" in logs or "eval_metric" in logs):
            rate = self._steps_a_second(state)
            left = (state.max_steps - state.global_step) / rate if rate else 0.0
            told = ", ".join(f"{name} {value}" for name, value in self.shown.items())
            logger.info("step %d of %d: %s, %.0f s left", state.global_step, state.max_steps, told, left)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the last line."""
        if self.bar is not None:
            self.bar.close()

    def _steps_a_second(self, state: Any) -> float:
        n_steps: int = state.global_step - self.first_step
        return n_steps / max(time.perf_counter() - self.started, 1e-9)
