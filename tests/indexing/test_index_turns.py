"""Threads, processes and the turns they take at an index: what was committed is told, and a forked process is not held up."""

import os
import signal
import threading
import time

import pytest

from textsiam import Index, Siamese
from textsiam.encoding.encoder import Encoder
from textsiam.indexing.changes import adding
from textsiam.indexing.storage.turns import Turns

TEXTS = ["how do i pay order", "how do i pay a refund", "password"]


@pytest.fixture(scope="module")
def small(tiny_transformer):
    return Siamese(Encoder.load(tiny_transformer("bert"), dtype="float32"))


@pytest.fixture
def index(tmp_path, small):
    with Index.create(tmp_path / "index", small, threshold=0.999) as made:
        made.add(range(len(TEXTS)), TEXTS)
    with Index.open(tmp_path / "index", small, timeout_s=0.2) as opened:
        yield opened


@pytest.fixture
def busy(index, monkeypatch):
    """After the n-th commit from now on another thread is at work for longer than the index waits."""
    store, threads, left = index._at.store, [], [0]
    write = store.write

    def written(*asked):
        result = write(*asked)
        left[0] -= 1
        if left[0]:
            return result
        is_at_work = threading.Event()
        threads.append(threading.Thread(target=store.read, args=(lambda: (is_at_work.set(), time.sleep(1.0)),)))
        threads[-1].start()
        assert is_at_work.wait(30)
        return result

    def after(n_commits):
        for thread in threads:
            thread.join(30)
        left[0] = n_commits

    monkeypatch.setattr(store, "write", written)
    yield after
    after(0)


def test_what_was_committed_is_told_however_long_others_take(index, busy, monkeypatch):
    """Nobody could ask again: the same call would find its texts there, and tell no match."""
    monkeypatch.setattr(adding, "N_AT_ONCE", 1)  # so many that an approximate structure is thought of
    busy(1)
    found = index.add(["new"], [TEXTS[0]])
    assert (found.added, found.id_columns()) == (1, (["new"], ["0"]))
    busy(2)  # two parts: their texts are looked up again
    found = index.add(["n1", "n2"], [TEXTS[1], TEXTS[2]])
    assert (found.added, found.id_columns()) == (2, (["n1", "n2"], ["1", "2"]))
    busy(1)
    assert index.update(["new"], [TEXTS[1]]).id_columns() == (["new", "new"], ["1", "n1"])
    busy(1)
    assert index.remove(["new", "n1", "n2"]) == 3
    assert len(index) == len(TEXTS)
    busy(1)
    index.compact()


def test_a_file_in_the_way_is_something_that_exists(tmp_path, small):
    """Not a folder that may not be written, and it stays as it was."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="something at"):
        Index.create(tmp_path / "file", small, threshold=0.9)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(NotADirectoryError):
        Index.create(tmp_path / "file" / "index", small, threshold=0.9)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_waits_for_no_thread_that_it_has_not(index):
    """Another thread was at work when it was forked: in the forked process nobody is, and it may close, too."""
    is_at_work, may_end = threading.Event(), threading.Event()
    thread = threading.Thread(target=index._at.store.read, args=(lambda: (is_at_work.set(), may_end.wait(30)),))
    thread.start()
    assert is_at_work.wait(30)
    child = os.fork()
    if not child:
        signal.alarm(20)
        told = 1
        try:
            told = 0 if len(index) == len(TEXTS) and index.remove(["0"]) == 1 else 2
            index.close()
        finally:
            os._exit(told)
    may_end.set()
    thread.join(30)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(index) == len(TEXTS) - 1


def test_who_forks_within_a_turn_ends_it():
    """In the forked process the lock that was taken is no longer the lock."""
    turns = Turns("faq.index", 1.0)
    with turns.turn():
        turns.start_over()
    with turns.turn() as left_s:
        assert left_s > 0
