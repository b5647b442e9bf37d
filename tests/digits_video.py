"""A video with truth, made of real pictures: handwritten digits that wander over a photograph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_digits

SIZE = (240, 160)  # width, height


def motion(frames: int = 300, count: int = 6, seed: int = 0, label: str = "digit") -> list[list[dict[str, Any]]]:
    """Tracks, frame by frame: digits of 24 to 40 pixels that bounce off the edges and pass over each other."""
    generator = np.random.default_rng(seed)
    size = generator.uniform(24, 40, (count, 2))
    room = np.array(SIZE) - size
    place = generator.uniform(0, 1, (count, 2)) * room
    speed = generator.normal(scale=1.5, size=(count, 2))
    tracks = []
    for _ in range(frames):
        speed = np.clip(speed + generator.normal(scale=0.1, size=speed.shape), -3, 3)
        speed = np.where((place + speed < 0) | (place + speed > room), -speed, speed)
        place = np.clip(place + speed, 0, room)
        corners = np.concatenate([place, place + size], 1)
        tracks.append(
            [{"id": i + 1, "label": label, "box": corners[i].tolist(), "ignore": False} for i in range(count)]
        )
    return tracks


def render(tracks: list[list[dict[str, Any]]], seed: int = 0) -> Iterator[Image.Image]:
    """The pictures that belong to these tracks."""
    generator = np.random.default_rng(seed)
    digits = load_digits().images
    ground = Image.fromarray(data.gravel() if seed % 2 else data.brick()).resize(SIZE).convert("RGB")
    chosen: dict[int, Image.Image] = {}
    for objects in tracks:
        picture = ground.copy()
        for found in objects:
            if found["id"] not in chosen:
                digit = digits[generator.integers(len(digits))]
                chosen[found["id"]] = Image.fromarray((digit / 16 * 255).astype(np.uint8))
            left, top, right, bottom = (round(v) for v in found["box"])
            mask = chosen[found["id"]].resize((right - left, bottom - top), Image.Resampling.BILINEAR)
            picture.paste(Image.new("RGB", mask.size, (250, 220, 60)), (left, top), mask)
        yield picture


def noisy(tracks: list[list[dict[str, Any]]], seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """What a fair detector would say: boxes off by a twentieth, one in ten missed or poor, false ones now and then."""
    generator = np.random.default_rng(seed)
    for objects in tracks:
        boxes, scores = [], []
        for found in objects:
            box = np.array(found["box"])
            if generator.random() < 0.05:
                continue
            size = np.tile(box[2:] - box[:2], 2)
            boxes.append(box + generator.normal(scale=0.05, size=4) * size)
            scores.append(generator.uniform(0.15, 0.5) if generator.random() < 0.05 else generator.uniform(0.6, 1))
        for _ in range(generator.poisson(0.2)):
            corner = generator.uniform(0, 100, 2)
            boxes.append(np.concatenate([corner, corner + generator.uniform(15, 40, 2)]))
            scores.append(generator.uniform(0.1, 0.8))
        yield np.array(boxes).reshape(-1, 4), np.array(scores), ["digit"] * len(boxes)
