"""The threads of a process take turns at an index. Who waits too long is told so, as of another process that writes."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from textsiam.errors import IndexLocked

Result = TypeVar("Result")

_PAUSE_S = 0.01


class Turns:
    """One thread at a time.

    Parameters
    ----------
    place
        Whose turns they are, as messages show it.
    timeout_s
        How long to wait.
    """

    def __init__(self, place: str, timeout_s: float) -> None:
        self.place, self.timeout_s = place, timeout_s
        self.begin_anew()
        _TURNS.add(self)

    def begin_anew(self) -> None:
        """Nobody is at work. For a process that was forked: the thread that was is not in it."""
        self.lock = threading.RLock()  # itself for who cannot be turned away

    def patiently(self, work: Callable[[], Result], busy: type[Exception]) -> Result:
        """What `work` gives, in another turn whenever it was `busy`: who waits for another process keeps no thread from reading.

        Raises
        ------
        IndexLocked
            If no turn came in time; what is `busy`, if it still was.

        Examples
        --------
        >>> Turns("faq.index", 5.0).patiently(lambda: 3, BlockingIOError)
        3
        """
        until = time.monotonic() + self.timeout_s
        while True:
            with self.turn(until) as left_s:
                try:
                    return work()
                except busy:
                    if not left_s:
                        raise
            time.sleep(_PAUSE_S)

    @contextmanager
    def turn(self, until: float | None = None) -> Iterator[float]:
        """A turn, and the seconds that may still be spent waiting for other processes.

        Parameters
        ----------
        until
            By when, in monotonic seconds. Default: within the time-out.

        Raises
        ------
        IndexLocked
            If it did not come in time.

        Examples
        --------
        >>> with Turns("faq.index", 5.0).turn() as left_s:
        ...     4.0 < left_s <= 5.0
        True
        """
        until = time.monotonic() + self.timeout_s if until is None else until
        lock = self.lock  # whoever forks meanwhile lets go of the one that was taken
        if not lock.acquire(timeout=min(max(until - time.monotonic(), 0.0), threading.TIMEOUT_MAX)):
            raise IndexLocked(
                f"Other threads have been using {self.place} for too long. Wait for them, or open with a longer timeout_s."
            )
        try:
            yield max(until - time.monotonic(), 0.0)
        finally:
            lock.release()


_TURNS: weakref.WeakSet[Turns] = weakref.WeakSet()


def _begin_anew() -> None:
    for turns in _TURNS:
        turns.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
