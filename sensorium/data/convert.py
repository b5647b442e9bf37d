"""From one data format to another of the same kind. What cannot be taken along is said."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any
from xml.sax.saxutils import escape

from sensorium.data.boxes import picture_size
from sensorium.data.examples import SPLITS, Dataset, Example
from sensorium.errors import InputError
from sensorium.files import publishing, write_atomic


@dataclass
class Writing:
    """A conversion under way: where to, and what is lost on the way."""

    folder: Path
    lost: Counter[str] = field(default_factory=Counter)

    def text(self, name: str, content: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8", newline="")

    def copy(self, source: str, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, path)
        except OSError as error:
            raise InputError(f"{source}: cannot be copied: {error.strerror}") from None


def convert(dataset: Dataset, to: str, out: str | Path) -> list[str]:
    """Write a data set in another format, with copies of its pictures and sounds, and read it back.

    Args:
        dataset: what `open_data` gave.
        to: `coco`, `voc`, `yolo`; `csv`, `tsv`, `jsonl`, `class-folders`, `moses`; `manifest`, `ljspeech`.
        out: a new folder; it appears when it is complete.

    Returns:
        What was lost, a line each; empty: nothing.

    Raises:
        InputError: this data has not what the format holds, or the folder exists.
    """
    target = Path(out)
    if target.exists():
        raise InputError(f"'{target}' exists: name a new folder")
    if to not in WRITERS:
        raise InputError(f"data cannot be written as '{to}': use one of {', '.join(WRITERS)}")
    needed, write = WRITERS[to]
    examples: Sequence[Example] = dataset.examples
    names = dataset.fields
    lost = []
    if "tracks" in names and "objects" in needed:
        examples = [picture for example in examples for picture in _frames(example)]
        names = ("image", "objects")
        lost.append("the order of the frames (their names keep it) and the identities of the tracks")
    missing = [f for f in needed if f not in names]
    if missing:
        have = ", ".join(dataset.fields)
        raise InputError(
            f"{dataset.path}: {dataset.format} with the fields {have} cannot be written as {to}: no {missing[0]}"
        )
    with publishing(target) as folder:
        writing = Writing(folder)
        write(writing, examples, dataset)
    lost += [f"{what} ({count})" for what, count in writing.lost.items()]
    for severity in ("error", "warning"):
        left = sum(f.severity == severity for f in dataset.findings)
        if left:
            lost.append(f"what was left out when reading ({left} findings; `data check` names them)")
            break
    return lost + _difference(examples, target)


def _frames(example: Example) -> Iterable[Example]:
    """The frames of a sequence as pictures with objects; what is to be ignored becomes a crowd."""
    for path, tracks in zip(example.fields["frames"], example.fields["tracks"], strict=True):
        objects = [
            {"label": t["label"], "box": t["box"], "iscrowd": t["ignore"], "area": None, "difficult": False}
            for t in tracks
        ]
        name = f"{example.id}/{PurePosixPath(path).name}"
        yield Example(name, {"image": path, "objects": objects}, name, example.split, example.group)


def _difference(before: Sequence[Example], target: Path) -> list[str]:
    """What reading the new folder gives otherwise than the old one did."""
    from sensorium.data import open_data

    after = open_data(target)
    told = [f"the field '{name}'" for name in before[0].fields if name not in after.fields] if before else []
    if len(before) != len(after.examples):
        told.append(f"{len(before)} examples became {len(after.examples)}")
    was, now = Counter(e.split for e in before), Counter(e.split for e in after.examples)
    if was != now:
        shown = " ".join(f"{split or 'none'} {now[split]} of {n}" for split, n in was.items())
        told.append(f"the splits ({shown})")
    for name in ("label", "text", "translation"):
        if all(name in e.fields for e in before[:1]) and name in after.fields:
            missing = Counter(_plain(e.fields[name]) for e in before) - Counter(
                _plain(e.fields[name]) for e in after.examples
            )
            if missing:
                told.append(
                    f"{sum(missing.values())} values of '{name}' read otherwise, such as {next(iter(missing))!r}"
                )
    if before and "objects" in before[0].fields:
        kept, had = (
            Counter(o["label"] for e in part for o in e.fields.get("objects", ())) for part in (after.examples, before)
        )
        if gone := had - kept:
            told.append("boxes: " + ", ".join(f"{n} of '{name}'" for name, n in gone.items()))
    return told


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _by_split(examples: Iterable[Example]) -> dict[str | None, list[Example]]:
    found: dict[str | None, list[Example]] = defaultdict(list)
    for example in examples:
        found[example.split].append(example)
    return {split: found[split] for split in (*SPLITS, None) if split in found}


def _file_names(examples: Iterable[Example], kind: str) -> dict[str, str]:
    """A file name for each picture or sound: its own where that is the only one of its stem, else with its folders."""
    paths = {e.fields[kind]: e for e in examples}
    stems = Counter(PurePosixPath(p).stem.lower() for p in paths)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path, example in paths.items():
        own = PurePosixPath(path).name
        name = own
        if stems[PurePosixPath(path).stem.lower()] > 1:
            folders = example.id.rsplit("/", 1)[0] if "/" in example.id else ""
            name = f"{folders}/{own}".strip("/").replace("/", "_").replace(":", "_")
        number = 1
        while PurePosixPath(name).stem.lower() in taken:
            number += 1
            name = f"{PurePosixPath(own).stem}_{number}{PurePosixPath(own).suffix}"
        taken.add(PurePosixPath(name).stem.lower())
        names[path] = name
    return names


# Pictures with boxes


def _classes(dataset: Dataset, examples: Sequence[Example]) -> list[str]:
    present = sorted({o["label"] for e in examples for o in e.fields["objects"]})
    return list(dict.fromkeys([*dataset.classes, *present]))


def _has_area(thing: dict[str, Any]) -> bool:
    """Whether an object has an area of its own, which is not just that of its box."""
    left, top, right, bottom = thing["box"]
    return thing["area"] is not None and abs(thing["area"] - (right - left) * (bottom - top)) > 1e-3


def _coco(writing: Writing, examples: Sequence[Example], dataset: Dataset) -> None:
    numbers = {name: i for i, name in enumerate(_classes(dataset, examples), 1)}
    names = _file_names(examples, "image")
    annotation = 0
    for split, part in _by_split(examples).items():
        folder = f"images/{split}" if split else "images/unsplit"
        images, annotations = [], []
        for i, example in enumerate(part, 1):
            path = example.fields["image"]
            width, height = picture_size(path)
            images.append({"id": i, "file_name": f"{folder}/{names[path]}", "width": width, "height": height})
            writing.copy(path, f"{folder}/{names[path]}")
            for thing in example.fields["objects"]:
                annotation += 1
                left, top, right, bottom = thing["box"]
                row = {
                    "id": annotation,
                    "image_id": i,
                    "category_id": numbers[thing["label"]],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": thing["area"] if thing["area"] is not None else (right - left) * (bottom - top),
                    "iscrowd": int(thing["iscrowd"]),
                }
                if thing["difficult"]:
                    row["difficult"] = 1  # not COCO's own; other readers pass it over
                annotations.append(row)
        categories = [{"id": n, "name": name} for name, n in numbers.items()]
        document = {"images": images, "annotations": annotations, "categories": categories}
        writing.text(f"annotations/instances_{split or 'unsplit'}.json", json.dumps(document, ensure_ascii=False))


def _voc(writing: Writing, examples: Sequence[Example], dataset: Dataset) -> None:
    names = _file_names(examples, "image")
    sets: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        path = example.fields["image"]
        name = names[path]
        stem = PurePosixPath(name).stem
        if " " in stem and example.split:
            writing.lost["the split, where the file name has spaces"] += 1
        elif example.split:
            sets[example.split].append(stem)
        width, height = picture_size(path)
        lines = ["<annotation>", f"  <filename>{escape(name)}</filename>"]
        lines.append(f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>")
        for thing in example.fields["objects"]:
            writing.lost.update(["crowd marks"] * thing["iscrowd"] + ["areas of outlines"] * _has_area(thing))
            edges = zip(("xmin", "ymin", "xmax", "ymax"), thing["box"], strict=True)
            box = "".join(f"<{edge}>{value:.10g}</{edge}>" for edge, value in edges)
            lines.append(
                f"  <object><name>{escape(thing['label'])}</name><difficult>{int(thing['difficult'])}</difficult>"
                f"<bndbox>{box}</bndbox></object>"
            )
        writing.copy(path, f"JPEGImages/{name}")
        writing.text(f"Annotations/{stem}.xml", "\n".join([*lines, "</annotation>", ""]))
    for split, stems in sets.items():
        writing.text(f"ImageSets/Main/{split}.txt", "\n".join(stems) + "\n")


def _yolo(writing: Writing, examples: Sequence[Example], dataset: Dataset) -> None:
    numbers = {name: i for i, name in enumerate(_classes(dataset, examples))}
    names = _file_names(examples, "image")
    splits = []
    for split, part in _by_split(examples).items():
        folder = split or "unsplit"
        if split:
            splits.append(f"{split}: images/{split}\n")
        for example in part:
            path = example.fields["image"]
            width, height = picture_size(path)
            if not width or not height:
                raise InputError(f"{path}: cannot be opened as a picture")
            lines = []
            for thing in example.fields["objects"]:
                for word in ("iscrowd", "difficult"):
                    if thing[word]:
                        writing.lost[f"'{word}' marks"] += 1
                writing.lost.update(["areas of outlines"] * _has_area(thing))
                left, top, right, bottom = thing["box"]
                values = (
                    (left + right) / 2 / width,
                    (top + bottom) / 2 / height,
                    (right - left) / width,
                    (bottom - top) / height,
                )
                lines.append(f"{numbers[thing['label']]} " + " ".join(f"{v:.10g}" for v in values) + "\n")
            writing.copy(path, f"images/{folder}/{names[path]}")
            writing.text(f"labels/{folder}/{PurePosixPath(names[path]).stem}.txt", "".join(lines))
    listed = "".join(f"  {n}: {json.dumps(name, ensure_ascii=False)}\n" for name, n in numbers.items())
    writing.text("data.yaml", "path: .\n" + "".join(splits) + ("names:\n" + listed if listed else "names: []\n"))


# Rows


def _cells(example: Example, names: dict[str, dict[str, str]]) -> dict[str, Any]:
    fields = example.fields
    row: dict[str, Any] = {kind: f"{kind}s/{names[kind][fields[kind]]}" for kind in names}
    for name in ("text", "label"):
        if name in fields:
            row[name] = fields[name]
    if "labels" in fields:
        row["labels"] = fields["labels"]
    row.update(fields.get("translation", {}))
    if example.group is not None:
        row["group"] = example.group
    return row


def _rows(writing: Writing, examples: Sequence[Example], ending: str) -> None:
    kinds: list[str] = [k for k in ("image", "audio") if k in examples[0].fields]
    names = {kind: _file_names(examples, kind) for kind in kinds}
    for kind, of in names.items():
        for path, name in of.items():
            writing.copy(path, f"{kind}s/{name}")
    for split, part in _by_split(examples).items():
        rows = [_cells(e, names) for e in part]
        writing.text(f"{split or 'data'}.{ending}", _write_rows(rows, ending))


def _write_rows(rows: list[dict[str, Any]], ending: str) -> str:
    if ending == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    out = StringIO()
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_joined(row.get(key, "")) for key in header] for row in rows]
    dialect: dict[str, Any] = {"delimiter": ",", "quoting": csv.QUOTE_MINIMAL}
    if ending == "tsv":
        special = any(c in cell for row in cells for cell in row for c in '\t\n\r"')
        # marks between tabs are read as quoting only where every cell has them
        dialect = {
            "delimiter": "\t",
            "quoting": csv.QUOTE_ALL if special else csv.QUOTE_NONE,
            "quotechar": '"' if special else None,
        }
    writer = csv.writer(out, lineterminator="\n", **dialect)
    writer.writerow(header)
    writer.writerows(cells)
    return out.getvalue()


def _joined(value: Any) -> str:
    return "|".join(value) if isinstance(value, list) else str(value)


def _tables(ending: str) -> Callable[[Writing, Sequence[Example], Dataset], None]:
    return lambda writing, examples, dataset: _rows(writing, examples, ending)


def _class_folders(writing: Writing, examples: Sequence[Example], dataset: Dataset) -> None:
    kind = next((k for k in ("image", "audio", "text") if k in examples[0].fields), None)
    if kind is None:
        raise InputError(f"{dataset.path}: has no pictures, sounds or texts to put into folders")
    names = _file_names(examples, kind) if kind != "text" else {}
    some_split = any(e.split for e in examples)
    for number, example in enumerate(examples, 1):
        label = example.fields["label"]
        parts = label.split("/")
        if any(not part.strip() or part.startswith(".") or "\0" in part or "\\" in part for part in parts):
            raise InputError(f"{example.where}: the label '{label}' cannot be the name of a folder")
        folder = f"{example.split or 'unsplit'}/{label}" if some_split else label
        if kind == "text":
            writing.text(f"{folder}/{number:06d}.txt", example.fields["text"])
        else:
            writing.copy(example.fields[kind], f"{folder}/{names[example.fields[kind]]}")
            if "text" in example.fields and example.fields["text"] != label:
                writing.lost["texts"] += 1
        if example.group is not None:
            writing.lost["groups"] += 1


def _moses(writing: Writing, examples: Sequence[Example], dataset: Dataset) -> None:
    for split, part in _by_split(examples).items():
        for language in examples[0].fields["translation"]:
            lines = []
            for example in part:
                text = example.fields["translation"].get(language, "")
                if re.search(r"[\r\n]", text):
                    writing.lost["line ends within a text"] += 1
                    text = " ".join(text.split())
                lines.append(text + "\n")
            writing.text(f"{split or 'data'}.{language}", "".join(lines))


def _manifest(writing: Writing, examples: Sequence[Example], dataset: Dataset) -> None:
    import soundfile

    names = _file_names(examples, "audio")
    for split, part in _by_split(examples).items():
        rows = []
        for example in part:
            path = example.fields["audio"]
            try:
                seconds = round(soundfile.info(path).duration, 4)
            except (RuntimeError, OSError) as error:
                raise InputError(f"{path}: does not open as a sound: {error}") from None
            writing.copy(path, f"wavs/{names[path]}")
            row = {"audio_filepath": f"wavs/{names[path]}", "duration": seconds, "text": example.fields["text"]}
            if example.group is not None:
                row["speaker"] = example.group
            if "label" in example.fields and example.fields["label"] != example.fields["text"]:
                row["label"] = example.fields["label"]
            rows.append(row)
        writing.text(f"{split or 'manifest'}.jsonl", _write_rows(rows, "jsonl"))


def _ljspeech(writing: Writing, examples: Sequence[Example], dataset: Dataset) -> None:
    names = _file_names(examples, "audio")
    lines = []
    lists: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        path, text = example.fields["audio"], example.fields["text"]
        if re.search(r"[|\r\n]", text):
            writing.lost["bars and line ends within a text"] += 1
            text = " ".join(text.replace("|", " ").split())
        if example.group is not None:
            writing.lost["groups (speakers)"] += 1
        writing.copy(path, f"wavs/{names[path]}")
        lines.append(f"{PurePosixPath(names[path]).stem}|{text}|{text}\n")
        if example.split:
            lists[example.split].append(f"wavs/{names[path]}")
    writing.text("metadata.csv", "".join(lines))
    if lists:
        write_atomic(writing.folder / "splits.json", json.dumps(lists, ensure_ascii=False, indent=0) + "\n")


Writer = Callable[[Writing, Sequence[Example], Dataset], None]
WRITERS: dict[str, tuple[tuple[str, ...], Writer]] = {
    "coco": (("image", "objects"), _coco),
    "voc": (("image", "objects"), _voc),
    "yolo": (("image", "objects"), _yolo),
    "csv": ((), _tables("csv")),
    "tsv": ((), _tables("tsv")),
    "jsonl": ((), _tables("jsonl")),
    "class-folders": (("label",), _class_folders),
    "moses": (("translation",), _moses),
    "manifest": (("audio", "text"), _manifest),
    "ljspeech": (("audio", "text"), _ljspeech),
}
