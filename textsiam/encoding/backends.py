"""What computes embeddings, by name, and which of it is the best here."""

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
    """What turns a padded batch into embeddings.

    One that computes elsewhere than on the CPU, and whose `embed_many` returns before it has done so, may say so with an
    attribute ``offloads = True``: the next texts are then tokenised meanwhile.
    """

    @property
    def precision(self) -> str:
        """The precision class of its vectors, such as ``float32``."""

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch that it works best with."""

    @property
    def padding_budget(self) -> int:
        """Tokens of padding beyond which a batch had better be cut in two; `token_budget` where padding costs nothing."""

    def embed(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[np.ndarray, "n dim"]:
        """Embeddings of a padded batch, fp32."""

    def embed_many(self, batches: Sequence[Batch]) -> Iterator[Float[np.ndarray, "n dim"]]:
        """Embeddings of each batch, in order; several may be computed at a time."""


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
    """OpenVINO, which needs no torch, where it is installed, runs this model and no GPU does; else PyTorch."""
    if str(dtype).removeprefix("torch.") == "int8":  # nothing else computes it
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
    """Whether PyTorch would compute on a GPU; torch is imported to find out only where the machine seems to have one."""
    signs = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, either under Windows' Linux
    if sys.platform == "linux" and not any(Path(sign).exists() for sign in signs):
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
