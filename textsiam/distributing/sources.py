"""Sources → shards of texts: every source is read once, where a task runs, by the readers of one machine."""

import glob
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs

from textsiam.data.sources import open_source
from textsiam.data.streams import stream_texts
from textsiam.data.tables import Dialect
from textsiam.data.texts import Fault, SetAside, Texts
from textsiam.distributing.workspace import Workspace, file_system, key_of
from textsiam.errors import UnreadableInput

_WILD = "*?["


@dataclass(frozen=True)
class Reading:
    """How sources are read; the options of `textsiam.read_texts`, and the rows of a shard."""

    column: str | None = None
    id_column: str | None = None
    split: str | None = None
    format: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    n_rows: int = 16_384


@dataclass(frozen=True)
class Shard:
    """Neighbouring usable texts of one source: a file of ``id``, ``text`` and ``hash`` in the workspace.

    Parameters
    ----------
    name
        The file's name in the workspace; it holds the hash of the source's name, size, date and reading.
    start, n
        The row number of the first text among those of all sources, and how many texts there are.
    source, first, last
        The source, and the rows of it that the first and the last text stand in.
    """

    name: str
    start: int
    n: int
    source: str
    first: int
    last: int

    @property
    def stop(self) -> int:
        """The row number after the last."""
        return self.start + self.n

    def __str__(self) -> str:
        return f"{self.source}, rows {self.first:,} to {self.last:,}"


def expanded(patterns: Sequence[str]) -> list[str]:
    """The files that paths, URIs and patterns (``*``, ``?``, ``[…]`` in the last part of a URI) name, each once, in order.

    Raises
    ------
    UnreadableInput
        If a pattern matches nothing.

    Examples
    --------
    >>> from textsiam.samples import QUESTIONS
    >>> [Path(name).name for name in expanded([f"{QUESTIONS.parent}/q*.csv"])]
    ['questions.csv']
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        names = _expanded(pattern) if any(sign in pattern for sign in _WILD) else [pattern]
        if not names:
            raise UnreadableInput(f"No file matches {pattern}. Check the pattern, or name the files.")
        found |= dict.fromkeys(names)
    return list(found)


def _expanded(pattern: str) -> list[str]:
    if "://" not in pattern:
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
        return sorted(name for name in names if Path(name).is_file())
    folder, _, last = pattern.rpartition("/")
    files, path = file_system(folder)
    inside = files.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(
        f"{folder}/{info.base_name}"
        for info in inside
        if info.type == pafs.FileType.File and fnmatch(info.base_name, last)
    )


def key_of_source(name: str, reading: Reading, *, several: bool) -> str:
    """A hash that changes when the source does, by size and date, or is read otherwise.

    Raises
    ------
    OSError
        If there is no such file.
    """
    files, path = file_system(name if "://" in name else str(Path(name).resolve()))
    info = files.get_file_info(path)
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(f"There is no file {name}. Name files, or patterns in quotes.")
    return key_of("texts", name, info.size, info.mtime_ns, vars(reading), several)


def read_source(work: Workspace, name: str, reading: Reading, *, several: bool) -> str:
    """Write the source's shards, and a JSON file that tells of them; its name comes back. One that is there is not read again.

    Raises
    ------
    UnreadableInput, OSError
        If the source cannot be read.
    """
    key = key_of_source(name, reading, several=several)
    listing = f"texts/{key}.json"
    if listing in work:
        return listing
    shards: list[dict[str, Any]] = []
    set_aside, n_renamed, mapping = SetAside(), 0, {}
    dialect = Dialect(reading.format, reading.delimiter, reading.encoding)
    with here(name) as local, closing(open_source(local, reading.split, dialect)) as table:
        for chunk in stream_texts(table, column=reading.column, id_column=reading.id_column, n_rows=reading.n_rows):
            mapping = dict(chunk.mapping)
            set_aside += chunk.set_aside
            n_renamed += len(chunk.renamed)
            if len(chunk):
                shard = f"texts/{key}/{len(shards):06d}.arrow"
                prefix = f"{name}:" if several else ""
                work.write(shard, _columns(chunk, prefix))
                shards.append({"name": shard, "n": len(chunk), "first": chunk.rows[0], "last": chunk.rows[-1]})
    faults = [(name, fault.row, fault.reason) for fault in set_aside]
    told = {"source": name, "shards": shards, "set_aside": faults, "renamed": n_renamed, "mapping": mapping}
    work.write_json(listing, told)
    return listing


def shards_of(listings: Sequence[dict[str, Any]]) -> list[Shard]:
    """The shards of all sources in order, their rows counted through."""
    shards, start = [], 0
    for told in listings:
        for of in told["shards"]:
            shards.append(Shard(of["name"], start, of["n"], told["source"], of["first"], of["last"]))
            start += of["n"]
    return shards


def set_aside_of(listings: Sequence[dict[str, Any]]) -> SetAside:
    """The rows of all sources that could not be used."""
    return SetAside(tuple(Fault(*fault) for told in listings for fault in told["set_aside"]))


def hashes_of(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of a hash of 128 bits for each text: that two different ones of a billion are alike has odds of 1 : 10²⁰."""
    joined = b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)
    halves = np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)
    return halves[:, 0], halves[:, 1]


def _columns(chunk: Texts, prefix: str) -> dict[str, Any]:
    high, low = hashes_of(chunk.texts)
    return {"id": [prefix + name for name in chunk.ids], "text": list(chunk.texts), "high": high, "low": low}


@contextmanager
def here(name: str) -> Iterator[str]:
    """The source's path on this machine; one that lies elsewhere is fetched for as long as it is read."""
    if "://" not in name:
        yield name
        return
    files, path = file_system(name)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / name.rpartition("/")[2]
        with files.open_input_stream(path) as source, copy.open("wb") as target:
            while part := source.read(1 << 24):
                target.write(part)
        yield str(copy)
