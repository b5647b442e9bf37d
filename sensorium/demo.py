"""Real data for the demonstration: handwritten digits, alone and scattered over photographs.

The digits are the 1,797 of scikit-learn (UCI "Optical recognition of handwritten digits"); the photographs are those
that scikit-image ships. Nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sensorium.errors import need
from sensorium.files import publishing

PHOTOGRAPHS = {
    "train": ("astronaut.png", "coffee.png", "grass.png", "gravel.png", "rocket.jpg", "color.png"),
    "val": ("brick.png", "hubble_deep_field.jpg"),
    "test": ("chelsea.png", "ihc.png", "motorcycle_left.png"),
}
SIDE = 160  # pixels of a picture with scattered digits


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (1797, 8, 8) float64 in 0..1, ink high, and labels (1797,) int."""
    found = need("sklearn.datasets", "demo").load_digits()
    return found.images / 16.0, found.target


def split_of(number: int) -> str:
    """A fifth of the digits is for testing, a fifth for validation."""
    return {0: "test", 1: "val"}.get(number % 5, "train")


def write_digits(folder: Path) -> None:
    """A folder per class with 16 x 16 pictures, and a `splits.json`."""
    pictures, labels = digits()
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    with publishing(folder) as new:
        for number, (picture, label) in enumerate(zip(pictures, labels)):
            name = f"{label}/{number:04d}.png"
            (new / str(label)).mkdir(exist_ok=True)
            ink = Image.fromarray((255 - 255 * picture).astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC)
            ink.save(new / name)
            splits[split_of(number)].append(name)
        (new / "splits.json").write_text(json.dumps(splits))


def write_scattered(folder: Path, count: int = 420, seed: int = 0) -> None:
    """Digits over photographs, with COCO boxes for each split; no digit and no photograph is in two splits."""
    data = Path(str(need("skimage.data", "demo").__file__)).parent
    pictures, _ = digits()
    rng = np.random.default_rng(seed)
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    with publishing(folder) as new:
        (new / "annotations").mkdir()
        for split, share in shares.items():
            (new / split).mkdir()
            own = [i for i in range(len(pictures)) if split_of(i) == split]
            photographs = [Image.open(data / name).convert("RGB") for name in PHOTOGRAPHS[split]]
            coco: dict[str, Any] = {
                "images": [],
                "annotations": [],
                "categories": [{"id": 1, "name": "digit"}],
            }
            for number in range(round(count * share)):
                canvas, boxes = _scatter(photographs[number % len(photographs)], pictures, own, rng)
                name = f"{number:04d}.jpg"
                Image.fromarray(canvas).save(new / split / name, quality=92)
                coco["images"].append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
                for box in boxes:
                    coco["annotations"].append(
                        {
                            "id": len(coco["annotations"]) + 1,
                            "image_id": number,
                            "category_id": 1,
                            "bbox": box,
                            "area": box[2] * box[3],
                            "iscrowd": 0,
                        }
                    )
            (new / "annotations" / f"instances_{split}.json").write_text(json.dumps(coco))


def _scatter(
    photograph: Image.Image, pictures: np.ndarray, own: list[int], rng: np.random.Generator
) -> tuple[np.ndarray, list[list[float]]]:
    """A piece of a photograph with one to five digits written on it; each with its (x, y, width, height)."""
    side = int(rng.integers(SIDE, min(photograph.size) + 1)) if min(photograph.size) > SIDE else min(photograph.size)
    left, top = (int(rng.integers(0, n - side + 1)) for n in photograph.size)
    piece = photograph.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    canvas = np.asarray(piece, np.float64) * 0.6
    taken: list[tuple[int, int, int]] = []
    boxes = []
    for _ in range(int(rng.integers(1, 6))):
        size = int(rng.integers(28, 52))
        x, y = (int(v) for v in rng.integers(0, SIDE - size, 2))
        if any(abs(x - a) < (size + s) / 2 and abs(y - b) < (size + s) / 2 for a, b, s in taken):
            continue
        taken.append((x, y, size))
        which = int(rng.choice(own))
        ink = (
            np.asarray(
                Image.fromarray((pictures[which] * 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
            )[..., None]
            / 255.0
        )
        colour = rng.uniform(170, 255, 3)
        canvas[y : y + size, x : x + size] += ink * (colour - canvas[y : y + size, x : x + size])
        rows, columns = np.nonzero(ink[..., 0] > 0.25)
        box = [x + columns.min(), y + rows.min(), columns.max() - columns.min() + 1, rows.max() - rows.min() + 1]
        boxes.append([float(v) for v in box])
    return canvas.clip(0, 255).astype(np.uint8), boxes
