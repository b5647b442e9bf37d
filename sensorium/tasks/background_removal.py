"""Background removal: a picture without what is behind the main thing in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, image
from sensorium.ops.classification import sigmoid, softmax
from sensorium.ops.interpolation import resize
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.folders import OfPicture

# Names under which networks take the picture.
INPUTS = ("pixel_values", "input", "input_image", "image", "images", "img", "x", "input.1", "input_1")
# Names under which networks give the matte, in this order; otherwise their first output is taken.
OUTPUTS = ("alphas", "alpha", "mask", "logits")


@dataclass(frozen=True, slots=True)
class Cutout:
    """The answer.

    Attributes:
        image: RGBA: the picture, transparent where the background is.
        mask: 8-bit grey, of the picture's size: how much each pixel belongs to the foreground.
    """

    image: Image.Image
    mask: Image.Image


@dataclass
class Task(OfPicture):
    """What the folder's files say: config.json: `id2label`, where the network tells several classes apart."""

    name: ClassVar[str] = "background-removal"
    truth: ClassVar[str] = "alpha"
    metric: ClassVar[str] = "mae"
    lower_is_better: ClassVar[bool] = True

    def prepare(self, source: Image.Image) -> Arrays:
        """pixel_values, under all the names that such networks give it: (3, H, W) float32."""
        pixels = image.preprocess(self.preprocessor, source)
        return {name: pixels for name in INPUTS}

    def decode(self, outputs: Arrays, source: Image.Image) -> Cutout:
        """The picture with its matte.

        Args:
            outputs: one map (1, h, w) of shares or logits, as of MODNet and BiRefNet; or a map per class (C, h, w),
                the first of which is the background.
        """
        found = next((outputs[n] for n in OUTPUTS if n in outputs), next(iter(outputs.values())))
        maps = found[None] if found.ndim == 2 else found
        if maps.ndim != 3:
            raise InputError(f"the network's answer is no map of the foreground (1, h, w): {found.shape}")
        if len(maps) > 1:
            share: np.ndarray = 1 - softmax(np.moveaxis(maps, 0, -1))[..., 0]
        else:
            share = maps[0].astype(np.float64)
            if share.min() < -1e-5 or share.max() > 1 + 1e-5:
                share = sigmoid(share)
        share = resize(share.astype(np.float32), (source.height, source.width), "bilinear")
        mask = Image.fromarray(np.round(np.clip(share, 0, 1) * 255).astype(np.uint8))
        cut = source.convert("RGBA")
        cut.putalpha(mask)
        return Cutout(cut, mask)

    def tally(self, prediction: Cutout, truth: Any, nets: Nets) -> Tally:
        """Mean absolute error of the matte, and the overlap of what is more foreground than background."""
        wanted = _matte(truth)
        found = np.asarray(prediction.mask, np.float64) / 255
        if wanted.shape != found.shape:
            raise InputError(f"{truth}: this matte has the shape {wanted.shape}, its picture {found.shape}")
        both = np.logical_and(found >= 0.5, wanted >= 0.5).sum()
        either = np.logical_or(found >= 0.5, wanted >= 0.5).sum()
        error = float(np.abs(found - wanted).mean())
        return Tally(1 - error, (error, float(both / either) if either else 1.0))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Means over the pictures: absolute error of the matte (0..1), and intersection over union."""
        values = np.array([t.stats for t in tallies], np.float64)
        return {"mae": float(values[:, 0].mean()), "iou": float(values[:, 1].mean())}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Cutout]:
        """The mean matte, stretched over whatever picture."""
        side = 64
        small = [np.asarray(_picture(t).resize((side, side)), np.float64) for t in truths]
        mean = Image.fromarray((np.mean(small, 0) if small else np.full((side, side), 255)).astype(np.uint8))

        def predict(source: Any) -> Cutout:
            picture = self.open(source)
            mask = mean.resize(picture.size)
            cut = picture.convert("RGBA")
            cut.putalpha(mask)
            return Cutout(cut, mask)

        return predict

    def draw(self, source: Image.Image, result: Cutout) -> Image.Image:
        """The picture, and beside it what is left of it, on a chequered ground."""
        width, height = result.image.size
        rows, columns = np.indices((height, width)) // 8
        ground = Image.fromarray(np.where((rows + columns) % 2, 255, 205).astype(np.uint8)).convert("RGBA")
        return drawing.beside([self.open(source), Image.alpha_composite(ground, result.image).convert("RGB")])

    def truth_result(self, truth: Any) -> Cutout:
        mask = _picture(truth)
        return Cutout(Image.merge("RGBA", (mask, mask, mask, mask)), mask)


def _picture(truth: Any) -> Image.Image:
    return image.load(truth).convert("L")


def _matte(truth: Any) -> np.ndarray:
    return np.asarray(_picture(truth), np.float64) / 255
