"""Fitting score → probability: three methods by scikit-learn, chosen by cross-validation over dependence components.

The probability is that of a pair drawn like the pairs it was fitted on. Other data has other odds, and odds alone cannot be
corrected for: where duplicates are rarer, the scores of the others are spread otherwise too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from textsiam.data.splitting import check_seed
from textsiam.errors import UnreadableInput
from textsiam.scoring.calibration import Calibrator
from textsiam.scoring.evidence.certificates import plain
from textsiam.scoring.evidence.certification import check_scores
from textsiam.scoring.evidence.reliability import brier_score, calibration_error, reliability_curve, told_reliability

N_FOLDS = 5
MIN_OF_A_LABEL = 5
N_KNOTS = 129
_DIGITS = 6

Knots = tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]


def isotonic(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Knots:
    """Any rising step function: isotonic regression (Zadrozny & Elkan 2002). For a thousand labels and more."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    return fitted.X_thresholds_, fitted.y_thresholds_


def sigmoid(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Knots:
    """Platt's curve 1/(1 + exp(-(a·score + b))) (Platt 1999, without his pull of labels), a ≥ 0. For few labels."""
    return _logistic(scores, labels, with_offset=True)


def temperature(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Knots:
    """1/(1 + exp(-score/T)) (Guo et al. 2017): for scores that are log odds already, such as a cross-encoder's."""
    return _logistic(scores, labels, with_offset=False)


CALIBRATIONS: Mapping[str, Callable[[Any, Any], Knots]] = {
    "isotonic": isotonic,
    "sigmoid": sigmoid,
    "temperature": temperature,
}


def fit_calibrator(
    scores: Any,
    labels: Any,
    components: Any = None,
    *,
    method: str = "auto",
    seed: int = 0,
) -> Calibrator:
    """The calibrator of labelled scores, with the evidence for it.

    Parameters
    ----------
    scores
        (n,) finite, larger is closer.
    labels
        (n,) of 0 and 1.
    components
        (n,) which rows depend on each other: they are held out together. Default: every row alone.
    method
        A name from `CALIBRATIONS`, or ``"auto"``: the one with the lowest Brier score on held-out components.
    seed
        Of the folds.

    Returns
    -------
    calibrator
        Its ``evidence`` holds, from held-out folds: Brier score of every method, calibration error, reliability curve.

    Raises
    ------
    UnreadableInput
        If a score is not finite, a label is not 0 or 1, a label has fewer than 5 rows or stands in a single component, or all
        scores are equal.
    ValueError
        If there is no such method.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.random(1_000)
    >>> calibrator = fit_calibrator(scores, rng.random(1_000) < scores)
    >>> abs(calibrator(np.array([0.2, 0.8])) - [0.2, 0.8]).max() < 0.1, calibrator.evidence["method"]
    (np.True_, 'isotonic')
    """
    check_method(method, seed)
    scores, labels, numbered = check_scores(scores, labels, components)
    scores, groups = scores.astype(np.float64), np.arange(len(labels)) if numbered is None else numbered
    _check(scores, labels, groups)
    names = list(CALIBRATIONS) if method == "auto" else [method]
    held_out = {name: _held_out(name, scores, labels, groups, seed) for name in names}
    briers = {name: brier_score(told, labels, groups) for name, told in held_out.items()}
    chosen = min(names, key=lambda name: briers[name].value)
    told = held_out[chosen]
    evidence = {
        "method": chosen,
        "n_labels": len(labels),
        "n_components": int(groups.max()) + 1,
        "positive_share": round(float(labels.mean()), 4),
        "seed": int(seed),
        "held_out": {
            "brier": {name: plain(of) for name, of in briers.items()},
            "calibration_error": plain(calibration_error(told, labels, groups)),
            "reliability": told_reliability(reliability_curve(told, labels, groups)),
        },
    }
    return Calibrator(*_rounded(*CALIBRATIONS[chosen](scores, labels)), evidence)


def check_method(method: str, seed: int) -> None:
    """Do nothing if there is such a method and such a seed.

    Raises
    ------
    ValueError
        If there is not.
    """
    if method not in {*CALIBRATIONS, "auto"}:
        raise ValueError(f"There is no calibration {method!r}. Use one of {', '.join(['auto', *CALIBRATIONS])}.")
    check_seed(seed)


def _held_out(
    method: str, scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int
) -> Float[np.ndarray, " n"]:
    """The probability of each row by a fit that saw no row of its component."""
    fold = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups] % N_FOLDS
    told = np.full(len(scores), labels.mean())
    for k in range(N_FOLDS):
        fitted, judged = fold != k, fold == k
        if len(np.unique(labels[fitted])) > 1:
            told[judged] = np.interp(scores[judged], *CALIBRATIONS[method](scores[fitted], labels[fitted]))
    return told


def _logistic(scores: np.ndarray, labels: np.ndarray, *, with_offset: bool) -> Knots:
    from sklearn.linear_model import LogisticRegression

    spread = float(scores.std()) or 1.0  # in units of which the solver works well; the penalty vanishes
    fitted = LogisticRegression(C=1e6, fit_intercept=with_offset).fit((scores / spread)[:, None], labels)
    slope, offset = max(float(fitted.coef_[0, 0]), 0.0) / spread, float(np.ravel(fitted.intercept_)[0])
    if not slope:  # a falling curve would call closer pairs less likely: nothing was learnt but the share
        offset = float(np.log(labels.mean() / (1 - labels.mean()))) if with_offset else 0.0
    # Knots beyond the scores seen, for the curve goes on there: half the range to both sides.
    low, high = float(scores.min()), float(scores.max())
    grid = np.linspace(low - (high - low) / 2, high + (high - low) / 2, N_KNOTS)
    return grid, 1 / (1 + np.exp(-(slope * grid + offset)))


def _rounded(scores: np.ndarray, probabilities: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots as short numbers, each score once, inner ones of a level stretch left out."""
    knots = {round(float(x), _DIGITS): round(float(y), _DIGITS) for x, y in zip(scores, probabilities, strict=True)}
    xs, ys = list(knots), list(knots.values())
    needed = [k for k in range(len(xs)) if k in (0, len(xs) - 1) or not ys[k - 1] == ys[k] == ys[k + 1]]
    return tuple(xs[k] for k in needed), tuple(ys[k] for k in needed)


def _check(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> None:
    for label in (0, 1):
        n_rows, n_groups = int((labels == label).sum()), len(np.unique(groups[labels == label]))
        if n_rows < MIN_OF_A_LABEL or n_groups < 2:  # noqa: PLR2004
            raise UnreadableInput(
                f"Calibrating needs at least {MIN_OF_A_LABEL} rows of each label, in two components or more, but of label "
                f"{label} there are {n_rows:,} rows in {n_groups:,}. Label more pairs."
            )
    if np.ptp(scores) <= 10.0**-_DIGITS * max(1.0, float(np.abs(scores).max())):
        raise UnreadableInput(
            f"All {len(scores):,} scores are {scores[0]:.4f}: they tell no pair from another, so nothing can be fitted. "
            "Use another encoder, or look whether the texts are what they should be."
        )
