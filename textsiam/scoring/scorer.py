"""A model's answers about pairs: embeddings → score → (the judge's log-odds) → probability → decision.

Left out: where a model comes from, and how its calibrator and thresholds are chosen (`Siamese`).
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from textsiam.data.pairs import Pairs
from textsiam.data.texts import as_list, normalise
from textsiam.encoding.encoder import Encoder, Progress
from textsiam.errors import EncoderMismatch, NotCalibrated
from textsiam.scoring.calibration import Calibrator
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.judging.reading import KnownTexts, Reading, read
from textsiam.scoring.judging.vetoes import CUT, VETOES, vetoed
from textsiam.scoring.similarity import SIMILARITIES, scores_of
from textsiam.scoring.thresholds import LOG_ODDS, Threshold, Verifier, decisions, verified

if TYPE_CHECKING:
    from textsiam.scoring.precision.rescoring import Rescorer

logger = logging.getLogger("textsiam")

Column = Iterable[object]  # the texts of one side; values that are no usable text are allowed


class Judgement(NamedTuple):
    """What a model says of some pairs.

    Parameters
    ----------
    score
        (n,) fp32: the similarity of the embeddings; NaN where a text was unusable.
    log_odds
        (n,) fp32: the judge's, that both texts mean the same; None without a judge.
    probability
        (n,) in [0, 1]; None if the model is not calibrated.
    decision
        (n,) of ``accept``, ``review``, ``reject``; None if the model has no threshold.
    reason
        (n,) why a pair that scores high enough was not accepted all the same; empty for all others. None without decisions.
    cut
        (n,) whether the model did not read a text to its end; None if it is not known.
    """

    score: Float[np.ndarray, " n"]
    log_odds: Float[np.ndarray, " n"] | None
    probability: Float[np.ndarray, " n"] | None
    decision: np.ndarray | None
    reason: np.ndarray | None
    cut: Bool[np.ndarray, " n"] | None = None

    def take(self, rows: Int[np.ndarray, " m"]) -> "Judgement":
        """What it says of these pairs, in this order."""
        return Judgement(*(None if column is None else column[rows] for column in self))  # type: ignore[arg-type]

    @property
    def deciding(self) -> Float[np.ndarray, " n"]:
        """What decides: the log-odds if there is a judge, else the score."""
        return self.score if self.log_odds is None else self.log_odds

    @classmethod
    def joined(cls, parts: "Sequence[Judgement]") -> "Judgement":
        """What it says of the pairs of all parts, one part after another; there is at least one."""
        columns = [[column for column in of if column is not None] for of in zip(*parts, strict=True)]
        return cls(*(np.concatenate(of) if len(of) == len(parts) else None for of in columns))  # type: ignore[arg-type]

    def by_name(self) -> dict[str, Any]:
        """The columns that `textsiam.matching.matches.Matches` has too."""
        return {name: getattr(self, name) for name in self._fields if name != "cut"}

    def columns(self) -> tuple[list[float | None], list[str | None], list[str | None]]:
        """Probability, decision and reason as plain lists, None where the model says nothing."""
        nothing: list[Any] = [None] * len(self.score)
        return (
            nothing if self.probability is None else self.probability.tolist(),
            nothing if self.decision is None else self.decision.tolist(),
            nothing if self.reason is None else [reason or None for reason in self.reason.tolist()],
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
        What decides → probability, or None if the model is not calibrated.
    threshold
        Accept at or above it; None if none was certified; its ``value`` is None if none qualifies.
    reject_threshold
        Reject below it; None, or with ``value`` None, rejects nothing.
    rescorer
        Scores pairs near a threshold again in a finer precision class; None: no second look.
    judge
        Reads both texts; its log-odds decide instead of the score (`textsiam.scoring.judging.judge`). None: the score decides.
    vetoes
        The rules that keep a pair from being accepted unread: names from `textsiam.scoring.judging.vetoes.VETOES`, and ``cut``
        for texts that the model does not read to their end.

    Raises
    ------
    ValueError
        If there is no such similarity or veto, or a judge with another similarity than cosine.
    EncoderMismatch
        If the calibrator, a threshold or the judge belongs to another encoder, similarity, judge or vetoes.

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
    judge: Judge | None = field(default=None, kw_only=True)
    vetoes: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"There is no similarity {self.similarity!r}. Use one of {', '.join(SIMILARITIES)}.")
        if unknown := [name for name in self.vetoes if name not in (*VETOES, CUT)]:
            raise ValueError(f"There is no veto {unknown[0]!r}. Use {', '.join([*VETOES, CUT])}, or add it to VETOES.")
        if self.judge:
            if self.similarity != "cosine":
                raise ValueError(f"A judge corrects cosine, but the model compares by {self.similarity}. Use cosine.")
            self.judge.check(self.encoder.fingerprint)
        for name in ("calibrator", "threshold", "reject_threshold"):
            part: Calibrator | Threshold | None = getattr(self, name)
            if part is not None:
                self._check_belongs(name, part)

    @property
    def scale(self) -> str:
        """What decides: ``log-odds`` of the judge, or the similarity."""
        return LOG_ODDS if self.judge else self.similarity

    @cached_property
    def score_fingerprint(self) -> str:
        """A hash of all that gives what decides: the encoder and the judge, if there is one."""
        return _hashed(self.encoder.fingerprint, self.judge.fingerprint) if self.judge else self.encoder.fingerprint

    @cached_property
    def decision_fingerprint(self) -> str:
        """A hash of all that thresholds rely on: the same, the candidate threshold and the vetoes."""
        return _hashed(self.score_fingerprint, *sorted(self.vetoes)) if self.vetoes else self.score_fingerprint

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
        rows = np.asarray(pairs.rows, dtype=np.int64) - 1
        found = self.score_rows(*pairs.unique(), prompt=prompt, progress=progress)
        reading = Reading(found[0], None, found[1]).among(len(pairs) + len(pairs.set_aside), rows)
        self._log_cut(reading.cut)
        return reading.score

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
        if self.calibrator is None:
            self.calibrated(np.empty(0))  # raises, before the slow work
        found = self.judgement(first, second, prompt=prompt, progress=progress).probability
        assert found is not None  # noqa: S101  the model is calibrated
        return found

    def calibrated(self, scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The probability for each score, or log-odds if the model has a judge; NaN stays NaN.

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

        A pair is accepted at or above `threshold`, if no veto speaks (`judgement` gives the reason), and rejected below
        `reject_threshold`. The rest is for review by a person, as is a pair with an unusable text. If no threshold qualifies,
        everything is ``review``.

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
        decided = self.judgement(first, second, prompt=prompt, progress=progress).decision
        assert decided is not None  # noqa: S101  the model has a threshold
        return decided if verifier is None else verified(decided, first, second, verifier)

    def judgement(
        self,
        first: Column,
        second: Column,
        *,
        scores: Float[np.ndarray, " n"] | None = None,
        known: KnownTexts | None = None,
        prompt: str | None = None,
        progress: Progress | None = None,
    ) -> Judgement:
        """All that the model says of each pair: score, log-odds, probability, decision and reason, as far as it has them.

        Unusable texts and errors are as for `score`; such a pair is for review. `scores` are (n,) those of the pairs, if they are
        known already, as after a search; a pair without its texts then has its score, and is for review where they are needed.
        `known` are all texts, if they were read already.

        Examples
        --------
        >>> from textsiam import Siamese
        >>> Siamese.load().judgement(["How do I pay?"], ["How do I pay?"]).decision
        array(['accept'], dtype='<U6')
        """
        pairs = Pairs.usable(first, second)
        rows, n = np.asarray(pairs.rows, dtype=np.int64) - 1, len(pairs) + len(pairs.set_aside)
        how: dict[str, Any] = dict(known=known, prompt=prompt, progress=progress)
        reading = self.read(*pairs.unique(), scores=None if scores is None else scores[rows], **how).among(n, rows)
        if scores is not None:
            reading = reading._replace(score=np.where(np.isnan(reading.score), scores, reading.score))
        else:
            self._log_cut(reading.cut)
            if pairs.set_aside:
                logger.warning("%s; they score NaN", pairs.set_aside)
        texts: tuple[list[str], list[str]] = ([""] * n, [""] * n)
        for place, *both in zip(rows.tolist(), pairs.first, pairs.second, strict=True):
            texts[0][place], texts[1][place] = both
        return self.judged(reading, *texts)

    def read(
        self,
        texts: Sequence[str],
        left: Int[np.ndarray, " k"],
        right: Int[np.ndarray, " k"],
        *,
        scores: Float[np.ndarray, " k"] | None = None,
        known: KnownTexts | None = None,
        prompt: str | None = None,
        progress: Progress | None = None,
    ) -> Reading:
        """What the encoder and the judge read of usable, distinct texts ``texts[left[i]]`` and ``texts[right[i]]``.

        `scores` are their scores, if they are known already, and `known` all texts, if they were read. In int8 the judge reads
        with the finer encoder.
        """
        if not self.judge and scores is not None:
            cut = self.encoder.is_cut(texts, prompt=prompt)
            return Reading(scores, None, cut[left] | cut[right])
        if not self.judge or not len(left):
            scores, cut = self.score_rows(texts, left, right, prompt=prompt, progress=progress)
            return Reading(scores, np.zeros(0, dtype=np.float32) if self.judge else None, cut)
        encoder = self.rescorer.encoder if self.rescorer else self.encoder
        scores = None if self.rescorer else scores
        how: dict[str, Any] = dict(scores=scores, known=known, prompt=prompt, progress=progress)
        return read(encoder, self.judge, texts, left, right, **how)

    def judged(self, reading: Reading, first: Sequence[str], second: Sequence[str]) -> Judgement:
        """What the model makes of a reading of these texts; a pair that was not read is for review."""
        deciding = reading.deciding
        probability = None if self.calibrator is None else self.calibrated(deciding)
        if self.threshold is None:
            return Judgement(reading.score, reading.log_odds, probability, None, None, reading.cut)
        reason, value = np.full(len(deciding), "", dtype=object), self.threshold.value
        if value is not None and (self.vetoes or self.judge):
            high = np.flatnonzero(deciding.astype(np.float32) >= np.float32(value))
            texts = ([column[row] for row in high.tolist()] for column in (first, second))
            reason[high] = self.held(reading.take(high), *texts)
        decided = decisions(deciding, self.threshold, self.reject_threshold, held=reason != "")
        return Judgement(reading.score, reading.log_odds, probability, decided, reason, reading.cut)

    def held(self, reading: Reading, first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        """Why each pair may not be accepted however high it scores, (n,) of strings; empty where it may.

        Texts that are equal after `textsiam.data.texts.normalise` may always be accepted.
        """
        names = [name for name in self.vetoes if name != CUT]
        reason = np.array([*vetoed(first, second, names), None], dtype=object)[:-1]
        if CUT in self.vetoes:
            reason[reading.cut & (reason == "")] = f"cut: more than {self.encoder.folder.max_length} tokens"
        if self.judge:
            # A search never finds these: accepting them elsewhere would be another rule than the certified one.
            far = (reading.score < np.float32(self.judge.candidates)) & (reason == "")
            reason[far] = f"score: below {self.judge.candidates:g}, where nothing is accepted"
        for row in np.flatnonzero(reason != "").tolist():
            if normalise(first[row]) == normalise(second[row]):
                reason[row] = ""
        reason[[row for row, both in enumerate(zip(first, second, strict=True)) if not all(both)]] = "text: missing"
        return reason

    def _log_cut(self, cut: Bool[np.ndarray, " n"]) -> None:
        if cut.any():
            limit, few = self.encoder.folder.max_length, (np.flatnonzero(cut)[:10] + 1).tolist()
            logger.warning("%d pairs hold a text cut at %d tokens: rows %s", cut.sum(), limit, few)

    def _check_belongs(self, name: str, part: Calibrator | Threshold) -> None:
        """Raise if this calibrator or threshold is of another scale, encoder, judge or of other vetoes."""
        if part.similarity not in ("", self.scale):
            raise EncoderMismatch(
                f"The model decides by {self.scale}, but its {name} is of scores of {part.similarity}. "
                f"Calibrate and certify it for {self.scale}, or use {part.similarity}."
            )
        own = self.score_fingerprint if name == "calibrator" else self.decision_fingerprint
        if part.encoder and part.encoder != own:
            what = "encoder" if own == self.encoder.fingerprint else "encoder, judge or vetoes"
            raise EncoderMismatch(
                f"The {name} was made for the {what} {part.encoder[:12]}…, but this one is "
                f"{own[:12]}…, whose scores mean something else. Calibrate and certify this model."
            )


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
