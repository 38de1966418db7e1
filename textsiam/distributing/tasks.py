"""A task: a function of this package whose errors become results that can be sent between machines."""

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from textsiam.errors import EncoderMismatch, MissingExtra, ModelNotFound

N_TRIES = 3  # of a task whose worker died, or that had an error of the file system
FATAL = (EncoderMismatch, MissingExtra, ModelNotFound)  # would happen to every shard: ends the run

_PAUSE_S = 1.0
_SURE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)  # would happen again


class Failure(NamedTuple):
    """A task that raised an error, or whose worker died in every try."""

    error: Exception


@dataclass(frozen=True)
class Lost:
    """A source, or a shard of it, that was left out: its name and rows, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of the function, or a `Failure`; tries again after errors of the file system that may pass."""
    for n_left in reversed(range(N_TRIES)):
        try:
            return function(*arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except OSError as error:
            if n_left == 0 or isinstance(error, _SURE):
                return Failure(_portable(error))
            time.sleep(_PAUSE_S)
        except BaseException as error:  # noqa: BLE001  a panic in a Rust library is no Exception
            return Failure(_portable(error))
    raise AssertionError


def died(error: Exception) -> Exception:
    """The error of a task whose worker ended, with the first line of what Ray says."""
    first = str(error).strip().partition("\n")[0]
    return RuntimeError(f"its worker ended ({type(error).__name__}): {first}")


def _portable(error: BaseException) -> Exception:
    """The error if it can be pickled, else a RuntimeError with the same text."""
    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  what this line pickled
    except Exception:  # noqa: BLE001  an error may fail to pickle in any way
        again = None
    if isinstance(error, Exception) and type(again) is type(error):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
