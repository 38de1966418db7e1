"""A large file is hashed once; a changed one is always hashed again; nothing depends on the cache being there."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from textsiam.encoding.model_folder import folder
from textsiam.encoding.model_folder.folder import MIN_BYTES, cache_folder, sha256


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A large file that was last changed a while ago, and a cache of its own."""
    monkeypatch.setenv("TEXTSIAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folder, "MIN_AGE_NS", 0)
    folder._stamps.cache_clear()
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(MIN_BYTES))
    yield file
    folder._stamps.cache_clear()


def of(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_read_once_and_by_the_next_process_not_at_all(large, monkeypatch):
    """The stamp is kept in the cache folder, and is enough."""
    expected = of(large)
    assert sha256(large) == expected
    assert json.loads((cache_folder() / "sha256.json").read_text())[str(large)][1] == expected
    folder._stamps.cache_clear()
    monkeypatch.setattr(folder, "_digest", lambda file: pytest.fail(f"{file} was read again"))
    assert sha256(large) == expected


def test_a_changed_file_is_read_again(large):
    """Of the same size, with its time of change set back, or another file by the same name."""
    first = sha256(large)
    told = large.stat()
    large.write_bytes(os.urandom(MIN_BYTES))
    os.utime(large, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert sha256(large) == of(large) != first
    other = large.with_name("other")
    other.write_bytes(os.urandom(MIN_BYTES))
    other.replace(large)
    assert sha256(large) == of(large)


def test_a_file_that_has_just_changed_is_not_trusted(large, monkeypatch):
    """It could change again within a tick of the clock."""
    monkeypatch.setattr(folder, "MIN_AGE_NS", 2_000_000_000)
    large.touch()
    sha256(large)
    assert str(large) not in folder._stamps()


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', ""])
def test_a_damaged_cache_is_as_none(large, content):
    """Whatever stands there, the hash is right."""
    cache_folder().mkdir()
    (cache_folder() / "sha256.json").write_text(content)
    assert sha256(large) == of(large)


def test_no_place_to_write_is_no_error(large, monkeypatch):
    """A cache folder that cannot be made."""
    monkeypatch.setenv("TEXTSIAM_CACHE", str(large / "below"))
    assert sha256(large) == of(large)


def test_files_that_are_gone_are_forgotten(large):
    """The cache does not grow with every model that ever was."""
    sha256(large)
    gone = large.with_name("gone")
    large.replace(gone)
    large.write_bytes(os.urandom(MIN_BYTES))
    sha256(gone)
    gone.unlink()
    sha256(large)
    assert list(json.loads((cache_folder() / "sha256.json").read_text())) == [str(large)]


@pytest.mark.parametrize(("argv", "code"), [(["score", "--pair", "a", "b"], 0), (["score"], 2), (["--version"], 0)])
def test_the_command_ends_with_its_code_and_all_it_said(argv, code):
    """Leaving at once loses neither the exit code, nor output through a pipe, nor what was registered for the end."""
    code_run = (
        "import atexit, sys; from textsiam.interfaces.cli import main; atexit.register(print, 'the end')\n"
        f"sys.argv = ['textsiam', *{argv!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code_run], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == "the end"
    assert len(done.stdout + done.stderr) > len("the end")
