"""The twin in PyTorch: one transformer, pooling and normalisation. An ``nn.Module`` for training and a backend for inference."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from textsiam.encoding.folder import ModelFolder
from textsiam.encoding.packing import pack, packed_states
from textsiam.encoding.pooling import POOLINGS
from textsiam.errors import BrokenModel, UnsupportedModel

logger = logging.getLogger("textsiam")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Twin(nn.Module):
    """One encoder for both sentences: token ids and mask → embeddings.

    Parameters
    ----------
    transformer
        Any encoder of transformers' whose output has ``last_hidden_state``.
    pooling
        A name from `POOLINGS`.
    normalize
        Scale each embedding to length 1.
    """

    def __init__(self, transformer: nn.Module, pooling: str = "mean", *, normalize: bool = True) -> None:
        super().__init__()
        self.transformer = transformer
        self.pool = POOLINGS[pooling]
        self.normalize = normalize
        self.packs = False

    def forward(self, ids: Int[Tensor, "n length"], mask: Int[Tensor, "n length"]) -> Float[Tensor, "n dim"]:
        """Embeddings of a padded batch; differentiable."""
        if self.packs:
            tokens = packed_states(self.transformer, ids, mask)
        else:
            tokens = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = self.pool(tokens, mask)
        # In fp32: a bf16 norm would leave lengths 0.4 % off 1, and cosines with them.
        return nn.functional.normalize(pooled.float(), dim=-1) if self.normalize else pooled.float()

    def embed(self, ids: Int[np.ndarray, "n length"], mask: Int[np.ndarray, "n length"]) -> Float[np.ndarray, "n dim"]:
        """Embeddings of a padded batch as fp32 NumPy, without gradients, on the twin's own device."""
        with torch.inference_mode():
            device = self.device
            vectors = self(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))
            return np.asarray(vectors.float().cpu().numpy())

    def pack(self) -> None:
        """Compute no padding from now on, where the architecture allows it; the embeddings stay the same to 1e-5 in fp32."""
        with quiet():
            self.packs = pack(self.transformer)
        if not self.packs:
            logger.info("%s runs with padding: textsiam cannot pack it", self.transformer.config.model_type)  # type: ignore[union-attr]

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    @property
    def precision(self) -> str:
        """The precision class of the vectors: the name of the weights' dtype."""
        return str(next(self.parameters()).dtype).removeprefix("torch.")

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch: the best measured on a CPU (benchmarks/LOG.md); for GPUs a guess, not yet measured."""
        return 2_048 if self.device.type == "cpu" else 65_536


def load_twin(folder: ModelFolder, device: str | None = None, dtype: str | None = None) -> Twin:
    """The twin of a model folder, ready for inference; on a CPU it packs, on GPUs it runs padded (not yet measured there).

    Parameters
    ----------
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``. Default: the first GPU there is, else the CPU.
    dtype
        ``float32``, ``bfloat16`` or ``float16``. Default: bf16 on a CUDA device that computes it natively, else fp32.

    Raises
    ------
    ValueError
        If torch cannot use that device or the dtype is unknown.
    BrokenModel, UnsupportedModel
        If the weights cannot be read, or are no encoder's.
    """
    place = _device(device)
    transformer = read_transformer(folder.transformer)
    twin = Twin(transformer, folder.pooling, normalize=folder.normalize)
    if place.type == "cpu":
        twin.pack()
    return twin.to(device=place, dtype=_dtype(dtype, place)).eval()


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices itself, not by emulation: many GPUs; CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def read_transformer(folder: Path) -> nn.Module:
    """The transformer of a folder, in fp32 on the CPU; only safetensors, never a pickle, never code from the folder.

    Raises
    ------
    BrokenModel, UnsupportedModel
        If the weights cannot be read, or are no encoder's.
    """
    from transformers import AutoConfig, AutoModel

    with quiet():
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            _refuse_decoder(folder, config)
            model, loading = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        except UnsupportedModel:
            raise
        except Exception as error:  # a config.json with wrong values raises whatever the line that meets them raises
            raise BrokenModel(
                f"The weights in {folder} cannot be read: {error}. "
                "Restore them and config.json from where the model came from."
            ) from error
    _refuse_missing(folder, loading)
    _refuse_infinite(folder, model)
    return model  # type: ignore[no-any-return]


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers without its bars and warnings, which are as before afterwards."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def randomise(twin: Twin, seed: int) -> None:
    """Give the twin fresh random weights, as its architecture initialises them: an untuned start.

    The random numbers of torch are as before afterwards.
    """
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = AutoModel.from_config(twin.transformer.config, dtype=torch.float32, trust_remote_code=False)
    twin.transformer.load_state_dict(fresh.state_dict())


def write_transformer(twin: Twin, folder: ModelFolder, target: Path) -> ModelFolder:
    """Write the twin's weights, with the tokenizer of the folder it came from, to a new folder; what that folder says.

    Nothing that the old folder carried (calibration, thresholds) comes along: it was of other vectors.
    """
    target.mkdir(parents=True)
    for file in folder.files():
        if file.name != "config.json" and ".safetensors" not in file.name:
            shutil.copyfile(file, target / file.name)
    with quiet():
        twin.transformer.save_pretrained(target)  # type: ignore[operator]
    return replace(folder, path=target, transformer=target, carried={})


def _refuse_decoder(folder: Path, config: Any) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModel(
            f"{folder} holds an encoder-decoder ({config.model_type}). Give an encoder, such as BERT."
        )


def _refuse_missing(folder: Path, loading: dict[str, Any]) -> None:
    # transformers fills missing weights with random numbers and only warns. The pooler is never used here.
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise BrokenModel(
            f"The weights in {folder} lack {len(missing)} tensors, such as {missing[0]}. "
            "Restore them from where the model came from."
        )


def _refuse_infinite(folder: Path, model: nn.Module) -> None:
    # One NaN or infinite weight makes every embedding NaN, which would be taken for an unusable text.
    for name, weights in model.named_parameters():
        if not name.startswith("pooler.") and not bool(torch.isfinite(weights).all()):
            raise BrokenModel(
                f"The weights in {folder} are broken: {name} has a NaN or infinite value. "
                "Restore them from where the model came from; if you trained it, train it again with a lower rate."
            )


def _device(device: str | None) -> torch.device:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"torch cannot use the device {device!r}: {str(error).splitlines()[0]} Use cpu, or install what it needs."
        ) from None
    return place


def _dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        # On CPUs fp32 stays the default until a later station has measured where bf16 pays and what it changes.
        return torch.bfloat16 if device.type == "cuda" and computes_bf16(device) else torch.float32
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"textsiam does not know the dtype {dtype!r}. Use one of {', '.join(DTYPES)}.")
    return DTYPES[name]
