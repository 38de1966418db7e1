"""The log: one line of JSON per request, and one for each warning or error; never a word of a text.

The message of an error may quote a text, so the log names only its kind and where it was raised. Other libraries may quote a
text too: of what they log, only the place is logged.
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

_QUOTE_NOTHING = ("textsiam", "uvicorn")  # in their messages, except of errors
_N_FRAMES = 8  # of a traceback, the last ones

logger = logging.getLogger("textsiam")


class JsonLines(logging.Formatter):
    """One line of JSON per record.

    Fields that `tell` adds are logged as they are. A warning or an error also has ``level``, ``logger`` and ``message`` (of other
    libraries ``place`` instead), and ``fault`` and ``trace`` where there is an exception.

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


def tell(logger: logging.Logger, level: int, message: str, error: BaseException | None = None, **told: Any) -> None:
    """Log a message with these fields."""
    logger.log(level, message, exc_info=error, extra={"told": told})


def log_to(stream: Any = None) -> None:
    """From now on write all logs, warnings and unhandled errors of this process as JSON; by default to standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.raiseExceptions = False  # a line that cannot be written is lost; logging would print the record instead
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("textsiam.service").setLevel(logging.INFO)
    warnings.showwarning = _warned  # type: ignore[assignment]  # it is called by position
    threading.excepthook = sys.unraisablehook = _unhandled


def _warned(_: Warning | str, category: type[Warning], filename: str, lineno: int, *__: Any) -> None:
    tell(logger, logging.WARNING, "a library warned", fault=category.__name__, place=_place(filename, lineno))


def _unhandled(lost: Any) -> None:
    tell(logger, logging.ERROR, "nothing handled an error", lost.exc_value, thread=threading.current_thread().name)


def _message(record: logging.LogRecord) -> str:
    """The message, with the kind of an error in place of its own message."""
    args: Any = record.args
    if isinstance(args, dict):
        args = {name: _shown(value) for name, value in args.items()}
    elif args:
        args = tuple(map(_shown, args))
    said = str(_shown(record.msg))
    try:
        return (said % args if args else said).strip()
    except Exception:  # noqa: BLE001  the arguments do not fit
        return said.strip()


def _shown(value: Any) -> Any:
    return type(value).__name__ if isinstance(value, BaseException) else value


def _place(file: str, line: int) -> str:
    return f"{Path(file).name}:{line}"


def _fault(error: BaseException) -> dict[str, Any]:
    """The kind of an error, where it was raised, and what the operating system says of it."""
    frames = traceback.extract_tb(error.__traceback__)[-_N_FRAMES:]
    told: dict[str, Any] = {"fault": type(error).__name__}
    told["trace"] = [f"{_place(one.filename, one.lineno or 0)} {one.name}" for one in frames]
    if isinstance(error, OSError) and error.strerror:
        told["reason"] = error.strerror
    return told
