"""`train`: a model and pairs in, a better model out."""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainingArguments

from textsiam.data.files import remove
from textsiam.data.hashes import TextHashes
from textsiam.data.splitting import check_seed
from textsiam.encoding.encoder import Encoder
from textsiam.encoding.model_folder.folder import ModelFolder
from textsiam.encoding.model_folder.layout import check_model_target
from textsiam.encoding.pytorch.twin import DTYPES, Twin
from textsiam.encoding.pytorch.weights import write_transformer
from textsiam.errors import MissingExtra
from textsiam.scoring.siamese import Siamese
from textsiam.training.checkpoints import RUN, claim, wait
from textsiam.training.embedded_batch import Loss
from textsiam.training.examples import part, sources_of, taught
from textsiam.training.negatives import mine_negatives
from textsiam.training.recipe import Recipe
from textsiam.training.run import Run, random_state_kept

logger = logging.getLogger("textsiam")


@contextmanager
def _told_once() -> Iterator[None]:
    """Of several processes only the first one logs."""
    level = logger.level
    if int(os.environ.get("RANK", "0")):
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@_told_once()
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
    recipe: Recipe | None = None,
    arguments: Mapping[str, Any] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    restart: bool = False,
    **changes: Any,
) -> Siamese:
    """A model fine-tuned on these pairs: the start stays as it is, and the result is neither calibrated nor certified.

    Parameters
    ----------
    model
        Where to start; a folder or Hub name is loaded, None is the default.
    pairs
        `Pairs`, `Triplets`, or anything that `read_pairs` reads; or a mapping name → data, (data, loss) or
        (data, loss, share of the batches) to train on several at once. Each batch holds rows of one data set.
    loss
        A name from `LOSSES` or an object (see `textsiam.training.losses.Loss`). Default, by what the data holds: labels
        → ``logistic``, scores → ``cosent``, positives and triplets → ``multiple_negatives_ranking``.
    validation
        Held-out data by which the best checkpoint is chosen, or a mapping of several. Rows to learn from that share a text
        or a chain of positives with it are left out. None: a tenth is carved, leak-free, if there are 50 rows or more;
        False: nothing is held out.
    seed
        The same seed, data and machine give the same weights.
    output
        A folder for the result. Checkpoints lie beside it (``NAME.checkpoints``) until it is written: a run that was
        interrupted, or killed, goes on from the last when it is called again. Default: kept until Python ends.
    teacher
        Whose embeddings ``distillation`` matches: a model, a folder or a name.
    link_score
        Graded pairs at or above it mean the same, when parts are carved (see `split`).
    recipe, **changes
        Hyper-parameters: `textsiam.training.recipe.Recipe`, or single ones of it, such as ``epochs=1``.
    arguments
        More of transformers' TrainingArguments; not those that a parameter here sets.
    callbacks
        transformers' callbacks.
    restart
        Throw away the checkpoints of an unfinished run in the same place.

    Returns
    -------
    model
        With ``.training``: data, split, hyper-parameters, metrics before and after with intervals, loss curve, environment.

    Raises
    ------
    MissingExtra
        If accelerate is not installed; the text gives the install line.
    ValueError
        If a loss cannot use the data it was given, a hyper-parameter is out of range, or `output` holds checkpoints of
        another run. All of it before the run.
    FileExistsError
        If `output` is the folder of the start, or of something that is no model.
    FloatingPointError
        If the loss or a gradient becomes NaN or infinite (the text names the rows), or a vector does. `output` is then as it
        was.
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
    _check_accelerate()
    place = _place(output)
    _check_arguments({} if arguments is None else arguments)
    start = _start(model, place)
    mine = partial(mine_negatives, start, n=recipe.hard_negatives, link_score=link_score)
    parted = part(sources_of(pairs, loss), validation, seed, link_score, mine if recipe.hard_negatives else None)
    if recipe.patience and not parted.validation:
        logger.warning("patience has no effect: nothing is held out to judge by")
    parted = taught(parted, _encoder(teacher), start.encoder.dim)
    checkpoints = place.with_name(f"{place.name}.checkpoints")
    run = Run(start, parted, recipe, seed, checkpoints, dict(arguments or {}), [*callbacks])
    if restart and run.trainer.args.should_save and (checkpoints / RUN).exists():
        remove(checkpoints)
    wait()
    claim(checkpoints, run.settings())
    twin, training = run.fit()
    training["hyperparameters"] |= {"teacher": _name(teacher), "link_score": link_score}
    # What chose the best checkpoint was learnt from too.
    texts = TextHashes.of(text for task in (*parted.train, *parted.validation) for text in task.inputs)
    tuned = Tuned(twin, training, texts | (start.training_texts or TextHashes()))
    return _finished(start, tuned, place, checkpoints, is_writer=run.trainer.args.should_save)


def _place(output: str | Path | None) -> Path:
    """The folder for the result, which can be written."""
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if output is None and n_processes > 1:
        raise ValueError(
            f"{n_processes} processes train together, but no output was named. Name one folder for all (output=)."
        )
    place = Path(output).expanduser() if output else _temporary() / "model"
    check_model_target(place)
    return place


def _start(model: Siamese | str | Path | None, place: Path) -> Siamese:
    """The model to start from, which the result does not replace."""
    start = model if isinstance(model, Siamese) else Siamese.load(model)
    if place.resolve() == start.encoder.folder.path.resolve():
        raise FileExistsError(f"{place} is the model to start from, which stays as it is. Name another output.")
    return start


class Tuned(NamedTuple):
    """What training made: the twin, the record, the hashes of the texts it saw."""

    twin: Twin
    record: dict[str, Any]
    texts: TextHashes


def _finished(start: Siamese, tuned: Tuned, place: Path, checkpoints: Path, *, is_writer: bool) -> Siamese:
    """The trained model, saved to its place; the checkpoints are then no longer needed."""
    wait()  # until every process has read the checkpoints that are now removed
    if is_writer:
        weights = checkpoints / "result"
        remove(weights)
        folder = write_transformer(tuned.twin.transformer, start.encoder.folder, weights)
        made = Siamese(_like(start, folder), start.similarity, training=tuned.record, training_texts=tuned.texts)
        made.save(place)
        remove(checkpoints)
    wait()
    precision = start.encoder.precision  # a backend of the caller's own may name one that ours do not know
    loaded = Siamese.load(place, device=_device_of(start), dtype=precision if precision in (*DTYPES, "int8") else None)
    if start.threshold or start.calibrator:
        logger.warning(
            "the start's calibration and thresholds do not hold for new vectors: calibrate and certify this model"
        )
    return loaded


def _like(start: Siamese, folder: ModelFolder) -> Encoder:
    return Encoder(folder, device=_device_of(start), dtype="float32")


def _device_of(model: Siamese) -> str:
    """Where its backend computes; all but PyTorch's compute on the CPU."""
    return str(model.encoder.backend.device) if isinstance(model.encoder.backend, Twin) else "cpu"


def _encoder(teacher: Siamese | Encoder | str | Path | None) -> Encoder | None:
    if teacher is None or isinstance(teacher, Encoder):
        return teacher
    return (teacher if isinstance(teacher, Siamese) else Siamese.load(teacher)).encoder


# TrainingArguments that a parameter of `train` sets, because more than the Trainer depends on it.
_OWNED = {
    "output_dir": "output", "max_steps": "max_steps", "num_train_epochs": "epochs", "seed": "seed", "bf16": "bf16",
    "per_device_train_batch_size": "batch_size", "learning_rate": "learning_rate", "weight_decay": "weight_decay",
    "warmup_steps": "warmup", "warmup_ratio": "warmup", "use_cpu": "Siamese.load(device=)",
    "gradient_checkpointing": "recompute",
}  # fmt: skip


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    if not isinstance(arguments, Mapping):
        raise ValueError(  # noqa: TRY004  as every wrong argument here
            f"arguments are a mapping from names of TrainingArguments, but got {arguments!r}. Give a dict."
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


def _check_accelerate() -> None:
    try:
        import accelerate  # noqa: F401
    except ImportError:
        raise MissingExtra("Training needs accelerate. Install it: pip install 'textsiam[train]'.") from None
