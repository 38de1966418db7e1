"""What the road past one machine finds: a match table and clusters that lie in files, read piece by piece."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from textsiam.data.texts import SetAside
from textsiam.distributing import keepers
from textsiam.distributing.cells import Recall
from textsiam.distributing.parts import Best, Names, Part
from textsiam.distributing.sources import Shard
from textsiam.distributing.tasks import Lost
from textsiam.distributing.workspace import Workspace
from textsiam.matching.duplicates import judged
from textsiam.matching.matches import Matches
from textsiam.scoring.siamese import Siamese

NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class DistributedMatches:
    """The match table and the clusters of sources that need not fit one machine, in files of a workspace.

    Parameters
    ----------
    parts
        The pairs by row: row numbers count the usable texts of all sources in order.
    top
        The closest pairs, with ids, texts, probabilities and decisions.
    settled
        The clusters by row; empty where none were asked for.
    n_cut, n_unknown
        Rows longer than the model's maximum, and rows with characters that it does not know.
    recall
        None: no pair is missing. Else how many of the pairs of a sample of the texts were found.
    lost
        What could not be worked on.
    told
        What each stage did and took.
    """

    work: Workspace
    model: Siamese
    shards: list[Shard]
    several: bool  # sources, so that ids carry their names
    parts: list[Part]
    top: Matches
    settled: list[keepers.Settled]
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
        """``id_a, id_b, score, probability, decision``, the columns of a pairs file, `n` rows at a time; one block at least."""
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
        """``id, cluster, keeper, score_to_keeper`` of every row, the columns of a clusters file, a shard at a time."""
        names = Names(self.work, self.shards, several=self.several)
        for of in self.settled:
            yield from keepers.columns_of(self.work, of, names)

    def _pairs(self, names: Names, some: dict[str, Any]) -> dict[str, Any]:
        probability, decision = judged(self.model, some["score"]).values()
        nothing = [None] * len(some["score"])
        return {
            "id_a": names.of(some["left"]),
            "id_b": names.of(some["right"]),
            "score": some["score"],
            "probability": nothing if probability is None else probability.astype(np.float32),
            "decision": nothing if decision is None else decision,
        }


def closest(model: Siamese, best: Sequence[Best], names: Names, top: int) -> Matches:
    """The closest pairs of all parts as `Matches`: their rows are places among the rows that they hold."""
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
        **judged(model, score[order]),
    )
