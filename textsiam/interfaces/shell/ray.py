"""``--ray``: the same commands past one machine. The road is `textsiam.distributing`; here options are checked, answers said.

What a command past one machine says: how far it is, what it found, what was left out.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from textsiam.interfaces.shell.option_groups import DuplicatesOptions, ModelOptions
from textsiam.interfaces.shell.outputs import write_columns
from textsiam.interfaces.shell.progress import following
from textsiam.interfaces.shell.ray_options import RayOptions
from textsiam.interfaces.shell.terminal import (
    answer_json,
    mapped,
    model_told,
    say,
    say_lost,
    say_set_aside,
    set_aside_told,
    show_pairs,
)

if TYPE_CHECKING:
    from textsiam.data.texts import SetAside
    from textsiam.distributing.approximate_join import Probing
    from textsiam.distributing.distributed_duplicates import DistributedMatches
    from textsiam.distributing.encoders import Recipe
    from textsiam.distributing.runners import Runner
    from textsiam.distributing.shard_sources import Reading, Sizes
    from textsiam.distributing.workspace import Workspace
    from textsiam.scoring.siamese import Siamese


_SECONDS_BETWEEN_LINES = 15


@contextmanager
def following_stages() -> Iterator[Callable[[str, int, int], None]]:
    """Bars where somebody watches; else, as in a cluster's log, a line now and then with the speed and the time left."""
    if sys.stderr.isatty():
        with following() as progress:
            yield progress
        return
    began: dict[str, float] = {}
    said = last = time.perf_counter()

    def follow(stage: str, done: int, total: int) -> None:
        nonlocal said, last
        now = time.perf_counter()
        start = began.setdefault(stage, last)  # a stage begins where the one before ended
        last = now
        if now - said < _SECONDS_BETWEEN_LINES:
            return
        said = now
        rate = done / max(now - start, 1e-9)
        left = f", about {(total - done) / rate:,.0f} s left" if rate else ""
        say(f"{stage}: {done:,} of {total:,}, {rate:,.0f} a second{left}")

    yield follow


def say_n_renamed(n: int) -> None:
    """How many ids came before."""
    if n:
        say(f"{n:,} ids repeat an earlier one, and carry their row number too")


def summary_of(found: "DistributedMatches", threshold: float | None, seconds: float) -> dict[str, Any]:
    """What a JSON answer says of the matches."""
    return {
        "read": found.n_texts + len(found.set_aside),
        "set_aside": set_aside_told(found.set_aside),
        "texts": found.n_texts,
        "distinct": found.n_distinct,
        "truncated": found.n_cut,
        "with_unknown_characters": found.n_unknown,
        "threshold": found.model.threshold.to_json()
        if threshold is None and found.model.threshold
        else {"value": threshold},
        "pairs": len(found),
        "clusters": found.n_clusters,
        "dropped": found.n_dropped,
        "recall": None if found.recall is None else found.recall._asdict(),
        "lost": [{"what": of.what, "why": of.why} for of in found.lost],
        "stages": found.told,
        "seconds": seconds,
        **model_told(found.model),
    }


def say_found(
    found: "DistributedMatches", threshold: float | None, seconds: float, output: Path, clusters: Path | None
) -> None:
    """What was read, done and found."""
    aside: SetAside = found.set_aside
    say(f"columns: {mapped(found.mapping)}")
    repeats = found.n_texts - found.n_distinct
    say(
        f"read {found.n_texts + len(aside):,} rows, {len(aside):,} set aside; {repeats:,} repeat an earlier text exactly"
    )
    say_lost(found.n_cut, found.n_unknown)
    told = f"{threshold:g} (given by you)" if threshold is not None else f"{found.model.threshold}; the model's own"
    say(f"threshold {told}")
    for stage, did in found.told.items():
        if did["seconds"] >= 1:
            reused = (
                f", {did['tasks'] - did['computed']:,.0f} were there already" if did["computed"] < did["tasks"] else ""
            )
            say(f"{stage}: {did['computed']:,.0f} tasks in {did['seconds']:.1f} s{reused}")
    if (recall := found.recall) is not None:
        told = f"the sample of {recall.n_texts:,} texts has no pair to measure the recall by"
        if recall.share is not None:
            told = f"recall {recall.share:.4f} [{recall.low:.4f}, {recall.high:.4f}]"
            told += f", by the {recall.n_pairs:,} pairs that {recall.n_texts:,} texts at random have with all others"
        say(f"approximate: {told}")
    groups = f"{found.n_clusters or 0:,} clusters, {found.n_dropped:,} rows that match their keeper"
    where = f" → {clusters}" if clusters else ""
    say(f"found {len(found):,} pairs → {output}, {groups}{where}, in {seconds:.1f} s")


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
        from textsiam.distributing.encoders import Recipe
        from textsiam.distributing.shard_sources import Reading, Sizes

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
    from textsiam.distributing.distributed_duplicates import find_duplicates_in_shards

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
    from textsiam.distributing.distributed_encoding import encode_in_shards
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
    from textsiam.distributing.shard_sources import label_of

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
    from textsiam.distributing.approximate_join import Probing

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
