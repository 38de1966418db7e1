"""The duplicates of a file as a stream: a line of JSON per step, the answer last."""

import json
import logging
import queue
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi.responses import StreamingResponse

from textsiam.data.readers import read_texts
from textsiam.errors import TextsiamError
from textsiam.interfaces.service import bodies
from textsiam.interfaces.service.answers import Answers
from textsiam.interfaces.service.limits import Refused, asked_for, refusal_of
from textsiam.interfaces.service.logs import tell
from textsiam.interfaces.service.page import placed

logger = logging.getLogger("textsiam.service")

_ENDINGS = {"csv", "tsv", "jsonl", "txt", "parquet"}
_MOST_BYTES = 2**28  # of a parquet file's columns


class _GoneError(Exception):
    """Raised when the client no longer reads the answer."""


def streamed(answers: Answers, content: bytes, asked: Mapping[str, str]) -> StreamingResponse:
    """``{"stage", "done", "total"}``, …, then ``{"answer"}`` or ``{"error"}``.

    `asked` has the ``name`` of the file, by whose ending it is read; ``column`` and ``threshold``, if wanted.
    """
    lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    gone = threading.Event()

    def follow(stage: str, done: int, total: int) -> None:
        if gone.is_set():
            raise _GoneError
        lines.put({"stage": stage, "done": done, "total": total})

    def work() -> None:
        try:
            lines.put({"answer": _answer(answers, content, asked, follow)})
        except _GoneError:
            pass
        except Exception as error:  # noqa: BLE001  the caller gets it as the last line
            refusal = refusal_of(error)
            lines.put(refusal.to_json())
            if refusal.status == 500:  # noqa: PLR2004
                tell(logger, logging.ERROR, "a file was not answered", error)
        finally:
            lines.put(None)

    def told() -> Iterator[bytes]:
        threading.Thread(target=work, name="textsiam-duplicates", daemon=True).start()
        try:
            while (line := lines.get()) is not None:
                yield json.dumps(line, ensure_ascii=True).encode() + b"\n"
        finally:
            gone.set()

    return StreamingResponse(told(), media_type="application/x-ndjson")


def _check_parquet(file: Path, n_most: int) -> None:
    """Refuse a file that would be far larger when read than as it was sent."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        told = pq.read_metadata(file)
    except (pa.ArrowException, OSError):
        return  # reading it tells what is wrong
    n_bytes = sum(told.row_group(group).total_byte_size for group in range(told.num_row_groups))
    if told.num_rows > n_most or n_bytes > _MOST_BYTES:
        raise Refused(
            400, f"The file holds {told.num_rows:,} rows, but the most is {n_most:,}. Use textsiam duplicates."
        )


def _answer(answers: Answers, content: bytes, asked: Mapping[str, str], follow: Any) -> dict[str, Any]:
    name = Path(asked.get("name", "questions.csv")).name
    ending = name.lower().rpartition(".")[2]
    if ending not in _ENDINGS:
        raise Refused(400, f"{name[:100]} is no file that can be read here. Use {', '.join(sorted(_ENDINGS))}.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"file.{ending}"
        file.write_bytes(content)
        if ending == "parquet":
            _check_parquet(file, answers.limits.duplicates)
        try:
            texts = read_texts(file, column=asked.get("column") or None)
        except TextsiamError as error:
            raise Refused(400, str(error).replace(str(file), name)) from None
    with asked_for("threshold"):
        given = asked.get("threshold") or answers.scale.proposed
        threshold = None if given is None else float(given)
        request = bodies.DuplicatesRequest(texts=list(texts), threshold=threshold)
    found = answers.duplicates(request, follow)
    model = answers.model
    return {
        "column": texts.mapping.get("text", ""),
        "texts": list(texts),
        "ids": list(texts.ids),
        "set_aside": [{"row": fault.row, "reason": fault.reason} for fault in texts.set_aside][:1_000],
        "n_set_aside": len(texts.set_aside),
        "pairs": [
            [one.left, one.right, one.score, one.probability, one.decision, one.reason, one.log_odds]
            for one in found.pairs
        ],
        "threshold": found.threshold,
        "decided": found.decided,
        "accept": placed(model, model.threshold, decided=found.decided),
        "reject": placed(model, model.reject_threshold, decided=found.decided),
        "truncated": len(found.truncated),
    }
