"""Long encodings: the same vectors as at once, shards reused after a kill, nothing half-written."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from textsiam import Encoder, Texts, encode_to_parquet
from textsiam.encoding import shards

TEXTS = [f"how do i pay order {chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(100)]


@pytest.fixture(scope="module")
def tiny(tiny_transformer):
    return Encoder.load(tiny_transformer("bert"), device="cpu", dtype="float32")


def chunks(n=30, texts=TEXTS):
    for start in range(0, len(texts), n):
        part = texts[start : start + n]
        yield Texts(part, rows=range(start + 1, start + len(part) + 1))


def read(path):
    table = pq.read_table(path)
    return table.column("id").to_pylist(), np.array(table.column("embedding").to_pylist(), dtype=np.float32)


def test_the_file_holds_what_encode_gives(tiny, tmp_path):
    """Ids and vectors in order; the folder of parts is gone."""
    report = encode_to_parquet(tiny, chunks(), tmp_path / "v.parquet")
    ids, vectors = read(tmp_path / "v.parquet")
    assert ids == [str(n) for n in range(1, 101)]
    np.testing.assert_allclose(vectors, tiny.encode(TEXTS), atol=1e-5)
    assert (report.n_texts, report.n_shards, report.n_reused) == (100, 4, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["v.parquet"]


def test_finished_shards_are_not_computed_again(tiny, tmp_path, monkeypatch):
    """Interrupted in the third shard: two are reused, and the result is that of an uninterrupted run."""
    embed, calls = Encoder.embed, []

    def dies(self, texts, **options):
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embed(self, texts, **options)

    monkeypatch.setattr(Encoder, "embed", dies)
    with pytest.raises(KeyboardInterrupt):
        encode_to_parquet(tiny, chunks(), tmp_path / "v.parquet")
    assert not (tmp_path / "v.parquet").exists()
    calls.append(0)
    report = encode_to_parquet(tiny, chunks(), tmp_path / "v.parquet")
    assert calls[4:] == [30, 10]
    assert report.n_reused == 2
    monkeypatch.undo()
    np.testing.assert_allclose(read(tmp_path / "v.parquet")[1], tiny.encode(TEXTS), atol=1e-5)


def test_a_shard_is_reused_only_for_the_same_texts_and_model(tiny, tiny_transformer, tmp_path, monkeypatch):
    """Changed text, changed ids, another model, a damaged file: computed again."""

    def stop(*_):
        raise KeyboardInterrupt

    def leave_parts(encoder=tiny, texts=TEXTS):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(shards, "_join", stop)
            encode_to_parquet(encoder, chunks(texts=texts), tmp_path / "v.parquet")

    leave_parts()
    assert encode_to_parquet(tiny, chunks(), tmp_path / "v.parquet").n_reused == 4
    leave_parts(texts=["changed", *TEXTS[1:]])
    assert encode_to_parquet(tiny, chunks(), tmp_path / "v.parquet").n_reused == 3
    leave_parts(encoder=Encoder.load(tiny_transformer("roberta"), device="cpu"))
    assert encode_to_parquet(tiny, chunks(), tmp_path / "v.parquet").n_reused == 0
    leave_parts()
    shard = tmp_path / "v.parquet.parts" / "000001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    assert encode_to_parquet(tiny, chunks(), tmp_path / "v.parquet").n_reused == 3
    np.testing.assert_allclose(read(tmp_path / "v.parquet")[1], tiny.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_real_process_killed_goes_on_where_it_stopped(how, tmp_path, tiny_transformer):
    """The command itself, killed after its first shards: the same command ends the work and reuses them."""
    source = tmp_path / "t.txt"
    source.write_text("".join(f"{text} {n}\n" for n, text in enumerate(TEXTS * 60)))
    command = [
        sys.executable,
        "-m",
        "textsiam",
        "encode",
        str(source),
        "-o",
        str(tmp_path / "v.parquet"),
        "--shard-rows",
        "20",  # so many shards that the signal comes in time on a busy machine too
    ]
    command += ["--model", str(tiny_transformer("bert")), "--device", "cpu"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    parts = tmp_path / "v.parquet.parts"
    deadline = time.monotonic() + 60
    while not (parts.is_dir() and len(list(parts.glob("0*.parquet"))) > 2) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(running.pid, how)
    told = running.communicate(timeout=60)[1]
    assert running.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL), told
    assert ("run the same command again" in told) == (how == signal.SIGINT)
    assert not (tmp_path / "v.parquet").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "shards were there already" in again.stderr
    ids, _ = read(tmp_path / "v.parquet")
    assert ids == [str(n) for n in range(1, 6_001)]


def test_memory_does_not_grow_with_the_file(tiny, tmp_path):
    """Ten times the texts, hardly more memory."""
    import tracemalloc

    peaks = []
    for n in (2_000, 20_000):
        tracemalloc.start()
        encode_to_parquet(tiny, chunks_of(n), tmp_path / "v.parquet")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def chunks_of(n, size=1_000):
    for start in range(0, n, size):
        yield Texts([f"pay {chr(97 + row % 26)} {chr(97 + row % 23)}" for row in range(start, start + size)])


def test_an_output_that_cannot_be_written_is_refused_first(tiny, tmp_path):
    """Before anything is encoded."""
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        encode_to_parquet(tiny, iter(["never read"]), tmp_path / "no" / "v.parquet")
