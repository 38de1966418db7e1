"""The road past one machine, in this process: whatever the sizes, the pairs and clusters are those of `find_duplicates`."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textsiam import Siamese, find_duplicates
from textsiam.data.readers import read_texts
from textsiam.data.texts import join_texts
from textsiam.distributing import blocks as blocks_module
from textsiam.distributing import match_clusters
from textsiam.distributing.approximate_join import Probing
from textsiam.distributing.blocks import Bounds, are_apart, bounds_of
from textsiam.distributing.encoders import Recipe, encode_shard
from textsiam.distributing.pipelines import find_duplicates_in_shards
from textsiam.distributing.runners import Here
from textsiam.distributing.shard_sources import Reading, Sizes, expanded, label_of
from textsiam.distributing.tasks import N_TRIES, Failure, attempt
from textsiam.distributing.workspace import Workspace
from textsiam.encoding.encoder import Encoder
from textsiam.errors import EncoderMismatch, TooManyMatches, UnreadableInput
from textsiam.matching.join.exact import threshold_join
from textsiam.matching.rule import Rule

WORDS = ["pay", "order", "refund", "password", "where", "how", "my", "reset", "the", "a"]


@pytest.fixture(scope="module")
def model(tiny_transformer):
    return Siamese(Encoder.load(tiny_transformer("bert"), backend="pytorch", device="cpu", dtype="float32"))


def written(folder, name, texts):
    path = folder / name
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "question"])
        rows.writerows((f"q{row}", text) for row, text in enumerate(texts))
    return str(path)


def found(model, sources, folder, sizes=(3, 4, 5), runner=None, **options):
    options = {"threshold": 0.9, "recipe": Recipe.of(model, device="cpu")} | options
    return find_duplicates_in_shards(
        model,
        sources,
        Workspace(folder),
        runner or Here(),
        reading=Reading(),
        sizes=Sizes(*sizes),
        **options,
    )


def columns(blocks):
    blocks = list(blocks)
    return {key: [value for block in blocks for value in block[key]] for key in blocks[0]}


def expected(model, sources, threshold=0.9):
    texts = join_texts({source: read_texts(source) for source in sources})
    return find_duplicates(model, texts, threshold=threshold)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), max_size=14),
        min_size=1,
        max_size=3,
    ).filter(any),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 12)),
    threshold=st.sampled_from([0.5, 0.9, 0.999, 1.0]),
)
def test_pairs_and_clusters_are_those_of_one_machine(model, tmp_path_factory, texts, sizes, threshold):
    """Oracle: `find_duplicates` and `Matches.clusters`, to the row, for repeats within and across shards and files."""
    folder = tmp_path_factory.mktemp("road")
    sources = [written(folder, f"{place}.csv", some) for place, some in enumerate(texts) if some]
    many = found(model, sources, folder / "work", sizes, threshold=threshold)
    one = expected(model, sources, threshold)
    pairs, clusters = columns(many.pair_blocks()), columns(many.cluster_blocks())
    assert (pairs["id_a"], pairs["id_b"]) == one.id_columns()
    np.testing.assert_allclose(pairs["score"], one.score, atol=2e-6)
    groups = one.clusters()
    assert clusters["id"] == groups.columns()["id"]
    assert clusters["keeper"] == groups.columns()["keeper"]
    assert clusters["cluster"] == groups.cluster.tolist()
    np.testing.assert_allclose(clusters["score_to_keeper"], groups.score_to_keeper, atol=2e-6)
    assert (many.n_clusters, many.n_dropped) == (len(groups), groups.n_dropped)
    best = one.top(5)
    assert sorted(zip(*many.top.top(5).id_columns(), strict=True)) == sorted(zip(*best.id_columns(), strict=True)) or (
        np.allclose(many.top.top(5).score, best.score, atol=2e-6)
    )
    assert len(many.texts) == len(one.left_texts)
    assert many.texts.n_distinct == len(set(one.left_texts))


def test_rows_that_cannot_be_used_are_set_aside_by_number(model, tmp_path):
    """As on one machine, and a source that cannot be read is told by its name, while the rest is finished."""
    good = written(tmp_path, "good.csv", ["pay", "", "order", "pay"])
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"\x50\x4b\x03\x04not a table")
    many = found(model, [good, str(bad)], tmp_path / "work")
    assert [(fault.row, fault.reason) for fault in many.texts.set_aside] == [(2, "empty")]
    assert [lost.what for lost in many.lost] == [str(bad)]
    assert (f"{good}:q0", f"{good}:q3") in list(zip(*list(columns(many.pair_blocks()).values())[:2], strict=True))


def test_nothing_usable_is_refused(model, tmp_path):
    with pytest.raises(UnreadableInput, match="no usable text"):
        found(model, [written(tmp_path, "a.csv", ["", ""])], tmp_path / "work")
    with pytest.raises(UnreadableInput, match="No file matches"):
        expanded([f"{tmp_path}/*.parquet"])


def test_what_is_there_is_not_computed_again(model, tmp_path):
    """A second run computes nothing; another threshold encodes nothing; a changed file is read anew, the other is not."""
    sources = [written(tmp_path, f"{name}.csv", WORDS[:7]) for name in "ab"]
    first = found(model, sources, tmp_path / "work")
    again = found(model, sources, tmp_path / "work")
    assert columns(again.pair_blocks()) == columns(first.pair_blocks())
    assert first.told["encode"]["computed"] == first.told["encode"]["tasks"] > 1
    assert again.told["encode"]["computed"] == again.told["join"]["computed"] == 0
    lower = found(model, sources, tmp_path / "work", threshold=0.8)
    assert lower.told["encode"]["computed"] == 0
    assert lower.told["join"]["computed"] > 0
    sources[1] = written(tmp_path, "b.csv", ["where", "how"])
    assert 0 < found(model, sources, tmp_path / "work").told["encode"]["computed"] < first.told["encode"]["tasks"]


class Breaking(Here):
    """Gives up after so many tasks, as a killed driver would; or cannot encode one shard."""

    def __init__(self, after=None, poisoned=None):
        self.after, self.poisoned, self.n = after, poisoned, 0

    def run(self, function, tasks, **options):
        for place, result in super().run(function, tasks, **options):
            self._count()
            shard = tasks[place][-1] if function is encode_shard else None
            failed = self.poisoned is not None and shard and shard.source.endswith(self.poisoned) and shard.start == 0
            yield place, Failure(ValueError("poisoned")) if failed else result

    def _count(self):
        self.n += 1
        if self.n == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", range(1, 30, 3))
def test_a_run_that_was_cut_off_goes_on(model, tmp_path, after):
    sources = [written(tmp_path, f"{name}.csv", WORDS) for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        found(model, sources, tmp_path / "work", runner=Breaking(after=after))
    many = found(model, sources, tmp_path / "work")
    one = expected(model, sources)
    pairs = columns(many.pair_blocks())
    assert (pairs["id_a"], pairs["id_b"]) == one.id_columns()
    assert columns(many.cluster_blocks())["keeper"] == one.clusters().columns()["keeper"]


def test_a_poisoned_shard_is_named_and_the_rest_finished(model, tmp_path):
    """Texts that repeat one of the lost shard are compared all the same, and its rows are in no cluster."""
    sources = [
        written(tmp_path, "a.csv", ["pay", "order", "refund", "how"]),
        written(tmp_path, "b.csv", ["pay", "pay"]),
    ]
    many = found(model, sources, tmp_path / "work", runner=Breaking(poisoned="a.csv"))
    assert [str(lost) for lost in many.lost] == [f"{sources[0]}, rows 1 to 3: poisoned"]
    assert (f"{sources[1]}:q0", f"{sources[1]}:q1") in zip(*list(columns(many.pair_blocks()).values())[:2], strict=True)
    clusters = columns(many.cluster_blocks())
    left = find_duplicates(model, ["how", "pay", "pay"], threshold=0.9).clusters()
    assert clusters["id"] == [f"{sources[0]}:q3", f"{sources[1]}:q0", f"{sources[1]}:q1"]
    assert clusters["cluster"] == left.cluster.tolist()
    assert clusters["keeper"] == [clusters["id"][row] for row in left.keeper.tolist()]


def test_another_model_on_a_worker_is_refused(model, tmp_path):
    recipe = replace(Recipe.of(model, device="cpu"), fingerprint="another")
    with pytest.raises(EncoderMismatch, match="same model on every machine"):
        found(model, [written(tmp_path, "a.csv", WORDS)], tmp_path / "work", recipe=recipe)


def test_too_many_pairs_are_refused(model, tmp_path):
    """Repeats before anything is encoded, the others while they are found; never a silent cut."""
    source = written(tmp_path, "a.csv", ["pay"] * 9)
    with pytest.raises(TooManyMatches):
        found(model, [source], tmp_path / "work", max_matches=35)
    assert not (tmp_path / "work" / "vectors").exists()
    source = written(tmp_path, "b.csv", WORDS)
    with pytest.raises(TooManyMatches, match="More than 3 pairs"):
        found(model, [source], tmp_path / "work", threshold=-1.0, max_matches=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    similarity=st.sampled_from(["cosine", "euclidean", "manhattan", "dot"]),
    spread=st.sampled_from([0.01, 0.1, 0.5]),
)
def test_blocks_that_are_told_apart_hold_no_pair(tmp_path_factory, seed, similarity, spread):
    """The triangle inequality never costs a pair: oracle, the exact join."""
    rng = np.random.default_rng(seed)
    work = Workspace(tmp_path_factory.mktemp("apart"))
    sides = []
    for name in "ab":
        rows = (rng.normal(size=6) + spread * rng.normal(size=(8, 6))).astype(np.float32)
        work.write(f"{name}.arrow", {"row": np.arange(8), "embedding": rows})
        sides.append((rows, bounds_of(work, blocks_module.Block(((f"{name}.arrow", 0),), 8), similarity)))
    scores = threshold_join(
        sides[0][0], sides[1][0], threshold=-1.0 if similarity == "cosine" else -1e6, similarity=similarity
    )
    highest = float(scores.score.max())
    for threshold in (highest - 0.05, highest, highest + 0.05):
        apart = are_apart(sides[0][1], sides[1][1], Rule(threshold, similarity))
        assert not (apart and threshold <= highest)


def test_far_blocks_are_told_apart():
    """Else pruning would never prune."""
    a, b = Bounds(np.array([1.0, 0.0]), 0.1), Bounds(np.array([0.0, 1.0]), 0.1)
    assert are_apart(a, b, Rule(0.9, "cosine"))
    assert not are_apart(a, b, Rule(0.1, "cosine"))
    assert are_apart(Bounds(np.zeros(2), 1.0), Bounds(np.array([9.0, 0.0]), 1.0), Rule(-6.0, "euclidean"))


def test_a_workspace_shows_nothing_half_written(tmp_path):
    work = Workspace(tmp_path)
    with pytest.raises(TypeError):
        work.write_json("a.json", object())
    assert "a.json" not in work
    assert list(tmp_path.iterdir()) == []
    work.write_json("a.json", ["é"])
    assert json.loads((tmp_path / "a.json").read_text()) == ["é"]
    assert Workspace(f"file://{tmp_path}").read_json("a.json") == ["é"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), min_size=1, max_size=30),
    n_cells=st.integers(1, 8),
    n_probes=st.integers(1, 8),
)
def test_approximate_pairs_are_true_and_their_recall_is_told(model, tmp_path_factory, texts, n_cells, n_probes):
    """Nothing that is no match; with a probe into every cell all matches; the recall told is the recall there is."""
    folder = tmp_path_factory.mktemp("cells")
    sources = [written(folder, "a.csv", texts)]
    probing = Probing(n_probes, n_cells, n_sample=len(texts))
    many = found(model, sources, folder / "work", (7, 16, 12), approximate=probing)
    one = expected(model, sources)
    pairs, all_pairs = (
        set(zip(*of, strict=True)) for of in (list(columns(many.pair_blocks()).values())[:2], one.id_columns())
    )
    assert pairs <= all_pairs
    if n_probes >= n_cells:
        assert pairs == all_pairs
    first = {text: f"q{texts.index(text)}" for text in texts}
    distinct = {pair for pair in all_pairs if set(pair) <= set(first.values())}
    assert many.recall.n_pairs == 2 * len(distinct)  # every text is in the sample: each pair is met from both sides
    assert many.recall.n_found == 2 * len(distinct & pairs)
    assert (many.recall.share is None) == (not distinct)


def test_a_file_more_joins_only_what_is_new(model, tmp_path):
    sources = [written(tmp_path, f"{name}.csv", [f"{word} {name}" for word in WORDS]) for name in "abcd"]
    sizes = (10, 10, 40)
    found(model, sources[:3], tmp_path / "work", sizes)
    again = found(model, sources, tmp_path / "work", sizes)
    assert again.told["encode"]["computed"] == 1
    assert again.told["join"]["computed"] == 4  # with itself and with each of the three before
    assert again.told["join"]["tasks"] == 10
    pairs, one = columns(again.pair_blocks()), expected(model, sources)
    assert (pairs["id_a"], pairs["id_b"]) == one.id_columns()


def test_names_are_taken_as_they_are_and_once(tmp_path, monkeypatch):
    """A path that exists is no pattern, two spellings are one file, and keys of a URI are nobody's business."""
    monkeypatch.chdir(tmp_path)
    for name in ("a[1].csv", "a1.csv", "b.csv"):
        (tmp_path / name).write_text("question\npay\n")
    assert expanded(["a[1].csv"]) == ["a[1].csv"]
    assert expanded(["*1.csv", "./a1.csv", str(tmp_path / "b.csv"), "b.csv"]) == ["a1.csv", str(tmp_path / "b.csv")]
    assert expanded([f"file://{tmp_path}/b*.csv"]) == [f"file://{tmp_path}/b.csv"]
    assert expanded(["s3://bucket/a.parquet?endpoint_override=localhost"]) == [
        "s3://bucket/a.parquet?endpoint_override=localhost"
    ]
    assert label_of("s3://key:secret@bucket/a.csv?x=y") == "s3://bucket/a.csv"


def test_what_comes_before_a_break_is_kept(model, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"question\npay\norder\npay\nhow\n" + b"\xff\xfe\x00broken\n")
    many = found(model, [str(path)], tmp_path / "work", (1, 9, 9))
    if many.lost:
        assert "rows after" in many.lost[0].why
    assert len(many.texts) >= 3
    assert ("1", "3") in list(zip(*list(columns(many.pair_blocks()).values())[:2], strict=True))


def test_a_damaged_file_is_made_again(model, tmp_path):
    """As after a power cut: the name is there, the content is not."""
    source = written(tmp_path, "a.csv", WORDS)
    before = columns(found(model, [source], tmp_path / "work").pair_blocks())
    for file in [*tmp_path.glob("work/vectors/*"), *tmp_path.glob("work/pairs/*")]:
        content = file.read_bytes()
        file.write_bytes(bytes(len(content)) if len(content) % 2 else content[: len(content) // 2])
    assert columns(found(model, [source], tmp_path / "work").pair_blocks()) == before


def test_a_workspace_removes_only_its_own(tmp_path):
    work = Workspace(tmp_path / "work")
    work.write("pairs/a.arrow", {"left": np.arange(3)})
    (tmp_path / "work" / "mine.txt").write_text("keep")
    work.remove()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["mine.txt"]
    (tmp_path / "work" / "mine.txt").unlink()
    work.remove()
    assert not (tmp_path / "work").exists()


def test_numbers_of_keepers_count_over_stretches(model, tmp_path, monkeypatch):
    monkeypatch.setattr(match_clusters, "_N_BYTES", 1)
    source = written(tmp_path, "a.csv", [f"{a} {b}" for a in WORDS for b in WORDS[:4]])
    groups = expected(model, [source], 0.99).clusters()
    clusters = columns(found(model, [source], tmp_path / "work", threshold=0.99).cluster_blocks())
    assert clusters["cluster"] == groups.cluster.tolist()


def test_a_file_system_s_moment_of_weakness_is_tried_again(monkeypatch):
    monkeypatch.setattr("textsiam.distributing.tasks._PAUSE_S", 0.0)
    calls = []

    def weak():
        calls.append(1)
        if len(calls) < N_TRIES:
            raise OSError("busy")
        return "done"

    assert attempt(weak) == "done"
    calls.clear()
    assert isinstance(attempt(lambda: calls.append(1) or Path("/nowhere").read_bytes()), Failure)
    assert len(calls) == 1  # it would not be there the next time either


def test_an_error_that_cannot_travel_says_the_same():
    class Local(ValueError):
        pass

    def fail():
        raise Local("what")

    assert str(attempt(fail).error) == "Local: what"


@settings(max_examples=60, deadline=None)
@given(angle=st.floats(0, 6e-4), threshold=st.sampled_from([1.0, 0.9999999, 0.99999994, 0.999999]))
def test_nearly_equal_blocks_are_not_told_apart_by_rounding(angle, threshold):
    """What fp32 rounds to the threshold counts as reaching it."""
    a, b = np.array([[1.0, 0.0]]), np.array([[np.cos(angle), np.sin(angle)]])
    joins = len(threshold_join(a, b, threshold=threshold))
    apart = are_apart(Bounds(a[0], 0.0), Bounds(b[0], 0.0), Rule(threshold, "cosine"))
    assert not (joins and apart)
