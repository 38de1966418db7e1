"""Pairs of texts → whether they mean the same."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from textsiam.interfaces.estimators.models import N_TEXTS, OfModel
from textsiam.scoring.evidence.calibration_fit import check_method, fit_calibrator
from textsiam.scoring.siamese import Siamese

LEARN = ("calibration", "fine_tuning")


class PairClassifier(ClassifierMixin, OfModel):
    """Do two texts mean the same? A pretrained twin, its scores calibrated on your pairs, or fine-tuned on them.

    Parameters
    ----------
    model, backend, device, dtype, remember
        As for `SentenceEncoder`.
    learn
        ``calibration``: fitting learns which probability a score has, in moments. ``fine_tuning``: it trains the encoder on four
        fifths of the pairs (`textsiam.train`), and calibrates it on the others.
    method
        How scores become probabilities (`Siamese.calibrate`).
    training
        More arguments of `textsiam.train`, such as ``{"epochs": 2}``.
    folder
        Within which each fit writes its fine-tuned model, in a folder of its own (`source_`), so that the classifier can be
        pickled; without it the model is gone when Python ends.
    random_state
        Of folds and of training.

    Attributes
    ----------
    classes_
        (2,) the labels; the second is that of pairs that mean the same.
    calibrator_
        With its evidence (`Siamese.calibrate`).
    source_
        The folder of the fine-tuned model; None where nothing was tuned.

    Examples
    --------
    >>> from textsiam import read_pairs
    >>> from textsiam.samples import PAIRS
    >>> pairs = read_pairs(PAIRS)
    >>> classifier = PairClassifier().fit(pairs, pairs.labels)
    >>> told = classifier.predict_proba([("How do I pay?", "How can I pay?"), ("How do I pay?", "Who are you?")])
    >>> told.shape, bool(told[0, 1] > told[1, 1])
    ((2, 2), True)
    """

    def __init__(
        self,
        model: Siamese | str | Path | None = None,
        *,
        learn: str = "calibration",
        method: str = "auto",
        training: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        random_state: int = 0,
        backend: str = "auto",
        device: str | None = None,
        dtype: str | None = None,
        remember: int = N_TEXTS,
    ) -> None:
        super().__init__(model, backend=backend, device=device, dtype=dtype, remember=remember)
        self.learn = learn
        self.method = method
        self.training = training
        self.folder = folder
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> "PairClassifier":
        """Learn from labelled pairs.

        Parameters
        ----------
        X
            (n, 2) texts, as for `PairScorer.transform`. Pairs with an unusable text are left out, which is logged.
        y
            (n,) two labels, of any kind; the one that sorts last means the same.
        groups
            (n,) which pairs depend on each other, beside those that share a text: from one document, one user.

        Raises
        ------
        ValueError
            If a setting is unknown, or there are not two labels.
        UnreadableInput
            If columns differ in length, or there are too few pairs of a label.
        """
        if self.learn not in LEARN:
            raise ValueError(f"learn is {' or '.join(LEARN)}, but is {self.learn!r}. Use one of them.")
        check_method(self.method, self.random_state)
        classes, labels = _labels(y)
        first, second = two_columns(X)
        if len(first) != len(labels):
            raise UnreadableInput(f"Each pair has a label, but {len(first):,} pairs and {len(labels):,} labels came.")
        usable, rows = usable_pairs(first, second)
        pairs = Pairs(usable.first, usable.second, labels=labels[rows])
        grouped = None if groups is None else numbered(groups, len(first))[rows]
        is_tuned = self.learn == "fine_tuning"
        fitted = self._tuned(pairs, grouped) if is_tuned else self._calibrated(pairs, grouped)
        # All at once, and last: a fit that fails leaves what was fitted before.
        self._take_names(X, 2, reset=True)
        self.classes_, self.calibrator_, self.boundary_ = classes, fitted.calibrator, _boundary(fitted)
        self._keep(fitted)
        self.source_ = str(fitted.encoder.folder.path.resolve()) if is_tuned else None
        self._passing = self.source_ if self.folder is None else None  # a folder that ends with this process
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, " n"]:
        """(n,) the score above the one whose probability is a half: positive for pairs that mean the same; NaN for unusable."""
        return self._fitted().score(*self._columns(X)).astype(np.float64) - self.boundary_

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n 2"]:
        """(n, 2) in the order of `classes_`; NaN for a pair with an unusable text."""
        told = self._fitted().probability(*self._columns(X))
        return np.stack([1 - told, told], axis=1)

    def predict(self, X: Any) -> Shaped[np.ndarray, " n"]:
        """(n,) labels. A pair with an unusable text, which is logged, is not said to mean the same."""
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
                "This fine-tuned classifier's weights lie in a temporary folder, which ends with this process. Name a folder "
                "(folder=) to pickle it."
            )
        return super().__getstate__()

    def _columns(self, given: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        columns = two_columns(given)
        self._take_names(given, 2, reset=False)
        return columns

    def _fitted(self) -> Siamese:
        check_is_fitted(self)
        if self.source_ is None:
            return replace(self._siamese(), calibrator=self.calibrator_)
        if not Path(self.source_).is_dir():
            raise ModelNotFound(
                f"The model that this classifier fine-tuned lay in {self.source_}, which is not here. Bring that folder, and set "
                "source_ to where it lies."
            )
        return replace(self._checked(self._read(Path(self.source_))), calibrator=self.calibrator_)

    def _calibrated(self, pairs: Pairs, groups: Int[np.ndarray, " n"] | None) -> Siamese:
        model = self._looked_up()
        texts = link([pairs]).texts[0]
        if groups is not None:
            texts = np.column_stack([texts, groups + texts.max(initial=-1) + 1])
        scores = model.score(pairs.first, pairs.second)
        calibrator = fit_calibrator(scores, pairs.labels, dependence(texts), method=self.method, seed=self.random_state)
        return replace(
            model, calibrator=replace(calibrator, encoder=model.encoder.fingerprint, similarity=model.similarity)
        )

    def _tuned(self, pairs: Pairs, groups: Int[np.ndarray, " n"] | None) -> Siamese:
        from textsiam.training.fine_tuning import train

        parts = split(pairs, seed=self.random_state, shares=(0.8, 0.2, 0.0), links=links_of(pairs, groups))
        start = self.model if isinstance(self.model, Siamese) else Siamese.load(self.model, device=self.device)
        # A folder of its own for each fit: folds and grid points share the parameter.
        output = None if self.folder is None else Path(self.folder).expanduser() / uuid.uuid4().hex[:12]
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
        more = {"seed": self.random_state, "output": output, **(self.training or {})}
        tuned = train(start, parts.train, **more)
        made = tuned.calibrate(parts.calibration, method=self.method, seed=self.random_state)
        if self.folder is not None:
            made.save(made.encoder.folder.path)
        return made


def _labels(y: Any) -> tuple[Shaped[np.ndarray, " 2"], Int[np.ndarray, " n"]]:
    """The two labels, and each pair's as 0 or 1."""
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
            f"Pairs mean the same or not, which are two labels, but {len(classes)} came. Only binary classification is supported."
        )
    return classes, numbers.astype(np.int64)


def _boundary(model: Siamese) -> float:
    """The score at which a pair is as likely as not to mean the same; beyond all scores if none is."""
    low, high = -1.0, 1.0
    while model.calibrated(np.array([low]))[0] >= 0.5 and low > -1e6:  # noqa: PLR2004
        low *= 2
    while model.calibrated(np.array([high]))[0] < 0.5 and high < 1e6:  # noqa: PLR2004
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if model.calibrated(np.array([middle]))[0] >= 0.5 else (middle, high)  # noqa: PLR2004
    return float(low)
