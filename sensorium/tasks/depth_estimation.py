"""Depth estimation: how far away what each pixel shows is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import depth, drawing, image
from sensorium.ops import depth_metrics
from sensorium.ops.interpolation import resize
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.folders import OfPicture

# Families that say how near something is, without a unit, unless `depth_estimation_type` says otherwise.
RELATIVE = frozenset({"dpt", "depth_anything"})


@dataclass(frozen=True, slots=True)
class Depth:
    """A map of depth.

    Attributes:
        predicted_depth: (H, W) float32, of the picture's size: in metres, or, for families such as Depth Anything,
            nearness without a unit.
        depth: the same as an 8-bit grey picture, from the least value (black) to the largest (white).
    """

    predicted_depth: np.ndarray
    depth: Image.Image


@dataclass
class Task(OfPicture):
    """What the folder's files say: config.json: `model_type`, `depth_estimation_type`."""

    name: ClassVar[str] = "depth-estimation"
    truth: ClassVar[str] = "depth"
    metric: ClassVar[str] = "abs_rel"
    lower_is_better: ClassVar[bool] = True
    architectures: ClassVar[tuple[str, ...]] = ("ForDepthEstimation",)

    @property
    def relative(self) -> bool:
        """Whether the network says how near, without a unit, and not how far."""
        kind = self.config.get("depth_estimation_type")
        return self.config.get("model_type") in RELATIVE if kind is None else kind == "relative"

    def decode(self, outputs: Arrays, source: Image.Image) -> Depth:
        """The network's map, resized to the picture.

        Args:
            outputs: `predicted_depth` (h, w), and of Depth Pro `field_of_view` in degrees.
        """
        if "predicted_depth" not in outputs:
            raise InputError(f"the network gives {', '.join(outputs)}, and no 'predicted_depth'")
        found = np.squeeze(outputs["predicted_depth"]).astype(np.float32, copy=False)
        if found.ndim != 2:
            raise InputError(f"'predicted_depth' is a map (h, w), not {outputs['predicted_depth'].shape}")
        width, height = source.size
        if self.config.get("model_type") == "depth_pro":
            found = self._from_inverse(found, outputs.get("field_of_view"), width, height)
        else:
            across, down = image.border(self.preprocessor, width, height)
            found = resize(found, (height + 2 * down, width + 2 * across), "bicubic")
            found = found[down : down + height, across : across + width]
        return Depth(np.ascontiguousarray(found), depth.picture(found))

    @staticmethod
    def _from_inverse(found: np.ndarray, view: np.ndarray | None, width: int, height: int) -> np.ndarray:
        """Depth Pro: inverse depth, in the unit of the angle that the picture covers."""
        if view is not None:
            found = found * np.float32(2 * np.tan(np.deg2rad(view.reshape(-1)[0].astype(np.float64)) / 2))
        return np.asarray(1 / np.clip(resize(found, (height, width), "bilinear"), 1e-4, 1e4))

    def tally(self, prediction: Depth, truth: Any, nets: Nets) -> Tally:
        """The errors of one picture. A prediction of nearness is fitted to the truth first, in scale and shift."""
        true, predicted = depth.load(truth), prediction.predicted_depth
        if true.shape != predicted.shape:
            raise InputError(f"{truth}: this map of depth has the shape {true.shape}, its picture {predicted.shape}")
        if self.relative:
            predicted = depth_metrics.from_relative(predicted, true)
        errors = depth_metrics.errors(predicted, true)
        return Tally(1 / (1 + errors["abs_rel"]), errors)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Means over the pictures: relative error, share within a factor of 1.25, root of the mean squared error."""
        return {name: float(np.nanmean([t.stats[name] for t in tallies])) for name in ("abs_rel", "delta1", "rmse")}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Depth]:
        """The typical depth everywhere."""
        middles = [float(np.median(m[w])) for m in map(depth.load, truths) if (w := depth_metrics.known(m)).any()]
        typical = float(np.median(middles)) if middles else 1.0

        def predict(source: Any) -> Depth:
            width, height = self.open(source).size
            flat = np.full((height, width), 1 / typical if self.relative else typical, np.float32)
            return Depth(flat, depth.picture(flat))

        return predict

    def draw(self, source: Image.Image, result: Depth) -> Image.Image:
        """The picture, and beside it its depth: light is the larger value."""
        return drawing.beside([self.open(source), result.depth])

    def truth_result(self, truth: Any) -> Depth:
        true = depth.load(truth)
        return Depth(true, depth.picture(np.where(depth_metrics.known(true), true, 0)))
