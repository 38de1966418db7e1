"""Labelled pairs with their scores, and which of them depend on each other: what calibration and certification take."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from textsiam.data.linking import dependence, link
from textsiam.data.pairs import Pairs
from textsiam.data.readers import read_pairs
from textsiam.data.texts import normalise
from textsiam.encoding.encoder import Progress
from textsiam.errors import EncoderMismatch, UnreadableInput
from textsiam.scoring.record import read_training_texts

if TYPE_CHECKING:
    from textsiam.scoring.siamese import Siamese

logger = logging.getLogger("textsiam")


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Pairs with a score each, and the dependence component of each.

    Parameters
    ----------
    pairs
        Labelled or graded and usable; none has a text that the model was trained on.
    scores
        (n,) fp32, finite, larger is closer.
    components
        (n,) ints, equal for rows that depend on each other because they share texts, directly or through other rows.
    similarity, encoder
        The scale of the scores (``log-odds`` if a judge made them), and the fingerprint of what made them.
    told
        What was read, as plain values: rows used and set aside, conflicts; vetoes and candidate threshold.
    reason
        (n,) why a pair may not be accepted however high it scores (see `textsiam.scoring.scorer.Scorer.held`); empty where it
        may. None: all may.
    rule
        The fingerprint of all that thresholds on these scores rely on.

    Examples
    --------
    >>> pairs = Pairs(["a", "a"], ["b", "c"], labels=[1, 0])
    >>> len(ScoredPairs(pairs, np.array([0.9, 0.1], dtype=np.float32), np.array([0, 0])))
    2
    """

    pairs: Pairs
    scores: Float[np.ndarray, " n"]
    components: Int[np.ndarray, " n"]
    similarity: str = "cosine"
    encoder: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)
    reason: Shaped[np.ndarray, " n"] | None = None
    rule: str = ""

    def __post_init__(self) -> None:
        if not len(self.pairs) == len(self.scores) == len(self.components):
            raise UnreadableInput(
                f"Each pair needs a score and a component, but got {len(self.pairs)} pairs, {len(self.scores)} scores and "
                f"{len(self.components)} components. Align them row by row."
            )

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def held(self) -> Bool[np.ndarray, " n"]:
        """Which pairs may not be accepted."""
        return np.zeros(len(self), dtype=np.bool_) if self.reason is None else np.asarray(self.reason != "")

    def take(self, rows: Int[np.ndarray, " m"]) -> "ScoredPairs":
        """These pairs, in this order."""
        reason = None if self.reason is None else self.reason[rows]
        return replace(
            self,
            pairs=self.pairs.take(rows),
            scores=self.scores[rows],
            components=self.components[rows],
            reason=reason,
        )

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """(n,) of 0 and 1.

        Raises UnreadableInput if the pairs are graded or bare.
        """
        if self.pairs.labels is None:
            what = "graded scores" if self.pairs.scores is not None else "no labels"
            raise UnreadableInput(
                f"Labels of 0 and 1 are needed, but these pairs have {what}. Give a column of labels."
            )
        return np.asarray(self.pairs.labels)


def score_pairs(
    model: "Siamese", pairs: Any, *, on: str | None = None, progress: Progress | None = None
) -> ScoredPairs:
    """Anything that `read_pairs` reads, scored; rows that would spoil the evidence are set aside and logged.

    Sets aside pairs with a text that the model was trained on, or one equal after `textsiam.data.texts.normalise` (not one
    that resembles it): their scores flatter. Repeats of a pair with another label stay, for a random draw may meet either;
    they are counted and logged.

    Parameters
    ----------
    on
        The data's name in the evidence. Default: the source's name, or its size.

    Raises
    ------
    UnreadableInput
        If the pairs cannot be read, there are none, or none remains.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> scored = score_pairs(Siamese.load(), ([("How do I pay?", "How to pay?"), ("How do I pay?", "Who?")], [1, 0])[0])
    >>> len(scored), scored.components
    (2, array([0, 0]))
    """
    name = str(on) if on is not None else _name_of(pairs)
    pairs = pairs if isinstance(pairs, Pairs) else read_pairs(pairs)
    n_read, faults = len(pairs) + len(pairs.set_aside), len(pairs.set_aside)
    pairs, n_seen = without_seen(model, pairs)
    reading = model.read(*pairs.unique(), progress=progress)
    scores = reading.deciding
    if not len(scores):
        raise UnreadableInput("There is no pair to score. Give labelled pairs.")
    reason = model.held(reading, pairs.first, pairs.second)
    finite = np.isfinite(scores)
    if not finite.all():
        rows = np.asarray(pairs.rows)[~finite]
        logger.warning("%d pairs have no finite score and are set aside: rows %s", len(rows), rows[:10].tolist())
        if not finite.any():
            raise UnreadableInput(f"None of the {len(rows):,} pairs has a finite score. The model is broken.")
        pairs, scores, reason = pairs.take(np.flatnonzero(finite)), scores[finite], reason[finite]
    texts = link([pairs]).texts[0]
    n_conflicting = _say_conflicts(pairs, texts)
    told = {
        "on": name or f"{len(pairs):,} pairs",
        "rows_read": n_read,
        "rows_set_aside": faults + n_seen + int((~finite).sum()),
        "rows_seen_in_training": n_seen,
        "conflicting_rows": n_conflicting,
        "precision_class": model.encoder.precision,
        "pairs_digest": _digest(pairs),
        "vetoes": list(model.vetoes),
    }
    if model.judge:
        told |= {"judge": model.judge.fingerprint, "candidates": model.judge.candidates}
    of = (model.scale, model.score_fingerprint, told)
    return ScoredPairs(pairs, scores, dependence(texts), *of, reason, model.decision_fingerprint)


def scored_by(model: "Siamese", pairs: Any, *, on: str | None = None, progress: Progress | None = None) -> ScoredPairs:
    """The pairs scored by this model; its own `ScoredPairs` are returned as they are.

    Raises EncoderMismatch if they were scored by another encoder, similarity, judge or vetoes; UnreadableInput as `score_pairs`.
    """
    if not isinstance(pairs, ScoredPairs):
        return score_pairs(model, pairs, on=on, progress=progress)
    if (pairs.encoder, pairs.similarity) != (model.score_fingerprint, model.scale):
        raise EncoderMismatch(
            f"These pairs hold {pairs.similarity} scores of the encoder {pairs.encoder[:12]}…, but the model decides by "
            f"{model.scale} with {model.score_fingerprint[:12]}…. Score them with this model."
        )
    if pairs.rule and pairs.rule != model.decision_fingerprint:
        raise EncoderMismatch(
            f"These pairs were scored with the vetoes {', '.join(pairs.told['vetoes']) or 'none'}, but the model has "
            f"{', '.join(model.vetoes) or 'none'}. Score them with this model."
        )
    if (precision := pairs.told.get("precision_class", model.encoder.precision)) != model.encoder.precision:
        raise EncoderMismatch(
            f"These pairs were scored in {precision}, but the model computes in {model.encoder.precision}. "
            "Score them with this model, or load it with that dtype."
        )
    return pairs if on is None else replace(pairs, told={**pairs.told, "on": str(on)})


def _name_of(source: Any) -> str | None:
    """A path's last part, or a Hub name; None where the source has no name."""
    return (
        str(source).rstrip("/").rpartition("/")[2] if isinstance(source, str) or hasattr(source, "__fspath__") else None
    )


def without_seen(model: "Siamese", pairs: Pairs) -> tuple[Pairs, int]:
    """The pairs without a text that the model was trained on, and how many had one; these are logged.

    Raises UnreadableInput if all have one.
    """
    seen = model.training_texts or read_training_texts(model.encoder.folder)
    if seen is None or not len(seen) or not len(pairs):
        return pairs, 0
    is_seen = seen.holds(pairs.first) | seen.holds(pairs.second)
    if not is_seen.any():
        return pairs, 0
    rows = np.asarray(pairs.rows)[is_seen]
    few = ", ".join(map(str, rows[:10].tolist()))
    if is_seen.all():
        raise UnreadableInput(
            f"All {len(rows):,} pairs hold a text that the model was trained on (rows {few}): they prove nothing. "
            "Give pairs that `split` kept apart from training."
        )
    logger.warning("%d pairs hold a text that the model was trained on and are set aside: rows %s", len(rows), few)
    return pairs.take(np.flatnonzero(~is_seen)), len(rows)


def _digest(pairs: Pairs) -> str:
    """The same for the same pairs in any order and either direction."""
    told = ("\0".join(sorted((normalise(a), normalise(b)))) for a, b in zip(pairs.first, pairs.second, strict=True))
    return hashlib.sha256("\n".join(sorted(told)).encode()).hexdigest()[:16]


def _say_conflicts(pairs: Pairs, texts: Int[np.ndarray, "n 2"]) -> int:
    """How many rows repeat a pair (in either order) that another row labels otherwise."""
    if pairs.labels is None or not len(pairs):
        return 0
    numbers = np.unique(np.sort(texts, axis=1), axis=0, return_inverse=True)[1].ravel()
    labels = np.asarray(pairs.labels)
    n_rows, n_positive = np.bincount(numbers), np.bincount(numbers, weights=labels)
    conflicting = ((n_positive > 0) & (n_positive < n_rows))[numbers]
    if conflicting.any():
        rows = np.asarray(pairs.rows)[conflicting]
        logger.warning("%d rows repeat a pair with another label: rows %s", len(rows), rows[:10].tolist())
    return int(conflicting.sum())
