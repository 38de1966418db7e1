"""The limits of the service, and the errors for requests beyond them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from textsiam.errors import BrokenIndex, EncoderMismatch, IndexLocked, TextsiamError, TooManyMatches


@dataclass(frozen=True)
class Limits:
    """The limits of one request, and of all requests together."""

    body_mb: int = 16  # megabytes per request
    texts: int = 2_048  # texts to embed, search or add, or pairs to score, per request
    characters: int = 50_000  # per text; the model reads far fewer
    duplicates: int = 20_000  # texts per request for duplicates
    pairs: int = 100_000  # per answer
    explained: int = 16  # pairs to explain per request
    in_flight: int = 128  # requests at a time; more get 429
    waiting_tokens: int = 500_000  # estimated, that may wait to be encoded; more get 429
    batch_tokens: int = 8_192  # estimated, per batch
    deadline_s: float = 30.0  # to wait for a text or the index; then the request gets 503

    def check(self, texts: Sequence[str], param: str, n_most: int) -> None:
        """Refused with 400 if there are too many texts or one is too long. Unusable texts pass: the answer reports them."""
        if len(texts) > n_most:
            raise Refused(
                400, f"A request may hold {n_most:,} texts here, but got {len(texts):,}. Send several.", param=param
            )
        most = self.characters
        long = next((place for place, text in enumerate(texts) if len(text) > most), None)
        if long is not None:
            raise Refused(
                400,
                f"A text may have {most:,} characters, but the one at position {long} has {len(texts[long]):,}. Shorten it.",
                param=param,
            )

    @contextmanager
    def matching(self, remedy: str = "Raise the threshold, or send fewer texts.") -> Iterator[None]:
        """Turn too many matches for an answer, found within this context, into Refused with 400."""
        try:
            yield
        except TooManyMatches:
            raise Refused(400, f"More than {self.pairs:,} pairs match. {remedy}") from None


@contextmanager
def asked_for(param: str) -> Iterator[None]:
    """Turn a ValueError within this context into Refused with 400, for a wrong value in this field of the request."""
    try:
        yield
    except ValueError as error:
        raise Refused(400, str(error), param=param) from None


class Refused(Exception):
    """A refused request and the reason, in the form that OpenAI's clients expect.

    Parameters
    ----------
    status
        The HTTP status.
    message
        What is wrong, what was given, what to do.
    param
        The wrong field.
    retry_s
        Seconds to wait before another try.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, retry_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.retry_s = status, message, param, retry_s

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After in whole seconds, if a retry makes sense; how to authenticate, if that is what is missing."""
        headers = {} if self.retry_s is None else {"Retry-After": str(max(1, round(self.retry_s)))}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})  # noqa: PLR2004

    def to_json(self) -> dict[str, Any]:
        """The error in OpenAI's form."""
        kinds = {401: "authentication_error", 429: "rate_limit_error", 503: "server_error"}
        kind = kinds.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.status}}


def refusal_of(error: Exception) -> Refused:
    """How a request that failed is answered: 400 for what it asked, 503 for a busy index, 500 for a fault of the service."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, IndexLocked):
        return Refused(503, "The index has been busy for too long. Try again later.", retry_s=5)
    if isinstance(error, TextsiamError) and not isinstance(error, (BrokenIndex, EncoderMismatch)):
        return Refused(400, str(error))
    return Refused(500, "The service cannot answer this. Its log names the fault.")
