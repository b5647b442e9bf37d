"""YOLO: a text file of `class x y width height` lines (shares of the picture) for each picture.

Names of the classes from `data.yaml`, `classes.txt` or `*.names`. Outlines (more than four numbers) become boxes.
An empty text file means background; a picture without one is left out and reported.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from sensorium.data.boxes import picture_size, usable_box
from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, SPLIT_WORDS, Source, extension, split_of_path
from sensorium.errors import InputError, need

LINE = re.compile(rb"\s*\d+(\s+[-+]?[\d.]+(e[-+]?\d+)?){4,}\s*", re.IGNORECASE)
MAX_YAML = 1 << 20


def _is_labels(head: bytes) -> bool:
    lines = [line for line in head.splitlines()[:5] if line.strip()]
    return sum(bool(LINE.fullmatch(line)) for line in lines) * 2 > len(lines)


def _names_file(source: Source) -> str | None:
    """The file that names the classes."""
    files = source.files
    for name in files:
        if extension(name) in (".yaml", ".yml") and re.search(rb"^names\s*:", source.head(name, 1 << 16), re.M):
            return name
    plain = ("classes.txt", "obj.names", "labels.txt", "classes.names")
    return next((n for n in files if PurePosixPath(n).name in plain or extension(n) == ".names"), None)


def _label_files(source: Source) -> list[str]:
    """Text files in a folder `labels`, or beside a picture of the same name."""
    pictures = {n[: -len(extension(n))] for n in source.files if extension(n) in IMAGES}
    return [
        n
        for n in source.files
        if extension(n) == ".txt"
        and ("labels" in n.split("/")[:-1] or n[:-4] in pictures)
        and PurePosixPath(n).name != "classes.txt"
    ]


def match(source: Source) -> float:
    if source.file is not None and extension(source.file) not in (".yaml", ".yml"):
        return 0.0
    names = _label_files(source)
    if not names:
        return 0.0
    some = names[:: max(1, len(names) // 20)][:20]
    heads = [head for head in (source.head(n, 4096) for n in some) if head.strip()]
    if sum(map(_is_labels, heads)) < 0.7 * len(heads):
        return 0.0
    named = _names_file(source) is not None
    if not heads:
        return 0.5 if named else 0.0
    return 0.93 if named else 0.75


def _classes(source: Source) -> tuple[dict[int, str], dict[str, Any]]:
    """Names by number, and all that `data.yaml` says."""
    name = _names_file(source)
    if name is None:
        source.note("no file names the classes: they are called by their numbers")
        return {}, {}
    source.used.append(name)
    if extension(name) not in (".yaml", ".yml"):
        lines = [line.strip() for line in source.text(name).splitlines()]
        return dict(enumerate(line for line in lines if line)), {}
    yaml = need("yaml", "all")
    try:
        document = yaml.safe_load(source.text(name, MAX_YAML))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(str(k).isdigit() and isinstance(v, (str, int)) for k, v in names.items()):
        raise InputError(f"{name}: 'names' is not a list of class names")
    return {int(k): str(v) for k, v in names.items()}, document


def _splits(source: Source, document: dict[str, Any]) -> list[tuple[str, str]]:
    """Beginnings of paths (or whole ones, from a list file) and the split they belong to."""
    rules: list[tuple[str, str]] = []
    for key, values in document.items():
        split = SPLIT_WORDS.get(str(key))
        if split is None:
            continue
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, str):
                continue
            # exports write ../train/images for what lies beside data.yaml
            path = re.sub(r"^(\.{1,2}/)+", "", value.replace("\\", "/"))
            if path in source.listing and extension(path) == ".txt":
                source.used.append(path)
                lines = (re.sub(r"^(\.{1,2}/)+", "", line.strip()) for line in source.text(path).splitlines())
                rules.extend((line, split) for line in lines if line)
            elif path:
                rules.append((path.rstrip("/") + "/", split))
    return rules


def read(source: Source) -> Dataset:
    names, document = _classes(source)
    rules = _splits(source, document)
    whole = {path: split for path, split in rules if not path.endswith("/")}
    folders = [(path, split) for path, split in rules if path.endswith("/")]
    labels = _one_root(source, _label_files(source))
    if not labels:
        raise InputError(f"'{source.root}' has no YOLO labels (labels/*.txt)")
    pictures = {n[: -len(extension(n))]: n for n in source.files if extension(n) in IMAGES}
    below = {n.rsplit("images/", 1)[1][: -len(extension(n))]: n for n in pictures.values() if "images/" in n}
    examples: list[Example] = []
    for name in labels:
        stem = name[:-4]
        swapped = "images".join(stem.rsplit("labels", 1))
        image = pictures.get(swapped) or pictures.get(stem) or below.get(stem.rsplit("labels/", 1)[-1])
        image = image or source.images_by_stem.get(PurePosixPath(stem).name)
        if not image:
            source.found("label-without-picture", "error", name, "there is no picture of this name: left out")
            continue
        size = picture_size(source.absolute(image))
        if not all(size):
            source.found("unreadable", "error", image, "cannot be opened as a picture: left out")
            continue
        source.used.append(name)
        objects = []
        for where, line in source.lines(name, 16 << 20):
            thing = _object(source, line.split(), size, names, where)
            if thing is not None:
                objects.append(thing)
        split = whole.get(image) or next((s for p, s in folders if image.startswith(p)), None) or split_of_path(image)
        examples.append(Example(image, {"image": source.absolute(image), "objects": objects}, name, split))
    examples.sort(key=lambda e: e.id.split("/"))
    known = {e.id for e in examples}
    at = {str(PurePosixPath(e.id).parent) for e in examples}
    for image in pictures.values():
        if image not in known and str(PurePosixPath(image).parent) in at:
            message = "has no text file: left out, not taken as background (an empty text file would say so)"
            source.found("picture-without-label", "warning", image, message)
    present = {o["label"] for e in examples for o in e.fields["objects"]}
    classes = [names[k] for k in sorted(names)] or sorted(present, key=lambda c: (len(c), c))
    return source.dataset("yolo", ("image", "objects"), examples, dict.fromkeys(classes))


def _one_root(source: Source, labels: list[str]) -> list[str]:
    """Where several folders `labels` tell of the same pictures, those of plain boxes."""
    roots: dict[str, list[str]] = {}
    for name in labels:
        roots.setdefault(name.rsplit("labels/", 1)[0] if "labels/" in name else "", []).append(name)
    stems: dict[str, set[str]] = {r: {PurePosixPath(n).name for n in names} for r, names in roots.items()}
    chosen: list[str] = []
    plain = sorted(roots, key=lambda r: (any(len(h.split()) != 5 for h in source.head(roots[r][0]).splitlines()), r))
    for root in plain:
        rival = next((c for c in chosen if len(stems[c] & stems[root]) > len(stems[root]) / 2), None)
        if rival is None:
            chosen.append(root)
        else:
            source.note(f"{root}labels: the same pictures as {rival}labels: left out")
    return sorted((n for root in chosen for n in roots[root]), key=lambda n: n.split("/"))


def _object(
    source: Source, words: list[str], size: tuple[int, int], names: dict[int, str], where: str
) -> dict[str, Any] | None:
    try:
        number, values = int(words[0]), [float(w) for w in words[1:]]
    except ValueError:
        values = []
        number = 0
    if len(values) < 4:
        source.found("label-invalid", "warning", where, "is not 'class x y width height': left out")
        return None
    if names and number not in names:
        source.found("label-invalid", "warning", where, f"class {number} has no name: left out")
        return None
    width, height = size
    if len(values) in (4, 5):
        x, y, w, h = values[:4]
        edges = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
        if w > 1.01 or h > 1.01 or x > 1.01 or y > 1.01:
            source.found("box-invalid", "warning", where, "its numbers are no shares of the picture (0..1): left out")
            return None
    else:
        across, down = values[0::2], values[1::2]
        edges = [min(across) * width, min(down) * height, max(across) * width, max(down) * height]
    box = usable_box(edges, size, source, where)
    if box is None:
        return None
    label = names.get(number, str(number))
    return {"label": label, "box": box, "iscrowd": False, "area": None, "difficult": False}
