"""What a model folder holds beside the encoder (calibration, thresholds, training), as plain values and back."""

import json
import logging
from collections.abc import Mapping
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

from textsiam.data.hashes import TextHashes
from textsiam.encoding.encoder import Encoder
from textsiam.encoding.model_folder.folder import ModelFolder
from textsiam.encoding.model_folder.layout import JUDGE, TRAINING_TEXTS
from textsiam.scoring.calibration import Calibrator
from textsiam.scoring.canaries import canaries_of
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.vetoes import CUT, VETOES
from textsiam.scoring.precision.agreement import LOWEST
from textsiam.scoring.thresholds import Threshold

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

logger = logging.getLogger("textsiam")


def read_carried(encoder: Encoder) -> dict[str, Any]:
    """The fields of `Siamese` in the encoder's folder; for the embedded default, those that textsiam ships.

    A folder without a record gets all vetoes; one that was saved before there were vetoes has none, as its thresholds were
    certified without.

    Raises BrokenModel if the hashes of the training texts, or the judge, are damaged.
    """
    folder = encoder.folder
    # The default's evidence is of cosines: a copy with another similarity has none.
    record = folder.carried or (_of_the_default(encoder) if folder.similarity == "cosine" else {})
    judge = _judge_of(folder) if folder.carried else _default_judge(record)
    return {
        "calibrator": Calibrator.from_json(record["calibrator"]) if record.get("calibrator") else None,
        "threshold": Threshold.from_json(record["threshold"]) if record.get("threshold") else None,
        "reject_threshold": Threshold.from_json(record["reject_threshold"]) if record.get("reject_threshold") else None,
        "training": record.get("training"),
        "training_texts": read_training_texts(folder),
        "judge": judge,
        "vetoes": tuple(record.get("vetoes", () if record else (*VETOES, CUT))),
    }


def read_training_texts(folder: ModelFolder) -> TextHashes | None:
    """The hashes of the texts that the folder's encoder was trained on; None if it has none.

    Raises BrokenModel if they are damaged.
    """
    file = folder.path / TRAINING_TEXTS
    return TextHashes.from_bytes(file.read_bytes()) if folder.carried and file.is_file() else None


def carried_by(model: "Siamese") -> dict[str, Any]:
    """The model's part of ``textsiam.json``, as plain values."""
    return {
        "similarity": model.similarity,
        "calibrator": model.calibrator and model.calibrator.to_json(),
        "threshold": model.threshold and model.threshold.to_json(),
        "reject_threshold": model.reject_threshold and model.reject_threshold.to_json(),
        "canaries": canaries_of(model.encoder),
        "training": model.training,
        "vetoes": list(model.vetoes),
    }


def _judge_of(folder: ModelFolder) -> Judge | None:
    file = folder.path / JUDGE
    return Judge.from_file(file) if file.is_file() else None


def _default_judge(record: Mapping[str, Any]) -> Judge | None:
    if "judge" not in record:
        return None
    with as_file(files("textsiam.scoring").joinpath("default_judge.safetensors")) as file:
        return Judge.from_file(file)


def say_other_precision(model: "Siamese") -> None:
    """Log a warning if the evidence is of another precision class, unless the two were measured to decide alike."""
    precision = model.encoder.precision
    evidence = [of.evidence for of in (model.calibrator, model.threshold, model.reject_threshold) if of]
    others = {values.get("precision_class") for values in evidence} - {None, precision}
    measured = model.threshold.evidence.get("agreement", {}).get(precision, {}) if model.threshold else {}
    if not others:
        return
    if measured.get("share", 0) >= LOWEST:
        logger.info("%s decides %s", precision, _alike(measured))
        return
    logger.warning(
        "the evidence was made in %s, this encoder computes in %s%s: pairs near a threshold may be decided otherwise; "
        "dtype=%s decides as certified",
        " and ".join(sorted(map(str, others))),
        precision,
        f", which decides {_alike(measured)}" if measured else "",
        min(map(str, others)),
    )


def _alike(measured: Mapping[str, Any]) -> str:
    by = f" (measured with {measured['backend']})" if "backend" in measured else ""
    return f"{measured['share']:.2%} of {measured['pairs']:,} pairs like the certified class{by}"


def _of_the_default(encoder: Encoder) -> Mapping[str, Any]:
    """The calibration and thresholds of the embedded default; nothing for any other model."""
    record = json.loads(files("textsiam.scoring").joinpath("default.json").read_text(encoding="utf-8"))
    return record if encoder.fingerprint == record["fingerprint"] else {}
