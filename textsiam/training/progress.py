"""Progress of a run: a bar where somebody watches (step, loss, pairs a second, time left, metric), else lines in the log."""

import logging
import sys
import time
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from textsiam.training.guards import RowsRead

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
