"""Fits score → probability with scikit-learn: three methods, chosen by cross-validation over dependence components.

A probability holds for pairs like those of the fit. Left out on purpose: a correction for other odds. Where duplicates are
rarer, the scores of the other pairs are distributed differently too.
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
from textsiam.scoring.evidence.intervals import groups_of
from textsiam.scoring.evidence.reliability import brier_score, calibration_error, reliability_curve, told_reliability

N_FOLDS = 5
MIN_OF_A_LABEL = 5
N_KNOTS = 129
_DIGITS = 6

Knots = tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]


def isotonic(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Knots:
    """Any rising step function, by isotonic regression (Zadrozny & Elkan 2002). Use it with 1,000 labels or more."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    return fitted.X_thresholds_, fitted.y_thresholds_


def sigmoid(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Knots:
    """Platt's curve 1/(1 + exp(-(a·score + b))), a ≥ 0 (Platt 1999, without his smoothed labels). Use it with few labels."""
    return _logistic(scores, labels, with_offset=True)


def temperature(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Knots:
    """1/(1 + exp(-score/T)) (Guo et al. 2017). Use it for scores that are already log odds, such as a cross-encoder's."""
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
    """The calibrator fitted on labelled scores, with its evidence.

    Parameters
    ----------
    scores, labels, components
        As for `textsiam.scoring.evidence.certification.certify_scores`; each component is held out as a whole.
    method
        A name from `CALIBRATIONS`, or ``"auto"``: the one with the lowest Brier score on held-out components.
    seed
        Seed of the folds.

    Returns
    -------
    calibrator
        Its ``evidence`` has, from held-out folds, the Brier score of every method, calibration error and reliability curve.

    Raises
    ------
    UnreadableInput
        If a score is not finite, a label is not 0 or 1, a label has fewer than 5 rows or only one component, or all scores are
        equal.
    ValueError
        If the method is unknown or the seed is negative.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scores = rng.random(1_000)
    >>> calibrator = fit_calibrator(scores, rng.random(1_000) < scores)
    >>> abs(calibrator(np.array([0.2, 0.8])) - [0.2, 0.8]).max() < 0.1, calibrator.evidence["method"]
    (np.True_, 'isotonic')
    """
    check_method(method, seed)
    scores, labels, components = check_scores(scores, labels, components)
    scores, groups = scores.astype(np.float64), groups_of(components, len(labels))
    _check(scores, labels, groups)
    names = list(CALIBRATIONS) if method == "auto" else [method]
    held_out = {name: _held_out(name, scores, labels, groups, seed) for name in names}
    briers = {name: brier_score(probabilities, labels, groups) for name, probabilities in held_out.items()}
    chosen = min(names, key=lambda name: briers[name].value)
    probabilities = held_out[chosen]
    evidence = {
        "method": chosen,
        "n_labels": len(labels),
        "n_components": int(groups.max()) + 1,
        "positive_share": round(float(labels.mean()), 4),
        "seed": int(seed),
        "held_out": {
            "brier": {name: plain(brier) for name, brier in briers.items()},
            "calibration_error": plain(calibration_error(probabilities, labels, groups)),
            "reliability": told_reliability(reliability_curve(probabilities, labels, groups)),
        },
    }
    return Calibrator(*_rounded(*CALIBRATIONS[chosen](scores, labels)), evidence)


def check_method(method: str, seed: int) -> None:
    """Raise ValueError if the method is unknown or the seed is negative."""
    if method not in {*CALIBRATIONS, "auto"}:
        raise ValueError(f"There is no calibration {method!r}. Use one of {', '.join(['auto', *CALIBRATIONS])}.")
    check_seed(seed)


def _held_out(
    method: str, scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int
) -> Float[np.ndarray, " n"]:
    """The probability of each row, from a fit on other components."""
    fold = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups] % N_FOLDS
    probabilities = np.full(len(scores), labels.mean())
    for k in range(N_FOLDS):
        fitted, judged = fold != k, fold == k
        if len(np.unique(labels[fitted])) > 1:
            knots = CALIBRATIONS[method](scores[fitted], labels[fitted])
            probabilities[judged] = np.interp(scores[judged], *knots)
    return probabilities


def _logistic(scores: np.ndarray, labels: np.ndarray, *, with_offset: bool) -> Knots:
    from sklearn.linear_model import LogisticRegression

    spread = float(scores.std()) or 1.0  # in this unit the solver works well and the penalty vanishes
    fitted = LogisticRegression(C=1e6, fit_intercept=with_offset).fit((scores / spread)[:, None], labels)
    slope, offset = max(float(fitted.coef_[0, 0]), 0.0) / spread, float(np.ravel(fitted.intercept_)[0])
    if not slope:  # a falling curve would make closer pairs less likely: keep only the share
        offset = float(np.log(labels.mean() / (1 - labels.mean()))) if with_offset else 0.0
    # The curve goes on beyond the scores seen, so the knots do too: half the range on both sides.
    low, high = float(scores.min()), float(scores.max())
    grid = np.linspace(low - (high - low) / 2, high + (high - low) / 2, N_KNOTS)
    return grid, 1 / (1 + np.exp(-(slope * grid + offset)))


def _rounded(scores: np.ndarray, probabilities: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots as short numbers: each score once, without the inner knots of a flat stretch."""
    knots = {round(float(x), _DIGITS): round(float(y), _DIGITS) for x, y in zip(scores, probabilities, strict=True)}
    xs, ys = list(knots), list(knots.values())
    needed = [k for k in range(len(xs)) if k in (0, len(xs) - 1) or not ys[k - 1] == ys[k] == ys[k + 1]]
    return tuple(xs[k] for k in needed), tuple(ys[k] for k in needed)


def _check(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> None:
    for label in (0, 1):
        n_rows, n_groups = int((labels == label).sum()), len(np.unique(groups[labels == label]))
        if n_rows < MIN_OF_A_LABEL or n_groups < 2:  # noqa: PLR2004
            raise UnreadableInput(
                f"Calibrating needs at least {MIN_OF_A_LABEL} rows of each label, in two components or more, but label {label} "
                f"has {n_rows:,} rows in {n_groups:,}. Label more pairs."
            )
    if np.ptp(scores) <= 10.0**-_DIGITS * max(1.0, float(np.abs(scores).max())):
        raise UnreadableInput(
            f"Calibrating needs different scores, but all {len(scores):,} are {scores[0]:.4f}. Use another encoder, or check the "
            "texts."
        )
