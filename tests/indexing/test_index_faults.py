"""An index in rough weather: steps that fail between others, copies put back, files cut, ids and vectors that nobody meant."""

import os
import shutil
import signal
import sqlite3
import threading
import time

import numpy as np
import pytest

from textsiam import Index, Siamese
from textsiam.encoding.encoder import Encoder
from textsiam.errors import BrokenIndex, EncoderMismatch, IndexLocked, TooManyMatches, UnreadableInput
from textsiam.indexing.changes import adding, rebuilding
from textsiam.indexing.search import approximate
from textsiam.indexing.search.approximate import Approximate
from textsiam.indexing.search.short_rows import ShortRows
from textsiam.indexing.storage.folder_store import sqlite_errors
from textsiam.indexing.storage.store import checked
from textsiam.indexing.storage.vector_file import VectorFile

TEXTS = [
    f"how do i pay {word}"
    for word in ("order", "the order", "a refund", "my order", "refund", "password", "is", "a", "i")
]


@pytest.fixture(scope="module")
def models(tiny_transformer):
    """Three encoders of one dimension."""
    return [
        Siamese(Encoder.load(tiny_transformer(kind), dtype="float32")) for kind in ("bert", "roberta", "distilbert")
    ]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "index"


def made(folder, model, threshold=0.999, **how):
    index = Index.create(folder, model, threshold=threshold, **how)
    index.add(range(len(TEXTS)), TEXTS)
    return index


def vectors_of(index, tmp_path):
    """Id → vector, as exported."""
    import pyarrow.parquet as pq

    index.export(tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    return dict(zip(table["id"].to_pylist(), np.array(table["embedding"].to_pylist(), dtype=np.float32), strict=True))


def check_vectors(index, model, tmp_path):
    """Every text has the vector of this model."""
    for name, vector in vectors_of(index, tmp_path).items():
        assert vector == pytest.approx(model.encode([TEXTS[int(name)]])[0], abs=1e-5)
    assert index.verify(repair=False)


def unit(*angles):
    """Vectors of 32 numbers in one plane, by their angles in degrees."""
    rows = np.zeros((len(angles), 32), dtype=np.float32)
    rows[:, 0], rows[:, 1] = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    return rows


def test_a_rebuild_needs_every_text(folder, models):
    """Vectors that came without texts cannot be made anew: refused before anything is encoded, and named."""
    index = made(folder, models[0])
    index.add(["bare"], embeddings=unit(10))
    with pytest.raises(UnreadableInput, match="1 vectors whose texts"):
        Index.rebuild(folder, models[1], threshold=0.9)
    assert index.verify(repair=False)


class Stopped(Exception):
    pass


def stopping(n, monkeypatch):
    """The n-th block that is staged by a rebuild ends it."""
    calls, encoded = [], rebuilding._encoded

    def counted(*given):
        calls.append(1)
        if len(calls) == n:
            raise Stopped
        return encoded(*given)

    monkeypatch.setattr(rebuilding, "_encoded", counted)


def test_an_interrupted_rebuild_after_a_compaction_that_failed(folder, models, monkeypatch, tmp_path):
    """What the rebuild had staged is gone: it begins anew, and no vector is another's."""
    monkeypatch.setattr(rebuilding, "_N_AT_ONCE", 2)
    index = made(folder, models[0])
    index.remove([0, 3])
    with monkeypatch.context() as patched:
        stopping(3, patched)
        with pytest.raises(Stopped):
            Index.rebuild(folder, models[1], threshold=0.999)
    with monkeypatch.context() as patched:
        patched.setattr(VectorFile, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space"):
            index.compact()
    assert [file.name for file in folder.glob("vectors-*")] == ["vectors-000001"]  # nothing half-written stays
    check_vectors(Index.rebuild(folder, models[1], threshold=0.999), models[1], tmp_path)


def test_an_interrupted_rebuild_after_another_one(folder, models, monkeypatch, tmp_path):
    """The second encoder's rebuild, stopped in its first block, leaves nothing that the first one takes for its own."""
    monkeypatch.setattr(rebuilding, "_N_AT_ONCE", 2)
    made(folder, models[0])
    with monkeypatch.context() as patched:
        stopping(3, patched)
        with pytest.raises(Stopped):
            Index.rebuild(folder, models[1], threshold=0.999)
    with monkeypatch.context() as patched:
        write = VectorFile.write

        def failing(self, first, rows):
            write(self, first, rows)
            raise OSError(5, "Input/output error")

        patched.setattr(VectorFile, "write", failing)
        with pytest.raises(OSError, match="output error"):
            Index.rebuild(folder, models[2], threshold=0.999)
    check_vectors(Index.rebuild(folder, models[1], threshold=0.999), models[1], tmp_path)


@pytest.mark.parametrize("block", [1, 2])
def test_a_compaction_within_a_rebuild(folder, models, monkeypatch, tmp_path, block):
    """Rows are numbered anew while a block is encoded, be it the first: the rebuild begins anew."""
    monkeypatch.setattr(rebuilding, "_N_AT_ONCE", 2)
    index = made(folder, models[0])
    index.remove([0, 3, 4])
    calls, encoded = [], rebuilding._encoded

    def compacting(*given):
        calls.append(1)
        if len(calls) == block:
            index.compact()
        return encoded(*given)

    monkeypatch.setattr(rebuilding, "_encoded", compacting)
    check_vectors(Index.rebuild(folder, models[1], threshold=0.999), models[1], tmp_path)


def test_the_process_may_go_elsewhere(tmp_path, models, monkeypatch):
    """A relative path means the folder that it meant when the index was opened."""
    monkeypatch.chdir(tmp_path)
    made("index", models[0]).close()
    index = Index.open("index", models[0])
    (tmp_path / "other" / "index").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "other")
    assert len(index.search([TEXTS[0]])) >= 1
    assert index.verify()
    assert len(index) == len(TEXTS)


def test_an_id_with_nul_is_none(folder, models):
    """SQLite would end it there, and take it for another's."""
    index = made(folder, models[0])
    index.add(["a"], ["pay"])
    found = index.add(["a\0b"], ["order"])
    assert "NUL" in str(found.set_aside)
    assert index.remove(["a\0b", None, 1.5]) == 0
    assert "a\0b" not in index
    assert "a" in index


def test_matches_are_named_as_they_are_now(folder, models, monkeypatch):
    """A compaction between two parts of one call numbers rows anew; ids and texts told are the right ones."""
    monkeypatch.setattr(adding, "N_VECTORS_AT_ONCE", 1)
    index = Index.create(folder, models[0], threshold=0.99)
    index.add([f"o{n}" for n in range(6)], embeddings=unit(0, 20, 40, 60, 80, 100))
    index.remove(["o0", "o1"])
    other, part = Index.open(folder, models[0]), adding.Writing._part

    def compacting(self, numbers, *given):
        if numbers == [1]:
            other.compact()
        return part(self, numbers, *given)

    monkeypatch.setattr(adding.Writing, "_part", compacting)
    found = index.add(["n0", "n1"], embeddings=unit(60.1, 100.1))
    assert list(zip(*found.id_columns(), strict=True)) == [("n0", "o3"), ("n1", "o5")]


def test_a_match_with_a_text_that_the_same_call_replaced_is_not_told(folder, models, monkeypatch):
    """Its text is no longer there; with all others it is."""
    monkeypatch.setattr(adding, "N_AT_ONCE", 1)
    index = Index.create(folder, models[0], threshold=0.999)
    index.add(["a", "b", "c"], ["pay", "refund", "order"])
    found = index.update(["a", "b"], ["refund", "password"])  # a matches b's old text, which then goes
    assert len(found) == 0
    assert found.added == 2
    assert index.verify(repair=False)


def test_many_equal_texts_can_be_removed_verified_and_rebuilt(folder, models, monkeypatch):
    """However many match each other: no limit stands in the way of what nobody asked to be told."""
    for place in ("indexing.index", "matching.join.exact"):
        monkeypatch.setattr(f"textsiam.{place}.MAX_MATCHES", 10)
    index = Index.create(folder, models[0], threshold=0.9)
    index.add(range(300), ["pay"] * 300, max_matches=100_000)
    assert index.remove([0]) == 1
    assert index.clusters().groups()[0][0] == 0
    assert index.verify()
    (vectors,) = folder.glob("vectors-*")
    with vectors.open("r+b") as file:
        file.seek(128 * 5)
        file.write(b"\0" * 128)
    assert index.verify().repaired
    assert len(Index.rebuild(folder, models[0], threshold=0.9)) == 299


def test_another_threshold_is_noticed(folder, models):
    """An index that was rebuilt elsewhere, though with the same encoder, is opened again."""
    index = made(folder, models[0])
    Index.rebuild(folder, models[0], threshold=0.5).close()
    with pytest.raises(EncoderMismatch, match="Open it again"):
        index.add(["new"], ["pay"])
    assert Index.open(folder, models[0]).threshold == 0.5


@pytest.fixture
def crowd():
    """20,000 vectors of 96 numbers, and 100 more."""
    rows = np.random.default_rng(0).normal(size=(20_200, 96)).astype(np.float32)
    return rows[:20_000], rows[20_000:20_100], rows[20_100:]


def test_caches_of_another_history_are_thrown_away(tmp_path, tiny_transformer, models, monkeypatch, crowd):
    """A copy put back over a newer folder, which then goes on otherwise: short rows and structure are of other rows."""
    monkeypatch.setattr("textsiam.indexing.storage.vector_file._N_UNSAVED", 50)
    rows, once, instead = crowd
    folder = tmp_path / "index"
    index = _bare(folder, models[0], rows)
    index.close()
    shutil.copytree(folder, tmp_path / "copy")
    index = Index.open(folder)
    index.add([f"once{n}" for n in range(100)], embeddings=once)
    index._at.store.view._scan.short.save(folder / "short-000001")
    Approximate.build(np.concatenate([rows, once]), 0.9).save(folder / "near-000001")
    index.close()
    for name in ("index.sqlite", "vectors-000001"):
        shutil.copy(tmp_path / "copy" / name, folder / name)
    index = Index.open(folder)
    with monkeypatch.context() as patched:
        patched.setattr(ShortRows, "save", lambda *_: None)  # whoever added them could not
        index.add([f"instead{n}" for n in range(100)], embeddings=instead)
    index.close()
    for k in (None, 1):
        with Index.open(folder) as index:
            found = index.search(embeddings=instead[:50], threshold=0.99, k=k)
            assert found.id_columns()[1] == [f"instead{n}" for n in range(50)]
    index = Index.open(folder)
    monkeypatch.setattr(approximate, "APPROXIMATE_FROM", 0)
    found = index.search(embeddings=instead, threshold=0.99)
    assert found.recall is None
    assert len(found) == 100
    assert index.verify()
    assert not (folder / "near-000001").exists()


def _bare(folder, model, rows):
    """An index of vectors of another dimension than the model's, for which one is faked in its settings."""
    from textsiam.indexing import index as module
    from textsiam.indexing.identity import settings_of

    def wide(*given, **more):
        return settings_of(*given, **more) | {"dim": rows.shape[1]}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "settings_of", wide)
        index = Index.create(folder, model, threshold=0.9, keep_texts=False)
    index._at.model = None
    index.add(range(len(rows)), embeddings=rows)
    return index


def test_removed_rows_are_no_matches(folder, models):
    """They count neither in the answer nor for its limit; nor do those that an update replaces."""
    index = Index.create(folder, models[0], threshold=0.9)
    index.add(range(50), ["pay"] * 50)
    index.remove(range(49))
    assert len(index.search(["pay"], max_matches=1)) == 1
    assert len(index.add(["new"], ["pay"], max_matches=1)) == 1
    assert len(index.update([49], ["pay pay"], max_matches=1)) <= 1


def test_clusters_that_could_not_be_are_found(folder, models):
    """Two keepers that match, or a member whose other keeper is better: verify says so and mends them."""
    index = Index.create(folder, models[0], threshold=0.9)
    index.add(["a", "b", "c"], embeddings=unit(0, 40, 15))
    assert index.verify()
    with sqlite3.connect(folder / "index.sqlite") as database:
        database.execute("UPDATE items SET cluster = 2, score = NULL WHERE id = 'c'")
        database.execute("UPDATE counts SET n_clusters = 3")
    database.close()
    assert list(index.verify(repair=False).misplaced) == ["c"]
    assert index.verify().repaired
    assert index.verify()
    assert [(one.cluster, one.into) for one in index.merges()] == [(2, 0)]


def test_two_keepers_of_one_cluster_are_parted(folder, models):
    """The second gets a number of its own."""
    index = Index.create(folder, models[0], threshold=0.9)
    index.add(["a", "b"], embeddings=unit(0, 90))
    with sqlite3.connect(folder / "index.sqlite") as database:
        database.execute("UPDATE items SET cluster = 0")
    database.close()
    assert not index.verify(repair=False)
    index.verify()
    assert len(set(index.clusters().cluster.tolist())) == 2
    assert index.verify()


def test_a_tie_between_keepers_is_no_damage(folder, models):
    """A member stays where it is if another keeper is as near."""
    index = Index.create(folder, models[0], threshold=0.9)
    index.add(["k0", "m", "k1"], embeddings=unit(0, 20, 40))
    before = index.clusters().cluster.tolist()
    assert index.verify()
    index.remove(["k0"])
    index.add(["k0"], embeddings=unit(0))
    assert index.verify(repair=False), (before, index.clusters().cluster)


def test_numbers_too_large_for_half_precision_are_refused(folder, models):
    """Stored they would be infinite, and break every search."""
    index = Index.create(folder, models[0], threshold=0.9, stored_as="float16")
    with pytest.raises(ValueError, match="too large for float16"):
        index.add(["a"], embeddings=1e5 * unit(0))
    index.add(["b"], embeddings=unit(0))
    assert len(index.search(embeddings=unit(0), k=2)) == 1


def test_queries_are_rounded_after_a_failed_change_too(folder, models):
    """In half precision a vector scores 1 with itself, also by an index that just forgot what a change had seen."""
    index = Index.create(folder, models[0], threshold=0.9, stored_as="float16")
    rows = np.random.default_rng(3).normal(size=(9, 32)).astype(np.float32)
    index.add(range(9), embeddings=rows)
    before = index.search(embeddings=rows, threshold=0.999)
    assert before.score.tolist() == [1.0] * 9
    with pytest.raises(TooManyMatches):
        index.add(["a", "b"], embeddings=rows[:2], max_matches=1)
    after = index.search(embeddings=rows, threshold=0.999)
    assert (after.right.tolist(), after.score.tolist()) == (before.right.tolist(), before.score.tolist())


def test_what_is_no_number_on_disk_is_told(folder, models):
    """A search for the closest cannot rank it."""
    index = made(folder, models[0])
    (vectors,) = folder.glob("vectors-*")
    with vectors.open("r+b") as file:
        file.write(np.full(32, np.nan, dtype=np.float32).tobytes())
    index.close()
    index = Index.open(folder, models[0])
    with pytest.raises(BrokenIndex, match="verify"):
        index.search([TEXTS[3]], k=len(TEXTS))
    assert list(index.verify().damaged) == ["0"]
    assert len(index.search([TEXTS[3]], k=len(TEXTS))) == len(TEXTS)


def test_a_lost_keeper_is_followed(folder, models):
    """Where no texts are kept, the best of its members takes its place and its number."""
    index = Index.create(folder, models[0], threshold=0.9, keep_texts=False)
    index.add(["k", "far", "near", "other"], embeddings=unit(0, 20, 10, 90))
    (vectors,) = folder.glob("vectors-*")
    with vectors.open("r+b") as file:
        file.write(b"\0" * 128)
    assert list(index.verify().lost) == ["k"]
    told = dict(
        zip(index.columns()["id"], zip(index.columns()["cluster"], index.columns()["keeper"], strict=True), strict=True)
    )
    assert told == {"far": (0, "near"), "near": (0, "near"), "other": (1, "other")}
    assert index.verify()


def test_an_interruption_while_waiting_leaves_no_lock(folder, models):
    """Ctrl-C in a wait for another writer: the next call works, here and elsewhere."""
    index = made(folder, models[0])
    with sqlite3.connect(folder / "index.sqlite", isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN IMMEDIATE")

        def interrupt():
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
            other.execute("ROLLBACK")

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                index.remove([0])
                time.sleep(5)
        finally:
            thread.join()
    other.close()
    index.add(["new"], ["pay"])
    with Index.open(folder, models[0], timeout_s=0.5) as second:
        second.add(["newer"], ["password"])
    assert len(index) >= len(TEXTS) + 1


def test_a_structure_that_cannot_be_is_no_loss(folder, models, monkeypatch):
    """What was added is told, though the disk is full; what reaches no recall is not tried again at every change."""
    monkeypatch.setattr(approximate, "APPROXIMATE_FROM", 20)
    monkeypatch.setattr(adding, "N_AT_ONCE", 10)
    index = Index.create(folder, models[0], threshold=0.9)
    tried = []

    def failing(*_, **__):
        tried.append(1)
        raise (OSError(28, "No space left") if len(tried) == 1 else ValueError("No fast way"))

    monkeypatch.setattr(Approximate, "build", failing)
    rows = np.random.default_rng(0).normal(size=(120, 32)).astype(np.float32)
    for start in range(0, 120, 20):
        found = index.add(range(start, start + 20), embeddings=rows[start : start + 20])
        assert found.added == 20
    assert len(tried) == 3  # at 20; at 40; and at 80, twice as many


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda _: checked(np.zeros(32, dtype=np.float32), 32), "the shape is"),
        (lambda _: checked([], 32), "the shape is"),
        (lambda index: index.search(embeddings=unit(0)[:, :5]), "32 dimensions"),
        (lambda index: index.add(["z"]), "Ids were given alone"),
        (lambda index: index.add(["z"], embeddings=np.full((1, 32), np.nan)), "finite"),
        (lambda index: (index.close(), len(index)), "was closed"),
        (lambda index: (index.close(), index.search(["pay"])), "was closed"),
    ],
)
def test_bad_input_is_told(folder, models, call, told):
    """What is wrong, and what to do."""
    with pytest.raises(ValueError, match=told):
        call(made(folder, models[0]))


def test_what_a_killed_creation_left_is_no_hindrance(folder, models):
    """Temporary files, SQLite's own beside them."""
    folder.mkdir()
    for name in (".1234abcd.tmp", ".1234abcd.tmp-wal", ".1234abcd.tmp-shm"):
        (folder / name).touch()
    assert len(made(folder, models[0])) == len(TEXTS)


def test_the_closest_of_many_are_those_of_each(folder, models):
    """A join for many queries, a scan for each of few."""
    rows = np.random.default_rng(1).normal(size=(400, 32)).astype(np.float32)
    index = Index.create(folder, models[0], threshold=0.9)
    index.add(range(300), embeddings=rows[:300])
    index.remove(range(0, 300, 7))
    together = index.search(embeddings=rows[300:], k=3)
    apart = [index.search(embeddings=row[None], k=3) for row in rows[300:]]
    assert together.id_columns()[1] == [name for one in apart for name in one.id_columns()[1]]
    assert together.score.tolist() == [score for one in apart for score in one.score.tolist()]


def test_looking_changes_nothing(folder, models):
    """verify without repair leaves every file as it was."""
    index = made(folder, models[0])
    (folder / "near-000001").write_bytes(b"no structure")
    before = {file.name: file.read_bytes() for file in folder.iterdir() if "sqlite" not in file.name}
    index.verify(repair=False)
    assert before == {file.name: file.read_bytes() for file in folder.iterdir() if "sqlite" not in file.name}


def test_threads_wait_for_each_other_no_longer_than_for_others(folder, models):
    """A thread at work keeps another waiting for as long as the index was opened with, and both waits count together."""
    made(folder, models[0]).close()
    index = Index.open(folder, models[0], timeout_s=0.3)
    is_at_work, may_end = threading.Event(), threading.Event()

    def work():
        is_at_work.set()
        assert may_end.wait(30)

    thread = threading.Thread(target=index._at.store.read, args=(work,))
    thread.start()
    assert is_at_work.wait(30)
    started = time.monotonic()
    with pytest.raises(IndexLocked, match="Other threads"):
        index.remove([0])
    assert 0.2 < time.monotonic() - started < 5
    may_end.set()
    thread.join()
    assert index.remove([0]) == 1


def test_a_thread_that_waits_for_another_process_lets_others_read(folder, models):
    """A search answers at once while an addition waits, which is made as soon as it can be."""
    made(folder, models[0]).close()
    index = Index.open(folder, models[0], timeout_s=30)
    n = len(index)
    with sqlite3.connect(folder / "index.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        thread = threading.Thread(target=index.add, args=(["new"], ["how do i pay a second password"]))
        thread.start()
        took = []
        for _ in range(20):
            started = time.monotonic()
            index.search(["how do i pay order"])
            took.append(time.monotonic() - started)
            time.sleep(0.01)
        assert thread.is_alive()
        assert max(took) < 5
        other.execute("ROLLBACK")
    other.close()
    thread.join(30)
    assert len(index) == n + 1


def test_a_lock_is_told(folder, models):
    """Not waited for for ever."""
    index = made(folder, models[0])
    index.close()
    index = Index.open(folder, models[0], timeout_s=0.1)
    with sqlite3.connect(folder / "index.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexLocked):
            index.remove([0])
        other.execute("ROLLBACK")
    other.close()
    assert index.remove([0]) == 1


def test_who_may_not_write_is_told_that_reading_takes_it(tmp_path):
    """SQLite speaks of writing, where somebody only searched."""
    told = "even to read it, needs write permission on its folder; SQLite says: attempt to write a readonly"
    with pytest.raises(PermissionError, match=told), sqlite_errors(tmp_path):
        raise sqlite3.OperationalError("attempt to write a readonly database")


def test_an_index_left_open_is_silent_when_python_ends(folder, models, monkeypatch):
    """By then the module `os` may be gone: no traceback after the last line of a user's script."""
    store = made(folder, models[0])._at.store
    with monkeypatch.context() as ending:
        ending.setattr("textsiam.indexing.storage.folder_store.os", None)
        store.__del__()
