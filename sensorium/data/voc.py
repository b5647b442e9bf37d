"""Pascal VOC: `Annotations/*.xml` beside `JPEGImages/`, splits in `ImageSets/Main/*.txt`.

Boxes are taken as they stand in the files (xmin, ymin, xmax, ymax).
"""

from __future__ import annotations

from pathlib import PurePosixPath

from sensorium.data.boxes import picture_size, usable_box
from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, SPLIT_WORDS, Source, extension, split_of_path
from sensorium.errors import InputError


def _annotations(source: Source) -> list[str]:
    return [n for n in source.given if extension(n) == ".xml"]


def match(source: Source) -> float:
    names = _annotations(source)
    if not names:
        return 0.0
    some = names[:: max(1, len(names) // 5)][:5]
    hits = sum(b"<annotation" in head and b"<filename" in head for head in map(source.head, some))
    return 0.95 if hits == len(some) else 0.5 if hits else 0.0


def _sets(source: Source) -> dict[str, str]:
    """The split of each stem, from `ImageSets/*/train.txt` and its like."""
    of: dict[str, str] = {}
    lists = [n for n in source.files if "ImageSets/" in n and extension(n) == ".txt"]
    names = {n: PurePosixPath(n).stem.lower() for n in lists}
    both = {"train", "val"} <= set(names.values())
    for name, stem in names.items():
        split = SPLIT_WORDS.get(stem) or ("train" if stem == "trainval" and not both else None)
        if split is None:
            continue
        source.used.append(name)
        for i, line in enumerate(source.text(name).splitlines(), 1):
            words = line.split()
            if not words:
                continue
            if of.setdefault(words[0], split) != split:
                raise InputError(f"{name}:{i}: '{words[0]}' is also in the set {of[words[0]]}: put it in one of them")
    return of


def read(source: Source) -> Dataset:
    sets = _sets(source)
    examples: list[Example] = []
    classes: set[str] = set()
    labelled: set[str] = set()
    names = _annotations(source)
    for name in names:
        try:
            root = source.xml(name)
        except InputError as error:
            source.found("unreadable", "error", name, str(error).removeprefix(f"{name}: ") + ": left out")
            continue
        if root.tag != "annotation":
            continue
        stem = PurePosixPath(name).stem
        folder = PurePosixPath(name).parent
        given = (root.findtext("filename") or "").strip()
        near = [str(folder), str(folder.parent / "JPEGImages"), str(folder.parent / "images")]
        base = PurePosixPath(given.replace("\\", "/")).name
        image = source.find(base, *near, where=name) if base else None
        if image is None or extension(image) not in IMAGES:
            image = source.images_by_stem.get(stem) or None
        if image is None:
            source.found("label-without-picture", "error", name, f"there is no picture '{given or stem}': left out")
            continue
        labelled.add(image)
        size = (_integer(root.findtext("size/width")), _integer(root.findtext("size/height")))
        if min(size) <= 0:
            size = picture_size(source.absolute(image))
        objects = []
        for i, thing in enumerate(root.iter("object"), 1):
            label = (thing.findtext("name") or "").strip()
            edges = [thing.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
            box = usable_box(edges, size, source, f"{name} object {i}")
            if not label:
                source.found("no-label", "warning", f"{name} object {i}", "has no name: left out")
            elif box is not None:
                classes.add(label)
                hard = (thing.findtext("difficult") or "0").strip() == "1"
                objects.append({"label": label, "box": box, "iscrowd": False, "area": None, "difficult": hard})
        split = sets.get(stem) if sets else split_of_path(image)
        fields = {"image": source.absolute(image), "objects": objects}
        examples.append(Example(image, fields, name, split))
    examples.sort(key=lambda e: e.id.split("/"))
    if sets:
        known = {PurePosixPath(e.where).stem for e in examples}
        missing = sorted(set(sets) - known - {PurePosixPath(n).stem for n in names})
        for stem in missing:
            source.found("picture-without-label", "warning", f"ImageSets: {stem}", "has no annotation: left out")
    without = [n for n in source.files if extension(n) in IMAGES and n not in labelled and "Segmentation" not in n]
    for image in without:
        source.found(
            "picture-without-label",
            "warning",
            image,
            "no annotation speaks of it: left out, not taken as background",
        )
    source.used.extend(names)
    return source.dataset("voc", ("image", "objects"), examples, sorted(classes))


def _integer(text: str | None) -> int:
    try:
        return int(float(text or 0))
    except (ValueError, OverflowError):
        return 0
