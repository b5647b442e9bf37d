"""Pictures with pictures: `images/1.jpg` with `depth/1.png` (or .npy), with `alpha/1.png`, or with `target/1.png`.

Depth maps, mattes (how much each pixel belongs to the foreground), or the pictures that others should become.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from sensorium.data.examples import Dataset, Example
from sensorium.data.source import IMAGES, Source, extension, split_of_path, words
from sensorium.errors import InputError

# Folders of what is to be answered, by the field; and of what is given.
ANSWERS = {
    "depth": words("depth depths depth_map depth_maps"),
    "alpha": words("alpha alphas matte mattes"),
    "target": words("target targets output outputs hr high high_res clean sharp"),
}
GIVEN = words("image images rgb input inputs source sources lr low low_res noisy blurred blur img imgs im color colour")
MASKS = words("mask masks gt groundtruth")  # mattes as well, where these are asked for
ENDING = re.compile(r"[-_](?:depths?|rgb|colou?r|alpha|matte|mask|gt|lr|hr|x[2348]|input|target|image|img)$")


def _sorted_out(source: Source) -> tuple[str, dict[str, str], dict[str, str]]:
    """The field that is answered, and by name without folder and ending, the pictures given and those answered."""
    answers: dict[str, dict[str, str]] = {field: {} for field in ANSWERS}
    given: dict[str, str] = {}
    for name in source.files:
        path = PurePosixPath(name)
        kind = extension(name)
        for i, folder in enumerate(path.parts[:-1]):
            low = folder.lower()
            key = "/".join((*path.parts[:i], *path.parts[i + 1 : -1], ENDING.sub("", path.stem.lower())))
            if low in GIVEN and kind in IMAGES:
                given.setdefault(key, name)
                break
            field = next((f for f, known in ANSWERS.items() if low in known), None)
            if field is None and low in MASKS and "alpha" in source.wants:
                field = "alpha"
            if field is not None and (kind in IMAGES or (field == "depth" and kind == ".npy")):
                answers[field].setdefault(key, name)
                break
    wanted = [field for field in ANSWERS if field in source.wants] or list(ANSWERS)
    best = max(wanted, key=lambda field: len(answers[field].keys() & given.keys()))
    return best, given, answers[best]


def match(source: Source) -> float:
    if source.file is not None:
        return 0.0
    _, given, answered = _sorted_out(source)
    return 0.85 if given.keys() & answered.keys() else 0.0


def read(source: Source) -> Dataset:
    field, given, answered = _sorted_out(source)
    both = sorted(given.keys() & answered.keys())
    if not both:
        raise InputError(f"'{source.root}' has no folders of pictures that belong together, such as images and depth")
    if alone := len(given.keys() ^ answered.keys()):
        source.note(f"{alone} pictures without the other one of the pair left out")
    examples = [
        Example(
            given[key],
            {"image": source.absolute(given[key]), field: source.absolute(answered[key])},
            given[key],
            split_of_path(given[key]),
        )
        for key in both
    ]
    return source.dataset("paired-folders", ("image", field), examples)
