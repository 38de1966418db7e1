"""A task: a function of this package that tells what it could not do, in a form that travels between machines."""

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from textsiam.errors import EncoderMismatch, MissingExtra, ModelNotFound

N_TRIES = 3  # of a task whose worker died, and of one that the file system failed
FATAL = (EncoderMismatch, MissingExtra, ModelNotFound)  # what would befall every shard, and ends a run

_PAUSE_S = 1.0
_SURE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)  # would be the same again


class Failure(NamedTuple):
    """A task that raised, or whose workers died again and again."""

    error: Exception


@dataclass(frozen=True)
class Lost:
    """A shard, or a source, that could not be worked on: its name and rows, and why. The rest was finished without it."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, or a `Failure`; what may be a file system's moment of weakness is tried again."""
    for n_left in reversed(range(N_TRIES)):
        try:
            return function(*arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except OSError as error:
            if n_left == 0 or isinstance(error, _SURE):
                return Failure(_portable(error))
            time.sleep(_PAUSE_S)
        except BaseException as error:  # noqa: BLE001  a panic of a library in Rust is no Exception
            return Failure(_portable(error))
    raise AssertionError


def died(error: Exception) -> Exception:
    """What is told of a worker's end, by what Ray says of it."""
    first = str(error).strip().partition("\n")[0]
    return RuntimeError(f"its worker ended ({type(error).__name__}): {first}")


def _portable(error: BaseException) -> Exception:
    """The error if it can be sent and read again, else one that says the same."""
    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own, of a moment ago
    except Exception:  # noqa: BLE001  whatever keeps it from travelling
        again = None
    if isinstance(error, Exception) and type(again) is type(error):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
