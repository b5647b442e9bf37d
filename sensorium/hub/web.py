"""Fetching over HTTP: resumable, with hashes compared, and never from https to http."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import netrc
import os
import re
import ssl
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any

from sensorium.errors import InputError, MissingError
from sensorium.files import user_cache
from sensorium.version import __version__

TIMEOUT = 60.0
TRIES = 4
PAGE_LIMIT = 128 << 20  # of a registry's answer
AGENT = f"sensorium/{__version__}"


def without_secrets(address: str) -> str:
    """An address as it may be shown: no user, no password, no query."""
    parts = urllib.parse.urlsplit(address)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return urllib.parse.urlunsplit(
        (parts.scheme, f"[{host}]{port}" if ":" in host else host + port, parts.path, "", "")
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not out of https, and without taking a password to another host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in ("https", "http") or (old.scheme == "https" and new.scheme != "https"):
            raise InputError(f"{without_secrets(req.full_url)}: leads to {new.scheme}: refused")
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and (old.hostname, old.port) != (new.hostname, new.port):
            found.headers.pop("Authorization", None)
            found.unredirected_hdrs.pop("Authorization", None)
        return found


class Web:
    """A client.

    Args:
        limit: bytes of one download.
        quiet: no progress on standard error.
    """

    def __init__(self, limit: int, quiet: bool = True) -> None:
        self.limit, self.quiet = limit, quiet
        context = ssl.create_default_context()
        for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
            if (place := os.environ.get(name)) and Path(place).is_file():
                context.load_verify_locations(place)
        handlers = [urllib.request.HTTPSHandler(context=context), _Redirects()]
        self._opener = urllib.request.build_opener(*handlers)

    def open(self, address: str, headers: dict[str, str] | None = None) -> Any:
        """The response to a GET.

        Raises:
            InputError: there is no such thing, or the server says no.
            MissingError: the server cannot be reached.
        """
        parts = urllib.parse.urlsplit(address)
        sent = {"User-Agent": AGENT, **(headers or {})}
        if parts.scheme not in ("http", "https", "file"):
            raise InputError(f"{address[:100]}: not an address that is fetched")
        if "@" in parts.netloc:
            userinfo, _, host = parts.netloc.rpartition("@")
            address = urllib.parse.urlunsplit(parts._replace(netloc=host))
            sent.setdefault("Authorization", "Basic " + _base64(urllib.parse.unquote(userinfo)))
        elif parts.scheme != "file" and (known := _netrc(parts.hostname or "")):
            sent.setdefault("Authorization", "Basic " + _base64(known))
        shown = without_secrets(address)
        request = urllib.request.Request(address, headers=sent)
        try:
            return self._opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            reason = {401: "needs a password", 403: "is not allowed", 404: "there is no such thing"}.get(error.code)
            raise InputError(f"{shown}: {reason or error.reason} (HTTP {error.code})") from None
        except (OSError, http.client.HTTPException) as error:
            raise MissingError(f"{shown}: cannot be reached: {getattr(error, 'reason', error)}") from None

    def page(self, address: str, headers: dict[str, str] | None = None) -> tuple[bytes, str, str]:
        """A small answer, its type, and the address that it came from in the end."""
        try:
            with self.open(address, headers) as answer:
                data = answer.read(PAGE_LIMIT + 1)
                kind, final = answer.headers.get("Content-Type", ""), answer.geturl()
        except (OSError, http.client.HTTPException) as error:
            raise MissingError(f"{without_secrets(address)}: the connection broke: {error}") from None
        if len(data) > PAGE_LIMIT:
            raise InputError(f"{without_secrets(address)}: an answer of more than {PAGE_LIMIT >> 20} MB")
        return data, str(kind), str(final)

    def json(self, address: str, headers: dict[str, str] | None = None) -> Any:
        data, _, _ = self.page(address, {"Accept": "application/json", **(headers or {})})
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise InputError(f"{without_secrets(address)}: the answer is not JSON") from None

    def download(
        self,
        address: str,
        *,
        size: int | None = None,
        hashes: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[Path, dict[str, str]]:
        """Fetch a file, going on where an interrupted fetch stopped.

        Args:
            address: where it is.
            size: bytes that it should have.
            hashes: name of the algorithm (or `git`, of a git blob) to hexadecimal digest.

        Returns:
            The file, for the caller to move or to delete, and the hashes that were compared; its own sha256 where there
            was none to compare.

        Raises:
            InputError: it is not what was expected.
            MissingError: the server cannot be reached.
        """
        shown = without_secrets(address)
        name = hashlib.sha256(json.dumps([shown, hashes or {}, size]).encode()).hexdigest()
        part = partial_folder() / f"{name}.part"
        if size is not None and size > self.limit:
            raise InputError(f"{shown}: {size >> 20} MB, more than the limit of {self.limit >> 20} MB (--limit)")
        whole = part.exists() and bool(hashes) and all(digest(part, k) == v.lower() for k, v in (hashes or {}).items())
        for attempt in range(0 if whole else TRIES):
            try:
                complete = self._continue(address, part, size, headers or {})
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, (ssl.SSLError,)) or attempt == TRIES - 1:
                    raise MissingError(f"{shown}: the connection broke: {error}; start again to go on") from None
                complete = False
            if complete:
                break
            time.sleep(0.2 * 2**attempt)
        else:
            if not whole:
                raise MissingError(f"{shown}: the connection broke {TRIES} times; start again to go on")
        length = part.stat().st_size
        if size is not None and length != size:
            part.unlink()
            raise InputError(f"{shown}: {length} bytes instead of {size}")
        for kind, expected in (hashes or {}).items():
            if digest(part, kind) != expected.lower():
                part.unlink()
                raise InputError(f"{shown}: its {kind} is not the one that was promised; nothing was kept")
        return part, dict(hashes or {}) or {"sha256": digest(part, "sha256")}

    def _continue(self, address: str, part: Path, size: int | None, headers: dict[str, str]) -> bool:
        """One try. Whether the file is complete now."""
        begin = part.stat().st_size if part.exists() else 0
        if size is not None and begin == size:
            return True
        if size is not None and begin > size:
            part.unlink()
            begin = 0
        asked = {**headers, "Accept-Encoding": "identity"}
        if begin:
            asked["Range"] = f"bytes={begin}-"
        try:
            response = self.open(address, asked)
        except InputError as error:
            if "(HTTP 416)" in str(error) and begin:  # there are no bytes behind those we have: begin anew
                part.unlink()
                return False
            raise
        with response as answer:
            status = getattr(answer, "status", 200)
            ranged = (
                re.match(rf"bytes {begin}-\d+/(\d+|\*)", answer.headers.get("Content-Range", "")) if begin else None
            )
            if begin and (status != 206 or ranged is None):
                begin = 0  # the server sends all of it again
            length = answer.headers.get("Content-Length")
            total = begin + int(length) if length and length.isdigit() else None
            if total is not None and (total > self.limit or (size is not None and total != size)):
                part.unlink(missing_ok=True)
                shown = without_secrets(address)
                if total > self.limit:
                    raise InputError(
                        f"{shown}: {total >> 20} MB, more than the limit of {self.limit >> 20} MB (--limit)"
                    )
                raise InputError(f"{shown}: the server has {total} bytes, instead of {size}")
            with part.open("ab" if begin else "wb") as file:
                done = self._copy(answer, file, begin, total, Path(urllib.parse.urlsplit(address).path).name)
        return total is None or done == total

    def _copy(self, answer: Any, file: IO[bytes], done: int, total: int | None, name: str) -> int:
        from tqdm import tqdm

        with tqdm(total=total, initial=done, desc=name[-40:], unit="B", unit_scale=True, disable=self.quiet) as bar:
            while block := answer.read(1 << 18):
                done += len(block)
                if done > self.limit:
                    raise InputError(f"{name}: more than the limit of {self.limit >> 20} MB (--limit)")
                file.write(block)
                bar.update(len(block))
        return done


def partial_folder() -> Path:
    """Where downloads that are not complete are kept, readable for this user alone."""
    try:
        folder = user_cache() / "sensorium" / "partial"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK) and not folder.is_symlink():
            return folder
    except (OSError, InputError):
        pass
    return Path(tempfile.mkdtemp(prefix="sensorium-partial-"))


def digest(path: Path, kind: str) -> str:
    """Hexadecimal digest of a file; `git` is the name that git gives its content."""
    with path.open("rb") as file:
        if kind == "git":
            found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
            while block := file.read(1 << 20):
                found.update(block)
            return found.hexdigest()
        return hashlib.file_digest(file, kind).hexdigest()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _netrc(host: str) -> str | None:
    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return f"{found[0]}:{found[2]}" if found else None
