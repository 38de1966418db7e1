"""How held-out tasks are judged: by the metric of their kind of data, before and after training, with intervals."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from textsiam.data.linking import dependence
from textsiam.evaluation.metrics import average_precision, reciprocal_ranks, spearman
from textsiam.scoring.evidence.intervals import Interval, bootstrap
from textsiam.scoring.similarity import SIMILARITIES, scores_of
from textsiam.training.training_tasks import Task

# Rows of positives that are ranked against each other: the matrix of scores stays small, and figures stay comparable.
N_RANKED = 1_000
N_DRAWS = 500


class Judged(NamedTuple):
    """A metric, and the truth and score of each row that it is computed from."""

    metric: str
    figure: Callable[[Any, Any], float]
    truth: Shaped[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]

    @property
    def value(self) -> float:
        """The metric's value; larger is better."""
        return self.figure(self.truth, self.scores)


def judged_rows(task: Task) -> Task:
    """The rows of a held-out task that `judge` uses: of positives only the first 1,000, so that no other text is embedded."""
    return task.take(np.arange(min(N_RANKED, len(task.columns)))) if task.kind == "positives" else task


def judge(task: Task, vectors: Float[np.ndarray, "m dim"], similarity: str = "cosine") -> Judged:
    """The metric of the task's kind of data, with what it is computed from.

    Labels give ``average_precision``, and scores ``spearman``. Positives give the mean ``reciprocal_rank`` of each row's second
    input among those of the first 1,000 rows. Triplets give ``accuracy``: how often the positive is closer than every negative.

    Parameters
    ----------
    task
        The held-out task.
    vectors
        One per distinct input of the task.
    similarity
        The similarity that gives the scores: a name from `SIMILARITIES`.
    """
    score = partial(_scores, task, vectors, similarity)
    if task.kind == "labels":
        return Judged("average_precision", average_precision, np.asarray(task.labels), score())
    if task.kind == "scores":
        return Judged("spearman", spearman, np.asarray(task.scores), score())
    if task.kind == "triplets":
        rivals = np.max([score(0, place) for place in range(2, task.columns.shape[1])], axis=0)
        return _rowwise("accuracy", (score() > rivals).astype(np.float64))
    rows = slice(0, N_RANKED)
    first, second = (vectors[task.columns[rows, side]].astype(np.float64) for side in (0, 1))
    of = task.columns if task.components is None else task.components
    scores = SIMILARITIES[similarity].matrix(first, second).astype(np.float32)
    return _rowwise("reciprocal_rank", reciprocal_ranks(scores, of[rows, :1] == of[rows, 1][None, :]))


def compare(task: Task, before: Judged, after: Judged, seed: int) -> dict[str, Any]:
    """The metric before, after, and the difference, each with its 95 % interval over components, as plain values."""
    of = task.columns if task.components is None else task.components
    how: dict[str, Any] = {"components": dependence(of)[: len(after.truth)], "n_draws": N_DRAWS, "seed": seed}
    return {
        "metric": after.metric,
        "rows": len(after.truth),
        "groups": len(np.unique(how["components"])),
        "before": _plain(bootstrap(before.figure, before.truth, before.scores, **how)),
        "after": _plain(bootstrap(after.figure, after.truth, after.scores, **how)),
        "difference": _plain(bootstrap(after.figure, after.truth, after.scores, minus=before.scores, **how)),
    }


def _plain(interval: Interval) -> list[float | None]:
    """Numbers for JSON: None for a bound that is not defined."""
    return [value if np.isfinite(value) else None for value in interval]


def _rowwise(metric: str, values: Float[np.ndarray, " n"]) -> Judged:
    return Judged(metric, lambda _, scores: float(np.mean(scores)), values, values)


def _scores(
    task: Task, vectors: Float[np.ndarray, "m dim"], similarity: str, left: int = 0, right: int = 1
) -> Float[np.ndarray, " n"]:
    # Rounded to fp32 like all scores: the last bits of a sum depend on the rows' place in memory, and must not choose the best.
    return scores_of(similarity, vectors, vectors, task.columns[:, left], task.columns[:, right])
