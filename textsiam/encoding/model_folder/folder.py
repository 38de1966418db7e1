"""The settings of a model folder, the hash of all that its vectors depend on, and JSON files read with clear errors.

A large file that has not changed is not read again to hash it, not even by the next process: inode, size and times of change (in
nanoseconds) are the same. The hashes are kept in the user's cache folder (``TEXTSIAM_CACHE``, or the system's own). If it cannot
be written, files are read every time.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from textsiam.data.files import replacing
from textsiam.errors import BrokenModel

VARIABLE = "TEXTSIAM_CACHE"
# Reading a smaller file takes no longer than reading the cache.
MIN_BYTES = 1_000_000
# A file that changed this recently may change again within one tick of the file system's clock.
MIN_AGE_NS = 2_000_000_000

# The transformer's and the tokenizer's files, for every architecture.
_MODEL_FILES = (
    "config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "*.model",
)  # fmt: skip


@dataclass(frozen=True)
class ModelFolder:
    """The settings of a model folder.

    Parameters
    ----------
    path, transformer
        The folder, and the folder with the transformer and tokenizer: the same one, or one inside it.
    pooling
        ``mean``, ``cls`` or ``max``.
    normalize
        Whether embeddings are scaled to length 1.
    max_length
        Longest sequence in tokens, with special tokens.
    lowercase
        Whether texts are lower-cased before the tokenizer's own normalisation.
    prompts, default_prompt
        Texts to put before every text, by name, and the name of the default one.
    similarity
        ``cosine``, ``dot``, ``euclidean`` or ``manhattan``.
    carried
        The content of ``textsiam.json``, empty if there is none.
    """

    path: Path
    transformer: Path
    pooling: str
    normalize: bool
    max_length: int
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str = "cosine"
    carried: Mapping[str, Any] = field(default_factory=dict)

    def files(self) -> list[Path]:
        """The transformer's and the tokenizer's files, sorted by name."""
        return sorted({file for pattern in _MODEL_FILES for file in self.transformer.glob(pattern)})

    def hashes(self) -> dict[str, str]:
        """The sha256 of each file, by name. Reads all weights: 0.2 s for 90 MB."""
        return {file.name: sha256(file) for file in self.files()}

    def fingerprint(self, hashes: Mapping[str, str] | None = None) -> str:
        """A hash of all that the vectors depend on: files, maximum length, pooling, normalisation, lower-casing, prompt.

        Two folders with the same fingerprint give the same vectors.
        """
        content = {
            "files": dict(hashes if hashes is not None else self.hashes()),
            "max_length": self.max_length,
            "pooling": self.pooling,
            "normalize": self.normalize,
            "lowercase": self.lowercase,
            "prompt": self.prompts.get(self.default_prompt or "", ""),
        }
        return hashlib.sha256(canonical(content)).hexdigest()


def read_json(file: Path) -> Any:
    """The content of a JSON file. Raises `BrokenModel` if it is missing or not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenModel(f"{file} is missing. Restore it from the model's source.") from None
    except (ValueError, RecursionError) as error:
        raise BrokenModel(f"{file} is not readable JSON ({error}). Restore it from the model's source.") from None


def read_object(file: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    """The object in a JSON file; `default`, if given, when there is no such file.

    Raises `BrokenModel` if the file is missing without a default, not JSON, or not an object.
    """
    if default is not None and not file.exists():
        return default
    content = read_json(file)
    if not isinstance(content, dict):
        raise BrokenModel(
            f"{file} must hold a JSON object, but holds a {type(content).__name__}. Restore it from the model's source."
        )
    return content


def canonical(content: Mapping[str, Any]) -> bytes:
    """The plain values as JSON bytes that do not depend on the order of keys."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def sha256(file: Path) -> str:
    """The file's sha256 as 64 hex digits."""
    stat = file.stat()
    if stat.st_size < MIN_BYTES:
        return _digest(file)
    state = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    name, stamps = str(file.resolve()), _stamps()
    if stamps.get(name, [None, None])[0] == state:
        return str(stamps[name][1])
    found = _digest(file)
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > MIN_AGE_NS:
        stamps[name] = [state, found]
        _keep(stamps)
    return found


def cache_folder() -> Path:
    """The user's folder for files that can be made again."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "textsiam"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "textsiam"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "textsiam"


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def _stamps() -> dict[str, list[Any]]:
    """Each file's state and hash. One dictionary per process, which remembers them even if the cache cannot be written."""
    try:
        content = json.loads((cache_folder() / "sha256.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # no file yet, damaged, or a user without a home
        return {}
    stamps = content if isinstance(content, dict) else {}
    return {name: stamp for name, stamp in stamps.items() if isinstance(stamp, list) and len(stamp) == 2}  # noqa: PLR2004


def _keep(stamps: dict[str, list[Any]]) -> None:
    """Write the stamps of files that still exist, for the next process."""
    try:
        existing = {name: stamp for name, stamp in stamps.items() if Path(name).exists()}
        cache_folder().mkdir(parents=True, exist_ok=True)
        with replacing(cache_folder() / "sha256.json") as new:
            new.write_text(json.dumps(existing), encoding="utf-8")
    except (OSError, RuntimeError):
        return
