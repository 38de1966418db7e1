"""Clusters never chain: every dropped row directly matches its keeper."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from textsiam import Matches, cluster
from textsiam.matching.matches import LINKAGES


def matches_of(scores, threshold):
    i, j = np.triu_indices(len(scores), k=1)
    keep = scores[i, j] >= threshold
    return Matches(i[keep], j[keep], scores[i, j][keep].astype(np.float32), n_left=len(scores))


def some_matches(n, seed, threshold):
    return matches_of(np.random.default_rng(seed).random((n, n)).round(2), threshold)


SOME = dict(n=st.integers(1, 25), seed=st.integers(0, 10_000), threshold=st.sampled_from([0.0, 0.5, 0.8, 0.95]))


@pytest.mark.parametrize("name", LINKAGES)
@given(**SOME)
@settings(deadline=None, max_examples=100)
def test_every_dropped_row_directly_matches_its_keeper(name, n, seed, threshold):
    """The promise of each linkage, with the score that the match had."""
    matches = some_matches(n, seed, threshold)
    clusters = cluster(matches, linkage=name)
    scores = {(match.left, match.right): match.score for match in matches}
    for row, keeper in enumerate(clusters.keeper.tolist()):
        assert clusters.keeper[keeper] == keeper
        assert clusters.cluster[row] == clusters.cluster[keeper]
        if row != keeper:
            assert clusters.score_to_keeper[row] == np.float32(scores[min(row, keeper), max(row, keeper)])
        else:
            assert np.isnan(clusters.score_to_keeper[row])
    assert len(set(clusters.keeper.tolist())) == clusters.cluster.max() + 1


@given(**SOME)
@settings(deadline=None, max_examples=100)
def test_keepers_are_a_maximal_independent_set_and_each_row_joins_its_best(n, seed, threshold):
    """Oracle: networkx. No two keepers match; every other row matches one, and joins the closest, ties to the earlier."""
    matches = some_matches(n, seed, threshold)
    graph = nx.Graph()
    graph.add_nodes_from(range(matches.n_left))
    graph.add_weighted_edges_from((match.left, match.right, match.score) for match in matches)
    keeper = cluster(matches).keeper
    keepers = set(keeper.tolist())
    assert graph.subgraph(keepers).number_of_edges() == 0
    assert nx.is_dominating_set(graph, keepers)
    for row in set(graph) - keepers:
        best = min((-graph[row][other]["weight"], other) for other in graph[row] if other in keepers)[1]
        assert keeper[row] == best


@given(seed=st.integers(0, 10_000), n=st.integers(2, 20), threshold=st.sampled_from([0.3, 0.6, 0.8]))
@settings(deadline=None, max_examples=100)
def test_complete_linkage_equals_scipy(seed, n, threshold):
    """Oracle: scipy on the full matrix, cut at the threshold; distances all differ, so there is one answer."""
    rng = np.random.default_rng(seed)
    values = rng.permutation(n * n)[: n * (n - 1) // 2] / (n * n)
    scores = np.zeros((n, n))
    scores[np.triu_indices(n, k=1)] = values
    expected = fcluster(linkage(1 - values, "complete"), 1 - threshold + 1e-9, "distance")
    found = cluster(matches_of(scores, threshold), linkage="complete").cluster
    assert {frozenset(np.flatnonzero(found == c)) for c in set(found)} == {
        frozenset(np.flatnonzero(expected == c)) for c in set(expected)
    }


def test_a_chain_is_cut():
    """A ~ B ~ C ~ D, and no other match: single linkage would make one cluster of four. B is closer to C than to A."""
    chain = Matches(np.arange(3), np.arange(1, 4), np.array([0.9, 0.95, 0.9], dtype=np.float32), n_left=4)
    assert cluster(chain).groups() == [[2, 1, 3]]
    assert cluster(chain, linkage="complete").groups() == [[1, 2]]
    assert cluster(chain).weakest([2, 1, 3]) == pytest.approx(0.9)


def test_columns_hold_every_row_in_order():
    """A clusters file has all rows; those that are their own keeper are the deduplicated set."""
    matches = Matches(
        np.array([0]), np.array([2]), np.array([0.9], dtype=np.float32), n_left=3, left_ids=["a", "b", "c"]
    )
    columns = cluster(matches).columns()
    assert columns["id"] == ["a", "b", "c"]
    assert columns["keeper"] == ["a", "b", "a"]
    np.testing.assert_array_equal(columns["score_to_keeper"], np.array([np.nan, np.nan, 0.9], dtype=np.float32))


def test_what_cannot_be_clustered_is_refused():
    """Matches between two sets, an unknown linkage, a component too large for a matrix."""
    with pytest.raises(ValueError, match="between two"):
        cluster(Matches(np.array([0]), np.array([0]), np.array([1.0]), n_left=1, n_right=1))
    with pytest.raises(ValueError, match="no linkage 'single'"):
        cluster(Matches(np.array([0]), np.array([1]), np.array([1.0]), n_left=2), linkage="single")
    n = 10_002
    star = Matches(np.zeros(n - 1, dtype=int), np.arange(1, n), np.ones(n - 1, dtype=np.float32), n_left=n)
    with pytest.raises(ValueError, match="connected rows"):
        cluster(star, linkage="complete")
    assert len(cluster(star)) == 1
