"""``textsiam serve``: a model over HTTP, and a page for people."""

import os
import signal
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from textsiam.interfaces.shell.options import ComputeOptions, spread
from textsiam.interfaces.shell.terminal import answering, say

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "TEXTSIAM_TOKEN"
_FINISH_S = 300  # to answer accepted requests when the service stops
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, kw_only=True)
class AddressOptions:
    """Where the service listens, and who may use it."""

    host: Annotated[str, Option(help="Address to listen on. One that other machines reach needs a token.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Option(min=0, max=65_535, help="Port; 0 takes a free one and prints it.")] = 8000
    token_file: Annotated[
        Path | None, Option(help=f"File with the token that requests must carry. Default: ${VARIABLE}, else none.")
    ] = None
    allow_host: Annotated[
        list[str] | None, Option(help="Another host name that requests may use, without a token.")
    ] = None
    without_token: Annotated[
        bool,
        Option(
            "--without-token", help="Serve other machines without a token: anyone who reaches the service can use it."
        ),
    ] = False

    def token(self) -> str | None:
        """The token that requests must carry, or None; raises if there is none and other machines can reach the service."""
        file = self.token_file
        if file and not file.exists():
            raise FileNotFoundError(
                f"There is no token file {file}. Create it, for example with `openssl rand -hex 24`."
            )
        token = file.read_text("utf-8").strip() if file else os.environ.get(VARIABLE)
        if token is not None and not token:
            raise ValueError("The token is empty. Create one, for example with `openssl rand -hex 24`.")
        if self.host not in _LOOPBACK and token is None and not self.without_token:
            raise typer.BadParameter(
                f"{self.host} can be reached from other machines. Set a token ({VARIABLE}, --token-file), or add --without-token."
            )
        return token

    def hosts(self) -> frozenset[str] | None:
        """The host names that requests may use; None: any."""
        if self.without_token and self.host in {"0.0.0.0", "::"}:  # noqa: S104  compared with, not bound
            return None
        return frozenset([*(self.allow_host or []), *([self.host] if self.without_token else [])])

    def listening(self) -> socket.socket:
        """A socket that listens on the address; with TCP named, as asyncio turns off Nagle's delay of 40 ms only then."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self.host, self.port))
            made.listen(2_048)  # from now on requests wait and are not refused
        except OSError as error:
            made.close()
            raise OSError(
                error.errno, f"Cannot listen on port {self.port}: {error.strerror}. Use another port (--port)"
            ) from None
        return made

    def url(self, listening: socket.socket) -> str:
        """The URL of the service."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{listening.getsockname()[1]}"


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """How much the service accepts, by the names of its `Limits`."""

    body_mb: Annotated[int, Option("--max-body-mb", min=1, help="Most megabytes per request.")] = 16
    texts: Annotated[int, Option("--max-texts", min=1, help="Most texts per request.")] = 2_048
    duplicates: Annotated[int, Option("--max-duplicates", min=2, help="Most texts per request for duplicates.")] = (
        20_000
    )
    in_flight: Annotated[int, Option("--max-requests", min=1, help="Most requests at the same time; more get 429.")] = (
        128
    )
    deadline_s: Annotated[
        float, Option("--deadline", min=0.1, help="Most seconds to wait for the encoder or the index; then 503.")
    ] = 30.0


@spread
def serve(
    model: Annotated[
        str | None, Argument(help="Model folder or Hub name. Default: $TEXTSIAM_MODEL, else the embedded one.")
    ] = None,
    *,
    index: Annotated[str | None, Option(help="An index to search and add to: a folder, or postgresql://….")] = None,
    address: AddressOptions,
    limits: LimitOptions,
    computing: ComputeOptions,
) -> None:
    """Serve a model over HTTP: embeddings for OpenAI's clients, pairs, duplicates, an index, and a page at /.

    `textsiam serve --index faq.index`, then open http://127.0.0.1:8000; `curl 127.0.0.1:8000/openapi.json` lists all routes.
    Ctrl-C or SIGTERM stops it after all accepted requests are answered.
    """
    with answering():
        token = address.token()
        uvicorn, create_app = _needed()
        from textsiam.indexing.index import Index
        from textsiam.interfaces.service.limits import Limits
        from textsiam.interfaces.service.logs import log_to

        log_to()
        precision = None
        if index is not None and not computing.dtype:
            with Index.open(index) as there:
                precision = there.settings["precision"]  # the index takes no other
        siamese = computing.load(model, precision)
        listening = address.listening()
        opener = None if index is None else partial(Index.open, index, timeout_s=limits.deadline_s)
        app = create_app(siamese, opener, limits=Limits(**vars(limits)), token=token, hosts=address.hosts())
        encoder = siamese.encoder
        told = f"{encoder.name} ({encoder.backend_name}, {encoder.precision})"
        say(f"serving {told} at {address.url(listening)}")
        is_whole = _run(uvicorn, app, listening)
        say("stopped; all accepted requests were answered" if is_whole else "stopped before all requests were answered")


def _needed() -> "tuple[Any, Callable[..., Any]]":
    """The server, and the function that creates the application: both need the extra."""
    try:
        import uvicorn

        from textsiam.interfaces.service.app import create_app
    except ImportError as error:
        from textsiam.errors import MissingExtra

        raise MissingExtra(f"The service needs more: pip install 'textsiam[serve]' ({error}).") from None
    return uvicorn, create_app


def _run(uvicorn: Any, app: Any, listening: socket.socket) -> bool:
    """Serve until a signal stops it; return whether all accepted requests were answered."""
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: None)  # uvicorn handles the signal, and sends it again at the end
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_FINISH_S
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
    return bool(server.started and not server.force_exit)
