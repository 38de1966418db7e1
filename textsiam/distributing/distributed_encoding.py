"""Vectors of more texts than one machine takes: each distinct text is encoded once, each row gets its vector, in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from textsiam.arrays import Rows
from textsiam.data.texts import SetAside
from textsiam.distributing.encoders import Encoded, Recipe
from textsiam.distributing.match_table import Names
from textsiam.distributing.runners import Runner
from textsiam.distributing.shard_repeats import Repeats
from textsiam.distributing.shard_sources import Reading, Shard, Sizes, set_aside_of
from textsiam.distributing.stages import Progress, Stages
from textsiam.distributing.tasks import Lost
from textsiam.distributing.workspace import Workspace


@dataclass(frozen=True)
class DistributedVectors:
    """The vectors of all usable texts, in files of a workspace; row numbers count the texts of all sources in order."""

    work: Workspace
    shards: list[Shard]
    several: bool  # sources, so that ids carry their names
    encoded: list[Encoded]
    repeats: list[str]
    set_aside: SetAside
    n_renamed: int
    mapping: dict[str, str]
    n_distinct: int
    lost: list[Lost] = field(default_factory=list)
    told: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def n_texts(self) -> int:
        """Usable texts."""
        return sum(shard.n for shard in self.shards)

    def blocks(self) -> Iterator[tuple[list[str], Float[np.ndarray, "n dim"]]]:
        """Ids and vectors, in blocks of a shard."""
        names, repeats = Names(self.work, self.shards, several=self.several), Repeats(self.work, self.repeats)
        for shard in self.shards:
            rows = repeats.firsts(shard.start, shard.stop)
            yield names.of(np.arange(shard.start, shard.stop)), self._of(rows)

    def _of(self, rows: Rows) -> Float[np.ndarray, "n dim"]:
        """The vectors of rows that are the first ones with their text."""
        starts = np.array([shard.start for shard in self.shards])
        owner = np.searchsorted(starts, rows, side="right") - 1
        found = None
        for place in np.unique(owner).tolist():
            told = self.work.read(self.encoded[place].name, "row", "embedding")
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
    listings = run.read(sources, replace(reading or Reading(), n_rows=run.sizes.shard))
    shards, repeats, encoded, n_distinct = run.encode(listings, recipe)
    return DistributedVectors(
        work,
        shards,
        len(sources) > 1,
        encoded,
        repeats,
        set_aside_of(listings),
        sum(told["renamed"] for told in listings),
        listings[0]["mapping"] if listings else {},
        n_distinct,
        run.lost,
        run.told,
    )
