"""Under load: own answers, early refusal, timeouts, and a stop that drops nothing."""

from __future__ import annotations

import contextlib
import http.client
import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.serving.process import Server, serving, until

ASK = "/v1/models/spam:predict"
HEAD = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" % ASK.encode()
HEAD += b"Content-Length: %d\r\n\r\n"


def test_everybody_gets_their_own_answer(server: Server) -> None:
    """64 clients with distinct inputs, 30 % of which leave at once."""
    texts = [f"text {i}" for i in range(400)]
    alone = {text: server.predict("spam", text) for text in texts[:40]}
    leaving = random.Random(0)

    def client(text: str) -> tuple[int, object]:
        if leaving.random() < 0.3:
            body = b'{"inputs": "%s"}' % text.encode()
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(HEAD % len(body) + body)
            return 0, None
        status, content, headers = server.ask(ASK, {"inputs": text})
        assert status == 200 or (status == 429 and int(headers["retry-after"]) >= 1)
        return status, content

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(client, texts))
    assert sum(status == 200 for status, _ in answers) > 50
    for text, (status, content) in zip(texts, answers, strict=True):
        if status == 200:
            assert content == (alone.get(text) or server.predict("spam", text))


def test_batches_form_under_load() -> None:
    with serving(PAUSE="0.05") as slow:
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda i: slow.predict("spam", f"t{i}"), range(64)))
        assert len(answers) == 64
        computed = slow.metric('sensorium_examples_total{model="spam"}')
        batches = slow.metric('sensorium_batch_size_count{model="spam"}')
        assert computed >= 64
        assert computed / batches > 3


def test_sheds_early() -> None:
    with serving(PAUSE="0.3") as slow, ThreadPoolExecutor(80) as pool:

        def client(i: int) -> tuple[int, float, str]:
            start = time.monotonic()
            status, _, headers = slow.ask(ASK, {"inputs": f"t{i}"})
            return status, time.monotonic() - start, headers.get("retry-after", "")

        answers = list(pool.map(client, range(80)))
        refused = [a for a in answers if a[0] != 200]
        assert {a[0] for a in answers} == {200, 429}
        assert len(refused) >= 20
        assert all(int(after) >= 1 for _, _, after in refused)
        assert sorted(seconds for _, seconds, _ in refused)[len(refused) // 2] < 0.5
        assert slow.ask("/v2/health/live")[0] == 200
        assert slow.predict(
            "pets", "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABc3UBGAAAAABJRU5ErkJggg=="
        )


def test_too_long_a_run() -> None:
    """504 in time; while the run hangs the model is not ready and refuses; afterwards it answers again."""
    with serving(TIMEOUT="0.5") as server:
        start = time.monotonic()
        status, content, _ = server.ask(ASK, {"inputs": "sleep 2"})
        assert status == 504, content
        assert time.monotonic() - start < 1.5
        until(lambda: server.ask("/v2/health/ready")[0] == 503, 1)
        assert server.ask(ASK, {"inputs": "a"})[0] in (503, 504)
        until(lambda: server.ask("/v2/health/ready")[0] == 200)
        assert server.ask(ASK, {"inputs": "a"})[0] == 200


def test_slow_bodies_do_not_hold_places() -> None:
    with serving(UPLOAD="0.5") as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        for connection in held:
            connection.sendall(HEAD % 100 + b"{")
        until(lambda: server.ask(ASK, {"inputs": "a"})[0] == 200, 5)
        assert b" 408 " in held[0].recv(1000).split(b"\r\n")[0] + b" "
        for connection in held:
            connection.close()


def test_sigterm_drains() -> None:
    """What was accepted is answered, ready turns 503 at once, the status is 0."""
    server = Server(PAUSE="0.4", LINGER="0.3")
    answers: list[int] = []
    refused: list[str] = []
    stop = threading.Event()

    def client(i: int) -> None:
        while not stop.is_set():
            try:
                answers.append(server.ask(ASK, {"inputs": f"t{i}"})[0])
            except ConnectionError as error:  # the listener has gone before this connection was accepted
                refused.append(type(error).__name__)
                return

    threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.ask("/v2/health/ready")[0] == 503, 0.3)
    start = time.monotonic()
    assert server.process.wait(10) == 0
    assert time.monotonic() - start < 5
    stop.set()
    for thread in threads:
        thread.join()
    server.stop()
    assert answers.count(200) >= 16
    assert set(answers) <= {200, 429, 503}
    assert "RemoteDisconnected" not in refused  # that would be one accepted and dropped


def test_interrupt_is_130() -> None:
    server = Server()
    assert server.stop(signal.SIGINT) == 130


def test_second_signal_ends_at_once() -> None:
    server = Server(GRACE="30")
    asking = threading.Thread(target=lambda: _ignoring(server))
    asking.start()
    until(lambda: server.metric('sensorium_pending_examples{model="spam"}') == 1)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.poll() is None
    start = time.monotonic()
    assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    assert time.monotonic() - start < 1
    asking.join()


def _ignoring(server: Server) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):  # the connection is cut
        server.ask(ASK, {"inputs": "sleep 20"})
