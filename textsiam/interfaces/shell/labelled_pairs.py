"""Pairs as several commands read them: with progress, and a report of the columns and of the rows set aside."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textsiam.interfaces.shell.terminal import following, mapped, say, say_set_aside, while_reading

if TYPE_CHECKING:
    from textsiam.scoring.evidence.scored_pairs import ScoredPairs
    from textsiam.scoring.siamese import Siamese


def read_with(read: Callable[..., Any], source: str, reading: dict[str, Any], set_aside: Path | None) -> Any:
    """What a function of `textsiam.data.readers` reads from a source; reports the columns and the rows that were set aside.

    Raises
    ------
    UnreadableInput, OSError
        As the function.
    """
    with while_reading(source):
        pairs = read(source, **reading)
    say(f"columns: {mapped(pairs.mapping)}")
    say_set_aside(pairs.set_aside, set_aside)
    return pairs


def read_scored(siamese: "Siamese", source: str, reading: dict[str, Any], set_aside: Path | None) -> "ScoredPairs":
    """The pairs of a source with the model's scores; reports as `read_with`.

    Raises
    ------
    UnreadableInput, OSError
        As `read_pairs` and `score_pairs`.
    """
    from textsiam.data.readers import read_pairs
    from textsiam.scoring.evidence.scored_pairs import score_pairs

    pairs = read_with(read_pairs, source, reading, set_aside)
    on = "standard input" if source == "-" else source.rstrip("/").rpartition("/")[2]
    with following("encode") as progress:
        return score_pairs(siamese, pairs, on=on, progress=progress)
