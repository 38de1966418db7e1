"""Splits do not leak: no text, no normalised text and no chain of positives stands on two sides."""

import json
from functools import cache

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textsiam import Pairs, Triplets, folds, read_pairs, split
from textsiam.data.linking import dependence, link
from textsiam.data.splitting import SHARES, carve, without
from textsiam.data.texts import normalise as normalised

normalise = cache(normalised)

# Few texts, so that chains are frequent; several ways to write each, so that equality after normalisation matters.
TEXTS = [form.format(letter) for letter in "abcdefgh" for form in ("{}", " {}", "{}\t")]
TEXTS += [text.upper() for text in TEXTS]
ROWS = st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.integers(0, 1)), max_size=25)
TRIPLES = st.lists(st.tuples(*[st.sampled_from(TEXTS)] * 4), max_size=12)
LINKS = st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from([*TEXTS, "elsewhere"])), max_size=3)
SEEDS = st.integers(0, 1_000)
EASY = settings(deadline=None, max_examples=60)


def pairs_of(rows):
    first, second, labels = map(list, zip(*rows, strict=True)) if rows else ([], [], [])
    return Pairs(first, second, labels=labels)


def triplets_of(rows):
    anchors, positives, *negatives = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    return Triplets(anchors, positives, negatives)


def texts_of(table):
    """The texts of each row, normalised."""
    columns = table.columns if isinstance(table, Triplets) else (table.first, table.second)
    return [[normalise(text) for text in row] for row in zip(*columns, strict=True)]


def positives_of(table, lowest=None):
    """The rows whose first two texts mean the same, said once more, without the package."""
    if isinstance(table, Pairs) and table.labels is not None:
        return [label == 1 for label in table.labels]
    if isinstance(table, Pairs) and table.scores is not None:
        return [score >= lowest for score in table.scores]
    return [True] * len(table)


def oracle(tables, links=(), lowest=None):
    """networkx: each normalised text's component over positives and links."""
    graph = nx.Graph([(normalise(a), normalise(b)) for a, b in links])
    for table in tables:
        for texts, positive in zip(texts_of(table), positives_of(table, lowest), strict=True):
            graph.add_nodes_from(texts)
            if positive:
                graph.add_edge(*texts[:2])
    return {text: number for number, texts in enumerate(nx.connected_components(graph)) for text in texts}


def components_of(part, component):
    return {component[text] for texts in texts_of(part) for text in texts}


def check(whole, parts, component):
    """Nothing on two sides; every row in one part or dropped; and a dropped row would leak wherever it stood."""
    held = [components_of(part, component) for part in parts]
    for place, one in enumerate(held):
        assert not any(one & other for other in held[place + 1 :])
    rows = [row for part in parts for row in part.rows]
    kept = set(rows)
    assert len(kept) == len(rows)
    assert kept <= set(whole.rows)
    for row, texts in zip(whole.rows, texts_of(whole), strict=True):
        if row not in kept:
            assert sum(bool(one & {component[text] for text in texts}) for one in held) > 1
    assert all(list(part.rows) == sorted(part.rows) for part in parts)
    return len(whole) - len(rows)


@given(
    rows=ROWS,
    links=LINKS,
    seed=SEEDS,
    shares=st.sampled_from([SHARES, (0.4, 0.3, 0.3), (0.5, 0.0, 0.5), (1.0, 0.0, 0.0)]),
)
@EASY
def test_no_component_stands_in_two_parts(rows, links, seed, shares):
    """Oracle: networkx. Only rows between two parts are dropped, and all are counted; a share of 0 is an empty part."""
    pairs = pairs_of(rows)
    parts = split(pairs, seed=seed, shares=shares, links=links)
    component = oracle([pairs], links)
    assert parts.report["dropped"] == check(pairs, (parts.train, parts.calibration, parts.test), component)
    own = [component[text] for text in {text for texts in texts_of(pairs) for text in texts}]
    assert parts.report["components"] == len(set(own))
    assert parts.report["largest_component"] == max((own.count(number) for number in own), default=0)
    for (name, told), share in zip(parts.report["parts"].items(), shares, strict=True):
        part = getattr(parts, name)
        assert told["rows"] == len(part) <= (len(pairs) if share else 0)
        assert told["positive"] == (pytest.approx(part.labels.mean()) if len(part) else None)
    json.dumps(parts.report)


@given(rows=TRIPLES, links=LINKS, seed=SEEDS)
@EASY
def test_negatives_of_triplets_count_too(rows, links, seed):
    """Anchors and positives link; a negative links nothing, but stands in one part only."""
    triplets = triplets_of(rows)
    parts = split(triplets, seed=seed, shares=(0.4, 0.3, 0.3), links=links)
    check(triplets, (parts.train, parts.calibration, parts.test), oracle([triplets], links))


@given(rows=ROWS, links=LINKS, seed=SEEDS, k=st.integers(2, 6))
@EASY
def test_folds_do_not_leak(rows, links, seed, k):
    """In no fold; a row is in one test part, or between two and in none; what a fold needs not leave out it trains on."""
    pairs = pairs_of(rows)
    component = oracle([pairs], links)
    made = folds(pairs, k, seed=seed, links=links)
    assert len(made) == k
    check(pairs, [test for _, test in made], component)
    for train, test in made:
        assert not components_of(train, component) & components_of(test, component)
        # Never trained on: what this fold tests, and rows that one of its texts stands in.
        left_out = len(pairs) - len(train) - len(test)
        assert left_out <= len(pairs) - sum(len(test) for _, test in made)


@given(rows=ROWS, others=TRIPLES, links=LINKS, seed=SEEDS, share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
@EASY
def test_carving_does_not_leak_between_tables(rows, others, links, seed, share):
    """Of pairs and triplets together: what is carved of one shares nothing with the rest of the other."""
    tables = [pairs_of(rows), triplets_of(others)]
    component = oracle(tables, links)
    made = carve(tables, share, seed=seed, links=links)
    rest, carved = (set().union(*(components_of(both[side], component) for both in made)) for side in (0, 1))
    assert not rest & carved
    for table, both in zip(tables, made, strict=True):
        assert not {*both[0].rows} & {*both[1].rows}
        for row, texts in zip(table.rows, texts_of(table), strict=True):
            own = {component[text] for text in texts}
            assert row in {*both[0].rows, *both[1].rows} or (own & rest and own & carved)
        assert share not in {0.0, 1.0} or len(both[int(share)]) == len(table)


@given(rows=ROWS, others=TRIPLES)
@EASY
def test_without_leaves_what_shares_nothing(rows, others):
    """Oracle: the rows whose components the others do not hold, neither more nor fewer."""
    table, other = pairs_of(rows), triplets_of(others)
    component = oracle([table, other])
    taken = components_of(other, component)
    expected = [row for row, own in enumerate(texts_of(table), 1) if not {component[text] for text in own} & taken]
    assert list(without([table], [other])[0].rows) == expected


@given(rows=ROWS)
@EASY
def test_rows_that_depend_on_each_other_have_one_number(rows):
    """Oracle: networkx over rows and texts, whatever the labels."""
    pairs = pairs_of(rows)
    found = dependence(link([pairs]).columns[0]).tolist()
    graph = nx.Graph([(row, text) for row, texts in enumerate(texts_of(pairs)) for text in texts])
    groups = [sorted(node for node in nodes if isinstance(node, int)) for nodes in nx.connected_components(graph)]
    assert sorted(groups) == sorted([row for row, number in enumerate(found) if number == one] for one in set(found))


def grid(n=30):
    """A grid of positives, each with a text of its own, joined by negatives to its neighbours: one group."""
    rows = [(f"{i} {j}", f"{i} {j} again", 1) for i in range(n) for j in range(n)]
    rows += [(f"{i} {j}", f"{i + 1} {j}", 0) for i in range(n - 1) for j in range(n)]
    return pairs_of(rows + [(f"{i} {j}", f"{i} {j + 1}", 0) for i in range(n) for j in range(n - 1)])


def ring(n=1_000):
    """Positives in a ring of negatives."""
    return pairs_of([(f"{i}", f"{i} again", 1) for i in range(n)] + [(f"{i}", f"{(i + 1) % n}", 0) for i in range(n)])


def star(n=1_000):
    """One text in four rows of five, and rows without it."""
    return pairs_of([("hub", f"{i}", 0) for i in range(4 * n)] + [(f"x{i}", f"y{i}", 0) for i in range(n)])


@pytest.mark.parametrize(("pairs", "most"), [(grid(), 120), (ring(), 6), (star(), 0)], ids=["grid", "ring", "star"])
def test_a_giant_group_is_cut_where_few_rows_are_lost(pairs, most):
    """A random assignment of its components would lose several times as many; sizes are as asked."""
    component = oracle([pairs])
    sides = np.random.default_rng(0).choice(3, size=len(set(component.values())), p=SHARES)
    at_random = sum(len({sides[component[text]] for text in texts}) > 1 for texts in texts_of(pairs))
    parts = split(pairs)
    assert check(pairs, (parts.train, parts.calibration, parts.test), component) <= most < at_random / 4
    for share, part in zip(SHARES, (parts.train, parts.calibration, parts.test), strict=True):
        assert len(part) / len(pairs) == pytest.approx(share, abs=0.03)


def test_links_keep_texts_together():
    """Also over a text that no pair has, which is then no component of the pairs."""
    pairs = pairs_of([(f"{i}", f"{i} again", i % 2) for i in range(100)])
    chain = [("0", "hub"), *(("HUB", f" {i} Again") for i in range(60)), *((f"{i}", f"{i} again") for i in range(60))]
    parts = split(pairs, links=iter([*chain, ("far", "away")]))
    assert parts.report["largest_component"] == 120
    assert parts.report["components"] == 1 + 20 + 20 + 20
    check(pairs, (parts.train, parts.calibration, parts.test), oracle([pairs], chain))


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["sick", "mrpc", *(pytest.param(name, marks=pytest.mark.long) for name in ("qqp_pairs", "twitter_url"))]
)
def test_real_pairs_are_split_without_leaks(shared, name):
    """Oracle: networkx. Three parts and five folds of each set; fewer than 3 % of the rows are dropped."""
    pairs = read_pairs(shared / f"{name}.parquet")
    parts = split(pairs, seed=1)
    lowest = parts.report["link_score"]
    component = oracle([pairs], lowest=lowest)
    three = (parts.train, parts.calibration, parts.test)
    assert check(pairs, three, component) < 0.03 * len(pairs)
    for share, part in zip(SHARES, three, strict=True):
        assert len(part) / len(pairs) == pytest.approx(share, abs=0.02)
        assert np.mean(positives_of(part, lowest)) == pytest.approx(np.mean(positives_of(pairs, lowest)), abs=0.03)
    made = folds(pairs, 5, seed=1)
    assert check(pairs, [test for _, test in made], component) < 0.03 * len(pairs)
    assert not components_of(made[0][0], component) & components_of(made[0][1], component)
