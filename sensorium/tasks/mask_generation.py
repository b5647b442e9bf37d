"""Mask generation: the object at a point or in a box of a picture, or every object there is (SAM and its like)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError
from sensorium.media import drawing, image, masks
from sensorium.ops import boxes
from sensorium.ops import masks as mask_ops
from sensorium.ops.interpolation import resize
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.folders import Preprocessed

# Families whose pictures keep their shape, and are filled up; those of SAM 2 are stretched.
PADDED = frozenset({"sam", "sam_hq"})
BELONGS, NOT, CORNERS, LEFT_OUT = 1, 0, (2, 3), -10
MOST = 10_000  # prompts of one picture


@dataclass(frozen=True, slots=True)
class Mask:
    """An object.

    Attributes:
        score: how well the network thinks that the mask fits, mostly 0..1.
        mask: 8-bit grey, of the picture's size: 255 where the object is.
    """

    score: float
    mask: Image.Image


@dataclass(frozen=True)
class Asked:
    """A picture and what is asked of it.

    Attributes:
        prompts: for each object a mapping of `points` ([[x, y], ...]), their `labels` (1 belongs to it, 0 does not) and
            `box` ([xmin, ymin, xmax, ymax]), in pixels; none for every object there is.
    """

    image: Image.Image
    prompts: tuple[Mapping[str, Any], ...] = ()


@dataclass
class Task(Preprocessed):
    """What the folder's files say: `vision_encoder` looks at a picture once, the other network is asked many times."""

    name: ClassVar[str] = "mask-generation"
    source: ClassVar[str] = "image"
    parts: ClassVar[tuple[str, ...]] = ("image", "prompts")
    truth: ClassVar[str] = "segments"
    metric: ClassVar[str] = "miou"
    padding: ClassVar[dict[str, float]] = {}
    architectures: ClassVar[tuple[str, ...]] = (
        "SamModel",
        "SamHQModel",
        "Sam2Model",
        "EdgeTamModel",
        "Sam3TrackerModel",
    )

    def open(self, source: Any) -> Asked:
        """A picture, or a mapping of `image` and `prompts`.

        Raises:
            InputError: a prompt is none.
        """
        if isinstance(source, Asked):
            return source
        if not isinstance(source, Mapping):
            return Asked(image.load(source))
        prompts = source.get("prompts") or []
        if isinstance(prompts, Mapping):
            prompts = [prompts]
        if not isinstance(prompts, Sequence) or isinstance(prompts, str) or len(prompts) > MOST:
            raise InputError(f"'prompts' is a list of at most {MOST} objects with 'points' or a 'box'")
        for prompt in prompts:
            self._prompt(prompt)
        return Asked(image.load(source.get("image")), tuple(prompts))

    def _prompt(self, prompt: Any) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 2) in pixels of the picture, and their labels (N,)."""
        try:
            points = np.array(prompt.get("points") or [], np.float64).reshape(-1, 2)
            labels = np.array(prompt.get("labels") or [BELONGS] * len(points), np.int64).reshape(-1)
            box = prompt.get("box")
            if len(points) != len(labels) or not (len(points) or box is not None) or not np.isfinite(points).all():
                raise ValueError
            if box is not None:
                points = np.concatenate([points, np.array(box, np.float64).reshape(2, 2)])
                labels = np.concatenate([labels, CORNERS])
        except (AttributeError, TypeError, ValueError):
            raise InputError(
                'a prompt is {"points": [[x, y], ...], "labels": [1, ...]} or {"box": [xmin, ymin, xmax, ymax]}, '
                f"not {str(prompt)[:80]}"
            ) from None
        return points, labels

    def prepare(self, source: Any) -> Arrays:
        """pixel_values: float32 (3, H, W)."""
        return image.arrays(self.preprocessor, self.open(source).image)

    def _seen(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of a picture in the network's input."""
        return image.geometry(self.preprocessor, width, height).resize

    def _side(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        given = self.preprocessor.get("pad_size") or self.preprocessor.get("size") or 1024
        if isinstance(given, Mapping):
            longest = given.get("longest_edge")
            return int(given.get("height", longest)), int(given.get("width", longest))
        return int(given), int(given)

    def decode(
        self, outputs: Arrays, source: Any, mask_threshold: float = 0.0, all_masks: bool = True
    ) -> list[list[Mask]]:
        """For each object its masks, best first.

        Args:
            outputs: `pred_masks` (P, M, h, w) and `iou_scores` (P, M).
        """
        asked = self.open(source)
        answers = []
        for logits, scores in zip(outputs["pred_masks"], outputs["iou_scores"]):
            order = np.argsort(-scores, kind="stable")[: None if all_masks else 1]
            found = self._full(logits[order], *asked.image.size) > mask_threshold
            answers.append([Mask(float(scores[i]), _picture(mask)) for i, mask in zip(order, found)])
        return answers

    def _full(self, logits: np.ndarray, width: int, height: int) -> np.ndarray:
        """Masks at the size of the picture: (M, height, width)."""
        if str(self.config.get("model_type")) in PADDED:
            across, down = self._seen(width, height)
            logits = resize(logits.astype(np.float32, copy=False), self._side())[:, :down, :across]
        return np.asarray(resize(logits.astype(np.float32, copy=False), (height, width)))

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Any],
        *,
        mask_threshold: float = 0.0,
        all_masks: bool = False,
        points_per_crop: int = 32,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        crops_nms_thresh: float = 0.7,
        points_per_batch: int = 64,
    ) -> list[list[Any]]:
        """For each picture the masks of what is asked; without prompts of every object, best first.

        Options:
            mask_threshold: least value of a mask's pixel, as the network gives it
            all_masks: for each prompt a list of all the masks that the network offers, not only its best one
            points_per_crop: every object: points along each side of the picture that are tried
            pred_iou_thresh: every object: least score
            stability_score_thresh: every object: least share of a mask that stays when its threshold is moved
            stability_score_offset: every object: how far the threshold is moved
            crops_nms_thresh: every object: of two whose boxes overlap by more than this, the better one stays
            points_per_batch: every object: points that are tried at once

        Raises:
            InputError: an option is out of range.
        """
        if not 1 <= points_per_crop <= 256 or points_per_batch < 1:
            raise CallError("points_per_crop is 1 to 256, points_per_batch at least 1")
        answers: list[list[Any]] = []
        for source in sources:
            asked = self.open(source)
            pixels = self.prepare(asked)
            seen = nets["vision_encoder"]({name: array[None] for name, array in pixels.items()})
            if asked.prompts:
                found = self.decode(self._ask(nets, seen, asked), asked, mask_threshold, all_masks)
                answers.append(found if all_masks else [masks[0] for masks in found])
                continue
            limits = (mask_threshold, pred_iou_thresh, stability_score_thresh, stability_score_offset)
            kept = []
            for outputs in self._everywhere(nets, seen, asked, points_per_crop, points_per_batch):
                kept += self._sure(outputs, asked, *limits)
            answers.append(_without_doubles(kept, crops_nms_thresh))
        return answers

    def _ask(self, nets: Nets, seen: Arrays, asked: Asked) -> Arrays:
        """Masks and scores of each prompt; those of as many points together."""
        prompts = [self._prompt(p) for p in asked.prompts]
        masks: list[Any] = [None] * len(prompts)
        scores: list[Any] = [None] * len(prompts)
        kinds = [(len(labels), bool((labels == CORNERS[0]).any())) for _, labels in prompts]
        for kind in sorted(set(kinds)):
            group = [i for i, own in enumerate(kinds) if own == kind]
            for start in range(0, len(group), 64):
                some = group[start : start + 64]
                points, labels = (np.stack([prompts[i][k] for i in some]) for k in (0, 1))
                outputs = self._answer(nets, seen, asked, points, labels)
                for row, i in enumerate(some):
                    masks[i], scores[i] = outputs["pred_masks"][row], outputs["iou_scores"][row]
        return {"pred_masks": np.stack(masks), "iou_scores": np.stack(scores)}

    def _answer(self, nets: Nets, seen: Arrays, asked: Asked, points: np.ndarray, labels: np.ndarray) -> Arrays:
        """What the network says to points (P, N, 2) in pixels of the picture."""
        width, height = asked.image.size
        across, down = self._seen(width, height)
        net = nets["prompt_encoder_mask_decoder"]
        feeds: Arrays = {
            "input_points": (points * [across / width, down / height]).astype(np.float32)[None],
            "input_labels": labels.astype(np.int64)[None],
        }
        found = net(feeds | {name: array for name, array in seen.items() if name in net.inputs})
        return {name: array[0] for name, array in found.items()}

    def _everywhere(self, nets: Nets, seen: Arrays, asked: Asked, side: int, together: int) -> Iterator[Arrays]:
        """Answers to a grid of points."""
        places = np.linspace(1 / (2 * side), 1 - 1 / (2 * side), side)
        grid = np.stack(np.meshgrid(places, places), -1).reshape(-1, 1, 2) * asked.image.size
        for start in range(0, len(grid), together):
            points = grid[start : start + together]
            yield self._answer(nets, seen, asked, points, np.full(points.shape[:2], BELONGS))

    def _sure(
        self, outputs: Arrays, asked: Asked, threshold: float, least: float, stable: float, offset: float
    ) -> list[tuple[float, np.ndarray]]:
        """The masks that the network is sure of, and that do not hang on the threshold."""
        kept = []
        for logits, scores in zip(outputs["pred_masks"], outputs["iou_scores"]):
            good = np.flatnonzero(scores > least) if least > 0 else np.arange(len(scores))
            for i, values in zip(good, self._full(logits[good], *asked.image.size)):
                inner, outer = (
                    np.count_nonzero(values > threshold + offset),
                    np.count_nonzero(values > threshold - offset),
                )
                if stable <= 0 or (outer and np.float32(inner) / np.float32(outer) > stable):
                    kept.append((float(scores[i]), values > threshold))
        return kept

    def tally(self, prediction: list[Mask], truth: list[dict[str, Any]], nets: Nets) -> Tally:
        """Overlap of each mask with the true one of its prompt."""
        real = masks.load([t["mask"] for t in truth])
        found = [np.asarray((p[0] if isinstance(p, list) else p).mask) > 127 for p in prediction]
        if len(found) != len(real):
            raise InputError(f"{len(real)} prompts were answered by {len(found)} masks")
        overlaps = [float(mask_ops.iou([a], [b])[0, 0]) for a, b in zip(found, real)]
        return Tally(float(np.mean(overlaps)) if overlaps else 1.0, overlaps)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Mean intersection over union of all masks, and the share of them above a half."""
        found = np.array([overlap for t in tallies for overlap in t.stats])
        if not len(found):
            return {"miou": float("nan"), "found_50": float("nan")}
        return {"miou": float(found.mean()), "found_50": float((found > 0.5).mean())}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Mask]]:
        """Fills the box of each prompt."""

        def predict(source: Any) -> list[Mask]:
            asked = self.open(source)
            answers = []
            for prompt in asked.prompts:
                mask = np.zeros(asked.image.size[::-1], bool)
                points, _ = self._prompt(prompt)
                (left, top), (right, bottom) = points.min(0), points.max(0)
                mask[round(top) : round(bottom) + 1, round(left) : round(right) + 1] = True
                answers.append(Mask(1.0, _picture(mask)))
            return answers

        return predict

    def draw(self, source: Any, result: Sequence[Any]) -> Image.Image:
        """The picture with the masks in colours."""
        shown = [one[0] if isinstance(one, list) else one for one in result]
        captions = [f"{m.score:.2f}" if m.score < 1 else "" for m in shown]
        return drawing.masks(self.open(source).image, [m.mask for m in shown], captions)

    def truth_result(self, truth: list[dict[str, Any]]) -> list[Mask]:
        return [Mask(1.0, _picture(mask)) for mask in masks.load([t["mask"] for t in truth])]


def _without_doubles(kept: list[tuple[float, np.ndarray]], threshold: float) -> list[Mask]:
    """The masks, best first, without those whose box is nearly that of a better one."""
    order = sorted(range(len(kept)), key=lambda i: -kept[i][0])
    places = np.array([mask_ops.box(kept[i][1]) or (0, 0, 1, 1) for i in order], np.float32).reshape(-1, 4)
    places[:, 2:] -= 1  # the last pixel within
    stay: list[int] = []
    for i in range(len(order)):
        if not len(stay) or boxes.iou(places[i : i + 1], places[stay])[0].max() <= threshold:
            stay.append(i)
    return [Mask(kept[order[i]][0], _picture(kept[order[i]][1])) for i in stay]


def _picture(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)
