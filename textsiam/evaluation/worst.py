"""The pairs where score and truth disagree most, with the reasons for their scores."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from textsiam.encoding.encoder import Progress
from textsiam.scoring.evidence.scored_pairs import ScoredPairs

if TYPE_CHECKING:
    from textsiam.scoring.explaining.explanation import Explanation
    from textsiam.scoring.siamese import Siamese


@dataclass(frozen=True, eq=False)
class WorstPair:
    """A pair on the wrong side: where it stands in its source, texts, truth (label or grade), score, and why that score."""

    row: int
    first: str
    second: str
    truth: float
    score: float
    is_close: bool
    explanation: "Explanation"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = {name: value for name, value in vars(self).items() if name not in {"explanation", "is_close"}}
        return told | {"scores_too": "high" if self.is_close else "low", "explanation": self.explanation.to_json()}


def find_worst(
    model: "Siamese", scored: ScoredPairs, n: int = 20, *, progress: Progress | None = None
) -> list[WorstPair]:
    """The `n` pairs that score too high, worst first, then the `n` that score too low, each explained.

    Of labelled pairs the highest-scoring negatives and the lowest-scoring positives; of graded pairs those whose ranks by score
    and by grade lie farthest apart. Equal ones stay in the order given. Fewer where there are fewer.

    Examples
    --------
    >>> from textsiam import Siamese
    >>> from textsiam.samples import PAIRS
    >>> from textsiam.scoring.evidence.scored_pairs import score_pairs
    >>> model = Siamese.load()
    >>> [(pair.truth, pair.score > 0.9) for pair in find_worst(model, score_pairs(model, PAIRS), n=1)]
    [(0.0, True), (1.0, False)]
    """
    high, low = _places(scored, n)
    places = [*high.tolist(), *low.tolist()]
    if not places:
        return []
    from textsiam.scoring.explaining.explanation import explain

    pairs = scored.pairs
    truth = np.asarray(pairs.scores if pairs.labels is None else pairs.labels, dtype=np.float64)
    columns = ([column[place] for place in places] for column in (pairs.first, pairs.second))
    told = explain(model, *columns, progress=progress)
    return [
        WorstPair(
            int(pairs.rows[place]), pairs.first[place], pairs.second[place], float(truth[place]),
            float(scored.scores[place]), rank < len(high), explanation,
        )
        for rank, (place, explanation) in enumerate(zip(places, told, strict=True))
    ]  # fmt: skip


def _places(scored: ScoredPairs, n: int) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]:
    """The places of those that score too high, and of those that score too low."""
    scores = scored.scores.astype(np.float64)
    if scored.pairs.labels is not None:
        negative, positive = (np.flatnonzero(scored.labels == label) for label in (0, 1))
        return (
            negative[np.argsort(-scores[negative], kind="stable")][:n],
            positive[np.argsort(scores[positive], kind="stable")][:n],
        )
    from scipy.stats import rankdata

    excess = rankdata(scores) - rankdata(np.asarray(scored.pairs.scores))
    order = np.argsort(-excess, kind="stable")
    high, low = order[excess[order] > 0], order[::-1]
    return high[:n], low[excess[low] < 0][:n]
