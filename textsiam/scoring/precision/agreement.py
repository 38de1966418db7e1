"""How often two precision classes of one encoder decide alike: the evidence for a faster class beside the certified one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from textsiam.data.pairs import Pairs
from textsiam.encoding.encoder import Encoder
from textsiam.errors import EncoderMismatch, NotCalibrated
from textsiam.scoring.evidence.intervals import binomial_interval
from textsiam.scoring.precision.rescoring import Rescorer, cuts_of, near
from textsiam.scoring.thresholds import Threshold, decisions

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

# A class that decides fewer pairs like the certified one cannot replace it.
LOWEST = 0.999
# The target of `admit`: half of the tolerated difference, because the next pairs are other pairs.
WANTED = 0.9995
# The level of a two-sided interval whose lower end has 95 % confidence.
ONE_SIDED = 0.9
# The margins around a threshold to try: up to this, in these steps.
MAX_MARGIN, STEP = 0.05, 0.0025


def agreement(model: "Siamese", other: "Siamese", pairs: Pairs) -> dict[str, Any]:
    """The share of pairs that both models decide alike by the thresholds of `model`, as plain values.

    Parameters
    ----------
    model, other
        The same weights in two precision classes, such as ``Siamese.load(dtype="float32")`` and ``"bfloat16"``.
    pairs
        Labelled or not; the kind that will be decided.

    Returns
    -------
    agreement
        ``share`` in [0, 1], ``pairs``, and ``largest_difference`` of two scores.

    Raises
    ------
    NotCalibrated
        If `model` has no threshold to decide by.
    EncoderMismatch
        If the two do not have the same encoder.
    ValueError
        If there are no pairs.

    Examples
    --------
    >>> from textsiam import Siamese, read_pairs
    >>> model = Siamese.load(dtype="float32")
    >>> agreement(model, model, read_pairs([("How do I pay?", "How can I pay?")], labelled=False))["share"]
    1.0
    """
    _check(model, pairs)
    if model.encoder.fingerprint != other.encoder.fingerprint:
        raise EncoderMismatch("These are two encoders, not two precision classes of one. Load the same folder twice.")
    return _told(model, *(of.score(pairs.first, pairs.second) for of in (model, other)))


def admit(model: "Siamese", pairs: Pairs, *, dtype: str = "int8") -> "Siamese":
    """The model with a record of how a faster class decides beside the certified one; ``load(dtype=)`` then uses that class.

    For int8 it finds how near to a threshold a pair must score to be scored again in the certified class, so that 99.95 % of
    these pairs are decided alike; `Siamese.load` takes int8 where at least 99.9 % are, with 95 % confidence: about 3,000 pairs
    that all agree show that, and fewer cannot. The record holds for these thresholds alone.

    Parameters
    ----------
    model
        With thresholds, loaded in any class; it does not change. The comparison is with the class that they were certified
        in (fp32 if they do not say).
    pairs
        Labelled or not, thousands of the kind that will be decided.
    dtype
        ``int8`` or ``bfloat16``.

    Returns
    -------
    model
        Its ``threshold.evidence["agreement"][dtype]`` holds ``share`` and its lower bound ``at_least``, ``pairs``,
        ``largest_difference``, ``backend``, ``cuts`` (the thresholds), and for int8 ``margin`` and ``rescored``, the share of
        pairs scored again.

    Raises
    ------
    NotCalibrated
        If the model has no threshold to decide by.
    ValueError
        If there are no pairs, the thresholds were certified in that dtype, or it cannot be computed here.

    Examples
    --------
    >>> from textsiam import Siamese, read_pairs
    >>> from textsiam.samples import PAIRS
    >>> model = admit(Siamese.load(dtype="float32"), read_pairs(PAIRS), dtype="bfloat16")
    >>> model.threshold.evidence["agreement"]["bfloat16"]["share"] > 0.9
    True
    """
    _check(model, pairs)
    assert model.threshold is not None  # noqa: S101  checked
    if (certified_in := _certified_in(model.threshold)) == dtype:
        raise ValueError(f"The thresholds were certified in {dtype} already. Name another class, or use this one.")
    folder, precision = model.encoder.folder, model.encoder.precision
    exact = model.encoder if precision == certified_in else Encoder(folder, device="cpu", dtype=certified_in)
    coarse = model.encoder if precision == dtype else Encoder(folder, device="cpu", dtype=dtype)
    plain = replace(model, rescorer=None)
    if model.judge and dtype == "int8":
        told = _of_candidates(*(replace(plain, encoder=of).score(pairs.first, pairs.second) for of in (exact, coarse)))
    else:
        certified, faster = (replace(plain, encoder=of).read(*pairs.unique()).deciding for of in (exact, coarse))
        told = _told(model, certified, faster) if dtype != "int8" else _with_margin(model, certified, faster)
    told |= {"backend": coarse.backend_name, "cuts": cuts_of(model.threshold, model.reject_threshold)}
    known = model.threshold.evidence.get("agreement", {})
    evidence = {**model.threshold.evidence, "agreement": {**known, dtype: told}}
    return replace(model, threshold=replace(model.threshold, evidence=evidence))


def admitted(model: "Siamese") -> "Siamese":
    """A model just loaded in int8, with its rescorer; unchanged if nothing was certified, or everything in int8.

    Raises EncoderMismatch if it was certified in another class, and int8 was not measured to decide alike at these thresholds.
    """
    cuts = cuts_of(model.threshold, model.reject_threshold)
    if not cuts or model.threshold is None or _certified_in(model.threshold) == "int8":
        return model
    measured = model.threshold.evidence.get("agreement", {}).get("int8", {})
    if measured.get("at_least", 0) < LOWEST or measured.get("cuts") != cuts:
        few = f" (of {measured['pairs']:,} pairs {measured['share']:.2%} were)" if "pairs" in measured else ""
        raise EncoderMismatch(
            f"The thresholds were certified in {_certified_in(model.threshold)}, and it was not measured at these thresholds, on "
            f"enough pairs, that int8 decides at least {LOWEST:.1%} alike{few}. Measure it once with textsiam.admit on "
            "thousands of pairs and save the model, certify it in int8, or use bfloat16 or float32."
        )
    finer = Encoder(model.encoder.folder, device="cpu", dtype=_certified_in(model.threshold))
    return replace(model, rescorer=Rescorer(finer, measured["margin"], measured["largest_difference"]))


def _of_candidates(certified: Float[np.ndarray, " n"], coarse: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """With a judge the coarse class only finds candidates: what it finds is read, and so decided, in the certified class."""
    n = len(certified)
    told = {"share": 1.0, "at_least": round(binomial_interval(n, n, ONE_SIDED).low, 6), "pairs": n}
    return told | {"margin": 0.0, "rescored": 1.0, "largest_difference": _largest(certified, coarse)}


def _certified_in(threshold: Threshold) -> str:
    return str(threshold.evidence.get("precision_class") or "float32")


def _with_margin(
    model: "Siamese", certified: Float[np.ndarray, " n"], coarse: Float[np.ndarray, " n"]
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for margin, again in _margins(model, coarse):
        told = _told(model, certified, np.where(again, certified, coarse))
        told |= {"margin": margin, "rescored": round(float(again.mean()), 4)}
        if told["share"] >= WANTED:
            break
    # Of all pairs, also those scored again: it is how far a search must look beyond its threshold.
    return told | {"largest_difference": _largest(certified, coarse)}


def _margins(model: "Siamese", scores: Float[np.ndarray, " n"]) -> Iterator[tuple[float, np.ndarray]]:
    cuts = cuts_of(model.threshold, model.reject_threshold)
    for step in range(1, round(MAX_MARGIN / STEP) + 1):
        margin = round(step * STEP, 6)
        yield margin, near(scores, cuts, margin)


def _told(model: "Siamese", ours: Float[np.ndarray, " n"], theirs: Float[np.ndarray, " n"]) -> dict[str, Any]:
    assert model.threshold is not None  # noqa: S101  checked by the callers
    decided = [decisions(scores, model.threshold, model.reject_threshold) for scores in (ours, theirs)]
    alike = decided[0] == decided[1]
    return {
        "share": round(float(alike.mean()), 6),
        "at_least": round(binomial_interval(int(alike.sum()), len(alike), ONE_SIDED).low, 6),
        "pairs": len(ours),
        "largest_difference": _largest(ours, theirs),
    }


def _largest(ours: Float[np.ndarray, " n"], theirs: Float[np.ndarray, " n"]) -> float:
    return round(float(np.abs(ours - theirs).max()), 5)


def _check(model: "Siamese", pairs: Pairs) -> None:
    if model.threshold is None:
        raise NotCalibrated("This model has no threshold, so it cannot decide. Certify it on labelled pairs.")
    if not len(pairs):
        raise ValueError("There are no pairs to compare decisions on. Give pairs of the kind that will be decided.")
