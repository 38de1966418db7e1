"""The sha256 of files. A large file that has not changed is not read again, not even by the next process.

A file counts as unchanged if inode, size and times of change (in nanoseconds) are the same. The hashes are kept in the user's
cache folder (``TEXTSIAM_CACHE``, or the system's own). If it cannot be written, files are read every time.
"""

import hashlib
import json
import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from textsiam.data.files import replacing

VARIABLE = "TEXTSIAM_CACHE"
# Reading a smaller file takes no longer than reading the cache.
MIN_BYTES = 1_000_000
# A file that changed this recently may change again within one tick of the file system's clock.
MIN_AGE_NS = 2_000_000_000


def sha256(file: Path) -> str:
    """The file's sha256 as 64 hex digits."""
    stat = file.stat()
    if stat.st_size < MIN_BYTES:
        return _read(file)
    state = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    name, stamps = str(file.resolve()), _stamps()
    if stamps.get(name, [None, None])[0] == state:
        return str(stamps[name][1])
    found = _read(file)
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > MIN_AGE_NS:
        stamps[name] = [state, found]
        _keep(stamps)
    return found


def cache_folder() -> Path:
    """The user's folder for files that can be made again."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "textsiam"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "textsiam"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "textsiam"


def _read(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def _stamps() -> dict[str, list[Any]]:
    """Each file's state and hash. One dictionary per process, which remembers them even if the cache cannot be written."""
    try:
        content = json.loads((cache_folder() / "sha256.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # no file yet, damaged, or a user without a home
        return {}
    stamps = content if isinstance(content, dict) else {}
    return {name: stamp for name, stamp in stamps.items() if isinstance(stamp, list) and len(stamp) == 2}  # noqa: PLR2004


def _keep(stamps: dict[str, list[Any]]) -> None:
    """Write the stamps of files that still exist, for the next process."""
    try:
        existing = {name: stamp for name, stamp in stamps.items() if Path(name).exists()}
        cache_folder().mkdir(parents=True, exist_ok=True)
        with replacing(cache_folder() / "sha256.json") as new:
            new.write_text(json.dumps(existing), encoding="utf-8")
    except (OSError, RuntimeError):
        return
