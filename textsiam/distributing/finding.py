"""The road past one machine: sources → shards → distinct texts → vectors → pairs of blocks → the match table → clusters."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from textsiam.distributing import keepers
from textsiam.distributing.blocks import Joining
from textsiam.distributing.cells import Probing
from textsiam.distributing.found import DistributedMatches, closest
from textsiam.distributing.parts import Names
from textsiam.distributing.runners import Runner
from textsiam.distributing.sizes import Sizes
from textsiam.distributing.sources import Reading, set_aside_of
from textsiam.distributing.stages import Progress, Stages
from textsiam.distributing.vectors import Recipe
from textsiam.distributing.workspace import Workspace
from textsiam.matching.duplicates import threshold_of
from textsiam.scoring.siamese import Siamese


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
    """As `find_duplicates`, in tasks whose results lie in a workspace: what is there is not computed again.

    Parameters
    ----------
    sources
        Files that every worker can read, by path or URI.
    recipe
        How workers make their encoder.
    approximate
        Compare only what is near; the recall is measured on a sample and told. Default: every pair is found.
    max_memory_mb
        Working memory of the comparison in one worker, beyond two blocks' vectors and what is made of them.

    Raises
    ------
    NotCalibrated, TooManyMatches, UnreadableInput
        As `find_duplicates`.
    EncoderMismatch
        If a worker's model is another.

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
        keepers.n_clusters(work, settled, shards[-1].stop if shards else 0) if with_clusters else None,
        recall,
        run.lost,
        run.told,
    )
