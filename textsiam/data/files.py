"""Whole files or none: written under a temporary name beside the target, flushed to disk, then renamed."""

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
    """A temporary path that becomes `target` if the block succeeds, and is deleted if it fails.

    Write a file or a folder there. An existing file is replaced in one step. An existing folder is moved aside,
    replaced, then deleted. A target that is neither (a pipe, a device) is written directly. After an `OSError` (no such folder,
    no permission, no space) `target` is unchanged.

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
    target = target.resolve()  # replace what a link points to, not the link
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _flush(temporary)
        _rename(temporary, target)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Delete a file, or a folder with all its content. Do nothing if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_writable(target: Path) -> None:
    """Raise `OSError` if `target` cannot be written: no folder, no permission, or a folder of that name.

    Call it before slow work.
    """
    folder = target.resolve().parent  # replace what a link points to
    if not folder.exists():
        raise FileNotFoundError(f"The output's folder does not exist: {folder}. Create it first.")
    if target.is_dir():
        raise IsADirectoryError(f"The output is a folder: {target}. Name a file.")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"You have no permission to write the output {target}. Choose another place.")
    if target.exists() and not target.is_file():
        return  # a pipe or a device, which is written directly
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Raise `OSError` if no file can be written in `folder`, or, while that does not exist, in the nearest one above it.

    Call it before slow work.
    """
    place = folder.resolve()
    nearest = next(above for above in (place, *place.parents) if above.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"Expected a folder to write in, but {nearest} is a file. Name another folder.")
    try:
        with tempfile.TemporaryFile(dir=nearest):  # a trial: even root cannot write everywhere
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:  # a full disk is reported where the file is written
            raise PermissionError(
                f"The output cannot be written in {nearest}: {error.strerror}. Choose another place."
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
