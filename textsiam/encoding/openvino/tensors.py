"""The tensors of a model folder, mapped into memory: nothing is copied, and unused tensors are never read.

The safetensors format: eight bytes with the length of a JSON header, the header (dtype, shape, and first and last byte of each
tensor), the bytes of the tensors.
"""

import json
import mmap
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from textsiam.encoding.model_folder.folder import read_object
from textsiam.errors import BrokenModel

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Tensors:
    """Tensors by name, as fp32, from the safetensors files of a folder.

    `base` is a prefix such as ``bert`` that some writers put before every name; it is removed. Raises `BrokenModel` if a file is
    not a safetensors file, or was cut short.
    """

    def __init__(self, folder: Path, base: str) -> None:
        self.folder = folder
        self._found: dict[str, tuple[str, Shaped[np.ndarray, "..."]]] = {}
        self._read: dict[Path, os.stat_result] = {}
        self._maps: list[mmap.mmap] = []
        for file in _files(folder):
            content, tensors = _mapped(file)
            self._maps.append(content._mmap)  # type: ignore[attr-defined]  # noqa: SLF001  NumPy has no public way to it
            for name, (dtype, values) in tensors.items():
                self._found[_plain(name, base)] = dtype, values
            self._read[file] = file.stat()

    def require(self, names: list[str]) -> None:
        """Raise `BrokenModel` if any of these tensors is missing."""
        if missing := sorted(set(names) - set(self._found)):
            raise BrokenModel(
                f"The weights in {self.folder} lack {len(missing)} tensors, such as {missing[0]}. "
                "Restore them from the model's source."
            )

    def drop(self) -> None:
        """Free the memory of all tensors. They are read again from the same files when they are used again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for content in self._maps:
                content.madvise(mmap.MADV_DONTNEED)

    def check(self) -> None:
        """Raise `BrokenModel` if a mapped file was overwritten: the mapping shows its new content.

        Files that were replaced or removed stay as they were in the mapping, as when a model is saved to its own folder.
        """
        for file, before in self._read.items():
            now = file.stat() if file.exists() else None
            if (
                now
                and os.path.samestat(now, before)
                and (now.st_mtime_ns, now.st_size) != (before.st_mtime_ns, before.st_size)
            ):
                raise BrokenModel(f"{file} was changed while the model was in use. Load the model again.")

    def __getitem__(self, name: str) -> Float[np.ndarray, "..."]:
        """The tensor of that name. Raises `BrokenModel` if it holds NaN or infinity."""
        dtype, stored = self._found[name]
        # bf16 is the upper half of fp32.
        values = (stored.astype("<u4") << 16).view("<f4") if dtype == "BF16" else np.asarray(stored, dtype=np.float32)
        # The sum of squares shows a NaN or infinity in a tenth of the time of a check of each value.
        if not np.isfinite(np.vdot(values, values)):
            raise BrokenModel(
                f"The weights in {self.folder} are broken: {name} has a NaN or infinite value. "
                "Restore them from the model's source. If you trained it, train it again with a lower learning rate."
            )
        return values


def _files(folder: Path) -> list[Path]:
    """The files that transformers would read: the single one, else those that the index names."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists() or not index.exists():
        return [whole]
    named = read_object(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise BrokenModel(f"{index} does not say which file holds which tensor. Restore it from the model's source.")
    return sorted({folder / name for name in named.values()})


def _mapped(file: Path) -> tuple[np.memmap, dict[str, tuple[str, Shaped[np.ndarray, "..."]]]]:
    try:
        # OpenVINO takes only writable arrays; in this mode a write does not reach the file.
        content = np.memmap(file, mode="c")
        start = 8 + int(content[:8].view("<u8")[0])
        header = json.loads(content[8:start].tobytes())
        header.pop("__metadata__", None)
        found = {}
        for name, entry in header.items():
            if entry["dtype"] in _DTYPES:
                first, last = entry["data_offsets"]
                values = np.ndarray(entry["shape"], _DTYPES[entry["dtype"]], content[start:][first:last])
                found[name] = entry["dtype"], values
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise BrokenModel(
            f"The weights in {file} cannot be read: {error}. Restore them from the model's source."
        ) from error
    return content, found


def _plain(name: str, base: str) -> str:
    """A tensor's name without the model's prefix, and with the new names of normalisation tensors."""
    name = name.removeprefix(f"{base}.")
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        name = name.removesuffix(old) + new if name.endswith(f"LayerNorm{old}") else name
    return name
