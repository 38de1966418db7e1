"""The log: one line of JSON a request, and one for whatever else warns or fails; never a word of a text.

An error's own message may quote what it was about, so only its kind is told, and where it came from.
"""

import json
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Any

_LOGGERS = {"textsiam": logging.WARNING, "textsiam.service": logging.INFO, "uvicorn": logging.WARNING}
_N_FRAMES = 8  # of where an error came from, the last ones


class JsonLines(logging.Formatter):
    """One line of JSON a record.

    A record with ``told`` (see `tell`) is told as that; any other as ``level``, ``logger`` and ``message``, and with an error its
    ``fault`` and ``trace``.

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
            told |= {"level": record.levelname.lower(), "logger": record.name, "message": _message(record)}
        if record.exc_info and record.exc_info[1]:
            told |= _fault(record.exc_info[1])
        return json.dumps(told, default=str)


def tell(logger: logging.Logger, level: int, message: str, error: Exception | None = None, **told: Any) -> None:
    """Log a message with these fields."""
    logger.log(level, message, exc_info=error, extra={"told": told})


def log_to(stream: Any = None) -> None:
    """From now on the package, its service and the server log as lines of JSON, on standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in _LOGGERS.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


def _message(record: logging.LogRecord) -> str:
    if not isinstance(record.args, tuple):
        return record.getMessage().strip()
    shown = tuple(type(value).__name__ if isinstance(value, BaseException) else value for value in record.args)
    return (str(record.msg) % shown if shown else str(record.msg)).strip()


def _fault(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-_N_FRAMES:]
    told = {
        "fault": type(error).__name__,
        "trace": [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in frames],
    }
    if isinstance(error, OSError) and error.strerror:
        told["reason"] = error.strerror
    return told
