"""Python packages, from the index that pip is configured with (`index-url`, `extra-index-url`, `find-links`)."""

from __future__ import annotations

import configparser
import json
import os
import re
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from sensorium.errors import InputError, MissingError
from sensorium.hub.found import Found
from sensorium.hub.web import Web, without_secrets

INDEX = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"


@dataclass(frozen=True)
class File:
    """One file of a project."""

    name: str
    address: str
    hashes: tuple[tuple[str, str], ...]
    version: str
    wheel: bool
    yanked: bool
    size: int | None = None


def configured() -> dict[str, list[str]]:
    """What pip is configured with: `index-url`, `extra-index-url`, `find-links`; the environment wins."""
    found: dict[str, list[str]] = {"index-url": [INDEX], "extra-index-url": [], "find-links": []}
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    shared = (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    places = [*(f"{p}/pip/pip.conf" for p in shared), "/etc/pip.conf", str(Path.home() / ".pip" / "pip.conf"),
              f"{config}/pip/pip.conf", f"{sys.prefix}/pip.conf"]  # fmt: skip
    given = os.environ.get("PIP_CONFIG_FILE")
    if given == os.devnull:
        places = []
    elif given:
        places.append(given)
    for place in places:
        parser = configparser.RawConfigParser()
        try:
            parser.read(place, "utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "download", "install"):
            for key in found:
                if parser.has_option(section, key):
                    found[key] = parser.get(section, key).split()
    for key in found:
        value = os.environ.get("PIP_" + key.upper().replace("-", "_"))
        if value is not None:
            found[key] = value.split()
    if os.environ.get("PIP_NO_INDEX", "").lower() in ("1", "true", "yes", "on"):
        found["index-url"], found["extra-index-url"] = [], []
    return found


def locate(web: Web, name: str, paths: Sequence[str]) -> Found:
    """The best file of a project: a wheel where there is one, else the source package.

    Raises:
        InputError: there is no such project or version.
        MissingError: no index can be reached.
    """
    project, _, version = name.partition("==")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", project):
        raise InputError(f"pypi:{name[:100]}: should be pypi:NAME or pypi:NAME==VERSION")
    normal = re.sub(r"[-_.]+", "-", project).lower()
    settings = configured()
    files: list[File] = []
    problem: Exception | None = None
    for index in [*settings["index-url"], *settings["extra-index-url"]]:
        try:
            files += _project(web, index, normal)
        except (InputError, MissingError) as error:
            problem = problem or error
    for place in settings["find-links"]:
        files += _folder(place, normal)
    if not files:
        if problem is not None:
            raise type(problem)(f"pypi:{name}: {problem}")
        raise InputError(f"pypi:{name}: there is no such project on the index that pip is configured with")
    files = [f for f in files if not f.yanked or f.version == version]
    versions = sorted({f.version for f in files}, key=order)
    if version:
        chosen = next((v for v in versions if order(v) == order(version)), None)
        if chosen is None:
            raise InputError(f"pypi:{project}: there is no version {version}; there is {', '.join(versions[-5:])}")
    else:
        stable = [v for v in versions if not re.search(r"[a-z]", v.split("+")[0].replace("post", ""))]
        if not versions:
            raise InputError(f"pypi:{project}: all of its versions were withdrawn")
        chosen = (stable or versions)[-1]
    best = min((f for f in files if f.version == chosen), key=_preference)
    found = Found(project, chosen, without_secrets(best.address))
    found.archive = lambda w: _fetch(w, best, found)
    return found


def _fetch(web: Web, file: File, found: Found) -> Path:
    path, found.checked = web.download(file.address, size=file.size, hashes=dict(file.hashes))
    found.leftovers.append(path)
    return path


def _preference(file: File) -> tuple[int, int, str]:
    """Wheels for every machine, for this kind of machine, other wheels, source packages."""
    if not file.wheel:
        return (3, 0, file.name)
    if file.name.endswith("none-any.whl"):
        return (0, 0, file.name)
    linux = "linux" in file.name and "x86_64" in file.name
    return (1 if linux else 2, file.size or 0, file.name)


def order(version: str) -> tuple[object, ...]:
    """A key that sorts versions as PEP 440 does, near enough to find the newest."""
    found = re.fullmatch(
        r"v?(?:(\d+)!)?(\d+(?:\.\d+)*)[-_.]?(?:(a|b|c|rc|alpha|beta|pre|preview)[-_.]?(\d*))?"
        r"(?:[-_.]?(post|rev|r)[-_.]?(\d*)|-(\d+))?(?:[-_.]?(dev)[-_.]?(\d*))?(?:\+(.*))?",
        version.lower().strip(),
    )
    if not found:
        return (-1, (), 0, 0, 0, 0, version)
    numbers = [int(n) for n in found[2].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    stage = {"a": 1, "alpha": 1, "b": 2, "beta": 2}.get(found[3] or "", 3 if found[3] else 4)
    if found[8] and not found[3] and not found[5]:
        stage = 0
    post = int(found[6] or found[7] or 0) + 1 if found[5] or found[7] else 0
    dev = int(found[9] or 0) if found[8] else 1 << 40
    return (int(found[1] or 0), tuple(numbers), stage, int(found[4] or 0), post, dev, found[10] or "")


def _version(name: str, normal: str) -> tuple[str, bool] | None:
    """The version in a file's name, and whether it is a wheel; None for files of other kinds and projects."""
    if name.endswith(".whl"):
        parts = name[:-4].split("-")
        fits = len(parts) in (5, 6) and re.sub(r"[-_.]+", "-", parts[0]).lower() == normal
        return (parts[1], True) if fits else None
    stem = next((name[: -len(e)] for e in (".tar.gz", ".zip", ".tar.bz2", ".tgz") if name.endswith(e)), None)
    if stem is None:
        return None
    for at in [m.start() for m in re.finditer("-", stem)]:
        if re.sub(r"[-_.]+", "-", stem[:at]).lower() == normal and stem[at + 1 : at + 2].isdigit():
            return stem[at + 1 :], False
    return None


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a" and values.get("href"):
            self.found.append((str(values["href"]), "data-yanked" in values))


def _project(web: Web, index: str, normal: str) -> Iterator[File]:
    """The files of a project on one index."""
    address = f"{index.rstrip('/')}/{normal}/"
    if index.startswith("file:"):
        place = Path(urllib.request.url2pathname(urllib.parse.urlsplit(address).path)) / "index.html"
        if not place.is_file():
            return
        data, kind, base = place.read_bytes(), "text/html", address
    else:
        data, kind, base = web.page(address, {"Accept": ACCEPT})
    if "json" in kind:
        try:
            entries = json.loads(data)["files"]
            for e in entries:
                told = _version(e["filename"], normal)
                if told is not None:
                    hashes = tuple(sorted((k, v) for k, v in e.get("hashes", {}).items() if k in ("sha256", "sha512")))
                    yield File(e["filename"], urllib.parse.urljoin(base, e["url"]), hashes, *told,
                               bool(e.get("yanked")), e.get("size"))  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{without_secrets(address)}: not the answer of a package index") from None
        return
    parser = _Links()
    parser.feed(data.decode("utf-8", "replace"))
    for link, yanked in parser.found:
        full = urllib.parse.urljoin(base, link)
        plain, _, fragment = full.partition("#")
        name = urllib.parse.unquote(plain.rsplit("/", 1)[-1])
        told = _version(name, normal)
        if told is not None:
            algorithm, _, value = fragment.partition("=")
            yield File(name, plain, ((algorithm, value),) if algorithm in ("sha256", "sha512") else (), *told, yanked)


def _folder(place: str, normal: str) -> Iterator[File]:
    """Files in a folder of `find-links`."""
    path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(place).path)) if ":" in place else Path(place)
    if place.startswith(("http:", "https:")) or not path.is_dir():
        return
    for entry in sorted(path.iterdir()):
        told = _version(entry.name, normal)
        if told is not None and entry.is_file():
            yield File(entry.name, entry.resolve().as_uri(), (), *told, False, entry.stat().st_size)
