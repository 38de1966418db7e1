"""The threads of a process take turns at an index. Who waits too long is told so, as of another process that writes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from textsiam.errors import IndexLocked


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
        self.lock = threading.RLock()  # itself for who cannot be turned away

    @contextmanager
    def turn(self) -> Iterator[float]:
        """A turn, and the seconds that may still be spent waiting for other processes.

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
        until = time.monotonic() + self.timeout_s
        if not self.lock.acquire(timeout=min(max(self.timeout_s, 0.0), threading.TIMEOUT_MAX)):
            raise IndexLocked(
                f"Other threads have been using {self.place} for too long. Wait for them, or open with a longer timeout_s."
            )
        try:
            yield max(until - time.monotonic(), 0.0)
        finally:
            self.lock.release()
