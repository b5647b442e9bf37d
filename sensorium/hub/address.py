"""One file at an https address; `#sha256=...` behind it is compared."""

from __future__ import annotations

import re
import shutil
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from sensorium.errors import InputError
from sensorium.formats.shared.source import File, nature
from sensorium.hub.archives import plain_name
from sensorium.hub.found import Found, Member
from sensorium.hub.web import Web, without_secrets

PACKAGES = (".whl", ".zip", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


def locate(web: Web, address: str, paths: Sequence[str]) -> Found:
    """The file at an address, or the package there.

    Raises:
        InputError: the address names no file, or what comes is a page.
    """
    name = urllib.parse.unquote(urllib.parse.urlsplit(address).path.rsplit("/", 1)[-1])
    if not plain_name(name):
        raise InputError(f"{without_secrets(address)}: the address ends in no file name")
    found = Found(name, "", without_secrets(address), single=True)
    hashes = {}
    for path in list(paths):
        if told := re.fullmatch(r"sha256=([0-9a-fA-F]{64})", path):
            hashes = {"sha256": told[1]}
            paths.remove(path)  # type: ignore[attr-defined]

    def fetch(w: Web) -> Path:
        path, found.checked = w.download(address, hashes=hashes)
        found.leftovers.append(path)
        if "HTML" in (kind := nature(File.of(path))):
            path.unlink()
            raise InputError(f"{found.shown}: {kind} came instead of a file")
        return path

    if name.endswith(PACKAGES):
        found.single = False
        found.archive = fetch
        return found
    found.members = [Member(name, 0, name)]

    def take(w: Web, member: Member, target: Path) -> None:
        shutil.copyfile(fetch(w), target)

    found.take = take
    return found
