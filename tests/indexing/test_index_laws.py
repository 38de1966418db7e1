"""The index against a brute-force model of it: whatever is done in whatever order, it answers as one batch would."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from textsiam import Index, Siamese, cluster, threshold_join, top_k_join
from textsiam.encoding.encoder import Encoder

DIM, THRESHOLD = 32, 0.85
# Four directions and rows about them, of which half match: chains, stars, promotions; and some rows that are equal.
_random = np.random.default_rng(0)
POOL = np.tile(_random.normal(size=(4, DIM)), (10, 1)) + 0.42 * _random.normal(size=(40, DIM))
POOL[36:] = POOL[:4]
POOL = POOL.astype(np.float32)


class Machine(RuleBasedStateMachine):
    """Adds, updates, removals, compactions, re-openings; after each the index equals the model."""

    model: Siamese

    @initialize(stored_as=st.sampled_from(["float32", "float16"]))
    def begin(self, stored_as):
        self.folder = tempfile.TemporaryDirectory()
        self.index = Index.create(
            Path(self.folder.name) / "index", self.model, threshold=THRESHOLD, stored_as=stored_as
        )
        self.kept: dict[str, int] = {}  # id → place in POOL, in order of arrival
        self.dtype = np.float16 if stored_as == "float16" else np.float32
        self.n_ids = 0
        self.only_added = True
        self.keepers: dict[str, int] = {}

    def vectors(self, places):
        return POOL[list(places)].astype(self.dtype).astype(np.float32)

    @rule(places=st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=6))
    def add(self, places):
        ids = [f"t{self.n_ids + number}" for number in range(len(places))]
        self.n_ids += len(places)
        before = list(self.kept)
        found = self.index.add(ids, [f"text {place}" for place in places], embeddings=POOL[places])
        self.kept.update(zip(ids, places, strict=True))
        names = [*before, *ids]
        joined = threshold_join(self.vectors(self.kept.values()), threshold=THRESHOLD)
        expected = {(names[b], names[a], score) for a, b, score in joined if b >= len(before)}
        assert set(zip(*found.id_columns(), found.score.tolist(), strict=True)) == expected
        assert len(found) == len(expected)

    @rule(data=st.data())
    @precondition(lambda self: self.kept)
    def remove(self, data):
        ids = data.draw(st.lists(st.sampled_from(list(self.kept)), unique=True, max_size=4))
        assert self.index.remove([*ids, "nobody"]) == len(ids)
        self.only_added &= not ids
        for name in ids:
            del self.kept[name]

    @rule(data=st.data(), place=st.integers(0, len(POOL) - 1))
    @precondition(lambda self: self.kept)
    def add_again(self, data, place):
        """An id that is there stays as it is, whatever text it comes with."""
        name = data.draw(st.sampled_from(list(self.kept)))
        found = self.index.add([name], [f"text {place}"], embeddings=POOL[place : place + 1])
        assert not len(found)
        assert len(found.set_aside) == (place != self.kept[name])

    @rule()
    def compact(self):
        self.index.compact()

    @rule()
    def reopen(self):
        self.index.close()
        self.index = Index.open(Path(self.folder.name) / "index", self.model)

    @invariant()
    def same_answers(self):
        if not hasattr(self, "index"):
            return
        assert len(self.index) == len(self.kept)
        found = self.index.search(embeddings=POOL[::3])
        rows, names = self.vectors(self.kept.values()), list(self.kept)
        expected = threshold_join(self.vectors(range(0, len(POOL), 3)), rows, threshold=THRESHOLD)
        right = [names[row] for row in expected.right.tolist()]
        assert found.left.tolist() == expected.left.tolist()
        assert found.id_columns()[1] == right
        assert found.score.tolist() == expected.score.tolist()

    @invariant()
    def closest(self):
        if not hasattr(self, "index") or not self.kept:
            return
        found = self.index.search(embeddings=POOL[:4], k=3)
        names = list(self.kept)
        expected = top_k_join(self.vectors(range(4)), self.vectors(self.kept.values()), k=3)
        assert found.id_columns()[1] == [names[row] for row in expected.right.tolist()]
        assert found.score.tolist() == expected.score.tolist()

    @invariant()
    def clusters_hold_their_promises(self):
        if not hasattr(self, "index"):
            return
        told = self.index.clusters()
        names = list(self.kept)
        assert list(told.ids) == names
        rows = self.vectors(self.kept.values())
        joined = threshold_join(rows, threshold=THRESHOLD)
        scores = {(a, b): s for a, b, s in joined} | {(b, a): s for a, b, s in joined}
        keepers = {row for row, keeper in enumerate(told.keeper.tolist()) if row == keeper}
        assert not [pair for pair in scores if set(pair) <= keepers]
        for row, keeper in enumerate(told.keeper.tolist()):
            assert told.cluster[row] == told.cluster[keeper]
            if row in keepers:
                assert np.isnan(told.score_to_keeper[row])
            else:
                assert told.score_to_keeper[row] == scores[row, keeper]
                assert scores[row, keeper] == max(scores.get((row, other), -1) for other in keepers)
        if self.only_added:
            assert told.keeper.tolist() == cluster(joined).keeper.tolist()
        now = {names[row]: int(told.cluster[row]) for row in keepers}
        ended = {merge.cluster for merge in self.index.merges()}
        for name, number in self.keepers.items():
            if name in now:  # a keeper that stays keeps its cluster's number
                assert now[name] == number
            assert number not in ended or number not in now.values()
        self.keepers = now

    def teardown(self):
        if hasattr(self, "index"):
            self.index.close()
            self.folder.cleanup()


@pytest.fixture
def machine(tiny_transformer):
    return type("Made", (Machine,), {"model": Siamese(Encoder.load(tiny_transformer("bert"), dtype="float32"))})


@pytest.mark.parametrize("n_examples", [6, pytest.param(25, marks=pytest.mark.long)])
def test_an_index_answers_as_one_batch(machine, n_examples):
    """Adds, removals, compactions and re-openings in any order find what one batch over the same vectors finds."""
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=n_examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
