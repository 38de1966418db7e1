"""Canary texts: a saved model keeps their vectors, so that an encoder which silently changed is found out when it is loaded."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from textsiam.encoding.encoder import Encoder
from textsiam.errors import EncoderMismatch

# Short, ordinary and odd texts: another library version, tokenizer or machine that would change vectors changes these too.
CANARIES = ("How do I reset my password?", "Refund of 15 % — not 5 %!", "Wo ist mein Paket? 📦")
# Largest difference of a coordinate, as a share of the vector's length, that a precision class may show between machines:
# generous bounds, not measurements.
TOLERANCES = {"float32": 1e-4, "bfloat16": 2e-2, "float16": 5e-3, "int8": 5e-2}


def canaries_of(encoder: Encoder) -> dict[str, Any]:
    """The canaries with their vectors, as plain values."""
    return {
        "precision": encoder.precision,
        "texts": list(CANARIES),
        "vectors": [[round(float(value), 7) for value in vector] for vector in encoder.encode(CANARIES)],
    }


def check_canaries(encoder: Encoder, canaries: Mapping[str, Any]) -> None:
    """Do nothing if the encoder gives the vectors recorded.

    Raises
    ------
    EncoderMismatch
        If it gives others.
    """
    tolerance = max(TOLERANCES.get(name, 0.0) for name in (canaries["precision"], encoder.precision))
    expected = np.array(canaries["vectors"])
    lengths = np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    difference = float((np.abs(encoder.encode(canaries["texts"]) - expected) / lengths).max())
    if not difference <= tolerance:
        raise EncoderMismatch(
            f"This model gives other vectors than when it was saved: its canary texts differ by {difference:.1e} of their "
            f"length, and {tolerance:.0e} is allowed. Its thresholds no longer hold: use the library versions it was saved "
            "with, or certify it again."
        )
