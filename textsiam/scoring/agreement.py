"""How often two precision classes of one encoder decide alike: what allows a faster class beside the one that was certified."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from textsiam.data.pairs import Pairs
from textsiam.encoding.encoder import Encoder
from textsiam.errors import EncoderMismatch, NotCalibrated
from textsiam.scoring.rescoring import Rescorer, cuts_of, near
from textsiam.scoring.thresholds import decisions

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

# A class that decides fewer pairs like the certified one is no stand-in for it.
LOWEST = 0.999
# What `admit` looks for: half of the difference that is tolerated, for the next pairs are others.
WANTED = 0.9995
# How near to a threshold pairs are scored again, at most and in steps.
MAX_MARGIN, STEP = 0.05, 0.0025


def agreement(model: "Siamese", other: "Siamese", pairs: Pairs) -> dict[str, Any]:
    """The share of pairs that both decide alike by the thresholds of `model`, as plain values.

    Parameters
    ----------
    model, other
        The same weights in two precision classes, such as ``Siamese.load(dtype="float32")`` and ``"bfloat16"``.
    pairs
        Labelled or not; the kind that will be decided.

    Returns
    -------
    told
        ``share`` in [0, 1], ``pairs``, and ``largest_difference``, that of two scores.

    Raises
    ------
    NotCalibrated
        If `model` has no threshold to decide by.
    EncoderMismatch
        If the two are not of one encoder.
    ValueError
        If no pair came.

    Examples
    --------
    >>> from textsiam import Siamese, read_pairs
    >>> model = Siamese.load(dtype="float32")
    >>> agreement(model, model, read_pairs([("How do I pay?", "How can I pay?")], labelled=False))["share"]
    1.0
    """
    _check(model, pairs)
    if model.encoder.fingerprint != other.encoder.fingerprint:
        raise EncoderMismatch("Two encoders came, not two precision classes of one. Load the same folder twice.")
    return _told(model, *(of.score(pairs.first, pairs.second) for of in (model, other)))


def admit(model: "Siamese", pairs: Pairs, *, dtype: str = "int8") -> "Siamese":
    """The model with a record of how a faster class decides beside its own; saved, it lets ``load(dtype=)`` use that class.

    For int8 it finds how near to a threshold a pair must score to be scored again in the model's own class, so that 99.95 % of
    these pairs are decided alike; `Siamese.load` takes int8 where that is at least 99.9 %.

    Parameters
    ----------
    model
        With thresholds; it stays as it is.
    pairs
        Labelled or not, thousands of the kind that will be decided.
    dtype
        ``int8`` or ``bfloat16``.

    Returns
    -------
    model
        Its ``threshold.evidence["agreement"][dtype]`` holds ``share``, ``pairs``, ``largest_difference``, and for int8 ``margin``
        and ``rescored``, the share of pairs scored again.

    Raises
    ------
    NotCalibrated
        If the model has no threshold to decide by.
    ValueError
        If no pair came, or the dtype cannot be computed here.

    Examples
    --------
    >>> from textsiam import Siamese, read_pairs
    >>> from textsiam.samples import PAIRS
    >>> model = admit(Siamese.load(dtype="float32"), read_pairs(PAIRS), dtype="bfloat16")
    >>> model.threshold.evidence["agreement"]["bfloat16"]["share"] > 0.9
    True
    """
    _check(model, pairs)
    folder = model.encoder.folder
    certified, faster = (
        replace(model, encoder=encoder, rescorer=None).score(pairs.first, pairs.second)
        for encoder in (model.encoder, Encoder(folder, device="cpu", dtype=dtype))
    )
    told = _told(model, certified, faster) if dtype != "int8" else _with_margin(model, certified, faster)
    assert model.threshold is not None  # noqa: S101  checked above
    known = model.threshold.evidence.get("agreement", {})
    evidence = {**model.threshold.evidence, "agreement": {**known, dtype: told}}
    return replace(model, threshold=replace(model.threshold, evidence=evidence))


def admitted(model: "Siamese") -> "Siamese":
    """A model just loaded in int8, with its rescorer; as it came where nothing was certified, or all of it in int8.

    Raises
    ------
    EncoderMismatch
        If it was certified in another class and nobody measured that int8 decides alike.
    """
    evidence = model.threshold.evidence if model.threshold else {}
    if not cuts_of(model.threshold, model.reject_threshold) or evidence.get("precision_class") == "int8":
        return model
    measured = evidence.get("agreement", {}).get("int8", {})
    if measured.get("share", 0) < LOWEST:
        raise EncoderMismatch(
            f"The thresholds were certified in {evidence.get('precision_class', 'another class')}, and nobody measured that "
            f"int8 decides at least {LOWEST:.1%} of pairs alike. Measure it once with textsiam.admit and save the model, certify "
            "it in int8, or use bfloat16 or float32."
        )
    if not measured.get("margin"):
        return model
    finer = Encoder(model.encoder.folder, device="cpu", dtype=evidence.get("precision_class"))
    return replace(model, rescorer=Rescorer(finer, measured["margin"]))


def _with_margin(
    model: "Siamese", certified: Float[np.ndarray, " n"], coarse: Float[np.ndarray, " n"]
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for margin, again in _margins(model, coarse):
        told = _told(model, certified, np.where(again, certified, coarse))
        told |= {"margin": margin, "rescored": round(float(again.mean()), 4)}
        if told["share"] >= WANTED:
            break
    return told


def _margins(model: "Siamese", scores: Float[np.ndarray, " n"]) -> Iterator[tuple[float, np.ndarray]]:
    cuts = cuts_of(model.threshold, model.reject_threshold)
    for step in range(1, round(MAX_MARGIN / STEP) + 1):
        margin = round(step * STEP, 6)
        yield margin, near(scores, cuts, margin)


def _told(model: "Siamese", ours: Float[np.ndarray, " n"], theirs: Float[np.ndarray, " n"]) -> dict[str, Any]:
    assert model.threshold is not None  # noqa: S101  checked by the callers
    decided = [decisions(scores, model.threshold, model.reject_threshold) for scores in (ours, theirs)]
    return {
        "share": round(float((decided[0] == decided[1]).mean()), 6),
        "pairs": len(ours),
        "largest_difference": round(float(np.abs(ours - theirs).max()), 5),
    }


def _check(model: "Siamese", pairs: Pairs) -> None:
    if model.threshold is None:
        raise NotCalibrated("This model has no threshold, so it decides nothing. Certify it on labelled pairs.")
    if not len(pairs):
        raise ValueError("No pairs came, so there is nothing to agree on. Give some of the kind that will be decided.")
