"""The errors that textsiam raises and callers may catch.

Each is a ``TextsiamError`` and also the built-in type that fits. The message has three parts: what is wrong, what was given,
what to do.
"""

from typing import Any


class TextsiamError(Exception):
    """The base class of textsiam's own errors."""


class UnreadableInput(TextsiamError, ValueError):
    """A source cannot be read: unknown format, missing column, no usable row."""


class BadRows(TextsiamError, ValueError):
    """A source has unusable rows, and the caller asked for ``strict`` reading.

    ``set_aside`` holds the rows (`textsiam.data.texts.SetAside`).
    """

    def __init__(self, message: str, set_aside: Any = None) -> None:
        super().__init__(message)
        self.set_aside = set_aside


class ModelNotFound(TextsiamError, FileNotFoundError):
    """There is no model where it was looked for."""


class BrokenModel(TextsiamError, ValueError):
    """A model folder is truncated, altered or inconsistent."""


class UnsupportedModel(TextsiamError, ValueError):
    """A model folder is intact, but needs something that textsiam does not have."""


class EncoderMismatch(TextsiamError, ValueError):
    """Numbers made with one encoder would be used with another."""


class TaskFailed(TextsiamError, RuntimeError):
    """A task of a distributed run failed on every attempt, and the run cannot continue without it."""


class IndexNotFound(TextsiamError, FileNotFoundError):
    """There is no index to open at this place."""


class BrokenIndex(TextsiamError, ValueError):
    """An index's files are truncated, altered or inconsistent."""


class IndexLocked(TextsiamError, TimeoutError):
    """Another process or thread used the index for longer than the caller's timeout."""


class NotCalibrated(TextsiamError, RuntimeError):
    """A model without calibration or thresholds was asked for a probability or a decision."""


class TooManyMatches(TextsiamError, ValueError):
    """More pairs reach the threshold than the caller allows."""


class MissingExtra(TextsiamError, ImportError):
    """An optional dependency is not installed. The message gives the command that installs it."""
