"""Classifies pairs of texts: whether they mean the same."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from textsiam.data.linking import dependence, link
from textsiam.data.pairs import Pairs
from textsiam.data.splitting import split
from textsiam.errors import ModelNotFound, UnreadableInput
from textsiam.interfaces.estimators.folds import links_of
from textsiam.interfaces.estimators.inputs import numbered, two_columns, usable_pairs
from textsiam.interfaces.estimators.models import OfModel
from textsiam.scoring.evidence.calibration_fit import check_method, fit_calibrator
from textsiam.scoring.siamese import Siamese

LEARN = ("calibration", "fine_tuning")


@dataclass(eq=False, repr=False)
class PairClassifier(ClassifierMixin, OfModel):
    """A classifier of pairs that mean the same: a pretrained model, calibrated or fine-tuned on your pairs.

    Parameters
    ----------
    model, backend, device, dtype, remember
        As for `SentenceEncoder`.
    learn
        ``calibration``: `fit` learns the probability of each score, in moments. ``fine_tuning``: `fit` trains the encoder on four
        fifths of the pairs (`textsiam.train`) and calibrates it on the others.
    method
        The calibration method, as for `Siamese.calibrate`.
    judge
        Fit a judge too: to half of the pairs, which then do not calibrate (`textsiam.fit_judge`); with ``fine_tuning``, to those
        that it learns (`textsiam.train`). Without it the model's own judge, if it has one, decides as it is.
    training
        More arguments of `textsiam.train`, such as ``{"epochs": 2}``.
    folder
        Each fit writes its fine-tuned model in a new folder within this one (`source_`), so that the classifier can be pickled.
        Without it the model is gone when Python ends.
    random_state
        Seed of folds and training.

    Attributes
    ----------
    classes_
        (2,) the labels; the second is for pairs that mean the same.
    calibrator_
        The calibrator with its evidence (`Siamese.calibrate`).
    judge_
        The judge that was fitted; None if none was.
    source_
        The folder of the fine-tuned model; None without fine-tuning.

    Examples
    --------
    >>> from textsiam import read_pairs
    >>> from textsiam.samples import PAIRS
    >>> pairs = read_pairs(PAIRS)
    >>> classifier = PairClassifier().fit(pairs, pairs.labels)
    >>> probabilities = classifier.predict_proba([("How do I pay?", "How can I pay?"), ("How do I pay?", "Who are you?")])
    >>> probabilities.shape, bool(probabilities[0, 1] > probabilities[1, 1])
    ((2, 2), True)
    """

    _: KW_ONLY
    learn: str = "calibration"
    method: str = "auto"
    judge: bool = False
    training: Mapping[str, Any] | None = None
    folder: str | Path | None = None
    random_state: int = 0

    def fit(self, X: Any, y: Any, groups: Any = None) -> "PairClassifier":
        """Learn from labelled pairs.

        Parameters
        ----------
        X
            (n, 2) texts, as for `PairScorer.transform`. Pairs with an unusable text are logged and left out.
        y
            (n,) two labels, of any kind; the one that sorts last means the same.
        groups
            (n,) groups of dependent pairs, such as those of one document or one user. Pairs that share a text are always
            dependent.

        Raises
        ------
        ValueError
            If a setting is unknown, or there are not two labels.
        UnreadableInput
            If columns differ in length, or a label has too few pairs.
        """
        if self.learn not in LEARN:
            raise ValueError(f"learn is {' or '.join(LEARN)}, but got {self.learn!r}. Use one of them.")
        check_method(self.method, self.random_state)
        classes, labels = _labels(y)
        first, second = two_columns(X)
        if len(first) != len(labels):
            raise UnreadableInput(
                f"Each pair has a label, but got {len(first):,} pairs and {len(labels):,} labels. Align them row by row."
            )
        usable, rows = usable_pairs(first, second)
        pairs = Pairs(usable.first, usable.second, labels=labels[rows])
        grouped = None if groups is None else numbered(groups, len(first))[rows]
        is_tuned = self.learn == "fine_tuning"
        fitted = self._tuned(pairs, grouped) if is_tuned else self._calibrated(pairs, grouped)
        # All at the end: a fit that fails keeps the previous one.
        self.classes_, self.calibrator_, self.boundary_ = classes, fitted.calibrator, _boundary(fitted)
        self.judge_ = fitted.judge if self.judge else None  # else it is in the model folder
        self._keep(fitted, X, 2)
        self.source_ = str(fitted.encoder.folder.path.resolve()) if is_tuned else None
        self._passing = self.source_ if self.folder is None else None  # a temporary folder
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, " n"]:
        """(n,) the score (with a judge, its log-odds) minus the one with probability 0.5: positive if a pair means the same.

        NaN if a pair is unusable.
        """
        return self._fitted().judgement(*self._columns(X)).deciding.astype(np.float64) - self.boundary_

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n 2"]:
        """(n, 2) probabilities in the order of `classes_`; NaN for a pair with an unusable text."""
        means_the_same = self._fitted().probability(*self._columns(X))
        return np.stack([1 - means_the_same, means_the_same], axis=1)

    def predict(self, X: Any) -> Shaped[np.ndarray, " n"]:
        """(n,) labels. A pair with an unusable text is logged and gets the first label: it does not mean the same."""
        means_the_same = self.decision_function(X) > 0
        return np.asarray(self.classes_[means_the_same.astype(int)])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "calibrator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.requires_fit = True
        return tags

    def __getstate__(self) -> Any:
        source = getattr(self, "source_", None)
        if source and source == getattr(self, "_passing", None):
            raise TypeError(
                "A pickle needs a lasting folder, but this classifier's fine-tuned weights are in a temporary one. Name a folder "
                "(folder=) and fit it again."
            )
        return super().__getstate__()

    def _columns(self, given: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        columns = two_columns(given)
        self._check_names(given)
        return columns

    def _fitted(self) -> Siamese:
        check_is_fitted(self)
        if self.source_ is None:
            model = self._siamese() if self.judge_ is None else self._siamese().with_judge(self.judge_)
            return replace(model, calibrator=self.calibrator_)
        if not Path(self.source_).is_dir():
            raise ModelNotFound(
                f"The model that this classifier fine-tuned was in {self.source_}, which is not here. Bring that folder, and set "
                "source_ to its path."
            )
        return replace(self._checked(self._read(Path(self.source_))), calibrator=self.calibrator_)

    def _calibrated(self, pairs: Pairs, groups: Int[np.ndarray, " n"] | None) -> Siamese:
        model = self._looked_up()
        if self.judge:
            from textsiam.training.judges.own_judge import fit_judge

            parts = split(pairs, seed=self.random_state, shares=(0.5, 0.5, 0.0), links=links_of(pairs, groups))
            model = fit_judge(model, parts.train, seed=self.random_state)
            return model.calibrate(parts.calibration, method=self.method, seed=self.random_state)
        texts = link([pairs]).texts[0]
        if groups is not None:
            texts = np.column_stack([texts, groups + texts.max(initial=-1) + 1])
        scores = model.read(*pairs.unique()).deciding
        calibrator = fit_calibrator(scores, pairs.labels, dependence(texts), method=self.method, seed=self.random_state)
        return replace(model, calibrator=replace(calibrator, encoder=model.score_fingerprint, similarity=model.scale))

    def _tuned(self, pairs: Pairs, groups: Int[np.ndarray, " n"] | None) -> Siamese:
        from textsiam.training.fine_tuning import train

        parts = split(pairs, seed=self.random_state, shares=(0.8, 0.2, 0.0), links=links_of(pairs, groups))
        start = self.model if isinstance(self.model, Siamese) else Siamese.load(self.model, device=self.device)
        # Each fit needs its own folder, because folds and grid points share the parameter.
        output = None if self.folder is None else Path(self.folder).expanduser() / uuid.uuid4().hex[:12]
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
        settings = {"seed": self.random_state, "output": output, "judge": self.judge, **(self.training or {})}
        tuned = train(start, parts.train, **settings)
        calibrated = tuned.calibrate(parts.calibration, method=self.method, seed=self.random_state)
        if self.folder is not None:
            calibrated.save(calibrated.encoder.folder.path)
        return calibrated


def _labels(y: Any) -> tuple[Shaped[np.ndarray, " 2"], Int[np.ndarray, " n"]]:
    """The two labels, and the label of each pair as 0 or 1."""
    if y is None:
        raise ValueError(
            "This PairClassifier requires y to be passed, but the target y is None. Give a label for each pair."
        )
    values = column_or_1d(y, warn=True)
    if values.dtype.kind == "f":
        assert_all_finite(values, input_name="y")
    check_classification_targets(values)
    classes, numbers = np.unique(values, return_inverse=True)
    if len(classes) != 2:  # noqa: PLR2004
        raise ValueError(
            f"Pairs need two labels, but got {len(classes)}. Give binary labels: Only binary classification is supported."
        )
    return classes, numbers.astype(np.int64)


def _boundary(model: Siamese) -> float:
    """The score with probability 0.5; beyond all scores if there is none."""
    low, high = -1.0, 1.0
    while model.calibrated(np.array([low]))[0] >= 0.5 and low > -1e6:  # noqa: PLR2004
        low *= 2
    while model.calibrated(np.array([high]))[0] < 0.5 and high < 1e6:  # noqa: PLR2004
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if model.calibrated(np.array([middle]))[0] >= 0.5 else (middle, high)  # noqa: PLR2004
    return float(low)
