"""`train`: fine-tune a model on pairs."""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainingArguments

from textsiam.data.files import remove
from textsiam.data.hashes import TextHashes
from textsiam.data.splitting import check_seed
from textsiam.encoding.encoder import Encoder
from textsiam.encoding.model_folder.layout import check_model_target
from textsiam.encoding.pytorch.twin import DTYPES, Twin
from textsiam.encoding.pytorch.weights import write_transformer
from textsiam.errors import MissingExtra
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.siamese import Siamese
from textsiam.training.checkpoints import RUN, claim, wait
from textsiam.training.embedded_batch import Loss
from textsiam.training.examples import part, sources_of, taught
from textsiam.training.judges.cross_fitting import cross_fitted, halves_of
from textsiam.training.negatives import mine_negatives
from textsiam.training.recipe import Recipe
from textsiam.training.run import Run, random_state_kept

logger = logging.getLogger("textsiam")


@contextmanager
def _logging_once() -> Iterator[None]:
    """Of several processes, only the first logs."""
    level = logger.level
    if int(os.environ.get("RANK", "0")):
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@_logging_once()
@random_state_kept()
def train(
    model: Siamese | str | Path | None,
    pairs: Any,
    *,
    loss: str | Loss | None = None,
    validation: Any = None,
    seed: int = 0,
    output: str | Path | None = None,
    teacher: Siamese | Encoder | str | Path | None = None,
    link_score: float | None = None,
    judge: bool = False,
    recipe: Recipe | None = None,
    arguments: Mapping[str, Any] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    restart: bool = False,
    **changes: Any,
) -> Siamese:
    """The model fine-tuned on these pairs. The start model does not change; the result is neither calibrated nor certified.

    Parameters
    ----------
    model
        The model to start from; a folder or Hub name is loaded. None: the default model.
    pairs
        `Pairs`, `Triplets`, or anything that `read_pairs` reads. To train on several data sets at once, a mapping
        name → data, (data, loss) or (data, loss, share of the batches). Each batch holds rows of one data set.
    loss
        A name from `LOSSES`, or an object (see `textsiam.training.embedded_batch.Loss`). Default, by kind of data: labels
        → ``logistic``, scores → ``cosent``, positives and triplets → ``multiple_negatives_ranking``.
    validation
        Held-out data that chooses the best checkpoint, or a mapping of several. Rows to learn from that share a text or a
        chain of positives with it are left out. None: hold out a tenth without leaks, if there are 50 rows or more. False:
        hold out nothing.
    seed
        The same seed, data and machine give the same weights.
    output
        A folder for the result. Checkpoints are kept beside it (``NAME.checkpoints``) until it is written: call `train` again
        after an interruption or a kill, and the run continues from the last one. Default: a temporary folder, which is
        deleted when Python ends.
    teacher
        The model whose embeddings ``distillation`` matches: a model, a folder or a name.
    link_score
        Graded pairs at or above it mean the same when data is divided (see `split`).
    judge
        Also fit a judge, which starts from the start model's, if that has one. It is fitted to what two further twins, which
        learn half of the data each, say of the labelled pairs of the other half: two more runs, on half of the data each.
    recipe, **changes
        Hyper-parameters: a `textsiam.training.recipe.Recipe`, or single ones, such as ``epochs=1``.
    arguments
        More of transformers' TrainingArguments, except those that a parameter here sets.
    callbacks
        transformers' callbacks.
    restart
        Delete the checkpoints of an unfinished run with the same output.

    Returns
    -------
    model
        Without a judge, unless ``judge=True``: the start model's reads other vectors. Its ``.training`` holds data,
        split, hyper-parameters, metrics before and after with intervals, loss curve, environment.

    Raises
    ------
    MissingExtra
        If accelerate is not installed; the message gives the install line.
    ValueError
        Before the run: if a loss cannot use its data, if a hyper-parameter is out of range, or if `output` has checkpoints
        of another run.
    FileExistsError
        If `output` is the folder of the start model, or of something that is no model.
    FloatingPointError
        If the loss, a gradient or a vector becomes NaN or infinite; the message names the rows of a loss or gradient. `output`
        does not change.
    UnreadableInput, OSError
        As `read_pairs` raises them.

    Examples
    --------
    >>> from textsiam import Siamese, read_pairs, split, train
    >>> from textsiam.samples import PAIRS
    >>> parts = split(read_pairs(PAIRS), seed=0)
    >>> tuned = train(Siamese.load(), parts.train, max_steps=2, batch_size=8)
    >>> tuned.threshold is None, tuned.training["split"]["train_rows"] > 30
    (True, True)
    """
    recipe = (recipe or Recipe()).changed(**changes)
    check_seed(seed)
    if not find_spec("accelerate"):
        raise MissingExtra("Training needs accelerate. Install it: pip install 'textsiam[train]'.")
    place = _place(output)
    _check_arguments({} if arguments is None else arguments)
    start = _start(model, place)
    sources = sources_of(pairs, loss)
    halves = halves_of(start, sources, seed, link_score) if judge else []
    mine = partial(mine_negatives, start, n=recipe.hard_negatives, link_score=link_score)
    parted = part(sources, validation, seed, link_score, mine if recipe.hard_negatives else None)
    if recipe.patience and not parted.validation:
        logger.warning("patience has no effect: nothing is held out to judge the model")
    parted = taught(parted, _encoder(teacher), start.encoder.dim)
    checkpoints = place.with_name(f"{place.name}.checkpoints")
    run = Run(start, parted, recipe, seed, checkpoints, dict(arguments or {}), [*callbacks])
    if restart and run.trainer.args.should_save and (checkpoints / RUN).exists():
        remove(checkpoints)
    wait()
    claim(checkpoints, run.settings() | {"link_score": link_score})
    twin, training = run.fit()
    training["hyperparameters"] |= {"teacher": _name(teacher), "link_score": link_score}
    # The model also depends on the texts that chose the best checkpoint.
    texts = TextHashes.of(text for task in (*parted.train, *parted.validation) for text in task.inputs)
    texts |= TextHashes.of(text for half in halves for text in (*half.read.first, *half.read.second))
    tuned = Tuned(twin, training, texts | (start.training_texts or TextHashes()))
    is_writer = run.trainer.args.should_save
    del run
    if halves:
        plain = Siamese(start.encoder, start.similarity, training_texts=start.training_texts)
        same = {"validation": validation, "seed": seed, "teacher": teacher, "link_score": link_score}
        teach = partial(train, plain, **same, recipe=recipe.halved(), arguments=arguments)
        own = start.judge if isinstance(start.judge, Judge) else None
        fitted = cross_fitted(halves, teach, checkpoints, start=own, device=_device_of(start), seed=seed)
        tuned = tuned._replace(judge=fitted)
    return _finished(start, tuned, place, checkpoints, is_writer=is_writer)


def _place(output: str | Path | None) -> Path:
    """The folder for the result, checked to be writable."""
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if output is None and n_processes > 1:
        raise ValueError(
            f"{n_processes} processes train together, but no output was named. Name one folder for all (output=)."
        )
    place = Path(output).expanduser() if output else _temporary() / "model"
    check_model_target(place)
    return place


def _start(model: Siamese | str | Path | None, place: Path) -> Siamese:
    """The model to start from; the result must not replace it."""
    start = model if isinstance(model, Siamese) else Siamese.load(model)
    if place.resolve() == start.encoder.folder.path.resolve():
        raise FileExistsError(f"{place} is the model to start from, which must not change. Name another output.")
    return start


class Tuned(NamedTuple):
    """The result of training: the twin, the record, the hashes of the texts it saw, and its judge."""

    twin: Twin
    record: dict[str, Any]
    texts: TextHashes
    judge: Judge | None = None


def _finished(start: Siamese, tuned: Tuned, place: Path, checkpoints: Path, *, is_writer: bool) -> Siamese:
    """The trained model, saved to its place; the checkpoints are then removed."""
    wait()  # every process must have read the checkpoints before they are removed
    if is_writer:
        weights = checkpoints / "result"
        remove(weights)
        folder = write_transformer(tuned.twin.transformer, start.encoder.folder, weights)
        encoder = Encoder(folder, device=_device_of(start), dtype="float32")
        made = Siamese(encoder, start.similarity, training=tuned.record, training_texts=tuned.texts)
        made.with_judge(tuned.judge and replace(tuned.judge, encoder=encoder.fingerprint)).save(place)
        remove(checkpoints)
    wait()
    precision = start.encoder.precision  # the caller's own backend may have one that ours do not know
    loaded = Siamese.load(place, device=_device_of(start), dtype=precision if precision in (*DTYPES, "int8") else None)
    if start.threshold or start.calibrator or start.judge:
        is_judge_lost = start.judge and not tuned.judge
        told = "the judge, calibration and thresholds" if is_judge_lost else "the calibration and thresholds"
        logger.warning("%s of the start model do not hold for new vectors: calibrate and certify this model", told)
    return loaded


def _device_of(model: Siamese) -> str:
    """The device of its backend; all backends but PyTorch's compute on the CPU."""
    return str(model.encoder.backend.device) if isinstance(model.encoder.backend, Twin) else "cpu"


def _encoder(teacher: Siamese | Encoder | str | Path | None) -> Encoder | None:
    if teacher is None or isinstance(teacher, Encoder):
        return teacher
    return (teacher if isinstance(teacher, Siamese) else Siamese.load(teacher)).encoder


# TrainingArguments that a parameter of `train` sets → that parameter: more than the Trainer depends on them.
_OWNED = {
    "output_dir": "output", "max_steps": "max_steps", "num_train_epochs": "epochs", "seed": "seed", "bf16": "bf16",
    "per_device_train_batch_size": "batch_size", "learning_rate": "learning_rate", "weight_decay": "weight_decay",
    "warmup_steps": "warmup", "warmup_ratio": "warmup", "use_cpu": "Siamese.load(device=)",
    "gradient_checkpointing": "recompute",
}  # fmt: skip


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    if not isinstance(arguments, Mapping):
        raise ValueError(  # noqa: TRY004  as every wrong argument here
            f"arguments is a mapping from names of TrainingArguments to values, but got {arguments!r}. Give a dict."
        )
    known = {field.name for field in fields(TrainingArguments)}
    if unknown := sorted(set(arguments) - known):
        raise ValueError(f"transformers' TrainingArguments have no {', '.join(unknown)}. Correct the name.")
    if (limit := arguments.get("save_total_limit", 2)) is not None and limit < 2:  # noqa: PLR2004
        raise ValueError(
            f"save_total_limit is at least 2 (the best checkpoint and the last), but got {limit}. Raise it."
        )
    if owned := sorted(set(arguments) & set(_OWNED)):
        remedy = ", ".join(f"{_OWNED[name]} for {name}" for name in owned)
        raise ValueError(f"{', '.join(owned)} cannot be given as TrainingArguments here. Use {remedy}.")


def _name(teacher: Siamese | Encoder | str | Path | None) -> str | None:
    if teacher is None or isinstance(teacher, str):
        return teacher
    encoder = teacher.encoder if isinstance(teacher, Siamese) else teacher
    return (encoder.folder.path if isinstance(encoder, Encoder) else encoder).name


def _temporary() -> Path:
    folder = tempfile.mkdtemp(prefix="textsiam-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
