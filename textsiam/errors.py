"""What can go wrong, as types that callers may catch.

Every error of ours is a ``TextsiamError`` and also the built-in type that fits it, and its text has three parts:
what is wrong, what came, what to do.
"""

from typing import Any


class TextsiamError(Exception):
    """The root of all errors that textsiam raises on purpose."""


class UnreadableInput(TextsiamError, ValueError):
    """A source cannot be read at all: unknown format, missing column, no usable row."""


class BadRows(TextsiamError, ValueError):
    """Rows were unusable and the caller asked for none to be set aside.

    Parameters
    ----------
    message
        What people read.
    set_aside
        The rows (`textsiam.data.texts.SetAside`).
    """

    def __init__(self, message: str, set_aside: Any = None) -> None:
        super().__init__(message)
        self.set_aside = set_aside


class ModelNotFound(TextsiamError, FileNotFoundError):
    """No model can be had from where it was looked for."""


class BrokenModel(TextsiamError, ValueError):
    """A model folder is truncated, altered or inconsistent."""


class UnsupportedModel(TextsiamError, ValueError):
    """A model folder is sound, but asks for something that textsiam does not do."""


class EncoderMismatch(TextsiamError, ValueError):
    """Numbers made with one encoder were about to be used with another."""


class TaskFailed(TextsiamError, RuntimeError):
    """A task of a distributed run failed for good, and the run cannot go on without it."""


class IndexNotFound(TextsiamError, FileNotFoundError):
    """There is no index where one was to be opened."""


class BrokenIndex(TextsiamError, ValueError):
    """An index's files are truncated, altered or inconsistent."""


class IndexLocked(TextsiamError, TimeoutError):
    """Another process wrote to an index, or another thread used it, for longer than the caller would wait."""


class NotCalibrated(TextsiamError, RuntimeError):
    """A probability or a decision was asked of a model that carries none."""


class TooManyMatches(TextsiamError, ValueError):
    """More pairs reach the threshold than the caller allowed."""


class MissingExtra(TextsiamError, ImportError):
    """An optional part is not installed; the text gives the install line."""
