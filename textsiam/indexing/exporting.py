"""An index as columns, for whoever wants to read it without textsiam."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textsiam.data.files import check_writable, replacing
from textsiam.errors import UnreadableInput
from textsiam.indexing.opened import Opened, rows_of

COLUMNS = ("id", "text", "cluster", "keeper", "score_to_keeper")

_N_AT_ONCE = 16_384


def export(at: Opened, target: Path) -> int:
    """Write a parquet file of all texts (see `Index.export`); how many.

    Raises
    ------
    UnreadableInput
        If the file's ending is another.
    OSError
        If it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if target.suffix != ".parquet":
        raise UnreadableInput(f"An index is exported as parquet, but the target is {target}. End it in .parquet.")
    check_writable(target)
    fields = [("id", pa.string()), ("text", pa.string()), ("cluster", pa.int64()), ("keeper", pa.string())]
    fields += [("score_to_keeper", pa.float32()), ("embedding", pa.list_(pa.float32(), at.told["dim"]))]
    schema = pa.schema(fields)

    def write() -> int:
        n = 0
        with replacing(target) as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for columns in blocks(at, with_embeddings=True):
                vectors = columns.pop("embedding")
                made = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), at.told["dim"])
                writer.write_table(pa.table([*map(pa.array, columns.values()), made], schema=schema))
                n += len(vectors)
        return n

    return at.read(write)


def blocks(at: Opened, *, with_embeddings: bool) -> Iterator[dict[str, Any]]:
    """``id, text, cluster, keeper, score_to_keeper`` and perhaps ``embedding``, some rows at a time; within one read."""
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
            "score_to_keeper": [item.score for item in items],
        }
        yield columns | ({"embedding": at.store.vectors(rows_of(items))} if with_embeddings else {})
        last = items[-1].row
