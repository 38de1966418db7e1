"""Canary texts: a saved model keeps their vectors, so that loading finds an encoder that has changed silently."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from textsiam.encoding.encoder import Encoder
from textsiam.errors import EncoderMismatch

# Short texts, ordinary and odd: a library version, tokenizer or machine that changes vectors changes these too.
CANARIES = ("How do I reset my password?", "Refund of 15 % — not 5 %!", "Wo ist mein Paket? 📦")
# The largest difference of a coordinate between machines, as a share of the vector's length: generous bounds, not measured.
TOLERANCES = {"float32": 1e-4, "bfloat16": 2e-2, "float16": 5e-3, "int8": 5e-2}


def canaries_of(encoder: Encoder) -> dict[str, Any]:
    """The canary texts with their vectors, as plain values."""
    return {
        "precision": encoder.precision,
        "texts": list(CANARIES),
        "vectors": [[round(float(value), 7) for value in vector] for vector in encoder.encode(CANARIES)],
    }


def check_canaries(encoder: Encoder, canaries: Mapping[str, Any]) -> None:
    """Raise EncoderMismatch if a vector differs from the recorded one by more than the precision's tolerance."""
    tolerance = max(TOLERANCES.get(name, 0.0) for name in (canaries["precision"], encoder.precision))
    expected = np.array(canaries["vectors"])
    lengths = np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    difference = float((np.abs(encoder.encode(canaries["texts"]) - expected) / lengths).max())
    if not difference <= tolerance:
        raise EncoderMismatch(
            f"This model gives other vectors than when it was saved: its canary texts differ by {difference:.1e} of their "
            f"length, but {tolerance:.0e} is allowed, so its thresholds no longer hold. Use the library versions it was saved "
            "with, or certify it again."
        )
