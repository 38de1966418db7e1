"""Files go out whole: written under a temporary name beside the target, flushed to disk, then renamed."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path that becomes `target` when the block ends well, and vanishes when it does not.

    A file or a folder may be written there. An existing file is replaced in one step; an existing folder is moved
    aside, replaced, then deleted. A target that is neither (a pipe, a device) is written directly.

    Raises
    ------
    OSError
        What the file system says (no such folder, no permission, no space); `target` is then as it was.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "greeting.txt"
    >>> with replacing(target) as temporary:
    ...     _ = temporary.write_text("hello")
    >>> target.read_text()
    'hello'
    """
    if target.exists() and not target.is_file() and not target.is_dir():
        yield target
        return
    target = target.resolve()  # behind a link stands what shall be replaced, not the link
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _flush(temporary)
        _rename(temporary, target)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Delete a file or a folder with all it holds; nothing happens if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_writable(target: Path) -> None:
    """Find out before the slow work whether `target` can be written.

    Raises
    ------
    OSError
        If its folder is missing or may not be written, or if it is itself a folder.
    """
    folder = target.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"The output's folder does not exist: {folder}. Create it first.")
    if target.is_dir():
        raise IsADirectoryError(f"The output is a folder: {target}. Name a file.")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise PermissionError(f"The output may not be written: {target}. Choose a place where you may write.")


def _flush(path: Path) -> None:
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rename(temporary: Path, target: Path) -> None:
    if not target.is_dir():
        temporary.replace(target)
        return
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    remove(old)
