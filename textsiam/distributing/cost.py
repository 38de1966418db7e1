"""What a run will cost, before it starts: texts, tokens, arithmetic, bytes, tasks, and the time, by a sample measured here."""

import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from textsiam.data.sources import open_source
from textsiam.data.streams import stream_texts
from textsiam.data.tables import Dialect
from textsiam.distributing.approximate_join import Probing
from textsiam.distributing.shard_sources import Reading, Sizes, here
from textsiam.distributing.workspace import file_system
from textsiam.encoding.model_folder.folder import read_object
from textsiam.matching.join.exact import threshold_join
from textsiam.scoring.siamese import Siamese

_N_FILES, _N_TEXTS, _N_VECTORS = 5, 512, 16_384  # of the sample
_N_BYTES = 1 << 20


@dataclass(frozen=True)
class Cost:
    """An estimate: counts are exact for parquet files, else by the sample's bytes a row; repeats are not known beforehand.

    Parameters
    ----------
    n_texts, n_tokens
        Rows of all sources, and tokens that are encoded if no text repeats.
    is_exact, is_exact_join
        Whether the texts were counted; whether every pair is compared.
    encode_flop, join_flop
        Multiplications and additions. None where the model's ``config.json`` does not tell its sizes.
    n_bytes
        What the workspace will hold without the match table: texts and vectors. A pair takes 40 bytes more.
    n_tasks
        Tasks of each stage.
    encode_seconds, join_seconds
        With so many workers as were asked about, each as fast as this machine is a core.
    """

    n_files: int
    n_texts: int
    is_exact: bool
    n_tokens: int
    encode_flop: float | None
    join_flop: float
    is_exact_join: bool
    n_bytes: int
    n_tasks: dict[str, int]
    encode_seconds: float
    join_seconds: float
    n_workers: int

    def lines(self) -> list[str]:
        """For people."""
        about = "" if self.is_exact else "about "
        how = "exact" if self.is_exact_join else "approximate"
        encode = "" if self.encode_flop is None else f", {_large(self.encode_flop)}FLOP"
        return [
            f"{self.n_files:,} files, {about}{self.n_texts:,} texts, about {self.n_tokens:,} tokens if none repeats",
            f"encode: about {_time(self.encode_seconds)}{encode}",
            f"join: about {_time(self.join_seconds)}, {_large(self.join_flop)}FLOP, {how}",
            f"workspace: about {_large(self.n_bytes)}B, and 40 B a pair",
            f"tasks: {', '.join(f'{n:,} {stage}' for stage, n in self.n_tasks.items())}",
            f"times are for {self.n_workers} workers as fast as a core of this machine, by a sample measured just now",
        ]


def cost_of(
    model: Siamese,
    sources: Sequence[str],
    reading: Reading,
    sizes: Sizes,
    *,
    threshold: float,
    n_workers: int,
    n_cpus: int = 1,
    prompt: str | None = None,
    approximate: Probing | None = None,
) -> Cost:
    """Estimate a run over these sources; reads a sample of them, encodes and joins it, and writes nothing.

    Raises
    ------
    UnreadableInput, OSError
        If the sample cannot be read.
    """
    counts = [_count(name, reading) for name in sources]
    n = sum(count for count, _ in counts)
    texts = _sample(sources, reading)
    before = model.encoder.prompt_text(prompt)
    lengths = model.encoder.tokenizer([before + text for text in texts]).lengths
    n_tokens = round(n * float(lengths.mean()))
    speed = n_workers * n_cpus / _n_cores()
    model.encoder.embed(texts[:8], prompt=prompt)  # the first call compiles
    started = time.perf_counter()
    vectors = model.encoder.embed(texts, prompt=prompt).embeddings
    encode_seconds = (time.perf_counter() - started) * n / len(texts) / speed
    n_pairs = n * (n - 1) / 2 if approximate is None else _pairs_near(n, approximate)
    join_seconds = _seconds_a_pair(vectors, threshold, model.similarity) * n_pairs / speed
    n_bytes = n * (4 * model.encoder.dim + 8 + 10 + 40 + round(float(np.mean([len(t.encode()) for t in texts]))))
    n_blocks = -(-n // sizes.block_of(n, model.encoder.dim))
    return Cost(
        len(sources),
        n,
        all(exact for _, exact in counts),
        n_tokens,
        _flop_of(model.encoder.folder.transformer, lengths, n_tokens),
        2 * n_pairs * model.encoder.dim,
        approximate is None,
        n_bytes,
        {
            "read": len(sources),
            "encode": sum(-(-count // sizes.shard) for count, _ in counts),
            "join": n_blocks * (n_blocks + 1) // 2 if approximate is None else n_blocks * approximate.n_probes,
            "parts": -(-n // sizes.part),
        },
        encode_seconds,
        join_seconds,
        n_workers,
    )


def _pairs_near(n: int, probing: Probing) -> float:
    """Pairs compared in cells that are alike, and distances from centres, each as dear as a pair."""
    n_cells = probing.n_cells or max(1.0, n**0.5)
    return n * probing.n_probes * n / n_cells + n * n_cells


def _count(name: str, reading: Reading) -> tuple[int, bool]:
    """Rows of a source, and whether they were counted."""
    files, path = file_system(name if "://" in name else str(Path(name).resolve()))
    ending = reading.format or name.lower().rpartition(".")[2]
    if ending == "parquet" and reading.split is None:
        with files.open_input_file(path) as source:
            return pq.ParquetFile(source).metadata.num_rows, True
    size = files.get_file_info(path).size
    with files.open_input_stream(path, compression=None) as raw:
        head = raw.read(_N_BYTES)
    if name.lower().endswith(".gz"):
        with files.open_input_stream(path, compression="gzip") as source:
            text = source.read(_N_BYTES)
        size = round(size * max(1.0, len(text) / max(1, min(len(head), size))))
        head = text
    header = name.lower().removesuffix(".gz").endswith((".csv", ".tsv"))
    return max(1, round(size / max(1, len(head)) * max(1, head.count(b"\n"))) - header), False


def _sample(sources: Sequence[str], reading: Reading) -> list[str]:
    texts: list[str] = []
    places = np.unique(np.linspace(0, len(sources) - 1, _N_FILES).round().astype(int))
    dialect = Dialect(reading.format, reading.delimiter, reading.encoding)
    for place in places.tolist():
        with here(sources[place]) as local, closing(open_source(local, reading.split, dialect)) as table:
            chunks = stream_texts(
                table, column=reading.column, id_column=reading.id_column, n_rows=-(-_N_TEXTS // len(places))
            )
            texts += [text for chunk in islice(chunks, 1) for text in chunk.texts]
    return texts or ["?"]


def _seconds_a_pair(vectors: Any, threshold: float, similarity: str) -> float:
    """Of the exact join, on the sample's vectors, moved a little so that there are enough of them."""
    rng = np.random.default_rng(0)
    many = vectors[rng.integers(0, len(vectors), _N_VECTORS)]
    many = (many + 0.05 * rng.normal(size=many.shape) * np.abs(many).mean()).astype(np.float32)
    started = time.perf_counter()
    threshold_join(many[: _N_VECTORS // 2], many[_N_VECTORS // 2 :], threshold=threshold, similarity=similarity)
    return (time.perf_counter() - started) / (_N_VECTORS // 2) ** 2


def _flop_of(folder: Path, lengths: Any, n_tokens: int) -> float | None:
    """Of the linear layers, and of attention over texts as long as the sample's."""
    config = read_object(folder / "config.json", {})
    hidden, layers = (config.get(key) for key in ("hidden_size", "num_hidden_layers"))
    inner = config.get("intermediate_size")
    if not (isinstance(hidden, int) and isinstance(layers, int) and isinstance(inner, int)):
        return None
    own = float((lengths.astype(np.float64) ** 2).mean() / lengths.mean())
    return n_tokens * layers * (2.0 * (4 * hidden**2 + 2 * hidden * inner) + 4.0 * hidden * own)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _large(value: float) -> str:
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "


def _time(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} seconds"
