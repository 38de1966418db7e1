"""The exact joins against brute force: every pair that reaches the threshold and no other, in any block size."""

import sys
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textsiam.errors import TooManyMatches
from textsiam.matching import threshold_join, top_k_join
from textsiam.matching.join import prepared, tiles
from textsiam.scoring.similarity import SIMILARITIES


def brute_force(a, b, similarity, threshold):
    """Scores of all with all in fp64, rounded once to fp32, as pairs that reach the threshold."""
    i, j = np.divmod(np.arange(len(a) * len(b)), len(b))
    scores = SIMILARITIES[similarity].paired(a[i].astype(np.float64), b[j].astype(np.float64)).astype(np.float32)
    keep = scores >= np.float32(threshold)
    return {(int(x), int(y)): s for x, y, s in zip(i[keep], j[keep], scores[keep], strict=True)}


def as_dict(matches):
    return {(match.left, match.right): np.float32(match.score) for match in matches}


def clumped(rng, n, dim):
    """Vectors with near and exact repeats, a zero row, and lengths that differ."""
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    vectors[n // 2 :] = vectors[: n - n // 2] + 0.1 * rng.normal(size=(n - n // 2, dim)).astype(np.float32)
    vectors[3] = vectors[7]
    vectors[5] = 0
    return vectors


@pytest.mark.parametrize("memory", [1, 64])
@pytest.mark.parametrize("quantile", [0.2, 0.9, 0.999])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_within_one_set_equals_brute_force(similarity, quantile, memory):
    """For every similarity, dense or sparse, in small or large blocks: the same pairs with the same scores."""
    vectors = clumped(np.random.default_rng(2), 120, 24)
    scores = SIMILARITIES[similarity].matrix(vectors.astype(np.float64), vectors.astype(np.float64))
    threshold = float(np.quantile(scores, quantile))
    expected = {
        pair: s for pair, s in brute_force(vectors, vectors, similarity, threshold).items() if pair[0] < pair[1]
    }
    assert (
        as_dict(threshold_join(vectors, threshold=threshold, similarity=similarity, max_memory_mb=memory)) == expected
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_between_two_sets_equals_brute_force(similarity):
    """Left rows count in the first set, right rows in the second."""
    rng = np.random.default_rng(3)
    a, b = clumped(rng, 60, 16), clumped(rng, 41, 16)
    b[10] = a[20]
    threshold = float(np.quantile(SIMILARITIES[similarity].matrix(a, b), 0.95))
    matches = threshold_join(a, b, threshold=threshold, similarity=similarity)
    assert as_dict(matches) == brute_force(a, b, similarity, threshold)
    assert (matches.n_left, matches.n_right) == (60, 41)


@given(seed=st.integers(0, 10_000), side=st.integers(1, 40), ulp=st.sampled_from([-1, 0, 1]))
@settings(deadline=None, max_examples=60)
def test_a_threshold_equal_to_a_score_keeps_that_pair(seed, side, ulp):
    """Exact at the edge: at a pair's own fp32 score it is in, one unit above it is out, whatever the blocks."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(30, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    score = (
        SIMILARITIES["cosine"]
        .paired(vectors[:1].astype(np.float64), vectors[1:2].astype(np.float64))
        .astype(np.float32)
    )
    threshold = score if ulp == 0 else np.nextafter(score, np.float32(ulp * np.inf))
    expected = {
        pair: s for pair, s in brute_force(vectors, vectors, "cosine", threshold[0]).items() if pair[0] < pair[1]
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_MAX_SIDE", side)
        assert as_dict(threshold_join(vectors, threshold=float(threshold[0]))) == expected
    assert ((0, 1) in expected) == (ulp <= 0)


def test_equal_vectors_reach_a_threshold_of_one():
    """Identical unit vectors score exactly 1, though their fp32 lengths do not."""
    vectors = np.random.default_rng(0).normal(size=(50, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    matches = threshold_join(np.repeat(vectors, 2, axis=0), threshold=1.0)
    assert len(matches) == 50
    assert (matches.score == 1).all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_top_k_equals_sorting_everything(similarity):
    """The k closest, ties by row number, oneself left out."""
    vectors = clumped(np.random.default_rng(4), 80, 12)
    scores = np.full((80, 80), -np.inf, dtype=np.float32)
    for (i, j), score in brute_force(vectors, vectors, similarity, -1e9).items():
        if i != j:
            scores[i, j] = score
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    matches = top_k_join(vectors, k=5, similarity=similarity, max_memory_mb=1)
    assert (matches.right.reshape(80, 5) == expected).all()
    assert (matches.left == np.repeat(np.arange(80), 5)).all()


def test_top_k_of_small_sets():
    """Asked for more than there are, one gets all; of nothing, nothing."""
    vectors = np.eye(3, dtype=np.float32)
    assert len(top_k_join(vectors, k=9)) == 6
    assert len(top_k_join(vectors, vectors[:2], k=9)) == 6
    assert len(top_k_join(vectors[:1], k=1)) == 0
    assert len(top_k_join(vectors[:0], k=1)) == 0


@contextmanager
def memory_below(limit):
    """Less than so many bytes are held beyond what there was, at any moment of the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("vectors", "against"),
    [
        (np.ones((3, 4)), np.concatenate([np.ones((1024, 4)), -np.ones((5, 4))])),
        (np.repeat(np.eye(2), (3_000, 2_000), axis=0), None),
        (np.repeat(np.eye(32)[:2], 1_100, axis=0) + 1e-7 * np.random.default_rng(0).normal(size=(2_200, 32)), None),
        pytest.param(
            np.repeat(np.eye(384)[:2], 2_048, axis=0) + 1e-7 * np.random.default_rng(0).normal(size=(4_096, 384)),
            None,
            marks=pytest.mark.long,
        ),
    ],
    ids=["nothing in the last tile", "equal rows", "two clumps", "two large clumps"],
)
def test_top_k_of_rows_that_crowd(vectors, against):
    """More candidates than are held at once, and tiles in which none passes: each row's closest, the lowest numbers first."""
    found = top_k_join(vectors.astype(np.float32), against, k=1)
    rows = np.arange(0, len(vectors), 97)
    others = vectors if against is None else against
    scores = SIMILARITIES["cosine"].matrix(
        vectors[rows].astype(np.float32).astype(np.float64), others.astype(np.float64)
    )
    if against is None:
        scores[np.arange(len(rows)), rows] = -1
    assert len(found) == len(vectors)
    np.testing.assert_allclose(found.score[rows], scores.max(1), atol=1e-6)
    if len(np.unique(vectors, axis=0)) <= 2:  # all of a clump are equal: the first of it, or its second
        np.testing.assert_array_equal(found.right[rows], scores.argmax(1))


def test_equal_rows_take_little_memory():
    """Where every score ties, the tie is broken without holding all pairs."""
    vectors = np.ones((3_000, 32), dtype=np.float32)
    with memory_below(40 * 2**20):
        found = top_k_join(vectors, k=2, max_memory_mb=16)
    assert found.right[:6].tolist() == [1, 2, 0, 2, 0, 1]
    assert (found.right[6:] == np.tile([0, 1], len(vectors) - 3)).all()


@pytest.mark.parametrize("similarity", ["dot", "euclidean", "manhattan"])
def test_vectors_whose_products_overflow_are_refused(similarity):
    """Pairs would be missed; cosine does not mind lengths, short of fp64's own limit."""
    vectors = np.full((2, 4), 1e20)
    with pytest.raises(ValueError, match="length 2e\\+20, whose products overflow"):
        threshold_join(vectors.astype(np.float32), threshold=-1, similarity=similarity)
    with pytest.raises(ValueError, match="against have a row of length 2e\\+20"):
        top_k_join(np.ones((2, 4)), vectors, k=1, similarity=similarity)
    assert len(threshold_join(vectors, threshold=0.9)) == 1
    assert len(threshold_join(vectors.astype(np.float32), threshold=0.9)) == 1
    assert len(threshold_join(vectors / 1e3, threshold=-1e18, similarity=similarity)) == 1
    for size in (1e200, 1e308):
        with pytest.raises(ValueError, match="products overflow"):
            threshold_join(np.full((2, 4), size), threshold=0.9)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_denormal_vectors_lose_no_pair(similarity):
    """What fp32 rounds to 0, or away from it, is still compared in fp64; the threshold is each pair's own score."""
    vectors = np.array([[1e-46] * 4, [1e-46] * 4, [3e-46, 1e-46, 0, 0], [7.5e-46] * 4, [6.9e-46] * 4])
    for threshold in {*brute_force(vectors, vectors, similarity, -1).values()}:
        expected = {
            pair: score
            for pair, score in brute_force(vectors, vectors, similarity, threshold).items()
            if pair[0] < pair[1]
        }
        assert as_dict(threshold_join(vectors, threshold=float(threshold), similarity=similarity)) == expected


def test_without_torch_numpy_multiplies(monkeypatch):
    """A large join where torch is not installed: the same pairs."""
    vectors = clumped(np.random.default_rng(4), 300, 64)
    expected = as_dict(threshold_join(vectors, threshold=0.8))
    monkeypatch.setattr(prepared, "_PAIRS_FOR_SIEVE", 1)
    monkeypatch.setattr(prepared, "_PAIRS_FOR_TORCH", 1)
    monkeypatch.setitem(sys.modules, "textsiam.matching.join.kernel", None)
    monkeypatch.delattr("textsiam.matching.join.kernel", raising=False)
    assert prepared._of_int8() is None
    assert as_dict(threshold_join(vectors, threshold=0.8)) == expected


def test_too_many_matches_stop_the_work_at_once():
    """Not after all pairs of a strip were held: a limit is there to save memory."""
    vectors = np.ones((6_000, 16), dtype=np.float32)
    with memory_below(32 * 2**20), pytest.raises(TooManyMatches, match="More than 100 pairs reach 0.5"):
        threshold_join(vectors, threshold=0.5, max_matches=100, max_memory_mb=16)


@pytest.mark.parametrize("n", [1_000, 4_000], ids=["many strips", "one strip"])
def test_matches_are_put_together_in_twice_their_size(n, monkeypatch):
    """As the docstring says: 20 bytes a match, twice that for a moment, beyond the memory to work in."""
    if n == 1_000:
        monkeypatch.setattr(tiles, "_MAX_SIDE", 64)
    vectors, against = np.ones((1_000, 16), dtype=np.float32), np.ones((n, 16), dtype=np.float32)
    with memory_below(41 * 1_000 * n + 16 * 2**20):
        assert len(threshold_join(vectors, against, threshold=0.5, max_memory_mb=16)) == 1_000 * n


def test_too_many_matches_is_an_error_not_a_cut():
    """A limit that is hit is said."""
    with pytest.raises(TooManyMatches, match="More than 100 pairs"):
        threshold_join(np.ones((50, 4), dtype=np.float32), threshold=0.5, max_matches=100)
    assert len(threshold_join(np.ones((50, 4), dtype=np.float32), threshold=0.5, max_matches=1225)) == 1225


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (dict(vectors=np.array([[np.nan, 1]])), "must be finite, but rows \\[0\\]"),
        (dict(against=np.ones((2, 3))), "one dimension, but got 2 and 3"),
        (dict(similarity="jaccard"), "no similarity 'jaccard'"),
        (dict(threshold=float("nan")), "finite score"),
        (dict(max_memory_mb=0), "at least 1 MB"),
    ],
)
def test_bad_arguments_are_refused(arguments, wrong):
    """Before any work."""
    given = dict(vectors=np.ones((2, 2)), threshold=0.5) | arguments
    with pytest.raises(ValueError, match=wrong):
        threshold_join(given.pop("vectors"), **given)


def test_working_memory_is_bounded():
    """8,000 rows would need 256 MB of scores at once; with 8 MB allowed, far less is held."""
    import tracemalloc

    vectors = np.random.default_rng(0).normal(size=(8_000, 32)).astype(np.float32)
    threshold_join(vectors[:10], threshold=0.9)
    tracemalloc.start()
    threshold_join(vectors, threshold=0.9, max_memory_mb=8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    copies = 3 * vectors.nbytes  # prepared rows, and the check that they are finite
    assert peak < copies + 8 * 2**20


def test_progress_reaches_the_end():
    """The last report says that all pairs were compared."""
    reports = []
    threshold_join(
        np.eye(50, dtype=np.float32), threshold=0.5, progress=lambda done, total: reports.append((done, total))
    )
    assert reports[-1] == (1225, 1225)
