"""Turns pairs of texts into features."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.base import TransformerMixin

from textsiam.interfaces.estimators.inputs import two_columns, usable_pairs
from textsiam.interfaces.estimators.models import OfModel
from textsiam.scoring.explaining.features import FEATURES

SIMILARITY = "similarity"


@dataclass(eq=False, repr=False)
class PairScorer(TransformerMixin, OfModel):
    """Features of pairs of texts: their similarity, and differences that a small encoder hardly sees.

    Parameters
    ----------
    model, backend, device, dtype, remember
        As for `SentenceEncoder`.
    features
        Names: ``similarity``, and those of `textsiam.scoring.explaining.features.FEATURES`. None: all of them.
    vectors
        Also the absolute differences and the products of the two vectors' numbers: 2 · dim features, from which a classifier
        learns what matters for these pairs.

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

    _: KW_ONLY
    features: Sequence[str] | None = None
    vectors: bool = False

    def fit(self, X: Any, y: Any = None) -> "PairScorer":  # noqa: ARG002
        """Check the features and read the model; nothing is learnt.

        Raises
        ------
        ValueError
            If a feature is unknown, or there is none.
        TypeError
            If `features` is one string.
        """
        self._names()
        self._keep(self._looked_up(), X, 2)
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n k"]:
        """(n, number of features) fp32. A pair with an unusable text is logged and gets a row of NaN.

        Parameters
        ----------
        X
            (n, 2) texts: rows of two, an array, a data frame with two columns, `Pairs`.

        Raises
        ------
        UnreadableInput
            If they are not two columns of equal length.
        EncoderMismatch, ModelNotFound
            As for `SentenceEncoder.transform`.
        """
        first, second = two_columns(X)
        self._check_names(X)
        names, model = self._names(), self._siamese()
        pairs, rows = usable_pairs(first, second)
        features = np.full((len(first), len(self.get_feature_names_out())), np.nan, dtype=np.float32)
        for place, name in enumerate(names):
            if name == SIMILARITY:
                features[rows, place] = model.score(pairs.first, pairs.second)
            else:
                features[rows, place] = [FEATURES[name](a, b) for a, b in zip(pairs.first, pairs.second, strict=True)]
        if self.vectors:
            a, b = model.encode(pairs.first), model.encode(pairs.second)
            features[rows, len(names) :] = np.hstack([np.abs(a - b), a * b])
        return features

    def get_feature_names_out(self, input_features: Any = None) -> Shaped[np.ndarray, " k"]:  # noqa: ARG002
        """The names of the features; with `vectors` also ``difference0``, …, ``product0``, …."""
        dim = self._siamese().encoder.dim if self.vectors else 0
        numbered = [f"{kind}{place}" for kind in ("difference", "product") for place in range(dim)]
        return np.array([*self._names(), *numbered], dtype=object)

    def _names(self) -> list[str]:
        known = [SIMILARITY, *FEATURES]
        if isinstance(self.features, str):
            raise TypeError(f"features is a list of names, but got one string. Write [{self.features!r}].")
        names = known if self.features is None else list(self.features)
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"There is no feature {unknown[0]!r}. Use some of {', '.join(known)}.")
        if not names and not self.vectors:
            raise ValueError("No feature was named: `features` is empty. Name some, or leave it out for all.")
        return names
