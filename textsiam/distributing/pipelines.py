"""The two runs past one machine: duplicates, and vectors, of more texts than one machine takes.

Duplicates go through the stages sources → shards → distinct texts → vectors → pairs of blocks → match table → clusters, vectors
through the first four. Results lie in files, which are read in pieces.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from textsiam.arrays import Found, Rows, Scores
from textsiam.distributing import match_clusters
from textsiam.distributing.approximate_join import Probing, Recall
from textsiam.distributing.blocks import COLUMNS
from textsiam.distributing.encoders import EncodedTexts, Recipe
from textsiam.distributing.judged_parts import Deciding, closest_of, matches_of
from textsiam.distributing.match_table import Part, top_of
from textsiam.distributing.runners import Runner
from textsiam.distributing.shard_repeats import Repeats
from textsiam.distributing.shard_sources import Reading, Sizes
from textsiam.distributing.stages import Progress, Stages
from textsiam.distributing.tasks import Lost
from textsiam.distributing.workspace import Workspace
from textsiam.matching.deciding import decided, decided_found, needs_texts
from textsiam.matching.duplicates import threshold_of
from textsiam.matching.join.tiles import joined
from textsiam.matching.matches import Matches, pair_columns
from textsiam.matching.rule import Rule
from textsiam.scoring.siamese import Siamese


@dataclass(frozen=True)
class DistributedMatches:
    """The match table and the clusters, in files of a workspace.

    Parameters
    ----------
    texts
        What was compared.
    parts
        The pairs, sorted by row.
    top
        The closest pairs, with ids, texts, probabilities and decisions.
    settled
        The clusters, sorted by row; empty where none were asked for.
    recall
        Of an approximate join; None after an exact one, which misses no pair.
    lost
        What was left out, and why.
    told
        What each stage did: seconds, tasks, tasks that were computed now.
    """

    model: Siamese
    texts: EncodedTexts
    parts: list[Part]
    top: Matches
    settled: list[match_clusters.Settled]
    n_clusters: int | None
    recall: Recall | None
    lost: list[Lost]
    told: dict[str, dict[str, float]]
    is_judged: bool

    def __len__(self) -> int:
        return sum(part.n for part in self.parts)

    @property
    def n_dropped(self) -> int:
        """Rows that are not their cluster's keeper."""
        return sum(of.n_dropped for of in self.settled)

    def pair_blocks(self, n: int = 65_536) -> Iterator[dict[str, Any]]:
        """The columns of a pairs file (see `Matches.columns`), in one or more blocks of up to `n` rows."""
        for part in self.parts if self.is_judged else ():
            found = matches_of(self.texts.work, part, 0)
            for start in range(0, part.n, n):
                of = found.take(np.arange(start, min(start + n, part.n)))
                id_a, id_b = self.texts.of(of.left), self.texts.of(of.right)
                yield pair_columns(id_a, id_b, of.score, of.log_odds, of.probability, of.decision, of.reason)
        for part in () if self.is_judged else self.parts:
            told = self.texts.work.read(part.name)
            for start in range(0, part.n, n):
                yield self._pairs(*(told[key][start : start + n] for key in COLUMNS))
        if not len(self):
            yield self._pairs(*joined([]))

    def cluster_blocks(self) -> Iterator[dict[str, Any]]:
        """The columns of a clusters file, ``id, cluster, keeper, score_to_keeper``, for every row, in blocks of a shard."""
        for of in self.settled:
            yield from match_clusters.columns_of(of, self.texts)

    def _pairs(self, left: Rows, right: Rows, scores: Scores) -> dict[str, Any]:
        texts = (self.texts.of(rows, "text") for rows in (left, right)) if needs_texts(self.model) else ((), ())
        _, judged = decided(self.model, scores, *texts, by_score=True)
        of = (judged.log_odds, judged.probability, judged.decision, judged.reason)
        return pair_columns(self.texts.of(left), self.texts.of(right), scores, *of)


def closest(model: Siamese, best: Sequence[Found], texts: EncodedTexts, top: int) -> Matches:
    """The `top` closest pairs of all parts as `Matches`, whose rows count only the texts in these pairs."""
    left, right, scores = top_of(joined(best), top)
    held, places = np.unique(np.stack([left, right]), return_inverse=True)
    left, right = places.reshape(2, -1)
    words = texts.of(held, "text")
    left, right, judged = decided_found(model, (left, right, scores), words, words, by_score=True)
    return Matches(left, right, n_left=len(held), left_ids=texts.of(held), left_texts=words, **judged.by_name())


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
    rule = Rule(threshold_of(model, threshold), model.similarity, max_matches, max_memory_mb)
    run = Stages(work, runner, sizes or Sizes(), progress)
    texts = run.encode(sources, reading or Reading(), recipe, max_matches)
    join = run.join if approximate is None else partial(run.join_cells, probing=approximate)
    found = run.expand(*join(texts.encoded, rule), rule, texts.repeats)
    parts, best = run.gather(texts.shards, found, top, rule)
    recall = run.recall(texts.encoded, rule, parts, approximate) if approximate else None
    is_judged = threshold is None and bool(model.judge or model.vetoes)
    matching = parts
    if is_judged:
        parts, matching = run.judge(Deciding.of(model, recipe), texts, parts)
    settled = run.settle(texts.shards, matching) if with_clusters else []
    n_clusters = match_clusters.n_clusters(work, settled, texts.shards[-1].stop) if with_clusters else None
    closest_pairs = closest_of(work, parts, texts, top) if is_judged else closest(model, best, texts, top)
    told = (recall, run.lost, run.told, is_judged)
    return DistributedMatches(model, texts, parts, closest_pairs, settled, n_clusters, *told)


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
        found = np.empty((len(rows), self.texts.encoded[0].dim), dtype=np.float32)
        for place, mine in self.texts.by_shard(rows):
            told, start = self.texts.work.read(self.texts.encoded[place].name), self.texts.shards[place].start
            found[mine] = told["embedding"][np.searchsorted(told["row"], rows[mine] - start)]
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
