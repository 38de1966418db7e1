"""How much the service takes on, and the refusals that say so."""

from dataclasses import dataclass
from typing import Any


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
