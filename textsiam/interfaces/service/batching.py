"""Encodes the texts of many requests together: while one batch is computed, the next one fills.

No text waits for a full batch. A request of many texts is encoded in parts, in turn with the others, so that short requests do
not wait for it.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

from textsiam.encoding.encoder import Encoded, Encoder, Progress
from textsiam.encoding.token_vectors import TokenVectors, joined
from textsiam.interfaces.service.limits import Limits, Refused
from textsiam.interfaces.service.logs import tell

logger = logging.getLogger("textsiam.service")

_CHARACTERS_A_TOKEN = 4  # in English; only for estimates
_PACE = 10_000.0  # tokens per second, before the first measurement
_FORGET = 0.2  # weight of each new measurement

Observe = Callable[[int, int, float], None]  # texts, tokens and seconds of a batch
T = TypeVar("T", Encoded, TokenVectors)


@dataclass(eq=False)
class _Waiting:
    """The texts of one request, and the method of an encoder that they wait for."""

    encode: Callable[..., Any]
    texts: Sequence[str]
    costs: list[int]
    prompt: str | None
    parts: "queue.SimpleQueue[Any]" = field(
        default_factory=queue.SimpleQueue
    )  # in the order of the texts; or an Exception
    start: int = 0  # texts before this one are already taken
    is_given_up: bool = False

    @property
    def n_tokens(self) -> int:
        """Tokens, estimated, of texts not yet taken."""
        return sum(self.costs[self.start :])


_Batch = list[tuple[_Waiting, int, int]]  # each request with the start and stop of its texts in this batch


class Batcher:
    """One thread that encodes for all requests, and calls `observe` after every batch."""

    def __init__(self, encoder: Encoder, limits: Limits, observe: Observe = lambda *_: None) -> None:
        self.encoder, self.limits, self.observe = encoder, limits, observe
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self.n_tokens = 0  # estimated, that wait to be encoded
        self._pace = _PACE
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="textsiam-encode", daemon=True)
        self._thread.start()

    def encoded(
        self, encode: Callable[..., T], texts: Sequence[str], *, prompt: str | None, progress: Progress | None = None
    ) -> list[T]:
        """What an encoder's method gives for these texts, in parts, in turn with other requests.

        Refused with 429 if too many texts wait already; with 503 if these wait too long or the service stops.
        """
        if not texts:
            return [encode([], prompt=prompt)]
        waiting = _Waiting(encode, texts, [self._cost(text) for text in texts], prompt)
        self._enter(waiting)
        try:
            return self._awaited(waiting, progress)
        finally:
            waiting.is_given_up = True  # the caller no longer waits for the rest

    def close(self) -> None:
        """Take no more texts, and encode those that wait."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()

    def _awaited(self, waiting: _Waiting, progress: Progress | None) -> list[Any]:
        parts: list[Any] = []
        n_done = 0
        while n_done < len(waiting.texts):
            try:
                part = waiting.parts.get(timeout=self.limits.deadline_s)
            except queue.Empty:
                raise Refused(
                    503,
                    f"The service is busy: texts waited for {self.limits.deadline_s:g} seconds. Try again later, or send fewer.",
                    retry_s=5,
                ) from None
            if isinstance(part, Exception):
                raise part
            parts.append(part)
            n_done += len(part.embeddings)
            if progress:
                progress(n_done, len(waiting.texts))
        return parts

    def _enter(self, waiting: _Waiting) -> None:
        n_tokens = waiting.n_tokens
        with self._changed:
            if self._is_closing:
                raise Refused(503, "The service is stopping. Try again later.", retry_s=5)
            most = self.limits.waiting_tokens
            # A request larger than the limit is let in when half of the limit is free.
            if self.n_tokens and self.n_tokens + min(n_tokens, most // 2) > most:
                raise Refused(
                    429,
                    f"The service is busy: {self.n_tokens:,} tokens wait to be encoded. Try again later, or send fewer texts.",
                    retry_s=self.n_tokens / self._pace,
                )
            self._waiting.append(waiting)
            self.n_tokens += n_tokens
            self._changed.notify()

    def _cost(self, text: str) -> int:
        return min(self.encoder.folder.max_length, 2 + len(text) // _CHARACTERS_A_TOKEN)

    def _run(self) -> None:
        while True:
            batch: _Batch = []
            try:
                with self._changed:
                    while not self._waiting and not self._is_closing:
                        self._changed.wait()
                    if not self._waiting:
                        return
                    batch, n_tokens = self._taken()
                if batch:
                    self._encode(batch, n_tokens)
            except BaseException as error:  # noqa: BLE001  this thread encodes for all and must not end
                self._fail(batch, error)
                tell(logger, logging.ERROR, "a batch was not encoded", error)

    def _fail(self, batch: _Batch, error: BaseException) -> None:
        """Give the error to the requests of the batch; to all that wait if there is no batch yet."""
        with self._changed:
            failed = [waiting for waiting, _, _ in batch] or list(self._waiting)
            if not batch:
                self._waiting.clear()
                self.n_tokens = 0
        # As an Exception, which a caller in another thread can catch.
        told = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        for waiting in failed:
            waiting.is_given_up = True
            waiting.parts.put(told)

    def _taken(self) -> tuple[_Batch, int]:
        """The next texts, some of each request in turn, all with one prompt and for one method; and their tokens."""
        batch: _Batch = []
        served: deque[_Waiting] = deque()  # requests with texts in this batch: the others are first next time
        others: deque[_Waiting] = deque()
        n_tokens, head = 0, self._waiting[0]
        for waiting in self._waiting:
            if waiting.is_given_up:
                self.n_tokens -= waiting.n_tokens
                continue
            start = stop = waiting.start
            room = self.limits.batch_tokens - n_tokens
            if waiting.prompt == head.prompt and waiting.encode == head.encode:
                while stop < len(waiting.texts) and (waiting.costs[stop] <= room or (not batch and stop == start)):
                    room -= waiting.costs[stop]
                    stop += 1
            if stop > start:
                cost = sum(waiting.costs[start:stop])
                batch.append((waiting, start, stop))
                waiting.start = stop
                n_tokens += cost
                self.n_tokens -= cost
            if stop < len(waiting.texts):
                (served if stop > start else others).append(waiting)
        self._waiting = others + served
        return batch, n_tokens

    def _encode(self, batch: _Batch, n_tokens: int) -> None:
        texts = [text for waiting, start, stop in batch for text in waiting.texts[start:stop]]
        started = time.perf_counter()
        try:
            encoded = batch[0][0].encode(texts, prompt=batch[0][0].prompt)
        except BaseException as error:  # noqa: BLE001  the callers get it; a panic in Rust is no Exception
            if len(batch) > 1:  # only the request that caused the error gets it
                for one in batch:
                    self._encode([one], sum(one[0].costs[one[1] : one[2]]))
                return
            self._fail(batch, error)
            return
        seconds = max(time.perf_counter() - started, 1e-6)
        self._pace += _FORGET * (n_tokens / seconds - self._pace)
        first = 0
        for waiting, start, stop in batch:
            waiting.parts.put(encoded[slice(first, first + stop - start)])
            first += stop - start
        self.observe(len(texts), n_tokens, seconds)


class BatchedEncoder(Encoder):
    """An encoder that all requests share: the batcher encodes the texts of all threads together."""

    def __init__(self, batcher: Batcher, encoder: Encoder | None = None) -> None:
        self._plain = encoder or batcher.encoder
        self.__dict__.update(self._plain.__dict__)
        self._batcher = batcher

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, progress: Progress | None = None) -> Encoded:
        """As `Encoder.embed`, with the errors of `Batcher.encoded`."""
        self.prompt_text(prompt)  # raises, before they wait
        parts = self._batcher.encoded(self._plain.embed, texts, prompt=prompt, progress=progress)
        names = [one.name for one in fields(Encoded)]
        return Encoded(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def _tokens_of(self, texts: Sequence[str], *, prompt: str | None) -> TokenVectors:
        return joined(self._batcher.encoded(self._plain._tokens_of, texts, prompt=prompt))  # noqa: SLF001  of its class
