"""Adapts a judge to labelled pairs: a few numbers of it move, as far as held-out components of the pairs say that it helps.

log-odds = a + b · start + c · network + linear · features; the judge as it was has a = 0, b = c = 1 and its own linear part.
Ridge logistic regression shrinks towards that judge (Hoerl & Kennard 1970; towards given weights instead of zero: Daumé 2007,
"Frustratingly easy domain adaptation", baseline PRIOR). How strongly is chosen by cross-validation over components, by the rule
of one standard error: the strongest shrinkage that is not clearly worse than the best (Breiman et al. 1984, Classification and
Regression Trees, §3.4.3). Needs neither torch nor a GPU.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from textsiam.data.pairs import Pairs
from textsiam.data.splitting import check_seed
from textsiam.encoding.encoder import Encoder, Progress
from textsiam.errors import UnreadableInput
from textsiam.scoring.judging.judge import Judge
from textsiam.training.judges.judge_pairs import JudgePairs, halved

MIN_LABELS = 20  # of each kind
STRENGTHS = (np.inf, 1_000.0, 300.0, 100.0, 30.0, 10.0, 3.0)
N_FOLDS = 5
_SMALL = 1e-8  # a step that changes nothing
SURE = 1.5  # log-odds from which a pair may come to be accepted: odds of 4.5 to 1
MISSED = 0.03  # the share of such pairs that a join may miss
# How far each number may move, as a standard deviation of a Gaussian prior at strength 1.
_PRIOR = {"start": 1.0, "network": 1.0, "linear": 0.3}

Design = Float[np.ndarray, "n p"]


@dataclass(frozen=True, eq=False)
class AdaptingPairs:
    """What a judge says of labelled pairs, in parts, and the component of each pair: what adapting fits on.

    `parts` has the columns start, network and the features (n, 2 + f); `cosines` and `labels` are (n,).
    """

    parts: Design
    cosines: Float[np.ndarray, " n"]
    labels: Float[np.ndarray, " n"]
    components: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, judge: Judge, encoder: Encoder, pairs: Pairs, *, progress: Progress | None = None) -> "AdaptingPairs":
        """These pairs, read by the encoder and the judge."""
        if pairs.labels is None:
            raise UnreadableInput("A judge is adapted to labels of 0 and 1, but these pairs have none. Give them.")
        return cls.read(judge, JudgePairs.of(encoder, {"pairs": pairs}, progress=progress))

    @classmethod
    def read(cls, judge: Judge, of: JudgePairs) -> "AdaptingPairs":
        """The same pairs, whose texts were read."""
        network, described = judge.parts(of.words, of.left, of.right)
        start = judge.slope * of.cosines + judge.offset
        parts = np.column_stack([start, judge.share * network, described]).astype(np.float64)
        return cls(parts, of.cosines, of.targets.astype(np.float64), of.components)

    def take(self, rows: Int[np.ndarray, " m"]) -> "AdaptingPairs":
        """These pairs, in this order."""
        return AdaptingPairs(self.parts[rows], self.cosines[rows], self.labels[rows], self.components[rows])

    def __len__(self) -> int:
        return len(self.labels)


def adapt_judge(
    judge: Judge,
    encoder: Encoder,
    pairs: Pairs | JudgePairs | AdaptingPairs,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Judge:
    """The judge, moved towards these labelled pairs as far as they support it; with few labels it stays what it was.

    Parameters
    ----------
    judge
        Where to start.
    encoder
        Reads the texts. It may be another one than the judge was fitted to, such as one fine-tuned from it: the result is bound
        to this one.
    pairs
        With labels, at least `MIN_LABELS` of each kind, that the encoder was not trained on; or what was read of them. Calibrate
        and certify on others.
    seed
        Of the folds.
    progress
        Called with (texts read, texts in all).

    Raises
    ------
    UnreadableInput
        If there are no labels, or too few of one kind.
    ValueError
        If the seed is negative.

    Examples
    --------
    >>> from textsiam import Siamese, read_pairs
    >>> from textsiam.samples import PAIRS
    >>> encoder, pairs = Siamese.load().encoder, read_pairs(PAIRS)
    >>> adapted = adapt_judge(fit_linear_judge(encoder, pairs), encoder, pairs)
    >>> adapted.card["adapted"]["pairs"] == len(pairs)
    True
    """
    check_seed(seed)
    if isinstance(pairs, Pairs):
        of = AdaptingPairs.of(judge, encoder, pairs, progress=progress)
    else:
        of = pairs if isinstance(pairs, AdaptingPairs) else AdaptingPairs.read(judge, pairs)
    check_labels(of.labels)
    own = np.zeros(len(judge.columns)) if judge.linear is None else judge.linear.astype(np.float64)
    centre = np.concatenate([[1.0, 1.0], own])
    strength, losses = _chosen(of, centre, seed)
    intercept, weights = _fitted(of.parts, of.labels, centre, strength)
    told = {"pairs": len(of), "positive": round(float(of.labels.mean()), 4), "strength": _plain(strength)}
    told |= {"log_loss": {str(_plain(one)): round(loss, 4) for one, loss in losses.items()}, "seed": seed}
    moved = replace(
        judge,
        encoder=encoder.fingerprint,
        slope=float(judge.slope * weights[0]),
        offset=float(judge.offset * weights[0] + intercept),
        share=float(judge.share * weights[1]),
        linear=None
        if np.array_equal(weights[2:], np.zeros(len(own)))
        else weights[2:].astype(np.float16).astype(np.float32),
        card=told_of(judge, "adapted", told),
    )
    return replace(moved, candidates=candidates_of(of.cosines, _log_odds(of.parts, intercept, weights), of.labels))


def told_of(judge: Judge, how: str, told: dict[str, Any]) -> dict[str, Any]:
    """The judge's card after it was ``adapted`` or ``tuned``; what was done last stands last."""
    return {name: of for name, of in judge.card.items() if name != how} | {how: told}


def check_labels(labels: Shaped[np.ndarray, " n"]) -> None:
    """Raise UnreadableInput if there are too few labels of one kind."""
    n_of = [int((labels == label).sum()) for label in (0, 1)]
    if min(n_of) < MIN_LABELS:
        raise UnreadableInput(
            f"A judge is adapted to at least {MIN_LABELS} labels of each kind, but got {n_of[1]} of pairs that mean the same and "
            f"{n_of[0]} of others. Label more, or keep the judge as it is."
        )


def fit_linear_judge(
    encoder: Encoder, pairs: Pairs | JudgePairs, *, seed: int = 0, progress: Progress | None = None
) -> Judge:
    """A judge without a network, for a model that has none: cosine, and what the alignment's features add to it.

    Parameters, errors and what becomes of few labels are those of `adapt_judge`, which it is: it starts from cosine alone.

    Examples
    --------
    >>> from textsiam import Siamese, read_pairs
    >>> from textsiam.samples import PAIRS
    >>> judge = fit_linear_judge(Siamese.load().encoder, read_pairs(PAIRS))
    >>> judge.network is None, judge.slope > 0
    (True, True)
    """
    of = JudgePairs.of(encoder, {"pairs": pairs}, progress=progress) if isinstance(pairs, Pairs) else pairs
    columns, values = of.features()
    start = Judge(
        encoder=encoder.fingerprint,
        slope=8.0,
        offset=-6.0,
        share=0.0,
        rarity=of.rarity,
        columns=columns,
        means=halved(values.mean(0)),
        scales=halved(values.std(0) + np.float32(1e-3)),
        network=None,
        card={"sets": {}},
    )
    return adapt_judge(start, encoder, AdaptingPairs.read(start, of), seed=seed)


def candidates_of(
    cosines: Float[np.ndarray, " n"], log_odds: Float[np.ndarray, " n"], labels: Float[np.ndarray, " n"]
) -> float:
    """The candidate threshold: the cosine that 97 % of the pairs have that are the same and that the judge is sure of.

    Sure: log-odds of at least `SURE`. Rounded down to two digits; 0 if there are no such pairs.

    Examples
    --------
    >>> candidates_of(np.array([0.9, 0.8, 0.5]), np.array([1.0, 2.0, -1.0]), np.ones(3))
    0.8
    """
    sure = (log_odds >= SURE) & (labels >= 0.5)  # noqa: PLR2004  a label, or the probability that one states
    return float(np.floor(100 * float(np.quantile(cosines[sure], MISSED)) + 1e-6)) / 100 if sure.any() else 0.0


def _chosen(of: AdaptingPairs, centre: Float[np.ndarray, " p"], seed: int) -> tuple[float, dict[float, float]]:
    """The strength of shrinkage, and the log loss of each on held-out components."""
    names, numbers = np.unique(of.components, return_inverse=True)
    folds = (np.random.default_rng(seed).permutation(len(names)) % N_FOLDS)[numbers]
    losses = np.empty((len(STRENGTHS), len(of)))
    for fold in range(N_FOLDS):
        held, rest = folds == fold, folds != fold
        if len(np.unique(of.labels[rest])) < 2:  # noqa: PLR2004
            return np.inf, {}
        for place, strength in enumerate(STRENGTHS):
            intercept, weights = _fitted(of.parts[rest], of.labels[rest], centre, strength)
            losses[place, held] = _loss(_log_odds(of.parts[held], intercept, weights), of.labels[held])
    means = losses.mean(1)
    best = int(means.argmin())
    # The error of the difference, which is what a change has to prove; components are independent, pairs are not.
    for place in range(best):
        sums = np.bincount(numbers, losses[place] - losses[best], len(names))
        error = np.sqrt(len(names) * sums.var()) / len(of)
        if means[place] <= means[best] + error:
            best = place
            break
    return STRENGTHS[best], dict(zip(STRENGTHS, means.tolist(), strict=True))


def _fitted(
    parts: Design, labels: Float[np.ndarray, " n"], centre: Float[np.ndarray, " p"], strength: float
) -> tuple[float, Float[np.ndarray, " p"]]:
    """Intercept and weights of the penalised logistic regression; at infinite strength only the intercept.

    By Newton's method with halved steps: from a start that is far off whole ones run away.
    """
    from scipy.special import expit

    scales = np.array([_PRIOR["start"], _PRIOR["network"], *[_PRIOR["linear"]] * (len(centre) - 2)])
    is_fixed = np.isinf(strength)
    design = np.ones((len(labels), 1)) if is_fixed else np.column_stack([np.ones(len(labels)), parts])
    offset = parts @ centre
    penalty = np.zeros(design.shape[1])
    penalty[1:] = 0 if is_fixed else strength / scales**2

    def cost(moved: Float[np.ndarray, " p"]) -> float:
        return float(_loss(offset + design @ moved, labels).sum() + (penalty * moved**2).sum() / 2)

    moved = np.zeros(design.shape[1])
    for _ in range(100):
        p = expit(offset + design @ moved)
        gradient = design.T @ (p - labels) + penalty * moved
        curvature = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty + 1e-9)
        step, before = np.linalg.solve(curvature, gradient), cost(moved)
        while cost(moved - step) > before and np.abs(step).max() > _SMALL:
            step = step / 2
        moved = moved - step
        if np.abs(step).max() < _SMALL:
            break
    return float(moved[0]), centre if is_fixed else centre + moved[1:]


def _log_odds(parts: Design, intercept: float, weights: Float[np.ndarray, " p"]) -> Float[np.ndarray, " n"]:
    return np.asarray(parts @ weights + intercept)


def _loss(log_odds: Float[np.ndarray, " n"], labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.asarray(np.logaddexp(0, log_odds) - labels * log_odds)


def _plain(strength: float) -> Any:
    return "all" if np.isinf(strength) else strength
