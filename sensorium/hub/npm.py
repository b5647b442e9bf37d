"""JavaScript packages, from the registry that npm is configured with (`.npmrc`, `npm_config_registry`)."""

from __future__ import annotations

import base64
import os
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from sensorium.errors import InputError
from sensorium.hub.found import Found
from sensorium.hub.pypi import order
from sensorium.hub.web import Web, without_secrets

REGISTRY = "https://registry.npmjs.org/"


def configured() -> dict[str, str]:
    """The settings of npm: of the system, the user, this folder, and the environment, the later winning."""
    home = Path.home()
    places = [Path("/etc/npmrc"), Path(os.environ.get("PREFIX", "/usr/local")) / "etc" / "npmrc",
              Path(os.environ.get("NPM_CONFIG_USERCONFIG") or home / ".npmrc"), Path(".npmrc")]  # fmt: skip
    found: dict[str, str] = {}
    for place in places:
        try:
            text = place.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.lstrip().startswith(("#", ";")):
                value = re.sub(r"\$\{(\w+)\}", lambda m: os.environ.get(m[1], ""), value.strip().strip("\"'"))
                found[key.strip()] = value
    for name, value in os.environ.items():
        if name.lower().startswith("npm_config_") and value:
            found[name.lower().removeprefix("npm_config_")] = value
    return found


def _headers(settings: dict[str, str], address: str) -> dict[str, str]:
    """The password for an address, if one is configured for it."""
    parts = urllib.parse.urlsplit(address)
    place = f"//{parts.netloc}{parts.path}"
    for key, value in settings.items():
        prefix, _, kind = key.rpartition(":")
        if prefix.startswith("//") and place.startswith(prefix) and value:
            if kind == "_authToken":
                return {"Authorization": f"Bearer {value}"}
            if kind == "_auth":
                return {"Authorization": f"Basic {value}"}
    return {}


def locate(web: Web, name: str, paths: Sequence[str]) -> Found:
    """A version of a package.

    Raises:
        InputError: there is no such package or version.
        MissingError: the registry cannot be reached.
    """
    found = re.fullmatch(r"((?:@[a-zA-Z0-9._~-]+/)?[a-zA-Z0-9._~-]+)(?:@([\w.+-]+))?", name)
    if not found:
        raise InputError(f"npm:{name[:100]}: should be npm:NAME or npm:NAME@VERSION")
    package, version = found[1], found[2]
    settings = configured()
    scope = package.split("/")[0] if package.startswith("@") else ""
    registry = settings.get(f"{scope}:registry") or settings.get("registry") or REGISTRY
    registry = registry.rstrip("/") + "/"
    address = registry + urllib.parse.quote(package, safe="@")
    told = web.json(address, _headers(settings, address))
    try:
        versions = told["versions"]
        chosen = told.get("dist-tags", {}).get(version or "latest", version) or max(versions, key=order)
        if chosen not in versions:
            near = ", ".join(sorted(versions, key=order)[-5:])
            raise InputError(f"npm:{package}: there is no version {version}; there is {near}")
        entry = versions[chosen]
        dist = entry["dist"]
        tarball = str(dist["tarball"])
        hashes = _hashes(dist)
        licence = entry.get("license")
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{without_secrets(address)}: not the answer of an npm registry") from None
    if tarball.startswith(REGISTRY):  # what mirrors of it pass on, and npm replaces as well
        tarball = registry + tarball.removeprefix(REGISTRY)
    if not hashes:
        raise InputError(f"npm:{package}: the registry gives no hash of it; refused")
    result = Found(package, str(chosen), without_secrets(tarball))
    result.licence = str(licence.get("type") if isinstance(licence, dict) else licence or "")[:200] or None

    def fetch(w: Web) -> Path:
        path, result.checked = w.download(tarball, hashes=hashes, headers=_headers(settings, tarball))
        result.leftovers.append(path)
        return path

    result.archive = fetch
    return result


def _hashes(dist: dict[str, object]) -> dict[str, str]:
    """The strongest hash that the registry gives, in hexadecimal digits."""
    for word in sorted(str(dist.get("integrity") or "").split(), reverse=True):
        kind, _, value = word.partition("-")
        if kind in ("sha512", "sha384", "sha256"):
            return {kind: base64.b64decode(value.split("?")[0]).hex()}
    return {"sha1": str(dist["shasum"])} if dist.get("shasum") else {}
