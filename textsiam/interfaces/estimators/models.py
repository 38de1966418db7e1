"""The model behind an estimator, read once per process for all estimators."""

import functools
import threading
from dataclasses import KW_ONLY, dataclass, field, replace
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

N_TEXTS = 100_000  # texts whose vectors are kept: 180 MB at 384 dimensions, for texts of any length

_loading = threading.Lock()
_N_MODELS = 4  # kept per process, each with its texts' vectors; a grid over more reads them again


@dataclass(eq=False, repr=False)  # scikit-learn takes an estimator's parameters from the signature of __init__
class OfModel(BaseEstimator):
    """The parameters that all estimators share: which model, and how to load it. Their input is text."""

    model: Siamese | str | Path | None = None
    _: KW_ONLY
    backend: str = "auto"
    device: str | None = None
    dtype: str | None = None
    remember: int = N_TEXTS
    fingerprint_: str = field(init=False)
    n_features_in_: int = field(init=False)
    feature_names_in_: Shaped[np.ndarray, " n_features"] = field(init=False)

    def _looked_up(self) -> Siamese:
        """The model, found now."""
        return self.model if isinstance(self.model, Siamese) else self._read(find_model(self.model))

    def _keep(self, model: Siamese, given: Any, n_columns: int) -> None:
        """Remember the fitted columns, the encoder, and its folder, so that the model's name is looked up only once."""
        self.n_features_in_, names = n_columns, names_of(given)
        self.__dict__.pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = names
        self.fingerprint_ = model.encoder.fingerprint
        self._asked = None if isinstance(self.model, Siamese) else self.model
        self._folder = None if isinstance(self.model, Siamese) else str(model.encoder.folder.path)

    def _siamese(self) -> Siamese:
        """The fitted model. If none is fitted, its folder is gone, or another is named, the model found now."""
        folder = getattr(self, "_folder", None)
        if folder is None or self.model != self._asked:
            return self._checked(self._looked_up())
        try:
            return self._checked(self._read(Path(folder)) if Path(folder).is_dir() else self._looked_up())
        except ModelNotFound as error:
            raise ModelNotFound(
                f"This {type(self).__name__} was fitted with the model in {folder}, which is not here. {error} If the same model "
                "is elsewhere, name it: set_params(model=...)."
            ) from None

    def _read(self, folder: Path) -> Siamese:
        if self.remember < 0:
            raise ValueError(f"remember is a number of texts, but got {self.remember}. Give 0 to remember none.")
        # An absolute path holds even if the process changes its folder.
        return loaded(folder.resolve(), self.backend, self.device, self.dtype, self.remember)

    def _checked(self, model: Siamese) -> Siamese:
        if getattr(self, "fingerprint_", None) not in {None, model.encoder.fingerprint}:
            raise EncoderMismatch(
                f"The model at {model.encoder.folder.path} is another than when this {type(self).__name__} was fitted. Fit it "
                "again."
            )
        return model

    def _check_names(self, given: Any) -> None:
        """Raise ValueError if a data frame's columns have other names than the fitted ones."""
        names = names_of(given)
        if names is not None and list(names) != list(getattr(self, "feature_names_in_", names)):
            raise ValueError(
                f"The feature names should match those that were passed during fit, {', '.join(self.feature_names_in_)}, but got "
                f"{', '.join(names)}. Name the columns alike."
            )

    def __sklearn_is_fitted__(self) -> bool:
        return True  # nothing is learnt from data

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False  # a table of numbers
        tags.input_tags.allow_nan = True
        tags.requires_fit = False
        return tags


def loaded(folder: Path, backend: str, device: str | None, dtype: str | None, n_texts: int) -> Siamese:
    """The model of a folder, which remembers `n_texts` texts; it is read once per process, and again if a file changes."""
    stamps = tuple(
        sorted((str(file), stat.st_mtime_ns, stat.st_size) for file in folder.rglob("*") for stat in [file.stat()])
    )
    with _loading:  # only once, for any number of threads
        return _loaded(str(folder), stamps, backend, device, dtype, n_texts)


@functools.lru_cache(_N_MODELS)
def _loaded(folder: str, _stamps: object, backend: str, device: str | None, dtype: str | None, n_texts: int) -> Siamese:
    siamese = Siamese.load(Path(folder), backend=backend, device=device, dtype=dtype)
    return replace(siamese, encoder=RememberingEncoder(siamese.encoder, n_texts)) if n_texts else siamese
