"""How much the service takes on, and the refusals that say so."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from textsiam.errors import BrokenIndex, EncoderMismatch, IndexLocked, TextsiamError, TooManyMatches
from textsiam.matching.matches import Matches


@dataclass(frozen=True)
class Limits:
    """Bounds of one request, and of all that are waiting.

    Parameters
    ----------
    body_mb
        Megabytes of a request.
    texts
        Texts to embed, pairs to score, texts to look up or to add, in one request.
    characters
        Of one text; the model reads far fewer.
    duplicates
        Texts of one request for duplicates.
    pairs
        Pairs of an answer.
    explained
        Pairs of a request that are explained.
    in_flight
        Requests worked on at once; more get 429.
    waiting_tokens
        Tokens, estimated, that may wait to be encoded; more get 429.
    batch_tokens
        Tokens, estimated, that are encoded together.
    deadline_s
        Seconds that a text, or the index, may be waited for; then the request gets 503.
    """

    body_mb: int = 16
    texts: int = 2_048
    characters: int = 50_000
    duplicates: int = 20_000
    pairs: int = 100_000
    explained: int = 16
    in_flight: int = 128
    waiting_tokens: int = 500_000
    batch_tokens: int = 8_192
    deadline_s: float = 30.0

    def check(self, texts: Sequence[str], param: str, n_most: int) -> None:
        """Do nothing if so many texts of these lengths are taken on; those that are unusable are told with the answer.

        Raises
        ------
        Refused
            400 if not.
        """
        if len(texts) > n_most:
            raise Refused(
                400, f"A request may hold {n_most:,} texts here, but {len(texts):,} came. Send several.", param=param
            )
        most = self.characters
        long = next((place for place, text in enumerate(texts) if len(text) > most), None)
        if long is not None:
            raise Refused(
                400,
                f"A text may have {most:,} characters, but the one at position {long} has {len(texts[long]):,}. Shorten it.",
                param=param,
            )

    def matched(
        self, work: Callable[[], Matches], remedy: str = "Raise the threshold, or send fewer texts."
    ) -> Matches:
        """What `work` finds, if it is no more than an answer may hold.

        Raises
        ------
        Refused
            400 if it is more.
        """
        try:
            return work()
        except TooManyMatches:
            raise Refused(400, f"More than {self.pairs:,} pairs match. {remedy}") from None


@contextmanager
def asked_for(param: str) -> Iterator[None]:
    """Whatever is no fitting value within was asked for by the request, in this field.

    Raises
    ------
    Refused
        400 for a ValueError; all others are faults of the service.
    """
    try:
        yield
    except ValueError as error:
        raise Refused(400, str(error), param=param) from None


class Refused(Exception):
    """A request that is not answered, and why; as OpenAI's clients expect it.

    Parameters
    ----------
    status
        HTTP's.
    message
        What is wrong, what came, what to do.
    param
        The field that is wrong.
    retry_s
        Seconds after which another try makes sense.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, retry_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.retry_s = status, message, param, retry_s

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, in whole seconds."""
        return {} if self.retry_s is None else {"Retry-After": str(max(1, round(self.retry_s)))}

    def to_json(self) -> dict[str, Any]:
        """OpenAI's form of an error."""
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
