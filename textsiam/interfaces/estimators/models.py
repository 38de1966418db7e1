"""Which model: read once a process, however many estimators use it."""

import functools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from sklearn.base import BaseEstimator

from textsiam.encoding.embedded import find_model
from textsiam.encoding.remembering import RememberingEncoder
from textsiam.interfaces.estimators.inputs import names_of
from textsiam.scoring.siamese import Siamese

N_TEXTS = 100_000  # remembered: 150 MB of vectors of 384 numbers

_loading = threading.Lock()
_N_MODELS = 4  # of a process; a grid over more would read them again


class OfModel(BaseEstimator):
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


def loaded(
    model: Siamese | str | Path | None, backend: str, device: str | None, dtype: str | None, n_texts: int
) -> Siamese:
    """The model, read once a process, which remembers so many texts; a `Siamese` as it is."""
    if isinstance(model, Siamese):
        return model
    folder = find_model(model)
    stamps = tuple(
        sorted((str(file), told.st_mtime_ns, told.st_size) for file in folder.rglob("*") for told in [file.stat()])
    )
    with _loading:  # once, however many threads ask
        return _loaded(str(folder), stamps, backend, device, dtype, n_texts)


@functools.lru_cache(_N_MODELS)
def _loaded(folder: str, _stamps: object, backend: str, device: str | None, dtype: str | None, n_texts: int) -> Siamese:
    siamese = Siamese.load(Path(folder), backend=backend, device=device, dtype=dtype)
    return replace(siamese, encoder=RememberingEncoder(siamese.encoder, n_texts)) if n_texts else siamese
