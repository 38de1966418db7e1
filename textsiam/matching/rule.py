"""What counts as a match, as one value: the settings that every search of an index and every join for it share."""

import sys
from typing import NamedTuple

from textsiam.arrays import Vectors
from textsiam.matching.join.exact import threshold_join
from textsiam.matching.join.prepared import Others
from textsiam.matching.matches import Matches


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

    def unlimited(self) -> "Rule":
        """The same without a limit, for matches that are not returned."""
        return self._replace(max_matches=sys.maxsize)

    def join(self, vectors: Vectors, against: Others | None = None) -> Matches:
        """All matches, as of `threshold_join`."""
        return threshold_join(
            vectors, against, threshold=self.threshold, similarity=self.similarity, max_matches=self.max_matches
        )
