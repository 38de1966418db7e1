"""Threads, processes and the turns they take at an index: what was committed is told, and a forked process is not held up."""

import threading
import time

import pytest

from textsiam import Index, Siamese
from textsiam.encoding.encoder import Encoder
from textsiam.indexing import writing

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
    """After every commit another thread is at work for longer than the index waits."""
    store, threads = index._at.store, []
    write = store.write

    def written(work):
        result = write(work)
        is_at_work = threading.Event()
        threads.append(threading.Thread(target=store.read, args=(lambda: (is_at_work.set(), time.sleep(1.0)),)))
        threads[-1].start()
        assert is_at_work.wait(30)
        return result

    monkeypatch.setattr(store, "write", written)
    yield
    for thread in threads:
        thread.join(30)


@pytest.mark.usefixtures("busy")
def test_what_was_committed_is_told_however_long_others_take(index, monkeypatch):
    """Nobody could ask again: the same call would find its texts there, and tell no match."""
    monkeypatch.setattr(writing, "N_AT_ONCE", 1)  # so many that an approximate structure is thought of
    found = index.add(["new"], [TEXTS[0]])
    assert (found.added, found.id_columns()) == (1, (["new"], ["0"]))
    assert index.update(["new"], [TEXTS[1]]).id_columns() == (["new"], ["1"])
    assert index.remove(["new"]) == 1
    assert len(index) == len(TEXTS)
    index.compact()


def test_a_file_in_the_way_is_something_that_exists(tmp_path, small):
    """Not a folder that may not be written, and it stays as it was."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="something at"):
        Index.create(tmp_path / "file", small, threshold=0.9)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(NotADirectoryError):
        Index.create(tmp_path / "file" / "index", small, threshold=0.9)
