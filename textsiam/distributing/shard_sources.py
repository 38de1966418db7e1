"""Sources → shards of texts: every source is read once, where a task runs, by the readers of one machine.

How the work is cut into tasks.
"""

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
    """Neighbouring usable texts of one source: a file of ``id`` and ``text`` in the workspace, beside it one of hashes.

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
    def hashes(self) -> str:
        """The file of the texts' hashes (see `hashes_of`)."""
        return f"{self.name.removesuffix('.arrow')}.hashes.arrow"

    @property
    def stop(self) -> int:
        """The row number after the last."""
        return self.start + self.n

    def __str__(self) -> str:
        return f"{self.source}, rows {self.first:,} to {self.last:,}"


def expanded(patterns: Sequence[str]) -> list[str]:
    """The files that paths, URIs and patterns name, each once, in order.

    ``*``, ``?`` and ``[…]`` are wildcards, ``**`` any folders; in a URI ``*`` and ``[…]`` of its last part. A path that exists is
    taken as it is.

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
    found: dict[str, str] = {}
    for pattern in patterns:
        wild = "*[" if "://" in pattern else "*?["
        is_pattern = any(sign in pattern for sign in wild) and not ("://" not in pattern and Path(pattern).exists())
        names = _expanded(pattern) if is_pattern else [pattern]
        if not names:
            raise UnreadableInput(f"No file matches {pattern}. Check the pattern, or name the files.")
        for name in names:
            found.setdefault(place_of(name), name)
    return list(found.values())


def _expanded(pattern: str) -> list[str]:
    if "://" not in pattern:
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
        return sorted(name for name in names if Path(name).is_file())
    address, _, query = pattern.partition("?")
    folder, _, last = address.rpartition("/")
    files, path = file_system(f"{folder}?{query}" if query else folder)
    inside = files.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(
        f"{folder}/{info.base_name}{'?' if query else ''}{query}"
        for info in inside
        if info.type == pafs.FileType.File and fnmatch(info.base_name, last)
    )


def place_of(name: str) -> str:
    """What every worker finds the source by, whatever folder it works in."""
    return name if "://" in name else str(Path(name).resolve())


def label_of(name: str) -> str:
    """What people and ids call the source: without a URI's keys.

    Examples
    --------
    >>> label_of("s3://key:secret@bucket/a.parquet?region=eu"), label_of("a.csv")
    ('s3://bucket/a.parquet', 'a.csv')
    """
    if "://" not in name:
        return name
    scheme, _, rest = name.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def key_of_source(place: str, label: str, reading: Reading) -> str:
    """A hash that changes when the source does, by size and date, or is read otherwise.

    Raises
    ------
    OSError
        If there is no such file.
    """
    files, path = file_system(place)
    info = files.get_file_info(path)
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(f"There is no file {label}. Name files, or patterns in quotes.")
    return key_of("texts", place, info.size, info.mtime_ns, vars(reading))


def read_source(work: Workspace, place: str, label: str, reading: Reading) -> str:
    """Write the source's shards, and a JSON file that tells of them; its name comes back. One that is there is not read again.

    Where a source breaks off, what came before is kept, and the listing tells why it ends.

    Raises
    ------
    UnreadableInput, OSError
        If the source cannot be read.
    """
    key = key_of_source(place, label, reading)
    listing = f"texts/{key}.json"
    if listing in work:
        return listing
    shards: list[dict[str, Any]] = []
    faults: list[tuple[str, int, str]] = []
    told: dict[str, Any] = {
        "source": label,
        "shards": shards,
        "set_aside": faults,
        "renamed": 0,
        "mapping": {},
        "broken": None,
    }
    dialect = Dialect(reading.format, reading.delimiter, reading.encoding)
    try:
        with here(place) as local, closing(open_source(local, reading.split, dialect)) as table:
            for chunk in stream_texts(table, column=reading.column, id_column=reading.id_column, n_rows=reading.n_rows):
                told["mapping"] = dict(chunk.mapping)
                told["renamed"] += len(chunk.renamed)
                faults += [(label, fault.row, fault.reason) for fault in chunk.set_aside]
                if len(chunk):
                    shards.append(_written(work, f"texts/{key}/{len(shards):06d}", chunk))
    except ValueError as error:
        if not shards:
            raise
        told["broken"] = f"rows after {shards[-1]['last']:,} cannot be read: {error}"
    work.write_json(listing, told)
    return listing


def _written(work: Workspace, name: str, chunk: Texts) -> dict[str, Any]:
    work.write(f"{name}.arrow", {"id": list(chunk.ids), "text": list(chunk.texts)})
    work.write(f"{name}.hashes.arrow", hashes_of(chunk.texts))
    return {"name": f"{name}.arrow", "n": len(chunk), "first": int(chunk.rows[0]), "last": int(chunk.rows[-1])}


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


def hashes_of(texts: Sequence[str]) -> dict[str, Any]:
    """``high, low, place``: two halves of a hash of 128 bits for each text, and where it stands, by ``high``.

    That two different texts of a billion are alike has odds of 1 : 10²⁰.
    """
    joined = b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)
    halves = np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)
    order = np.argsort(halves[:, 0], kind="stable")
    return {"high": halves[order, 0], "low": halves[order, 1], "place": order}


@contextmanager
def here(name: str) -> Iterator[str]:
    """The source's path on this machine; one that lies elsewhere is fetched for as long as it is read."""
    if "://" not in name:
        yield name
        return
    files, path = file_system(name)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / name.partition("?")[0].rpartition("/")[2]
        with files.open_input_stream(path) as source, copy.open("wb") as target:
            while part := source.read(1 << 24):
                target.write(part)
        yield str(copy)


_MOST_BYTES = 2 << 30  # a block's vectors


@dataclass(frozen=True)
class Sizes:
    """How the work is cut: texts a shard, vectors a block of the join, rows a part of the match table.

    Without a block's size it grows with the texts, from 8,192 vectors on, whatever the workers are, so that another cluster goes
    on with what one has done.
    """

    shard: int = 16_384
    block: int | None = None
    part: int = 1_048_576

    def block_of(self, n: int, dim: int = 384) -> int:
        """Vectors a block where there are n in all: about an eighth of them, at most 262,144; of very many a 512th, at most 2 GB.

        Examples
        --------
        >>> Sizes().block_of(1_000), Sizes().block_of(100_000), Sizes().block_of(10**7), Sizes().block_of(10**9)
        (8192, 16384, 262144, 1398101)
        """
        some, few = (1 << max(0, (n - 1) // parts).bit_length() for parts in (8, 512))
        return self.block or min(max(8_192, min(some, 262_144), few), _MOST_BYTES // (4 * dim))
