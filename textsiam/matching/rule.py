"""What counts as a match, as one value: the settings that joins, searches of an index and tasks share."""

import sys
from typing import NamedTuple

from textsiam.arrays import Found, Vectors
from textsiam.matching.join.exact import threshold_join
from textsiam.matching.join.prepared import Others


class Rule(NamedTuple):
    """Which pairs match, and how many of them are allowed.

    Examples
    --------
    >>> rule = Rule(0.8, "cosine", max_matches=10)
    >>> rule.unlimited().max_matches > 10
    True
    """

    threshold: float
    similarity: str
    max_matches: int = sys.maxsize
    max_memory_mb: int = 256

    def unlimited(self) -> "Rule":
        """The same without a limit, for matches that are not returned."""
        return self._replace(max_matches=sys.maxsize)

    def join(self, vectors: Vectors, against: Others | None = None) -> Found:
        """All matches, as of `threshold_join`."""
        pairs = threshold_join(vectors, against, **self._asdict())
        return pairs.left, pairs.right, pairs.score
