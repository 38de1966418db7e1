"""A model's answers about pairs: embeddings → score → probability → decision.

Left out: where a model comes from, and how its calibrator and thresholds are chosen (`Siamese`).
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textsiam.data.pairs import Pairs
from textsiam.data.texts import as_list
from textsiam.encoding.encoder import Encoder, Progress
from textsiam.errors import EncoderMismatch, NotCalibrated
from textsiam.scoring.calibration import Calibrator
from textsiam.scoring.similarity import SIMILARITIES, scores_of
from textsiam.scoring.thresholds import Threshold, Verifier, decisions, verified

if TYPE_CHECKING:
    from textsiam.scoring.precision.rescoring import Rescorer

logger = logging.getLogger("textsiam")

Column = Iterable[object]  # the texts of one side; values that are no usable text are allowed


class Judgement(NamedTuple):
    """What a model says of some scores: probabilities if it is calibrated, decisions if it has a threshold; else None."""

    probability: Float[np.ndarray, " n"] | None
    decision: np.ndarray | None

    def columns(self, n: int) -> tuple[list[float | None], list[str | None]]:
        """Both as plain lists of `n` values, None where the model says nothing."""
        nothing: list[Any] = [None] * n
        return (
            nothing if self.probability is None else self.probability.tolist(),
            nothing if self.decision is None else self.decision.tolist(),
        )


@dataclass(frozen=True, eq=False)
class Scorer:
    """One encoder for both sentences, a similarity between their embeddings, and what is known about its scores.

    Parameters
    ----------
    encoder
        Texts → embeddings.
    similarity
        A name from `textsiam.scoring.similarity.SIMILARITIES`.
    calibrator
        Score → probability, or None if the model is not calibrated.
    threshold
        Accept at or above it; None if none was certified; its ``value`` is None if none qualifies.
    reject_threshold
        Reject below it; None, or with ``value`` None, rejects nothing.
    rescorer
        Scores pairs near a threshold again in a finer precision class; None: no second look.

    Raises
    ------
    ValueError
        If there is no such similarity.
    EncoderMismatch
        If the calibrator or a threshold belongs to another encoder or similarity.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> isinstance(Siamese.load(), Scorer)
    True
    """

    encoder: Encoder
    similarity: str = "cosine"
    calibrator: Calibrator | None = None
    threshold: Threshold | None = None
    reject_threshold: Threshold | None = None
    rescorer: "Rescorer | None" = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"There is no similarity {self.similarity!r}. Use one of {', '.join(SIMILARITIES)}.")
        for name in ("calibrator", "threshold", "reject_threshold"):
            part: Calibrator | Threshold | None = getattr(self, name)
            if part is not None:
                self._check_belongs(name, part)

    def encode(
        self, texts: Iterable[object], *, prompt: str | None = None, progress: Progress | None = None
    ) -> Float[np.ndarray, "n dim"]:
        """One embedding per text, (n, dim) fp32, in the order given; NaN for a value that is not a usable text.

        See `textsiam.encoding.encoder.Encoder.encode`.

        Examples
        --------
        >>> from textsiam import Siamese
        >>> Siamese.load().encode(["How do I pay?", "Where is my order?"]).shape
        (2, 384)
        """
        return self.encoder.encode(texts, prompt=prompt, progress=progress)

    def score(
        self, first: Column, second: Column, *, prompt: str | None = None, progress: Progress | None = None
    ) -> Float[np.ndarray, " n"]:
        """The similarity of each pair, (n,) fp32: larger is closer; for cosine in [-1, 1].

        Computed in fp64 from the embeddings and rounded once. A pair with an unusable text (None, empty, only whitespace,
        not a string) scores NaN. A warning in the log says how many and which, and which texts were cut. No pairs give an
        empty array. `prompt` is that of `encode`.

        Raises
        ------
        UnreadableInput
            If the columns differ in length, or one is a single string.

        Examples
        --------
        >>> from textsiam import Siamese
        >>> model = Siamese.load()
        >>> model.score(["How do I pay?", ""], ["How do I pay?", "How do I pay?"])
        array([ 1., nan], dtype=float32)
        """
        pairs = Pairs.usable(first, second)
        if pairs.set_aside:
            logger.warning("%s; they score NaN", pairs.set_aside)
        scores = np.full(len(pairs) + len(pairs.set_aside), np.nan, dtype=np.float32)
        if len(pairs):
            texts, left, right = pairs.unique()
            rows = np.asarray(pairs.rows)
            scores[rows - 1], cut = self.score_rows(texts, left, right, prompt=prompt, progress=progress)
            if cut.any():
                limit, few = self.encoder.folder.max_length, rows[cut][:10].tolist()
                logger.warning("%d pairs hold a text cut at %d tokens: rows %s", cut.sum(), limit, few)
        return scores

    def score_rows(
        self,
        texts: Sequence[str],
        left: Int[np.ndarray, " k"],
        right: Int[np.ndarray, " k"],
        *,
        prompt: str | None = None,
        progress: Progress | None = None,
    ) -> tuple[Float[np.ndarray, " k"], Bool[np.ndarray, " k"]]:
        """The score of usable texts ``left[i]`` and ``right[i]``, and whether one was cut; `score` without checks and log.

        Examples
        --------
        >>> from textsiam import Siamese
        >>> scores, cut = Siamese.load().score_rows(["How do I pay?", "pay " * 999], np.array([0]), np.array([1]))
        >>> scores.shape, cut
        ((1,), array([ True]))
        """
        encoded = self.encoder.embed(texts, prompt=prompt, progress=progress)
        scores = self.compare(encoded.embeddings, encoded.embeddings, left, right)
        if self.rescorer:
            both = (self.threshold, self.reject_threshold)
            scores = self.rescorer(self.compare, texts, left, right, scores, thresholds=both, prompt=prompt)
        return scores, encoded.cut[left] | encoded.cut[right]

    def compare(
        self, first: Float[np.ndarray, "n dim"], second: Float[np.ndarray, "m dim"], left: np.ndarray, right: np.ndarray
    ) -> Float[np.ndarray, " k"]:
        """The similarity of row ``left[i]`` of `first` with row ``right[i]`` of `second`, fp32."""
        return scores_of(self.similarity, first, second, left, right)

    def probability(
        self, first: Column, second: Column, *, prompt: str | None = None, progress: Progress | None = None
    ) -> Float[np.ndarray, " n"]:
        """The probability that each pair means the same, (n,) in [0, 1], at the odds of the calibration data.

        Raises
        ------
        NotCalibrated
            If the model is not calibrated.

        Examples
        --------
        >>> from textsiam import Siamese
        >>> p = Siamese.load().probability(["How do I pay?"], ["What is the weather in Lima?"])
        >>> bool(p[0] < 0.1)
        True
        """
        return self.calibrated(self.score(first, second, prompt=prompt, progress=progress))

    def calibrated(self, scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The probability for each score; NaN stays NaN.

        Raises
        ------
        NotCalibrated
            If the model is not calibrated.
        """
        if self.calibrator is None:
            raise NotCalibrated(
                "This model was never calibrated: its scores have no probability. Calibrate it on labelled pairs."
            )
        return self.calibrator(scores)

    def decide(
        self,
        first: Column,
        second: Column,
        *,
        verifier: Verifier | None = None,
        prompt: str | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """``accept``, ``review`` or ``reject`` for each pair, (n,) of strings.

        A pair is accepted at or above `threshold` and rejected below `reject_threshold`. The rest is for review by a person,
        as is a pair with an unusable text. If no threshold qualifies, everything is ``review``.

        Parameters
        ----------
        verifier
            Decides the pairs left for review (see `textsiam.scoring.thresholds.Verifier`): a function from two lists of texts
            to True (accept), False (reject) or None (still review) for each pair.

        Raises
        ------
        NotCalibrated
            If no threshold was certified.
        ValueError
            If the verifier does not give one answer per pair.

        Examples
        --------
        >>> from textsiam import Siamese
        >>> Siamese.load().decide(["How do I pay?"], ["How do I pay?"])
        array(['accept'], dtype='<U6')
        """
        if self.threshold is None:
            raise NotCalibrated(
                "This model has no threshold: none was certified for it. Certify one on labelled pairs, or use score."
            )
        first, second = as_list(first), as_list(second)
        scores = self.score(first, second, prompt=prompt, progress=progress)
        decided = decisions(scores, self.threshold, self.reject_threshold)
        return decided if verifier is None else verified(decided, first, second, verifier)

    def judge(self, scores: Float[np.ndarray, " n"]) -> Judgement:
        """The probability and the decision of each score, as far as the model has them; NaN stays NaN and goes to review.

        Examples
        --------
        >>> from textsiam import Siamese
        >>> Siamese.load().judge(np.array([0.99, 0.1], dtype=np.float32)).decision
        array(['accept', 'reject'], dtype='<U6')
        """
        return Judgement(
            None if self.calibrator is None else self.calibrated(scores),
            None if self.threshold is None else decisions(scores, self.threshold, self.reject_threshold),
        )

    def _check_belongs(self, name: str, part: Calibrator | Threshold) -> None:
        """Raise if this calibrator or threshold is of another similarity or encoder."""
        if part.similarity not in ("", self.similarity):
            raise EncoderMismatch(
                f"The model compares by {self.similarity}, but its {name} is of scores of {part.similarity}. "
                f"Calibrate and certify it for {self.similarity}, or use {part.similarity}."
            )
        if part.encoder and part.encoder != self.encoder.fingerprint:
            raise EncoderMismatch(
                f"The {name} was made for the encoder {part.encoder[:12]}…, but this one is "
                f"{self.encoder.fingerprint[:12]}…, whose scores mean something else. Calibrate and certify this model."
            )
