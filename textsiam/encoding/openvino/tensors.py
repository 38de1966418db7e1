"""The tensors of a model folder, mapped into memory: nothing is copied, and what no one looks at is never read.

The safetensors format: eight bytes that give the length of a JSON header, the header (for each tensor dtype, shape, and first
and last byte after the header), the bytes.
"""

import json
import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from textsiam.encoding.model_folder.folder import read_object
from textsiam.errors import BrokenModel

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Tensors:
    """Tensors by name, as fp32.

    Parameters
    ----------
    folder
        Where ``*.safetensors`` are.
    base
        A prefix that some writers put before every name, such as ``bert``; names are asked for without it.

    Raises
    ------
    BrokenModel
        If a file is no safetensors file, or was cut short.
    """

    def __init__(self, folder: Path, base: str) -> None:
        self.folder = folder
        self._found: dict[str, tuple[str, Shaped[np.ndarray, "..."]]] = {}
        self._read: dict[Path, _State] = {}
        self._maps: list[mmap.mmap] = []
        for file in _files(folder):
            content, tensors = _mapped(file)
            self._maps.append(content._mmap)  # type: ignore[attr-defined]  # noqa: SLF001  NumPy has no other way to it
            for name, (dtype, values) in tensors.items():
                self._found[_plain(name, base)] = dtype, values
            self._read[file] = _state(file)

    def require(self, names: list[str]) -> None:
        """Do nothing if all these are there.

        Raises
        ------
        BrokenModel
            If some are not.
        """
        if missing := sorted(set(names) - set(self._found)):
            raise BrokenModel(
                f"The weights in {self.folder} lack {len(missing)} tensors, such as {missing[0]}. "
                "Restore them from where the model came from."
            )

    def drop(self) -> None:
        """Give back the memory of what was read; what is looked at again is read again, from the same files."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for content in self._maps:
                content.madvise(mmap.MADV_DONTNEED)

    def check(self) -> None:
        """Do nothing if what was mapped is as it was: a file written over shows its new content in the old mapping.

        One that was replaced or removed is still there for those that mapped it, as after a model was saved to its own folder.

        Raises
        ------
        BrokenModel
            If one was written over.
        """
        for file, before in self._read.items():
            now = _state(file) if file.exists() else None
            if now and now.file == before.file and now != before:
                raise BrokenModel(f"{file} was changed while the model was in use. Load the model again.")

    def __getitem__(self, name: str) -> Float[np.ndarray, "..."]:
        """The tensor of that name.

        Raises
        ------
        BrokenModel
            If it holds NaN or infinity.
        """
        dtype, stored = self._found[name]
        # bf16 is the upper half of fp32.
        values = (stored.astype("<u4") << 16).view("<f4") if dtype == "BF16" else np.asarray(stored, dtype=np.float32)
        # The sum of squares shows a NaN or infinity anywhere, in a tenth of the time of asking each value.
        if not np.isfinite(np.vdot(values, values)):
            raise BrokenModel(
                f"The weights in {self.folder} are broken: {name} has a NaN or infinite value. "
                "Restore them from where the model came from; if you trained it, train it again with a lower rate."
            )
        return values


def _files(folder: Path) -> list[Path]:
    """The files that transformers would read: one, else those that the index names."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists() or not index.exists():
        return [whole]
    named = read_object(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise BrokenModel(
            f"{index} does not say which file holds which tensor. Restore it from where the model came from."
        )
    return sorted({folder / name for name in named.values()})


class _State(NamedTuple):
    """Which file it is, whatever its name, and what changes when it is written to."""

    file: tuple[int, int]  # device and inode
    mtime_ns: int
    size: int


def _state(file: Path) -> _State:
    told = file.stat()
    return _State((told.st_dev, told.st_ino), told.st_mtime_ns, told.st_size)


def _mapped(file: Path) -> tuple[np.memmap, dict[str, tuple[str, Shaped[np.ndarray, "..."]]]]:
    try:
        content = np.memmap(file, mode="c")  # OpenVINO takes writable arrays alone; a write would not reach the file
        start = 8 + int(content[:8].view("<u8")[0])
        header = json.loads(content[8:start].tobytes())
        header.pop("__metadata__", None)
        found = {}
        for name, told in header.items():
            if told["dtype"] in _DTYPES:
                first, last = told["data_offsets"]
                values = np.ndarray(told["shape"], _DTYPES[told["dtype"]], content[start:][first:last])
                found[name] = told["dtype"], values
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise BrokenModel(
            f"The weights in {file} cannot be read: {error}. Restore them from where the model came from."
        ) from error
    return content, found


def _plain(name: str, base: str) -> str:
    """A tensor's name without the model's own prefix, and with today's names of a normalisation's tensors."""
    name = name.removeprefix(f"{base}.")
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        name = name.removesuffix(old) + new if name.endswith(f"LayerNorm{old}") else name
    return name
