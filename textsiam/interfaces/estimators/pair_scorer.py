"""Pairs of texts → features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.base import TransformerMixin

from textsiam.interfaces.estimators.inputs import two_columns, usable_pairs
from textsiam.interfaces.estimators.models import N_TEXTS, OfModel
from textsiam.scoring.explaining.features import FEATURES
from textsiam.scoring.siamese import Siamese

SIMILARITY = "similarity"


class PairScorer(TransformerMixin, OfModel):
    """Pairs of texts → features: their similarity, and what a small encoder hardly sees.

    Parameters
    ----------
    model, backend, device, dtype, remember
        As for `SentenceEncoder`.
    features
        Names: ``similarity``, and those of `textsiam.scoring.explaining.features.FEATURES`. None: all of them.
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
        super().__init__(model, backend=backend, device=device, dtype=dtype, remember=remember)
        self.features = features
        self.vectors = vectors

    def fit(self, X: Any, y: Any = None) -> "PairScorer":  # noqa: ARG002
        """Check the names and read the model; nothing is learnt.

        Raises
        ------
        ValueError
            If there is no such feature.
        TypeError
            If `features` is one string.
        """
        self._names()
        model = self._looked_up()
        self._take_names(X, 2, reset=True)
        self._keep(model)
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
        EncoderMismatch
            If the model is another than when it was fitted.
        ModelNotFound
            If the model is no longer to be had: pickles travel without it.
        """
        first, second = two_columns(X)
        self._take_names(X, 2, reset=False)
        names, model = self._names(), self._siamese()
        pairs, rows = usable_pairs(first, second)
        told = np.full((len(first), len(self.get_feature_names_out())), np.nan, dtype=np.float32)
        columns = [
            model.score(pairs.first, pairs.second)
            if name == SIMILARITY
            else [FEATURES[name](a, b) for a, b in zip(pairs.first, pairs.second, strict=True)]
            for name in names
        ]
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
        if isinstance(self.features, str):
            raise TypeError(f"features is a list of names, but one string came. Write [{self.features!r}].")
        names = known if self.features is None else list(self.features)
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"There is no feature {unknown[0]!r}. Use some of {', '.join(known)}.")
        if not names and not self.vectors:
            raise ValueError("No feature was asked for. Name some, or leave `features` out for all.")
        return names
