"""Duplicates of more texts than one machine takes: the match table and the clusters lie in files, which are read in pieces.

The stages are sources → shards → distinct texts → vectors → pairs of blocks → match table → clusters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from textsiam.data.texts import SetAside
from textsiam.distributing import match_clusters
from textsiam.distributing.approximate_join import Probing, Recall
from textsiam.distributing.blocks import Joining
from textsiam.distributing.encoders import Recipe
from textsiam.distributing.match_table import Best, Names, Part
from textsiam.distributing.runners import Runner
from textsiam.distributing.shard_sources import Reading, Shard, Sizes, set_aside_of
from textsiam.distributing.stages import Progress, Stages
from textsiam.distributing.tasks import Lost
from textsiam.distributing.workspace import Workspace
from textsiam.matching.duplicates import threshold_of
from textsiam.matching.matches import Matches
from textsiam.scoring.siamese import Siamese

NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class DistributedMatches:
    """The match table and the clusters, in files of a workspace.

    Parameters
    ----------
    parts
        The pairs, sorted by row. Row numbers count the usable texts of all sources in order.
    top
        The closest pairs, with ids, texts, probabilities and decisions.
    settled
        The clusters, sorted by row; empty where none were asked for.
    n_cut, n_unknown
        Rows longer than the model's maximum, and rows with characters that the model does not know.
    recall
        Of an approximate join; None after an exact one, which misses no pair.
    lost
        What was left out, and why.
    told
        What each stage did: seconds, tasks, tasks that were computed now.
    """

    work: Workspace
    model: Siamese
    shards: list[Shard]
    several: bool  # sources, so that ids carry their names
    parts: list[Part]
    top: Matches
    settled: list[match_clusters.Settled]
    set_aside: SetAside
    n_renamed: int
    mapping: dict[str, str]
    n_distinct: int
    n_cut: int
    n_unknown: int
    n_clusters: int | None
    recall: Recall | None = None
    lost: list[Lost] = field(default_factory=list)
    told: dict[str, dict[str, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(part.n for part in self.parts)

    @property
    def n_texts(self) -> int:
        """Usable texts that were compared."""
        return sum(shard.n for shard in self.shards)

    @property
    def n_dropped(self) -> int:
        """Rows that are not their cluster's keeper."""
        return sum(of.n_dropped for of in self.settled)

    def pair_blocks(self, n: int = 65_536) -> Iterator[dict[str, Any]]:
        """The columns of a pairs file, ``id_a, id_b, score, probability, decision``, in one or more blocks of up to `n` rows."""
        names = Names(self.work, self.shards, several=self.several)
        empty = True
        for part in self.parts:
            told = self.work.read(part.name)
            for start in range(0, part.n, n):
                empty = False
                yield self._pairs(names, {key: values[start : start + n] for key, values in told.items()})
        if empty:
            yield self._pairs(names, {"left": NO_ROWS, "right": NO_ROWS, "score": np.empty(0, np.float32)})

    def cluster_blocks(self) -> Iterator[dict[str, Any]]:
        """The columns of a clusters file, ``id, cluster, keeper, score_to_keeper``, for every row, in blocks of a shard."""
        names = Names(self.work, self.shards, several=self.several)
        for of in self.settled:
            yield from match_clusters.columns_of(self.work, of, names)

    def _pairs(self, names: Names, some: dict[str, Any]) -> dict[str, Any]:
        probability, decision = self.model.judge(some["score"])
        nothing = [None] * len(some["score"])
        return {
            "id_a": names.of(some["left"]),
            "id_b": names.of(some["right"]),
            "score": some["score"],
            "probability": nothing if probability is None else probability.astype(np.float32),
            "decision": nothing if decision is None else decision,
        }


def closest(model: Siamese, best: Sequence[Best], names: Names, top: int) -> Matches:
    """The `top` closest pairs of all parts as `Matches`, whose rows count only the texts in these pairs."""
    left = np.concatenate([NO_ROWS, *(of.left for of in best)])
    right = np.concatenate([NO_ROWS, *(of.right for of in best)])
    score = np.concatenate([np.empty(0, np.float32), *(of.score for of in best)])
    order = np.lexsort((right, left, -score))[:top]
    held, places = np.unique(np.stack([left[order], right[order]]), return_inverse=True)
    places = places.reshape(2, -1)
    texts = names.of(held, "text")
    return Matches(
        places[0],
        places[1],
        score[order],
        len(held),
        left_ids=names.of(held),
        left_texts=texts,
        **model.judge(score[order])._asdict(),
    )


def find_duplicates_in_shards(
    model: Siamese,
    sources: Sequence[str],
    work: Workspace,
    runner: Runner,
    *,
    recipe: Recipe,
    reading: Reading | None = None,
    threshold: float | None = None,
    sizes: Sizes | None = None,
    approximate: Probing | None = None,
    max_memory_mb: int = 256,
    max_matches: int = 20_000_000,
    top: int = 20,
    with_clusters: bool = True,
    progress: Progress | None = None,
) -> DistributedMatches:
    """As `find_duplicates`, in tasks that write to a workspace: what it holds already is not computed again.

    Parameters
    ----------
    sources
        Files that every worker can read, by path or URI.
    recipe
        How each worker loads its encoder.
    approximate
        Compare only near vectors, and measure the recall on a sample. Default: find every pair.
    max_memory_mb
        Working memory of the join in one worker, in addition to the encoder and the vectors of two blocks.

    Raises
    ------
    NotCalibrated, TooManyMatches, UnreadableInput
        As `find_duplicates`.
    EncoderMismatch
        If a worker has another model.

    Examples
    --------
    >>> import tempfile
    >>> from textsiam.distributing.runners import Here
    >>> from textsiam.samples import QUESTIONS
    >>> model = Siamese.load()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recipe = Recipe.of(model)
    ...     found = find_duplicates_in_shards(model, [str(QUESTIONS)], Workspace(folder), Here(), recipe=recipe)
    ...     len(found) == len(list(found.pair_blocks())[0]["id_a"])
    True
    """
    lowest = threshold_of(model, threshold)
    joining = Joining(lowest, model.similarity, max_memory_mb, max_matches)
    run = Stages(work, runner, sizes or Sizes(), progress)
    listings = run.read(sources, replace(reading or Reading(), n_rows=run.sizes.shard))
    shards, repeats, encoded, n_distinct = run.encode(listings, recipe, max_matches)
    join = run.join if approximate is None else partial(run.join_cells, probing=approximate)
    found, own = join(encoded, joining)
    joined = run.expand(found, own, joining, repeats)
    parts, best = run.gather(shards, joined, top, joining)
    recall = run.recall(encoded, joining, parts, approximate) if approximate else None
    settled = run.settle(shards, parts) if with_clusters else []
    names = Names(work, shards, several=len(sources) > 1)
    return DistributedMatches(
        work,
        model,
        shards,
        len(sources) > 1,
        parts,
        closest(model, best, names, top),
        settled,
        set_aside_of(listings),
        sum(told["renamed"] for told in listings),
        listings[0]["mapping"] if listings else {},
        n_distinct,
        sum(of.n_cut for of in encoded),
        sum(of.n_unknown for of in encoded),
        match_clusters.n_clusters(work, settled, shards[-1].stop if shards else 0) if with_clusters else None,
        recall,
        run.lost,
        run.told,
    )
