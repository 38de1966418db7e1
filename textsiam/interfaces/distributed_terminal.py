"""What a command past one machine says: how far it is, what it found, what was left out."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textsiam.interfaces.progress import following
from textsiam.interfaces.terminal import mapped, model_told, say, say_lost, set_aside_told

if TYPE_CHECKING:
    from textsiam.data.texts import SetAside
    from textsiam.distributing.found import DistributedMatches

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
