"""Turns texts into sentence vectors."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from textsiam.interfaces.estimators.inputs import one_column
from textsiam.interfaces.estimators.models import OfModel


@dataclass(eq=False, repr=False)
class SentenceEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, OfModel):
    """The sentence vectors of texts.

    Parameters
    ----------
    model
        A folder, a Hub name, a `Siamese`, or None for the default.
    prompt
        The name of one of the model's prompts, or a text to put before each text.
    backend, device, dtype
        As for `Siamese.load`.
    remember
        How many texts' vectors to keep in this process for the next call; 0 for none. The default needs up to 180 MB at 384
        dimensions, for each of the last four models.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> texts = ["How do I pay?", "Can I pay by card?", "Where is my parcel?", "My parcel is late"]
    >>> topics = make_pipeline(SentenceEncoder(), LogisticRegression()).fit(texts, ["pay", "pay", "parcel", "parcel"])
    >>> topics.predict(["Do you take credit cards?"])
    array(['pay'], dtype='<U6')
    """

    _: KW_ONLY
    prompt: str | None = None

    def fit(self, X: Any, y: Any = None) -> "SentenceEncoder":  # noqa: ARG002  scikit-learn's names
        """Read the model; nothing is learnt."""
        model = self._looked_up()
        model.encoder.prompt_text(self.prompt)
        self._keep(model, X, 1)
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n dim"]:
        """One vector per text, (n, dim) fp32. A value that is no usable text is logged and gets NaN.

        Parameters
        ----------
        X
            (n,) texts: a list, an array, a Series, a data frame with one column.

        Raises
        ------
        UnreadableInput
            If it is a table with several columns, or a single string.
        EncoderMismatch
            If the model is another than when it was fitted.
        ModelNotFound
            If the model is not here: a pickle does not contain it.
        """
        texts = one_column(X)
        self._check_names(X)
        return self._siamese().encode(texts, prompt=self.prompt)

    @property
    def _n_features_out(self) -> int:
        return int(self._siamese().encoder.dim)
