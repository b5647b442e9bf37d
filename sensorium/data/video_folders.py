"""Videos in a folder per class: `waving/1.mp4`, or `waving/clip1/0001.jpg` with a folder of frames per video."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, Source, extension, split_in, words
from sensorium.errors import InputError

VIDEOS = frozenset(words(".mp4 .avi .mov .mkv .webm .mpg .mpeg .m4v .ogv .flv .gif"))


def _videos(source: Source) -> dict[str, str]:
    """A video's path, a file or a folder of frames, and its class with the split before it, if any."""
    found: dict[str, str] = {}
    folders: dict[str, int] = defaultdict(int)
    for name in source.files:
        path = PurePosixPath(name)
        if extension(name) in VIDEOS and len(path.parts) > 1:
            found[name] = path.parent.as_posix()
        elif extension(name) in IMAGES and len(path.parts) > 2:
            folders[path.parent.as_posix()] += 1
    if not found:
        found = {name: PurePosixPath(name).parent.as_posix() for name, frames in folders.items() if frames > 1}
    return found


def _class(folder: str) -> tuple[str | None, str | None]:
    """Split and class of the folder that a video lies in."""
    parts = PurePosixPath(folder).parts
    split = split_in(parts[0])
    rest = parts[1:] if split is not None else parts
    return split, "/".join(rest) or None


def match(source: Source) -> float:
    if source.file is not None:
        return 0.0
    classes = {_class(folder)[1] for folder in _videos(source).values()} - {None}
    if len(classes) < 2:
        return 0.0
    moving = any(extension(name) in VIDEOS - {".gif"} for name in source.files)
    return 0.7 if moving or "frames" in source.wants else 0.2


def read(source: Source) -> Dataset:
    examples = []
    for name, folder in sorted(_videos(source).items()):
        split, label = _class(folder)
        if label is not None:
            path = str(source.root / name)
            examples.append(Example(name, {"frames": path, "label": label}, name, split))
    if not examples:
        raise InputError(f"'{source.root}' has no videos in folders of classes")
    classes = sorted({e.fields["label"] for e in examples})
    return source.dataset("video-folders", ("frames", "label"), examples, classes)
