"""A real server process and plain requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Server:
    """`python -m tests.serving.fakes` (or another command that says "serving ... on http://...") with a port."""

    def __init__(self, *command: str, **environment: str) -> None:
        command = command or (sys.executable, "-W", "error", "-m", "tests.serving.fakes")
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"serving .* on http://[\d.]+:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError(f"the server did not start: {''.join(self.lines)}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, body: Any = None, *, method: str | None = None, timeout: float = 30, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, JSON or bytes, headers); a body that is not bytes is sent as JSON."""
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
            response = connection.getresponse()
            content: Any = response.read()
            found = {k.lower(): v for k, v in response.getheaders()}
            if found.get("content-type", "").startswith("application/json"):
                content = json.loads(content)
            return response.status, content, found
        finally:
            connection.close()

    def predict(self, model: str, inputs: Any, **parameters: Any) -> Any:
        status, content, _ = self.ask(f"/v1/models/{model}:predict", {"inputs": inputs, "parameters": parameters})
        assert status == 200, content
        return content

    def raw(self, data: bytes, wait: float = 10.0) -> bytes:
        """What comes back for these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            with contextlib.suppress(OSError):  # it may hang up before it has read everything
                connection.sendall(data)
            found = b""
            with contextlib.suppress(OSError):
                while part := connection.recv(65536):
                    found += part
            return found

    def metric(self, line: str) -> float:
        """The value of one line of /metrics."""
        text = self.ask("/metrics")[1].decode()
        for one in text.splitlines():
            if one.startswith(line + " "):
                return float(one.rsplit(" ", 1)[1])
        return 0.0

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 20.0) -> int:
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            assert self.process.stderr is not None
            self.lines += list(self.process.stderr)
            self.process.stderr.close()


@contextlib.contextmanager
def serving(*command: str, **environment: str) -> Iterator[Server]:
    server = Server(*command, **environment)
    try:
        yield server
    finally:
        server.stop()


def until(condition: Any, seconds: float = 10.0) -> None:
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
