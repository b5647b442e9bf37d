"""How many requests a second the service answers, and how quickly: on this machine, over the loopback.

    python benchmarks/serving.py                     # the service alone: a model that answers at once
    python benchmarks/serving.py runs/spam "a text"  # a real model folder, with one source
    python benchmarks/serving.py runs/photos cat.jpg --clients 1 8 32

Every client is a thread with one connection of its own that asks again as soon as it is answered. What is measured
includes the client's own work on the same processors. At the end the service is stopped under load.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Instant:
    """A model that answers at once, so that only the service is measured."""

    class Task:
        name = "text-classification"
        source = "text"

        def open(self, source: str) -> str:
            return source

        def decode(self, outputs: dict[str, object], source: str) -> list[dict[str, object]]:
            return [{"label": "a", "score": 1.0}]

    task = Task()

    def predict_batch(self, sources: list[str], **options: object) -> list[object]:
        return [self.task.decode({}, source) for source in sources]

    def warm_up(self) -> None:
        return None


def client(port: int, path: str, body: bytes, kind: str, end: float, found: list[tuple[int, float]]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # http.client sends head and body apart
    while (start := time.perf_counter()) < end:
        try:
            connection.request("POST", path, body, {"Content-Type": kind})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            found.append((0, 0.0))
            return
        found.append((response.status, time.perf_counter() - start))


def load(port: int, path: str, body: bytes, kind: str, clients: int, seconds: float) -> list[tuple[int, float]]:
    found: list[list[tuple[int, float]]] = [[] for _ in range(clients)]
    end = time.perf_counter() + seconds
    threads = [threading.Thread(target=client, args=(port, path, body, kind, end, one)) for one in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for several in found for one in several]


def metric(port: int, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("source", nargs="?", default="a")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 160])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--serve-instant", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_instant:
        sys.path.insert(0, str(ROOT))
        from sensorium.serving import run

        return run({"model": Instant()}, port=0)  # type: ignore[dict-item]
    command = [sys.executable, __file__, "--serve-instant"]
    if given.model:
        command = [sys.executable, "-m", "sensorium", "serve", f"model={given.model}", "--port", "0"]
    started = time.perf_counter()
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert server.stderr is not None
    try:
        for line in server.stderr:
            if line.startswith("serving "):
                port = int(line.split("http://")[1].split()[0].rsplit(":", 1)[1])
                break
        else:
            return 1
        print(f"ready after {time.perf_counter() - started:.2f} s")
        body, kind = json.dumps({"inputs": given.source}).encode(), "application/json"
        if Path(given.source).is_file():
            body, kind = Path(given.source).read_bytes(), "application/octet-stream"
        print(" clients  answers/s   p50 ms   p99 ms  batch  refused  p50 of these")
        for clients in given.clients:
            before = [metric(port, f"sensorium_batch_size_{k}") for k in ("sum", "count")]
            found = load(port, "/v1/models/model:predict", body, kind, clients, given.seconds)
            done, runs = (metric(port, f"sensorium_batch_size_{k}") - b for k, b in zip(("sum", "count"), before))
            times = sorted(1000 * t for status, t in found if status == 200)
            refused = sorted(1000 * t for status, t in found if status in (429, 503))
            late = f"{statistics.median(refused):.1f} ms" if refused else ""
            print(
                f"{clients:>8} {len(times) / given.seconds:>10.0f} {statistics.median(times):>8.1f} "
                f"{times[int(0.99 * (len(times) - 1))]:>8.1f} {done / max(runs, 1):>6.1f} {len(refused):>8}  {late:>12}"
            )
        results: list[tuple[int, float]] = []
        path = "/v1/models/model:predict"
        loading = threading.Thread(target=lambda: results.extend(load(port, path, body, kind, 16, 2.0)))
        loading.start()
        time.sleep(1)
        start = time.perf_counter()
        server.send_signal(signal.SIGTERM)
        status = server.wait(60)
        took = time.perf_counter() - start
        loading.join()
        answered = sum(s == 200 for s, _ in results)
        print(f"SIGTERM under load: exit {status} after {took:.2f} s, {answered} answered before")
        return status
    finally:
        if server.poll() is None:
            server.kill()
        server.wait()


if __name__ == "__main__":
    raise SystemExit(main())
