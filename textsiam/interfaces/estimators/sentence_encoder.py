"""Texts → sentence vectors."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from textsiam.interfaces.estimators.inputs import one_column
from textsiam.interfaces.estimators.models import N_TEXTS, OfModel
from textsiam.scoring.siamese import Siamese


class SentenceEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, OfModel):
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
        How many texts' vectors are kept for the next call, in this process; 0 for none. The default takes up to 180 MB with
        vectors of 384 numbers, for each of the last four models.

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
        super().__init__(model, backend=backend, device=device, dtype=dtype, remember=remember)
        self.prompt = prompt

    def fit(self, X: Any, y: Any = None) -> "SentenceEncoder":  # noqa: ARG002  scikit-learn's names
        """Read the model; nothing is learnt."""
        model = self._looked_up()
        model.encoder.prompt_text(self.prompt)
        self._take_names(X, 1, reset=True)
        self._keep(model)
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
        EncoderMismatch
            If the model is another than when it was fitted.
        ModelNotFound
            If the model is no longer to be had: pickles travel without it.
        """
        texts = one_column(X)
        self._take_names(X, 1, reset=False)
        return self._siamese().encode(texts, prompt=self.prompt)

    @property
    def _n_features_out(self) -> int:
        return int(self._siamese().encoder.dim)
