"""The log: one line of JSON a request, and one for whatever else warns or fails; never a word of a text.

An error's own message may quote what it was about, so only its kind is told, and where it came from. So may whatever a library
says that is neither ours nor the server: of that only the place is told.
"""

import json
import logging
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

_LOGGERS = {"textsiam": logging.WARNING, "textsiam.service": logging.INFO, "uvicorn": logging.WARNING}
_QUOTE_NOTHING = ("textsiam", "uvicorn")  # in what they say, but for errors
_N_FRAMES = 8  # of where an error came from, the last ones


class JsonLines(logging.Formatter):
    """One line of JSON a record.

    A record with ``told`` (see `tell`) is told as that; any other as ``level``, ``logger`` and ``message``, but another library's
    by its ``place`` alone; and with an error its ``fault`` and ``trace``.

    Examples
    --------
    >>> record = logging.LogRecord("textsiam", logging.WARNING, "", 0, "%d texts: %s", (2, ValueError("secret")), None)
    >>> json.loads(JsonLines().format(record))["message"]
    '2 texts: ValueError'
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        told: dict[str, Any] = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))}
        told |= getattr(record, "told", {})
        if record.levelno > logging.INFO:
            told |= {"level": record.levelname.lower(), "logger": record.name}
            is_known = record.name.partition(".")[0] in _QUOTE_NOTHING
            told |= {"message": _message(record)} if is_known else {"place": _place(record.pathname, record.lineno)}
        if record.exc_info and record.exc_info[1]:
            told |= _fault(record.exc_info[1])
        return json.dumps(told, default=str)


class _Lines(logging.StreamHandler[Any]):
    """Writes them, and where that fails says nothing rather than what it was to write."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        pass


def tell(logger: logging.Logger, level: int, message: str, error: BaseException | None = None, **told: Any) -> None:
    """Log a message with these fields."""
    logger.log(level, message, exc_info=error, extra={"told": told})


def log_to(stream: Any = None) -> None:
    """From now on all that is logged, warned of or lost in a thread becomes lines of JSON, on standard error."""
    handler = _Lines(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(lambda record: record.levelno > logging.INFO or hasattr(record, "told"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    warnings.showwarning = _warned  # type: ignore[assignment]  # it is called by position
    threading.excepthook = _lost
    sys.unraisablehook = _unraisable
    for name, level in _LOGGERS.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


def _warned(_: Warning | str, category: type[Warning], filename: str, lineno: int, *__: Any) -> None:
    place = _place(filename, lineno)
    tell(logging.getLogger("textsiam"), logging.WARNING, "a library warned", fault=category.__name__, place=place)


def _lost(lost: threading.ExceptHookArgs) -> None:
    thread = lost.thread.name if lost.thread else ""
    tell(logging.getLogger("textsiam"), logging.ERROR, "a thread ended by an error", lost.exc_value, thread=thread)


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    tell(logging.getLogger("textsiam"), logging.ERROR, "an error came where none can be raised", lost.exc_value)


def _message(record: logging.LogRecord) -> str:
    said = _shown(record.msg)
    try:
        if isinstance(record.args, tuple):
            args: Any = tuple(map(_shown, record.args))
        else:
            args = {name: _shown(value) for name, value in (record.args or {}).items()}
        return (str(said) % args if args else str(said)).strip()
    except Exception:  # noqa: BLE001  arguments that do not fit: what was meant is told all the same
        return str(said).strip()


def _shown(value: Any) -> Any:
    """A logged value; of an error its kind."""
    return type(value).__name__ if isinstance(value, BaseException) else value


def _place(file: str, line: int) -> str:
    return f"{Path(file).name}:{line}"


def _fault(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-_N_FRAMES:]
    told = {
        "fault": type(error).__name__,
        "trace": [f"{_place(one.filename, one.lineno or 0)} {one.name}" for one in frames],
    }
    if isinstance(error, OSError) and error.strerror:
        told["reason"] = error.strerror
    return told
