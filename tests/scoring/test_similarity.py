"""The four similarities against scikit-learn, in NumPy and PyTorch alike, finite where gradients used to break."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import pairwise

from textsiam.scoring.similarity import SIMILARITIES

ORACLES = {
    "cosine": pairwise.cosine_similarity,
    "dot": lambda a, b: a @ b.T,
    "euclidean": lambda a, b: -pairwise.euclidean_distances(a, b),
    "manhattan": lambda a, b: -pairwise.manhattan_distances(a, b),
}
ROWS = arrays(np.float64, (4, 3), elements=st.floats(-10, 10).map(lambda x: round(x, 3)))


@pytest.mark.parametrize("name", SIMILARITIES)
def test_matrix_and_paired_equal_scikit_learn(name):
    """Every row of SIMILARITIES equals its oracle, and the paired form is the matrix's diagonal."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 5)), rng.normal(size=(7, 5))
    expected = ORACLES[name](a, b)
    np.testing.assert_allclose(SIMILARITIES[name].matrix(a, b), expected, atol=1e-5)
    np.testing.assert_allclose(SIMILARITIES[name].paired(a, b), np.diag(expected), atol=1e-5)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_numpy_and_pytorch_run_the_same_lines(name):
    """The same numbers come from arrays and from tensors, and each comes back as its kind."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    ours = SIMILARITIES[name].matrix(torch.from_numpy(a), torch.from_numpy(b))
    assert isinstance(ours, torch.Tensor)
    np.testing.assert_allclose(ours.numpy(), SIMILARITIES[name].matrix(a, b), atol=1e-12)


@pytest.mark.parametrize("name", SIMILARITIES)
@given(a=ROWS, b=ROWS)
@settings(deadline=None, max_examples=50)
def test_symmetry_and_closeness(name, a, b):
    """Similarity is symmetric, and for distances no row is closer to another than to itself."""
    paired = SIMILARITIES[name].paired
    np.testing.assert_allclose(paired(a, b), paired(b, a), atol=1e-9)
    if name in {"euclidean", "manhattan"}:
        assert (paired(a, a) == 0).all()
        assert (paired(a, b) <= 0).all()
    if name == "cosine":
        assert (np.abs(paired(a, b)) <= 1 + 1e-9).all()


@pytest.mark.parametrize("form", ["paired", "matrix"])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_gradients_are_finite_on_equal_and_zero_rows(name, form):
    """Equal rows and zero rows are where a bare root has no gradient."""
    a = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    b = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    getattr(SIMILARITIES[name], form)(a, b).sum().backward()
    assert torch.isfinite(a.grad).all()
    assert torch.isfinite(b.grad).all()
