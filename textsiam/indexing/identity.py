"""What an index records about the encoder that made its vectors, and how it recognises that encoder.

Vectors of two encoders, of two precision classes, or of two maximum lengths look alike, but comparing them means nothing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from textsiam.errors import EncoderMismatch, UnreadableInput, UnsupportedModel
from textsiam.matching.duplicates import threshold_of
from textsiam.scoring.canaries import canaries_of, check_canaries
from textsiam.scoring.siamese import Siamese

SCHEMA = 1


def settings_of(model: Siamese, *, threshold: float | None, prompt: str | None, keep_texts: bool) -> dict[str, Any]:
    """The settings of a new index, as plain values.

    Without a threshold the model decides, by its judge or with its vetoes: ``decides`` records how, and texts must be kept.

    Raises UnsupportedModel if the model computes in int8: its vectors are too coarse to be kept; NotCalibrated if there is no
    threshold; UnreadableInput if the model must read texts that are not kept.
    """
    encoder, lowest = model.encoder, threshold_of(model, threshold)
    decides = None
    if threshold is None and (model.judge or model.vetoes):
        assert model.threshold is not None  # noqa: S101  else there is no lowest score
        decides = {"by": model.decision_fingerprint, "accept": model.threshold.value, "vetoes": list(model.vetoes)}
        if not keep_texts:
            raise UnreadableInput(
                "This model decides by reading both texts, but the index would keep none. Keep them, or give a threshold of "
                "scores (--threshold, threshold=)."
            )
    if encoder.precision == "int8":
        raise UnsupportedModel(
            "An index keeps vectors for years, but this model computes them in int8, whose scores near a threshold need a second "
            "look at the texts. Load it with dtype='bfloat16' or 'float32'."
        )
    encoder.prompt_text(prompt)  # raises for a name that the model does not have
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "threshold": lowest,
        "decides": decides,
        "keep_texts": keep_texts,
        "prompt": prompt,
        "model": encoder.name,
        "similarity": model.similarity,
        "dim": encoder.dim,
        "precision": encoder.precision,
        "max_length": encoder.folder.max_length,
        "fingerprint": encoder.fingerprint,
        "files": dict(encoder.folder.carried.get("files") or encoder.folder.hashes()),
        "canaries": canaries_of(encoder),
    }


def check_encoder(model: Siamese, settings: Mapping[str, Any], place: object) -> None:
    """Raise if this is not the encoder that made the index's vectors.

    Raises EncoderMismatch if it is another, computes in another precision class, cuts texts at another length, or gives other
    vectors for the canary texts.
    """
    remedy = (
        f"Open it with its own encoder (--model), or make all vectors again from its texts: "
        f"textsiam index rebuild {place} (Index.rebuild)."
        if settings["keep_texts"]
        else "Open it with its own encoder, or make a new index from your texts: this one keeps none."
    )
    if difference := _difference(model, settings):
        raise EncoderMismatch(f"The index at {place} holds vectors of '{settings['model']}', {difference}. {remedy}")
    try:
        check_canaries(model.encoder, settings["canaries"])
    except EncoderMismatch as error:
        raise EncoderMismatch(f"The encoder changed since the index at {place} was made. {error} {remedy}") from None


def _difference(model: Siamese, settings: Mapping[str, Any]) -> str:
    """How the model differs from the one that the settings describe; empty if it does not."""
    encoder = model.encoder
    if encoder.folder.max_length != settings["max_length"]:
        return f"texts cut at {settings['max_length']} tokens, but the encoder cuts them at {encoder.folder.max_length}"
    if encoder.fingerprint != settings["fingerprint"]:
        files = dict(encoder.folder.carried.get("files") or encoder.folder.hashes())
        others = sorted(
            name for name in files.keys() | settings["files"].keys() if files.get(name) != settings["files"].get(name)
        )
        return f"but the encoder is another: its {', '.join(others) or 'pooling, normalisation or prompt'} differ"
    if encoder.precision != settings["precision"]:
        return (
            f"computed in {settings['precision']}, but the encoder computes in {encoder.precision}: load it with "
            f"dtype='{settings['precision']}' (--dtype {settings['precision']})"
        )
    if model.similarity != settings["similarity"]:
        return f"compared by {settings['similarity']}, but the model compares by {model.similarity}"
    if decides := settings.get("decides"):
        own = None if model.threshold is None else model.threshold.value
        if (decides["by"], decides["accept"]) != (model.decision_fingerprint, own):
            return "and its clusters were decided by another judge, threshold or vetoes than this model's"
    return ""
