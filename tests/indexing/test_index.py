"""The index as its users meet it: added to, searched, changed, damaged, mended, rebuilt."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from textsiam import Index, Siamese, find_duplicates, threshold_join
from textsiam.encoding.encoder import Encoder
from textsiam.encoding.model_folder.layout import read_folder
from textsiam.errors import BrokenIndex, EncoderMismatch, IndexLocked, IndexNotFound, NotCalibrated, TooManyMatches

QUESTIONS = {
    "q1": "How do I reset my password?",
    "q2": "Where is my parcel?",
    "q3": "How can I reset my password?",
    "q4": "Can I pay by card?",
    "q5": "How do I reset my password?",
}


@pytest.fixture
def index(tmp_path, model):
    with Index.create(tmp_path / "index", model, threshold=0.8) as made:
        made.add(list(QUESTIONS), list(QUESTIONS.values()))
        yield made


def names(matches):
    """The pairs of ids, sorted."""
    return sorted(zip(*matches.id_columns(), strict=True))


def test_add_tells_each_pair_once_when_its_later_text_comes(tmp_path, model):
    """The matches of all calls together are those of one batch."""
    index = Index.create(tmp_path / "index", model, threshold=0.8)
    first = index.add(["q1", "q2"], [QUESTIONS["q1"], QUESTIONS["q2"]])
    rest = index.add(["q3", "q4", "q5"], [QUESTIONS[name] for name in ("q3", "q4", "q5")])
    assert not len(first)
    assert names(rest) == [("q3", "q1"), ("q5", "q1"), ("q5", "q3")]
    batch = find_duplicates(model, list(QUESTIONS.values()), ids=list(QUESTIONS), threshold=0.8)
    assert names(rest) == sorted((b, a) for a, b in names(batch))
    assert rest.text_columns()[1][0] == QUESTIONS["q1"]


def test_find_duplicates_compares_with_an_index(index, cosine):
    """`against` may be an index; it is not changed, and repeats among the new texts are all told."""
    new = ["How could I reset my password?", "Is there a job for me?", "How could I reset my password?"]
    found = find_duplicates(cosine, new, against=index, ids=["a", "b", "c"])
    assert set(names(found)) == {(a, b) for a in "ac" for b in ("q1", "q3", "q5")}
    assert len(index) == 5
    expected = find_duplicates(cosine, new, against=list(QUESTIONS.values()), threshold=0.8)
    assert found.score.tolist() == pytest.approx(expected.score.tolist(), abs=1e-6)
    assert found.decision is not None
    assert found.probability is not None


def test_an_equal_text_keeps_its_vector(index):
    """A text that is in the index scores 1 with itself in any precision, for it is not encoded again."""
    found = index.search([QUESTIONS["q2"]])
    assert found.score.tolist() == [1.0]
    assert found.id_columns()[1] == ["q2"]


def test_bad_rows_lose_nothing(index):
    """Unusable texts and ids, ids taken by another text, are set aside with their row and reason; the others go in."""
    found = index.add(
        ["n1", "n2", None, "q1", "n1", "n3", "q2", ""],
        ["A new one?", " ", "No id?", "Another text?", "Twice?", None, QUESTIONS["q2"], "x"],
    )
    assert len(index) == 6
    assert "n1" in index
    assert found.set_aside.rows == (2, 3, 4, 5, 6, 8)
    reasons = " ".join(fault.reason for fault in found.set_aside)
    assert "update changes it" in reasons
    assert "was given before with another text" in reasons
    assert found.right_ids is not None


def test_update_changes_a_text_and_its_place(index):
    """An updated text matches what its new words match."""
    found = index.update(["q4", "nobody"], ["How do I reset my passwords?", "x?"])
    assert {b for _, b in names(found)} == {"q1", "q3", "q5"}
    assert found.set_aside.rows == (2,)
    assert index.search([QUESTIONS["q4"]]).id_columns()[1] == []
    assert len(index) == 5


def test_a_removed_keeper_is_followed_by_its_best_member(index):
    """The cluster keeps its number; a member that does not match the new keeper goes."""
    before = index.clusters()
    assert before.groups() == [[0, 2, 4]]
    index.remove(["q1"])
    after = index.clusters()
    assert list(after.ids) == ["q2", "q3", "q4", "q5"]
    assert after.keeper.tolist() == [0, 3, 2, 3]  # q5 is the same text as q1 was
    assert after.cluster[3] == before.cluster[0]


def test_search_with_k_gives_the_closest_first(index):
    """k alone needs no threshold; with one, what is below it is left out."""
    found = index.search(["reset the password"], k=3)
    assert len(found) == 3
    assert found.score.tolist() == sorted(found.score.tolist(), reverse=True)
    assert len(index.search(["reset the password"], k=3, threshold=0.99)) == 0


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (dict(threshold=float("nan")), "finite"),
        (dict(threshold=3.0), "between -1 and 1"),
        (dict(k=0), "at least 1"),
        (dict(embeddings=np.zeros((1, 3), dtype=np.float32)), "only one of them"),
    ],
)
def test_a_wrong_search_is_refused(index, how, told):
    """Before anything is encoded."""
    with pytest.raises(ValueError, match=told):
        index.search(["x?"], **how)


def test_wrong_vectors_are_refused(index):
    """Vectors of another dimension, infinite ones."""
    with pytest.raises(ValueError, match="384 dimensions"):
        index.add(["v"], embeddings=np.zeros((1, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="finite"):
        index.search(embeddings=np.full((1, 384), np.inf, dtype=np.float32))
    assert len(index) == 5


def test_too_many_matches_change_nothing(index):
    """A limit is told, never a silent cut, and what was not committed is not there."""
    with pytest.raises(TooManyMatches):
        index.add([f"n{n}" for n in range(10)], [QUESTIONS["q1"]] * 10, max_matches=20)
    assert len(index) == 5
    assert index.verify(repair=False)
    with pytest.raises(TooManyMatches):
        index.search([QUESTIONS["q1"]] * 10, max_matches=20)


def test_an_index_without_texts_answers_with_ids(tmp_path, model):
    """Nothing of the text is on the disk."""
    index = Index.create(tmp_path / "index", model, threshold=0.8, keep_texts=False)
    index.add(["a"], ["My secret question about Zanzibar?"])
    found = index.search(["My secret question about Zanzibar?"])
    assert found.id_columns()[1] == ["a"]
    assert found.text_columns() is None
    index.close()
    assert not any(b"Zanzibar" in file.read_bytes() for file in (tmp_path / "index").iterdir())
    with pytest.raises(ValueError, match="keeps no texts"):
        Index.rebuild(tmp_path / "index", model, threshold=0.8)


def test_a_place_that_is_taken_is_refused(index, tmp_path, model):
    """An index, or anything else, is never written over."""
    with pytest.raises(FileExistsError, match="an index"):
        Index.create(tmp_path / "index", model, threshold=0.8)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="something"):
        Index.create(tmp_path / "other", model, threshold=0.8)
    with pytest.raises(IndexNotFound):
        Index.open(tmp_path / "nothing", model)


def test_an_unknown_storage_is_refused(tmp_path, model):
    """Before anything is made."""
    with pytest.raises(ValueError, match="float32 or float16"):
        Index.create(tmp_path / "index", model, threshold=0.8, stored_as="float8")
    assert not (tmp_path / "index").exists()


def test_without_a_threshold_there_is_no_index(tmp_path, tiny_transformer):
    """A model that was never certified says so before anything is made."""
    with pytest.raises(NotCalibrated):
        Index.create(tmp_path / "index", Siamese(Encoder.load(tiny_transformer())))
    assert not (tmp_path / "index").exists()


def test_another_encoder_is_refused_with_the_remedy(tmp_path, tiny_transformer, model):
    """Another model, another maximum length, a changed tokenizer: each is named, each says rebuild."""
    folder = read_folder(tiny_transformer())
    Index.create(tmp_path / "index", Siamese(Encoder(folder)), threshold=0.9).add(["a"], ["How do I pay?"])
    Index.open(tmp_path / "index", Siamese(Encoder(folder))).close()
    shutil.copytree(tiny_transformer(), tmp_path / "other")
    told = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    told["normalizer"]["lowercase"] = False
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(told))
    for other, difference in (
        (model, "cuts them at 256"),
        (Siamese(Encoder(replace(folder, max_length=20))), "cuts them at 20"),
        (Siamese(Encoder(read_folder(tmp_path / "other"))), "tokenizer.json"),
        (replace(Siamese(Encoder(folder)), similarity="dot"), "compared by cosine"),
    ):
        with pytest.raises(EncoderMismatch, match=r"index rebuild") as error:
            Index.open(tmp_path / "index", other)
        assert difference in str(error.value)
        with pytest.raises(EncoderMismatch):
            find_duplicates(other, ["x"], against=Index.open(tmp_path / "index"))


def test_an_encoder_that_changed_unseen_is_found_out(tmp_path, tiny_transformer):
    """The same files, other vectors: the canary texts tell."""

    class Changed(Encoder):
        def encode(self, texts, **more):
            return super().encode(texts, **more) + np.float32(0.01)

    folder = read_folder(tiny_transformer())
    Index.create(tmp_path / "index", Siamese(Encoder(folder, dtype="float32")), threshold=0.9)
    with pytest.raises(EncoderMismatch, match="canary"):
        Index.open(tmp_path / "index", Siamese(Changed(folder, dtype="float32")))


def test_other_precision_is_refused(index, tmp_path):
    """The text says how to load the model."""
    with pytest.raises(EncoderMismatch, match="dtype='float32'"):
        Index.open(tmp_path / "index", Siamese.load(dtype="bfloat16", backend="pytorch", device="cpu"))


def test_rebuild_makes_all_vectors_anew(index, tmp_path, model):
    """Texts, ids and clusters of keepers stay; answers are the new encoder's; the old one is refused from then on."""
    index.remove(["q2"])
    bf16 = Siamese.load(dtype="bfloat16", backend="pytorch", device="cpu")
    rebuilt = Index.rebuild(tmp_path / "index", bf16, threshold=0.8)
    assert len(rebuilt) == 4
    assert rebuilt.verify(repair=False)
    assert rebuilt.clusters().groups() == [[0, 1, 3]]
    with pytest.raises(EncoderMismatch, match="since it was opened"):
        index.search(["x?"])
    with pytest.raises(EncoderMismatch):
        Index.open(tmp_path / "index", model)


def test_export_gives_everything(index, tmp_path):
    """Texts, clusters and vectors in one parquet file."""
    assert index.export(tmp_path / "all.parquet") == 5
    told = pq.read_table(tmp_path / "all.parquet").to_pydict()
    assert told["id"] == list(QUESTIONS)
    assert told["keeper"] == ["q1", "q2", "q1", "q4", "q1"]
    assert np.array(told["embedding"]).shape == (5, 384)


def test_compaction_gives_space_back(index, tmp_path):
    """Half of the vectors removed, half of the file gone, the same answers."""
    before = names(index.search(list(QUESTIONS.values())))
    index.remove(["q2", "q4"])
    index.compact()
    (vectors,) = (tmp_path / "index").glob("vectors-*")
    assert vectors.stat().st_size == 3 * 384 * 4
    assert names(index.search(list(QUESTIONS.values()))) == [pair for pair in before if pair[1] not in {"q2", "q4"}]


# Damage


def only(folder, pattern="vectors-*"):
    (file,) = folder.glob(pattern)
    return file


def test_a_truncated_file_is_told_and_mended(index, tmp_path, model):
    """Opening works, reading says what is missing, verify encodes it again; nothing else changes."""
    before = names(index.search(list(QUESTIONS.values())))
    index.close()
    file = only(tmp_path / "index")
    with file.open("r+b") as stream:
        stream.truncate(384 * 4 * 3 + 100)
    with Index.open(tmp_path / "index", model) as damaged:
        with pytest.raises(BrokenIndex, match="holds 3 of 5"):
            damaged.search(["x?"])
        with pytest.raises(BrokenIndex):
            damaged.add(["n"], ["A new one?"])
        told = damaged.verify(repair=False)
        assert (not told, list(told.damaged)) == (True, ["q4", "q5"])
        told = damaged.verify()
        assert told.repaired
        assert damaged.verify()
        assert names(damaged.search(list(QUESTIONS.values()))) == before


def test_a_flipped_bit_is_found_and_mended(index, tmp_path):
    """Each vector has a checksum."""
    file = only(tmp_path / "index")
    told = bytearray(file.read_bytes())
    told[384 * 4 + 7] ^= 64
    file.write_bytes(told)
    assert list(index.verify(repair=False).damaged) == ["q2"]
    assert list(index.verify().damaged) == ["q2"]
    assert index.verify()
    assert index.search([QUESTIONS["q2"]]).id_columns()[1] == ["q2"]


def test_vectors_without_texts_are_lost_by_name(tmp_path, model):
    """What cannot be mended is removed and named, so that it can be added again; its cluster goes on without it."""
    index = Index.create(tmp_path / "index", model, threshold=0.8, keep_texts=False)
    index.add(list(QUESTIONS), list(QUESTIONS.values()))
    index.close()
    only(tmp_path / "index").unlink()
    index = Index.open(tmp_path / "index", model)
    told = index.verify()
    assert list(told.lost) == list(QUESTIONS)
    assert len(index) == 0
    index.add(list(QUESTIONS), list(QUESTIONS.values()))
    assert index.clusters().groups() == [[0, 2, 4]]


def test_a_wrong_cluster_is_found_and_mended(index, tmp_path):
    """A score that is not the vectors' own."""
    with sqlite3.connect(tmp_path / "index" / "index.sqlite") as database:
        database.execute("UPDATE items SET score = 0.5 WHERE id = 'q3'")
    database.close()
    assert list(index.verify(repair=False).misplaced) == ["q3"]
    index.verify()
    assert index.verify()
    assert index.clusters().groups() == [[0, 2, 4]]


def test_a_damaged_database_is_told(index, tmp_path, model):
    """Pages of zeros in the ledger: an error of ours, with the remedy."""
    index.close()
    file = tmp_path / "index" / "index.sqlite"
    told = file.read_bytes()
    file.write_bytes(told[:100] + bytes(len(told) - 100))
    with pytest.raises(BrokenIndex, match="Restore"):
        Index.open(tmp_path / "index", model)


def test_what_a_killed_writer_left_is_no_part_of_the_index(index, tmp_path):
    """Bytes behind the committed rows are neither served nor kept."""
    with only(tmp_path / "index").open("ab") as stream:
        stream.write(b"\xff" * 5000)
    assert index.verify(repair=False)
    index.add(["n"], ["Do you sell gift cards?"])
    assert index.search(["Do you sell gift cards?"]).id_columns()[1] == ["n"]
    assert index.verify(repair=False)


def test_a_short_write_is_completed(index, monkeypatch):
    """A file system may take less than it is given."""
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, told, place: whole(file, told[:700], place))
    index.add(["n"], ["Do you sell gift cards?"])
    assert index.verify(repair=False)


def test_a_full_disk_changes_nothing(index, tmp_path):
    """A limit on the size of files stands for the disk: the error names the file, the index is as before and goes on after."""
    code = """
import resource, sys, signal
import numpy as np
from textsiam import Index, Siamese
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
index = Index.open(sys.argv[1], None)
vectors = np.random.default_rng(0).normal(size=(3000, 384)).astype(np.float32)
told = []
for limit in (10_000, 100_000, 1_000_000, 4_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        index.add([f"{limit}-{n}" for n in range(3000)], embeddings=vectors)
    except OSError as error:
        told.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert len(index) == 5, len(index)
    assert index.verify(repair=False)
print("\\n".join(told))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "index")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(tmp_path)) == 4
    assert len(index) == 5
    assert index.verify(repair=False)


def test_a_second_writer_waits_or_is_told(index, tmp_path, model):
    """One writes at a time; a reader is not kept waiting."""
    other = Index.open(tmp_path / "index", model, timeout_s=0.2)
    with sqlite3.connect(tmp_path / "index" / "index.sqlite", isolation_level=None) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexLocked, match="timeout_s"):
            other.add(["n"], ["A new one?"])
        assert other.search([QUESTIONS["q2"]]).id_columns()[1] == ["q2"]
        database.execute("ROLLBACK")
    database.close()
    other.add(["n"], ["A new one?"])
    assert "n" in index


def test_threads_share_an_index(index, in_threads):
    """Several threads add and search through one object."""

    def work(number):
        for n in range(5):
            index.add([f"{number}-{n}"], [f"Question {number} about thing {n}?"])
            assert len(index.search([QUESTIONS["q1"]])) >= 3

    in_threads(work, 4)
    assert len(index) == 25
    assert index.verify(repair=False)


def test_a_forked_process_uses_a_connection_of_its_own(index):
    """Parent and child both go on."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if len(index) == 5 and index.remove(["q4"]) == 1 else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert len(index) == 4
    index.add(["n"], ["A new one?"])
    assert index.verify(repair=False)


def test_a_copy_of_the_folder_is_an_index(index, tmp_path, model):
    """While nobody writes, copying the folder is the backup."""
    shutil.copytree(tmp_path / "index", tmp_path / "copy")
    with Index.open(tmp_path / "copy", model) as copy:
        assert len(copy) == 5
        assert copy.verify(repair=False)


@pytest.mark.parametrize("similarity", ["dot", "euclidean", "manhattan"])
def test_other_similarities_answer_as_a_batch(tmp_path, tiny_transformer, similarity):
    """Without short rows, with the same scores."""
    tiny = replace(Siamese(Encoder.load(tiny_transformer(), dtype="float32")), similarity=similarity)
    rows = np.random.default_rng(0).normal(size=(60, 32)).astype(np.float32)
    threshold = float(np.quantile(threshold_join(rows, threshold=-1e9, similarity=similarity).score, 0.9))
    index = Index.create(tmp_path / "index", tiny, threshold=threshold)
    index.add(list(range(40)), embeddings=rows[:40])
    index.remove([3, 5])
    kept = [row for row in range(40) if row not in {3, 5}]
    expected = threshold_join(rows[40:], rows[kept], threshold=threshold, similarity=similarity)
    found = index.search(embeddings=rows[40:])
    assert found.id_columns()[1] == [str(kept[row]) for row in expected.right]
    assert found.score.tolist() == expected.score.tolist()
    closest = index.search(embeddings=rows[40:], k=2)
    assert len(closest) == 40
    assert index.verify(repair=False)


@pytest.fixture
def large(tmp_path, tiny_transformer, monkeypatch):
    """An index of 6,000 vectors about 60 centres, for which that is many; and further vectors."""
    monkeypatch.setattr("textsiam.indexing.search.approximate.APPROXIMATE_FROM", 5_000)
    monkeypatch.setattr("textsiam.indexing.changes.adding.N_AT_ONCE", 2_000)
    random = np.random.default_rng(0)
    rows = np.repeat(random.normal(size=(310, 32)), 20, axis=0) + 0.35 * random.normal(size=(6_200, 32))
    rows = random.permutation(rows.astype(np.float32))
    index = Index.create(tmp_path / "large", Siamese(Encoder.load(tiny_transformer(), dtype="float32")), threshold=0.85)
    index.add(range(6_000), embeddings=rows[:6_000])
    return index, rows


def test_approximate_search_switches_on_by_size_and_says_so(large):
    """Beyond a size answers are approximate, with the recall measured; exact search can still be asked for."""
    index, rows = large
    found, exact = index.search(embeddings=rows[6_000:]), index.search(embeddings=rows[6_000:], searcher="exact")
    assert exact.recall is None
    assert found.recall >= 0.99
    assert "approximate: recall" in repr(found)
    assert len(exact) > 1_000
    assert set(names(found)) <= set(names(exact))
    assert len(found) >= 0.98 * len(exact)
    assert index.search(embeddings=rows[6_000:], threshold=0.8).recall is None  # it was made for the index's threshold


def test_rows_added_and_removed_later_count_at_once(large):
    """The structure is a cache of what was there when it was made: later rows are searched exactly, removed ones not found."""
    index, rows = large
    later = rows[6_000:6_010]
    index.add([f"later-{number}" for number in range(10)], embeddings=later)
    found = index.search(embeddings=later)
    assert found.recall is not None
    assert {f"later-{number}" for number in range(10)} <= set(found.id_columns()[1])
    gone = [name for name in found.id_columns()[1] if not name.startswith("later")][:20]
    index.remove(gone)
    assert not set(gone) & set(index.search(embeddings=later).id_columns()[1])
    assert index.verify(repair=False)


def test_a_damaged_cache_makes_the_search_exact(large, tmp_path, caplog):
    """Without the structure nothing is missing; with `searcher="approximate"` it is an error that says what to do."""
    index, rows = large
    only(tmp_path / "large", "near-*").write_bytes(b"nothing of that kind")
    assert index.search(embeddings=rows[6_000:]).recall is None
    assert "exact" in caplog.text
    with pytest.raises(ValueError, match=r"Index.approximate\(\)"):
        index.search(embeddings=rows[:1], searcher="approximate")
    assert index.approximate(threshold=0.7) >= 0.99
    assert index.search(embeddings=rows[6_000:], threshold=0.7).recall >= 0.99


def test_compaction_makes_the_structure_anew(large, tmp_path):
    """Rows have other numbers then; answers are those of before."""
    index, rows = large
    index.remove(range(900))
    before = names(index.search(embeddings=rows[6_000:], searcher="exact"))
    index.compact()
    assert len(list((tmp_path / "large").glob("near-*"))) == 1
    assert names(index.search(embeddings=rows[6_000:], searcher="exact")) == before
    found = index.search(embeddings=rows[6_000:])
    assert found.recall >= 0.99
    assert set(names(found)) <= set(before)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("dtype", "n_texts", "n_least"),
    [("float32", 1_000, 15), *(pytest.param(dtype, 4_000, 300, marks=pytest.mark.long) for dtype in ("float32", None))],
)
def test_real_questions_in_any_batches_match_as_in_one(shared, tmp_path, dtype, n_texts, n_least):
    """In any order, in any batches, with removals: the matches of one batch run.

    They may differ in pairs whose score lies within the precision class's tolerance of the threshold.
    """
    model, random, threshold = Siamese.load(device="cpu", dtype=dtype), np.random.default_rng(0), 0.7
    texts = pq.read_table(shared / "qqp_questions.parquet")["question"].to_pylist()[:n_texts]
    with Index.create(tmp_path / "index", model, threshold=threshold) as index:
        order, start = random.permutation(len(texts)).tolist(), 0
        while start < len(order):
            part = order[start : start + int(random.choice([1, 5, 100, 900]))]
            index.add(part, [texts[row] for row in part])
            start += len(part)
        gone = set(random.choice(len(texts), n_texts // 8, replace=False).tolist())
        assert index.remove(gone) == n_texts // 8
        kept = [row for row in range(len(texts)) if row not in gone]
        found = index.search([texts[row] for row in kept], ids=list(map(str, kept)))
        mine = {
            (int(a), int(b)): s for (a, b), s in zip(zip(*found.id_columns(), strict=True), found.score, strict=True)
        }
        mine = {pair: score for pair, score in mine.items() if pair[0] < pair[1]}
    batch = find_duplicates(model, [texts[row] for row in kept], threshold=threshold)
    expected = {(kept[a], kept[b]): score for a, b, score in batch}
    differ = mine.keys() ^ expected.keys()
    tolerance = {"float32": 1e-5, "bfloat16": 1e-2}[model.encoder.precision]
    print(f"{model.encoder.precision}: {len(differ)} of {len(expected)} pairs differ")
    assert len(expected) > n_least
    assert all(abs(float({**mine, **expected}[pair]) - threshold) <= tolerance for pair in differ)
    assert len(differ) <= 0.03 * len(expected)
