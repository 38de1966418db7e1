"""Splitting: nothing that belongs together stands on two sides, little is lost, labels stay in proportion."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsiam import Pairs, Triplets, folds, read_pairs, split
from textsiam.data.splitting import carve, dependence, link, without
from textsiam.data.texts import normalise

TEXTS = [f"{letter}{space}" for letter in "abcdefgh" for space in ("", "  ")] + ["A", "B"]
ROWS = st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.integers(0, 1)), min_size=1, max_size=40)


def graph_of(pairs, links=()):
    """The oracle: who belongs together, by networkx."""
    graph = nx.Graph()
    for first, second, label in zip(pairs.first, pairs.second, pairs.labels, strict=True):
        graph.add_nodes_from([normalise(first), normalise(second)])
        if label:
            graph.add_edge(normalise(first), normalise(second))
    graph.add_edges_from((normalise(a), normalise(b)) for a, b in links)
    return {text: number for number, part in enumerate(nx.connected_components(graph)) for text in part}


def reached(part, component):
    """The components that a part's texts belong to."""
    return {component[normalise(text)] for text in [*part.first, *part.second]}


def disjoint(*sets):
    return sum(map(len, sets)) == len(set().union(*sets))


@given(ROWS, st.integers(0, 5))
def test_no_component_stands_on_two_sides(rows, seed):
    """By the oracle; every row is in one part or counted as dropped, and a dropped row does cross."""
    pairs = Pairs(*zip(*[(a, b) for a, b, _ in rows], strict=True), labels=[y for _, _, y in rows])
    component = graph_of(pairs, links=[("a", "b")])
    made = split(pairs, seed=seed, links=[("a", "b")])
    parts = (made.train, made.calibration, made.test)
    sides = [reached(part, component) for part in parts]
    kept = [row for part in parts for row in part.rows]
    assert disjoint(*sides)
    assert len(kept) == len(set(kept)) == len(pairs) - made.report["dropped"]
    for row in set(pairs.rows) - set(kept):
        first, second = (component[normalise(side[row - 1])] for side in (pairs.first, pairs.second))
        assert pairs.labels[row - 1] == 0
        assert first != second


@given(ROWS, st.integers(2, 4))
def test_folds_share_nothing_with_their_own_test(rows, k):
    """Every row is in at most one test part; none is in both parts of a fold."""
    pairs = Pairs(*zip(*[(a, b) for a, b, _ in rows], strict=True), labels=[y for _, _, y in rows])
    component = graph_of(pairs)
    made = folds(pairs, k)
    assert len(made) == k
    for train, test in made:
        assert disjoint(reached(train, component), reached(test, component))
    assert disjoint(*(set(test.rows) for _, test in made))


@given(ROWS, ROWS)
def test_carving_and_leaving_out_reach_over_all_tables(one, other):
    """The carved parts share no component with the rest of any table; `without` leaves no row that shares one."""
    tables = [Pairs(*zip(*[(a, b) for a, b, _ in r], strict=True), labels=[y for _, _, y in r]) for r in (one, other)]
    both = Pairs(
        [*tables[0].first, *tables[1].first],
        [*tables[0].second, *tables[1].second],
        labels=np.concatenate([t.labels for t in tables]),
    )
    component = graph_of(both)
    parts = carve(tables, 0.3)
    rest, carved = (set().union(*(reached(pair[side], component) for pair in parts)) for side in (0, 1))
    assert disjoint(rest, carved)
    (left,) = without([tables[0]], [tables[1]])
    assert disjoint(reached(left, component), reached(tables[1], component))


def synthetic(n=6_000, seed=0):
    rng = np.random.default_rng(seed)
    return Pairs(
        [f"q{k}" for k in rng.integers(0, 2 * n, n)],
        [f"q{k}" for k in rng.integers(0, 2 * n, n)],
        labels=(rng.random(n) < 0.37) * 1,
    )


def test_parts_have_the_sizes_and_the_labels_asked_for():
    """Within two points of the shares and three of the positives."""
    pairs = synthetic()
    made = split(pairs, shares=(0.6, 0.25, 0.15))
    for part, share in zip((made.train, made.calibration, made.test), (0.6, 0.25, 0.15), strict=True):
        assert len(part) / len(pairs) == pytest.approx(share, abs=0.02)
        assert part.labels.mean() == pytest.approx(pairs.labels.mean(), abs=0.03)


def test_the_seed_decides():
    """The same again; another seed, other parts; rows keep their order and numbers."""
    pairs = synthetic(500)
    first, again, other = (split(pairs, seed=seed).test.rows for seed in (1, 1, 2))
    assert first == again != other
    assert list(first) == sorted(first)


def test_a_giant_group_is_cut_where_few_negatives_cross():
    """A long chain that negatives hold together loses a few rows, not the third that a random assignment would."""
    n = 3_000
    chain = Pairs([f"t{k}" for k in range(n)], [f"t{k + 1}" for k in range(n)], labels=[0] * n)
    made = split(chain)
    assert made.report["dropped"] < 10
    assert len(made.test) == pytest.approx(0.1 * n, abs=10)


def test_a_giant_chain_of_positives_stays_whole():
    """Whatever the shares: it may not be cut."""
    pairs = Pairs([f"t{k}" for k in range(300)], [f"t{k + 1}" for k in range(300)], labels=[1] * 300)
    made = split(pairs)
    assert sorted(map(len, (made.train, made.calibration, made.test))) == [0, 0, 300]


def test_graded_pairs_link_at_a_stated_score():
    """By default from 80 % of the range, said in the report; pairs below it may cross and are then dropped."""
    rng = np.random.default_rng(0)
    pairs = Pairs(
        [f"a{k // 2}" for k in range(400)], [f"b{k // 3}" for k in range(400)], scores=rng.integers(0, 6, 400)
    )
    assert split(pairs).report["link_score"] == 4
    made = split(pairs, link_score=2.5)
    assert made.report["link_score"] == 2.5
    linked = Pairs(pairs.first, pairs.second, labels=(np.asarray(pairs.scores) >= 2.5) * 1)
    component = graph_of(linked)
    assert disjoint(*(reached(part, component) for part in (made.train, made.calibration, made.test)))


def test_triplets_keep_their_negatives_on_their_side():
    """No text of any column on two sides."""
    rng = np.random.default_rng(0)
    columns = [[f"{name}{k}" for k in rng.integers(0, 300, 200)] for name in "apn"]
    made = split(Triplets(columns[0], columns[1], [columns[2]]))
    texts = [{text for column in part.columns for text in column} for part in (made.train, made.calibration, made.test)]
    assert disjoint(*texts)
    assert sum(map(len, (made.train, made.calibration, made.test))) == 200 - made.report["dropped"]


def test_the_report_says_what_a_random_split_leaks():
    """Equal to a count by hand: every second row repeats a question of the row before."""
    pairs = Pairs([f"q{k // 2}" for k in range(2_000)], [f"x{k}" for k in range(2_000)], labels=[0] * 2_000)
    leak = split(pairs, seed=0).report["random_split_leaks"]
    sides = np.random.default_rng(0).choice(3, size=2_000, p=(0.8, 0.1, 0.1))
    partner = np.arange(2_000) ^ 1
    assert leak["shares_a_text"] == pytest.approx((sides[partner[sides == 2]] == 0).mean())
    assert leak["shares_a_text"] == leak["shares_a_component"]


def test_wrong_shares_and_folds_are_refused():
    """Three shares that sum to 1; two folds or more; a share of 0 gives an empty part."""
    pairs = synthetic(100)
    for shares in ((0.5, 0.5), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1)):
        with pytest.raises(ValueError, match="3 numbers from 0 to 1 that sum to 1"):
            split(pairs, shares=shares)
    with pytest.raises(ValueError, match="at least 2 folds, but got 1"):
        folds(pairs, 1)
    assert len(split(pairs, shares=(0.9, 0.0, 0.1)).calibration) == 0


def test_rows_that_share_a_component_depend_on_each_other():
    """Over any column; numbered by group."""
    groups = dependence(np.array([[0, 1], [1, 2], [3, 4], [5, 3], [6, 6]]))
    assert groups[0] == groups[1] != groups[2] == groups[3] != groups[4]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["qqp_pairs", "twitter_url", "mrpc", "paws_wiki"])
def test_real_data_is_split_without_leaks(shared, name):
    """By the oracle; fewer than 3 % of the rows dropped, parts within a point of their shares."""
    pairs = read_pairs(shared / f"{name}.parquet")
    component, made = graph_of(pairs), split(pairs)
    parts = (made.train, made.calibration, made.test)
    assert disjoint(*(reached(part, component) for part in parts))
    assert made.report["dropped"] < 0.03 * len(pairs)
    assert [len(part) / len(pairs) for part in parts] == pytest.approx([0.8, 0.1, 0.1], abs=0.01)


def test_links_of_several_tables_are_one_graph():
    """A chain may run through two tables."""
    graph = link([Pairs(["a"], ["b"]), Pairs(["B "], ["c"], labels=[1]), Pairs(["x"], ["c"], labels=[0])])
    first, second, third = graph.columns
    assert first[0, 0] == second[0, 1] == third[0, 1] != third[0, 0]
