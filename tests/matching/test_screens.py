"""Fast screens change no result: forced on small sets, in fp32 and in int8, they give what brute force gives."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textsiam.encoding import processor
from textsiam.errors import TooManyMatches
from textsiam.matching import threshold_join, top_k_join
from textsiam.matching.join import kernel, prepared, screens, tiles
from textsiam.matching.join.prepared import Prepared
from textsiam.scoring.similarity import SIMILARITIES


@pytest.fixture(params=["fp32", "int8"])
def sieved(request, monkeypatch):
    """Every cosine join of 32 dimensions and more goes through a sieve, of this kind, on two workers, in small tiles."""
    if request.param == "int8" and not kernel.multiplies_int8():
        pytest.skip("this processor does not multiply int8 itself")
    monkeypatch.setattr(prepared, "_PAIRS_FOR_SIEVE", 0)
    if request.param == "fp32":
        monkeypatch.setattr(kernel, "multiplies_int8", lambda: False)
    monkeypatch.setattr(kernel, "n_threads", lambda: 2)
    monkeypatch.setattr(tiles, "_MAX_SIDE", 50)
    monkeypatch.setattr(screens, "_LENGTHS", (8, 16, 32))
    return request.param


def shapes(seed, n, dim):
    """Rows such as encoders give, and such as they should not: on few axes, repeated, nearly so, zero, tiny, huge, alone."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dim)) * np.geomspace(1, 1e-3, dim)
    vectors[n // 2 :] = vectors[: n - n // 2] + rng.choice([1e-4, 0.02, 0.3], (n - n // 2, 1)) * rng.normal(
        size=(n - n // 2, dim)
    )
    vectors[3], vectors[5] = vectors[7], 0
    vectors[11] *= 1e-20
    vectors[13] *= 1e15
    vectors[17] = 0
    vectors[17, -1] = 1
    return vectors.astype(np.float32)


def exact(a, b, threshold):
    scores = cosines(a, b)
    i, j = np.nonzero(scores >= np.float32(threshold))
    return i, j, scores[i, j]


def cosines(a, b):
    i, j = np.divmod(np.arange(len(a) * len(b)), len(b))
    return (
        SIMILARITIES["cosine"]
        .paired(a[i].astype(np.float64), b[j].astype(np.float64))
        .astype(np.float32)
        .reshape(len(a), len(b))
    )


def assert_same(matches, left, right, scores):
    np.testing.assert_array_equal(matches.left, left)
    np.testing.assert_array_equal(matches.right, right)
    np.testing.assert_array_equal(matches.score, scores)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("dim", [32, 100, 384])
@pytest.mark.parametrize("memory", [1, 64])
def test_within_one_set(sieved, threshold, dim, memory):
    """The same pairs, in order, with the same scores, at every threshold."""
    vectors = shapes(dim, 230, dim)
    left, right, scores = exact(vectors, vectors, threshold)
    upper = left < right
    found = threshold_join(vectors, threshold=threshold, max_memory_mb=memory)
    assert_same(found, left[upper], right[upper], scores[upper])


@pytest.mark.parametrize("threshold", [0.3, 0.95])
def test_between_two_sets(sieved, threshold):
    """Of different sizes, some rows in both."""
    a, b = shapes(1, 170, 64), shapes(2, 90, 64)
    b[20:40] = a[50:70]
    assert_same(threshold_join(a, b, threshold=threshold), *exact(a, b, threshold))


@given(seed=st.integers(0, 10_000), place=st.integers(0, 10_000), ulp=st.sampled_from([-1, 0, 1]))
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("multiply", ["fp32", "int8"])
def test_at_a_pairs_own_score(multiply, seed, place, ulp):
    """Exact at the edge: at a pair's own fp32 score it is in, one unit above it is out."""
    vectors = shapes(seed, 60, 48)
    scores = cosines(vectors, vectors)
    upper = np.sort(scores[np.triu_indices(60, 1)])
    at = upper[place % len(upper)]
    threshold = at if ulp == 0 else np.nextafter(at, np.float32(ulp * np.inf))
    left, right = np.nonzero(np.triu(scores >= threshold, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "_PAIRS_FOR_SIEVE", 0)
        patch.setattr(screens, "_LENGTHS", (8, 16))
        if multiply == "fp32":
            patch.setattr(kernel, "multiplies_int8", lambda: False)
        found = threshold_join(vectors, threshold=float(threshold))
    assert_same(found, left, right, scores[left, right])


@pytest.mark.parametrize("dim", [32, 384])
@pytest.mark.parametrize("k", [1, 7, 400])
def test_the_closest(sieved, dim, k):
    """Highest first, ties by row number, oneself left out."""
    vectors = shapes(dim + k, 230, dim)
    scores = cosines(vectors, vectors)
    np.fill_diagonal(scores, -np.inf)
    k = min(k, 229)
    right = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = top_k_join(vectors, k=k)
    assert_same(
        found, np.repeat(np.arange(230), k), right.reshape(-1), np.take_along_axis(scores, right, 1).reshape(-1)
    )


def test_the_closest_of_another_set(sieved):
    """Rows of one set, their closest in the other."""
    a, b = shapes(5, 80, 64), shapes(6, 190, 64)
    scores = cosines(a, b)
    right = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    found = top_k_join(a, b, k=5)
    assert_same(found, np.repeat(np.arange(80), 5), right.reshape(-1), np.take_along_axis(scores, right, 1).reshape(-1))


@given(seed=st.integers(0, 10_000), dim=st.integers(32, 80), n=st.integers(20, 60))
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("multiply", [None, "int8"])
def test_no_screen_is_below_the_exact_score(multiply, seed, dim, n):
    """The bound itself: entry by entry, ``unit · entry + slack`` is at least the fp64 cosine, as short as rows may be."""
    if multiply and not kernel.multiplies_int8():
        pytest.skip("this processor does not multiply int8 itself")
    rows = shapes(seed, n, dim)
    sides = Prepared.of(rows, None, "cosine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screens, "_LENGTHS", (8,))
        patch.setattr(screens, "_best_length", lambda *_: 8)
        screen = screens.sieve(sides.left, sides.right, sides.plain.slack, 0.8, kernel.multiply if multiply else None)
    entries = np.empty((n, n), dtype=screen.dtype)
    screen.fill(slice(0, n), slice(0, n), entries)
    exact_scores = cosines(rows, rows).astype(np.float64)
    assert (entries * screen.unit + screen.slack >= exact_scores - 1e-7).all()
    assert (entries >= screen.cutoff(exact_scores - 1e-7)).all()


def test_a_limit_ends_all_workers(sieved):
    """Too many matches is an error though several tiles are under way, and the next join is as if nothing had been."""
    vectors = np.ones((500, 32), dtype=np.float32)
    with pytest.raises(TooManyMatches, match="More than 100 pairs"):
        threshold_join(vectors, threshold=0.5, max_matches=100)
    assert len(threshold_join(vectors, threshold=0.5)) == 500 * 499 // 2


def test_progress_rises_to_the_end(sieved):
    """Strip by strip."""
    reports = []
    threshold_join(shapes(0, 230, 64), threshold=0.9, progress=lambda done, total: reports.append((done, total)))
    assert reports == sorted(reports)
    assert reports[-1] == (230 * 229 // 2,) * 2


def test_threads_of_torch_are_as_before(sieved):
    """The workers keep to one thread each; the caller's number stays."""
    import torch

    before = torch.get_num_threads()
    threshold_join(shapes(0, 230, 64), threshold=0.9)
    assert torch.get_num_threads() == before


def test_small_joins_load_no_torch():
    """Its import takes longer than they do."""
    code = (
        "import sys, numpy as np; from textsiam import threshold_join\n"
        "vectors = np.random.default_rng(0).normal(size=(7000, 64)).astype('float32')\n"
        "threshold_join(vectors, threshold=0.9); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("variable", "quota", "torchs", "expected"), [("", 8, 8, 8), ("", 3, 8, 3), ("2", 3, 8, 2), ("", 8, 5, 5)]
)
def test_a_join_takes_as_many_threads_as_the_encoder(monkeypatch, variable, quota, torchs, expected):
    """OMP_NUM_THREADS and a container's quota count, and so does what torch was set to."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(processor, "n_cores", lambda: 8)
    monkeypatch.setattr(processor, "_quota", lambda: quota)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torchs)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert kernel.n_threads() == expected


@pytest.mark.shared
@pytest.mark.parametrize(("n_texts", "n_least"), [(1_000, 10), pytest.param(4_000, 100, marks=pytest.mark.long)])
def test_real_questions_in_every_way(shared, model, monkeypatch, n_texts, n_least):
    """Real questions at 0.8: plain, sieved in fp32 and in int8, the same to the last bit."""
    from textsiam import read_texts

    vectors = model.encode(list(read_texts(shared / "qqp_questions.parquet", column="question"))[:n_texts])
    expected = threshold_join(vectors, threshold=0.8)
    assert len(expected) > n_least
    monkeypatch.setattr(prepared, "_PAIRS_FOR_SIEVE", 0)
    found = threshold_join(vectors, threshold=0.8)
    monkeypatch.setattr(kernel, "multiplies_int8", lambda: False)
    for matches in (found, threshold_join(vectors, threshold=0.8)):
        assert_same(matches, expected.left, expected.right, expected.score)
