"""Where tasks write their results: Arrow and JSON files in a folder that all machines see, or in an object store.

The name of a file is a hash of all that its content depends on, and files appear whole. So a file that exists is finished and
right, and a run after a crash only computes what is missing.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from textsiam.data.files import replacing

Columns = Mapping[str, Any]

# The version is part of every name, so that files of another version are not used.
FOLDERS = (
    "texts",
    "repeats",
    "vectors",
    "bounds",
    "pairs",
    "cells",
    "parts",
    "judged",
    "keepers",
    "offers",
    "clusters",
)
VERSION = 1

_ENDING = b"ARROW1"
_STORES = ("s3", "gcs", "abfs")


class Workspace:
    """A folder, or a place such as ``s3://bucket/prefix``; files appear in it complete or not at all.

    `root` is a path or URI, the same on all machines.

    Examples
    --------
    >>> import tempfile
    >>> work = Workspace(tempfile.mkdtemp())
    >>> work.write("pairs/a.arrow", {"left": np.array([0]), "right": np.array([3])})
    >>> work.read("pairs/a.arrow")["right"], "pairs/b.arrow" in work
    (array([3]), False)
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root) if "://" in str(root) else str(Path(root).resolve())
        self._files, self._base = file_system(self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        return Workspace, (self.root,)

    def __contains__(self, name: str) -> bool:
        """Whether the file exists and, for Arrow, is complete: in a power cut a disk may lose data that it had accepted."""
        path = self._path(name)
        info = self._files.get_file_info(path)
        if info.type != pafs.FileType.File or not info.size:
            return False
        if not name.endswith(".arrow"):
            return True
        with self._files.open_input_file(path) as source:
            source.seek(max(0, info.size - len(_ENDING)))
            return bool(source.read() == _ENDING)

    def write(self, name: str, columns: Columns) -> None:
        """Write columns as one Arrow file; a matrix (n, dim) becomes lists of fixed size.

        Raises OSError if the file system refuses it; no file of that name exists then.
        """
        table = pa.table({key: _column(values) for key, values in columns.items()})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=max(1, table.num_rows))
        self._put(name, sink.getvalue())

    def read(self, name: str, *names: str) -> dict[str, Any]:
        """Columns of an Arrow file: numbers as NumPy arrays (not copied if the folder is on this machine), texts as lists.

        Raises OSError if there is no such file.
        """
        table = self.table(name, *names)
        return {key: _values(table.column(key)) for key in table.column_names}

    def table(self, name: str, *names: str) -> pa.Table:
        """The Arrow table of a file, or some of its columns."""
        local = isinstance(self._files, pafs.LocalFileSystem)
        source = pa.memory_map(self._path(name)) if local else self._files.open_input_file(self._path(name))
        table = pa.ipc.open_file(source).read_all()
        return table.select(list(names)) if names else table

    def between(self, name: str, by: str, start: Any, stop: Any) -> dict[str, Any]:
        """The rows of a file, sorted by the column `by`, in which it is from `start` below `stop`: all columns."""
        told = self.read(name)
        inside = slice(*np.searchsorted(told[by], (start, stop)))
        return {key: values[inside] for key, values in told.items()}

    def write_json(self, name: str, told: Any) -> None:
        """Write plain values as a JSON file."""
        self._put(name, json.dumps(told, ensure_ascii=False).encode())

    def read_json(self, name: str) -> Any:
        """What `write_json` wrote."""
        with self._files.open_input_stream(self._path(name)) as source:
            return json.loads(source.read())

    def remove(self) -> None:
        """Delete the files of this class, and the folder if it is empty then."""
        for folder in FOLDERS:
            if self._files.get_file_info(self._path(folder)).type == pafs.FileType.Directory:
                self._files.delete_dir(self._path(folder))
        if (
            isinstance(self._files, pafs.LocalFileSystem)
            and Path(self._base).is_dir()
            and not any(Path(self._base).iterdir())
        ):
            Path(self._base).rmdir()

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _put(self, name: str, content: Any) -> None:
        """Write the file in one step: rename it when it is on the disk; an object store shows only complete files."""
        path = self._path(name)
        if isinstance(self._files, pafs.LocalFileSystem):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with replacing(Path(path)) as temporary:
                temporary.write_bytes(content)
            return
        temporary_path = path if self._files.type_name in _STORES else f"{path}.{secrets.token_hex(4)}.tmp"
        with self._files.open_output_stream(temporary_path) as sink:
            sink.write(content)
        if temporary_path != path:
            self._files.move(temporary_path, path)


def file_system(place: str) -> tuple[Any, str]:
    """The file system of a path or URI, and the path there.

    Raises ValueError if it is a URI that pyarrow knows no file system for.
    """
    if "://" not in place:
        return pafs.LocalFileSystem(), place.rstrip("/")
    try:
        files, path = pafs.FileSystem.from_uri(place)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"textsiam cannot open {place}: {error}. Give a path, or s3://, gs://, hdfs://, file://."
        ) from None
    return files, path.rstrip("/")


def key_of(*parts: Any) -> str:
    """A short hash of plain values, to name files.

    Examples
    --------
    >>> key_of("a", 1) == key_of("a", 1) != key_of("a", 2)
    True
    """
    return hashlib.sha256(json.dumps([VERSION, *parts], sort_keys=True).encode()).hexdigest()[:24]


def _column(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.ndim == 2:  # noqa: PLR2004  a matrix
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return values


def _values(column: Any) -> Any:
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # which copies
    if pa.types.is_fixed_size_list(column.type):
        flat = whole.flatten().to_numpy(zero_copy_only=False) if len(whole) else np.empty(0, np.float32)
        return np.asarray(flat).reshape(-1, column.type.list_size)
    if pa.types.is_boolean(column.type) or pa.types.is_primitive(column.type):
        return whole.to_numpy(zero_copy_only=False)
    return whole.to_pylist()
