"""Checks every request before its route: size, token, host and number. It logs each request, but never the texts."""

import asyncio
import hashlib
import hmac
import logging
import time
import uuid
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textsiam.interfaces.service.limits import Limits, Refused
from textsiam.interfaces.service.logs import tell
from textsiam.interfaces.service.prometheus_metrics import Metrics

logger = logging.getLogger("textsiam.service")

_BODY_S = 30.0  # seconds to wait for the next part of a request
_OPEN = {"/", "/health", "/ready"}  # these need no token
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]


class Guard:
    """An ASGI application that checks requests before another application, the one with the routes, answers them.

    Parameters
    ----------
    token
        Bearer token that requests need. None: no token, but the Host header must name this machine, so that no web page can
        reach the service under its own name.
    hosts
        More allowed names for the Host header; None allows all.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: Metrics, token: str | None, hosts: frozenset[str] | None
    ) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self._digest = None if token is None else _digest(token.encode())
        self._hosts = None if hosts is None else _LOCAL | hosts
        self.n_in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, sent = time.perf_counter(), {"status": 500}
        scope["state"] = {**scope.get("state", {}), "request": uuid.uuid4().hex[:12]}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        self.n_in_flight += 1
        self.metrics.in_flight.set(self.n_in_flight)
        try:
            body = _Body(receive, self.limits.body_mb * 2**20)
            try:
                self._check(scope)
                body.check(scope)
                await self.app(scope, body, answer)
            except Refused as refused:  # of this guard; the application answers those of its routes
                await JSONResponse(refused.to_json(), refused.status, refused.headers)(scope, receive, answer)
        finally:
            self.n_in_flight -= 1
            self.metrics.in_flight.set(self.n_in_flight)
            self._log(scope, sent["status"], time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if self._digest is None:
            host = _name_of(headers.get(b"host", b"localhost").decode("latin-1"))
            if self._hosts is not None and host not in self._hosts:
                raise Refused(
                    403,
                    f"The service does not answer to the host name {host!r}. Allow it when you start: --allow-host.",
                )
            if headers.get(b"sec-fetch-site") in {b"cross-site", b"same-site"}:
                raise Refused(
                    403,
                    "The request is from a page of another site. Use the service's own page, or start it with a token.",
                )
        elif scope["path"] not in _OPEN:
            kind, _, token = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(_digest(token.strip()), self._digest):
                raise Refused(401, "The token is missing or wrong. Send it as a header: Authorization: Bearer TOKEN.")
        if self.n_in_flight > self.limits.in_flight and scope["path"] not in _OPEN:
            raise Refused(
                429, f"The service is busy: {self.limits.in_flight:,} requests run already. Try again later.", retry_s=1
            )

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.of_request(route, status, seconds)
        line: dict[str, Any] = {
            "request": scope["state"]["request"],
            "method": scope["method"],
            "path": route,
            "status": status,
            "ms": round(1e3 * seconds, 1),
        }
        line |= {name: scope["state"][name] for name in ("texts", "pairs") if name in scope["state"]}
        tell(logger, logging.INFO, "request", **line)


class _Body:
    """Passes on the body of a request and refuses one that is too large or too slow."""

    def __init__(self, receive: Receive, n_most: int) -> None:
        self.receive, self.n_most, self.n = receive, n_most, 0
        self.is_whole = False

    def check(self, scope: Scope) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.n_most:
            raise self._refused()

    async def __call__(self) -> Message:
        if self.is_whole:  # the next message is that the client has gone
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), _BODY_S)
        except TimeoutError:
            raise Refused(
                408, f"The request's body did not arrive within {_BODY_S:g} seconds. Send it again."
            ) from None
        self.is_whole = not message.get("more_body", False)
        self.n += len(message.get("body", b""))
        if self.n > self.n_most:
            raise self._refused()
        return message

    def _refused(self) -> Refused:
        return Refused(
            413,
            f"A request may hold {self.n_most // 2**20} MB, but this one is larger. Send several, or raise --max-body-mb.",
        )


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _digest(token: bytes) -> bytes:
    """A digest of fixed length, so that comparing does not reveal the token's length."""
    return hashlib.sha256(token).digest()
