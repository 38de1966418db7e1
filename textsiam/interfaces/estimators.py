"""scikit-learn's door: sentence vectors, pair features and a pair classifier for its pipelines, and folds that do not leak.

The words are scikit-learn's here: `fit`, `transform`, `predict_proba`, `random_state`. A model is read once a process, and texts
that several folds or grid points ask for are encoded once. Pickled estimators hold settings and what was fitted, never weights:
these are read again from their folder.
"""

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from textsiam.data.linking import dependence, link
from textsiam.data.pairs import Pairs
from textsiam.data.splitting import folds, split
from textsiam.errors import EncoderMismatch, UnreadableInput
from textsiam.interfaces.estimator_inputs import loaded, names_of, one_column, two_columns
from textsiam.scoring.calibrating import check_method, fit_calibrator
from textsiam.scoring.features import FEATURES
from textsiam.scoring.siamese import Siamese

__all__ = ["PairClassifier", "PairKFold", "PairScorer", "SentenceEncoder"]

logger = logging.getLogger("textsiam")

N_TEXTS = 100_000  # remembered: 150 MB of vectors of 384 numbers
SIMILARITY = "similarity"
LEARN = ("calibration", "fine_tuning")


class _OfModel(BaseEstimator):
    """What all three share: which model, and input that is text."""

    model: Siamese | str | Path | None
    backend: str
    device: str | None
    dtype: str | None
    remember: int
    n_features_in_: int
    feature_names_in_: Shaped[np.ndarray, " n_features"]

    def _siamese(self) -> Siamese:
        if self.remember < 0:
            raise ValueError(f"remember is a number of texts, but is {self.remember}. Give 0 to remember none.")
        return loaded(self.model, self.backend, self.device, self.dtype, self.remember)

    def _take_names(self, given: Any, n: int, *, reset: bool) -> None:
        """Know the names of a data frame's columns, or refuse others than those fitted on."""
        names = names_of(given)
        if not reset and not hasattr(self, "n_features_in_"):
            return  # never fitted, which what learns nothing need not be
        if reset:
            self.n_features_in_ = n
            if names is not None:
                self.feature_names_in_ = names
            elif hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        elif names is not None and list(names) != list(getattr(self, "feature_names_in_", names)):
            raise ValueError(
                f"The feature names should match those that were passed during fit, {', '.join(self.feature_names_in_)}, but "
                f"{', '.join(names)} came. Name the columns alike."
            )

    def __sklearn_is_fitted__(self) -> bool:
        return True  # nothing is learnt from data

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False  # of numbers
        tags.input_tags.allow_nan = True
        tags.requires_fit = False
        return tags


class SentenceEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _OfModel):
    """Texts → sentence vectors.

    Parameters
    ----------
    model
        A folder, a Hub name, a `Siamese`, or None for the default.
    prompt
        One of the model's prompts by name, or a text to put before each.
    backend, device, dtype
        As for `Siamese.load`.
    remember
        How many texts' vectors are kept for the next call, in this process; 0 for none.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> texts = ["How do I pay?", "Can I pay by card?", "Where is my parcel?", "My parcel is late"]
    >>> topics = make_pipeline(SentenceEncoder(), LogisticRegression()).fit(texts, ["pay", "pay", "parcel", "parcel"])
    >>> topics.predict(["Do you take credit cards?"])
    array(['pay'], dtype='<U6')
    """

    def __init__(
        self,
        model: Siamese | str | Path | None = None,
        *,
        prompt: str | None = None,
        backend: str = "auto",
        device: str | None = None,
        dtype: str | None = None,
        remember: int = N_TEXTS,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.backend = backend
        self.device = device
        self.dtype = dtype
        self.remember = remember

    def fit(self, X: Any, y: Any = None) -> "SentenceEncoder":  # noqa: ARG002  scikit-learn's names
        """Read the model; nothing is learnt."""
        self._siamese().encoder.prompt_text(self.prompt)
        self._take_names(X, 1, reset=True)
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n dim"]:
        """One vector a text, (n, dim) fp32; NaN for a value that is no usable text, which is logged.

        Parameters
        ----------
        X
            (n,) texts: a list, an array, a Series, a data frame with one column.

        Raises
        ------
        UnreadableInput
            If it is a table of several columns, or a single string.
        """
        texts = one_column(X)
        self._take_names(X, 1, reset=False)
        return self._siamese().encode(texts, prompt=self.prompt)

    @property
    def _n_features_out(self) -> int:
        return int(self._siamese().encoder.dim)


class PairScorer(TransformerMixin, _OfModel):
    """Pairs of texts → features: their similarity, and what a small encoder hardly sees.

    Parameters
    ----------
    model, backend, device, dtype, remember
        As for `SentenceEncoder`.
    features
        Names: ``similarity``, and those of `textsiam.scoring.features.FEATURES`. None: all of them.
    vectors
        Also the two vectors' absolute difference and their product, number by number: 2 · dim features, from which a classifier
        learns what counts for these pairs.

    Examples
    --------
    >>> pairs = [("How do I pay €100?", "How can I pay €1000?"), ("How do I pay?", "Who are you?")]
    >>> scorer = PairScorer(features=["similarity", "numbers"])
    >>> scorer.fit_transform(pairs).round(1)
    array([[1. , 1. ],
           [0.1, 0. ]], dtype=float32)
    >>> scorer.get_feature_names_out()
    array(['similarity', 'numbers'], dtype=object)
    """

    def __init__(
        self,
        model: Siamese | str | Path | None = None,
        *,
        features: Sequence[str] | None = None,
        vectors: bool = False,
        backend: str = "auto",
        device: str | None = None,
        dtype: str | None = None,
        remember: int = N_TEXTS,
    ) -> None:
        self.model = model
        self.features = features
        self.vectors = vectors
        self.backend = backend
        self.device = device
        self.dtype = dtype
        self.remember = remember

    def fit(self, X: Any, y: Any = None) -> "PairScorer":  # noqa: ARG002
        """Check the names and read the model; nothing is learnt.

        Raises
        ------
        ValueError
            If there is no such feature.
        """
        self._names()
        self._siamese()
        self._take_names(X, 2, reset=True)
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n k"]:
        """(n, number of features) fp32; a row of NaN for a pair with an unusable text, which is logged.

        Parameters
        ----------
        X
            (n, 2) texts: rows of two, an array, a data frame with two columns, `Pairs`.

        Raises
        ------
        UnreadableInput
            If they are not two columns of equal length.
        """
        first, second = two_columns(X)
        self._take_names(X, 2, reset=False)
        names, model = self._names(), self._siamese()
        pairs = _usable(first, second)
        told = np.full((len(first), len(self.get_feature_names_out())), np.nan, dtype=np.float32)
        columns = [
            model.score(pairs.first, pairs.second)
            if name == SIMILARITY
            else [FEATURES[name](a, b) for a, b in zip(pairs.first, pairs.second, strict=True)]
            for name in names
        ]
        rows = np.asarray(pairs.rows, dtype=np.int64) - 1
        for place, column in enumerate(columns):
            told[rows, place] = column
        if self.vectors:
            a, b = model.encode(pairs.first), model.encode(pairs.second)
            told[rows, len(names) :] = np.hstack([np.abs(a - b), a * b])
        return told

    def get_feature_names_out(self, input_features: Any = None) -> Shaped[np.ndarray, " k"]:  # noqa: ARG002
        """``similarity``, …, and with `vectors` ``difference0``, …, ``product0``, …."""
        dim = self._siamese().encoder.dim if self.vectors else 0
        numbered = [f"{kind}{place}" for kind in ("difference", "product") for place in range(dim)]
        return np.array([*self._names(), *numbered], dtype=object)

    def _names(self) -> list[str]:
        known = [SIMILARITY, *FEATURES]
        names = known if self.features is None else list(self.features)
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"There is no feature {unknown[0]!r}. Use some of {', '.join(known)}.")
        if not names and not self.vectors:
            raise ValueError("No feature was asked for. Name some, or leave `features` out for all.")
        return names


class PairClassifier(ClassifierMixin, _OfModel):
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
        self.model = model
        self.learn = learn
        self.method = method
        self.training = training
        self.folder = folder
        self.random_state = random_state
        self.backend = backend
        self.device = device
        self.dtype = dtype
        self.remember = remember

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
        usable = _usable(first, second)
        rows = np.asarray(usable.rows, dtype=np.int64) - 1
        pairs = Pairs(usable.first, usable.second, labels=labels[rows])
        grouped = None if groups is None else _numbered(groups, len(first))[rows]
        is_tuned = self.learn == "fine_tuning"
        fitted = self._tuned(pairs, grouped) if is_tuned else self._calibrated(pairs, grouped)
        # All at once, and last: a fit that fails leaves what was fitted before.
        self._take_names(X, 2, reset=True)
        self.classes_, self.calibrator_, self.boundary_ = classes, fitted.calibrator, _boundary(fitted)
        self.fingerprint_ = fitted.encoder.fingerprint
        self.source_ = str(fitted.encoder.folder.path.resolve()) if is_tuned else None
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, " n"]:
        """(n,) the score above the one whose probability is a half: positive for pairs that mean the same; NaN for unusable."""
        return self._scores(X).astype(np.float64) - self.boundary_

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n 2"]:
        """(n, 2) in the order of `classes_`; NaN for a pair with an unusable text."""
        scores = self._scores(X)
        told = self._fitted().calibrated(scores)
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
        if source and (
            self.folder is None or not Path(source).is_relative_to(Path(self.folder).expanduser().resolve())
        ):
            raise TypeError(
                "This fine-tuned classifier's weights lie in a temporary folder, which ends with this process. Name a folder "
                "(folder=) to pickle it."
            )
        return super().__getstate__()

    def _scores(self, given: Any) -> Float[np.ndarray, " n"]:
        check_is_fitted(self)
        first, second = two_columns(given)
        self._take_names(given, 2, reset=False)
        return self._fitted().score(first, second)

    def _fitted(self) -> Siamese:
        source = getattr(self, "source_", None)
        model = loaded(source, self.backend, self.device, self.dtype, self.remember) if source else self._siamese()
        if model.encoder.fingerprint != self.fingerprint_:
            raise EncoderMismatch(
                f"The model at {model.encoder.folder.path} is another than when this classifier was fitted. Fit it again."
            )
        return replace(model, calibrator=self.calibrator_)

    def _calibrated(self, pairs: Pairs, groups: Int[np.ndarray, " n"] | None) -> Siamese:
        model = self._siamese()
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

        parts = split(pairs, seed=self.random_state, shares=(0.8, 0.2, 0.0), links=_links(pairs, groups))
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


class PairKFold(BaseCrossValidator):
    """Folds of pairs that do not leak: no text, and no chain of pairs that mean the same, in training and test.

    Rows whose two texts belong to different folds are in neither part of the split that would leak (`textsiam.folds`); so is a
    pair with an unusable text.

    Parameters
    ----------
    n_splits
        At least 2.
    random_state
        The same seed gives the same folds.

    Examples
    --------
    >>> pairs = [("a", "b"), ("b", "c"), ("d", "e"), ("f", "g")]
    >>> for train, test in PairKFold(2).split(pairs, [1, 1, 1, 0]):
    ...     print(train, test)
    [2] [0 1 3]
    [0 1 3] [2]
    """

    __metadata_request__split = {"groups": True}  # noqa: RUF012  as scikit-learn's own do

    def __init__(self, n_splits: int = 5, *, random_state: int = 0) -> None:
        self.n_splits = n_splits
        self.random_state = random_state

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers for training and for testing, `n_splits` times.

        Parameters
        ----------
        X
            (n, 2) texts.
        y
            (n,) two labels, by which pairs that mean the same are chained. None: all pairs do.
        groups
            (n,) pairs of one group are never on two sides.
        """
        first, second = two_columns(X)
        usable = _usable(first, second)
        rows = np.asarray(usable.rows, dtype=np.int64) - 1
        labels = None if y is None else _numbered(y, len(first))[rows]
        pairs = Pairs(usable.first, usable.second, labels=labels)
        links = _links(pairs, None if groups is None else _numbered(groups, len(first))[rows])
        for train, test in folds(pairs, self.n_splits, seed=self.random_state, links=links):
            yield rows[np.asarray(train.rows, dtype=np.int64) - 1], rows[np.asarray(test.rows, dtype=np.int64) - 1]

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: ARG002
        """How many splits there are."""
        return self.n_splits


def _usable(first: Sequence[Any], second: Sequence[Any]) -> Pairs:
    pairs = Pairs.usable(first, second)
    if pairs.set_aside:
        logger.warning("%s", pairs.set_aside)
    return pairs


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


def _numbered(values: Any, n: int) -> Int[np.ndarray, " n"]:
    """Labels or groups as numbers from 0, in their order."""
    found = np.asarray(values)
    if found.shape != (n,):
        raise UnreadableInput(f"Each pair has one label or group, but {n:,} pairs and shape {found.shape} came.")
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _links(pairs: Pairs, groups: Int[np.ndarray, " n"] | None) -> list[tuple[str, str]]:
    """Pairs of texts that keep each group together: a pair goes where both its texts are, or nowhere."""
    if groups is None:
        return []
    order = np.argsort(groups, kind="stable").tolist()
    return [(pairs.first[a], pairs.first[b]) for a, b in pairwise(order) if groups[a] == groups[b]]


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
