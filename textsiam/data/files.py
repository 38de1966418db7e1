"""Files go out whole: written under a temporary name beside the target, flushed to disk, then renamed."""

import errno
import os
import secrets
import shutil
import tempfile
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
    folder = target.resolve().parent  # behind a link stands what shall be replaced
    if not folder.exists():
        raise FileNotFoundError(f"The output's folder does not exist: {folder}. Create it first.")
    if target.is_dir():
        raise IsADirectoryError(f"The output is a folder: {target}. Name a file.")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"The output may not be written: {target}. Choose a place where you may write.")
    if target.exists() and not target.is_file():
        return  # a pipe or a device, which is written directly
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Find out before the slow work whether files can be written in `folder`, which may be yet to be made.

    Raises
    ------
    OSError
        If it, or the nearest folder above it that exists, is a file or takes none.
    """
    place = folder.resolve()
    nearest = next(above for above in (place, *place.parents) if above.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"A folder is needed to write in, but {nearest} is a file. Name another folder.")
    try:
        with tempfile.TemporaryFile(dir=nearest):  # asked of the file system: root, too, may not write everywhere
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:  # which is told where it counts
            raise PermissionError(
                f"The output may not be written in {nearest}: {error.strerror}. Choose a place where you may write."
            ) from None


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
