"""Columns to files, complete or not at all: csv, jsonl or parquet by the file's ending; to standard output as csv."""

import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from textsiam.data.files import replacing
from textsiam.data.writers import WRITERS, Columns, Write, csv_rows

WRITTEN: list[Path] = []  # files that this command has written


def write_columns(target: Path, blocks: Iterable[Columns]) -> None:
    """Write blocks of columns to a file or standard output."""
    with writing(target) as write:
        for columns in blocks:
            write(columns)


@contextmanager
def writing(target: Path) -> Iterator[Write]:
    """A function that appends columns to `target`, which appears when the block ends without error; ``-`` is standard output."""
    if str(target) == "-":
        with csv_rows(sys.stdout) as write:
            yield write
        return
    with replacing(target) as temporary, WRITERS.get(target.suffix.lower(), WRITERS[".csv"])(temporary) as write:
        yield write
    WRITTEN.append(target)


def written() -> str:
    """What to say of the files that an interrupted command has written."""
    there = [str(target) for target in WRITTEN if target.exists()]
    return f"{' and '.join(there)} had been written, nothing else." if there else "Nothing was written."


def told_of(error: OSError) -> str:
    """The error of the file system in one line, with what to do."""
    what = error.filename2 or error.filename  # of a copy, the second one could not be written
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        what = what or "the output"
        return f"No space left to write {what}. Nothing half-written remains: free some space, or write elsewhere."
    if error.errno == errno.EFBIG:
        return (
            f"{what or 'The output'} would be larger than the file system, or ulimit -f, allows. "
            "Nothing half-written remains: raise the limit, or write elsewhere."
        )
    told = f"{error.strerror}: {what}" if error.strerror and what else str(error)
    needs_a_right = error.errno in {errno.EACCES, errno.EPERM}
    return f"{told}. Get the permission, or choose another place." if needs_a_right else told
