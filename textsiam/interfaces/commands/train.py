"""``textsiam train``: fine-tunes a model on pairs."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.options import (
    ComputeOptions,
    GradedOptions,
    RowOptions,
    check_outputs,
    check_sources,
    spread,
)
from textsiam.interfaces.shell.terminal import (
    answer_json,
    answering,
    mapped,
    say,
    say_set_aside,
    set_aside_told,
    while_reading,
)

if TYPE_CHECKING:
    from textsiam.data.texts import SetAside


@dataclass(frozen=True, kw_only=True)
class MixingOptions:
    """The loss and the share of each file."""

    loss: Annotated[
        str | None,
        Option(
            help="logistic, contrastive, online_contrastive, triplet, multiple_negatives_ranking, cosent, cosine_regression or "
            "distillation. Default: chosen by the columns. One for all files, or one per file, separated by commas."
        ),
    ] = None
    shares: Annotated[
        str | None, Option(help="Share of batches of each file, separated by commas. Default: by their rows.")
    ] = None

    def of(self, parts: dict[str, Any]) -> Any:
        """The pairs of each file with its loss and its share, as `textsiam.train` reads them."""
        losses: list[Any] = [name.strip() for name in self.loss.split(",")] if self.loss else [None]
        shares: list[Any] = [_number(part) for part in self.shares.split(",")] if self.shares else [None] * len(parts)
        losses *= len(parts) if len(losses) == 1 else 1
        for what, given in (("losses", losses), ("shares", shares)):
            if len(given) != len(parts):
                raise ValueError(
                    f"The number of files is {len(parts)}, but the number of {what} is {len(given)}. "
                    "Give one for each file, or one loss for all."
                )
        return {
            name: (part, own, share) for (name, part), own, share in zip(parts.items(), losses, shares, strict=True)
        }


@dataclass(frozen=True, kw_only=True)
class HeldOutOptions:
    """Held-out pairs, which choose the best checkpoint."""

    validation: Annotated[
        str | None, Option(help="Held-out pairs that choose the best checkpoint. Default: a leak-free tenth.")
    ] = None
    validation_split: Annotated[str | None, Option(help="Only the rows of this split of the held-out pairs.")] = None
    no_validation: Annotated[bool, Option("--no-validation", help="Hold nothing out.")] = False


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """Changes to the defaults of `textsiam.training.recipe.Recipe`."""

    epochs: Annotated[float | None, Option(help="How many times to read all rows. Default: 2.")] = None
    max_steps: Annotated[int | None, Option(help="Stop after this many updates.")] = None
    batch_size: Annotated[int | None, Option(help="Rows per update. Default: 64.")] = None
    learning_rate: Annotated[float | None, Option(help="Highest learning rate of AdamW. Default: 0.0002.")] = None
    keep: Annotated[
        float | None,
        Option(
            help="Share of the old weights in the result: forgets less, learns less. Default: 0.4; after a random start 0."
        ),
    ] = None
    hard_negatives: Annotated[
        int | None, Option(help="Hard negatives to mine for each positive without labels. Default: 0.")
    ] = None
    lora: Annotated[int | None, Option(help="Train low-rank adapters of this rank instead of all weights.")] = None
    recompute: Annotated[
        bool, Option("--recompute", help="Use less memory but one more forward pass, for huge batches.")
    ] = False
    patience: Annotated[
        int | None, Option(help="Stop after this many evaluations without a better metric. Default: never.")
    ] = None
    bf16: Annotated[
        bool | None, Option("--bf16/--no-bf16", help="Mixed precision. Default: if the GPU or CPU computes bf16.")
    ] = None
    random_start: Annotated[bool, Option("--random-start", help="Start with random weights.")] = False

    def given(self) -> dict[str, Any]:
        """The options that were given, by the recipe's names; the recipe decides all others."""
        told = vars(self) | {"recompute": self.recompute or None, "random_start": self.random_start or None}
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Settings of the run that are no hyper-parameters."""

    teacher: Annotated[str | None, Option(help="Model folder or name whose embeddings distillation imitates.")] = None
    link_score: options.LinkScore = None
    judge: Annotated[bool, Option("--judge", help="Also fit a judge, by two more runs on half of the data each.")] = (
        False
    )
    seed: options.Seed = 0
    report_to: Annotated[str | None, Option(help="Tracker: tensorboard, wandb, mlflow, …")] = None
    restart: Annotated[bool, Option("--restart", help="Delete the checkpoints of an unfinished run.")] = False

    def asked(self) -> dict[str, Any]:
        """The arguments of `textsiam.train`."""
        told = dict(
            teacher=self.teacher, link_score=self.link_score, judge=self.judge, seed=self.seed, restart=self.restart
        )
        return told | {"arguments": {"report_to": self.report_to} if self.report_to else {}}


@spread
def train(
    files: options.Files,
    *,
    output: Annotated[Path, Option("--output", "-o", help="Folder for the fine-tuned model.")],
    mixing: MixingOptions,
    held: HeldOutOptions,
    columns: GradedOptions,
    recipe: RecipeOptions,
    run: RunOptions,
    rows: RowOptions,
    model: options.Model = None,
    device: options.Device = None,
    as_json: options.AsJson = False,
) -> None:
    """Fine-tune the encoder on your pairs.

    `textsiam train pairs.csv -o my-model` reads labelled pairs, graded pairs, positives or triplets, holds out a leak-free tenth
    to choose the best checkpoint, and writes a model folder with a card: metrics before and after, and the loss curve.

    After an interruption, run the same command again: it goes on from the last checkpoint, which lies beside the output.
    """
    from textsiam.training.fine_tuning import train as fine_tune

    with (
        answering("The checkpoint is kept: run the same command again to go on from it."),
        _speaking_once(),
        _telling(),
    ):
        sources = files or []
        check_sources(sources)
        if held.validation and held.no_validation:
            raise typer.BadParameter("--validation and --no-validation contradict each other. Give one of them.")
        held_sources = [held.validation] if held.validation else []
        check_outputs(rows.set_aside, inputs=[*sources, *held_sources], as_json=as_json, model=output)
        parts, judged, aside = _read(sources, held, rows.reading(columns))
        say_set_aside(aside, rows.set_aside)
        with redirect_stdout(sys.stderr):  # where transformers writes beside its progress bar
            tuned = fine_tune(
                ComputeOptions(device=device, dtype="float32").load(model),
                mixing.of(parts),
                validation=False if held.no_validation else judged,
                output=output,
                **run.asked(),
                **recipe.given(),
            )
        told = dict(tuned.training or {})
        _say_told(told, output)
        if as_json:
            answer_json({"model": str(output), "set_aside": set_aside_told(aside), "training": told})


def _read(sources: list[str], held: HeldOutOptions, reading: dict[str, Any]) -> "tuple[dict[str, Any], Any, SetAside]":
    """The examples of each source, the held-out examples or None, and the rows that were set aside."""
    from textsiam.data.readers import read_examples
    from textsiam.data.texts import SetAside

    with while_reading(*sources):
        parts = {name: read_examples(name, **reading) for name in sources}
    for name, part in parts.items():
        say(f"{name}: {len(part):,} rows, columns: {mapped(part.mapping)}")
    judged = read_examples(held.validation, **reading | {"split": held.validation_split}) if held.validation else None
    if judged is not None:
        say(f"{held.validation}: {len(judged):,} rows, columns: {mapped(judged.mapping)}")
    read = [*parts.values(), *([judged] if judged is not None else [])]
    return parts, judged, sum((part.set_aside for part in read), SetAside())


def _say_told(told: dict[str, Any], output: Path) -> None:
    for name, of in told["metrics"].items():
        (old, *_), (new, *_), (gain, low, high) = of["before"], of["after"], of["difference"]
        sure = f", 95 % interval {low:+.4f} to {high:+.4f}" if low is not None else ""
        say(f"{name}: {of['metric']} {old:.4f} → {new:.4f} (difference {gain:+.4f}{sure})")
    say(f"{told['steps']:,} updates in {told['seconds']:,.0f} s → {output}")
    say("not calibrated: its scores have no probability and no threshold yet")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"A share is a number above 0, at most 1, not {text!r}. Correct it.") from None


@contextmanager
def _speaking_once() -> Iterator[None]:
    """Of several processes (torchrun), only the first one prints; errors are printed by all."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


@contextmanager
def _telling() -> Iterator[None]:
    """Print what the package logs while it trains, as lines on standard error."""
    logger, handler = logging.getLogger("textsiam"), logging.StreamHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
