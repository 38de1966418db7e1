"""What makes one query fast: heads of short rows, products on threads of our own. Brute force is the oracle."""

import multiprocessing
import os

import numpy as np
import pytest

from textsiam import threshold_join
from textsiam.encoding import processor
from textsiam.indexing.search import short_rows
from textsiam.indexing.search.scan import Scan, among
from textsiam.indexing.search.short_rows import Heads, times
from textsiam.matching.rule import Rule


@pytest.fixture
def rows():
    """9,000 unit rows of 128 numbers, most of their length in the first ones, many of them near another."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(3_000, 128)) * 0.9 ** np.arange(128)
    made = np.repeat(centres, 3, axis=0) + 0.03 * random.normal(size=(9_000, 128))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 382, 383, 384, 50_000])
def test_products_on_threads_are_products(n, monkeypatch):
    """Whatever part of the rows a thread takes."""
    monkeypatch.setattr(short_rows, "_FOR_A_THREAD", 1_000)
    monkeypatch.setattr(short_rows, "_n_threads", lambda: 3)
    random = np.random.default_rng(n)
    matrix, vector = random.normal(size=(n, 24)).astype(np.float32), random.normal(size=24).astype(np.float32)
    assert times(matrix, vector) == pytest.approx(matrix.astype(np.float64) @ vector, abs=1e-4)


@pytest.mark.parametrize(("variable", "quota", "expected"), [("", 8, 4), ("", 3, 3), ("2", 3, 2)])
def test_a_query_takes_no_more_threads_than_the_encoder(monkeypatch, variable, quota, expected):
    """OMP_NUM_THREADS and a container's quota count; more than four threads do not read faster."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(processor, "n_cores", lambda: 8)
    monkeypatch.setattr(processor, "_quota", lambda: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    short_rows._n_threads.cache_clear()
    assert short_rows._n_threads() == expected
    short_rows._n_threads.cache_clear()


def test_products_go_on_after_a_fork(monkeypatch):
    """A forked process has none of its parent's threads."""
    monkeypatch.setattr(short_rows, "_FOR_A_THREAD", 1_000)
    monkeypatch.setattr(short_rows, "_n_threads", lambda: 2)
    matrix = np.ones((10_000, 24), dtype=np.float32)
    times(matrix, matrix[0])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert (pool.apply(times, (matrix, matrix[0])) == 24).all()


def test_heads_rule_out_nothing_that_reaches(rows):
    """Every row that reaches the threshold passes; where too many would pass, they say so."""
    heads = Heads(rows)
    n_passed = 0
    for query in rows[::500]:
        passed = heads.reaching(query, 0.95)
        exact = np.flatnonzero(rows.astype(np.float64) @ query.astype(np.float64) >= 0.95)
        assert set(exact) <= set(passed)
        n_passed += len(passed)
    assert n_passed < 200  # of 162,000
    assert heads.reaching(rows[0], -1.0) is None


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("n", [0, 1, 2, 32, 33])
def test_rows_of_one_set_match_as_in_a_join(rows, n, similarity):
    """Few or many: the same pairs, in the same order, with the same scores."""
    some = rows[:n]
    threshold = 0.9 if similarity in {"cosine", "dot"} else -2.0
    expected = threshold_join(some, threshold=threshold, similarity=similarity)
    left, right, scores = among(some, Rule(threshold, similarity))
    assert (left.tolist(), right.tolist()) == (expected.left.tolist(), expected.right.tolist())
    assert scores.tolist() == expected.score.tolist()


@pytest.mark.parametrize("threshold", [0.99, 0.95, 0.5, -0.5])
def test_a_query_with_heads_finds_what_the_join_finds(rows, threshold, tmp_path, monkeypatch):
    """Rows that were saved have heads; those that came later have none."""
    monkeypatch.setattr("textsiam.indexing.search.short_rows.HEADS_FROM", 1_000)
    scan = Scan("cosine", rows.shape[1])
    scan.short.follow(rows[:8_500])
    scan.short.save(tmp_path / "short")
    scan.short.follow(rows)
    alive = np.ones(len(rows), dtype=np.bool_)
    asked = []
    monkeypatch.setattr(Heads, "reaching", _counting(Heads.reaching, asked))
    for number in range(0, 9_000, 900):
        expected = threshold_join(rows[number : number + 1], rows, threshold=threshold)
        _, found, scores = scan.find(rows, rows[number : number + 1], Rule(threshold, "cosine"), alive)
        assert found.tolist() == expected.right.tolist()
        assert scores.tolist() == expected.score.tolist()
    assert len(asked) == 9  # the first query does without


def _counting(method, asked):
    def counted(self, *arguments):
        asked.append(arguments)
        return method(self, *arguments)

    return counted
