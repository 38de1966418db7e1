"""The stages of a run past one machine; each stage ends before the next one begins."""

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from textsiam.arrays import Found
from textsiam.distributing import match_clusters
from textsiam.distributing.approximate_join import (
    Probing,
    Recall,
    assign,
    draw,
    find_centres,
    groups_of,
    join_cells,
    measure_recall,
)
from textsiam.distributing.blocks import Block, Joined, block_pairs, blocks_of, bounds_of, expand, join_blocks
from textsiam.distributing.encoders import Encoded, EncodedTexts, Recipe, encode_shard
from textsiam.distributing.judged_parts import Deciding, judge_part
from textsiam.distributing.match_table import Part, gather, ranges_of
from textsiam.distributing.runners import Runner
from textsiam.distributing.shard_repeats import N_TEXTS_A_BUCKET, find_repeats_of
from textsiam.distributing.shard_sources import (
    Reading,
    Shard,
    Sizes,
    label_of,
    place_of,
    read_source,
    set_aside_of,
    shards_of,
)
from textsiam.distributing.tasks import FATAL, Failure, Lost
from textsiam.distributing.workspace import Workspace, key_of
from textsiam.errors import TaskFailed, TextsiamError, UnreadableInput
from textsiam.matching.join.tiles import Allowed
from textsiam.matching.repeats import refuse_too_many
from textsiam.matching.rule import Rule

logger = logging.getLogger("textsiam")

Progress = Callable[[str, int, int], None]  # (stage, done, total)
Tasks = Sequence[tuple[Any, ...]]  # the arguments of each, after the workspace


class Stages:
    """The stages, and what they share: workspace, runner, sizes, what was left out, and what each stage took.

    `progress` is called after each task; stages are read, repeats, encode, bounds, join, expand, parts, judge, keepers, offers
    and clusters.
    """

    def __init__(self, work: Workspace, runner: Runner, sizes: Sizes, progress: Progress | None) -> None:
        self.work, self.runner, self.sizes = work, runner, sizes
        self.progress = progress or (lambda *_: None)
        self.lost: list[Lost] = []
        self.told: dict[str, dict[str, float]] = {}

    def read(self, sources: Sequence[str], reading: Reading) -> list[dict[str, Any]]:
        """The listing of each source, in order; a source that cannot be read is left out, or the rows from where it cannot.

        Raises UnreadableInput if no source has a usable text.
        """
        labels = [label_of(name) for name in sources]
        tasks = [(place_of(name), label, reading) for name, label in zip(sources, labels, strict=True)]
        found = self._all("read", read_source, tasks, labels.__getitem__)
        listings = [self.work.read_json(name) for name in found if name]
        for told in listings:
            if told["broken"]:
                self._left_out(told["source"], told["broken"])
        if not any(told["shards"] for told in listings):
            why = "; ".join(map(str, self.lost)) or str(set_aside_of(listings))
            raise UnreadableInput(f"There is no usable text: {why}. Give at least one.")
        return listings

    def encode(
        self, sources: Sequence[str], reading: Reading, recipe: Recipe, max_matches: int | None = None
    ) -> EncodedTexts:
        """The texts of all shards that could be read and encoded, with their vectors."""
        listings = self.read(sources, replace(reading, n_rows=self.sizes.shard))
        shards, n_tasks, started = shards_of(listings), 0, time.perf_counter()
        new: list[Encoded] = []
        while True:
            repeats, n_repeats = self.repeats(shards, max_matches)
            found: list[Any] = [None] * len(shards)
            n_done, n_texts = 0, sum(shard.n for shard in shards)
            with closing(self._encoded(recipe, repeats, shards)) as done:
                for place, result in done:
                    found[place] = result
                    n_done += shards[place].n
                    self.progress("encode", n_done, n_texts)
            new += [of for of in found if isinstance(of, Encoded) and not of.reused]
            n_tasks += len(shards)
            kept = [shard for shard, of in zip(shards, found, strict=True) if isinstance(of, Encoded)]
            if len(kept) == len(shards):
                told = {"texts": sum(of.n for of in new), "tokens": sum(of.n_tokens for of in new)}
                self._tell("encode", started, n_tasks, len(new), **told)
                return EncodedTexts(
                    self.work,
                    shards,
                    len(sources) > 1,
                    found,
                    repeats,
                    n_texts - n_repeats,
                    set_aside_of(listings),
                    sum(told["renamed"] for told in listings),
                    listings[0]["mapping"],
                )
            # Texts of a shard that is left out may stand for equal texts elsewhere: find the repeats again without it.
            for shard, of in zip(shards, found, strict=True):
                if isinstance(of, Failure):
                    self._left_out(str(shard), str(of.error) or type(of.error).__name__)
            if not kept:
                raise UnreadableInput(f"No shard could be encoded: {'; '.join(map(str, self.lost[:3]))}.")
            shards = kept

    def _encoded(self, recipe: Recipe, repeats: list[str], shards: Sequence[Shard]) -> Generator[tuple[int, Any]]:
        """The result for each shard; an error that would happen to every shard ends the run."""
        shared = self.runner.share(repeats)
        tasks = [(self.work, recipe, shared, shard) for shard in shards]
        on_gpu = not str(recipe.device or "").startswith("cpu")
        for place, result in self.runner.run(encode_shard, tasks, on_gpu=on_gpu):
            if isinstance(result, Failure) and isinstance(result.error, (*FATAL, OSError)):
                raise result.error
            yield place, result

    def repeats(self, shards: Sequence[Shard], max_matches: int | None) -> tuple[list[str], int]:
        """The files of texts that repeat earlier ones, and the number of such texts."""
        n_buckets = max(1, -(-sum(shard.n for shard in shards) // N_TEXTS_A_BUCKET))
        key = key_of([(shard.name, shard.start) for shard in shards], n_buckets)
        shared = self.runner.share(list(shards))
        names = [f"repeats/{key}/{bucket:05d}.arrow" for bucket in range(n_buckets)]
        tasks = [(shared, bucket, n_buckets, name) for bucket, name in enumerate(names)]
        found = self._all("repeats", find_repeats_of, tasks)
        if max_matches is not None:
            refuse_too_many(sum(of.n_pairs for of in found), max_matches)
        n_repeats = sum(of.n_repeats for of in found)
        return [of.name for of in found] if n_repeats else [], n_repeats

    def join(self, encoded: Sequence[Encoded], rule: Rule) -> tuple[list[Joined], list[Block | None]]:
        """The pairs of every two blocks that are not provably apart; for each result, the block if it was joined with itself."""
        blocks = self._blocks(encoded)
        bounds = self._all("bounds", bounds_of, [(block, rule.similarity) for block in blocks])
        places = list(block_pairs(bounds, rule))
        tasks = [(blocks[i], None if i == j else blocks[j], rule) for i, j in places]
        n_pairs = sum(blocks[i].n * (blocks[i].n - 1) // 2 if i == j else blocks[i].n * blocks[j].n for i, j in places)
        found = self._found(join_blocks, tasks, rule, n_pairs)
        self.told["join"]["blocks_apart"] = len(blocks) * (len(blocks) + 1) // 2 - len(places)
        return found, [blocks[i] if i == j else None for i, j in places]

    def join_cells(
        self, encoded: Sequence[Encoded], rule: Rule, probing: Probing
    ) -> tuple[list[Joined], list[Block | None]]:
        """The pairs in cells of near vectors, and an empty result for each block, to which `expand` adds equal texts."""
        asked = (self.runner.share(list(encoded)), probing, rule.similarity)
        (centres,) = self._all("centres", find_centres, [asked])
        each = [(of, centres, probing.n_probes, rule.similarity) for of in encoded if of.n]
        assigned = self.runner.share(self._all("cells", assign, each))
        n_cells = len(self.work.table(centres, "centre"))
        n = sum(of.n for of in encoded)
        groups = groups_of(n_cells, n, max(1, self.sizes.block_of(n, encoded[0].dim) // probing.n_probes))
        found = self._found(join_cells, [(assigned, cells, rule) for cells in groups], rule, 0)
        empty = Joined.none(self.work)
        blocks = self._blocks(encoded)
        return [*found, *[empty] * len(blocks)], [*[None] * len(found), *blocks]

    def expand(
        self, found: Sequence[Joined], own: Sequence[Block | None], rule: Rule, repeats: list[str]
    ) -> list[Joined]:
        """The pairs for all rows with the same texts."""
        if not repeats:
            return list(found)
        shared = self.runner.share(repeats)
        tasks = [(of, block, rule, shared) for of, block in zip(found, own, strict=True)]
        return self._all("expand", expand, tasks)

    def gather(
        self, shards: Sequence[Shard], joined: Sequence[Joined], top: int, rule: Rule
    ) -> tuple[list[Part], list[Found]]:
        """The parts of the match table, and the closest pairs of each part."""
        tasks = [
            ((start, stop), [of for of in joined if of.n and of.lowest < stop and of.highest >= start], top)
            for start, stop in ranges_of(shards, self.sizes.part)
        ]
        found = self._all("parts", gather, tasks)
        Allowed(rule.max_matches, rule.threshold).take(sum(part.n for part, _ in found))
        return [part for part, _ in found], [best for _, best in found]

    def judge(self, deciding: Deciding, texts: EncodedTexts, parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
        """The parts without what the model rejects, with what it says of the rest; and the parts of what it accepts."""
        shared = self.runner.share(deciding), self.runner.share(texts)
        found = self._all("judge", judge_part, [(*shared, part) for part in parts])
        return [of.told for of in found], [of.accepted for of in found]

    def recall(self, encoded: Sequence[Encoded], rule: Rule, parts: list[Part], probing: Probing) -> Recall:
        """The recall of an approximate join: which share of the pairs of a sample of the texts the match table has."""
        (sample,) = self._all("sample", draw, [(self.runner.share(list(encoded)), probing)])
        shared = self.runner.share(parts)
        tasks = [(sample, block, rule, shared) for block in self._blocks(encoded)]
        found = self._all("recall", measure_recall, tasks)
        return Recall.of(sum(of[0] for of in found), sum(of[1] for of in found), probing.seed)

    def settle(self, shards: list[Shard], parts: Sequence[Part]) -> list[match_clusters.Settled]:
        """The clusters, sorted by row."""
        (bits,) = self._all("keepers", match_clusters.find_keepers, [(list(parts), self.runner.share(shards))])
        offers = self._all("offers", match_clusters.offer, [(part, bits) for part in parts])
        told = self.runner.share(offers)
        tasks = [(rows, told, bits) for rows in ranges_of(shards, self.sizes.part)]
        return self._all("clusters", match_clusters.settle, tasks)

    def _blocks(self, encoded: Sequence[Encoded]) -> list[Block]:
        return blocks_of(encoded, self.sizes.block_of(sum(of.n for of in encoded), encoded[0].dim))

    def _found(self, function: Callable[..., Joined], tasks: Tasks, rule: Rule, n_pairs: int) -> list[Joined]:
        """The results of the tasks of a join, which compare `n_pairs` pairs; 0: not known beforehand."""
        started = time.perf_counter()
        found: list[Any] = [None] * len(tasks)
        allowed, n_compared = Allowed(rule.max_matches, rule.threshold), 0
        with closing(self._run("join", function, tasks)) as done:
            for n_done, (place, result) in enumerate(done, start=1):
                found[place] = result
                n_compared += result.n_compared
                if n_pairs:  # cells find some pairs twice, so their pairs are counted when gathered
                    allowed.take(result.n)
                self.progress("join", *((n_compared, n_pairs) if n_pairs else (n_done, len(tasks))))
        new = [of for of in found if not of.reused]
        self._tell("join", started, len(found), len(new), pairs_compared=n_compared)
        return found

    def _all(
        self, stage: str, function: Callable[..., Any], tasks: Tasks, named: Callable[[int], str] | None = None
    ) -> list[Any]:
        """The results of the tasks of a stage, in order; if tasks have names, None for each that failed and is left out."""
        started = time.perf_counter()
        found: list[Any] = [None] * len(tasks)
        with closing(self._run(stage, function, tasks, named)) as done:
            for n_done, (place, result) in enumerate(done, start=1):
                found[place] = result
                self.progress(stage, n_done, len(tasks))
        self._tell(stage, started, len(tasks), len(tasks))
        return found

    def _run(
        self, stage: str, function: Callable[..., Any], tasks: Tasks, named: Callable[[int], str] | None = None
    ) -> Generator[tuple[int, Any]]:
        """The place and result of each task. A failure ends the run; if tasks have names, the task is left out instead."""
        for place, result in self.runner.run(function, [(self.work, *task) for task in tasks]):
            if not isinstance(result, Failure):
                yield place, result
            elif named and not isinstance(result.error, FATAL):
                self._left_out(named(place), str(result.error) or type(result.error).__name__)
                yield place, None
            elif isinstance(result.error, (TextsiamError, OSError)):
                raise result.error
            else:
                raise TaskFailed(
                    f"A task of the stage {stage} failed: {result.error}. Finished work is kept: mend that, and run again."
                ) from result.error

    def _left_out(self, what: str, why: str) -> None:
        logger.warning("%s was left out: %s", what, why)
        self.lost.append(Lost(what, why))

    def _tell(self, stage: str, started: float, n_tasks: int, n_new: int, **more: float) -> None:
        seconds = round(time.perf_counter() - started, 3)
        self.told[stage] = {"seconds": seconds, "tasks": n_tasks, "computed": n_new, **more}
