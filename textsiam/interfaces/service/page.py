"""The page for people, its scale of scores, and its Content-Security-Policy: nothing from elsewhere, no script but its own."""

import base64
import hashlib
import json
import math
import re
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from textsiam.data.readers import read_texts
from textsiam.interfaces.service.limits import Limits
from textsiam.samples import QUESTIONS
from textsiam.scoring.siamese import Siamese
from textsiam.scoring.similarity import SIMILARITIES
from textsiam.scoring.thresholds import Threshold

_COSINES = (0.6, 0.7, 0.8, 0.9)  # lowest scores that the page offers; the second one is proposed


class Scale(NamedTuple):
    """What the page cuts for one model: its scores; where a judge decides, probabilities or, without them, log-odds."""

    axis: str  # the name of the similarity, ``probability`` or ``log-odds``
    lowest: tuple[float, ...]  # lowest scores to choose from, in rising order; empty: the model decides
    proposed: float | None  # the one of them that is chosen at first
    highest: float  # of equal texts; for dot products and log-odds pairs may lie higher
    digits: int  # decimals to show


def scale_of(model: Siamese) -> Scale:
    """The scale of a model: for cosine the usual scores, else scores that as many pairs of the sample questions reach.

    A similarity other than cosine costs one encoding of the 330 sample questions. A model's threshold to accept at is part of the
    scale: if it is below the usual proposal, it is proposed. Where a judge decides, no lowest score is offered.

    Examples
    --------
    >>> from textsiam.scoring.thresholds import Threshold
    >>> scale_of(Siamese.load().with_judge(None).with_thresholds(Threshold(0.8), None))
    Scale(axis='cosine', lowest=(0.6, 0.7, 0.8, 0.9), proposed=0.7, highest=1.0, digits=3)
    """
    if model.judge and model.threshold and model.threshold.value is not None:
        if model.calibrator:
            return Scale("probability", (), None, 1.0, 3)
        return Scale(model.scale, (), None, model.threshold.value, 2)
    lowest, highest = _sampled(model) if model.similarity != "cosine" else (_COSINES, 1.0)
    digits = max(0, -round(math.log10(max(highest - lowest[0], 1e-6) / 1_000)))
    rounded = sorted({round(score, digits) for score in lowest})
    proposed = rounded[min(1, len(rounded) - 1)]
    accept = model.threshold.value if model.threshold else None
    if accept is not None and accept < proposed:
        proposed = math.floor(accept * 10**digits) / 10**digits
        rounded = sorted({*rounded, proposed})
    return Scale(model.similarity, tuple(rounded), proposed, round(highest, digits) + 0.0, digits)  # no -0.0


def placed(model: Siamese, threshold: Threshold | None, *, decided: bool) -> dict[str, Any] | None:
    """A threshold of the model where it lies on the scale of `scale_of`, and its guarantee; None if it has no place there.

    `decided` is whether the model decided: the thresholds of a silent judge have no place among scores.
    """
    if threshold is None or (model.judge and not decided and threshold.value is not None):
        return None
    value = threshold.value
    if value is not None and model.judge and model.calibrator:
        value = float(model.calibrator(np.array(value)))
    return {"value": value, "guarantee": threshold.guarantee}


def _sampled(model: Siamese) -> tuple[tuple[float, ...], float]:
    """The scores that as many pairs of sample questions reach as reach the usual cosines, and the score of equal texts."""
    vectors = model.encoder.embed(list(read_texts(QUESTIONS))).embeddings.astype(np.float64)
    pairs = np.triu_indices(len(vectors), 1)
    cosines = np.sort(SIMILARITIES["cosine"].matrix(vectors, vectors)[pairs])
    scores = np.sort(SIMILARITIES[model.similarity].matrix(vectors, vectors)[pairs])
    lowest = scores[np.searchsorted(cosines, _COSINES).clip(max=len(scores) - 1)]
    equal = SIMILARITIES[model.similarity].paired(vectors, vectors)
    return tuple(lowest.tolist()), max(float(equal.max()), float(scores[-1]))


_SETTINGS = "{settings}"


def page(scale: Scale, limits: Limits) -> tuple[str, str]:
    """The HTML with this scale and these limits, and its Content-Security-Policy."""
    html = (files("textsiam.interfaces.service") / "page.html").read_text("utf-8")
    settings = scale._asdict() | {"most_mb": limits.body_mb, "most_questions": limits.duplicates}
    html = html.replace(_SETTINGS, json.dumps(settings).replace("<", "\\u003c"))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    rules = {
        "default-src": "'none'",
        "script-src": f"'sha256-{_digest(script)}'",
        "style-src": f"'sha256-{_digest(style)}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return html, "; ".join(f"{name} {value}" for name, value in rules.items())


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
