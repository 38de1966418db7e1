"""What counts as a match."""

from typing import NamedTuple


class Rule(NamedTuple):
    """What counts as a match."""

    threshold: float
    similarity: str
    max_matches: int
