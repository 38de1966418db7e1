"""``textsiam train``: pairs in; a fine-tuned model out."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from textsiam.interfaces import options
from textsiam.interfaces.tables import check_outputs
from textsiam.interfaces.terminal import (
    answer_json,
    answering,
    check_sources,
    load_model,
    mapped,
    say,
    say_set_aside,
    set_aside_told,
)


def train(
    files: options.Files,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the fine-tuned model.")],
    loss: Annotated[
        str | None,
        typer.Option(
            help="logistic, contrastive, online_contrastive, triplet, multiple_negatives_ranking, cosent, cosine_regression or "
            "distillation. Default: by what the data holds. One for all files, or one a file, separated by commas."
        ),
    ] = None,
    shares: Annotated[
        str | None, typer.Option(help="Share of the batches a file, separated by commas. Default: by their rows.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option(help="Held-out pairs to choose the best checkpoint by. Default: a leak-free tenth.")
    ] = None,
    validation_split: Annotated[
        str | None, typer.Option(help="Only the rows of this split of the held-out pairs.")
    ] = None,
    no_validation: Annotated[bool, typer.Option("--no-validation", help="Hold nothing out.")] = False,
    first: options.First = None,
    second: options.Second = None,
    label: options.Label = None,
    score: options.Score = None,
    split: options.SplitName = None,
    epochs: Annotated[float | None, typer.Option(help="Times that all rows are seen. Default: 2.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many updates.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows an update. Default: 64.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest learning rate of AdamW. Default: 0.0002.")
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            help="Share of the start's weights in the result: forgets less, learns less. Default: 0.4; of a random start 0."
        ),
    ] = None,
    hard_negatives: Annotated[
        int | None, typer.Option(help="Negatives to mine for each positive without labels. Default: 0.")
    ] = None,
    lora: Annotated[
        int | None, typer.Option(help="Train low-rank adapters of this rank instead of all weights.")
    ] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Less memory for one more forward pass: for huge batches.")
    ] = False,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many evaluations without a better metric. Default: never.")
    ] = None,
    bf16: Annotated[
        bool | None,
        typer.Option("--bf16/--no-bf16", help="Mixed precision. Default: where GPU or CPU computes bf16 itself."),
    ] = None,
    random_start: Annotated[bool, typer.Option("--random-start", help="Begin with random weights.")] = False,
    teacher: Annotated[
        str | None, typer.Option(help="Model folder or name whose embeddings distillation matches.")
    ] = None,
    link_score: options.LinkScore = None,
    seed: options.Seed = 0,
    report_to: Annotated[str | None, typer.Option(help="Tracking: tensorboard, wandb, mlflow, …")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away the checkpoints of an unfinished run.")
    ] = False,
    set_aside: options.SetAsideFile = None,
    strict: options.Strict = False,
    format: options.Format = None,  # noqa: A002  the option is --format
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = "utf-8",
    model: options.Model = None,
    device: options.Device = None,
    as_json: options.AsJson = False,
) -> None:
    """Fine-tune the encoder on your pairs.

    `textsiam train pairs.csv -o my-model` takes labelled pairs, graded pairs, positives alone or triplets, holds a leak-free
    tenth out to choose the best checkpoint by, and writes a model folder with a card: metrics before and after, loss curve.

    Interrupted (Ctrl-C, kill): the same command goes on from the last checkpoint, beside the output.
    """
    from textsiam.data.readers import read_examples
    from textsiam.data.texts import SetAside
    from textsiam.encoding.saving import check_model_target
    from textsiam.training.fine_tuning import train as fine_tune

    with answering("The checkpoint is kept: the same command goes on from it."), _speaking_once(), _telling():
        sources = files or []
        check_sources(sources)
        held = [validation] if validation else []
        if held and no_validation:
            raise typer.BadParameter(
                "--validation names held-out pairs, but --no-validation came too. Give one of them."
            )
        check_model_target(output)
        check_outputs(set_aside, inputs=[*sources, *held], as_json=as_json)
        reading = dict(split=split, strict=strict, format=format, delimiter=delimiter, encoding=encoding)
        how: dict[str, Any] = dict(first=first, second=second, label=label, score=score)
        how |= {name: value for name, value in reading.items() if value is not None}
        parts = {name: read_examples(name, **how) for name in sources}
        for name, part in parts.items():
            say(f"{name}: {len(part):,} rows, columns: {mapped(part.mapping)}")
        judged = read_examples(validation, **how | {"split": validation_split}) if validation else None
        if judged is not None:
            say(f"{validation}: {len(judged):,} rows, columns: {mapped(judged.mapping)}")
        aside = sum(
            (part.set_aside for part in [*parts.values(), *([judged] if judged is not None else [])]), SetAside()
        )
        say_set_aside(aside, set_aside)
        recipe: dict[str, Any] = dict(
            epochs=epochs, max_steps=max_steps, batch_size=batch_size, learning_rate=learning_rate, keep=keep,
            hard_negatives=hard_negatives, lora=lora, recompute=recompute or None, patience=patience, bf16=bf16,
            random_start=random_start or None,
        )  # fmt: skip
        tuned = fine_tune(
            load_model(model, "auto", device, "float32"),
            _mixture(parts, loss, shares),
            validation=False if no_validation else judged,
            seed=seed,
            output=output,
            teacher=teacher,
            link_score=link_score,
            arguments={"report_to": report_to} if report_to else {},
            restart=restart,
            **{name: value for name, value in recipe.items() if value is not None},
        )
        told = dict(tuned.training or {})
        for name, of in told["metrics"].items():
            (old, *_), (new, *_), (gain, low, high) = of["before"], of["after"], of["difference"]
            sure = f", 95 % interval {low:+.4f} to {high:+.4f}" if low is not None else ""
            say(f"{name}: {of['metric']} {old:.4f} → {new:.4f} (difference {gain:+.4f}{sure})")
        say(f"{told['steps']:,} updates in {told['seconds']:,.0f} s → {output}")
        say("not calibrated: its scores have no probability and no threshold yet")
        if as_json:
            answer_json({"model": str(output), "set_aside": set_aside_told(aside), "training": told})


def _mixture(parts: dict[str, Any], loss: str | None, shares: str | None) -> Any:
    losses: list[Any] = [name.strip() for name in loss.split(",")] if loss else [None]
    numbers: list[Any] = [_number(part) for part in shares.split(",")] if shares else [None] * len(parts)
    losses *= len(parts) if len(losses) == 1 else 1
    for what, given in (("losses", losses), ("shares", numbers)):
        if len(given) != len(parts):
            raise ValueError(
                f"{len(parts)} files came with {len(given)} {what}. Give one for each file, or one loss for all."
            )
    return {name: (part, own, share) for (name, part), own, share in zip(parts.items(), losses, numbers, strict=True)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"A share is a number above 0, at most 1, but got {text!r}. Correct it.") from None


@contextmanager
def _speaking_once() -> Iterator[None]:
    """Of several processes (torchrun) only the first one speaks; an error speaks from any."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


@contextmanager
def _telling() -> Iterator[None]:
    """What the package logs while it trains, as lines on standard error."""

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    logger, handler = logging.getLogger("textsiam"), Said()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
