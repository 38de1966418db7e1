"""An audit's folder: ``audit.json`` holds the design, ``sample.csv`` the pairs with one column of labels per labeller.

``training.csv`` holds the informative pairs in the same form. Each file is written whole or not at all: an interrupted session
loses nothing that was saved. `Audit` imports this module, not the other way round: reading returns the parts of an audit.

A spreadsheet runs a text as a formula if it begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return (OWASP, "CSV
injection"). Such a text is written behind an apostrophe. So is a text that begins with an apostrophe: removing the first one
then gives every text back.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textsiam.auditing.labelling import NOT_GIVEN, WRITTEN, Labels, label_of
from textsiam.auditing.sampling import AUDIT, TRAINING, Design, Sampled
from textsiam.data.files import replacing
from textsiam.data.sources import open_source
from textsiam.data.texts import Fault, SetAside
from textsiam.errors import UnreadableInput

if TYPE_CHECKING:
    from textsiam.auditing.audit import Audit

SCHEMA, DESIGN, SAMPLES = 1, "audit.json", {AUDIT: "sample.csv", TRAINING: "training.csv"}
COLUMNS = ("number", "id_a", "id_b", "text_a", "text_b", "score", "purpose")
LABEL = "label_"  # followed by the labeller's name
_RUNS = ("=", "+", "-", "@", "\t", "\r", "'")


def guarded(text: str) -> str:
    """The text in a form that a spreadsheet does not run.

    Examples
    --------
    >>> guarded("=1+1"), unguarded(guarded("=1+1")), unguarded(guarded("'tis"))
    ("'=1+1", '=1+1', "'tis")
    """
    return f"'{text}" if text.startswith(_RUNS) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text.removeprefix("'")


def write_audit(audit: "Audit", folder: Path) -> None:
    """Write a new folder, or the labels to the folder of the same audit; see `Audit.save`."""
    if not folder.exists():
        with replacing(folder) as temporary:
            temporary.mkdir()
            (temporary / DESIGN).write_text(json.dumps(_head(audit), ensure_ascii=False) + "\n", encoding="utf-8")
            for purpose, name in SAMPLES.items():
                _write_sample(audit, purpose, temporary / name)
        return
    if not (folder / DESIGN).is_file() or _read_json(folder).get("pairs") != _fingerprint(audit.pairs):
        raise FileExistsError(f"{folder} exists and does not hold this audit. Name another folder.")
    for purpose, name in SAMPLES.items():
        _write_sample(audit, purpose, folder / name)


def _head(audit: "Audit") -> dict[str, Any]:
    return {
        "kind": "textsiam audit",
        "schema": SCHEMA,
        "join": dict(audit.join),
        "pairs": _fingerprint(audit.pairs),
        "cell": audit.pairs.cell.tolist(),
        "design": audit.design.to_json(),
    }


def _fingerprint(pairs: Sampled) -> str:
    """A hash that differs for other pairs, and for altered ones."""
    columns = [list(pairs.id_a), list(pairs.id_b), list(pairs.text_a), list(pairs.text_b), pairs.score.tolist()]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def _write_sample(audit: "Audit", purpose: str, target: Path) -> None:
    """Write nothing if there is no pair of that purpose."""
    rows = list(rows_of(audit, purpose))
    if rows:
        with replacing(target) as temporary:
            write_rows(temporary, [*COLUMNS, *(f"{LABEL}{name}" for name in audit.labels)], rows)


def rows_of(audit: "Audit", purpose: str) -> Iterator[dict[str, str]]:
    """One row per pair: `COLUMNS`, then each labeller's label, as they are written."""
    pairs = audit.pairs
    for place in range(len(pairs)):
        if pairs.purpose(place + 1) == purpose:
            texts = (column[place] for column in (pairs.id_a, pairs.id_b, pairs.text_a, pairs.text_b))
            # repr of the fp64 value: reading it gives the same fp32.
            values = (str(place + 1), *map(guarded, texts), repr(float(pairs.score[place])), purpose)
            labels = {f"{LABEL}{name}": WRITTEN[int(own[place])] for name, own in audit.labels.items()}
            yield dict(zip(COLUMNS, values, strict=True)) | labels


def write_rows(
    target: Path, columns: Iterable[str], rows: Iterable[Mapping[str, str]], encoding: str = "utf-8"
) -> None:
    """A csv file with these columns; lines end as in spreadsheets, so that a lone carriage return is quoted."""
    with target.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(columns), extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)


def export_pairs(
    audit: "Audit", target: Path, labeller: str, *, training: bool = False, with_score: bool = False
) -> int:
    """Write the pairs for a spreadsheet, with one column for the labeller to fill in; returns their number.

    Scores could influence a labeller: they are left out unless asked for. The file starts with a BOM, by which spreadsheets
    recognise UTF-8.
    """
    columns = [name for name in COLUMNS if with_score or name != "score"]
    rows = list(rows_of(audit, TRAINING if training else AUDIT))
    with replacing(target) as temporary:
        write_rows(temporary, [*columns, f"{LABEL}{labeller}"], rows, "utf-8-sig")
    return len(rows)


def read_audit(folder: Path) -> tuple[Design, Sampled, dict[str, Any], Labels]:
    """The parts of the audit in a folder; see `Audit.open`."""
    head = _read_json(folder)
    cell = np.array(head["cell"], dtype=np.int64)
    rows = list(_read_samples(folder, bool((cell < 0).any())))
    if [row["number"] for row in rows] != [str(number) for number in range(1, len(cell) + 1)]:
        raise UnreadableInput(_altered(folder, "rows are missing, or in another order"))
    id_a, id_b, text_a, text_b = ([unguarded(row[name]) for row in rows] for name in COLUMNS[1:5])
    try:
        score = np.array([float(row["score"]) for row in rows], dtype=np.float32)
        pairs = Sampled(id_a, id_b, text_a, text_b, score, cell)
    except ValueError:
        raise UnreadableInput(_altered(folder, "a score is not a number")) from None
    if _fingerprint(pairs) != head["pairs"]:
        raise UnreadableInput(_altered(folder, "ids, texts or scores are not those that were drawn"))
    names = dict.fromkeys(name.removeprefix(LABEL) for row in rows for name in row if name.startswith(LABEL))
    labels = {name: np.array([_own_label(folder, row, name) for row in rows], dtype=np.int64) for name in names}
    return Design.from_json(head["design"]), pairs, head["join"], labels


def _read_json(folder: Path) -> dict[str, Any]:
    if not (folder / DESIGN).is_file():
        raise UnreadableInput(f"{folder} holds no audit ({DESIGN} is missing). Name a folder that `audit start` wrote.")
    try:
        head = json.loads((folder / DESIGN).read_text(encoding="utf-8"))
    except ValueError:
        head = None
    if not isinstance(head, dict) or head.get("kind") != "textsiam audit":
        raise UnreadableInput(f"{folder / DESIGN} is no audit, or is damaged. Restore it, or start a new audit.")
    if head.get("schema") != SCHEMA:
        raise UnreadableInput(
            f"{folder} was written by another version of textsiam (schema {head.get('schema')}, this one reads {SCHEMA}). "
            "Use that version, or start a new audit."
        )
    return head


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
            f"{folder}: pair {row['number']} has the label {row[f'{LABEL}{name}']!r} by {name}. A label is 1, 0, skip or empty. "
            "Correct the file."
        )
    return label


def _altered(folder: Path, what: str) -> str:
    return (
        f"{folder} was altered: {what}. Restore {' and '.join(SAMPLES.values())}. To add labels made elsewhere, use "
        "`textsiam audit label FOLDER --from FILE`."
    )


def read_labels(audit: "Audit", source: str, labeller: str) -> tuple[dict[int, int], SetAside]:
    """Labels from a file (csv, jsonl, parquet, …), pair number → label, and the rows that were set aside.

    The file needs the columns ``number`` and ``label_NAME`` or ``label``. If it has ``text_a`` and ``text_b``, they must be those
    of the pair, except for white space. Rows without a label are skipped. Raises UnreadableInput if the file lacks these columns;
    OSError if it cannot be opened.
    """
    labels: dict[int, int] = {}
    faults = []
    with closing(open_source(source)) as table:
        column = next((name for name in (f"{LABEL}{labeller}", "label") if name in table.columns), None)
        if "number" not in table.columns or column is None:
            raise UnreadableInput(
                f"{source} needs the columns number and {LABEL}{labeller} (or label), but has {', '.join(table.columns)}. "
                "Give a file that `audit label --to` wrote."
            )
        texts = [name for name in ("text_a", "text_b") if name in table.columns]
        for record in table.records(["number", column, *texts]):
            fault = record.fault or _fault(audit, record.values, column, labels)
            if fault:
                faults.append(Fault(source, record.row, fault))
            elif (label := label_of(record.values[column])) not in {None, NOT_GIVEN}:
                labels[_number(record.values["number"])] = int(label)
    return labels, SetAside(tuple(faults))


def _number(value: object) -> int:
    """The pair's number, or 0 if the value is none; a spreadsheet turns 7 into 7.0."""
    try:
        number = float(str(value))
    except ValueError:
        return 0
    return int(number) if number.is_integer() else 0


def _fault(audit: "Audit", values: Mapping[str, object], column: str, before: Mapping[int, int]) -> str:
    """Why this row cannot be used, or ``""``."""
    number = _number(values.get("number"))
    if not 1 <= number <= len(audit.pairs):
        return f"no pair has the number {values.get('number')!r}"
    if label_of(values.get(column)) is None:
        return f"label {values[column]!r} is not 1, 0 or skip"
    if number in before:
        return f"pair {number} is in an earlier row"
    for name, own in (("text_a", audit.pairs.text_a), ("text_b", audit.pairs.text_b)):
        if name in values and not _same(str(values[name]), own[number - 1]):
            return f"{name} is not that of pair {number}"
    return ""


def _same(found: str, own: str) -> bool:
    """Whether a text in a file is the pair's own, guarded or not; white space may differ."""
    return own.split() in (found.split(), unguarded(found).split(), found.removeprefix("\ufeff").split())
