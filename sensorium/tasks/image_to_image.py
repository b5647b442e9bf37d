"""Image to image: a better picture: larger, or without noise or blur."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, image
from sensorium.ops import image_quality
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.folders import OfPicture

BEST = 100.0  # dB that stand for a picture without any error


@dataclass(frozen=True, slots=True)
class Picture:
    """The answer.

    Attributes:
        image: RGB.
    """

    image: Image.Image


@dataclass
class Task(OfPicture):
    """What the folder's files say: config.json: `upscale`, how many times larger the answer is."""

    name: ClassVar[str] = "image-to-image"
    truth: ClassVar[str] = "target"
    metric: ClassVar[str] = "psnr"
    evaluation: ClassVar[dict[str, Any]] = {"crop": True}
    architectures: ClassVar[tuple[str, ...]] = ("ForImageSuperResolution", "ForImageToImage")

    def decode(self, outputs: Arrays, source: Image.Image, *, crop: bool = False) -> Picture:
        """The new picture.

        Args:
            outputs: `reconstruction` (3, H, W), 0..1; or one output of another name.

        Options:
            crop: cut off what the preparation filled up, so that the answer has exactly the proportions of the picture
        """
        found = outputs.get("reconstruction", next(iter(outputs.values())))
        if found.ndim != 3 or len(found) not in (1, 3):
            raise InputError(f"the network's answer is no picture (3, H, W): {found.shape}")
        pixels = np.round(np.clip(found.astype(np.float32), 0, 1) * np.float32(255)).astype(np.uint8)
        picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(np.repeat(pixels, 3 // len(pixels), 0), 0, -1)))
        if crop:
            across, down = image.geometry(self.preprocessor, *source.size).size
            scale = picture.width / across, picture.height / down
            if image.geometry(self.preprocessor, *source.size).resize == source.size:
                picture = picture.crop((0, 0, round(source.width * scale[0]), round(source.height * scale[1])))
        return Picture(picture)

    def tally(self, prediction: Picture, truth: Any, nets: Nets) -> Tally:
        """PSNR and SSIM of one picture, in RGB."""
        wanted = image.load(truth)
        if wanted.size != prediction.image.size:
            sizes = f"{wanted.width} x {wanted.height}, the answer {prediction.image.width} x {prediction.image.height}"
            raise InputError(f"{truth}: this picture has {sizes} pixels")
        a, b = np.asarray(prediction.image), np.asarray(wanted)
        noise = min(BEST, image_quality.psnr(a, b))
        return Tally(noise / BEST, (noise, image_quality.ssim(a, b)))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Means over the pictures: PSNR in dB (100 for a perfect one) and SSIM."""
        values = np.array([t.stats for t in tallies], np.float64)
        structure = values[:, 1][~np.isnan(values[:, 1])]
        return {"psnr": float(values[:, 0].mean()), "ssim": float(structure.mean()) if len(structure) else math.nan}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Picture]:
        """The picture as it is, enlarged as usual (bicubic)."""
        first = next(iter(zip(sources, truths)), None)
        scale = image.load(first[1]).width / image.load(first[0]).width if first else 1.0

        def predict(source: Any) -> Picture:
            picture = self.open(source)
            size = round(picture.width * scale), round(picture.height * scale)
            return Picture(picture.resize(size, Image.Resampling.BICUBIC))

        return predict

    def draw(self, source: Image.Image, result: Picture) -> Image.Image:
        """The picture, enlarged as usual, and beside it the answer."""
        plain = self.open(source).resize(result.image.size, Image.Resampling.BICUBIC)
        return drawing.beside([plain, result.image])

    def truth_result(self, truth: Any) -> Picture:
        return Picture(image.load(truth))
