"""Every way to ask, and every bad way: a clear answer, never a 5xx, never a path."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from typing import Any

import pytest

from tests.serving.fakes import TASKS, picture, sound
from tests.serving.process import Server, serving

PNG = base64.b64encode(picture()).decode()
CRLF = b"\r\n"
ZIPPED = gzip.compress(b"a" * 99)[:30]


def test_models(server: Server) -> None:
    status, content, _ = server.ask("/v1/models")
    assert status == 200
    assert {m["name"]: m["task"] for m in content["models"]} == {n: t.name for n, t in TASKS.items()}
    status, about, _ = server.ask("/v1/models/pets")
    assert status == 200
    assert about["task"] == "image-classification"
    assert about["labels"][:2] == ["cat", "dog"]
    assert about["options"]["threshold"] == {
        "type": "number", "minimum": 0.0, "maximum": 1.0, "default": 0.0,
        "description": "least score of a label, 0..1",
    }  # fmt: skip
    assert about["metrics"] == {"accuracy": 0.931, "macro_f1": 0.92}


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/health", "/ping"])
def test_health(server: Server, path: str) -> None:
    assert server.ask(path)[0] == 200


def test_json(server: Server) -> None:
    boxes = server.predict("objects", PNG, threshold=0.2)
    assert boxes[0]["label"] == "cat"
    assert boxes[0]["box"] == {"xmin": 12.8, "ymin": 12.0, "xmax": 72.0, "ymax": 72.0}
    assert server.predict("objects", f"data:image/png;base64,{PNG}", threshold=0.2) == boxes
    assert server.predict("objects", [PNG, PNG], threshold=0.2) == [boxes, boxes]
    assert server.predict("backwards", "abc ü") == {"translation_text": "ü cba"}
    assert server.predict("backwards", ["abc", "d"]) == [{"translation_text": "cba"}, {"translation_text": "d"}]
    assert len(server.predict("walkers", [PNG] * 3)) == 3
    assert [len(v) for v in server.predict("walkers", [[PNG] * 3, [PNG]])] == [3, 1]
    assert server.predict("glyphs", "beta", steps=3).startswith("data:image/png;base64,")
    assert server.predict("glyphs", None).startswith("data:image/png;base64,")
    assert server.predict("eighth", [1, 2, 3], horizon=1) == {"mean": [2.0]}
    assert server.predict("spam", "x", top_k=None) == server.predict("spam", "x")


def test_raw_bytes(server: Server) -> None:
    wanted = server.predict("objects", PNG, threshold=0.2)
    ask = "/v1/models/objects:predict?threshold=0.2"
    for kind in ("image/png", "application/octet-stream", "image/whatever; x=1"):
        assert server.ask(ask, picture(), content_type=kind)[:2] == (200, wanted)
    status, content, _ = server.ask("/v1/models/digits:predict", sound(), content_type="audio/wav")
    assert (status, content["text"]) == (200, "seven three nine")
    status, content, _ = server.ask(
        "/v1/models/digits:predict?return_timestamps=false", sound(), content_type="audio/wav"
    )
    assert (status, content["chunks"]) == (200, [])
    status, content, _ = server.ask("/v1/models/backwards:predict", "añb".encode(), content_type="text/plain")
    assert (status, content["translation_text"]) == (200, "bña")


def form(*parts: tuple[str, bytes, bool]) -> tuple[bytes, str]:
    pieces = []
    for name, content, file in parts:
        pieces.append(b'--XX\r\nContent-Disposition: form-data; name="' + name.encode() + b'"')
        pieces.append((b'; filename="../../x.png"' if file else b"") + CRLF + CRLF + content + CRLF)
    return b"".join([*pieces, b"--XX--\r\n"]), "multipart/form-data; boundary=XX"


def test_multipart(server: Server) -> None:
    wanted = server.predict("objects", PNG, threshold=0.2)
    for options in ([("threshold", b"0.2", False)], [("parameters", b'{"threshold": 0.2}', False)]):
        body, kind = form(("inputs", picture(), True), *options)
        assert server.ask("/v1/models/objects:predict", body, content_type=kind)[:2] == (200, wanted)
    body, kind = form(("inputs", picture(), True), ("inputs", picture(1), True))
    status, content, _ = server.ask("/v1/models/pets:predict", body, content_type=kind)
    assert (status, len(content)) == (200, 2)
    status, content, _ = server.ask("/v1/models/walkers:predict", body, content_type=kind)
    assert (status, [f["frame"] for f in content]) == (200, [0, 1])
    body, kind = form(("inputs", b"abc", False))
    status, content, _ = server.ask("/v1/models/backwards:predict", body, content_type=kind)
    assert (status, content) == (200, {"translation_text": "cba"})


def test_one_bad_of_several(server: Server) -> None:
    good, bad, also = server.predict("spam", ["a", "bad", "b"])
    assert bad == {"error": "this text is bad"}
    assert [good, also] == [server.predict("spam", "a"), server.predict("spam", "b")]


def test_a_crash_tells_nothing(server: Server) -> None:
    status, content, _ = server.ask("/v1/models/spam:predict", {"inputs": "crash"})
    assert status == 500
    assert "secret" not in json.dumps(content)


def test_openapi(server: Server) -> None:
    status, document, _ = server.ask("/openapi.json")
    assert status == 200
    assert {p.split("/")[-1].split(":")[0] for p in document["paths"] if ":predict" in p} == set(TASKS)
    schemas = document["components"]["schemas"]
    found = schemas["ObjectDetectionResult"]["items"]["properties"]
    assert found["score"] == {"type": "number"}
    assert set(found["box"]["properties"]) == {"xmin", "ymin", "xmax", "ymax"}
    assert schemas["ImageGenerationParameters"]["properties"]["method"]["enum"] == ["euler", "heun"]
    assert (
        schemas["AutomaticSpeechRecognitionResult"]["properties"]["chunks"]["items"]["properties"]["timestamp"][
            "prefixItems"
        ]
        == [{"type": "number"}] * 2
    )

    def references(value: Any) -> Any:
        if isinstance(value, dict):
            yield from [value["$ref"]] if "$ref" in value else []
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                yield from references(one)

    for reference in references(document):
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_metrics(server: Server) -> None:
    server.predict("spam", "x")
    status, text, headers = server.ask("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    parser = pytest.importorskip("prometheus_client.parser")
    families = {f.name: f for f in parser.text_string_to_metric_families(text.decode())}
    for name in ("requests", "request_seconds", "queue_seconds", "batch_size", "pending_examples", "ready"):
        assert any(s.labels["model"] == "spam" for s in families[f"sensorium_{name}"].samples)


JSON = "application/json"
DEEP = b'{"inputs": ' + b"[" * 100 + b"]" * 100 + b"}"
BAD: list[tuple[str, str, bytes, str, set[int]]] = [
    ("not JSON", "spam", b"{", JSON, {400}),
    ("empty", "spam", b"", JSON, {400}),
    ("a list", "spam", b"[1]", JSON, {400}),
    ("no inputs", "spam", b"{}", JSON, {400}),
    ("more than inputs", "spam", b'{"inputs": "a", "model": "/etc/passwd"}', JSON, {400}),
    ("key twice", "spam", b'{"inputs": "a", "inputs": "b"}', JSON, {400}),
    ("not UTF-8", "spam", b'{"inputs": "\xff"}', JSON, {400}),
    ("half a character", "spam", rb'{"inputs": "\ud800"}', JSON, {400}),
    ("half a character as key", "spam", rb'{"inputs": "a", "parameters": {"\ud800": 1}}', JSON, {400}),
    ("deep", "spam", DEEP, JSON, {400}),
    ("1e6 [", "spam", b"[" * 1_000_000, JSON, {400, 413}),
    ("1e6 [ in inputs", "spam", b'{"inputs": ' + b"[" * 1_000_000, JSON, {400, 413}),
    ("1e5 [", "spam", b"[" * 100_000, JSON, {400, 413}),
    ("many lists", "spam", b'{"inputs": [' + b"[]," * 1_000_000 + b"[]]}", JSON, {413}),
    ("NaN", "spam", b'{"inputs": NaN}', JSON, {400}),
    ("NaN parameter", "pets", b'{"inputs": "AA==", "parameters": {"threshold": NaN}}', JSON, {400}),
    ("1e999", "pets", b'{"inputs": "AA==", "parameters": {"threshold": 1e999}}', JSON, {400}),
    ("5000 digits", "pets", b'{"inputs": ' + b"1" * 5000 + b"}", JSON, {400}),
    ("2**63", "spam", b'{"inputs": "a", "parameters": {"top_k": 9223372036854775808}}', JSON, {400}),
    ("number", "spam", b'{"inputs": 5}', JSON, {400}),
    ("null", "spam", b'{"inputs": null}', JSON, {400}),
    ("empty list", "spam", b'{"inputs": []}', JSON, {400}),
    ("too many", "spam", json.dumps({"inputs": ["a"] * 33}).encode(), JSON, {413}),
    ("long text", "spam", json.dumps({"inputs": "a" * 100_001}).encode(), JSON, {413}),
    ("wrong base64", "pets", b'{"inputs": "?"}', JSON, {400}),
    ("a path", "pets", b'{"inputs": "/etc/passwd"}', JSON, {400}),
    ("an address", "pets", b'{"inputs": "http://127.0.0.1/x.png"}', JSON, {400}),
    ("a file address", "pets", b'{"inputs": "file:///etc/passwd"}', JSON, {400}),
    ("a path for sound", "digits", b'{"inputs": "/etc/passwd"}', JSON, {400}),
    ("paths for frames", "walkers", b'{"inputs": ["/etc/passwd", "/etc/hosts"]}', JSON, {400}),
    ("a path in an object", "eighth", b'{"inputs": {"image": "/etc/passwd"}}', JSON, {400}),
    ("empty base64", "pets", b'{"inputs": ""}', JSON, {400}),
    ("not a picture", "pets", b'{"inputs": "AAAA"}', JSON, {400}),
    ("not a sound", "digits", b'{"inputs": "AAAA"}', JSON, {400}),
    ("not a video", "walkers", b'{"inputs": "AAAA"}', JSON, {400}),
    ("cut picture", "pets", picture()[:100], "image/png", {400}),
    ("no picture", "pets", b"", "image/png", {400}),
    ("text for a picture", "pets", b"hello", "text/plain", {415}),
    ("form", "spam", b"inputs=a", "application/x-www-form-urlencoded", {415}),
    ("pickle", "pets", b"\x80\x04.", "application/python-pickle", {415}),
    ("no type for text", "spam", b"hello", "", {415}),
    ("not UTF-8 text", "spam", b"\xff", "text/plain", {400}),
    ("unknown parameter", "spam", b'{"inputs": "a", "parameters": {"x": 1}}', JSON, {400}),
    ("parameter of object", "spam", b'{"inputs": "a", "parameters": {"__class__": 1}}', JSON, {400}),
    ("parameters a list", "spam", b'{"inputs": "a", "parameters": [1]}', JSON, {400}),
    ("wrong parameter", "pets", b'{"inputs": "AA==", "parameters": {"threshold": "x"}}', JSON, {400}),
    ("true is no number", "pets", b'{"inputs": "AA==", "parameters": {"threshold": true}}', JSON, {400}),
    ("out of range", "pets", b'{"inputs": "AA==", "parameters": {"threshold": 7}}', JSON, {400}),
    ("out of range or null", "pets", b'{"inputs": "AA==", "parameters": {"top_k": 0}}', JSON, {400}),
    ("no such choice", "glyphs", b'{"inputs": "beta", "parameters": {"method": "x"}}', JSON, {400}),
    ("no such class", "glyphs", b'{"inputs": "../x"}', JSON, {400}),
    ("unknown query", "pets?x=1", picture(), "image/png", {400}),
    ("wrong query", "pets?threshold=abc", picture(), "image/png", {400}),
    ("query of brackets", "pets?threshold=" + "[" * 9000, picture(), "image/png", {400}),
    ("multipart without boundary", "pets", b"x", "multipart/form-data", {400}),
    ("multipart cut", "pets", b"--XX\r\nContent-Disposition: form-data", "multipart/form-data; boundary=XX", {400}),
    ("multipart of nothing", "pets", b"--XX--\r\n", "multipart/form-data; boundary=XX", {400}),
    ("multipart of many", "pets", form(*[("a", b"b", False)] * 100_000)[0], form()[1], {400, 413}),
    ("multipart, long prefix", "pets", b"\r\n" * 500_000 + form(("inputs", b"x", True))[0], form()[1], {400}),
]  # fmt: skip


def address(model: str) -> str:
    name, _, query = model.partition("?")
    return f"/v1/models/{name}:predict" + (f"?{query}" if query else "")


@pytest.mark.parametrize(("model", "body", "kind", "status"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_body(server: Server, model: str, body: bytes, kind: str, status: set[int]) -> None:
    start = time.process_time()
    found, content, headers = server.ask(address(model), body, **({"content_type": kind} if kind else {}))
    assert found in status, content
    assert list(content) == ["error"]
    assert not re.search(r"(/\w+){2}|0x[0-9a-f]{6}|Traceback|\n", content["error"].replace("image/png, audio/wav", ""))
    assert headers["x-content-type-options"] == "nosniff"
    assert time.process_time() - start < 2
    assert server.predict("spam", "x")[0]["label"] == "ham"


NAMES = ["..", "../..", "%2e%2e", "%252e%252e", "..%2f..%2fetc%2fpasswd", "..\\..", "a%00b", "/etc/passwd", "x" * 300,
         "%EF%BC%8E%EF%BC%8E", "nobody", "pets/", "pets%2f", "pets\u202e".encode().decode("latin-1")]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_models(server: Server, name: str) -> None:
    for path in (f"/v1/models/{name}", f"/v1/models/{name}:predict", f"/{name}", f"/page/{name}"):
        method = "POST" if path.endswith(":predict") else "GET"
        answer = server.raw(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        assert answer.split(CRLF)[0].split()[1] in (b"404", b"400", b"405")
        assert b"etc" not in answer


def test_method(server: Server) -> None:
    assert server.ask("/v1/models/pets:predict")[0] in (404, 405)
    assert server.ask("/v1/models", b"x", method="DELETE")[0] == 405
    assert server.ask("/v2/repository/models/x/load", b"{}", method="POST")[0] == 404


def head(*lines: str, body: bytes = b'{"inputs": "a"}') -> bytes:
    start = "POST /v1/models/spam:predict HTTP/1.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return (start + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode("latin-1") + body


RAW = [
    ("length -1", head("Host: localhost", "Content-Length: -1"), {400}),
    ("length abc", head("Host: localhost", "Content-Length: abc"), {400}),
    ("length 2^63", head("Host: localhost", "Content-Length: 9223372036854775808"), {400, 413}),
    ("length huge", head("Host: localhost", "Content-Length: 99999999999"), {413}),
    ("two lengths", head("Host: localhost", "Content-Length: 15", "Content-Length: 16"), {400}),
    ("length and chunked", head("Host: localhost", "Content-Length: 15", "Transfer-Encoding: chunked"), {400}),
    ("gzip", head("Host: localhost", "Content-Encoding: gzip", "Content-Length: 30", body=ZIPPED), {415}),
    ("wrong chunks", head("Host: localhost", "Transfer-Encoding: chunked", body=b"zz\r\n"), {400}),
    ("no host", head("Content-Length: 15"), {400}),
    ("two hosts", head("Host: localhost", "Host: evil.com", "Content-Length: 15"), {400}),
    ("evil host", head("Host: evil.com", "Content-Length: 15"), {403}),
    ("evil host with ours", head("Host: localhost.evil.com", "Content-Length: 15"), {403}),
    ("evil host with port", head("Host: evil.com:8000", "Content-Length: 15"), {403}),
    ("odd host", head("Host: localhost@evil.com", "Content-Length: 15"), {400, 403}),
    ("empty host", head("Host:", "Content-Length: 15"), {400, 403}),
    ("evil origin", head("Host: localhost", "Origin: https://evil.com", "Content-Length: 15"), {403}),
    ("null origin", head("Host: localhost", "Origin: null", "Content-Length: 15"), {403}),
    ("odd origin", head("Host: localhost", "Origin: http://[", "Content-Length: 15"), {403}),
    ("other port's origin", head("Host: localhost:1", "Origin: http://localhost:2", "Content-Length: 15"), {403}),
    ("cross-site", head("Host: localhost", "Sec-Fetch-Site: cross-site", "Content-Length: 15"), {403}),
    ("huge header", head("Host: localhost", "X: " + "a" * 1_000_000, "Content-Length: 15"), {400, 431}),
    ("good", head("Host: localhost", "Content-Length: 15"), {200}),
    ("good address", head("Host: 127.0.0.1:80", "Content-Length: 15"), {200}),
    ("good IPv6", head("Host: [::1]:80", "Content-Length: 15"), {200}),
    ("own origin", head("Host: localhost:5", "Origin: http://localhost:5", "Content-Length: 15"), {200}),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "status"), [r[1:] for r in RAW], ids=[r[0] for r in RAW])
def test_raw_requests(server: Server, sent: bytes, status: set[int]) -> None:
    answer = server.raw(sent) or b"HTTP/1.1 400 hung up"
    assert int(answer.split()[1]) in status, answer
    assert b"access-control-allow-origin" not in answer.lower()
    assert b"Traceback" not in answer


def test_large_body_is_refused_unread(server: Server) -> None:
    status, content, _ = server.ask("/v1/models/pets:predict", b"x" * (33 << 20), content_type="image/png")
    assert status == 413, content


def test_endless_chunks(server: Server) -> None:
    chunks = b"6\r\nabcdef\r\n" * 200_000
    sent = head("Host: localhost", "Transfer-Encoding: chunked", body=chunks + b"0\r\n\r\n")
    assert int(server.raw(sent, wait=30).split()[1]) in (400, 413)


def test_security_headers(server: Server) -> None:
    for path in ("/", "/page.js", "/v1/models", "/nothing", "/metrics"):
        headers = server.ask(path)[2]
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_token() -> None:
    with serving(TOKEN="secret") as guarded:
        for path in ("/v1/models", "/v1/models/pets", "/metrics", "/openapi.json"):
            status, _, headers = guarded.ask(path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert guarded.ask(path, authorization="Bearer wrong")[0] == 401
            assert guarded.ask(path, authorization="Bearer secret")[0] == 200
        assert guarded.ask("/v1/models/spam:predict", {"inputs": "a"})[0] == 401
        assert guarded.ask("/v1/models/spam:predict", {"inputs": "a"}, authorization="Bearer secret")[0] == 200
        for path in ("/", "/page.js", "/v2/health/live", "/v2/health/ready"):
            assert guarded.ask(path)[0] == 200
