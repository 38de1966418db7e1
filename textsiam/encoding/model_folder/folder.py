"""The settings of a model folder, the hash of all that its vectors depend on, and JSON files read with clear errors."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textsiam.encoding.model_folder.stamps import sha256
from textsiam.errors import BrokenModel

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
