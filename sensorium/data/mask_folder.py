"""Pictures and pictures of their masks: `images/1.jpg` with `masks/1.png`, whose values (or colours) are the classes.

The names of the classes come from a file beside them (`codes.txt`, `label_colors.txt`, `class_dict.csv`, a YAML or JSON
file with `classes` or `id2label`); without one, the values are the names.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, Source, extension, split_of_path, words
from sensorium.errors import InputError, need
from sensorium.media import image, masks
from sensorium.ops.masks import box

# Words in the names of folders, and at the ends of names of files, that masks lie in; the first is believed before the
# next where there are several masks of a picture.
FOLDERS = words(
    "masks mask segmentationclass semantic labels_png gtfine labels label annots annot annotations ann_dir ann gt "
    "groundtruth segmentation segmentations"
)
ENDING = re.compile(
    r"[-_. ](?:masks?|p|l|gt|labels?|seg|segmentation|gtfine|gt_?fine_labelids|labelids|labeltrainids|mask1|colou?r)$"
)
PICTURE = re.compile(r"[-_. ](?:leftimg8bit|image|img|sat)$")
VOID = frozenset(words("void unlabeled unlabelled ignore ignored __ignore__ ignore_label"))
LOSSLESS = frozenset((".png", ".bmp", ".tif", ".tiff", ".gif"))
MOST = 1000  # different values that are still classes


def _rank(name: str) -> int | None:
    """How surely a name is that of masks, the lower the surer; None: it is not."""
    if extension(name) not in LOSSLESS:
        return None
    for folder in reversed(name.lower().split("/")[:-1]):
        for rank, word in enumerate(FOLDERS):
            if folder == word or re.fullmatch(rf"(?:train|val|test|training|validation)?[-_]?{word}[-_]?\d*", folder):
                return rank
    return len(FOLDERS) if ENDING.search(PurePosixPath(name).stem.lower()) else None


def _key(name: str) -> str:
    stem = PurePosixPath(name).stem
    low = PICTURE.sub("", ENDING.sub("", ENDING.sub("", stem.lower())))
    return stem[: len(low)]


def _pairs(source: Source) -> tuple[dict[str, str], list[str]]:
    """Mask by picture, and the masks without a picture."""
    ranks = {name: rank for name in source.given if extension(name) in IMAGES if (rank := _rank(name)) is not None}
    pictures: dict[str, list[str]] = {}
    for name in source.given:
        if extension(name) in IMAGES and name not in ranks:
            pictures.setdefault(_key(name), []).append(name)
    found: dict[str, str] = {}
    alone = []
    for name in sorted(ranks, key=lambda n: ranks[n]):
        same = pictures.get(_key(name), [])
        folders = set(name.lower().split("/")[:-1])
        best = max(same, key=lambda p: len(folders & set(p.lower().split("/")[:-1])), default=None)
        if best is None:
            alone.append(name)
        else:
            found.setdefault(best, name)
    return found, alone


def match(source: Source) -> float:
    if source.file is not None:
        return 0.0
    pairs, alone = _pairs(source)
    return 0.7 if len(pairs) >= max(1, len(alone)) else 0.0


def read(source: Source) -> Dataset:
    pairs, alone = _pairs(source)
    if not pairs:
        raise InputError(f"'{source.root}' has no pictures with masks (images/1.jpg and masks/1.png)")
    for name in alone:
        source.found("mask-without-picture", "warning", name, "no picture has its name: left out")
    names = _names(source) or _values(source, list(pairs.values()))
    classes = {value: name for value, name in names.items() if name.lower() not in VOID}
    examples = []
    for picture, mask in sorted(pairs.items(), key=lambda p: p[0].split("/")):
        file = source.absolute(mask)
        segments = [{"label": name, "mask": {"file": file, "value": value}} for value, name in classes.items()]
        fields: dict[str, Any] = {"image": source.absolute(picture), "segments": segments}
        if "prompts" in source.wants:
            fields |= _asked(segments)
        examples.append(Example(picture, fields, picture, split_of_path(picture)))
    names_of = ("image", "segments", *(["prompts"] if "prompts" in source.wants else []))
    return source.dataset("mask-folder", names_of, examples, dict.fromkeys(classes.values()))


def _asked(segments: list[dict[str, Any]]) -> dict[str, Any]:
    """The segments that are there, without the background, and a prompt for each: the box around it."""
    found = [(s, place) for s, m in zip(segments, masks.load([s["mask"] for s in segments])) if (place := box(m))]
    found = [(s, place) for s, place in found if s["label"].lower() != "background"]
    return {"segments": [s for s, _ in found], "prompts": [{"box": [float(v) for v in place]} for _, place in found]}


def _values(source: Source, files: list[str]) -> dict[int, str]:
    """The values that occur, as names; of two the greater one is what is looked for."""
    seen: set[int] = set()
    for name in files:
        seen |= {int(v) for v in np.unique(image.values(source.absolute(name)))}
        if len(seen) > MOST:
            raise InputError(f"{name}: the masks have more than {MOST} different values: are they masks of classes?")
    source.note("there is no file with the names of the classes: the values of the masks are their names")
    if len(seen) == 2:
        return dict(zip(sorted(seen), ("background", "foreground")))
    return {value: str(value) for value in sorted(seen) if value != 255}


def _names(source: Source) -> dict[int, str]:
    """The classes by value, from the first file that names some."""
    for name in sorted(source.files, key=lambda n: (n.count("/"), n)):
        low = PurePosixPath(name).name.lower()
        found: dict[int, str] = {}
        if low in ("codes.txt", "classes.txt", "labels.txt", "class_names.txt"):
            lines = [line.strip() for line in source.text(name).splitlines()]
            found = {i: line for i, line in enumerate(lines) if line}
        elif re.fullmatch(r"(?:label|class)[-_]?(?:colou?rs?|dict|map)\.(?:txt|csv)", low):
            found = _colours(source.text(name))
        elif low.endswith((".yaml", ".yml", ".json")) and low != "splits.json":
            found = _listed(source, name)
        if found:
            source.used.append(name)
            return found
    return {}


def _colours(text: str) -> dict[int, str]:
    """Lines of a name and three numbers, in either order, with commas, tabs or spaces."""
    found = {}
    for row in csv.reader(io.StringIO(re.sub(r"[\t ;]+", ",", text))):
        cells = [c for c in row if c]
        numbers = [int(c) for c in cells if c.isdigit()]
        title = " ".join(c for c in cells if not c.isdigit())
        if len(numbers) == 3 and title:
            found[numbers[0] + 256 * numbers[1] + 65536 * numbers[2]] = title
    return found


def _listed(source: Source, name: str) -> dict[int, str]:
    if (source.root / name).stat().st_size > 1 << 20:
        return {}
    yaml = need("yaml", "all")
    try:
        value = source.json(name) if name.endswith(".json") else yaml.safe_load(source.text(name))
    except (InputError, yaml.YAMLError, RecursionError, ValueError):
        return {}
    if not isinstance(value, Mapping):
        return {}
    return next((found for key in ("classes", "id2label", "names") if (found := _numbered(value.get(key)))), {})


def _numbered(value: Any) -> dict[int, str]:
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {}
    return {int(k): v for k, v in value.items() if str(k).isdigit() and isinstance(v, str)}
