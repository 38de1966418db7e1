"""What a split gives: sizes, proportions, the same parts for a seed, the score that links, and what it tells."""

import json

import numpy as np
import pytest

from textsiam import Pairs, Triplets, folds, split
from textsiam.data.linking import link
from textsiam.data.splitting import SHARES, carve
from textsiam.data.texts import normalise


def pairs_of(rows):
    first, second, labels = map(list, zip(*rows, strict=True))
    return Pairs(first, second, labels=labels)


@pytest.fixture(scope="module")
def synthetic():
    """10,000 pairs of texts in runs: positives within threes, negatives among near ones; 30 % positives."""
    rng, n = np.random.default_rng(0), 10_000
    first = rng.integers(0, n, n)
    labels = (rng.random(n) < 0.3).astype(int)
    near = np.where(labels == 1, first // 3 * 3 + rng.integers(0, 3, n), first + rng.integers(3, 30, n))
    return Pairs([f"text {k}" for k in first], [f"Text  {k}" for k in near], labels=labels)


def test_the_same_seed_gives_the_same_parts(synthetic):
    """And another seed others; in folds too."""
    rows = [list(split(synthetic, seed=seed).test.rows) for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]
    again = [[list(test.rows) for _, test in folds(synthetic, 3, seed=seed)] for seed in (0, 0, 1)]
    assert again[0] == again[1] != again[2]


@pytest.mark.parametrize(
    "shares", [SHARES, (0.6, 0.2, 0.2), (0.2, 0.3, 0.5), (0.9, 0.0, 0.1), (1 / 3, 1 / 3, 0.33333333)]
)
def test_parts_have_the_asked_sizes_and_labels_in_equal_proportion(synthetic, shares):
    """Sizes within 2 points of the shares, positives within 3 points of the whole's share; few rows are dropped."""
    parts = split(synthetic, shares=shares, seed=3)
    assert parts.report["dropped"] < 0.03 * len(synthetic)
    for share, part in zip(shares, (parts.train, parts.calibration, parts.test), strict=True):
        assert len(part) / len(synthetic) == pytest.approx(share, abs=0.02)
        assert not share or part.labels.mean() == pytest.approx(synthetic.labels.mean(), abs=0.03)


def test_graded_pairs_link_from_80_percent_of_the_range_or_a_stated_score():
    """4.0 of 0 to 5; a stated score instead where there is one; labels decide where there are both."""
    scores = [0, 5, 4.0, 3.9, 4.5, 1, 2]
    first, second = list("acegikm"), list("bdfhjln")
    for stated, lowest in ((None, 4.0), (3.9, 3.9), (9.0, 9.0), (-1.0, -1.0)):
        pairs = Pairs(first, second, scores=scores)
        graph = link([pairs], link_score=stated)
        assert graph.link_score == split(pairs, link_score=stated).report["link_score"] == lowest
        assert [a == b for a, b in graph.columns[0]] == [score >= lowest for score in scores]
    both = Pairs(first, second, labels=[1, 0, 0, 0, 0, 0, 0], scores=scores)
    assert [a == b for a, b in link([both]).columns[0]] == [True, *[False] * 6]
    assert split(both, link_score=4.0).report["link_score"] is None
    assert split(Pairs(first, second)).report["components"] == 7


def test_each_graded_table_has_a_scale_of_its_own():
    """Of 0 to 5 and of 0 to 1 together: 4 links, and so does 0.8; each table is stratified by its own."""
    n = 500
    scores = np.random.default_rng(0).integers(0, 11, n) / 10
    tables = [
        Pairs([f"{name} {k}" for k in range(n)], [f"{name} {k} again" for k in range(n)], scores=scores * top)
        for name, top in (("five", 5.0), ("one", 1.0))
    ]
    for table, columns, top in zip(tables, link(tables).columns, (5.0, 1.0), strict=True):
        np.testing.assert_array_equal(columns[:, 0] == columns[:, 1], table.scores >= 0.8 * top)
    for (rest, carved), top in zip(carve(tables, 0.2), (5.0, 1.0), strict=True):
        assert len(carved) == pytest.approx(100, abs=1)
        assert (carved.scores >= 0.8 * top).mean() == pytest.approx((rest.scores >= 0.8 * top).mean(), abs=0.02)


@pytest.mark.parametrize("shares", [SHARES, (0.1, 0.8, 0.1), (0.0, 0.5, 0.5)])
def test_a_giant_component_goes_to_one_side_as_a_whole(shares):
    """A chain of positives is never cut, however large: nothing is dropped, the others fill the other sides."""
    rows = [(f"{i}", f"{i + 1}", 1) for i in range(300)] + [(f"x{i}", f"y{i}", 0) for i in range(100)]
    parts = split(pairs_of(rows), shares=shares)
    sizes = [len(parts.train), len(parts.calibration), len(parts.test)]
    chains = [int(part.labels.sum()) for part in (parts.train, parts.calibration, parts.test)]
    assert (sorted(chains), sum(sizes)) == ([0, 0, 300], 400)
    assert np.argmax(chains) == np.argmax(shares)
    assert [size > 0 for size in sizes] == [share > 0 for share in shares]


def test_a_component_larger_than_a_small_side_goes_to_a_large_one():
    """A sixth of the rows, at the end of a chain of negatives: in train, whatever the seed; the tenths are tenths."""
    rows = [("big", f"b{i}", 1) for i in range(200)] + [(f"{i}", f"{i + 1}", 0) for i in range(1_000)]
    for seed in range(5):
        parts = split(pairs_of([*rows, ("b0", "0", 0)]), seed=seed)
        assert parts.train.labels.sum() == 200
        assert [len(parts.calibration), len(parts.test)] == pytest.approx([120, 120], abs=3)


def test_large_components_do_not_overflow_a_small_side():
    """Three of 30 % and ten of 1 %: the large ones go to train, and the tenths are not tripled."""
    rows = [(f"{i}", f"{i} to {j}", 1) for i in range(3) for j in range(300)]
    rows += [(f"x{i}", f"x{i} to {j}", 1) for i in range(10) for j in range(10)]
    parts = split(pairs_of(rows))
    assert [len(parts.train), len(parts.calibration), len(parts.test)] == [900, 50, 50]


@pytest.mark.parametrize("n", [3, 4, 7])
def test_no_part_is_empty_if_components_suffice(n):
    """Also where components are few and equal; with fewer than parts, some part is empty."""
    rows = [(f"{i}", f"{i} to {j}", 1) for i in range(n) for j in range(10)]
    assert all(told["rows"] for told in split(pairs_of(rows)).report["parts"].values())
    assert all(len(train) and len(test) for train, test in folds(pairs_of(rows), n))
    two = split(pairs_of(rows[:20])).report["parts"].values()
    assert sorted(told["rows"] for told in two) == [0, 10, 10]
    assert sorted(len(test) for _, test in folds(pairs_of(rows[:20]), 4)) == [0, 0, 10, 10]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"shares": (0.5, 0.5)}, r"Shares are 3 numbers from 0 to 1 that sum to 1, but got \(0.5, 0.5\). Correct them"),
        ({"shares": (0.8, 0.3, -0.1)}, "Shares are 3 numbers"),
        ({"shares": (0.8, 0.1, 0.2)}, "Shares are 3 numbers"),
        ({"shares": (0.8, 0.2, float("nan"))}, "Shares are 3 numbers"),
        ({"links": iter([("a", "b", "c")])}, r"A link is two texts that belong together, but got \('a', 'b', 'c'\)"),
        ({"links": iter(["ab"])}, "A link is two texts that belong together, but got 'ab'. Give pairs"),
    ],
)
def test_what_cannot_be_split_is_refused(how, message):
    """Shares that are none, links that are none; too few folds; carving by half as much again."""
    pairs = pairs_of([("a", "b", 1)])
    with pytest.raises(ValueError, match=message):
        split(pairs, **how)
    for k in (1, 0, -3):
        with pytest.raises(ValueError, match=f"at least 2 folds, but got {k}. Give 2 or more"):
            folds(pairs, k)
    with pytest.raises(ValueError, match=r"2 numbers from 0 to 1 that sum to 1, but got \(-0.5, 1.5\)"):
        carve([pairs], 1.5)


def components_by_hand(pairs):
    """Each text's component, grown until nothing changes: slow, and plainly right."""
    texts = [[normalise(a), normalise(b)] for a, b in zip(pairs.first, pairs.second, strict=True)]
    name = {text: text for row in texts for text in row}
    changed = True
    while changed:
        changed = False
        for (a, b), label in zip(texts, pairs.labels, strict=True):
            if label and name[a] != name[b]:
                name[a] = name[b] = min(name[a], name[b])
                changed = True
    return texts, name


@pytest.mark.parametrize("seed", range(3))
def test_the_leak_report_equals_a_count_by_hand(seed):
    """Of the same random split, row by row: a test row leaks if train holds one of its texts, or of their components."""
    rng = np.random.default_rng(seed)
    pairs = pairs_of([(f"q{a}", f" Q{b} ", int(y)) for a, b, y in rng.integers(0, (150, 150, 2), (120, 3))])
    told = split(pairs, seed=seed, shares=(0.6, 0.1, 0.3)).report["random_split_leaks"]
    texts, name = components_by_hand(pairs)
    sides = np.random.default_rng(seed).choice(3, size=len(pairs), p=(0.6, 0.1, 0.3))
    for key, of in (("shares_a_text", {text: text for text in name}), ("shares_a_component", name)):
        known = {of[text] for row, side in zip(texts, sides, strict=True) if side == 0 for text in row}
        leaked = [any(of[text] in known for text in row) for row, side in zip(texts, sides, strict=True) if side == 2]
        assert told[key] == pytest.approx(np.mean(leaked))
    assert 0 < told["shares_a_text"] <= told["shares_a_component"] < 1


def test_what_a_split_tells():
    """In one line for people, as plain values for programs; of nothing too."""
    rows = [("a", "b", 1), ("c", "d", 0), ("e", "f", 1), ("a", "c", 0)]
    parts = split(pairs_of(rows), shares=(0.0, 0.0, 1.0))
    assert str(parts) == (
        "train 0, calibration 0, test 4 (50% positive); 0 rows between two parts dropped; 4 components, the largest of 2 "
        "texts. A random split would have shared a text with train in 0% of its test rows, a chain of positives in 0%."
    )
    none = split(Pairs([], []))
    assert str(none).startswith("train 0, calibration 0, test 0; 0 rows between two parts dropped; 0 components")
    leak = json.loads(json.dumps(none.report))["random_split_leaks"]
    assert leak == {"shares_a_text": 0.0, "shares_a_component": 0.0}
    assert [(len(train), len(test)) for train, test in folds(Pairs([], []), 2)] == [(0, 0), (0, 0)]
    assert split(pairs_of(rows), shares=(1.0, 0.0, 0.0)).report["random_split_leaks"] == leak


def test_a_pair_that_came_often_still_links():
    """Also 256 times, where a count in one byte would be 0 again."""
    pairs = pairs_of([("a", "b", 1)] * 256 + [("b", "c", 1)] * 512 + [("c", "d", 0)] * 256)
    assert len(set(link([pairs]).component.tolist())) == 2
    assert split(pairs).report["dropped"] == 0


def test_rows_and_mapping_stay_with_triplets():
    """Row numbers of the source, not places; columns of negatives keep their order."""
    names, more = [f"a{k}" for k in range(20)], [[f"{letter}{k}" for k in range(20)] for letter in "nm"]
    triplets = Triplets(names, [f"p{k}" for k in range(20)], more, range(101, 121), mapping={"anchor": "query"})
    parts = split(triplets)
    assert sorted([*parts.train.rows, *parts.calibration.rows, *parts.test.rows]) == list(range(101, 121))
    assert [f"m{row - 101}" for row in parts.train.rows] == list(parts.train.negatives[1])
    assert parts.test.mapping == {"anchor": "query"}
