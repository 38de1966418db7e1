"""The approximate structure against brute force: its recall is what it says, and nothing that it finds is cut off."""

import subprocess
import sys

import numpy as np
import pytest

from textsiam.errors import MissingExtra
from textsiam.indexing.search import approximate
from textsiam.indexing.search.approximate import Approximate

THRESHOLD = 0.8


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(seed, n=6_000, dim=48, centres=300):
    """Rows around the same centres, whatever the seed; near repeats among them; of all lengths."""
    middles, rng = np.random.default_rng(99).normal(size=(centres, dim)), np.random.default_rng(seed)
    rows = middles[rng.integers(0, centres, n)] + 0.7 * rng.normal(size=(n, dim))
    rows[n // 2 :: 7] = rows[: len(rows[n // 2 :: 7])] + 0.3 * rng.normal(size=rows[n // 2 :: 7].shape)
    return (rows * rng.uniform(0.1, 10, (n, 1))).astype(np.float32)


def brute_force(queries, rows, threshold=THRESHOLD):
    i, j = np.nonzero(unit(queries).astype(np.float64) @ unit(rows).T.astype(np.float64) >= threshold)
    return set(zip(i.tolist(), j.tolist(), strict=True))


def found(near, queries, threshold=THRESHOLD):
    return set(zip(*(numbers.tolist() for numbers in near.candidates(queries, threshold)), strict=True))


def edges(rows, seed):
    """Rows turned towards others until their cosine with themselves is a little over the threshold."""
    rows, rng = unit(rows), np.random.default_rng(seed)
    others = np.roll(rows, rng.integers(1, len(rows)), axis=0)
    across = unit(others - (others * rows).sum(1, keepdims=True) * rows)
    cosine = THRESHOLD + 1e-6
    return cosine * rows + (1 - cosine**2) ** 0.5 * across


@pytest.fixture(scope="module")
def rows():
    return clustered(0)


@pytest.fixture(scope="module")
def near(rows):
    return Approximate.build(rows, THRESHOLD)


@pytest.fixture
def saved(near, tmp_path):
    near.save(tmp_path / "near")
    return tmp_path / "near"


def test_recall_is_reached_on_other_queries(near, rows):
    """Of brute force's pairs of new texts with rows, and of rows at the threshold's edge, 99% are found, as it says."""
    assert near.recall >= 0.99
    queries = clustered(1, n=2_000)
    expected = brute_force(queries, rows)
    assert len(expected) > 900
    assert len(expected & found(near, queries)) >= 0.99 * len(expected)
    drawn = np.random.default_rng(2).choice(len(rows), 2_000, replace=False)
    turned = found(near, edges(rows[drawn], 3))
    assert np.mean([(i, row) in turned for i, row in enumerate(drawn.tolist())]) >= 0.985  # two deviations below .99


def test_few_cells_are_visited(near):
    """What makes it fast; and all cells hold all rows."""
    assert near._index.nprobe <= 0.25 * near._index.nlist
    assert sum(near._index.invlists.list_size(cell) for cell in range(near._index.nlist)) == near.n == 6_000


def test_only_cells_lose_rows(rows):
    """With all cells visited nothing escapes, whatever the threshold: rounding is within the slack, which is small."""
    near = Approximate.build(rows, THRESHOLD)
    near._index.nprobe = near._index.nlist
    for threshold in (0.8, 0.9, 0.97):
        expected, candidates = brute_force(rows[:500], rows, threshold), found(near, rows[:500], threshold)
        assert expected <= candidates <= brute_force(rows[:500], rows, threshold - 2 * near._slack)
    assert near._slack < 0.025


def test_equal_rows_are_found_at_a_threshold_of_one(near, rows):
    """Rounding may not lose a row's own repeat."""
    numbers = np.arange(0, len(rows), 10)
    candidates = found(near, 3 * rows[numbers], 1.0)
    assert all((i, row) in candidates for i, row in enumerate(numbers.tolist()))


def test_a_dense_cluster_is_not_cut_off():
    """Thousands of rows above the threshold all come, sorted, each once."""
    rng = np.random.default_rng(4)
    crowd = rng.normal(size=(1, 32)) + 0.05 * rng.normal(size=(3_000, 32))
    rows = np.concatenate([crowd, rng.normal(size=(17_000, 32))]).astype(np.float32)
    i, j = Approximate.build(rows, THRESHOLD).candidates(rows[:3], THRESHOLD)
    assert i.dtype == j.dtype == np.int64
    assert (np.diff(i * len(rows) + j) > 0).all()
    for query in range(3):
        assert (j[i == query] < 3_000).sum() >= 0.99 * 3_000


def test_batches_change_nothing(near, rows):
    """One query at a time finds what all together do."""
    together = found(near, rows[:100])
    apart = {(i, j) for i in range(100) for _, j in found(near, rows[i : i + 1])}
    assert apart == together


def test_nothing_asked_nothing_found(near, rows):
    """No queries give two empty answers."""
    i, j = near.candidates(rows[:0], 0.9)
    assert (len(i), len(j), i.dtype, j.dtype) == (0, 0, np.int64, np.int64)


def test_one_seed_one_answer(near, rows):
    """Built again, all is equal, to the rank of every query's cell; another seed places other cells."""
    again = Approximate.build(rows, THRESHOLD)
    assert again.recall == near.recall
    assert (again._known.ranks == near._known.ranks).all()
    assert (Approximate.build(rows, THRESHOLD, seed=1)._known.ranks != near._known.ranks).any()
    assert found(again, rows[:300]) == found(near, rows[:300])


def test_a_memory_map_is_as_good_as_an_array(near, rows, tmp_path):
    """Built from a file, the same is found."""
    np.save(tmp_path / "rows.npy", rows)
    mapped = Approximate.build(np.load(tmp_path / "rows.npy", mmap_mode="r"), THRESHOLD)
    assert found(mapped, rows[:300]) == found(near, rows[:300])


def test_saved_and_loaded_it_is_the_same(near, saved, rows):
    """The same candidates, recall and threshold, the rows mapped."""
    loaded = Approximate.load(saved)
    assert (loaded.n, loaded.recall, loaded.threshold) == (near.n, near.recall, THRESHOLD)
    assert found(loaded, rows[:300]) == found(near, rows[:300])
    assert loaded._index.nprobe == near._index.nprobe


def test_a_cut_file_is_refused(saved):
    """Wherever it ends."""
    whole = saved.read_bytes()
    for end in [0, 1, 30, 1_000, len(whole) // 2, len(whole) - 1_000, len(whole) - 32, len(whole) - 1]:
        saved.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="cut short or damaged. Build it again"):
            Approximate.load(saved)


def test_an_altered_file_is_refused(saved):
    """In faiss's head, which counts what it reads; in the footer; with bytes missing between."""
    whole = saved.read_bytes()
    for place in [0, 5, 20, 300, 2_000, len(whole) - 25, len(whole) - 5_000]:
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            Approximate.load(saved)
    saved.write_bytes(whole[:200_000] + whole[200_001:])
    with pytest.raises(ValueError, match="damaged"):
        Approximate.load(saved)


def test_another_kind_of_file_is_refused(tmp_path):
    """An array, a text, none at all."""
    np.save(tmp_path / "array.npy", np.zeros(1_000))
    (tmp_path / "text").write_text("how do I pay?\n" * 100)
    for name in ("array.npy", "text"):
        with pytest.raises(ValueError, match="not an approximate index"):
            Approximate.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        Approximate.load(tmp_path / "none")


def test_an_interrupted_save_leaves_the_old_file(near, saved, monkeypatch):
    """Written beside and renamed."""
    before = saved.read_bytes()
    monkeypatch.setattr(np, "savez", lambda *_, **__: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        near.save(saved)
    assert saved.read_bytes() == before
    assert [*saved.parent.iterdir()] == [saved]


def test_odd_rows_do_not_coarsen_the_rest():
    """Rows far from a narrow cone of all others take no more of the slack: rows are turned, one unit does for all."""
    cone = (1 + 0.1 * np.random.default_rng(10).normal(size=(3_000, 48))).astype(np.float32)
    before = Approximate.build(cone, 0.999)._slack
    near = Approximate.build(np.concatenate([cone, np.eye(48, dtype=np.float32)]), 0.999)
    assert near._slack < 1.3 * before
    assert {(i, 3_000 + i) for i in range(48)} <= found(near, np.eye(48, dtype=np.float32), 1.0)


def test_the_slack_is_that_of_the_worst_row(near, rows, monkeypatch):
    """In whatever block it came."""
    monkeypatch.setattr(approximate, "_BLOCK", 100)
    again = Approximate.build(rows, THRESHOLD)
    assert again._known.lost == near._known.lost


def test_an_unreachable_recall_is_said():
    """Where a quarter of the cells holds too few of the rows: best reached, and what to do."""
    rows = np.random.default_rng(8).normal(size=(3_000, 64)).astype(np.float32)
    with pytest.raises(ValueError, match=r"of the rows at 0.3: \d+\.\d% are in a quarter of the cells. Search exactly"):
        Approximate.build(rows, 0.3)


def test_below_its_threshold_it_does_not_answer(near, rows):
    """Recall was not measured there."""
    with pytest.raises(ValueError, match="measured at 0.8, but the threshold is 0.79"):
        near.candidates(rows[:1], 0.79)
    with pytest.raises(ValueError, match="measured at 0.8, but the threshold is nan"):
        near.candidates(rows[:1], float("nan"))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (dict(threshold=0.0), "a cosine above 0"),
        (dict(threshold=float("nan")), "a cosine above 0"),
        (dict(recall=1.5), "recall must be"),
        (dict(rows=np.zeros((0, 8), dtype=np.float32)), "a row to begin with"),
        (dict(rows=np.array([[1.0, 2], [np.nan, 1]])), "rows \\[1\\] are not"),
        (dict(rows=np.array([[1e300, 2]])), "rows \\[0\\] are not"),
    ],
)
def test_bad_arguments_are_refused(given, wrong):
    """Before the slow work."""
    with pytest.raises(ValueError, match=wrong):
        Approximate.build(**(dict(rows=np.ones((9, 8), dtype=np.float32), threshold=0.8) | given))


def test_bad_queries_are_refused(near, rows):
    """Of another dimension, or not finite."""
    bad = rows[:5].copy()
    bad[3, 3] = np.inf
    with pytest.raises(ValueError, match="48 dimensions, but these have 47"):
        near.candidates(rows[:5, 1:], 0.9)
    with pytest.raises(ValueError, match="rows \\[3\\] are not"):
        near.candidates(bad, 0.9)


@pytest.mark.parametrize("n", [1, 2, 30, 150])
def test_few_rows_equal_rows_and_zeros(n):
    """Small or degenerate sets are looked up too, or refused in words."""
    for rows in (clustered(9, n=max(n, 2))[:n], np.ones((n, 48), dtype=np.float32)):
        near = Approximate.build(rows, 0.9)
        assert {(i, i) for i in range(n)} <= found(near, rows, 0.9)
    with pytest.raises(ValueError, match="No fast way"):
        Approximate.build(np.zeros((n, 48), dtype=np.float32), 0.9)


def test_halves_and_doubles_are_rows_as_well(rows):
    """Vectors of fp16 and fp64 find the same, but for their own rounding."""
    for dtype in (np.float16, np.float64):
        near = Approximate.build(rows.astype(dtype), THRESHOLD)
        assert {(i, i) for i in range(200)} <= found(near, rows[:200].astype(dtype), 0.99)


def test_threads_may_ask_at_once(near, rows, in_threads):
    """Answers do not mix."""
    expected, wrong = [found(near, rows[i : i + 1]) for i in range(200)], []

    def ask(start):
        wrong.extend(i for i in range(start, 200, 4) if found(near, rows[i : i + 1]) != expected[i])

    in_threads(ask, 4)
    assert not wrong


def test_without_faiss_the_install_line_is_told(saved, rows, monkeypatch):
    """At first use, before any work."""
    monkeypatch.setitem(sys.modules, "faiss", None)
    for call in (lambda: Approximate.build(rows, 0.8), lambda: Approximate.load(saved)):
        with pytest.raises(MissingExtra, match="pip install 'textsiam\\[index\\]'"):
            call()


def test_importing_it_loads_neither_faiss_nor_torch():
    """Both come at first use, or never."""
    code = "import sys, textsiam.indexing.search.approximate; print({'faiss', 'torch'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
