"""The routes: each checks a request, lets a thread answer it, and returns JSON."""

import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from textsiam import __version__
from textsiam.errors import TextsiamError
from textsiam.interfaces.service import bodies
from textsiam.interfaces.service.answers import Answers, shared
from textsiam.interfaces.service.batching import Batcher
from textsiam.interfaces.service.guard import Guard
from textsiam.interfaces.service.limits import Limits, Refused, refusal_of
from textsiam.interfaces.service.logs import tell
from textsiam.interfaces.service.page import page, scale_of
from textsiam.interfaces.service.prometheus_metrics import Metrics
from textsiam.interfaces.service.streaming import streamed
from textsiam.scoring.siamese import Siamese

if TYPE_CHECKING:
    from textsiam.indexing.index import Index


logger = logging.getLogger("textsiam.service")

# What the log counts of a request: the fields that hold it.
_COUNTED = {"texts": ("input", "first", "second", "texts", "items"), "pairs": ("pairs", "scores")}


class _Json(JSONResponse):
    """JSON in ASCII, so that no text can break it, not even half a surrogate."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": bodies.ErrorBody, "description": what}
    for status, what in {
        400: "The request asks for something impossible",
        401: "The token is missing or wrong",
        403: "The host name of the request is not allowed",
        404: "There is no such resource",
        408: "The body did not arrive in time",
        409: "The request asks for something that does not exist yet",
        413: "The request is too large",
        422: "The request does not have the form of the schema",
        500: "The service failed; its log says why",
        429: "Too many requests wait; Retry-After says when to try again",
        503: "The service stops, or the request waited too long for texts or the index",
    }.items()
}


def create_app(
    model: Siamese,
    open_index: "Callable[[Siamese], Index] | None" = None,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: frozenset[str] | None = frozenset(),
) -> Guard:
    """The service as an ASGI application.

    Parameters
    ----------
    open_index
        Opens the index with the model it is given; None: there is none.
    token
        Bearer token that requests must carry; None: none is asked for.
    hosts
        Names that it may be addressed by, beside this machine's own; None: any.
    """
    limits, metrics, scale = limits or Limits(), Metrics(), scale_of(model)
    batcher = Batcher(model.encoder, replace(limits, deadline_s=threading.TIMEOUT_MAX), metrics.of_batch)
    together = shared(model, batcher)
    index = open_index(together) if open_index else None
    batcher.limits = limits  # only now: to open the index texts are encoded, which nobody waits for
    answers = Answers(together, index, limits, batcher, scale=scale)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = limits.in_flight
        yield
        await anyio.to_thread.run_sync(batcher.close)
        if index is not None:
            index.close()

    app = FastAPI(
        title="textsiam",
        version=__version__,
        description="Sentence similarity that decides with evidence.",
        lifespan=lifespan,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        default_response_class=_Json,
        responses=_REFUSALS,
    )
    _add_errors(app)
    _tell_limits(app, model)
    _add_routes(app, answers)
    _add_state(app, answers, metrics)
    return Guard(app, limits, metrics, token, hosts)


def _add_routes(app: FastAPI, answers: Answers) -> None:
    """The package's verbs: the last word of a path names the method that answers it."""
    app.get("/v1/models")(answers.models)
    app.get("/v1/index")(answers.index)
    for path in (
        "/v1/embeddings",
        "/v1/similarity",
        "/v1/pairs",
        "/v1/duplicates",
        "/v1/audit",
        "/v1/audit/finish",
        "/v1/index/add",
        "/v1/index/search",
        "/v1/index/remove",
    ):
        _add_verb(app, answers, path)

    @app.post("/v1/duplicates/file", include_in_schema=False)
    async def duplicates_of_file(request: Request) -> Response:
        """The duplicates of a file, with progress, as lines of JSON; the page uses it."""
        kind = request.headers.get("content-type", "").partition(";")[0]
        if kind != "application/octet-stream":
            raise Refused(
                415, f"A file is sent as application/octet-stream, but got {kind or 'no type'}. Set Content-Type."
            )
        return streamed(answers, await request.body(), dict(request.query_params))


def _add_verb(app: FastAPI, answers: Answers, path: str) -> None:
    """A route whose method has the forms of the request and of the answer in its signature.

    The JSON is made without a second check of our own answer, which would take longer than making it.
    """
    name = path.rpartition("/")[2]
    answer = getattr(answers, name)
    form: Any = answer.__annotations__["asked"]

    @app.post(path, response_model=answer.__annotations__["return"], name=name, description=answer.__doc__)
    def endpoint(asked: form, request: Request) -> Response:
        for what, names in _COUNTED.items():
            if given := [getattr(asked, field) for field in names if field in form.model_fields]:
                request.scope["state"][what] = sum(1 if isinstance(one, str) else len(one) for one in given)
        body: bodies.Body = getattr(answers, name)(asked)
        return Response(body.model_dump_json(), media_type="application/json")


def _add_state(app: FastAPI, answers: Answers, metrics: Metrics) -> None:
    """Routes about the service itself; they answer without waiting for a thread."""

    @app.get("/health")
    async def health() -> bodies.StateBody:
        """Answers while the process runs."""
        return bodies.StateBody(status="ok")

    @app.get("/ready")
    async def ready() -> bodies.StateBody:
        """Whether requests would be answered now: 503 while too many wait."""
        n, most = answers.batcher.n_tokens, answers.limits.waiting_tokens
        if n >= most:
            raise Refused(503, f"{n:,} tokens wait to be encoded.", retry_s=1)
        return bodies.StateBody(status="ready")

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def told() -> Response:
        """Counters for Prometheus."""
        metrics.waiting.set(answers.batcher.n_tokens)
        return Response(metrics.told(), media_type="text/plain; version=0.0.4")

    html, policy = page(answers.scale, answers.limits)

    @app.get("/", include_in_schema=False)
    async def look() -> Response:
        """The page for people."""
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})


def _tell_limits(app: FastAPI, model: Siamese) -> None:
    """Write this model's own limits into the schema."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        schema = made()
        for body in schema["components"]["schemas"].values():
            fields = body.get("properties", {})
            if "dimensions" in fields:
                fields["dimensions"]["anyOf"][0] = {"type": "integer", "enum": [model.encoder.dim]}
            if model.similarity == "cosine" and "anyOf" in fields.get("threshold", {}):
                fields["threshold"]["anyOf"][0] |= {"minimum": -1.0, "maximum": 1.0}
        return schema

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's documentation does


def _add_errors(app: FastAPI) -> None:
    """Answer every error in one form, and log the service's own."""

    def failed(request: Request, error: Exception) -> Response:
        refusal = refusal_of(error)
        if refusal.status == 500:  # noqa: PLR2004
            tell(logger, logging.ERROR, "a request was not answered", error, request=request.state.request)
        return _Json(refusal.to_json(), refusal.status, refusal.headers)

    @app.exception_handler(HTTPException)
    def of_http(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, Refused):  # the body was too large, found while reading it
            return failed(request, error.__cause__)
        answer = failed(request, Refused(error.status_code, str(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    def misshapen(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:]))
        return failed(request, Refused(422, f"{place or 'The body'}: {first['msg']}.", param=place or None))

    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=499))  # for the log, as nginx writes it
    for kind in (Refused, TextsiamError, OSError, ValueError, Exception):  # Starlette raises Exception again
        app.add_exception_handler(kind, failed)
