"""Checkpoints that survive kill -9: a checkpoint counts only if its marker says that all its files are complete.

The Trainer writes the checkpoints. They hold pickles (optimizer, random states), which torch reads as plain data. Load them only
from folders that you trust.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from textsiam.data.files import remove, replacing

MARKER, RUN, STATE = "complete.json", "run.json", "trainer_state.json"


def wait() -> None:
    """Wait until every process of the run has come this far."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


class Marker(TrainerCallback):
    """Writes the completion marker into each checkpoint: the size of each of its files."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the marker: the Trainer has just saved a checkpoint."""
        wait()  # until the other processes have written their random states
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        with replacing(folder / MARKER) as temporary:
            temporary.write_text(
                json.dumps({file.name: file.stat().st_size for file in _files(folder)}), encoding="utf-8"
            )


def latest(folder: Path) -> Path | None:
    """The last complete checkpoint, or None."""
    complete = [path for path in folder.glob("checkpoint-*") if _is_complete(path)]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def remove_incomplete(folder: Path) -> list[str]:
    """Delete checkpoints that an interruption left incomplete; returns their names."""
    broken = [path for path in folder.glob("checkpoint-*") if not _is_complete(path)]
    for path in broken:
        remove(path)
    return sorted(path.name for path in broken)


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder this run's own, or check that it is.

    Raises
    ------
    ValueError
        If it holds the checkpoints of another run; the message names the settings that differ.
    FileExistsError
        If it holds something else.
    """
    file = folder / RUN
    if folder.exists() and not file.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise FileExistsError(f"{folder} exists, and is no run of textsiam. Name another output, or move that folder.")
    if file.exists() and latest(folder) is not None:
        before = json.loads(file.read_text(encoding="utf-8"))
        differing = [name for name in settings if before.get(name) != settings[name]]
        if differing:
            changes = ", ".join(f"{name} {before.get(name)!r} → {settings[name]!r}" for name in differing[:5])
            raise ValueError(
                f"{folder} holds the checkpoints of an unfinished run with other settings ({changes}). "
                "Continue with those, start again (restart=True, --restart), or name another output."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(dict(settings), indent=1), encoding="utf-8")


def is_finished(checkpoint: Path) -> bool:
    """Whether the run ended with this checkpoint: all steps are done, or early stopping has no patience left."""
    state, stopping = state_of(checkpoint), _early_stopping(checkpoint)
    patience = stopping.get("args", {}).get("early_stopping_patience", float("inf"))
    return bool(state["global_step"] >= state["max_steps"] or patience_spent(checkpoint) >= patience)


def patience_spent(checkpoint: Path) -> int:
    """Evaluations without a better metric up to this checkpoint; 0 without early stopping."""
    return int(_early_stopping(checkpoint).get("attributes", {}).get("early_stopping_patience_counter", 0))


def best_of(checkpoint: Path) -> Path:
    """The checkpoint with the best metric so far, by this one's record; this one itself if none is known or left."""
    name = state_of(checkpoint).get("best_model_checkpoint")
    # By its name alone: the folder may have moved since.
    best = checkpoint.parent / Path(name).name if name else checkpoint
    return best if _is_complete(best) else checkpoint


def state_of(checkpoint: Path) -> dict[str, Any]:
    """What the Trainer recorded: steps, log history, best metric."""
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    return state


def _early_stopping(checkpoint: Path) -> dict[str, Any]:
    saved = state_of(checkpoint).get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    # A list if the caller has such a callback too; the first is ours.
    ours: dict[str, Any] = saved[0] if isinstance(saved, list) else saved
    return ours


def _is_complete(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.is_file() and file.name != MARKER and not file.name.startswith(".")
    )
