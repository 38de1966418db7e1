"""Screens never lose a pair: their bounds hold for vectors made to break them, and every screen gives the same matches."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textsiam.errors import TooManyMatches
from textsiam.matching import kernel, prepared, screens, threshold_join, tiles, top_k_join
from textsiam.matching.prepared import Prepared
from textsiam.scoring.similarity import paired_cosine

NAMES = ("plain", "fp32", "int8")


def multiply_slowly(a, b, out):
    """What the kernel computes, on any processor."""
    np.matmul(a.astype(np.int32), b.T.astype(np.int32), out=out)


def force(patch, name, length=None):
    """Let joins of any size use this screen, with short rows of this length if the vectors are longer."""
    patch.setattr(prepared, "_PAIRS_FOR_SIEVE", np.inf if name == "plain" else 1)
    patch.setattr(kernel, "multiply", kernel.multiply if kernel.multiplies_int8() else multiply_slowly)
    patch.setattr(kernel, "multiplies_int8", lambda: name == "int8")
    if length:
        patch.setattr(screens, "_best_length", lambda left, *_: min(length, left.shape[1]))


def exact_scores(a, b):
    """All with all in fp64, rounded once to fp32."""
    i, j = np.divmod(np.arange(len(a) * len(b)), len(b))
    return paired_cosine(a[i].astype(np.float64), b[j].astype(np.float64)).astype(np.float32).reshape(len(a), len(b))


def random(rng, n, dim):
    return rng.normal(size=(n, dim))


def clustered(rng, n, dim):
    return rng.normal(size=(3, dim))[rng.integers(0, 3, n)] + 0.2 * rng.normal(size=(n, dim))


def duplicated(rng, n, dim):
    return rng.normal(size=(n // 3 + 1, dim))[rng.integers(0, n // 3 + 1, n)]


def with_zeros(rng, n, dim):
    return rng.normal(size=(n, dim)) * (rng.random((n, 1)) < 0.7)


def tiny(rng, n, dim):
    return rng.normal(size=(n, dim)) * 10.0 ** rng.integers(-30, 1, (n, 1))


def huge(rng, n, dim):
    return rng.normal(size=(n, dim)) * 10.0 ** rng.integers(0, 35, (n, 1))


def spiked(rng, n, dim):
    """A few coordinates that stand out: the worst for one unit."""
    return np.eye(dim)[rng.integers(0, dim, n)] * 50 + rng.normal(size=(n, dim))


def one_line(rng, n, dim):
    """All on one line, in both directions."""
    return rng.choice([-1.0, 1.0], (n, 1)) * rng.normal(size=(1, dim)) + 1e-4 * rng.normal(size=(n, dim))


def of_length_one(rng, n, dim):
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


KINDS = (random, clustered, duplicated, with_zeros, tiny, huge, spiked, one_line, of_length_one)


def edge(scores, rng):
    """A score that occurs, one unit above or below it, or any threshold."""
    score = np.float32(rng.choice(scores.reshape(-1)))
    return float(
        rng.choice([score, np.nextafter(score, np.float32(2)), np.nextafter(score, np.float32(-2)), rng.uniform(-1, 1)])
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 100_000), dim=st.integers(1, 400), n=st.integers(2, 40), memory=st.sampled_from([1, 64]))
@settings(deadline=None, max_examples=8)
def test_every_screen_equals_brute_force(kind, name, seed, dim, n, memory):
    """Any vectors, one set or two, any length of short rows, tiny tiles, a threshold at a pair's score or one unit beside."""
    rng = np.random.default_rng(seed)
    vectors = kind(rng, n, dim).astype(rng.choice([np.float32, np.float64]))
    against = kind(rng, int(rng.integers(1, 30)), dim).astype(np.float32) if rng.random() < 0.5 else None
    scores = exact_scores(vectors, vectors if against is None else against)
    threshold = edge(scores, rng)
    reached = scores >= np.float32(threshold)
    left, right = np.nonzero(np.triu(reached, k=1) if against is None else reached)
    with pytest.MonkeyPatch.context() as patch:
        force(patch, name, int(rng.choice([8, 64, 96, 500])))
        patch.setattr(tiles, "_MAX_SIDE", int(rng.integers(1, 50)))
        matches = threshold_join(vectors, against, threshold=threshold, max_memory_mb=memory)
    assert (matches.left == left).all()
    assert (matches.right == right).all()
    assert (matches.score == scores[left, right]).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 100_000), dim=st.integers(1, 400), k=st.integers(1, 45))
@settings(deadline=None, max_examples=5)
def test_every_screen_finds_the_same_neighbours(kind, name, seed, dim, k):
    """The k closest, ties by row number, in tiles smaller or larger than k."""
    rng = np.random.default_rng(seed)
    vectors = kind(rng, 40, dim).astype(np.float32)
    against = None if rng.random() < 0.5 else kind(rng, 23, dim).astype(np.float32)
    scores = exact_scores(vectors, vectors if against is None else against)
    if against is None:
        np.fill_diagonal(scores, -np.inf)
    wanted = min(k, 39 if against is None else 23)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :wanted]
    with pytest.MonkeyPatch.context() as patch:
        force(patch, name)
        patch.setattr(tiles, "_MAX_SIDE", int(rng.integers(1, 50)))
        matches = top_k_join(vectors, against, k=k)
    assert (matches.right.reshape(40, wanted) == expected).all()
    assert (matches.score == np.take_along_axis(scores, expected, axis=1).reshape(-1)).all()


def entries_of(screen, n, m):
    out = np.empty((n, m), dtype=screen.dtype)
    screen.fill(slice(0, n), slice(0, m), out)
    return out * screen.unit


@pytest.mark.parametrize("length", [8, 64, 500])
@pytest.mark.parametrize("multiply", [None, multiply_slowly])
@pytest.mark.parametrize("kind", KINDS)
def test_no_score_is_above_its_entry_and_the_slack(kind, multiply, length, monkeypatch):
    """The proven bound, on every pair of vectors of every kind; with all coordinates kept it holds on both sides."""
    monkeypatch.setattr(screens, "_best_length", lambda left, *_: min(length, left.shape[1]))
    for dim in (12, 100, 384):
        vectors = kind(np.random.default_rng(dim), 200, dim).astype(np.float32)
        sides = Prepared.of(vectors, None, "cosine")
        screen = screens.sieve(sides.left, sides.right, sides.plain.slack, 0.8, multiply) or sides.plain
        over = exact_scores(vectors, vectors) - entries_of(screen, 200, 200)
        assert over.max() <= screen.slack
        if length >= dim:
            assert over.min() >= -screen.slack


def test_the_bound_of_rounding_is_needed():
    """A row along what rounding took off another loses nearly half of the slack: no bound of that form could be much smaller."""
    dim = 96
    axes = screens._turned(screens.principal_axes(np.eye(dim, dtype=np.float32)))
    rng = np.random.default_rng(0)
    short = rng.uniform(-0.17, 0.17, (200, dim)).astype(np.float32)
    short /= np.linalg.norm(short, axis=1, keepdims=True)
    unit = np.float32(np.abs(short).max() / 127)
    lost = short - unit * np.rint(short / unit)
    worst = lost / np.linalg.norm(lost, axis=1, keepdims=True) / 1.2
    worst = np.clip(worst, -127 * unit, 127 * unit)
    vectors = (np.concatenate([short, worst]) @ axes.T).astype(np.float32)
    sides = Prepared.of(vectors, None, "cosine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screens, "principal_axes", lambda _: np.eye(dim, dtype=np.float32))
        screen = screens.sieve(sides.left, sides.right, sides.plain.slack, None, multiply_slowly)
    over = exact_scores(vectors, vectors) - entries_of(screen, 400, 400)
    assert 0.25 * screen.slack < over.max() <= screen.slack


@pytest.mark.parametrize("name", NAMES)
def test_dense_matches_and_low_thresholds(name, monkeypatch):
    """Where nearly every pair passes the screen, the whole tile is screened again; the matches are the same."""
    force(monkeypatch, name, 64)
    vectors = clustered(np.random.default_rng(1), 150, 128).astype(np.float32)
    for threshold in (-1.0, 0.0, 0.9):
        expected = np.argwhere(np.triu(exact_scores(vectors, vectors) >= np.float32(threshold), k=1))
        matches = threshold_join(vectors, threshold=threshold)
        assert (np.stack([matches.left, matches.right], axis=1) == expected).all()


def test_threads_change_nothing(monkeypatch):
    """Several workers give the same matches in the same order, and torch keeps its number of threads."""
    force(monkeypatch, "int8", 64)
    monkeypatch.setattr(tiles, "_MAX_SIDE", 64)
    vectors = clustered(np.random.default_rng(1), 1_000, 128).astype(np.float32)
    before, results = torch.get_num_threads(), []
    for n in (1, 3):
        monkeypatch.setattr(kernel, "n_threads", lambda n=n: n)
        results.append((threshold_join(vectors, threshold=0.95), top_k_join(vectors, k=4)))
    for one, three in zip(*results, strict=True):
        assert (one.left == three.left).all()
        assert (one.right == three.right).all()
        assert (one.score == three.score).all()
    with pytest.raises(TooManyMatches, match="More than 5 pairs"):
        threshold_join(vectors, threshold=0.5, max_matches=5)
    assert torch.get_num_threads() == before


def test_the_kernel_multiplies_exactly():
    """Products of the largest int8 numbers are right, or the kernel says that it cannot."""
    numbers = np.random.default_rng(0).choice(np.array([-127, 127], dtype=np.int8), (3, 37, 384))
    if not kernel.multiplies_int8():
        pytest.skip("this processor has no int8 products")
    out = np.empty((37, 37), dtype=np.int32)
    kernel.multiply(numbers[0], numbers[1], out)
    assert (out == numbers[0].astype(np.int32) @ numbers[1].astype(np.int32).T).all()


def test_processors_without_int8_do_without(monkeypatch):
    """No int8 instructions, or a torch that lacks the private product: the kernel declines."""
    kernel.multiplies_int8.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not kernel.multiplies_int8()
    kernel.multiplies_int8.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    monkeypatch.delattr(torch, "_int_mm")
    assert not kernel.multiplies_int8()
    kernel.multiplies_int8.cache_clear()


def test_a_join_that_is_not_huge_imports_no_torch():
    """Importing it would take longer than the join."""
    code = (
        "import sys, numpy as np; from textsiam import threshold_join\n"
        "rows = np.random.default_rng(0).normal(size=(10_500, 80)).astype(np.float32)\n"
        "threshold_join(rows, threshold=0.9); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_short_rows_are_chosen_for_a_large_join():
    """Vectors with most of their length in few directions are compared by those."""
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(10_500, 256)) * np.linspace(1, 0, 256) ** 4).astype(np.float32)
    sides = Prepared.of(vectors, None, "cosine")
    assert screens._best_length(sides.left, sides.right, screens.principal_axes(sides.left), 0.9, np.int8) == 64
    assert sides.screen(0.9) is not sides.plain
    assert Prepared.of(vectors[:2_000], None, "cosine").screen(0.9).dtype is np.float32
