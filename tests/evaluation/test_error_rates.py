"""The equal error rate. Oracle: scikit-learn's ROC curve, crossed with the line where both rates are one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from textsiam.evaluation.metrics import equal_error_rate


@given(
    scores=st.lists(st.integers(0, 8), min_size=2, max_size=60),
    seed=st.integers(0, 100),
)
def test_it_is_where_the_roc_curve_crosses(scores, seed):
    """Ties and all: both are straight between cuts."""
    labels = np.random.default_rng(seed).integers(0, 2, len(scores))
    labels[:2] = 0, 1
    scores = np.array(scores, dtype=float)
    accepted, found, _ = roc_curve(labels, scores, drop_intermediate=False)
    places = np.linspace(0, 1, len(accepted))  # a place on the curve, so that steps up are crossed too
    expected = brentq(lambda at: np.interp(at, places, accepted) - 1 + np.interp(at, places, found), 0, 1)
    assert equal_error_rate(labels, scores) == pytest.approx(np.interp(expected, places, accepted), abs=1e-9)


def test_ends_of_the_range():
    labels = np.array([1, 1, 0, 0])
    assert equal_error_rate(labels, np.array([4.0, 3.0, 2.0, 1.0])) == 0
    assert equal_error_rate(labels, np.array([1.0, 2.0, 3.0, 4.0])) == 1
    assert equal_error_rate(labels, np.ones(4)) == 0.5
    assert np.isnan(equal_error_rate(np.ones(3), np.ones(3)))
