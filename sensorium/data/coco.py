"""COCO: one JSON file of images, annotations and categories per split, pictures anywhere below.

Boxes are read, and where a task wants them outlines (`segments`) or key points (`poses`). A picture without annotations
is background, as COCO means it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from sensorium.data.boxes import picture_size, usable_box
from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, Source, extension, split_in, split_of_path
from sensorium.errors import InputError

# Fields for tasks that want them.
EXTRA = ("segments", "prompts", "poses", "boxes")


def _looks(source: Source, name: str) -> bool:
    head = source.head(name, 1 << 16)
    if not head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
        return False
    size = (source.root / name).stat().st_size
    with open(source.root / name, "rb") as file:
        file.seek(max(0, size - (1 << 16)))
        ends = head + file.read()
    if b'"images"' not in ends and b'"annotations"' not in ends and size > 1 << 17:
        return False
    return sum(key in ends for key in (b'"images"', b'"annotations"', b'"categories"', b'"bbox"', b'"file_name"')) >= 3


def _files(source: Source) -> list[str]:
    names = [n for n in source.given if extension(n) == ".json" and n != "splits.json" and _looks(source, n)]
    # several files may tell of the same pictures: key points, captions and stuff are for other tasks
    boxes = [n for n in names if not any(w in n.lower() for w in ("caption", "panoptic", "stuff_"))]
    poses = "poses" in source.wants
    return [n for n in boxes if ("keypoint" in n.lower()) == poses] or boxes


def match(source: Source) -> float:
    return 0.94 if _files(source) else 0.0


def _lighten(wants: frozenset[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Outlines and key points take most of the memory, and are kept only where they are wanted."""
    unwanted = [
        "segments_info",
        *(["segmentation"] if "segments" not in wants else []),
        *(["keypoints"] if "poses" not in wants else []),
    ]

    def light(value: dict[str, Any]) -> dict[str, Any]:
        for key in unwanted:
            if key in value:
                value[key] = None
        return value

    return light


def read(source: Source) -> Dataset:
    names = _files(source)
    if not names:
        raise InputError(f"'{source.root}' has no COCO file (a JSON object with images, annotations and categories)")
    found: dict[str, Example] = {}
    classes: dict[str, int] = {}
    for name in names:
        source.used.append(name)
        for example in _read_file(source, name, classes):
            before = found.get(example.id)
            if before is None:
                found[example.id] = example
            elif before.split != example.split:
                raise InputError(f"{example.id}: is in {before.where} and in {example.where}: one picture, two splits")
            else:
                for name, values in example.fields.items():
                    if isinstance(values, list):
                        before.fields[name].extend(values)
    others = [n for n in source.files if extension(n) in IMAGES and n not in found]
    for other in others if found else ():
        message = "no annotation file speaks of it: left out, not taken as background"
        source.found("picture-without-label", "warning", other, message)
    examples = sorted(found.values(), key=lambda e: e.id.split("/"))
    fields = ("image", "objects", *(name for name in EXTRA if name in source.wants))
    return source.dataset("coco", fields, examples, classes)


def _list(document: Any, key: str, name: str) -> list[dict[str, Any]]:
    rows = document.get(key, []) if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{name}: '{key}' is not a list of objects, as COCO has it")
    return rows


def _read_file(source: Source, name: str, classes: dict[str, int]) -> list[Example]:
    document = source.json(name, _lighten(source.wants))
    images = _list(document, "images", name)
    annotations = _list(document, "annotations", name)
    categories = {}
    points: dict[Any, list[str]] = {}
    for row in sorted(_list(document, "categories", name), key=lambda c: str(c.get("id")).zfill(9)):
        label = str(row.get("name", "")).strip()
        if not label:
            raise InputError(f"{name}: category {row.get('id')} has no name")
        categories[row.get("id")] = label
        if isinstance(row.get("keypoints"), list):
            points[row.get("id")] = [str(point) for point in row["keypoints"]]
        classes.setdefault(label, len(classes))
    of: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    for i, row in enumerate(annotations):
        if not isinstance(row.get("image_id"), (int, str)):
            source.found("label-invalid", "warning", f"{name} annotation {i}", "names no picture: left out")
            continue
        of.setdefault(row["image_id"], []).append((i, row))
    folder = str(PurePosixPath(name).parent)
    stem = PurePosixPath(name).stem
    of_file = split_in(stem) or split_of_path(name)
    last = stem.split("_")[-1]  # instances_train2017: pictures in train2017
    above = str(PurePosixPath(folder).parent)
    bases = [f"{b}/{d}".removeprefix("./") for b in (folder, above) for d in ("", "images", last, f"images/{last}")]
    examples = []
    for i, image in enumerate(images):
        where = f"{name} image {i}"
        title = image.get("file_name")
        if not isinstance(title, str):
            source.found("label-invalid", "warning", where, "has no file_name: left out")
            continue
        labels = of.pop(image.get("id"), [])
        path = source.find(title, *bases, where=where)
        if path is None or extension(path) not in IMAGES:
            source.found("label-without-picture", "error", where, f"there is no picture '{title}': left out")
            continue
        size = (_number(image.get("width")), _number(image.get("height")))
        if min(size) <= 0:
            size = picture_size(source.absolute(path))
        objects = []
        for k, row in labels:
            thing = _object(source, row, categories, size, f"{name} annotation {row.get('id', k)}")
            if thing is not None:
                objects.append(thing)
        split = of_file or split_of_path(path)
        fields: dict[str, Any] = {"image": source.absolute(path), "objects": objects}
        if "segments" in source.wants:
            fields["segments"] = [s for _, row in labels if (s := _segment(row, categories, size)) is not None]
            fields["prompts"] = [{"box": s["box"]} for s in fields["segments"]]
        if "poses" in source.wants:
            fields["poses"] = [p for _, row in labels if (p := _pose(row, points)) is not None]
            fields["boxes"] = [p["box"] for p in fields["poses"]]
        examples.append(Example(path, fields, where, split))
    if of:
        count = sum(map(len, of.values()))
        where = f"{name} annotation {next(iter(of.values()))[0][0]}"
        source.found("label-without-picture", "error", where, f"{count} annotations are of images that are not listed")
    return examples


def _object(
    source: Source, row: dict[str, Any], categories: dict[Any, str], size: tuple[int, int], where: str
) -> dict[str, Any] | None:
    box = row.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
        source.found("box-invalid", "warning", where, "its bbox is not four numbers: left out")
        return None
    category = row.get("category_id")
    if not isinstance(category, (int, str)) or category not in categories:
        source.found("label-invalid", "warning", where, f"there is no category {category!r}: left out")
        return None
    x, y, width, height = box
    edges = usable_box((x, y, x + width, y + height), size, source, where)
    if edges is None:
        return None
    area = row.get("area")
    return {
        "label": categories[category],
        "box": edges,
        "iscrowd": bool(row.get("iscrowd", 0)),
        "area": float(area) if isinstance(area, (int, float)) else None,
        "difficult": row.get("difficult") == 1,  # not COCO's own: `data convert` keeps VOC's mark so
    }


def _edges(row: dict[str, Any]) -> list[float] | None:
    """The box as xmin, ymin, xmax, ymax; None where it has no area."""
    box = row.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
        return None
    x, y, width, height = (float(v) for v in box)
    return [x, y, x + width, y + height] if width > 0 and height > 0 else None


def _segment(row: dict[str, Any], categories: dict[Any, str], size: tuple[int, int]) -> dict[str, Any] | None:
    """An object with its mask, or None where it has none."""
    given, edges = row.get("segmentation"), _edges(row)
    if not given or edges is None or row.get("category_id") not in categories:
        return None
    mask: dict[str, Any] = {"size": [size[1], size[0]], "polygons": given}
    if isinstance(given, dict):
        mask = {"size": given.get("size"), "counts": given.get("counts")}
    found = {"label": categories[row["category_id"]], "mask": mask, "iscrowd": bool(row.get("iscrowd")), "box": edges}
    return found | ({"area": float(row["area"])} if isinstance(row.get("area"), (int, float)) else {})


def _pose(row: dict[str, Any], points: dict[Any, list[str]]) -> dict[str, Any] | None:
    """A body with its key points, or None where it has none."""
    given, edges = row.get("keypoints"), _edges(row)
    if not isinstance(given, list) or edges is None or len(given) % 3 or not given:
        return None
    if not all(isinstance(v, (int, float)) for v in given):
        return None
    found = {
        "keypoints": [[float(v) for v in given[i : i + 3]] for i in range(0, len(given), 3)],
        "names": points.get(row.get("category_id"), []),
        "box": edges,
        "iscrowd": bool(row.get("iscrowd")),
    }
    return found | ({"area": float(row["area"])} if isinstance(row.get("area"), (int, float)) else {})


def _number(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 < value < 1e9 else 0
