"""``duplicates --ray`` and ``encode --ray``: check the options, run `textsiam.distributing`, report what it did."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from textsiam.interfaces.shell.options import DuplicatesOptions, ModelOptions, RayOptions
from textsiam.interfaces.shell.terminal import (
    answer_json,
    following_all,
    mapped,
    model_told,
    say,
    say_lost,
    say_set_aside,
    set_aside_told,
    show_matches,
    write_columns,
)

if TYPE_CHECKING:
    from textsiam.distributing.approximate_join import Recall
    from textsiam.distributing.pipelines import DistributedMatches, DistributedVectors
    from textsiam.distributing.workspace import Workspace
    from textsiam.scoring.siamese import Siamese


INCOMPLETE = 1  # the exit code where something was left out and the rest was finished
_SECONDS_BETWEEN_LINES = 15


@dataclass(frozen=True)
class Job:
    """A command's sources, how to read them, and its model."""

    sources: list[str]
    reading: dict[str, Any]
    model: ModelOptions
    prompt: str | None
    shard_rows: int | None = None

    def run(
        self, function: Callable[..., Any], siamese: "Siamese", on_ray: RayOptions, work: "Workspace", **settings: Any
    ) -> Any:
        """What the function finds on the cluster; first checks that all workers see the workspace.

        A local model's path becomes absolute, and each worker chooses its own backend. What Ray prints goes to standard error,
        because standard output holds the answer.
        """
        from textsiam.distributing.encoders import Recipe
        from textsiam.distributing.runners import OnRay, check_workspace
        from textsiam.distributing.shard_sources import Reading, Sizes, label_of

        named, computing = self.model.model, self.model.computing
        sizes = Sizes(shard=self.shard_rows) if self.shard_rows else Sizes()
        reading = {name: value for name, value in self.reading.items() if name != "strict"}
        recipe = Recipe.of(siamese, device=computing.device, prompt=self.prompt)
        source = str(Path(named).resolve()) if named and Path(named).exists() else named
        settings["recipe"] = replace(recipe, source=source, backend=computing.backend)
        settings |= {"reading": Reading(**reading, n_rows=sizes.shard), "sizes": sizes}
        with redirect_stdout(sys.stderr), closing(OnRay(on_ray.ray_address)) as runner:
            check_workspace(work, runner)
            say(f"{len(self.sources):,} files, {runner.n_workers} workers, work in {label_of(work.root)}")
            with following_stages() as progress:
                return function(self.sources, work, runner, progress=progress, **settings)


def duplicates_on_ray(asked: DuplicatesOptions) -> None:
    """Find and write the pairs, and report them; exit code 1 if something was left out."""
    from textsiam.distributing.approximate_join import Probing
    from textsiam.distributing.pipelines import find_duplicates_in_shards
    from textsiam.distributing.workspace import Workspace

    output = asked.output
    if output is None or str(output) == "-":
        raise typer.BadParameter("--ray writes every pair to a file. Name it with --output.")
    siamese = asked.model.load()
    started, work = time.perf_counter(), Workspace(asked.on_ray.work_beside(output))
    found: DistributedMatches = Job(
        asked.files or [], asked.rows.reading(asked.columns), asked.model, asked.prompt
    ).run(
        partial(find_duplicates_in_shards, siamese),
        siamese,
        asked.on_ray,
        work,
        threshold=asked.threshold,
        approximate=Probing() if asked.approximate else None,
        max_memory_mb=asked.max_memory_mb,
        max_matches=asked.max_matches,
        top=asked.top,
    )
    write_columns(output, found.pair_blocks())
    if asked.clusters:
        write_columns(asked.clusters, found.cluster_blocks())
    seconds = round(time.perf_counter() - started, 2)
    _say_rows(found, asked.rows.set_aside)
    if asked.as_json:
        answer_json(_summary(found, asked.threshold, seconds))
    else:
        show_matches(found.top, asked.top)
        _say_found(found, asked, seconds)
    _finish(asked.on_ray, work, found)


def encode_on_ray(on_ray: RayOptions, job: Job, *, output: Path, set_aside: Path | None, as_json: bool) -> None:
    """Encode and write the vectors, and report them; exit code 1 if something was left out."""
    from textsiam.distributing.pipelines import encode_in_shards
    from textsiam.distributing.workspace import Workspace
    from textsiam.encoding.shards import told_of, write_vectors

    siamese = job.model.load()
    started, work, encoder = time.perf_counter(), Workspace(on_ray.work_beside(output)), siamese.encoder
    found: DistributedVectors = job.run(encode_in_shards, siamese, on_ray, work)
    write_vectors(output, told_of(encoder, encoder.prompt_text(job.prompt)), encoder.dim, found.blocks())
    seconds = round(time.perf_counter() - started, 2)
    _say_rows(found, set_aside)
    if as_json:
        told = _told(found, seconds) | {"lost": [str(of) for of in found.lost], "output": str(output)}
        answer_json(told | model_told(siamese))
    else:
        say_lost(found.texts.n_cut, found.texts.n_unknown)
        say(f"encoded {len(found.texts):,} texts, {found.texts.n_distinct:,} distinct, in {seconds:.1f} s → {output}")
    _finish(on_ray, work, found)


@contextmanager
def following_stages() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars on a terminal; elsewhere, as in a cluster's log, a line now and then with the speed and the time left."""
    if sys.stderr.isatty():
        with following_all() as progress:
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
        say(f"{stage}: {done:,} of {total:,}, {rate:,.0f} per second{left}")

    yield follow


def _summary(found: "DistributedMatches", threshold: float | None, seconds: float) -> dict[str, Any]:
    """What a JSON answer says of the matches."""
    own = found.model.threshold
    return _told(found, seconds) | {
        "read": len(found.texts) + len(found.texts.set_aside),
        "threshold": own.to_json() if threshold is None and own else {"value": threshold},
        "pairs": len(found),
        "clusters": found.n_clusters,
        "dropped": found.n_dropped,
        "recall": None if found.recall is None else found.recall._asdict(),
        "lost": [{"what": of.what, "why": of.why} for of in found.lost],
        **model_told(found.model),
    }


def _told(found: "DistributedMatches | DistributedVectors", seconds: float) -> dict[str, Any]:
    """What a JSON answer says of the texts and the stages."""
    return {
        "texts": len(found.texts),
        "distinct": found.texts.n_distinct,
        "set_aside": set_aside_told(found.texts.set_aside),
        "truncated": found.texts.n_cut,
        "with_unknown_characters": found.texts.n_unknown,
        "stages": found.told,
        "seconds": seconds,
    }


def _say_rows(found: "DistributedMatches | DistributedVectors", set_aside: Path | None) -> None:
    say_set_aside(found.texts.set_aside, set_aside)
    if found.texts.n_renamed:
        say(f"{found.texts.n_renamed:,} ids repeat an earlier one, and carry their row number too")


def _say_found(found: "DistributedMatches", asked: DuplicatesOptions, seconds: float) -> None:
    """What was read, computed and found."""
    say(f"columns: {mapped(found.texts.mapping)}")
    n_aside, n_repeats = len(found.texts.set_aside), len(found.texts) - found.texts.n_distinct
    say(
        f"read {len(found.texts) + n_aside:,} rows, {n_aside:,} set aside; {n_repeats:,} repeat an earlier text exactly"
    )
    say_lost(found.texts.n_cut, found.texts.n_unknown)
    own = f"{found.model.threshold}; the model's own"
    say(f"threshold {own if asked.threshold is None else f'{asked.threshold:g} (given by you)'}")
    for stage, did in found.told.items():
        if did["seconds"] >= 1:
            n_reused = did["tasks"] - did["computed"]
            reused = f", {n_reused:,.0f} were there already" if n_reused > 0 else ""
            say(f"{stage}: {did['computed']:,.0f} tasks in {did['seconds']:.1f} s{reused}")
    if found.recall is not None:
        say(f"approximate: {_recall_told(found.recall)}")
    groups = f"{found.n_clusters or 0:,} clusters, {found.n_dropped:,} rows that match their keeper"
    where = f" → {asked.clusters}" if asked.clusters else ""
    say(f"found {len(found):,} pairs → {asked.output}, {groups}{where}, in {seconds:.1f} s")


def _recall_told(recall: "Recall") -> str:
    if recall.share is None:
        return f"the sample of {recall.n_texts:,} texts has no pair to measure the recall by"
    told = f"recall {recall.share:.4f} [{recall.low:.4f}, {recall.high:.4f}]"
    return f"{told}, by the {recall.n_pairs:,} pairs that {recall.n_texts:,} random texts have with all others"


def _finish(on_ray: RayOptions, work: "Workspace", found: "DistributedMatches | DistributedVectors") -> None:
    """Name what was left out and keep the workspace, or remove it if it is ours and nothing was."""
    for lost in found.lost:
        say(f"left out: {lost}")
    if found.lost:
        where = "The workspace" if on_ray.work else f"{work.root}"
        say(
            f"{len(found.lost):,} left out, the rest is finished. Correct them and run the same command again: {where} is kept."
        )
        raise typer.Exit(INCOMPLETE)
    if on_ray.work is None:
        work.remove()
