"""Videos in a folder per class: `waving/1.mp4`, or `waving/clip1/0001.jpg` with a folder of frames per video."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, Source, extension, split_in, words
from sensorium.errors import InputError
from sensorium.media.video import numbered

VIDEOS = frozenset(words(".mp4 .avi .mov .mkv .webm .mpg .mpeg .m4v .ogv .flv .gif"))


def _videos(source: Source) -> dict[str, list[str]]:
    """By the name of each video, a file or a folder: the file, or the frames in their order."""
    found: dict[str, list[str]] = {}
    folders: dict[str, list[str]] = defaultdict(list)
    for name in source.files:
        path = PurePosixPath(name)
        if extension(name) in VIDEOS and len(path.parts) > 1:
            found[name] = [name]
        elif extension(name) in IMAGES and len(path.parts) > 2:
            folders[path.parent.as_posix()].append(name)
    frames = {name: sorted(some, key=numbered) for name, some in folders.items() if len(some) > 1}
    return found or frames


def _class(name: str) -> tuple[str | None, str | None]:
    """Split and class of a video, by the folders that it lies in."""
    parts = PurePosixPath(name).parent.parts
    split = split_in(parts[0])
    rest = parts[1:] if split is not None else parts
    return split, "/".join(rest) or None


def match(source: Source) -> float:
    if source.file is not None:
        return 0.0
    classes = {_class(name)[1] for name in _videos(source)} - {None}
    if len(classes) < 2:
        return 0.0
    moving = any(extension(name) in VIDEOS - {".gif"} for name in source.files)
    return 0.7 if moving or "frames" in source.wants else 0.2


def read(source: Source) -> Dataset:
    examples = []
    for name, files in sorted(_videos(source).items()):
        split, label = _class(name)
        if label is not None:
            frames = [source.absolute(file) for file in files]
            examples.append(Example(name, {"frames": frames, "label": label}, name, split))
    if not examples:
        raise InputError(f"'{source.root}' has no videos in folders of classes")
    classes = sorted({e.fields["label"] for e in examples})
    return source.dataset("video-folders", ("frames", "label"), examples, classes)
