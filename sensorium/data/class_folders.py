"""Folder per class: `cat/1.jpg`, `dog/2.jpg`; also `train/cat/1.jpg`. Pictures, sounds or text files.

Nested folders make nested names (`Latin/character01`). A folder train, val or test on top is the split.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from sensorium.data.examples import SPLITS, Dataset, Example, Lazy
from sensorium.data.source import IMAGES, SOUNDS, Source, extension, split_of_path, words
from sensorium.errors import InputError

KINDS = (("image", IMAGES), ("audio", SOUNDS), ("text", frozenset((".txt",))))
NO_CLASS = frozenset(words("images image imgs img img1 labels annotations masks wavs wav audio clips data"))
EAGER_BYTES = 64 << 20


def _kind(source: Source) -> str | None:
    """The kind of file that most of the folders below hold."""
    counts = Counter(kind for name in source.files if "/" in name for kind, known in KINDS if extension(name) in known)
    return counts.most_common(1)[0][0] if counts else None


def _label(name: str) -> tuple[str | None, str | None]:
    """Split and class of a relative path; class None where its folders name none."""
    folders = list(PurePosixPath(name).parts[:-1])
    split = None
    for i, folder in enumerate(folders[:2]):
        split = split_of_path(f"{folder}/")
        if split is not None and len(folders) > 1:
            del folders[i]
            break
    if folders and folders[0].lower() in NO_CLASS:
        del folders[0]
    return split, "/".join(folders) or None


def match(source: Source) -> float:
    if source.file is not None or (kind := _kind(source)) is None:
        return 0.0
    known = dict(KINDS)[kind]
    labels = {_label(name)[1] for name in source.files if extension(name) in known} - {None}
    labels = {label for label in labels if label and split_of_path(f"{label}/") is None}
    return 0.6 if len(labels) >= 2 else 0.05 if labels else 0.0


def read(source: Source) -> Dataset:
    kind = _kind(source)
    if kind is None or source.file is not None:
        raise InputError(f"'{source.root}' has no folders of pictures, sounds or texts")
    known = dict(KINDS)[kind]
    rows: list[tuple[str, str | None, str]] = []
    other: list[str] = []
    loose: list[str] = []
    for name in source.files:
        if extension(name) not in known:
            if "/" in name:
                other.append(name)
            continue
        split, label = _label(name)
        if label is None:
            loose.append(name)
        else:
            rows.append((name, split, label))
    if loose:
        source.found("no-label", "warning", loose[0], f"{len(loose)} files lie in no class folder: left out")
    if other:
        source.note(f"{len(other)} files of other kinds left out ({other[0]} ...)")

    def example(name: str, split: str | None, label: str) -> Example:
        # speech commands: one speaker's recordings share what stands before _nohash_
        group = PurePosixPath(name).name.split("_nohash_")[0] if kind == "audio" and "_nohash_" in name else None
        value = source.text(name).strip() if kind == "text" else source.absolute(name)
        return Example(name, {kind: value, "label": label}, name, split, group)

    classes = tuple(sorted({label for _, _, label in rows}))
    classes = tuple(sorted({label for _, _, label in rows}))
    fields = (kind, "label")
    if kind == "text":
        source.used.extend(name for name, _, _ in rows)
    if kind == "text" and sum((source.root / name).stat().st_size for name, _, _ in rows) > EAGER_BYTES:
        codes = bytearray(SPLITS.index(split) + 1 if split else 0 for _, split, _ in rows)

        def some(start: int, stop: int) -> list[Example]:
            return [example(*row) for row in rows[start:stop]]

        return source.dataset("class-folders", fields, Lazy(some, len(rows), codes), classes)
    return source.dataset("class-folders", fields, [example(*row) for row in rows], classes)
