"""The weights of a transformer: read (only as safetensors), initialised at random, written, laid out once for inference."""

import platform
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from textsiam.encoding.model_folder.folder import ModelFolder
from textsiam.errors import BrokenModel, UnsupportedModel

# The settings that threads inside `quiet` must restore.
_QUIET: list[tuple[bool, int]] = []
_LOCK = threading.Lock()
# oneDNN lays the weights out for this many rows, the tokens of a batch. It computes other numbers of rows too.
_N_ROWS = 2_048
BF16 = "_is_mkldnn_bf16_supported"  # torch's function that says whether oneDNN computes bf16 here


def read_transformer(folder: Path) -> nn.Module:
    """The transformer of a folder, in fp32 on the CPU. Reads only safetensors, never a pickle or code from the folder.

    Raises `BrokenModel` or `UnsupportedModel` if the weights cannot be read, or are not those of an encoder.
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
        except Exception as error:  # wrong values in config.json raise errors of any type
            raise BrokenModel(
                f"The weights in {folder} cannot be read: {error}. "
                "Restore them and config.json from the model's source."
            ) from error
    _refuse_missing(folder, loading)
    _refuse_infinite(folder, model)
    return model  # type: ignore[no-any-return]


@contextmanager
def quiet() -> Iterator[None]:
    """Turn off the progress bars and warnings of transformers inside the block."""
    from transformers.utils import logging

    with _LOCK:
        _QUIET.append((logging.is_progress_bar_enabled(), logging.get_verbosity()))
        logging.disable_progress_bar()
        logging.set_verbosity_error()
    try:
        yield
    finally:
        with _LOCK:
            bar, level = _QUIET.pop()  # the last thread to leave restores what the first one found
            if not _QUIET:
                logging.set_verbosity(level)
                if bar:
                    logging.enable_progress_bar()


def randomise(transformer: nn.Module, seed: int) -> None:
    """Give the transformer new random weights, initialised as its architecture does it.

    The state of torch's random numbers does not change.
    """
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = AutoModel.from_config(transformer.config, dtype=torch.float32, trust_remote_code=False)
    transformer.load_state_dict(fresh.state_dict())


def write_transformer(transformer: nn.Module, folder: ModelFolder, target: Path) -> ModelFolder:
    """Write the transformer and the tokenizer of its old folder to a new one, whose settings are returned.

    Calibration and thresholds of the old folder are left out, because they belong to other vectors.
    """
    target.mkdir(parents=True)
    for file in folder.files():
        if file.name != "config.json" and ".safetensors" not in file.name:
            shutil.copyfile(file, target / file.name)
    with quiet():
        transformer.save_pretrained(target)  # type: ignore[operator]
    return replace(folder, path=target, transformer=target, carried={})


def _refuse_decoder(folder: Path, config: Any) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModel(
            f"{folder} holds an encoder-decoder ({config.model_type}). Give an encoder, such as BERT."
        )


def _refuse_missing(folder: Path, loading: dict[str, Any]) -> None:
    # transformers fills missing weights with random numbers and only warns. The pooler is never used.
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise BrokenModel(
            f"The weights in {folder} lack {len(missing)} tensors, such as {missing[0]}. "
            "Restore them from the model's source."
        )


def _refuse_infinite(folder: Path, model: nn.Module) -> None:
    # One NaN or infinite weight makes every embedding NaN, which would look like an unusable text.
    for name, weights in model.named_parameters():
        if not name.startswith("pooler.") and not bool(torch.isfinite(weights).all()):
            raise BrokenModel(
                f"The weights in {folder} are broken: {name} has a NaN or infinite value. "
                "Restore them from the model's source. If you trained it, train it again with a lower learning rate."
            )


class FrozenLinear(nn.Module):
    """``x @ weight.T + bias`` with the constant weights of `linear`, computed in `dtype`, to which the input is converted.

    torch multiplies fp32 matrices through MKL, which on AMD has less than half the speed of oneDNN. It multiplies bf16 through
    oneDNN, but lays out the weights again at every call. In bf16, only these layers compute in bf16. The rest stays in fp32,
    which halves the rounding error of a whole model in bf16 and costs no time (benchmarks/LOG.md).
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        weight = linear.weight.detach().to(dtype).contiguous()
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.dtype = dtype
        self.laid_out = can_lay_out(dtype)
        # No buffers: torch would move and copy them, and cannot handle oneDNN's layout.
        self.weight = _ops()._reorder_linear_weight(weight, _N_ROWS) if self.laid_out else weight  # noqa: SLF001

    def forward(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_out"]:
        """The product, in the layer's dtype."""
        x = x.to(self.dtype)
        if self.laid_out:
            return _ops()._linear_pointwise(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]  # noqa: SLF001
        return nn.functional.linear(x, self.weight, self.bias)


def freeze_linears(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace every linear layer by a `FrozenLinear`. Afterwards the module is only for inference."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, FrozenLinear(child, dtype))
        else:
            freeze_linears(child, dtype)


def can_lay_out(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch has oneDNN's layers for the dtype on this processor. They are not a public part of torch."""
    if dtype == torch.bfloat16 and not (hasattr(_ops(), BF16) and getattr(_ops(), BF16)()):
        return False
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(_ops(), name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
    )


def _ops() -> Any:
    return torch.ops.mkldnn
