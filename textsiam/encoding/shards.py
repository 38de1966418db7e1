"""Long encodings: shard by shard to disk, in bounded memory, resumed after a kill, joined into one parquet file.

Each shard is written whole or not at all and carries the hash of what it was made from (model, precision, prompt, ids,
texts), so a shard is reused only if it would come out the same.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from textsiam.data.files import check_writable, replacing
from textsiam.data.readers import nothing_usable
from textsiam.data.texts import SetAside, Texts
from textsiam.encoding.encoder import Encoder, Progress

_KEY = b"textsiam"


@dataclass(frozen=True)
class EncodeReport:
    """What an encoding to disk did.

    Parameters
    ----------
    n_texts
        Rows written.
    n_cut, n_unknown
        Texts longer than the model's maximum, which were cut; texts with characters that the model does not know.
    n_reused
        Shards found finished from an earlier run.
    n_shards
        Shards in all.
    set_aside
        Rows of the source that could not be used.
    """

    n_texts: int
    n_cut: int
    n_unknown: int
    n_reused: int
    n_shards: int
    set_aside: SetAside


def encode_to_parquet(
    encoder: Encoder,
    chunks: Iterable[Texts],
    target: Path,
    *,
    prompt: str | None = None,
    progress: Progress | None = None,
) -> EncodeReport:
    """Write ``id`` and ``embedding`` (a list of dim fp32) of every text to a parquet file, in the order given.

    Finished shards lie in a folder ``TARGET.parts`` until all are done; call again with the same arguments after an
    interruption and they are not computed again.

    Parameters
    ----------
    chunks
        Texts, a shard each: `textsiam.data.streams.stream_texts` gives them without holding the source in memory.
    target
        The file to write; replaced in one step at the end.
    progress
        Called with (texts done, 0): the total is not known while the source streams.

    Raises
    ------
    OSError
        If the target cannot be written; finished shards stay.
    UnreadableInput
        If there is no usable text.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "vectors.parquet"
    >>> encode_to_parquet(Encoder.load(), [Texts(["How do I pay?"], ids=["q1"])], target).n_texts
    1
    >>> pq.read_table(target).column("id").to_pylist()
    ['q1']
    """
    check_writable(target)
    before = encoder.prompt_text(prompt)
    parts = target.with_name(f"{target.name}.parts")
    model = told_of(encoder, before)
    shards: list[Path] = []
    n_texts = n_cut = n_unknown = n_reused = 0
    set_aside = SetAside()
    for chunk in chunks:
        parts.mkdir(exist_ok=True)
        shard = parts / f"{len(shards):06d}.parquet"
        key = _key_of(model, chunk)
        told = _told_by(shard)
        n_reused += told.get("key") == key
        if told.get("key") != key:
            done = n_texts
            told = _write_shard(encoder, chunk, shard, {**model, "key": key}, prompt, _from(done, progress))
        shards.append(shard)
        n_texts += len(chunk)
        n_cut += told["n_cut"]
        n_unknown += told["n_unknown"]
        set_aside += chunk.set_aside
        if progress:
            progress(n_texts, 0)
    if not n_texts:
        _remove_parts(parts)
        raise nothing_usable("What was to be encoded", "text", set_aside)
    _join(shards, target, model, encoder.dim)
    _remove_parts(parts)
    return EncodeReport(n_texts, n_cut, n_unknown, n_reused, len(shards), set_aside)


def told_of(encoder: Encoder, prompt: str) -> dict[str, object]:
    """What a file of vectors tells of what made them."""
    told: dict[str, object] = {"fingerprint": encoder.folder.fingerprint(), "precision": encoder.precision}
    return told | {"dim": encoder.dim, "prompt": prompt}


def _remove_parts(parts: Path) -> None:
    """Remove the shards, and their folder unless somebody keeps something else in it."""
    for shard in parts.glob("[0-9]*.parquet"):
        shard.unlink()
    if parts.is_dir() and not any(parts.iterdir()):
        parts.rmdir()


def _from(n_before: int, progress: Progress | None) -> Progress:
    return lambda n_done, _: progress(n_before + n_done, 0) if progress else None


def _key_of(model: dict[str, object], chunk: Texts) -> str:
    told = json.dumps([model, list(chunk.ids), list(chunk.texts)], ensure_ascii=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _told_by(shard: Path) -> dict[str, Any]:
    """What a finished shard says of itself; nothing if it is missing or was damaged, so that it is made again."""
    try:
        metadata = pq.read_table(shard).schema.metadata or {}  # all of it: a footer may outlive its rows
        return json.loads(metadata.get(_KEY, b"{}"))  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return {}


def _schema(dim: int, told: dict[str, object]) -> pa.Schema:
    fields = [pa.field("id", pa.string()), pa.field("embedding", pa.list_(pa.float32(), dim))]
    return pa.schema(fields, metadata={_KEY: json.dumps(told).encode()})


def _write_shard(
    encoder: Encoder, chunk: Texts, shard: Path, told: dict[str, Any], prompt: str | None, progress: Progress
) -> dict[str, Any]:
    encoded = encoder.embed(chunk.texts, prompt=prompt, progress=progress)
    told = {**told, "n_cut": int(encoded.cut.sum()), "n_unknown": int(encoded.unknown.sum())}
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(encoded.embeddings.reshape(-1)), encoder.dim)
    table = pa.table([pa.array(list(chunk.ids), pa.string()), vectors], schema=_schema(encoder.dim, told))
    with replacing(shard) as temporary:
        pq.write_table(table, temporary)
    return told


def write_vectors(
    target: Path, model: dict[str, object], dim: int, blocks: Iterable[tuple[list[str], Float[np.ndarray, "n dim"]]]
) -> None:
    """A parquet file like `encode_to_parquet`'s, of ids and vectors that come block by block."""
    with replacing(target) as temporary, pq.ParquetWriter(temporary, _schema(dim, model)) as writer:
        for ids, vectors in blocks:
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
            writer.write_table(pa.table([pa.array(ids, pa.string()), column], schema=writer.schema))


def _join(shards: list[Path], target: Path, model: dict[str, object], dim: int) -> None:
    with replacing(target) as temporary, pq.ParquetWriter(temporary, _schema(dim, model)) as writer:
        for shard in shards:
            writer.write_table(pq.read_table(shard).replace_schema_metadata(writer.schema.metadata))
