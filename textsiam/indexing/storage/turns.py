"""The threads of a process use an index one at a time; waiting too long raises `IndexLocked`, as for another writer."""

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from textsiam.errors import IndexLocked


class Turns:
    """One thread at a time.

    Parameters
    ----------
    place
        The index, as messages show it.
    timeout_s
        How long to wait.
    """

    def __init__(self, place: str, timeout_s: float) -> None:
        self.place, self.timeout_s = place, timeout_s
        self.start_over()
        _TURNS.add(self)

    def start_over(self) -> None:
        """Free the turn. For a forked process, which does not have the thread that held it."""
        self.lock = threading.RLock()

    def until(self) -> float:
        """When the time-out ends that begins now, in monotonic seconds."""
        return time.monotonic() + self.timeout_s

    @contextmanager
    def turn(self, until: float | None = None) -> Iterator[float]:
        """Hold the turn; gives the seconds that may still be spent on waiting for other processes.

        Waits until `until`, in monotonic seconds (default: the time-out); raises IndexLocked if other threads work for longer.

        Examples
        --------
        >>> with Turns("faq.index", 5.0).turn() as left_s:
        ...     4.0 < left_s <= 5.0
        True
        """
        until = self.until() if until is None else until
        lock = self.lock  # a fork meanwhile puts another in its place
        if not lock.acquire(timeout=min(max(until - time.monotonic(), 0.0), threading.TIMEOUT_MAX)):
            raise IndexLocked(
                f"Other threads have been using {self.place} for too long. Wait for them, or open with a longer timeout_s."
            )
        try:
            yield max(until - time.monotonic(), 0.0)
        finally:
            lock.release()


_TURNS: weakref.WeakSet[Turns] = weakref.WeakSet()


def _start_over() -> None:
    for turns in _TURNS:
        turns.start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
