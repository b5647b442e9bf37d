"""What was understood of a data set: a summary as values, as a table for people, and as a contact sheet."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from sensorium.data.examples import SPLITS, Dataset, Example
from sensorium.data.splits import classes_of
from sensorium.errors import InputError
from sensorium.media import drawing, image, lettering

LOOKED = 300  # pictures or sounds that are opened to know their sizes
READ = 100_000  # texts that are measured


def summary(dataset: Dataset) -> dict[str, Any]:
    """Format, fields, splits, classes, sizes, lengths, notes: JSON values.

    `classes` gives for each class the number of examples (or of objects) in each split; `sizes` and `lengths` are
    (least, median, most) over a part of the data where it is large.
    """
    total = len(dataset.examples)
    splits = dataset.splits()
    if rest := total - sum(splits.values()):
        splits["no split"] = rest
    found: dict[str, Any] = {
        "format": dataset.format,
        "path": str(dataset.path),
        "examples": total,
        "fields": list(dataset.fields),
        "splits": splits,
    }
    classes = _classes(dataset)
    if classes:
        found["classes"] = classes
    found.update(_sizes(dataset))
    groups = Counter(e.group for e in _some(dataset.examples, READ) if e.group is not None)
    if groups:
        found["groups"] = len(groups)
    found["notes"] = list(dataset.notes)
    found["findings"] = dict(Counter(f.severity for f in dataset.findings))
    found["fingerprint"] = dataset.fingerprint()
    return found


def _some(examples: Sequence[Example], limit: int) -> Sequence[Example]:
    """At most so many examples, spread evenly."""
    if len(examples) <= limit:
        return examples
    if not isinstance(examples, list):
        return list(itertools.islice(examples, limit))
    step = len(examples) / limit
    return [examples[int(i * step)] for i in range(limit)]


def _classes(dataset: Dataset) -> dict[str, dict[str, int]]:
    if not {"label", "labels", "objects", "tracks"} & set(dataset.fields):
        return {}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name in dataset.classes:
        counts[name] = Counter()
    for example in dataset.examples:
        names = [o["label"] for o in example.fields["objects"]] if "objects" in example.fields else classes_of(example)
        for name in names:
            counts[name][example.split or "no split"] += 1
    order = dataset.classes or sorted(counts)
    columns = [*SPLITS, "no split"]
    return {
        name: {c: counts[name][c] for c in columns if counts[name][c]}
        for name in dict.fromkeys([*order, *sorted(counts)])
    }


def _range(values: Sequence[float]) -> dict[str, float]:
    array = np.asarray(values, dtype=float)
    plain = [float(array.min()), float(np.median(array)), float(array.max())]
    return {
        name: int(v) if v == int(v) else round(v, 3) for name, v in zip(("least", "median", "most"), plain, strict=True)
    }


def _sizes(dataset: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    some = _some(dataset.examples, LOOKED)
    texts = _some(dataset.examples, READ)
    if "image" in dataset.fields or "frames" in dataset.fields:
        sizes = []
        for example in some:
            try:
                sizes.append(image.size(example.fields.get("image") or example.fields["frames"][0]))
            except InputError:
                continue
        if sizes:
            found["sizes"] = {"width": _range([w for w, _ in sizes]), "height": _range([h for _, h in sizes])}
    if "objects" in dataset.fields:
        found["objects_per_picture"] = _range([len(e.fields["objects"]) for e in dataset.examples])
    if "frames" in dataset.fields:
        found["frames_per_sequence"] = _range([len(e.fields["frames"]) for e in dataset.examples])
    if "tracks" in dataset.fields:
        found["identities"] = sum(
            len({t["id"] for frame in e.fields["tracks"] for t in frame if not t["ignore"]}) for e in dataset.examples
        )
    if "audio" in dataset.fields:
        import soundfile

        heard = []
        for example in some:
            try:
                info = soundfile.info(example.fields["audio"])
                heard.append((info.frames / info.samplerate, info.samplerate))
            except (RuntimeError, OSError):
                continue
        if heard:
            seconds = [s for s, _ in heard]
            found["seconds"] = _range(seconds)
            found["hours_about"] = round(sum(seconds) / len(heard) * len(dataset.examples) / 3600, 3)
            found["rates"] = {str(rate): n for rate, n in sorted(Counter(r for _, r in heard).items())}
    if "text" in dataset.fields:
        found["lengths"] = {"characters": _range([len(e.fields["text"]) for e in texts])}
    if "translation" in dataset.fields:
        sides: dict[str, list[int]] = defaultdict(list)
        for example in texts:
            for language, text in example.fields["translation"].items():
                sides[language].append(len(text))
        found["lengths"] = {f"characters of {language}": _range(n) for language, n in sides.items()}
    return found


def table(found: dict[str, Any], classes: int = 40) -> str:
    """A summary as people read it."""
    lines = [f"{found['path']}: {found['format']}, {found['examples']} examples with {', '.join(found['fields'])}"]
    lines.append("splits: " + ", ".join(f"{name} {n}" for name, n in found["splits"].items()))
    for key in ("sizes", "lengths"):
        for name, values in found.get(key, {}).items():
            lines.append(f"{name}: {_span(values)}")
    for key in ("seconds", "objects_per_picture", "frames_per_sequence"):
        if key in found:
            lines.append(f"{key.replace('_', ' ')}: {_span(found[key])}")
    if "rates" in found:
        lines.append(
            "rate: " + ", ".join(f"{rate} Hz" for rate in found["rates"]) + f"; about {found['hours_about']} hours"
        )
    for key in ("groups", "identities"):
        if key in found:
            lines.append(f"{key}: {found[key]}")
    counts = found.get("classes", {})
    if counts:
        columns = [c for c in (*SPLITS, "no split") if any(c in row for row in counts.values())]
        width = max(len("class"), *(len(name) for name in list(counts)[:classes]))
        lines.append("")
        lines.append("class".ljust(width) + "".join(c.rjust(10) for c in columns))
        for name, row in list(counts.items())[:classes]:
            lines.append(name.ljust(width) + "".join(str(row.get(c, 0)).rjust(10) for c in columns))
        if len(counts) > classes:
            lines.append(f"... {len(counts) - classes} more classes")
    if found["notes"]:
        lines.append("")
        lines += [f"note: {note}" for note in found["notes"]]
    return "\n".join(lines)


def _span(values: dict[str, Any]) -> str:
    if values["least"] == values["most"]:
        return str(values["least"])
    return f"{values['least']} to {values['most']}, half of them up to {values['median']}"


def contact_sheet(dataset: Dataset, count: int = 24) -> Image.Image:
    """Some examples with their truth as one picture: what the data really looks like."""
    chosen = list(_some(dataset.examples, count))
    if not {"image", "frames", "audio"} & set(dataset.fields):
        return drawing.text([(e.id, _caption(e)) for e in chosen])
    names = sorted({label for e in chosen for label in classes_of(e)})
    pictures, captions = [], []
    for example in chosen:
        try:
            pictures.append(_picture(example, names))
            captions.append(_caption(example) or example.id)
        except InputError as error:
            pictures.append(Image.new("RGB", (96, 96), (200, 60, 60)))
            captions.append(str(error))
    return drawing.grid(pictures, captions)


def _picture(example: Example, names: Sequence[str]) -> Image.Image:
    fields = example.fields
    if "audio" in fields:
        return _wave(fields["audio"])
    things = fields.get("objects", [])
    path = fields.get("image")
    if path is None:
        middle = len(fields["frames"]) // 2
        path = fields["frames"][middle]
        things = fields["tracks"][middle] if "tracks" in fields else []
    picture = image.load(path)
    if not things:
        return picture
    kinds = [t["id"] if "id" in t else names.index(t["label"]) for t in things]
    captions = [f"{t['label']} {t['id']}" if "id" in t else t["label"] for t in things]
    return drawing.boxes(picture, [t["box"] for t in things], captions, kinds)


def _wave(path: str, width: int = 240, height: int = 80) -> Image.Image:
    """The loudness of a sound over its time."""
    import soundfile

    try:
        samples = np.abs(soundfile.read(path, dtype="float32", always_2d=True)[0]).max(1)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path}: {error}") from None
    picture = np.full((height, width, 3), 255, np.uint8)
    loud = [part.max() if len(part) else 0.0 for part in np.array_split(samples, width)]
    for x, value in enumerate(np.array(loud) / max(max(loud), 1e-6)):
        half = max(1, round(float(value) * height / 2))
        picture[height // 2 - half : height // 2 + half, x] = lettering.PALETTE[0]
    return Image.fromarray(picture)


def _caption(example: Example) -> str:
    fields = example.fields
    if "translation" in fields:
        return " / ".join(fields["translation"].values())
    said = fields.get("text", "")
    label = fields.get("label") or ", ".join(fields.get("labels", ()))
    parts = [label, said if said != label else ""]
    return ": ".join(p for p in parts if p)[:300]
