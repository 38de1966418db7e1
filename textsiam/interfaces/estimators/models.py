"""Which model: read once a process, however many estimators use it."""

import functools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from sklearn.base import BaseEstimator

from textsiam.encoding.encoder import RememberingEncoder
from textsiam.encoding.model_folder.finding import find_model
from textsiam.errors import EncoderMismatch, ModelNotFound
from textsiam.interfaces.estimators.inputs import names_of
from textsiam.scoring.siamese import Siamese

N_TEXTS = 100_000  # remembered: 180 MB with vectors of 384 numbers, however long the texts

_loading = threading.Lock()
_N_MODELS = 4  # of a process, each with what it remembers; a grid over more would read them again


class OfModel(BaseEstimator):
    """What all three share: which model, and input that is text."""

    fingerprint_: str
    n_features_in_: int
    feature_names_in_: Shaped[np.ndarray, " n_features"]

    def __init__(
        self, model: Siamese | str | Path | None, *, backend: str, device: str | None, dtype: str | None, remember: int
    ) -> None:
        self.model = model
        self.backend = backend
        self.device = device
        self.dtype = dtype
        self.remember = remember

    def _looked_up(self) -> Siamese:
        """The model as it is found now."""
        return self.model if isinstance(self.model, Siamese) else self._read(find_model(self.model))

    def _keep(self, model: Siamese) -> None:
        """Remember what was fitted: which encoder, and its folder, so that a name is looked up no second time."""
        self.fingerprint_ = model.encoder.fingerprint
        self._asked = None if isinstance(self.model, Siamese) else self.model
        self._folder = None if isinstance(self.model, Siamese) else str(model.encoder.folder.path)

    def _siamese(self) -> Siamese:
        """The model that was fitted; before that, and if its folder is gone or another was named since, as it is found now."""
        folder = getattr(self, "_folder", None)
        if folder is None or self.model != self._asked:
            return self._checked(self._looked_up())
        try:
            return self._checked(self._read(Path(folder)) if Path(folder).is_dir() else self._looked_up())
        except ModelNotFound as error:
            raise ModelNotFound(
                f"This {type(self).__name__} was fitted with the model in {folder}, which is not here. {error} If the same model "
                "lies elsewhere, name it: set_params(model=...)."
            ) from None

    def _read(self, folder: Path) -> Siamese:
        if self.remember < 0:
            raise ValueError(f"remember is a number of texts, but is {self.remember}. Give 0 to remember none.")
        return loaded(
            folder.resolve(), self.backend, self.device, self.dtype, self.remember
        )  # wherever the process goes

    def _checked(self, model: Siamese) -> Siamese:
        if getattr(self, "fingerprint_", None) not in {None, model.encoder.fingerprint}:
            raise EncoderMismatch(
                f"The model at {model.encoder.folder.path} is another than when this {type(self).__name__} was fitted. Fit it "
                "again."
            )
        return model

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


def loaded(folder: Path, backend: str, device: str | None, dtype: str | None, n_texts: int) -> Siamese:
    """The model of a folder, read once a process and again if a file has changed, which remembers so many texts."""
    stamps = tuple(
        sorted((str(file), told.st_mtime_ns, told.st_size) for file in folder.rglob("*") for told in [file.stat()])
    )
    with _loading:  # once, however many threads ask
        return _loaded(str(folder), stamps, backend, device, dtype, n_texts)


@functools.lru_cache(_N_MODELS)
def _loaded(folder: str, _stamps: object, backend: str, device: str | None, dtype: str | None, n_texts: int) -> Siamese:
    siamese = Siamese.load(Path(folder), backend=backend, device=device, dtype=dtype)
    return replace(siamese, encoder=RememberingEncoder(siamese.encoder, n_texts)) if n_texts else siamese
