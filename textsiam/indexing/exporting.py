"""An index as columns: its clusters, and files to read without textsiam."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from textsiam.data.files import check_writable, replacing
from textsiam.data.writers import WRITERS, Columns, Write
from textsiam.errors import UnreadableInput
from textsiam.indexing.open_index import Opened
from textsiam.indexing.storage.ledger import rows_of
from textsiam.matching.matches import Clusters

COLUMNS = ("id", "text", "cluster", "keeper", "score_to_keeper")

_N_AT_ONCE = 16_384


def clusters_of(at: Opened) -> Clusters:
    """Every text's cluster, its keeper and its score to it (see `Index.clusters`)."""
    items = at.store.read(lambda: list(at.store.ledger.all_items()), at.made)
    keepers = {item.cluster: place for place, item in enumerate(items) if item.score is None}
    return Clusters(
        np.array([item.cluster for item in items], dtype=np.int64),
        np.array([keepers[item.cluster] for item in items], dtype=np.int64),
        np.array([item.score for item in items], dtype=np.float32),  # None becomes NaN
        [item.id for item in items],
        [item.text for item in items] if at.settings["keep_texts"] else None,
    )


def export(at: Opened, target: Path) -> int:
    """Write all texts to a file (see `Index.export`); returns how many.

    Raises UnreadableInput if the file's ending is none of the formats'; OSError if it cannot be written.
    """
    ending = target.suffix.lower()
    if ending not in WRITERS:
        raise UnreadableInput(f"{target} names no format by its ending. End it in {', '.join(WRITERS)}.")
    check_writable(target)

    def write() -> int:
        n = 0
        is_parquet = ending == ".parquet"
        with replacing(target) as temporary:
            opened = _parquet(temporary, at.settings["dim"]) if is_parquet else WRITERS[ending](temporary)
            with opened as append:
                for columns in blocks(at, with_embeddings=is_parquet):
                    append(columns)
                    n += len(columns["id"])
                if not n:
                    append({name: [] for name in COLUMNS})
        return n

    return at.store.read(write, at.made)


@contextmanager
def _parquet(path: Path, dim: int) -> Iterator[Write]:
    """With embeddings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("id", pa.string()), ("text", pa.string()), ("cluster", pa.int64()), ("keeper", pa.string())]
    fields += [("score_to_keeper", pa.float32()), ("embedding", pa.list_(pa.float32(), dim))]
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema) as writer:

        def append(columns: Columns) -> None:
            vectors = np.asarray(columns.get("embedding", []), dtype=np.float32)
            made = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
            others = (pa.array(columns[name], schema.field(name).type, from_pandas=True) for name in COLUMNS)
            writer.write_table(pa.table([*others, made], schema=schema))

        yield append


def blocks(at: Opened, *, with_embeddings: bool) -> Iterator[dict[str, Any]]:
    """``id, text, cluster, keeper, score_to_keeper`` and on request ``embedding``, some rows at a time; in one transaction."""
    ledger = at.store.ledger
    last = -1
    while items := ledger.after(last, _N_AT_ONCE):
        clusters = sorted({item.cluster for item in items})
        keepers = {item.cluster: item.id for item in ledger.keepers(clusters)}
        columns: dict[str, Any] = {
            "id": [item.id for item in items],
            "text": [item.text for item in items],
            "cluster": [item.cluster for item in items],
            "keeper": [keepers[item.cluster] for item in items],
            "score_to_keeper": np.array([item.score for item in items], dtype=np.float32),  # None becomes NaN
        }
        yield columns | ({"embedding": at.store.view.vectors(rows_of(items))} if with_embeddings else {})
        last = items[-1].row
