"""The gate before every route: who asks (Host, Origin, token), and the headers of every answer.

A page on another site can make a visitor's browser send requests to 127.0.0.1, and can point its own name
there (DNS rebinding). So a Host must be an IP address, localhost or a name that the operator allowed, and an
Origin, where a browser sends one, must be that same host.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sensorium.serving.limits import Rejection

log = logging.getLogger("sensorium.serving")

POLICY = "; ".join(
    [
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
}
OPEN = frozenset({"/", "/page.css", "/page.js", "/icon.svg", "/v2/health/live", "/v2/health/ready", "/health", "/ping"})
"""Paths that need no token: the page without any data, and whether the service is well."""

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?")


def host_name(host: str) -> str | None:
    """The name in a Host header, lower case, without the port; None if it is not one."""
    found = _HOST.fullmatch(host)
    return (found["six"] or found["name"]).lower().rstrip(".") if found else None


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str] = (), token: str | None = None) -> None:
        self.app = app
        self.hosts = {h.lower().rstrip(".") for h in hosts}
        self.token = token

    def check(self, scope: Scope, headers: Headers) -> None:
        """Raises `Rejection` for a request that must not pass."""
        host = headers.get("host", "")
        name = host_name(host)
        known = name is not None and (
            is_address(name) or name == "localhost" or name.endswith(".localhost") or name in self.hosts
        )
        if not known and "*" not in self.hosts:
            raise Rejection(403, "this Host is not served here (the operator allows names with --allow-host)")
        origin = headers.get("origin")
        if origin is not None:
            try:
                parts = urlsplit(origin)
            except ValueError:
                parts = urlsplit("")
            if parts.scheme not in ("http", "https") or parts.netloc.lower() != host.lower():
                raise Rejection(403, "requests from pages of other sites are refused")
        elif headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in ("GET", "HEAD"):
            raise Rejection(403, "requests from pages of other sites are refused")
        if self.token and scope["path"] not in OPEN:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), self.token.encode()):
                raise Rejection(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                scope["refused"] = status == 429
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer[name] = value
                answer.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self.check(scope, Headers(scope=scope))
            await self.app(scope, receive, guarded)
        except Rejection as refused:
            await _refuse(refused)(scope, receive, guarded)
        except Exception:  # the last that can answer: nothing of an error may reach the client
            log.exception("a request failed")
            if status:
                raise
            await _refuse(Rejection(500, "internal error: the log of the service has the details"))(
                scope, receive, guarded
            )
        finally:
            # The path is quoted, so that no control character reaches the log; queries are never written.
            took = 1000 * (time.monotonic() - start)
            log.debug("%s %r %d %.1f ms", scope["method"], scope["path"][:200], status, took)


def _refuse(refused: Rejection) -> JSONResponse:
    return JSONResponse({"error": refused.message}, refused.status, dict(refused.headers))
