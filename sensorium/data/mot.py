"""MOTChallenge: a folder per sequence with `img1/`, `gt/gt.txt` and `seqinfo.ini`. One example is one sequence.

Boxes are the numbers of the file: left, top, left + width, top + height. Rows whose confidence is 0, and in the
MOTChallenge's own sequences those that are no pedestrians, are kept with `ignore`. `gt/labels.txt` may name
the classes.
"""

from __future__ import annotations

import configparser
import math
import re
from pathlib import PurePosixPath
from typing import Any

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, Source, extension, split_of_path
from sensorium.errors import InputError

# MOT16 and later, table 2 of arXiv:1603.00831
CLASSES = {
    1: "pedestrian", 2: "person on vehicle", 3: "car", 4: "bicycle", 5: "motorbike", 6: "non motorized vehicle",
    7: "static person", 8: "distractor", 9: "occluder", 10: "occluder on the ground", 11: "occluder full",
    12: "reflection", 13: "crowd",
}  # fmt: skip


def _sequences(source: Source) -> dict[str, str | None]:
    """Folder of each sequence, and its ground truth where it has one."""
    found: dict[str, str | None] = {}
    for name in source.files:
        if name == "gt/gt.txt" or name.endswith("/gt/gt.txt"):
            found[name[: -len("gt/gt.txt")].rstrip("/")] = name
    for name in source.files:
        if PurePosixPath(name).name == "seqinfo.ini":
            found.setdefault(name[: -len("seqinfo.ini")].rstrip("/"), None)
    return found


def match(source: Source) -> float:
    return 0.96 if source.file is None and any(_sequences(source).values()) else 0.0


def read(source: Source) -> Dataset:
    sequences = _sequences(source)
    if not any(sequences.values()):
        raise InputError(f"'{source.root}' has no MOTChallenge sequence (gt/gt.txt beside img1/)")
    examples = []
    classes: dict[str, None] = {}
    for folder, truth in sorted(sequences.items(), key=lambda s: s[0].split("/")):
        title = folder or source.root.name
        if truth is None:
            source.note(f"{title}: no gt/gt.txt: left out")
            continue
        example = _sequence(source, folder, title, truth)
        if example is not None:
            examples.append(example)
            classes.update(dict.fromkeys(t["label"] for f in example.fields["tracks"] for t in f if not t["ignore"]))
    return source.dataset("mot", ("frames", "tracks"), examples, sorted(classes))


def _sequence(source: Source, folder: str, title: str, truth: str) -> Example | None:
    info = _info(source, folder)
    prefix = f"{folder}/" if folder else ""
    where = prefix + info.get("imdir", "img1") + "/"
    frames = [n for n in source.files if n.startswith(where) and extension(n) in IMAGES]
    if not frames:
        source.found("label-without-picture", "error", truth, f"there are no frames in '{where}': left out")
        return None
    stems = [PurePosixPath(n).stem for n in frames]
    numbered = all(s.isdigit() for s in stems)
    if numbered:
        place = {int(s): i for i, s in enumerate(sorted(stems, key=int), 1)}
        frames.sort(key=lambda n: int(PurePosixPath(n).stem))
    else:
        frames.sort(key=lambda n: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", n)])
        place = {i: i for i in range(1, len(frames) + 1)}
    told = info.get("seqlength", "")
    if told.isdigit() and int(told) != len(frames):
        source.found("frames", "warning", f"{prefix}seqinfo.ini", f"says {told} frames, there are {len(frames)}")
    source.used.append(truth)
    names = _names(source, prefix, info.get("name", title))
    tracks: list[list[dict[str, Any]]] = [[] for _ in frames]
    seen: set[tuple[int, int]] = set()
    for at, line in source.lines(truth):
        try:
            values = [float(v) for v in line.split(",")]
            frame, identity = int(values[0]), int(values[1])
            if len(values) < 6 or not all(map(math.isfinite, values)):
                raise ValueError
        except (ValueError, IndexError, OverflowError):
            source.found("label-invalid", "warning", at, "is not 'frame,id,left,top,width,height,...': left out")
            continue
        if frame not in place:
            source.found("label-without-picture", "warning", at, f"there is no frame {frame}: left out")
            continue
        left, top, width, height = values[2:6]
        if width <= 0 or height <= 0:
            source.found("box-without-area", "warning", at, f"box of {width:g}x{height:g} has no area: left out")
            continue
        if (frame, identity) in seen:
            source.found("duplicate-track", "warning", at, f"track {identity} is twice in frame {frame}: left out")
            continue
        seen.add((frame, identity))
        kind = int(values[7]) if len(values) > 7 else -1
        label, target = names(kind)
        ignore = not target or (len(values) > 6 and values[6] == 0)
        box = [left, top, left + width, top + height]
        tracks[place[frame] - 1].append({"id": identity, "label": label, "box": box, "ignore": ignore})
    fields = {"frames": [source.absolute(n) for n in frames], "tracks": tracks}
    return Example(title, fields, truth, split_of_path(f"{folder}/x"), title)


def _info(source: Source, folder: str) -> dict[str, str]:
    name = f"{folder}/seqinfo.ini" if folder else "seqinfo.ini"
    if name not in source.listing:
        return {}
    source.used.append(name)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(source.text(name, 1 << 20).lstrip("\ufeff"))
        return dict(parser["Sequence"]) if parser.has_section("Sequence") else {}
    except configparser.Error as error:
        raise InputError(f"{name}: {str(error).splitlines()[0]}") from None


def _names(source: Source, prefix: str, title: str) -> Any:
    """A function from the class number of a row to its name, and whether such are to be tracked."""
    listed = f"{prefix}gt/labels.txt"
    if listed in source.listing:
        source.used.append(listed)
        lines = [line.strip() for line in source.text(listed, 1 << 20).splitlines()]
        named = {i: line for i, line in enumerate(lines, 1) if line}
        return lambda kind: (named.get(kind, str(kind)), kind in named)
    if title.startswith("MOT"):
        return lambda kind: (CLASSES.get(kind, "pedestrian" if kind < 0 else str(kind)), kind in (1, -1))
    return lambda kind: ("object" if kind < 0 else str(kind), True)
