"""The weights of a transformer: read from a folder (only as safetensors), initialised at random, written to a folder."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from textsiam.encoding.model_folder.folder import ModelFolder
from textsiam.errors import BrokenModel, UnsupportedModel

# The settings that threads inside `quiet` must restore.
_QUIET: list[tuple[bool, int]] = []
_LOCK = threading.Lock()


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
