"""Labels that people give: the consensus and agreement of several labellers, and how many labels a certificate needs.

A label is 1 (the same), 0 (not the same), skipped (the labeller cannot decide) or not given. The consensus is the majority of
ones and zeros. A pair is unresolved if they tie, or if every labeller skipped it.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from textsiam.scoring.evidence.planning import POWER, check_levels, fewest_draws, labels_needed

SAME, OTHER, UNRESOLVED, NOT_GIVEN = 1, 0, -1, -2  # unresolved: this labeller skipped the pair

# How labels are written, and what else is understood; a spreadsheet turns 1 into 1.0 and TRUE.
WRITTEN = {SAME: "1", OTHER: "0", UNRESOLVED: "skip", NOT_GIVEN: ""}
_READ = {
    **dict.fromkeys(("1", "1.0", "y", "yes", "true"), SAME),
    **dict.fromkeys(("0", "0.0", "n", "no", "false"), OTHER),
    **dict.fromkeys(("skip", "s"), UNRESOLVED),
    "": NOT_GIVEN,
}

Labels = Mapping[str, Int[np.ndarray, " pairs"]]  # labeller → the label of each pair


def label_of(value: object) -> int | None:
    """The label that this value stands for, or None if it is none.

    Examples
    --------
    >>> label_of(1), label_of("no"), label_of("skip"), label_of(None), label_of("maybe")
    (1, 0, -1, -2, None)
    """
    return _READ.get("" if value is None else str(value).strip().lower())


def check_labeller(name: str) -> None:
    """Raise ValueError if a column's name cannot hold this one: it is empty, has spaces around it, or invisible characters."""
    if not name.strip() or not name.isprintable() or name != name.strip():
        raise ValueError(f"A labeller's name is one line of visible text, but got {name!r}. Give a name such as ann.")


class Agreement(NamedTuple):
    """How often two labellers agree on the pairs that both decided: the share, and Cohen's kappa (1960), which removes chance.

    Both are NaN if they share no pair; kappa also if both used only one label, the same.
    """

    first: str
    second: str
    n: int
    agreement: float
    kappa: float

    def __str__(self) -> str:
        return (
            f"{self.first} and {self.second}: {self.n:,} pairs, agreement {self.agreement:.3f}, kappa {self.kappa:.3f}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; None for NaN."""
        shares = {name: getattr(self, name) for name in ("agreement", "kappa")}
        return self._asdict() | {name: None if np.isnan(value) else round(value, 4) for name, value in shares.items()}


def consensus(labels: Labels, n: int) -> Int[np.ndarray, " pairs"]:
    """Each of n pairs: 1 or 0 by majority; -1 for a tie, or if all labellers skipped it; -2 if nobody labelled it.

    Examples
    --------
    >>> consensus({"ann": np.array([1, 1, -1, -2]), "bob": np.array([1, 0, -2, -2]), "cy": np.array([0, -1, -1, -2])}, 4)
    array([ 1, -1, -1, -2])
    """
    given = np.array(list(labels.values()), dtype=np.int64).reshape(-1, n)
    lead = (given == SAME).sum(axis=0) - (given == OTHER).sum(axis=0)
    decided = np.where(lead > 0, SAME, np.where(lead < 0, OTHER, UNRESOLVED))
    return np.where((given == NOT_GIVEN).all(axis=0), NOT_GIVEN, decided)


def agreements(labels: Labels) -> list[Agreement]:
    """How well each two labellers agree.

    Examples
    --------
    >>> print(*agreements({"ann": np.array([1, 0, 1, -1]), "bob": np.array([1, 0, 0, 1])}))
    ann and bob: 3 pairs, agreement 0.667, kappa 0.400
    """
    return [_agreement(a, b, labels[a], labels[b]) for a, b in combinations(labels, 2)]


def _agreement(a: str, b: str, first: Int[np.ndarray, " pairs"], second: Int[np.ndarray, " pairs"]) -> Agreement:
    both = (first >= OTHER) & (second >= OTHER)
    first, second = first[both], second[both]
    if not len(first):
        return Agreement(a, b, 0, float("nan"), float("nan"))
    agreement = float((first == second).mean())
    if len({*first.tolist(), *second.tolist()}) == 1:
        return Agreement(a, b, len(first), agreement, float("nan"))
    from sklearn.metrics import cohen_kappa_score

    return Agreement(a, b, len(first), agreement, float(cohen_kappa_score(first, second)))


class Plan(NamedTuple):
    """What a certificate needs: the fewest labels for each number of wrong ones, and the labels for an expected precision."""

    precision: float
    confidence: float
    expected: float
    errors: tuple[tuple[int, int], ...]  # (labels, how many of them may be wrong)
    needed: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        errors = [{"labels": n, "errors_allowed": n_wrong} for n, n_wrong in self.errors]
        return self._asdict() | {"errors": errors, "power": POWER}


def plan_labels(
    precision: float = 0.95,
    confidence: float = 0.95,
    expected: float | None = None,
    n_wrong: Sequence[int] = (0, 1, 2, 3, 5, 10, 20),
) -> Plan:
    """How many labels above one cut certify a precision, computed before any labelling.

    Parameters
    ----------
    precision, confidence
        What to certify, both in (0, 1).
    expected
        The precision that you expect above the cut. Default: halfway between `precision` and 1.
    n_wrong
        How many labels may be wrong, one row of the table for each number.

    Returns
    -------
    plan
        ``needed``: the labels that certify the expected precision with probability .9; None if no number does.

    Raises
    ------
    ValueError
        If a share is out of range.

    Examples
    --------
    >>> plan = plan_labels(0.95, expected=0.98)
    >>> plan.errors[:3], plan.needed
    (((59, 0), (93, 1), (124, 2)), 311)
    """
    check_levels(precision, confidence)
    expected = (1 + precision) / 2 if expected is None else expected
    errors = tuple((fewest_draws(precision, confidence, k), k) for k in n_wrong)
    return Plan(precision, confidence, expected, errors, labels_needed(precision, expected, confidence))
