"""An audit's folder: ``audit.json`` says how the sample was drawn, ``sample.csv`` holds its pairs and a column a labeller.

``training.csv`` holds the informative pairs, in the same form. Every file is written whole or not at all, so a labeller who is
killed loses nothing that was saved.

A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return would run as a formula where the file is opened as
a spreadsheet (OWASP, "CSV injection"). It is written behind an apostrophe; so is one that begins with an apostrophe, so that
taking the first one away gives every text back.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from textsiam.auditing.audit import Audit
from textsiam.auditing.labelling import NOT_GIVEN, WRITTEN, label_of
from textsiam.auditing.sampling import AUDIT, TRAINING, Design, Sampled
from textsiam.data.files import replacing
from textsiam.data.sources import open_source
from textsiam.data.tables import Table
from textsiam.data.texts import Fault, SetAside
from textsiam.errors import UnreadableInput

SCHEMA, DESIGN, SAMPLES = 1, "audit.json", {AUDIT: "sample.csv", TRAINING: "training.csv"}
COLUMNS = ("number", "id_a", "id_b", "text_a", "text_b", "score", "purpose")
LABEL = "label_"  # followed by the labeller's name
_RUNS = ("=", "+", "-", "@", "\t", "\r", "'")


def guarded(text: str) -> str:
    """The text as a spreadsheet leaves it alone.

    Examples
    --------
    >>> guarded("=1+1"), unguarded(guarded("=1+1")), unguarded(guarded("'tis"))
    ("'=1+1", '=1+1', "'tis")
    """
    return f"'{text}" if text.startswith(_RUNS) else text


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return text.removeprefix("'")


def write_audit(audit: Audit, folder: Path) -> None:
    """Write a new folder, or the labels to that of the same audit; see `Audit.save`."""
    if not folder.exists():
        with replacing(folder) as temporary:
            temporary.mkdir()
            (temporary / DESIGN).write_text(json.dumps(_told(audit), ensure_ascii=False) + "\n", encoding="utf-8")
            for purpose, name in SAMPLES.items():
                _write_sample(audit, purpose, temporary / name)
        return
    if not (folder / DESIGN).is_file() or _read_json(folder).get("pairs") != _fingerprint(audit.pairs):
        raise FileExistsError(f"{folder} exists and does not hold this audit. Name another folder.")
    for purpose, name in SAMPLES.items():
        _write_sample(audit, purpose, folder / name)


def _told(audit: Audit) -> dict[str, Any]:
    return {
        "kind": "textsiam audit",
        "schema": SCHEMA,
        "join": dict(audit.join),
        "pairs": _fingerprint(audit.pairs),
        "cell": audit.pairs.cell.tolist(),
        "design": audit.design.to_json(),
    }


def _fingerprint(pairs: Sampled) -> str:
    """What tells these pairs from others, and from altered ones."""
    columns = [list(pairs.id_a), list(pairs.id_b), list(pairs.text_a), list(pairs.text_b), pairs.score.tolist()]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def _write_sample(audit: Audit, purpose: str, target: Path) -> None:
    """Nothing where there is no pair of that purpose."""
    rows = list(rows_of(audit, purpose))
    if rows:
        with replacing(target) as temporary:
            write_rows(temporary, [*COLUMNS, *(f"{LABEL}{name}" for name in audit.labels)], rows)


def rows_of(audit: Audit, purpose: str) -> Iterator[dict[str, str]]:
    """One row a pair: `COLUMNS`, then each labeller's label, as they are written."""
    pairs = audit.pairs
    for place in range(len(pairs)):
        if pairs.purpose(place + 1) == purpose:
            texts = (column[place] for column in (pairs.id_a, pairs.id_b, pairs.text_a, pairs.text_b))
            # repr of the fp64 value: fp32 comes back as it was.
            values = (str(place + 1), *map(guarded, texts), repr(float(pairs.score[place])), purpose)
            labels = {f"{LABEL}{name}": WRITTEN[int(own[place])] for name, own in audit.labels.items()}
            yield dict(zip(COLUMNS, values, strict=True)) | labels


def write_rows(
    target: Path, columns: Iterable[str], rows: Iterable[Mapping[str, str]], encoding: str = "utf-8"
) -> None:
    """A csv file with these columns; line ends as spreadsheets write them, so that a lone carriage return is quoted."""
    with target.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(columns), extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)


def export_pairs(audit: Audit, target: Path, labeller: str, *, training: bool = False, with_score: bool = False) -> int:
    """Write the pairs for a spreadsheet, with one column for the labeller to fill in; how many there are.

    Scores, which may sway a labeller, are left out unless asked for. A mark at the start (BOM) tells spreadsheets that it is
    UTF-8.
    """
    told = [name for name in COLUMNS if with_score or name != "score"]
    rows = list(rows_of(audit, TRAINING if training else AUDIT))
    with replacing(target) as temporary:
        write_rows(temporary, [*told, f"{LABEL}{labeller}"], rows, "utf-8-sig")
    return len(rows)


def read_audit(folder: Path) -> Audit:
    """The audit of a folder; see `Audit.open`."""
    told = _read_json(folder)
    cell = np.array(told["cell"], dtype=np.int64)
    rows = list(_read_samples(folder, bool((cell < 0).any())))
    if [row["number"] for row in rows] != [str(number) for number in range(1, len(cell) + 1)]:
        raise UnreadableInput(_altered(folder, "rows are missing, or in another order"))
    id_a, id_b, text_a, text_b = ([unguarded(row[name]) for row in rows] for name in COLUMNS[1:5])
    try:
        score = np.array([float(row["score"]) for row in rows], dtype=np.float32)
        pairs = Sampled(id_a, id_b, text_a, text_b, score, cell)
    except ValueError:
        raise UnreadableInput(_altered(folder, "a score is no number")) from None
    if _fingerprint(pairs) != told["pairs"]:
        raise UnreadableInput(_altered(folder, "ids, texts or scores are not those that were drawn"))
    names = dict.fromkeys(name.removeprefix(LABEL) for row in rows for name in row if name.startswith(LABEL))
    labels = {name: np.array([_own_label(folder, row, name) for row in rows], dtype=np.int64) for name in names}
    return Audit(Design.from_json(told["design"]), pairs, told["join"], labels)


def _read_json(folder: Path) -> dict[str, Any]:
    if not (folder / DESIGN).is_file():
        raise UnreadableInput(f"{folder} holds no audit ({DESIGN} is missing). Name a folder that `audit start` wrote.")
    try:
        told = json.loads((folder / DESIGN).read_text(encoding="utf-8"))
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("kind") != "textsiam audit":
        raise UnreadableInput(f"{folder / DESIGN} is no audit, or is damaged. Start a new one.")
    if told.get("schema") != SCHEMA:
        raise UnreadableInput(
            f"{folder} was written by another version of textsiam (schema {told.get('schema')}, this one reads {SCHEMA}). "
            "Use that version, or start a new audit."
        )
    return told


def _read_samples(folder: Path, has_training: bool) -> Iterator[dict[str, str]]:  # noqa: FBT001
    csv.field_size_limit(2**31 - 1)
    for name in list(SAMPLES.values())[: 1 + has_training]:
        try:
            with (folder / name).open(encoding="utf-8-sig", newline="") as stream:
                text = stream.read()
        except UnicodeDecodeError:
            raise UnreadableInput(_altered(folder, f"{name} is not UTF-8")) from None
        rows = csv.DictReader(io.StringIO(text, newline=""), restval="")
        if missing := set(COLUMNS) - {*(rows.fieldnames or ())}:
            raise UnreadableInput(_altered(folder, f"{name} has no column {', '.join(sorted(missing))}"))
        yield from rows


def _own_label(folder: Path, row: Mapping[str, str], name: str) -> int:
    label = label_of(row.get(f"{LABEL}{name}"))
    if label is None:
        raise UnreadableInput(
            f"{folder}: pair {row['number']} has the label {row[f'{LABEL}{name}']!r} by {name}. A label is 1, 0, skip or empty: "
            "mend it there."
        )
    return label


def _altered(folder: Path, what: str) -> str:
    return (
        f"{folder} was altered: {what}. Restore {' and '.join(SAMPLES.values())}; labels made elsewhere come in by "
        "`textsiam audit label FOLDER --from FILE`."
    )


def read_labels(audit: Audit, source: str, labeller: str) -> tuple[dict[int, int], SetAside]:
    """Labels from a file (csv, jsonl, parquet, …), pair number → label, and the rows that were refused.

    The file needs ``number`` and ``label_NAME`` or ``label``. Where it has ``text_a`` and ``text_b`` they must be those of the
    pair, but for white space. Rows without a label are passed over.

    Raises
    ------
    UnreadableInput
        If the file has no such columns.
    OSError
        If it cannot be opened.
    """
    with closing(open_source(source)) as table:
        return _labels_of(audit, table, source, labeller)


def _labels_of(audit: Audit, table: Table, source: str, labeller: str) -> tuple[dict[int, int], SetAside]:
    column = next((name for name in (f"{LABEL}{labeller}", "label") if name in table.columns), None)
    if "number" not in table.columns or column is None:
        raise UnreadableInput(
            f"{source} needs the columns number and {LABEL}{labeller} (or label), but has {', '.join(table.columns)}. Label a "
            "file that `audit label --to` wrote."
        )
    texts = [name for name in ("text_a", "text_b") if name in table.columns]
    labels: dict[int, int] = {}
    faults = []
    for record in table.records(["number", column, *texts]):
        fault = record.fault or _fault(audit, record.values, column, labels)
        if fault:
            faults.append(Fault(source, record.row, fault))
        elif (label := label_of(record.values[column])) not in {None, NOT_GIVEN}:
            labels[_number(record.values["number"])] = int(label)
    return labels, SetAside(tuple(faults))


def _number(value: object) -> int:
    """The pair's number, 0 if it is none; a spreadsheet makes 7 into 7.0."""
    try:
        number = float(str(value))
    except ValueError:
        return 0
    return int(number) if number.is_integer() else 0


def _fault(audit: Audit, values: Mapping[str, object], column: str, before: Mapping[int, int]) -> str:
    """Why this row gives no label, or ``""``."""
    number = _number(values.get("number"))
    if not 1 <= number <= len(audit.pairs):
        return f"no pair has the number {values.get('number')!r}"
    if label_of(values.get(column)) is None:
        return f"label {values[column]!r} is not 1, 0 or skip"
    if number in before:
        return f"pair {number} came before"
    for name, own in (("text_a", audit.pairs.text_a), ("text_b", audit.pairs.text_b)):
        if name in values and not _same(str(values[name]), own[number - 1]):
            return f"{name} is not that of pair {number}"
    return ""


def _same(told: str, own: str) -> bool:
    """Whether a text came back, guarded or not; white space may have changed."""
    return own.split() in (told.split(), unguarded(told).split(), told.removeprefix("\ufeff").split())
