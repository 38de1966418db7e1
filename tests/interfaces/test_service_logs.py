"""The service's log: lines of JSON whatever happens, and no text of anybody in them."""

import io
import json
import logging
import sys
import threading
import time
import warnings

import pytest

from textsiam.interfaces.service.logs import JsonLines, log_to, tell

WORD = "wombat"


@pytest.fixture
def lines():
    """What was logged, as values."""
    names = ("root", "textsiam", "textsiam.service", "uvicorn")
    before = {name: (it.handlers, it.level, it.propagate) for name in names if (it := logging.getLogger(name))}
    hooks = warnings.showwarning, threading.excepthook, sys.unraisablehook, logging.raiseExceptions
    stream = io.StringIO()
    log_to(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    warnings.showwarning, threading.excepthook, sys.unraisablehook, logging.raiseExceptions = hooks
    for name, (handlers, level, propagate) in before.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_a_warning_of_the_package_is_a_line(lines, model):
    """As the library says it: with numbers and positions."""
    model.encode(["How do I pay?", "", f"{WORD} " * 400])
    first, second = lines()
    assert first.keys() == {"at", "level", "logger", "message"}
    assert (first["level"], first["logger"]) == ("warning", "textsiam")
    assert first["message"] == "1 of 3 texts are unusable and get NaN: positions 1"
    assert "were cut: positions 2" in second["message"]


def test_an_error_is_told_by_kind_and_place(lines):
    """Never by its message, be it logged as an argument or as what was raised, by us or by the server."""
    try:
        int(WORD)
    except ValueError as error:
        raised = error
    logging.getLogger("textsiam").warning("Search stays exact: %s", raised)
    tell(logging.getLogger("textsiam.service"), logging.ERROR, "a request was not answered", raised, request="r1")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=raised)
    logging.getLogger("textsiam").warning("nothing to add")
    warned, ours, theirs, plain = lines()
    assert warned["message"] == "Search stays exact: ValueError"
    assert (ours["request"], ours["fault"], ours["level"]) == ("r1", "ValueError", "error")
    assert ours["trace"][-1].startswith("test_service_logs.py:")
    assert (theirs["message"], theirs["fault"]) == ("Exception in ASGI application", "ValueError")
    assert plain["message"] == "nothing to add"
    assert WORD not in json.dumps(lines())


def test_what_the_system_says_of_a_file_is_told(lines):
    """It names no text, and whoever keeps the service needs it."""
    tell(logging.getLogger("textsiam.service"), logging.ERROR, "failed", OSError(28, "No space left on device", WORD))
    assert lines()[0]["reason"] == "No space left on device"


def test_what_others_say_is_told_by_place(lines):
    """A library's log, warnings, and what ends a thread or comes while something is thrown away: none is printed as it is."""
    try:
        int(WORD)
    except ValueError as error:
        raised = error
    logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: %r", raised, exc_info=raised)
    logging.getLogger("asyncio").error(f"Exception in callback told({WORD!r})")  # noqa: G004  as asyncio does
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"{WORD} is unknown", UserWarning, stacklevel=1)
    thread = threading.Thread(target=int, args=(WORD,), name="ends")
    thread.start()
    thread.join()

    class Dropped:
        def __del__(self):
            int(WORD)

    Dropped()
    first, second, warned, ended, dropped = lines()
    assert (first["logger"], first["level"], first["fault"]) == ("asyncio", "error", "ValueError")
    assert second["place"].startswith("test_service_logs.py:")
    assert (warned["fault"], warned["level"]) == ("UserWarning", "warning")
    assert warned["place"].startswith("test_service_logs.py:")
    assert (ended["thread"], ended["fault"]) == ("ends", "ValueError")
    assert dropped["fault"] == "ValueError"
    assert WORD not in json.dumps(lines())


@pytest.mark.usefixtures("lines")
def test_arguments_that_do_not_fit_are_no_plain_traceback(capsys):
    """What was meant is told, and nothing is printed; an error that was logged as it is, or by name, is told by its kind."""
    logger, stream = logging.getLogger("textsiam"), io.StringIO()
    log_to(stream)  # once more, for pytest's own handlers would raise it
    logger.warning("%d texts", WORD)
    logger.warning("two: %s %s", *[WORD])
    logger.warning(ValueError(WORD))
    logger.warning("by name: %(error)s", {"error": ValueError(WORD)})
    said = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert said == ["%d texts", "two: %s %s", "ValueError", "by name: ValueError"]
    assert capsys.readouterr() == ("", "")


def test_a_request_is_a_line(lines):
    """With its fields and nothing else."""
    tell(logging.getLogger("textsiam.service"), logging.INFO, "request", path="/v1/pairs", status=200)
    (told,) = lines()
    assert told == {"at": told["at"], "path": "/v1/pairs", "status": 200}


def test_half_a_surrogate_breaks_no_line():
    """Lines are ASCII."""
    record = logging.LogRecord("textsiam", logging.WARNING, "", 0, "\ud800\n%d", (1,), None)
    assert json.loads(JsonLines().format(record))["message"] == "\ud800\n1"
    assert "\n" not in JsonLines().format(record)


def test_a_service_writes_nothing_but_lines(serving):
    """After it has said where it is; the library's warnings are among them, the texts are not."""
    service = serving()
    try:
        asked = {"pairs": [[WORD, " "], [f"{WORD} " * 400, "Where?"]], "explain": True}
        assert service.client.post("/v1/pairs", json=asked).status_code == 200
        assert service.client.post("/v1/pairs", content=WORD).status_code == 422
    finally:
        service.stop()
    time.sleep(0.1)
    after = service.lines[1 + next(place for place, line in enumerate(service.lines) if "http://" in line) : -1]
    told = [json.loads(line) for line in after]
    warned = [line["message"] for line in told if line.get("level") == "warning"]
    assert any("they have no explanation" in message for message in warned), told
    assert sum("status" in line for line in told) == 2
    assert WORD not in "".join(service.lines)
