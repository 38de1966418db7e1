"""The sha256 of files, read once: a large file that is as it was is not read again, not even by the next process.

What a hash was computed of is told by inode, size, and times of change to the nanosecond. Kept in the user's cache folder, that
of ``TEXTSIAM_CACHE`` or the system's own; where none can be written, files are read every time.
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
# Smaller files are read in the time that the stamps' file would take.
MIN_BYTES = 1_000_000
# A file changed so recently could change again within one tick of the file system's clock, unseen.
MIN_AGE_NS = 2_000_000_000


def sha256(file: Path) -> str:
    """The file's sha256 as 64 hex digits."""
    told = file.stat()
    if told.st_size < MIN_BYTES:
        return _read(file)
    state = [told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns]
    name, stamps = str(file.resolve()), _stamps()
    if stamps.get(name, [None, None])[0] == state:
        return str(stamps[name][1])
    found = _read(file)
    if time.time_ns() - max(told.st_mtime_ns, told.st_ctime_ns) > MIN_AGE_NS:
        stamps[name] = [state, found]
        _keep(stamps)
    return found


def cache_folder() -> Path:
    """Where this user's programs keep what they can make anew."""
    if told := os.environ.get(VARIABLE):
        return Path(told).expanduser()
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
    """By file: its state and its hash. One dictionary a process, so that what cannot be written is at least remembered."""
    try:
        told = json.loads((cache_folder() / "sha256.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # none yet, damaged, or a user without a home
        return {}
    stamps = told if isinstance(told, dict) else {}
    return {name: stamp for name, stamp in stamps.items() if isinstance(stamp, list) and len(stamp) == 2}  # noqa: PLR2004


def _keep(stamps: dict[str, list[Any]]) -> None:
    """Write them for the next process, leaving out files that are gone."""
    try:
        there = {name: stamp for name, stamp in stamps.items() if Path(name).exists()}
        cache_folder().mkdir(parents=True, exist_ok=True)
        with replacing(cache_folder() / "sha256.json") as new:
            new.write_text(json.dumps(there), encoding="utf-8")
    except (OSError, RuntimeError):
        return
