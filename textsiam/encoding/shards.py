"""Long encodings: written shard by shard in bounded memory, resumed after an interruption, joined into one parquet file.

Each shard is written whole or not at all. It holds a hash of what it was made from (model, precision, prompt, ids, texts),
and is reused only if that hash is the same.
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
    """The result of an encoding to disk, in numbers.

    Parameters
    ----------
    n_texts
        Rows written.
    n_cut, n_unknown
        Texts that were cut to the model's maximum length; texts with characters that the model does not know.
    n_reused, n_shards
        Shards reused from an earlier run; all shards.
    set_aside
        The unusable rows of the source.
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
    """Write ``id`` and ``embedding`` (a list of dim fp32) of every text to a parquet file, in order.

    Finished shards stay in a folder ``TARGET.parts`` until all are done. After an interruption, call again with the same
    arguments: finished shards are not computed again.

    Parameters
    ----------
    chunks
        Texts, one shard per chunk: `textsiam.data.readers.stream_texts` gives them without holding the source in memory.
    target
        The file to write; replaced in one step at the end.
    progress
        Called with (texts done, 0), because a stream does not know its total.

    Raises
    ------
    OSError
        If the target cannot be written. Finished shards stay.
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
        metadata = _metadata_of(shard)
        n_reused += metadata.get("key") == key
        if metadata.get("key") != key:
            done = n_texts
            metadata = _write_shard(encoder, chunk, shard, {**model, "key": key}, prompt, _from(done, progress))
        shards.append(shard)
        n_texts += len(chunk)
        n_cut += metadata["n_cut"]
        n_unknown += metadata["n_unknown"]
        set_aside += chunk.set_aside
        if progress:
            progress(n_texts, 0)
    if not n_texts:
        _remove_parts(parts)
        raise nothing_usable("The source", "text", set_aside)
    _join(shards, target, model, encoder.dim)
    _remove_parts(parts)
    return EncodeReport(n_texts, n_cut, n_unknown, n_reused, len(shards), set_aside)


def told_of(encoder: Encoder, prompt: str) -> dict[str, object]:
    """The metadata of a file of vectors: which encoder made them."""
    model: dict[str, object] = {"fingerprint": encoder.folder.fingerprint(), "precision": encoder.precision}
    return model | {"dim": encoder.dim, "prompt": prompt}


def _remove_parts(parts: Path) -> None:
    """Remove the shards, and their folder if it holds nothing else."""
    for shard in parts.glob("[0-9]*.parquet"):
        shard.unlink()
    if parts.is_dir() and not any(parts.iterdir()):
        parts.rmdir()


def _from(n_before: int, progress: Progress | None) -> Progress:
    return lambda n_done, _: progress(n_before + n_done, 0) if progress else None


def _key_of(model: dict[str, object], chunk: Texts) -> str:
    content = json.dumps([model, list(chunk.ids), list(chunk.texts)], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _metadata_of(shard: Path) -> dict[str, Any]:
    """The metadata of a finished shard; empty if it is missing or damaged, so that it is made again."""
    try:
        # This reads the rows too: they may be damaged under a good footer.
        metadata = pq.read_table(shard).schema.metadata or {}
        return json.loads(metadata.get(_KEY, b"{}"))  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return {}


def _schema(dim: int, metadata: dict[str, object]) -> pa.Schema:
    fields = [pa.field("id", pa.string()), pa.field("embedding", pa.list_(pa.float32(), dim))]
    return pa.schema(fields, metadata={_KEY: json.dumps(metadata).encode()})


def _write_shard(
    encoder: Encoder, chunk: Texts, shard: Path, metadata: dict[str, Any], prompt: str | None, progress: Progress
) -> dict[str, Any]:
    encoded = encoder.embed(chunk.texts, prompt=prompt, progress=progress)
    metadata = {**metadata, "n_cut": int(encoded.cut.sum()), "n_unknown": int(encoded.unknown.sum())}
    write_vectors(shard, metadata, encoder.dim, [(list(chunk.ids), encoded.embeddings)])
    return metadata


def write_vectors(
    target: Path, model: dict[str, object], dim: int, blocks: Iterable[tuple[list[str], Float[np.ndarray, "n dim"]]]
) -> None:
    """Write a parquet file like that of `encode_to_parquet`, from blocks of ids and vectors."""
    with replacing(target) as temporary, pq.ParquetWriter(temporary, _schema(dim, model)) as writer:
        for ids, vectors in blocks:
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
            writer.write_table(pa.table([pa.array(ids, pa.string()), column], schema=writer.schema))


def _join(shards: list[Path], target: Path, model: dict[str, object], dim: int) -> None:
    with replacing(target) as temporary, pq.ParquetWriter(temporary, _schema(dim, model)) as writer:
        for shard in shards:
            writer.write_table(pq.read_table(shard).replace_schema_metadata(writer.schema.metadata))
