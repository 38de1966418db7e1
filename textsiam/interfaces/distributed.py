"""``--ray``: the same commands past one machine. The road is `textsiam.distributing`; here options are checked, answers said."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from textsiam.interfaces.tables import write_columns
from textsiam.interfaces.terminal import (
    answer_json,
    following,
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
    from textsiam.distributing.found import DistributedMatches
    from textsiam.distributing.runners import Runner
    from textsiam.distributing.sizes import Sizes
    from textsiam.distributing.sources import Reading
    from textsiam.distributing.vectors import Recipe
    from textsiam.distributing.workspace import Workspace
    from textsiam.scoring.siamese import Siamese

INCOMPLETE = 1  # the exit code where something could not be worked on and the rest was finished
_SECONDS_BETWEEN_LINES = 15


@dataclass(frozen=True)
class OnCluster:
    """What ``--ray`` and the options beside it say."""

    address: str | None
    work: str | None
    dry_run: bool
    approximate: bool

    @classmethod
    def of(
        cls, *, ray: bool, address: str | None, work: str | None, dry_run: bool, approximate: bool = False
    ) -> "OnCluster | None":
        """None without ``--ray``, where the others mean nothing."""
        if not ray and (address or work or dry_run or approximate):
            raise typer.BadParameter("--ray-address, --work, --approximate and --dry-run go with --ray.")
        return cls(address, work, dry_run, approximate) if ray else None

    def refuse(self, **given: bool) -> None:
        """Refuse options that one machine alone can follow."""
        if names := [f"--{name.replace('_', '-')}" for name, is_given in given.items() if is_given]:
            raise typer.BadParameter(f"{', '.join(names)} cannot be combined with --ray. Leave it out, or --ray.")

    def sources(self, files: list[str] | None) -> list[str]:
        """The files that names and patterns stand for."""
        from textsiam.distributing.sources import expanded

        return expanded(files or [])

    def workspace(self, output: Path) -> "Workspace":
        """The one that was named, else a folder beside the output."""
        from textsiam.distributing.workspace import Workspace

        return Workspace(self.work or f"{output}.work")

    def after_interrupt(self, output: Path | None) -> str:
        """What is said after Ctrl-C."""
        if output is None or self.dry_run:
            return "Nothing was written."
        return f"What was finished is kept in {self.work or f'{output}.work'}: run the same command again to go on."


@dataclass(frozen=True)
class Asked:
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
        siamese: "Siamese",
        model: str | None,
        *,
        backend: str,
        device: str | None,
        prompt: str | None,
        shard_rows: int | None = None,
    ) -> "Asked":
        """A local model's path is made absolute; what computes is for each worker to choose, unless it was named."""
        from textsiam.distributing.sizes import Sizes
        from textsiam.distributing.sources import Reading
        from textsiam.distributing.vectors import Recipe

        sizes = Sizes(shard=shard_rows) if shard_rows else Sizes()
        options = {key: value for key, value in reading.items() if key != "strict"}
        recipe = Recipe.of(siamese, device=device, prompt=prompt)
        source = str(Path(model).resolve()) if model and Path(model).exists() else model
        kept = Reading(**options, n_rows=sizes.shard)
        return cls(files, kept, sizes, siamese, replace(recipe, source=source, backend=backend))


def duplicates_on_ray(
    cluster: OnCluster,
    asked: Asked,
    *,
    threshold: float | None,
    max_matches: int,
    max_memory_mb: int,
    output: Path | None,
    clusters: Path | None,
    set_aside: Path | None,
    top: int,
    as_json: bool,
) -> None:
    """Find, write and tell; exit code 1 if something was left out."""
    from textsiam.distributing.cells import Probing
    from textsiam.distributing.finding import find_duplicates_in_shards

    started = time.perf_counter()
    if cluster.dry_run:
        _tell_cost(cluster, asked, threshold, as_json=as_json)
        return
    if output is None or str(output) == "-":
        raise typer.BadParameter("--ray writes every pair found to a file. Name it with --output.")
    work = cluster.workspace(output)
    with _running(cluster) as runner:
        _begin(asked, work, runner)
        with _following() as progress:
            found = find_duplicates_in_shards(
                asked.siamese,
                asked.sources,
                work,
                runner,
                recipe=asked.recipe,
                reading=asked.reading,
                sizes=asked.sizes,
                threshold=threshold,
                approximate=Probing() if cluster.approximate else None,
                max_memory_mb=max_memory_mb,
                max_matches=max_matches,
                top=top,
                progress=progress,
            )
    write_columns(output, found.pair_blocks())
    if clusters:
        write_columns(clusters, found.cluster_blocks())
    seconds = round(time.perf_counter() - started, 2)
    say_set_aside(found.set_aside, set_aside)
    _say_renamed(found.n_renamed)
    if as_json:
        answer_json(_summary(found, threshold, seconds))
    else:
        show_pairs(found.top, len(found))
        _say_found(found, threshold, seconds, output, clusters)
    _finish(cluster, work, [str(lost) for lost in found.lost])


def encode_on_ray(cluster: OnCluster, asked: Asked, *, output: Path, set_aside: Path | None, as_json: bool) -> None:
    """Encode, write and tell; exit code 1 if something was left out."""
    from textsiam.distributing.encoding import encode_in_shards
    from textsiam.encoding.shards import told_of, write_vectors

    started = time.perf_counter()
    if cluster.dry_run:
        _tell_cost(cluster, asked, None, as_json=as_json, joins=False)
        return
    work, encoder = cluster.workspace(output), asked.siamese.encoder
    with _running(cluster) as runner:
        _begin(asked, work, runner)
        with _following() as progress:
            found = encode_in_shards(
                asked.sources,
                work,
                runner,
                recipe=asked.recipe,
                reading=asked.reading,
                sizes=asked.sizes,
                progress=progress,
            )
    write_vectors(output, told_of(encoder, encoder.prompt_text(asked.recipe.prompt)), encoder.dim, found.blocks())
    n_cut, n_unknown = sum(of.n_cut for of in found.encoded), sum(of.n_unknown for of in found.encoded)
    seconds = round(time.perf_counter() - started, 2)
    say_set_aside(found.set_aside, set_aside)
    _say_renamed(found.n_renamed)
    if as_json:
        told = {"texts": found.n_texts, "distinct": found.n_distinct, "set_aside": set_aside_told(found.set_aside)}
        told |= {"truncated": n_cut, "with_unknown_characters": n_unknown, "lost": [str(of) for of in found.lost]}
        answer_json(
            {**told, "stages": found.told, "seconds": seconds, "output": str(output), **model_told(asked.siamese)}
        )
    else:
        say_lost(n_cut, n_unknown)
        say(f"encoded {found.n_texts:,} texts, {found.n_distinct:,} distinct, in {seconds:.1f} s → {output}")
    _finish(cluster, work, [str(lost) for lost in found.lost])


def _finish(cluster: OnCluster, work: "Workspace", lost: list[str]) -> None:
    for line in lost:
        say(f"left out: {line}")
    if lost:
        where = "The workspace" if cluster.work else f"{work.root}"
        say(
            f"{len(lost):,} left out, the rest is finished. Mend them, and run the same command again: {where} is kept."
        )
        raise typer.Exit(INCOMPLETE)
    if cluster.work is None:
        work.remove()


def _say_renamed(n: int) -> None:
    if n:
        say(f"{n:,} ids repeat an earlier one, and carry their row number too")


def _tell_cost(cluster: OnCluster, asked: Asked, threshold: float | None, *, as_json: bool, joins: bool = True) -> None:
    from textsiam.distributing.cells import Probing
    from textsiam.distributing.cost import cost_of
    from textsiam.matching.duplicates import threshold_of

    lowest = threshold_of(asked.siamese, threshold) if joins else 1.0
    prompt = asked.recipe.prompt
    with _running(cluster) as runner:
        n_workers = runner.n_workers
    cost = cost_of(
        asked.siamese,
        asked.sources,
        asked.reading,
        asked.sizes,
        threshold=lowest,
        n_workers=n_workers,
        prompt=prompt,
        approximate=Probing() if cluster.approximate else None,
    )
    if as_json:
        answer_json(vars(cost))
        return
    for line in cost.lines():
        if joins or not line.startswith("join"):
            say(line)


def _summary(found: "DistributedMatches", threshold: float | None, seconds: float) -> dict[str, Any]:
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


def _say_found(
    found: "DistributedMatches", threshold: float | None, seconds: float, output: Path, clusters: Path | None
) -> None:
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


def _begin(asked: Asked, work: "Workspace", runner: "Runner") -> None:
    """Say what begins, and find out before the slow work whether workers see what this process writes."""
    from textsiam.distributing.runners import check_workspace
    from textsiam.distributing.sources import label_of

    check_workspace(work, runner)
    say(f"{len(asked.sources):,} files, {runner.n_workers} workers, work in {label_of(work.root)}")


@contextmanager
def _running(cluster: OnCluster) -> "Iterator[Runner]":
    """The cluster's workers; what Ray says of them goes to standard error, for standard output is the answer's."""
    from textsiam.distributing.runners import OnRay

    with redirect_stdout(sys.stderr):
        runner = OnRay(cluster.address)
        try:
            yield runner
        finally:
            runner.close()


@contextmanager
def _following() -> Iterator[Callable[[str, int, int], None]]:
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
