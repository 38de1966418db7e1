"""What an index remembers of the encoder that made its vectors, and how it knows that encoder again.

Vectors of two encoders, of two precision classes, or of two maximum lengths look alike and mean nothing to each other.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from textsiam.errors import EncoderMismatch, UnsupportedModel
from textsiam.scoring.canaries import canaries_of, check_canaries
from textsiam.scoring.siamese import Siamese

SCHEMA = 1


def told_of(model: Siamese, *, threshold: float, prompt: str | None, keep_texts: bool) -> dict[str, Any]:
    """The settings of a new index, as plain values.

    Raises
    ------
    UnsupportedModel
        If the model computes in int8, whose vectors are too coarse to be kept.
    """
    encoder = model.encoder
    if encoder.precision == "int8":
        raise UnsupportedModel(
            "An index keeps vectors for years, but this model computes them in int8, whose scores near a threshold need a second "
            "look at the texts. Load it with dtype='bfloat16' or 'float32'."
        )
    encoder.prompt_text(prompt)  # refuses a name that the model has not
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "threshold": threshold,
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


def check_encoder(model: Siamese, told: Mapping[str, Any], place: object) -> None:
    """Do nothing if this is the encoder that made the index's vectors.

    Raises
    ------
    EncoderMismatch
        If it is another, computes in another precision class, cuts texts elsewhere, or gives other vectors for the canary texts.
    """
    remedy = (
        f"Open it with its own encoder (--model), or make all vectors anew from its texts: "
        f"textsiam index rebuild {place} (Index.rebuild)."
        if told["keep_texts"]
        else "Open it with its own encoder, or make a new index from your texts: this one keeps none."
    )
    if difference := _difference(model, told):
        raise EncoderMismatch(f"The index at {place} holds vectors of '{told['model']}', {difference}. {remedy}")
    try:
        check_canaries(model.encoder, told["canaries"])
    except EncoderMismatch as error:
        raise EncoderMismatch(f"The encoder changed since the index at {place} was made. {error} {remedy}") from None


def _difference(model: Siamese, told: Mapping[str, Any]) -> str:
    """In what the model is not the one that was told of; empty if in nothing."""
    encoder = model.encoder
    if encoder.folder.max_length != told["max_length"]:
        return f"texts cut at {told['max_length']} tokens, but the encoder cuts them at {encoder.folder.max_length}"
    if encoder.fingerprint != told["fingerprint"]:
        files = dict(encoder.folder.carried.get("files") or encoder.folder.hashes())
        others = sorted(
            name for name in files.keys() | told["files"].keys() if files.get(name) != told["files"].get(name)
        )
        return f"but the encoder is another: its {', '.join(others) or 'pooling, normalisation or prompt'} differ"
    if encoder.precision != told["precision"]:
        return (
            f"computed in {told['precision']}, but the encoder computes in {encoder.precision}: load it with "
            f"dtype='{told['precision']}' (--dtype {told['precision']})"
        )
    if model.similarity != told["similarity"]:
        return f"compared by {told['similarity']}, but the model compares by {model.similarity}"
    return ""
