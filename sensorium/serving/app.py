"""The routes of the service: models, predictions, health, metrics, the OpenAPI document and the page."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.resources
import inspect
import json
import logging
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sensorium import sources
from sensorium.errors import Fault, InputError, SensoriumError
from sensorium.serving import schema, wire
from sensorium.serving.batching import Batcher, Predictor, Threads, answer
from sensorium.serving.guard import Guard
from sensorium.serving.limits import Limits, Rejection, rejection
from sensorium.serving.metrics import Metrics
from sensorium.tasks import options, parts

log = logging.getLogger("sensorium.serving")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
SMALL = 1 << 14  # bytes or characters that are read at once, without another thread
_GONE = 499  # the client left before the answer; seen in the metrics only


class Service:
    """The models being served and their state.

    Attributes:
        draining: the service is about to stop: it is not ready any more, but still answers.
        refusing: it takes no new requests; those admitted are being answered.
        inflight: requests admitted and not yet answered.
    """

    def __init__(self, models: Mapping[str, Predictor], limits: Limits) -> None:
        for name in models:
            if not _NAME.fullmatch(name):
                raise InputError(f"{name!r} cannot name a model: use letters, digits, dot, dash and underscore")
        if not models:
            raise InputError("no model to serve")
        self.models, self.limits = dict(models), limits
        self.metrics = Metrics()
        self.draining = self.refusing = False
        self.inflight = 0
        self.failure: SensoriumError | None = None
        self.batchers: dict[str, Batcher] = {}
        self.failed: Callable[[], None] = lambda: None
        self.warmed: Callable[[], None] = lambda: None
        self._options = functools.cache(lambda name: schema.of_options(self.models[name].task))

    def options(self, name: str) -> dict[str, schema.Schema]:
        return self._options(name)

    @property
    def ready(self) -> bool:
        ready = {name: b.ready for name, b in self.batchers.items()}
        for name, value in ready.items():
            self.metrics.ready.set(float(value and not self.draining), model=name)
        return len(ready) == len(self.models) and all(ready.values()) and not self.draining

    async def start(self) -> None:
        """Warm up every model; the service listens meanwhile, not ready."""
        self.openers = Threads(2, "sensorium-open")
        self.batchers = {n: Batcher(n, p, self.limits, self.metrics) for n, p in self.models.items()}
        try:
            for batcher in self.batchers.values():
                await batcher.start(warm_up)
        except SensoriumError as error:
            self.failure = error
            self.failed()
        except Exception as error:  # a broken model must be told in the state of the service, not end its start
            log.exception("a model could not be loaded")
            self.failure = InputError(f"a model could not be loaded: {error}")
            self.failed()
        else:
            self.warmed()

    def stop(self) -> None:
        for batcher in self.batchers.values():
            batcher.stop()
        self.openers.stop()


def warm_up(predictor: Predictor) -> None:
    """Load a model and let it answer one made-up example, all the way to JSON."""
    predictor.warm_up()
    source = sources.example(predictor.task)
    if source is None and predictor.task.source != "label":
        return
    chosen = {o.name: ["a", "b"] for o in options(type(predictor.task)) if o.default is inspect.Parameter.empty}
    answered = answer(predictor, [predictor.task.open(source)], chosen)[0]
    # Of an example with several parts not enough may be known to make one up.
    if isinstance(answered, Exception) and not isinstance(source, dict):
        raise answered


def _model(request: Request) -> str:
    name: str = request.path_params["name"]
    if name not in _service(request).models:
        raise Rejection(404, "there is no such model: GET /v1/models lists them")
    return name


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _body(request: Request, limits: Limits) -> bytes:
    """The whole body, counted while it arrives.

    Raises:
        Rejection: too large, too slow, compressed, or of no sound length.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Rejection(415, "compressed bodies are not accepted")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal():
        raise Rejection(400, "Content-Length is not a number")
    if "transfer-encoding" in request.headers and "content-length" in request.headers:
        raise Rejection(400, "Content-Length and Transfer-Encoding exclude each other", {"Connection": "close"})
    large = len(length) > 15 or int(length) > limits.body
    body = bytearray()
    try:
        async with asyncio.timeout(limits.upload):
            stream = request.stream()
            while not large and (chunk := await anext(stream, None)) is not None:
                body += chunk
                large = len(body) > limits.body
            if large:
                # Most clients read the answer only after they sent everything: let them, up to a point.
                body.clear()
                rest = limits.body
                with contextlib.suppress(TimeoutError):
                    while rest > 0 and (chunk := await asyncio.wait_for(anext(stream, None), 1.0)) is not None:
                        rest -= len(chunk)
    except TimeoutError:
        raise Rejection(408, "the body took too long to arrive", {"Connection": "close"}) from None
    if large:
        raise Rejection(413, f"the body is larger than {limits.body:,} bytes", {"Connection": "close"})
    return bytes(body)


async def _call(request: Request, service: Service, name: str) -> wire.Call:
    limits, field = service.limits, service.models[name].task.source
    options, query = service.options(name), dict(request.query_params)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _body(request, limits)
    if kind == "application/json":
        if len(body) < SMALL:
            return wire.from_json(body, query, field, options, limits)
        return await service.openers.run(wire.from_json, body, query, field, options, limits)
    if kind == "multipart/form-data":
        return await wire.from_form(body, request.headers, query, parts(service.models[name].task), options, limits)
    family = kind.partition("/")[0]
    media = kind in ("", "application/octet-stream") or family in ("image", "audio", "video")
    if media if field not in sources.TEXTS else kind == "text/plain":
        return await service.openers.run(wire.from_bytes, body, query, field, options, limits)
    right = "text/plain" if field in sources.TEXTS else "the file's own type (image/png, audio/wav ...)"
    raise Rejection(415, f"Content-Type must be application/json, multipart/form-data or {right}")


def _open(task: Any, source: Any) -> Any:
    """The source opened, or the error. What a reader stumbles over is taken for the input's fault."""
    try:
        return task.open(source)
    except SensoriumError as error:
        return error
    except Exception:  # decoders raise errors of every kind on damaged data
        log.exception("an input could not be opened")
        return InputError("the input cannot be read")


async def _answers(service: Service, name: str, call: wire.Call) -> list[bytes | Exception]:
    task, batcher = service.models[name].task, service.batchers[name]
    # Nothing large can hide in a short text; a short file may be a picture of many pixels.
    opening = [
        source if isinstance(source, str) and len(source) < SMALL else service.openers.run(_open, task, source)
        for source in call.sources
    ]
    # Where chance has a seed, an answer depends on its place in the list: each request is computed by itself.
    apart = f"{id(call)}" if "seed" in service.options(name) else ""
    waiting: list[asyncio.Future[bytes]] = []
    answers: list[bytes | Exception | asyncio.Future[bytes]] = []
    try:
        for one in opening:
            opened = await one if isinstance(one, asyncio.Future) else _open(task, one)
            if isinstance(opened, SensoriumError):
                answers.append(opened)
            else:
                waiting.append(batcher.submit(opened, call.options, apart))
                answers.append(waiting[-1])
        if waiting:
            await asyncio.wait(waiting)
        return [_outcome(a) if isinstance(a, asyncio.Future) else a for a in answers]
    finally:
        for left in (*opening, *waiting):
            if isinstance(left, asyncio.Future):
                left.cancel()


def _outcome(done: asyncio.Future[bytes]) -> bytes | Exception:
    error = done.exception()
    return done.result() if error is None else error if isinstance(error, Exception) else RuntimeError(repr(error))


async def _gone(request: Request) -> None:
    """Returns when the client has left (the body was read before, so nothing else can come)."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def predict(request: Request) -> Response:
    """POST /v1/models/{name}:predict"""
    service, name = _service(request), _model(request)
    start, status = time.monotonic(), 500
    try:
        if service.refusing:
            raise Rejection(503, "the service is stopping", {"Retry-After": "5", "Connection": "close"})
        response = await _predict(request, service, name)
        status = response.status_code
        return response
    except ClientDisconnect:
        status = _GONE
        return Response(status_code=400)
    except Exception as error:  # whatever it is, the client is told, and the metrics
        refused = rejection(error)
        status = refused.status
        if isinstance(error, Fault) or not isinstance(error, (Rejection, SensoriumError)):
            log.error("a request failed", exc_info=error)
        return JSONResponse({"error": refused.message}, status, dict(refused.headers))
    finally:
        service.metrics.requests.add(model=name, status=str(status))
        service.metrics.latency.observe(time.monotonic() - start, model=name)


async def _predict(request: Request, service: Service, name: str) -> Response:
    batcher = service.batchers[name]
    with batcher.admit() as take:
        service.inflight += 1
        try:
            call = await _call(request, service, name)
            if len(call.sources) > 1:
                take(len(call.sources) - 1)
            answering = asyncio.ensure_future(_answers(service, name, call))
            leaving = asyncio.ensure_future(_gone(request))
            try:
                done, _ = await asyncio.wait(
                    (answering, leaving), timeout=service.limits.timeout, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                leaving.cancel()
                if not answering.done():
                    answering.cancel()
            if answering not in done:
                if leaving in done:
                    raise ClientDisconnect
                raise Rejection(504, f"no answer within {service.limits.timeout:g} seconds", batcher.retry_after())
            answers = answering.result()
        finally:
            service.inflight -= 1
    if not call.several:
        if isinstance(answers[0], Exception):
            raise answers[0]
        return Response(answers[0], media_type="application/json")
    bodies = [json.dumps({"error": rejection(a).message}).encode() if isinstance(a, Exception) else a for a in answers]
    return Response(b"[" + b", ".join(bodies) + b"]", media_type="application/json")


def describe(name: str, predictor: Predictor) -> dict[str, Any]:
    """What `GET /v1/models/{name}` says."""
    task = predictor.task
    doc = (sys.modules[type(task).__module__].__doc__ or "").strip().splitlines()
    return {
        "name": name,
        "task": task.name,
        "description": doc[0] if doc else "",
        "source": task.source,
        "source_kind": "text" if task.source in sources.TEXTS else "file",
        "parts": {part: "text" if part in sources.TEXTS else "file" for part in parts(task)},
        "labels": sources.labels(task),
        "options": schema.of_options(task),
        "metrics": card(predictor),
    }


def card(predictor: Predictor) -> dict[str, Any]:
    """The metrics that the model folder carries for the precision being served: name to value."""
    document = getattr(getattr(predictor, "model", None), "verification", None) or {}
    precision = getattr(predictor, "precision", None) or "fp32"
    for entry in document.get("files") or []:
        if isinstance(entry, dict) and entry.get("precision") == precision and entry.get("metrics_after"):
            return {str(k): v for k, v in entry["metrics_after"].items() if isinstance(v, (int, float, dict))}
    return {}


async def show(request: Request) -> Response:
    """GET /v1/models/{name}"""
    service, name = _service(request), _model(request)
    about = await service.openers.run(describe, name, service.models[name])
    return JSONResponse({**about, "ready": service.batchers[name].ready})


async def index(request: Request) -> Response:
    """GET /v1/models"""
    service = _service(request)
    models = [
        {"name": name, "task": predictor.task.name, "ready": service.batchers[name].ready}
        for name, predictor in service.models.items()
    ]
    return JSONResponse({"models": models})


async def document(request: Request) -> Response:
    """GET /openapi.json"""
    service = _service(request)
    served = {name: predictor.task for name, predictor in service.models.items()}
    return JSONResponse(schema.openapi(served, sources.TEXTS, service.limits))


async def live(request: Request) -> Response:
    """GET /v2/health/live"""
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """GET /v2/health/ready, /health, /ping"""
    is_ready = _service(request).ready
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503, None if is_ready else {"Retry-After": "1"})


async def metrics(request: Request) -> Response:
    """GET /metrics"""
    service = _service(request)
    _ = service.ready  # brings the gauge up to date
    for name, batcher in service.batchers.items():
        service.metrics.pending.set(batcher.pending, model=name)
    return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _page() -> list[Route]:
    """The page's files, read once; their names never come from a request."""
    folder = importlib.resources.files("sensorium.serving") / "page"
    routes = []
    for path, (name, media) in _PAGE.items():
        content = (folder / name).read_bytes()

        async def file(request: Request, content: bytes = content, media: str = media) -> Response:
            return Response(content, headers={"Content-Type": media, "Cache-Control": "no-cache"})

        routes.append(Route(path, file))
    return routes


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    says = {404: "there is nothing at this address", 405: "this method is not allowed here"}
    message = says.get(error.status_code, "the request is not valid")
    return JSONResponse({"error": message}, error.status_code, dict(error.headers or {}))


def build_app(
    models: Mapping[str, Predictor],
    *,
    limits: Limits | None = None,
    hosts: Iterable[str] = (),
    token: str | None = None,
) -> Starlette:
    """The service as an ASGI application.

    Args:
        models: name in the address to predictor.
        limits: caps; the defaults of `Limits`.
        hosts: names (besides addresses and localhost) by which the service may be reached; "*" for any.
        token: what clients must send as `Authorization: Bearer`; None for nothing.

    Raises:
        InputError: a name that cannot stand in an address, or no model.
    """
    service = Service(models, limits or Limits())

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        warming = asyncio.create_task(service.start())
        await asyncio.sleep(0)  # the queues exist from here on
        yield
        warming.cancel()
        service.stop()

    app = Starlette(
        routes=[
            Route("/v1/models", index),
            Route("/v1/models/{name}:predict", predict, methods=["POST"]),
            Route("/v1/models/{name}", show),
            Route("/openapi.json", document),
            Route("/v2/health/live", live),
            Route("/v2/health/ready", ready),
            Route("/health", ready),
            Route("/ping", ready),
            Route("/metrics", metrics),
            *_page(),
        ],
        middleware=[Middleware(Guard, hosts=tuple(hosts), token=token)],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app
