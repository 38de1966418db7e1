"""How often two precision classes of one encoder decide alike: what allows a faster class beside the one that was certified."""

from typing import TYPE_CHECKING, Any

import numpy as np

from textsiam.data.pairs import Pairs
from textsiam.errors import NotCalibrated
from textsiam.scoring.thresholds import decisions

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

# A class that decides fewer pairs like the certified one is no stand-in for it.
LOWEST = 0.999


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
    ValueError
        If the two are not of one encoder, or no pair came.

    Examples
    --------
    >>> from textsiam import Siamese, read_pairs
    >>> model = Siamese.load(dtype="float32")
    >>> agreement(model, model, read_pairs([("How do I pay?", "How can I pay?")], labelled=False))["share"]
    1.0
    """
    if model.threshold is None:
        raise NotCalibrated("This model has no threshold, so it decides nothing. Certify it on labelled pairs.")
    if model.encoder.fingerprint != other.encoder.fingerprint:
        raise ValueError("Two encoders came, not two precision classes of one. Load the same folder twice.")
    if not len(pairs):
        raise ValueError("No pairs came, so there is nothing to agree on. Give some of the kind that will be decided.")
    ours, theirs = (of.score(pairs.first, pairs.second) for of in (model, other))
    decided = [decisions(scores, model.threshold, model.reject_threshold) for scores in (ours, theirs)]
    return {
        "share": round(float((decided[0] == decided[1]).mean()), 6),
        "pairs": len(pairs),
        "largest_difference": round(float(np.abs(ours - theirs).max()), 5),
    }
