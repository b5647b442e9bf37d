"""A small server on 127.0.0.1 that plays a package index, an npm registry, a model hub and a web page."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass
class Registry:
    """What it has, and what it was asked.

    Attributes:
        files: path to content; `kinds` path to content type.
        moved: path to another address.
        cut: path to bytes after which the connection is closed, once.
        asked: paths, with the `Range` that was asked for.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def json(self, path: str, value: Any, kind: str = "application/json") -> None:
        self.files[path], self.kinds[path] = json.dumps(value).encode(), kind

    def pypi(self, name: str, files: dict[str, bytes], html: bool = False, wrong: bool = False) -> None:
        """A project of a package index, in JSON or in HTML."""
        entries = []
        for file, data in files.items():
            self.files[f"/files/{file}"] = data
            digest = hashlib.sha256(data + b"x" * wrong).hexdigest()
            entries.append({"filename": file, "url": f"../../files/{file}", "hashes": {"sha256": digest}})
        if html:
            links = "".join(f'<a href="{e["url"]}#sha256={e["hashes"]["sha256"]}">{e["filename"]}</a>' for e in entries)  # type: ignore[index]
            self.files[f"/simple/{name}/"] = f"<html><body>{links}</body></html>".encode()
            self.kinds[f"/simple/{name}/"] = "text/html"
        else:
            self.json(f"/simple/{name}/", {"files": entries}, "application/vnd.pypi.simple.v1+json")

    def npm(self, name: str, versions: dict[str, bytes], licence: str = "MIT") -> None:
        """A package of an npm registry."""
        entries = {}
        for version, data in versions.items():
            path = f"/npm/{name}/-/{version}.tgz"
            self.files[path] = data
            integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
            tarball = f"https://registry.npmjs.org/{name}/-/{version}.tgz"
            entries[version] = {"dist": {"tarball": tarball, "integrity": integrity}, "license": licence}
        self.json(f"/npm/{name}", {"versions": entries, "dist-tags": {"latest": list(versions)[-1]}})

    def hub(self, name: str, files: dict[str, bytes], commit: str = "c0ffee") -> None:
        """A model of a hub; files of more than 100 bytes are large ones."""
        siblings = []
        for file, data in files.items():
            self.files[f"/hub/{name}/resolve/{commit}/{file}"] = data
            entry: dict[str, Any] = {"rfilename": file, "size": len(data)}
            entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if len(data) > 100:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            siblings.append(entry)
        told = {"sha": commit, "siblings": siblings, "cardData": {"license": "apache-2.0"}}
        self.json(f"/hub/api/models/{name}/revision/main", told)


@contextmanager
def serving() -> Iterator[Registry]:
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path.split("?")[0])
            registry.asked.append((path, self.headers.get("Range")))
            registry.headers.append(dict(self.headers))
            if path in registry.moved:
                self.send_response(302)
                self.send_header("Location", registry.moved[path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = registry.files.get(path)
            if data is None:
                self.send_error(404)
                return
            begin = 0
            if wanted := self.headers.get("Range"):
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
                if begin >= len(data):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(data) - begin))
            self.send_header("Content-Type", registry.kinds.get(path, "application/octet-stream"))
            self.end_headers()
            end = registry.cut.pop(path, None)
            self.wfile.write(data[begin:] if end is None else data[begin : begin + end])
            if end is not None:
                self.wfile.flush()
                self.connection.close()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    registry.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wheel(files: dict[str, bytes], licence: str = "MIT") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("thing-1.0.dist-info/METADATA", f"Name: thing\nLicense-Expression: {licence}\n\ntext")
        archive.writestr("thing-1.0.dist-info/licenses/LICENSE", "Do what you like.")
    return stream.getvalue()


def tarball(files: dict[str, bytes], root: str = "package/", members: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(root + name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in members:
            archive.addfile(entry)
    return gzip.compress(stream.getvalue(), mtime=0)
