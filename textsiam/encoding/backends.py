"""The backends that compute embeddings, by name, and the best one for this machine."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from textsiam.encoding.model_folder.folder import ModelFolder
from textsiam.encoding.tokenizing import Batch
from textsiam.errors import MissingExtra, UnsupportedModel

logger = logging.getLogger("textsiam")


@runtime_checkable
class Backend(Protocol):
    """Computes the embeddings of padded batches.

    If `embed_many` returns before the embeddings are computed (on a GPU, for example), set an attribute ``offloads = True``:
    the next texts are then tokenised meanwhile.
    """

    @property
    def precision(self) -> str:
        """The precision class of the vectors, such as ``float32``."""

    @property
    def token_budget(self) -> int:
        """The number of padded tokens per batch that is fastest."""

    @property
    def padding_budget(self) -> int:
        """The most padding tokens per batch; with more, two batches are faster. `token_budget` if padding costs nothing."""

    def embed(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[np.ndarray, "n dim"]:
        """Embeddings of a padded batch, fp32."""

    def embed_many(self, batches: Sequence[Batch]) -> Iterator[Float[np.ndarray, "n dim"]]:
        """Embeddings of each batch, in order. Several batches may be computed at a time."""


@runtime_checkable
class TokenBackend(Protocol):
    """A backend that also gives the vectors of tokens. `Encoder.tokens` needs it."""

    def tokens_many(
        self, batches: Sequence[Batch]
    ) -> Iterator[tuple[Float[np.ndarray, "n dim"], Float[np.ndarray, "n length dim"]]]:
        """Embeddings of each batch, and the last layer's vectors of its tokens (at padding, anything), fp32, in order."""


def _openvino(folder: ModelFolder, device: str | None, dtype: str | None) -> Backend:
    if not find_spec("openvino"):
        raise MissingExtra("The openvino backend needs OpenVINO. Install it: pip install 'textsiam[fast]'.")
    from textsiam.encoding.openvino.backend import load_openvino

    return load_openvino(folder, device, dtype)


def _pytorch(folder: ModelFolder, device: str | None, dtype: str | None) -> Backend:
    from textsiam.encoding.pytorch.twin import load_twin

    return load_twin(folder, device, dtype)


# The best first.
BACKENDS: dict[str, Callable[[ModelFolder, str | None, str | None], Backend]] = {
    "openvino": _openvino,
    "pytorch": _pytorch,
}


def best(folder: ModelFolder, device: str | None, dtype: str | None) -> Backend:
    """OpenVINO, which needs no torch, if it is installed and runs this model, and there is no GPU; else PyTorch."""
    if str(dtype).removeprefix("torch.") == "int8":  # only OpenVINO computes it
        return _openvino(folder, device, dtype)
    if find_spec("openvino") and (device is not None or not has_gpu()):
        from textsiam.encoding.openvino.backend import can_compute, is_cpu

        if is_cpu(device) and can_compute(dtype):
            try:
                return _openvino(folder, device, dtype)
            except UnsupportedModel as error:
                logger.info("%s It runs in PyTorch.", error)
    return _pytorch(folder, device, dtype)


def has_gpu() -> bool:
    """Whether PyTorch can compute on a GPU. Imports torch only if the machine seems to have one."""
    signs = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA; AMD; both under Linux on Windows
    if sys.platform == "linux" and not any(Path(sign).exists() for sign in signs):
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
