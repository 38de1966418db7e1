"""`Siamese`: what users load, calibrate, certify, explain and save. What it says of pairs is `Scorer`'s."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textsiam.data.hashes import TextHashes
from textsiam.encoding.encoder import Encoder
from textsiam.encoding.model_folder.finding import find_model
from textsiam.encoding.model_folder.layout import JUDGE, TRAINING_TEXTS, read_folder, write_folder
from textsiam.scoring.canaries import check_canaries
from textsiam.scoring.card import model_card
from textsiam.scoring.judging.callable_judge import CallableJudge
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.record import carried_by, read_carried, say_other_precision
from textsiam.scoring.scorer import Scorer
from textsiam.scoring.thresholds import Threshold

if TYPE_CHECKING:
    from textsiam.scoring.explaining.explanation import Explanation


@dataclass(frozen=True, eq=False)
class Siamese(Scorer):
    """A scorer that can be loaded, fitted, explained and saved.

    Parameters
    ----------
    encoder, similarity, calibrator, threshold, reject_threshold, rescorer, judge, vetoes
        As of `textsiam.scoring.scorer.Scorer`.
    training
        What it was fine-tuned on and what that changed, as plain values (see `textsiam.train`); None if it was not.
    training_texts
        Hashes of the texts it was fine-tuned on, so that `calibrate` and `certify` can set them aside; None if unknown.

    Examples
    --------
    >>> model = Siamese.load()
    >>> score = model.score(["How do I reset my password?"], ["I forgot my password, how can I change it?"])
    >>> score.shape, bool(0.5 < score[0] < 1)
    ((1,), True)
    """

    training: Mapping[str, Any] | None = None
    training_texts: TextHashes | None = None

    @classmethod
    def load(
        cls,
        source: str | Path | None = None,
        *,
        backend: str = "auto",
        device: str | None = None,
        dtype: str | None = None,
    ) -> "Siamese":
        """The model of a folder, of a Hub name, or the default.

        Parameters
        ----------
        source
            A folder saved by textsiam or sentence-transformers, or a Hub name. None: ``TEXTSIAM_MODEL``, else the embedded
            all-MiniLM-L6-v2 with its own calibration and threshold.
        backend
            ``"auto"`` or a name from `textsiam.encoding.backends.BACKENDS`.
        device
            ``cpu``, ``cuda``, ``cuda:1``, ``mps``. Default: a GPU if there is one.
        dtype
            ``float32``, ``bfloat16``, ``float16`` or ``int8`` (on CPUs, by OpenVINO). Default: bf16 where the machine computes it
            natively, else fp32. int8 decides only where it was measured to decide like the certified class
            (`textsiam.scoring.precision.agreement.admit`); pairs near a threshold are then scored again in that class.

        Raises
        ------
        ModelNotFound
            If the model is nowhere; the text says how to get one.
        MissingExtra
            If the default is asked for and not installed; the text gives the install line.
        BrokenModel, UnsupportedModel
            If its files are damaged, altered, or ask for what textsiam does not have.
        EncoderMismatch
            If it gives other vectors here than when it was saved, or int8 is asked for and was not measured.
        ValueError
            If the backend, device or dtype is not available.
        """
        folder = read_folder(find_model(source))
        encoder = Encoder(folder, backend, device=device, dtype=dtype)
        model = cls(encoder, folder.similarity, **read_carried(encoder))
        if canaries := folder.carried.get("canaries"):
            check_canaries(encoder, canaries)
        say_other_precision(model)
        if encoder.precision == "int8":
            from textsiam.scoring.precision.agreement import admitted

            return admitted(model)
        return model

    def calibrate(self, pairs: Any, *, method: str = "auto", seed: int = 0, on: str | None = None) -> "Siamese":
        """The model with a calibrator fitted on labelled pairs: its scores get probabilities.

        Parameters
        ----------
        pairs
            Labelled pairs that the model was not trained on: `Pairs`, anything that `read_pairs` reads, or `ScoredPairs`.
        method
            ``isotonic``, ``sigmoid``, ``temperature``, or ``auto``: the best on held-out components.
        seed
            Of the folds.
        on
            What the data is called in the evidence. Default: the source's name, or its size.

        Returns
        -------
        model
            With ``.calibrator``, whose ``.evidence`` holds Brier score, calibration error and reliability curve on held-out
            folds, with 95 % intervals over components. This model does not change.

        Raises
        ------
        UnreadableInput
            If the pairs cannot be read, have no labels, too few of one label, or equal scores.
        EncoderMismatch
            If `ScoredPairs` are of another encoder.

        Examples
        --------
        >>> from textsiam.samples import PAIRS
        >>> model = Siamese.load().calibrate(PAIRS)
        >>> model.calibrator.evidence["method"] in {"isotonic", "sigmoid", "temperature"}
        True
        """
        from textsiam.scoring.evidence.calibration_fit import check_method, fit_calibrator
        from textsiam.scoring.evidence.scored_pairs import scored_by

        check_method(method, seed)
        scored = scored_by(self, pairs, on=on)
        fitted = fit_calibrator(scored.scores, scored.labels, scored.components, method=method, seed=seed)
        evidence = {**scored.told, **fitted.evidence}
        fitted = replace(fitted, evidence=evidence, encoder=self.score_fingerprint, similarity=self.scale)
        return replace(self, calibrator=fitted)

    def certify(
        self,
        pairs: Any,
        *,
        precision: float | None = None,
        recall: float | None = None,
        false_match_rate: float | None = None,
        reject_precision: float | None = 0.95,
        confidence: float = 0.95,
        seed: int = 0,
        on: str | None = None,
    ) -> "Siamese":
        """The model with thresholds that keep a promise on pairs like these, or with the finding that none does.

        Parameters
        ----------
        pairs
            As for `calibrate`. The promise holds for pairs drawn like them: one at random from each component of pairs that
            share a text, so that a text with many pairs counts once.
        precision, recall, false_match_rate
            The target for accepting, one of them: at least this share of the accepted pairs are duplicates; at least this
            share of the duplicates are accepted; at most this share of the other pairs are accepted. Default: precision=.95.
        reject_precision
            At least this share of the rejected pairs are not duplicates; None or 0: nothing is rejected.
        confidence
            The probability, over samples of pairs, that a threshold keeps its promise; it holds for each of the two alone.
        seed
            Of the draw of one pair per component. Fix it, like the target, in advance: the best of several proves nothing.
        on
            What the data is called in the evidence. Default: the source's name, or its size.

        Returns
        -------
        model
            With ``.threshold`` and ``.reject_threshold``: each with ``value`` (None: none exists), ``guarantee`` and
            ``evidence`` (labels used, share found and recall with intervals, share left for review, how many more labels
            would help). This model does not change. The method: `textsiam.scoring.evidence.certification`.

        Raises
        ------
        UnreadableInput
            If the pairs cannot be read, have no labels, or one label alone.
        ValueError
            If two targets for accepting are given, or a level or the confidence is not in (0, 1).
        EncoderMismatch
            If `ScoredPairs` are of another encoder.

        Examples
        --------
        >>> from textsiam.samples import PAIRS
        >>> model = Siamese.load().certify(PAIRS, precision=0.8)
        >>> print(model.threshold.guarantee)
        precision ≥ 0.80 with 95 % confidence
        """
        from textsiam.scoring.evidence.choosing import check_targets, choose
        from textsiam.scoring.evidence.scored_pairs import scored_by

        asked: dict[str, Any] = dict(precision=precision, recall=recall, false_match_rate=false_match_rate)
        asked |= dict(reject_precision=reject_precision, confidence=confidence, seed=seed)
        check_targets(**asked)
        chosen = choose(scored_by(replace(self, rescorer=None), pairs, on=on), **asked)
        return self.with_thresholds(chosen.accept, chosen.reject)

    def with_thresholds(self, accept: Threshold, reject: Threshold | None) -> "Siamese":
        """The model with these thresholds, such as those that `textsiam.scoring.evidence.choosing.choose` found.

        It has no rescorer, for that is measured at given thresholds. This model does not change.

        Raises
        ------
        EncoderMismatch
            If a threshold belongs to another encoder, similarity, judge or vetoes.

        Examples
        --------
        >>> own = Siamese.load().with_thresholds(Threshold(1.0, "log-odds"), None)  # Threshold(0.9) where cosine decides
        >>> own.decide(["How do I pay?"], ["Where are you?"])
        array(['review'], dtype='<U6')
        """
        return replace(self, threshold=accept, reject_threshold=reject, rescorer=None)

    def with_judge(self, judge: Judge | CallableJudge | None) -> "Siamese":
        """The model with this judge, or without one; it is not calibrated and has no thresholds, for other scores decide.

        Raises
        ------
        EncoderMismatch
            If the judge was fitted to another encoder.

        Examples
        --------
        >>> Siamese.load().with_judge(None).scale
        'cosine'
        """
        return replace(self, judge=judge, calibrator=None, threshold=None, reject_threshold=None, rescorer=None)

    def with_vetoes(self, vetoes: Iterable[str]) -> "Siamese":
        """The model with these vetoes (see `Scorer`); it has no thresholds, for they were certified with others.

        Examples
        --------
        >>> Siamese.load().with_vetoes(["numbers", "cut"]).threshold is None
        True
        """
        return replace(self, vetoes=tuple(vetoes), threshold=None, reject_threshold=None, rescorer=None)

    def explain(self, first: Any, second: Any) -> "list[Explanation]":
        """Why each pair has its score: what each word adds to it, what only one text has, and which words clash or moved.

        See `textsiam.scoring.explaining.explanation.explain`; two strings count as one pair.

        Examples
        --------
        >>> (explanation,) = Siamese.load().explain("Refund of 5 %?", "Refund of 15 %?")
        >>> bool(explanation.differences)
        True
        """
        from textsiam.scoring.explaining.explanation import explain

        return explain(self, first, second)

    def save(self, folder: str | Path) -> None:
        """Write a folder that `load` reads with the same vectors and decisions; sentence-transformers reads the same vectors.

        Whole or not at all; a model folder there is replaced. No pickle: safetensors, JSON and text.

        Raises
        ------
        FileExistsError
            If something that is not a model folder has that name.
        OSError
            If the file system refuses; an existing folder then stays as it was.

        Examples
        --------
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "my-model"
        >>> model = Siamese.load()
        >>> model.save(target)
        >>> Siamese.load(target).threshold == model.threshold
        True
        """
        self._save(Path(folder).expanduser(), None)

    def _save(self, target: Path, name: str | None) -> None:
        """Write the folder; `name` is that of the card, by default the folder's."""
        of = self.encoder
        card = model_card(
            name or target.name, of.dim, of.folder.max_length, self.threshold, self.reject_threshold, self.training,
            is_calibrated=self.calibrator is not None,
        )  # fmt: skip
        folder = replace(self.encoder.folder, similarity=self.similarity)
        hashes = self.training_texts.to_bytes() if self.training_texts else b""
        files = {TRAINING_TEXTS: hashes, JUDGE: self.judge.to_bytes() if self.judge else b""}
        write_folder(folder, target, carried_by(self), card, files)
        if target.resolve() == self.encoder.folder.path.resolve():
            # The folder it was loaded from is replaced: older layouts keep the transformer in a sub-folder, ours does not.
            self.encoder.folder = read_folder(target)

    def push_to_hub(self, name: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the model to the Hugging Face Hub for ``Siamese.load(name)`` and sentence-transformers; returns its address.

        Parameters
        ----------
        name
            ``owner/model``; created if it does not exist, else replaced file by file.
        private
            Whether a new one is private.
        token
            Default: that of ``hf auth login`` or ``HF_TOKEN``.

        Raises
        ------
        OSError
            If the Hub or the network refuses (huggingface_hub's errors are OSErrors).

        Examples
        --------
        >>> Siamese.load().push_to_hub("me/my-model")  # doctest: +SKIP
        'https://huggingface.co/me/my-model'
        """
        from textsiam.scoring.card import push

        return push(lambda target: self._save(target, name), name, private=private, token=token)
