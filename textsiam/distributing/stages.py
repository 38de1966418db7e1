"""The stages of the road past one machine, each of which finishes before the next begins."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from textsiam.distributing import keepers
from textsiam.distributing.blocks import Joined, Joining, block_pairs, blocks_of, bounds_of, join_blocks
from textsiam.distributing.cells import (
    Probing,
    Recall,
    assign,
    draw,
    find_centres,
    groups_of,
    join_cells,
    measure_recall,
)
from textsiam.distributing.parts import Best, Part, gather, ranges_of
from textsiam.distributing.repeats import N_TEXTS_A_BUCKET, find_repeats_of
from textsiam.distributing.runners import Failure, Runner
from textsiam.distributing.sources import Reading, Shard, read_source, set_aside_of, shards_of
from textsiam.distributing.vectors import Encoded, Recipe
from textsiam.distributing.workspace import Workspace, key_of
from textsiam.errors import EncoderMismatch, MissingExtra, ModelNotFound, TooManyMatches, UnreadableInput
from textsiam.matching.repeats import refuse_too_many

logger = logging.getLogger("textsiam")

Progress = Callable[[str, int, int], None]  # (stage, done, total), called now and then

# What ends a run, for it would befall every shard.
_FATAL = (EncoderMismatch, MissingExtra, ModelNotFound)


@dataclass(frozen=True)
class Sizes:
    """How the work is cut: texts a shard, vectors a block of the join, rows a part of the match table.

    Without a block's size there are about eight blocks or more, of 8,192 to 262,144 vectors, whatever the workers are, so
    that another cluster goes on with what one has done.
    """

    shard: int = 16_384
    block: int | None = None
    part: int = 1_048_576

    def block_of(self, n: int) -> int:
        """Vectors a block where there are n in all.

        Examples
        --------
        >>> Sizes().block_of(1_000), Sizes().block_of(100_000), Sizes().block_of(10**9)
        (8192, 16384, 262144)
        """
        return self.block or min(262_144, max(8_192, 1 << max(0, (n - 1) // 8).bit_length()))


@dataclass(frozen=True)
class Lost:
    """A shard, or a source, that could not be worked on: its name and rows, and why. The rest was finished without it."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class Stages:
    """What the stages share: the workspace, who does the tasks, what was lost, and what each stage took.

    Parameters
    ----------
    progress
        Called with the stages read, repeats, encode, bounds, join, parts, keepers, offers and clusters.
    """

    def __init__(self, work: Workspace, runner: Runner, sizes: Sizes, progress: Progress | None) -> None:
        self.work, self.runner, self.sizes = work, runner, sizes
        self.progress = progress or (lambda *_: None)
        self.lost: list[Lost] = []
        self.told: dict[str, dict[str, float]] = {}

    def read(self, sources: Sequence[str], reading: Reading) -> list[dict[str, Any]]:
        """What each source holds, in order; one that cannot be read is lost, unless all are."""
        several = len(sources) > 1
        tasks = [(_read, (self.work, name, reading, several)) for name in sources]
        found = self._all("read", tasks, lambda place: sources[place])
        listings = [self.work.read_json(name) for name in found if name]
        if not any(told["shards"] for told in listings):
            why = "; ".join(map(str, self.lost)) or str(set_aside_of(listings))
            raise UnreadableInput(f"There is no usable text: {why}. Give at least one.")
        return listings

    def encode(
        self, listings: Sequence[dict[str, Any]], recipe: Recipe, max_matches: int | None = None
    ) -> tuple[list[Shard], list[str], list[Encoded], int]:
        """The shards that could be encoded, the files of repeats among them, their vectors, and the distinct texts."""
        shards = shards_of(listings)
        while True:
            repeats, n_repeats = self.repeats(shards, max_matches)
            found: list[Any] = [None] * len(shards)
            n_done, started = 0, time.perf_counter()
            for place, result in self.runner.encode(self.work, recipe, repeats, shards):
                found[place] = result
                n_done += shards[place].n
                self.progress("encode", n_done, sum(shard.n for shard in shards))
            lost = [
                self._lost(str(shard), of) for shard, of in zip(shards, found, strict=True) if isinstance(of, Failure)
            ]
            if not lost:
                new = [of for of in found if not of.reused]
                told = {"texts": sum(of.n for of in new), "tokens": sum(of.n_tokens for of in new)}
                self._tell("encode", started, len(found), len(new), **told)
                return shards, repeats, found, sum(shard.n for shard in shards) - n_repeats
            # Texts that stood for equals elsewhere are gone: others must stand for them.
            self.lost += lost
            shards = [shard for shard, of in zip(shards, found, strict=True) if not isinstance(of, Failure)]
            if not shards:
                raise UnreadableInput(f"No shard could be encoded: {'; '.join(map(str, lost[:3]))}.")

    def repeats(self, shards: Sequence[Shard], max_matches: int | None) -> tuple[list[str], int]:
        """The files of texts that repeat earlier ones, and how many there are."""
        n_buckets = max(1, -(-sum(shard.n for shard in shards) // N_TEXTS_A_BUCKET))
        key = key_of([(shard.name, shard.start) for shard in shards])
        shared = self.runner.share(list(shards))
        tasks = [
            (find_repeats_of, (self.work, shared, bucket, n_buckets, f"repeats/{key}/{bucket:05d}.arrow"))
            for bucket in range(n_buckets)
        ]
        found = self._all("repeats", tasks)
        if max_matches is not None:
            refuse_too_many(sum(of.n_pairs for of in found), max_matches)
        return [of.name for of in found], sum(of.n_repeats for of in found)

    def join(self, encoded: Sequence[Encoded], repeats: list[str], joining: Joining) -> list[Joined]:
        """Every pair of blocks that is not provably apart."""
        blocks = blocks_of(encoded, self.sizes.block_of(sum(of.n for of in encoded)))
        bounds = self._all("bounds", [(bounds_of, (self.work, block, joining.similarity)) for block in blocks])
        places = list(block_pairs(bounds, joining))
        shared = self.runner.share(repeats)
        tasks = [
            (join_blocks, (self.work, blocks[i], None if i == j else blocks[j], joining, shared)) for i, j in places
        ]
        n_pairs = sum(blocks[i].n * ((blocks[j].n - 1) // 2 if i == j else blocks[j].n) for i, j in places)
        found = self._found(tasks, joining, n_pairs)
        self.told["join"]["blocks_apart"] = len(blocks) * (len(blocks) + 1) // 2 - len(places)
        return found

    def _found(self, tasks: Sequence[tuple[Any, tuple[Any, ...]]], joining: Joining, n_pairs: int) -> list[Joined]:
        """What the tasks of a join find, as long as it is not too much; the pairs to compare, if they are known beforehand."""
        started = time.perf_counter()
        found: list[Any] = [None] * len(tasks)
        n_found, n_compared = 0, 0
        done = self.runner.run(tasks[0][0], [arguments for _, arguments in tasks]) if tasks else ()
        for n_done, (place, result) in enumerate(done, start=1):
            found[place] = _sound(result)
            n_found += result.n
            n_compared += result.n_compared
            if n_found > joining.max_matches:
                raise TooManyMatches(
                    f"More than {joining.max_matches:,} pairs reach {joining.threshold:g}. Raise the threshold, or allow more "
                    "(--max-matches, max_matches=)."
                )
            self.progress("join", *((n_compared, n_pairs) if n_pairs else (n_done, len(tasks))))
        new = [of for of in found if not of.reused]
        self._tell("join", started, len(found), len(new), pairs_compared=n_compared)
        return found

    def join_cells(
        self, encoded: Sequence[Encoded], repeats: list[str], joining: Joining, probing: Probing
    ) -> list[Joined]:
        """The pairs in cells of near vectors: not all pairs, and far fewer comparisons."""
        asked = (self.runner.share(list(encoded)), probing, joining.similarity)
        (centres,) = self._all("centres", [(find_centres, (self.work, *asked))])
        tasks = [(assign, (self.work, of, centres, probing.n_probes, joining.similarity)) for of in encoded if of.n]
        assigned = self._all("cells", tasks)
        n_cells = len(self.work.table(centres, "centre"))
        n = sum(of.n for of in encoded)
        groups = groups_of(n_cells, n, max(1, self.sizes.block_of(n) // probing.n_probes))
        shared, told = self.runner.share(assigned), self.runner.share(repeats)
        return self._found([(join_cells, (self.work, shared, cells, joining, told)) for cells in groups], joining, 0)

    def recall(self, encoded: Sequence[Encoded], joining: Joining, parts: list[Part], probing: Probing) -> Recall:
        """How many of the pairs that a sample of the texts has are in the match table."""
        (sample,) = self._all("sample", [(draw, (self.work, self.runner.share(list(encoded)), probing))])
        shared = self.runner.share(parts)
        tasks = [
            (measure_recall, (self.work, sample, block, joining, shared))
            for block in blocks_of(encoded, self.sizes.block_of(sum(of.n for of in encoded)))
        ]
        found = self._all("recall", tasks)
        # A pair of two texts of the sample is met from both sides, and counts twice in both sums.
        return Recall(sum(of.n_pairs for of in found), sum(of.n_found for of in found))

    def gather(self, shards: Sequence[Shard], joined: Sequence[Joined], top: int) -> tuple[list[Part], list[Best]]:
        """The match table by row, and the closest pairs of each part."""
        shared = self.runner.share(list(joined))
        tasks = [(gather, (self.work, rows, shared, top)) for rows in ranges_of(shards, self.sizes.part)]
        found = self._all("parts", tasks)
        return [part for part, _ in found], [best for _, best in found]

    def settle(self, shards: list[Shard], parts: Sequence[Part]) -> list[keepers.Settled]:
        """The clusters by row."""
        shared = self.runner.share(shards)
        (bits,) = self._all("keepers", [(keepers.find_keepers, (self.work, list(parts), shared))])
        offers = self._all("offers", [(keepers.offer, (self.work, part, bits)) for part in parts])
        told = self.runner.share(offers)
        tasks = [(keepers.settle, (self.work, rows, told, bits)) for rows in ranges_of(shards, self.sizes.part)]
        return self._all("clusters", tasks)

    def _all(
        self, stage: str, tasks: Sequence[tuple[Any, tuple[Any, ...]]], named: Callable[[int], str] | None = None
    ) -> list[Any]:
        """The results of a stage's tasks in order; where tasks have names, None for those that failed."""
        started = time.perf_counter()
        found: list[Any] = [None] * len(tasks)
        done = self.runner.run(tasks[0][0], [arguments for _, arguments in tasks]) if tasks else ()
        for n_done, (place, result) in enumerate(done, start=1):
            if named and isinstance(result, Failure):
                self.lost.append(self._lost(named(place), result))
            else:
                found[place] = _sound(result)
            self.progress(stage, n_done, len(tasks))
        self._tell(stage, started, len(tasks), len(tasks))
        return found

    def _lost(self, what: str, failure: Failure) -> Lost:
        if isinstance(failure.error, _FATAL):
            raise failure.error
        logger.warning("%s was left out: %s", what, failure.error)
        return Lost(what, str(failure.error) or type(failure.error).__name__)

    def _tell(self, stage: str, started: float, n_tasks: int, n_new: int, **more: float) -> None:
        seconds = round(time.perf_counter() - started, 3)
        self.told[stage] = {"seconds": seconds, "tasks": n_tasks, "computed": n_new, **more}


def _read(work: Workspace, name: str, reading: Reading, several: bool) -> str:  # noqa: FBT001  a task's arguments go by place
    return read_source(work, name, reading, several=several)


def _sound(result: Any) -> Any:
    if isinstance(result, Failure):
        raise result.error
    return result
