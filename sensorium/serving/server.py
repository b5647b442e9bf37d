"""The process: listens, and stops without dropping what it accepted."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sensorium.errors import InputError
from sensorium.nets import Settings
from sensorium.serving.app import Service, build_app
from sensorium.serving.batching import Predictor
from sensorium.serving.guard import is_address
from sensorium.serving.limits import Limits

log = logging.getLogger("sensorium.serving")

CONNECTIONS = 512
HEADER_SECONDS = 10.0
PAUSE = 0.25  # seconds in which nothing more is read from a connection that was refused


class _Protocol(H11Protocol):
    """Closes a connection whose first request does not arrive in time; calms one that was refused because of load.

    Clients that ask again at once would otherwise keep the service so busy with refusing that it answers nobody.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # asyncio does this only for sockets that name their protocol, which `socket.create_server` does not; without
        # it the body of an answer waits 40 ms for the client to acknowledge its head.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop.call_later(HEADER_SECONDS, self._expire)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.scope.get("refused") and not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(PAUSE, self.flow.resume_reading)

    def _expire(self) -> None:
        if self.cycle is None:
            self.transport.close()


class _Server(uvicorn.Server):
    """The first signal drains, the second ends the process at once."""

    def __init__(self, config: uvicorn.Config, service: Service, linger: float, grace: float) -> None:
        super().__init__(config)
        self.service, self.linger, self.grace = service, linger, grace
        self.status: int | None = None
        self.draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.status is not None:
            os._exit(128 + sig)
        self.status = 0 if sig == signal.SIGTERM else 130
        self.service.draining = True
        if self.started:
            self.loop.call_soon_threadsafe(self._begin)
        else:
            self.should_exit = True

    def _begin(self) -> None:
        self.draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        await asyncio.sleep(self.linger)
        self.service.refusing = True
        end = time.monotonic() + self.grace
        while self.service.inflight and time.monotonic() < end:
            await asyncio.sleep(0.02)
        if self.service.inflight:
            log.error("%d requests were cut off", self.service.inflight)
            self.status = 1
        # Connections accepted a moment ago may not have sent their request yet: answer those 503, too.
        for server in self.servers:
            server.close()
        await asyncio.sleep(0.2)
        self.should_exit = True


def named(paths: Iterable[str | Path], settings: Settings | None = None) -> dict[str, Predictor]:
    """Predictors by the names of their folders: `runs/birds/model` is "birds", `owls=runs/birds` is "owls".

    Raises:
        InputError: no model at a path, or two of one name.
    """
    from sensorium.predictor import Predictor as Folder

    models: dict[str, Predictor] = {}
    for given in paths:
        name, sign, path = str(given).rpartition("=")
        if not sign or "/" in name or Path(given).exists():
            name, path = "", str(given)
        predictor = Folder(path, settings)
        folder = Path(path).absolute()
        if folder.name in ("", "model"):
            folder = folder.parent
        name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._") or "model"
        if name in models:
            raise InputError(f"two models are named '{name}': name one of them, as in other={path}")
        models[name] = predictor
    return models


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the address is in use or not of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot listen on {host} port {port}: {reason} (choose another with --port)") from None


def run(
    models: Mapping[str, Predictor] | Iterable[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    hosts: Iterable[str] = (),
    token: str | None = None,
    linger: float = 0.0,
    grace: float = 30.0,
    settings: Settings | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    **limits: Any,
) -> int:
    """Serve until a signal comes.

    SIGTERM or SIGINT: `ready` turns 503 at once; for `linger` seconds requests are still taken (while a load
    balancer notices); then those admitted are finished, for at most `grace` seconds. A second signal ends at once.

    Args:
        models: name to predictor, or model folders (see `named`).
        host: address to listen on; beyond 127.0.0.1 the whole network can ask.
        port: 0 for any free one.
        hosts, token: see `build_app`.
        linger, grace: seconds.
        settings: how the networks of the folders are run.
        say: gets the lines for the user.
        limits: fields of `Limits`.

    Returns:
        The exit status: 0 after SIGTERM, 130 after SIGINT, 1 if accepted requests had to be cut off.

    Raises:
        InputError: the address cannot be listened on, a model does not load, or there is no such limit.
    """
    if unknown := set(limits) - {f.name for f in dataclasses.fields(Limits)}:
        raise InputError(f"there is no limit '{unknown.pop()}'; see sensorium.serving.Limits")
    if not isinstance(models, Mapping):
        models = named(models, settings)
    app = build_app(models, limits=Limits(**limits), hosts=hosts, token=token)
    service: Service = app.state.service
    bound = listen(host, port)
    if not (is_address(host) and host.startswith("127.")) and host not in ("::1", "localhost") and not token:
        say(f"warning: listening on {host} without a token: everybody who reaches this machine can use the models")
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{bound.getsockname()[1]}"
    names = ", ".join(service.models)
    service.warmed = lambda: say(f"serving {names} on {url} (Ctrl-C stops)")
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config, service, linger, grace)

    def failed() -> None:
        server.should_exit = True

    service.failed = failed
    say(f"listening on {url}, loading {names}")
    server.run(sockets=[bound])
    if service.failure:
        raise service.failure
    status = server.status or 0
    if any(b.stuck for b in service.batchers.values()):
        sys.stderr.flush()
        os._exit(status)  # a run that hangs in a native library would hold up the interpreter's end
    return status
