"""Batches: deterministic, every row in its turn, no input twice where the batch's others are negatives, shares kept."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsiam.training.batches import Batches, Collator
from textsiam.training.losses import (
    Contrastive,
    CosineRegression,
    Distillation,
    Logistic,
    MultipleNegativesRanking,
    Triplet,
)
from textsiam.training.training_tasks import Task
from textsiam.training.validation import judged_rows


def task(n=20, loss=None, name="a", columns=None, **extra):
    columns = np.arange(2 * n).reshape(n, 2) if columns is None else np.asarray(columns)
    return Task(
        name, [f"text {k}" for k in range(int(columns.max()) + 1)], columns, loss or MultipleNegativesRanking(), **extra
    )


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40),
    st.integers(1, 8),
    st.integers(0, 3),
)
def test_no_input_stands_in_two_rows_of_a_ranking_batch(pairs, size, seed):
    """Whatever repeats in the data; batches come as many as promised, none larger than asked, none empty."""
    plan = Batches([task(columns=pairs)], size, seed)
    made = list(plan)
    assert len(made) == len(plan) >= 1
    for keys in made:
        assert 1 <= len(keys) <= size
        inputs = [set(pairs[row]) for _, row in keys]
        assert len(set.union(*inputs)) == sum(map(len, inputs))


def test_a_text_in_many_rows_does_not_starve_them():
    """One row of it a batch, in every batch; no row comes twice while others are left that may stand beside it."""
    columns = [[0, k + 1] for k in range(200)] + [[300 + 2 * k, 301 + 2 * k] for k in range(600)]
    made = list(Batches([task(columns=columns)], 8))
    hubs = [sum(row < 200 for _, row in keys) for keys in made]
    assert max(hubs) == 1
    assert sum(hubs) > 80  # of 100 batches
    rows = [row for keys in made[:80] for _, row in keys]
    assert len(rows) == len(set(rows))


def test_every_row_comes_once_an_epoch():
    """In another order each time, those that would not fill a last batch included."""
    plan = Batches([task(23, Contrastive(), labels=np.arange(23) % 2)], 5)
    seen = []
    for epoch in range(12):
        plan.set_epoch(epoch)
        seen.append(tuple(row for keys in plan for _, row in keys))
        assert sorted(seen[-1]) == list(range(23))
    assert len(set(seen)) == 12


def test_the_seed_and_the_epoch_decide():
    """Same seed and epoch, same batches, whatever was asked before; another seed or epoch, others."""
    first, second = (Batches([task(50), task(30, name="b")], 8, seed=3) for _ in range(2))
    epoch_0 = list(first)
    first.set_epoch(1)
    assert list(first) != epoch_0
    first.set_epoch(0)
    assert list(first) == epoch_0 == list(second)
    assert list(Batches([task(50), task(30, name="b")], 8, seed=4)) != epoch_0


def test_tasks_take_turns_by_their_shares():
    """Without shares by size; with shares as stated, the rest by size; a batch holds one task's rows."""
    sizes = [task(400), task(100, name="b")]
    counted = Counter(keys[0][0] for keys in Batches(sizes, 10))
    assert counted == {0: 40, 1: 10}
    plan = list(Batches([task(400), task(100, name="b", share=0.5), task(100, name="c")], 10))
    counted = Counter(keys[0][0] for keys in plan)
    assert counted == {0: 24, 1: 30, 2: 6}
    assert all(len({number for number, _ in keys}) == 1 for keys in plan)
    rows = Counter(row for keys in plan for number, row in keys if number == 1)
    assert set(rows.values()) == {3}  # 30 batches of 10 from 100 rows: three times around


def test_bad_shares_and_sizes_are_refused():
    """With what to do."""
    with pytest.raises(ValueError, match="at least one row, but got 0"):
        Batches([task()], 0)
    with pytest.raises(ValueError, match=r"sum to 1.20"):
        Batches([task(share=0.6), task(name="b", share=0.6)], 4)
    with pytest.raises(ValueError, match="share of a is a number above 0"):
        task(share=0.0)
    with pytest.raises(ValueError, match="a has no row"):
        Task("a", [], np.zeros((0, 2), dtype=np.int64), MultipleNegativesRanking())


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: task(loss=Contrastive()),
            "learns from labels, but a holds positives without labels. Use multiple_neg",
        ),
        (lambda: task(loss=Triplet()), "learns from triplets, but a holds positives"),
        (
            lambda: task(loss=MultipleNegativesRanking(), scores=np.linspace(0, 1, 20)),
            "holds graded pairs. Use cosent or",
        ),
        (
            lambda: task(columns=np.arange(60).reshape(20, 3), loss=Logistic()),
            "holds triplets. Use multiple_negatives_rank",
        ),
        (
            lambda: task(loss=Contrastive(), labels=np.ones(20, dtype=int)),
            "every label of a is 1. Use multiple_negatives",
        ),
        (lambda: task(loss=Logistic(), labels=np.zeros(20, dtype=int)), "every label of a is 0. Add positives"),
        (lambda: task(labels=np.zeros(20, dtype=int)), "learns from positives, but every label of a is 0"),
        (lambda: task(loss=CosineRegression(), scores=np.full(20, 3.0)), "Every score of a is the same"),
        (lambda: task(loss=Distillation()), "needs a teacher"),
    ],
)
def test_a_loss_that_cannot_use_the_data_says_so(made, message):
    """Before the run, with a loss that can."""
    with pytest.raises(ValueError, match=message):
        made().check()


def test_two_processes_prepare_the_two_halves_of_a_batch():
    """Their rows in order are the whole batch's; labels, scores and components are the whole batch's everywhere."""
    whole = task(10, CosineRegression(), scores=np.arange(10.0) + 5, components=np.arange(20).reshape(10, 2))
    keys = [(0, row) for row in (3, 1, 4, 9, 2)]
    parts = [Collator([whole], list, rank, 2)(keys) for rank in range(2)]
    texts = [[[part["inputs"][place] for place in row] for row in part["places"].tolist()] for part in parts]
    assert texts[0] + texts[1] == [[f"text {2 * row}", f"text {2 * row + 1}"] for _, row in keys]
    for part in parts:
        assert part["rows"].tolist() == [3, 1, 4, 9, 2]
        assert part["scores"].tolist() == pytest.approx([3 / 9, 1 / 9, 4 / 9, 1, 2 / 9])  # scaled over the data set
        assert part["components"].tolist() == [[2 * row, 2 * row + 1] for _, row in keys]


def test_a_process_without_rows_embeds_one_all_the_same():
    """A batch smaller than the number of processes."""
    part = Collator([task(3)], list, 1, 2)([(0, 2)])
    assert part["places"].shape == (0, 2)
    assert len(part["inputs"]) == 2


def test_each_input_of_a_batch_is_prepared_once():
    """A text that stands in several rows is embedded once."""
    columns = [[0, 1], [0, 2], [0, 3]]
    part = Collator([task(columns=columns, loss=Contrastive(), labels=np.array([1, 0, 1]))], list)(
        [(0, k) for k in range(3)]
    )
    assert len(part["inputs"]) == 4


def test_rows_of_a_task_taken_hold_their_own_inputs_alone():
    """Labels, components, row numbers and what was taught go with their rows; inputs that no row reads are left out."""
    task = Task(
        "some", ["a", "b", "c", "d"], np.array([[0, 1], [2, 3], [3, 0]]), Contrastive(), labels=np.array([1, 0, 1]),
        components=np.array([[0, 0], [2, 3], [3, 0]]), rows=[4, 5, 6], taught=np.eye(4, dtype=np.float32),
    )  # fmt: skip
    some = task.take(np.array([2, 1]))
    assert some.inputs == ["a", "c", "d"]
    assert [[some.inputs[place] for place in row] for row in some.columns] == [["d", "a"], ["c", "d"]]
    assert (some.labels.tolist(), some.rows, some.components.tolist()) == ([1, 0], [6, 5], [[3, 0], [2, 3]])
    assert some.taught.tolist() == np.eye(4)[[0, 2, 3]].tolist()


def test_of_held_out_positives_only_the_rows_that_are_ranked_are_embedded():
    """The first 1,000 judge; texts of the others need no vector. Other kinds are judged whole."""
    n = 1_500
    inputs = [str(place) for place in range(2 * n)]
    columns = np.arange(2 * n).reshape(n, 2)
    positives = judged_rows(Task("positives", inputs, columns, MultipleNegativesRanking()))
    assert (len(positives.columns), len(positives.inputs)) == (1_000, 2_000)
    labelled = Task("labelled", inputs, columns, Contrastive(), labels=np.arange(n) % 2)
    assert judged_rows(labelled) is labelled


@pytest.mark.parametrize(("n", "size"), [(127, 64), (65, 64), (64, 64), (3, 64), (100, 7)])
def test_no_row_is_left_over(n, size):
    """All rows come once an epoch, in as few batches as their size allows, alike in size."""
    task = Task(
        "t", [str(k) for k in range(2 * n)], np.arange(2 * n).reshape(n, 2), Contrastive(), labels=np.arange(n) % 2
    )
    batches = Batches([task], size)
    made = [[row for _, row in batch] for batch in batches]
    assert sorted(row for batch in made for row in batch) == list(range(n))
    assert len(made) == len(batches) == -(-n // size)
    assert max(map(len, made)) - min(map(len, made)) <= 1


def test_texts_that_repeat_make_more_batches_not_fewer_rows():
    """Ten anchors in ten rows each: no anchor twice in a batch, and all 100 rows in an epoch."""
    columns = np.array([[anchor, 10 + 10 * anchor + k] for anchor in range(10) for k in range(10)])
    batches = Batches([Task("t", [str(k) for k in range(110)], columns, MultipleNegativesRanking())], 64)
    rows = [row for batch in batches for _, row in batch]
    assert len(rows) == len(set(rows))
    assert len(rows) >= 95  # a row alone has nothing to be ranked against
