"""LabelMe: a JSON file of shapes beside each picture. Rectangles, polygons, circles and lines become boxes."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Any

from sensorium.data.boxes import picture_size, usable_box
from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, Source, extension, split_of_path
from sensorium.errors import InputError


def _files(source: Source) -> list[str]:
    return [n for n in source.given if extension(n) == ".json" and n != "splits.json"]


def match(source: Source) -> float:
    names = _files(source)
    some = names[:: max(1, len(names) // 5)][:5]
    hits = sum(b'"shapes"' in head for head in map(source.head, some))
    return 0.9 if some and hits == len(some) else 0.5 if hits else 0.0


def read(source: Source) -> Dataset:
    examples = []
    labelled = set()
    classes: set[str] = set()
    for name in _files(source):
        try:
            document = source.json(name, lambda d: {k: v for k, v in d.items() if k != "imageData"})
        except InputError as error:
            source.found("unreadable", "error", name, str(error).removeprefix(f"{name}: ") + ": left out")
            continue
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            continue
        source.used.append(name)
        folder = PurePosixPath(name).parent
        title = PurePosixPath(str(document.get("imagePath") or "").replace("\\", "/")).name
        image = source.find(title, str(folder), where=name) if title else None
        image = image or source.images_by_stem.get(PurePosixPath(name).stem)
        if not image or extension(image) not in IMAGES:
            source.found("label-without-picture", "error", name, f"there is no picture '{title}': left out")
            continue
        labelled.add(image)
        width, height = document.get("imageWidth"), document.get("imageHeight")
        if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
            size = (width, height)
        else:
            size = picture_size(source.absolute(image))
        objects = []
        for i, shape in enumerate(document["shapes"], 1):
            where = f"{name} shape {i}"
            label = str(shape.get("label") or "").strip() if isinstance(shape, dict) else ""
            if not label:
                source.found("no-label", "warning", where, "has no label: left out")
                continue
            box = usable_box(_edges(shape), size, source, where)
            if box is not None:
                classes.add(label)
                objects.append({"label": label, "box": box, "iscrowd": False, "area": None, "difficult": False})
        fields = {"image": source.absolute(image), "objects": objects}
        examples.append(Example(image, fields, name, split_of_path(image)))
    for image in source.files:
        if extension(image) in IMAGES and image not in labelled:
            message = "has no JSON file: left out, not taken as background"
            source.found("picture-without-label", "warning", image, message)
    examples.sort(key=lambda e: e.id.split("/"))
    return source.dataset("labelme", ("image", "objects"), examples, sorted(classes))


def _edges(shape: dict[str, Any]) -> list[Any]:
    """The extent of a shape; an empty list where it is no shape."""
    try:
        points = [(float(x), float(y)) for x, y in shape["points"]]
        if shape.get("shape_type") == "circle":
            (x, y), edge = points[0], points[1]
            radius = math.dist((x, y), edge)
            return [x - radius, y - radius, x + radius, y + radius]
        across, down = zip(*points, strict=True)
        return [min(across), min(down), max(across), max(down)]
    except (KeyError, TypeError, ValueError, IndexError):
        return []
