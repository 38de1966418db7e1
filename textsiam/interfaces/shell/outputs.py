"""Columns to files, complete or not at all: csv, jsonl or parquet by the file's ending; to standard output as csv."""

import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from textsiam.data.files import check_writable, replacing
from textsiam.data.writers import WRITERS, Columns, Write, csv_rows
from textsiam.errors import UnreadableInput

WRITTEN: list[Path] = []  # files that this command has written


def check_outputs(
    *targets: Path | None, inputs: Iterable[str] = (), as_json: bool = False, model: Path | None = None
) -> None:
    """Refuse, before the slow work, outputs that cannot be written, or that would destroy an input or each other.

    Into the folder `model` a model must be writable.

    Raises
    ------
    UnreadableInput
        If an ending names no format, or one file is named twice.
    OSError
        If a file cannot be written, or the folder holds anything but a model.
    """
    if model is not None:
        from textsiam.encoding.model_folder.layout import check_model_target

        check_model_target(model)
    taken = {Path(name).resolve() for name in inputs if name != "-"}
    standard = int(as_json)
    for target in targets:
        if target is None:
            continue
        if str(target) == "-":
            standard += 1
            if standard > 1:
                raise UnreadableInput("Standard output would get two answers (-, --json). Write one of them to a file.")
            continue
        if target.exists() and not target.is_file() and not target.is_dir():
            continue  # a pipe or a device
        if target.suffix.lower() not in WRITERS:
            raise UnreadableInput(
                f"textsiam cannot write {target.name}: its ending names no format. End it in {', '.join(WRITERS)}."
            )
        if target.resolve() in taken:
            raise UnreadableInput(f"{target} is also an input or another output of this command. Name another file.")
        taken.add(target.resolve())
        check_writable(target)


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
