"""Sources → shards of texts: one task reads one source, with the readers of `textsiam.data`. And the sizes of all tasks."""

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

from textsiam.data.readers import stream_texts
from textsiam.data.sources import open_source
from textsiam.data.tables import Dialect
from textsiam.data.texts import Fault, SetAside, Texts
from textsiam.distributing.workspace import Workspace, file_system, key_of
from textsiam.errors import UnreadableInput


@dataclass(frozen=True)
class Reading:
    """How sources are read: the options of `textsiam.read_texts`, and the number of texts per shard."""

    column: str | None = None
    id_column: str | None = None
    split: str | None = None
    format: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    n_rows: int = 16_384


@dataclass(frozen=True)
class Shard:
    """Neighbouring usable texts of one source: a file of ``id`` and ``text`` in the workspace, and a file of their hashes.

    Parameters
    ----------
    name
        The file's name in the workspace: a hash of the source's name, size and date and of how it is read.
    start, n
        The row number of the first text among those of all sources, and how many texts there are.
    source, first, last
        The source, and the rows of the first and the last text in it.
    """

    name: str
    start: int
    n: int
    source: str
    first: int
    last: int

    @property
    def hashes(self) -> str:
        """The file of the hashes of the texts (see `hashes_of`)."""
        return f"{self.name.removesuffix('.arrow')}.hashes.arrow"

    @property
    def stop(self) -> int:
        """The row number after the last."""
        return self.start + self.n

    def __str__(self) -> str:
        return f"{self.source}, rows {self.first:,} to {self.last:,}"


def expanded(patterns: Sequence[str]) -> list[str]:
    """The files that paths, URIs and patterns name, each once, in order.

    In paths, ``*``, ``?`` and ``[…]`` are wildcards and ``**`` matches any folders. In URIs, ``*`` and ``[…]`` are wildcards in
    the last part. A path that exists is no pattern. Raises UnreadableInput if a pattern matches nothing.

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
    """The absolute path or URI of a source, which is the same for every worker."""
    return name if "://" in name else str(Path(name).resolve())


def label_of(name: str) -> str:
    """The name of a source in messages and ids: a URI without its keys and options.

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
    """A hash of a source's place, size and date and of how it is read.

    Raises OSError if there is no such file.
    """
    files, path = file_system(place)
    info = files.get_file_info(path)
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(f"There is no file {label}. Name files, or patterns in quotes.")
    return key_of("texts", place, info.size, info.mtime_ns, vars(reading))


def read_source(work: Workspace, place: str, label: str, reading: Reading) -> str:
    """Write the shards of a source and a JSON listing of them, unless they exist; return the listing's name.

    If a source becomes unreadable after some shards, these are kept, and the listing says why it ends. Raises UnreadableInput or
    OSError if nothing of the source can be read.
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
    """The shards of all sources in order; row numbers count the texts of all sources."""
    shards, start = [], 0
    for told in listings:
        for of in told["shards"]:
            shards.append(Shard(of["name"], start, of["n"], told["source"], of["first"], of["last"]))
            start += of["n"]
    return shards


def set_aside_of(listings: Sequence[dict[str, Any]]) -> SetAside:
    """The unusable rows of all sources."""
    return SetAside(tuple(Fault(*fault) for told in listings for fault in told["set_aside"]))


def hashes_of(texts: Sequence[str]) -> dict[str, Any]:
    """``high, low, place``, sorted by ``high``: two halves of a hash of 128 bits for each text, and the text's place.

    Among a billion different texts, two have the same hash with a probability of 10⁻²⁰.
    """
    joined = b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)
    halves = np.frombuffer(joined, dtype=np.uint64).reshape(-1, 2)
    order = np.argsort(halves[:, 0], kind="stable")
    return {"high": halves[order, 0], "low": halves[order, 1], "place": order}


@contextmanager
def here(name: str) -> Iterator[str]:
    """A path on this machine for the source; a source elsewhere is copied to a temporary file within the block."""
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


_MOST_BYTES = 2 << 30  # of the vectors of a block


@dataclass(frozen=True)
class Sizes:
    """The sizes of tasks: texts per shard, vectors per block of the join, rows per part of the match table.

    The default size of a block grows with the number of texts and does not depend on the workers, so that another cluster can go
    on with finished work.
    """

    shard: int = 16_384
    block: int | None = None
    part: int = 1_048_576

    def block_of(self, n: int, dim: int = 384) -> int:
        """Vectors per block among `n`: an eighth of them, from 8,192 to 262,144; more than that a 512th of them, at most 2 GB.

        Examples
        --------
        >>> Sizes().block_of(1_000), Sizes().block_of(100_000), Sizes().block_of(10**7), Sizes().block_of(10**9)
        (8192, 16384, 262144, 1398101)
        """
        some, few = (1 << max(0, (n - 1) // parts).bit_length() for parts in (8, 512))
        return self.block or min(max(8_192, min(some, 262_144), few), _MOST_BYTES // (4 * dim))
