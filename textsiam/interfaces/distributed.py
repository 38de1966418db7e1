"""``--ray``: the same commands past one machine. The road is `textsiam.distributing`; here options are checked, answers said."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from textsiam.interfaces.distributed_terminal import following_stages, say_found, say_n_renamed, summary_of
from textsiam.interfaces.groups import DuplicatesOptions, ModelOptions
from textsiam.interfaces.on_ray import RayOptions
from textsiam.interfaces.tables import write_columns
from textsiam.interfaces.terminal import (
    answer_json,
    model_told,
    say,
    say_lost,
    say_set_aside,
    set_aside_told,
    show_pairs,
)

if TYPE_CHECKING:
    from textsiam.distributing.cells import Probing
    from textsiam.distributing.found import DistributedMatches
    from textsiam.distributing.runners import Runner
    from textsiam.distributing.sizes import Sizes
    from textsiam.distributing.sources import Reading
    from textsiam.distributing.vectors import Recipe
    from textsiam.distributing.workspace import Workspace
    from textsiam.scoring.siamese import Siamese

INCOMPLETE = 1  # the exit code where something could not be worked on and the rest was finished


@dataclass(frozen=True)
class Job:
    """A command's sources and how they are read, its model and how workers make it."""

    sources: list[str]
    reading: "Reading"
    sizes: "Sizes"
    siamese: "Siamese"
    recipe: "Recipe"

    @classmethod
    def of(
        cls,
        files: list[str],
        reading: dict[str, Any],
        model: ModelOptions,
        prompt: str | None,
        shard_rows: int | None = None,
    ) -> "Job":
        """A local model's path is made absolute; what computes is for each worker to choose, unless it was named."""
        from textsiam.distributing.sizes import Sizes
        from textsiam.distributing.sources import Reading
        from textsiam.distributing.vectors import Recipe

        siamese, named = model.load(), model.model
        sizes = Sizes(shard=shard_rows) if shard_rows else Sizes()
        options = {key: value for key, value in reading.items() if key != "strict"}
        recipe = Recipe.of(siamese, device=model.computing.device, prompt=prompt)
        source = str(Path(named).resolve()) if named and Path(named).exists() else named
        kept = Reading(**options, n_rows=sizes.shard)
        return cls(files, kept, sizes, siamese, replace(recipe, source=source, backend=model.computing.backend))


def duplicates_on_ray(asked: DuplicatesOptions) -> None:
    """Find, write and tell; exit code 1 if something was left out."""
    on_ray, output = asked.on_ray, asked.output
    job = Job.of(asked.files or [], asked.reading, asked.model, asked.prompt)
    started = time.perf_counter()
    probing = _probing() if asked.approximate else None
    if on_ray.dry_run:
        _tell_cost(on_ray, job, asked.threshold, probing, as_json=asked.as_json)
        return
    if output is None or str(output) == "-":
        raise typer.BadParameter("--ray writes every pair found to a file. Name it with --output.")
    work = on_ray.workspace(output)
    found = _found(asked, job, work, probing)
    write_columns(output, found.pair_blocks())
    if asked.clusters:
        write_columns(asked.clusters, found.cluster_blocks())
    seconds = round(time.perf_counter() - started, 2)
    say_set_aside(found.set_aside, asked.rows.set_aside)
    say_n_renamed(found.n_renamed)
    if asked.as_json:
        answer_json(summary_of(found, asked.threshold, seconds))
    else:
        show_pairs(found.top, len(found))
        say_found(found, asked.threshold, seconds, output, asked.clusters)
    _finish(on_ray, work, [str(lost) for lost in found.lost])


def _found(asked: DuplicatesOptions, job: Job, work: "Workspace", probing: "Probing | None") -> "DistributedMatches":
    from textsiam.distributing.finding import find_duplicates_in_shards

    with asked.on_ray.running() as runner:
        _begin(job, work, runner)
        with following_stages() as progress:
            return find_duplicates_in_shards(
                job.siamese,
                job.sources,
                work,
                runner,
                recipe=job.recipe,
                reading=job.reading,
                sizes=job.sizes,
                threshold=asked.threshold,
                approximate=probing,
                max_memory_mb=asked.max_memory_mb,
                max_matches=asked.max_matches,
                top=asked.top,
                progress=progress,
            )


def encode_on_ray(on_ray: RayOptions, job: Job, *, output: Path, set_aside: Path | None, as_json: bool) -> None:
    """Encode, write and tell; exit code 1 if something was left out."""
    from textsiam.distributing.encoding import encode_in_shards
    from textsiam.encoding.shards import told_of, write_vectors

    started = time.perf_counter()
    if on_ray.dry_run:
        _tell_cost(on_ray, job, None, None, as_json=as_json, joins=False)
        return
    work, encoder = on_ray.workspace(output), job.siamese.encoder
    with on_ray.running() as runner:
        _begin(job, work, runner)
        with following_stages() as progress:
            found = encode_in_shards(
                job.sources,
                work,
                runner,
                recipe=job.recipe,
                reading=job.reading,
                sizes=job.sizes,
                progress=progress,
            )
    write_vectors(output, told_of(encoder, encoder.prompt_text(job.recipe.prompt)), encoder.dim, found.blocks())
    n_cut, n_unknown = sum(of.n_cut for of in found.encoded), sum(of.n_unknown for of in found.encoded)
    seconds = round(time.perf_counter() - started, 2)
    say_set_aside(found.set_aside, set_aside)
    say_n_renamed(found.n_renamed)
    if as_json:
        told = {"texts": found.n_texts, "distinct": found.n_distinct, "set_aside": set_aside_told(found.set_aside)}
        told |= {"truncated": n_cut, "with_unknown_characters": n_unknown, "lost": [str(of) for of in found.lost]}
        told |= {"stages": found.told, "seconds": seconds, "output": str(output)}
        answer_json(told | model_told(job.siamese))
    else:
        say_lost(n_cut, n_unknown)
        say(f"encoded {found.n_texts:,} texts, {found.n_distinct:,} distinct, in {seconds:.1f} s → {output}")
    _finish(on_ray, work, [str(lost) for lost in found.lost])


def _begin(job: Job, work: "Workspace", runner: "Runner") -> None:
    """Say what begins, and find out before the slow work whether workers see what this process writes."""
    from textsiam.distributing.runners import check_workspace
    from textsiam.distributing.sources import label_of

    check_workspace(work, runner)
    say(f"{len(job.sources):,} files, {runner.n_workers} workers, work in {label_of(work.root)}")


def _finish(on_ray: RayOptions, work: "Workspace", lost: list[str]) -> None:
    for line in lost:
        say(f"left out: {line}")
    if lost:
        where = "The workspace" if on_ray.work else f"{work.root}"
        say(
            f"{len(lost):,} left out, the rest is finished. Mend them, and run the same command again: {where} is kept."
        )
        raise typer.Exit(INCOMPLETE)
    if on_ray.work is None:
        work.remove()


def _probing() -> "Probing":
    from textsiam.distributing.cells import Probing

    return Probing()


def _tell_cost(
    on_ray: RayOptions,
    job: Job,
    threshold: float | None,
    probing: "Probing | None",
    *,
    as_json: bool,
    joins: bool = True,
) -> None:
    """What ``--dry-run`` tells."""
    from textsiam.distributing.cost import cost_of
    from textsiam.matching.duplicates import threshold_of

    lowest = threshold_of(job.siamese, threshold) if joins else 1.0
    with on_ray.running() as runner:
        n_workers = runner.n_workers
    cost = cost_of(
        job.siamese,
        job.sources,
        job.reading,
        job.sizes,
        threshold=lowest,
        n_workers=n_workers,
        prompt=job.recipe.prompt,
        approximate=probing,
    )
    if as_json:
        answer_json(vars(cost))
        return
    for line in cost.lines():
        if joins or not line.startswith("join"):
            say(line)
