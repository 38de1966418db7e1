"""Vectors of more texts than one machine takes: each distinct text is encoded once, each row gets its vector, in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from textsiam.arrays import Rows
from textsiam.distributing.encoders import EncodedTexts, Recipe
from textsiam.distributing.runners import Runner
from textsiam.distributing.shard_repeats import Repeats
from textsiam.distributing.shard_sources import Reading, Sizes
from textsiam.distributing.stages import Progress, Stages
from textsiam.distributing.tasks import Lost
from textsiam.distributing.workspace import Workspace


@dataclass(frozen=True)
class DistributedVectors:
    """The vectors of all usable texts, what was left out, and what each stage did."""

    texts: EncodedTexts
    lost: list[Lost]
    told: dict[str, dict[str, float]]

    def blocks(self) -> Iterator[tuple[list[str], Float[np.ndarray, "n dim"]]]:
        """Ids and vectors, in blocks of a shard."""
        repeats = Repeats(self.texts.work, self.texts.repeats)
        for shard in self.texts.shards:
            rows = repeats.firsts(shard.start, shard.stop)
            yield self.texts.of(np.arange(shard.start, shard.stop)), self._of(rows)

    def _of(self, rows: Rows) -> Float[np.ndarray, "n dim"]:
        """The vectors of rows that are the first ones with their text."""
        starts = np.array([shard.start for shard in self.texts.shards])
        owner = np.searchsorted(starts, rows, side="right") - 1
        found = None
        for place in np.unique(owner).tolist():
            told = self.texts.work.read(self.texts.encoded[place].name, "row", "embedding")
            mine = np.flatnonzero(owner == place)
            if found is None:
                found = np.empty((len(rows), told["embedding"].shape[1]), dtype=np.float32)
            found[mine] = told["embedding"][np.searchsorted(told["row"], rows[mine] - starts[place])]
        assert found is not None  # noqa: S101  a shard has a row
        return found


def encode_in_shards(
    sources: Sequence[str],
    work: Workspace,
    runner: Runner,
    *,
    recipe: Recipe,
    reading: Reading | None = None,
    sizes: Sizes | None = None,
    progress: Progress | None = None,
) -> DistributedVectors:
    """As `encode_to_parquet`, in tasks that write to a workspace: what it holds already is not computed again.

    Raises
    ------
    UnreadableInput, EncoderMismatch
        As `find_duplicates_in_shards`.
    """
    run = Stages(work, runner, sizes or Sizes(), progress)
    texts = run.encode(sources, reading or Reading(), recipe)
    return DistributedVectors(texts, run.lost, run.told)
