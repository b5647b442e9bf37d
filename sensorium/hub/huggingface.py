"""Models of a hub with Hugging Face's interface (`HF_ENDPOINT`), or of its cache on this machine (`HF_HUB_OFFLINE`)."""

from __future__ import annotations

import os
import re
import shutil
import urllib.parse
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sensorium.errors import InputError, MissingError
from sensorium.files import user_cache
from sensorium.hub.archives import plain_name
from sensorium.hub.found import Found, Member
from sensorium.hub.web import Web, digest, without_secrets

ENDPOINT = "https://huggingface.co"
TRUE = ("1", "true", "yes", "on")
# Other forms of the same weights, left out where there are safetensors; code is never fetched.
OTHER = (".bin", ".h5", ".msgpack", ".ot", ".ckpt", ".pt", ".pth", ".mlmodel", ".tflite", ".gguf")
CODE = (".py", ".sh", ".so", ".ipynb", ".exe", ".bat")


def cache() -> Path:
    """Where the hub's own client keeps what it fetched."""
    home = os.environ.get("HF_HOME") or user_cache() / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub")


def locate(web: Web, name: str, paths: Sequence[str]) -> Found:
    """A model at a revision.

    Raises:
        InputError: there is no such model or revision.
        MissingError: the hub cannot be reached, or it is switched off and the model is not in the cache.
    """
    found = re.fullmatch(r"([\w.-]+(?:/[\w.-]+)?)(?:@([\w./-]+))?", name)
    if not found or ".." in name:
        raise InputError(f"hf:{name[:100]}: should be hf:ORG/NAME or hf:ORG/NAME@REVISION")
    model, revision = found[1], found[2] or "main"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in TRUE:
        return _cached(model, revision, paths)
    endpoint = (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
    headers = _token()
    address = f"{endpoint}/api/models/{model}/revision/{urllib.parse.quote(revision, safe='')}?blobs=true"
    told = web.json(address, headers)
    try:
        commit = str(told.get("sha") or revision)
        entries = {str(e["rfilename"]): e for e in told["siblings"]}
        card = told.get("cardData") or {}
        licence = card.get("license") if isinstance(card, dict) else None
        sizes = {n: int(e.get("size") or (e.get("lfs") or {}).get("size") or 0) for n, e in entries.items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InputError(f"{without_secrets(address)}: not the answer of a model hub") from None
    result = Found(model, commit, f"{without_secrets(endpoint)}/{model}", single=True)
    result.licence = str(licence)[:200] if licence else _tagged(told)
    result.members = [Member(n, sizes[n], n) for n in usual(list(entries), bool(paths))]

    def take(w: Web, member: Member, target: Path) -> None:
        hashes = _hashes(entries[member.name])
        kept = _blob(model, hashes)
        if kept is not None:
            shutil.copyfile(kept, target)
            return
        place = f"{endpoint}/{model}/resolve/{urllib.parse.quote(commit, safe='')}/{urllib.parse.quote(member.name)}"
        part, _ = w.download(place, size=member.size or None, hashes=hashes, headers=headers)
        shutil.move(part, target)

    result.take = take
    result.checked = {"revision": commit}
    return result


def _tagged(told: dict[str, Any]) -> str | None:
    tags = told.get("tags")
    words = [str(t) for t in tags] if isinstance(tags, list) else []
    return next((w.removeprefix("license:") for w in words if w.startswith("license:")), None)


def usual(names: Sequence[str], asked: bool) -> list[str]:
    """The files of a model, without code, and without second forms of its weights unless something was asked for."""
    good = [n for n in names if plain_name(n) and not n.endswith(CODE) and not PurePosixPath(n).name.startswith(".")]
    if not asked and any(n.endswith(".safetensors") for n in good):
        good = [n for n in good if not n.endswith(OTHER)]
    return good


def _hashes(entry: dict[str, Any]) -> dict[str, str]:
    lfs = entry.get("lfs")
    if isinstance(lfs, dict) and lfs.get("sha256"):
        return {"sha256": str(lfs["sha256"])}
    return {"git": str(entry["blobId"])} if entry.get("blobId") else {}


def _token() -> dict[str, str]:
    """The token that the hub's own client would send; only from the environment."""
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _folder(model: str) -> Path:
    return cache() / f"models--{model.replace('/', '--')}"


def _blob(model: str, hashes: dict[str, str]) -> Path | None:
    """A file of the cache with this hash, if its content has it, too."""
    for kind, value in hashes.items():
        path = _folder(model) / "blobs" / value
        if re.fullmatch(r"[0-9a-f]{40,64}", value) and path.is_file() and digest(path, kind) == value:
            return path
    return None


def _cached(model: str, revision: str, paths: Sequence[str]) -> Found:
    """A model in the cache."""
    folder = _folder(model)
    reference = folder / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = folder / "snapshots" / commit
    if not re.fullmatch(r"[\w.-]+", commit) or not snapshot.is_dir():
        raise MissingError(f"hf:{model}: HF_HUB_OFFLINE is set, and the model is not in {cache()}")
    names = [p.relative_to(snapshot).as_posix() for p in sorted(snapshot.rglob("*")) if p.is_file()]
    for name in names:
        if not (snapshot / name).resolve().is_relative_to(folder.resolve()):
            raise InputError(f"hf:{model}: '{name}' leads out of the cache; refused")
    result = Found(model, commit, f"the cache of this machine, {model}", single=True)
    result.members = [Member(n, (snapshot / n).stat().st_size, n) for n in usual(names, bool(paths))]

    def take(web: Web, member: Member, target: Path) -> None:
        source = (snapshot / member.name).resolve()
        kind = {40: "git", 64: "sha256"}.get(len(source.name), "")
        if kind and re.fullmatch(r"[0-9a-f]+", source.name) and digest(source, kind) != source.name:
            raise InputError(f"hf:{model}: '{member.name}' in the cache is damaged (its hash differs)")
        shutil.copyfile(source, target)

    result.take = take
    result.checked = {"revision": commit}
    return result
