"""Image segmentation: a mask for each class (semantic) or for each object (instance, panoptic) of a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image

from sensorium.errors import CallError, InputError
from sensorium.media import drawing, image, masks, text
from sensorium.ops import batches, coco_ap, segmentation, segmentation_metrics
from sensorium.ops import masks as mask_ops
from sensorium.ops.segmentation import Limits, Region
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.folders import OfPicture

USUAL = Limits()
BASELINE = 50  # pictures that the naive predictor learns from


@dataclass(frozen=True, slots=True)
class Segment:
    """A class or an object.

    Attributes:
        score: 0..1; None for a class of semantic segmentation.
        mask: 8-bit grey, of the picture's size: 255 where it is, 0 elsewhere.
    """

    label: str
    score: float | None
    mask: Image.Image


@dataclass
class Task(OfPicture):
    """Segments with any network that scores classes at pixels, or that answers by queries with a mask each.

    Attributes:
        tokenizer: `tokenizer.json` of a network that is told its task in words (OneFormer), or "".
    """

    tokenizer: str = field(default="", repr=False)

    name: ClassVar[str] = "image-segmentation"
    truth: ClassVar[str] = "segments"
    metric: ClassVar[str] = "miou"
    evaluation: ClassVar[dict[str, Any]] = {"threshold": 0.5}
    architectures: ClassVar[tuple[str, ...]] = (
        "ForSemanticSegmentation",
        "ForInstanceSegmentation",
        "ForUniversalSegmentation",
        "ForSegmentation",
    )

    def __post_init__(self) -> None:
        architecture = str((self.config.get("architectures") or [""])[0])
        self._family = segmentation.family(str(self.config.get("model_type")), architecture)
        names = self.config.get("id2label") or {}
        self._labels = {int(key): str(label) for key, label in names.items()}
        self.labels = list(self._labels.values())
        self._words = text.tokenizer(self.tokenizer) if self.tokenizer else None

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Self:
        found = super().load(files)
        if found.config.get("model_type") != "oneformer":
            return found
        return replace(found, tokenizer=files.get("tokenizer.json", ""))

    def files(self) -> dict[str, Any]:
        return super().files() | ({"tokenizer.json": self.tokenizer} if self.tokenizer else {})

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs of the network that answers are made of."""
        return (self._family.logits, self._family.masks, "logits")

    def label(self, number: int) -> str:
        return self._labels.get(number, f"LABEL_{number}")

    def prepare(self, source: Any, subtask: str | None = None) -> Arrays:
        """The first of the `windows`."""
        return self.windows(source, subtask)[0]

    def windows(self, source: Any, subtask: str | None = None) -> list[Arrays]:
        """pixel_values: float32 (3, H, W); task_inputs: int64 (T,) where the network is told its task.

        One for the whole picture, or, where the processor says so (EoMT's `do_split_image`), a square after another.
        """
        arrays = {**image.arrays(self.preprocessor, self.open(source)), "pixel_mask": image.WHOLE}
        if self._words is not None:
            ids = text.encode(self._words, f"the task is {self.subtask(subtask)}").ids
            length = int(self.config.get("task_seq_len", 77))
            arrays["task_inputs"] = np.array((ids + [0] * length)[:length], np.int64)
        if not self.preprocessor.get("do_split_image"):
            return [arrays]
        pixels = arrays["pixel_values"]
        return [{**arrays, "pixel_values": pixels[(slice(None), *place)]} for place in self._places(*pixels.shape[1:])]

    def _places(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Where the squares lie, evenly along the longer side."""
        side = self._input_size()[0]
        count = -(-max(height, width) // side)
        shared = (count * side - max(height, width)) / (count - 1) if count > 1 else 0
        starts = [int(i * (side - shared)) for i in range(count)]
        whole = slice(None)
        return [(slice(s, s + side), whole) if height > width else (whole, slice(s, s + side)) for s in starts]

    def _input_size(self) -> tuple[int, int]:
        """(height, width) of EoMT's input."""
        size = self.preprocessor["size"]
        return int(size["shortest_edge"]), int(size.get("longest_edge") or size["shortest_edge"])

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) of a picture in EoMT's input."""
        rule = {**self.preprocessor, "image_processor_type": "DetrImageProcessor", "do_pad": False}
        across, down = image.geometry(rule, width, height).resize
        return down, across

    def subtask(self, wanted: str | None) -> str:
        """What to do: what is asked for, or else what the network does best.

        Raises:
            InputError: this network cannot do it.
        """
        can = self._family.subtasks
        if wanted is not None and wanted not in can:
            raise CallError(f"subtask is {' or '.join(can)} for this model, not '{wanted}'")
        return wanted or can[0]

    def decode(self, outputs: Arrays, source: Any, limits: Limits = USUAL, subtask: str | None = None) -> list[Segment]:
        """The segments.

        Args:
            outputs: `logits` (C, H, W); or of queries `class_queries_logits` (Q, C + 1) and `masks_queries_logits`
                (Q, H, W), or `logits` and `pred_masks`.
        """
        width, height = self.open(source).size
        what = self.subtask(subtask)
        kind = self._family
        if what == "semantic":
            found = segmentation.semantic(self._scores(outputs, width, height), width, height)
        else:
            if kind.sure:
                outputs = segmentation.at_size(kind, outputs, self._input_size(), self._resized(width, height))
            how = segmentation.panoptic if what == "panoptic" else segmentation.instances
            found = how(kind, outputs, width, height, limits)
        return [self._segment(region) for region in found]

    def _scores(self, outputs: Arrays, width: int, height: int) -> np.ndarray:
        """The score of each class at each place: (C, H, W); those of windows are averaged where these overlap."""
        kind = self._family
        if len(kind.subtasks) == 1:
            return outputs["logits"]
        if not kind.sure:
            return segmentation.class_scores(kind, outputs)
        size = self._input_size()
        if outputs[kind.masks].ndim == 3:
            return segmentation.class_scores(kind, segmentation.at_size(kind, outputs, size, size))
        down, across = self._resized(width, height)
        total = count = np.zeros((1, down, across), np.float32)
        for i, place in enumerate(self._places(down, across)):
            one = {name: values[i] for name, values in outputs.items()}
            scores = segmentation.class_scores(kind, segmentation.at_size(kind, one, size, size))
            total, count = (np.broadcast_to(a, (len(scores), down, across)).copy() for a in (total, count))
            total[(slice(None), *place)] += scores
            count[(slice(None), *place)] += 1
        return total / np.maximum(count, 1)

    def _segment(self, region: Region) -> Segment:
        return Segment(self.label(region.label), region.score, _picture(region.mask))

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Any],
        *,
        threshold: float = 0.9,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.5,
        subtask: str | None = None,
    ) -> list[list[Segment]]:
        """The segments of each picture.

        Options:
            threshold: least score of an object, 0..1; semantic segmentation has none
            mask_threshold: least share of an object at a pixel, 0..1
            overlap_mask_area_threshold: least share of its mask that an object keeps beside the others, 0..1
            subtask: panoptic, instance or semantic; by default the first of them that the model can do
        """
        limits = Limits(threshold, mask_threshold, overlap_mask_area_threshold)
        opened = [self.open(source) for source in sources]
        split = [self.windows(picture, subtask) for picture in opened]
        items = [window for windows in split for window in windows]
        found = dict(batches.outputs(nets["model"], items, {}))
        answers, first = [], 0
        for picture, windows in zip(opened, split):
            outputs = found[first]
            if self.preprocessor.get("do_split_image"):
                rows = [found[first + k] for k in range(len(windows))]
                outputs = {name: np.stack([row[name] for row in rows]) for name in outputs}
            answers.append(self.decode(outputs, picture, limits, subtask))
            first += len(windows)
        return answers

    def tally(self, prediction: list[Segment], truth: list[dict[str, Any]], nets: Nets) -> Tally:
        """Counts of pixels and objects, and matches by masks; quality: the mean overlap of this picture's classes.

        Raises:
            InputError: a true mask cannot be read, or is not of the picture's size.
        """
        real = masks.load([t["mask"] for t in truth])
        found = [np.asarray(s.mask) > 127 for s in prediction]
        if len({m.shape for m in (*real, *found)}) > 1:
            sizes = sorted({f"{m.shape[1]} x {m.shape[0]}" for m in (*real, *found)})
            raise InputError(f"masks of one picture are of one size, here they are {', '.join(sizes)}")
        labels, true_labels = [s.label for s in prediction], [t["label"] for t in truth]
        crowd = np.array([bool(t.get("iscrowd")) for t in truth], bool)
        counts = segmentation_metrics.count(labels, found, true_labels, real, crowd)
        matches = None
        if all(s.score is not None for s in prediction):
            matches = coco_ap.match_by(
                lambda a, b: mask_ops.iou([found[i] for i in a], [real[j] for j in b], crowd[b]),
                labels,
                [s.score for s in prediction],
                mask_ops.areas(found),
                true_labels,
                np.array([a if (a := t.get("area")) is not None else m.sum() for t, m in zip(truth, real)], float),
                crowd,
                np.array([not m.any() for m in real], bool),
            )
        quality = segmentation_metrics.score([counts], False)["miou"]
        return Tally(quality if quality == quality else 1.0, (counts, matches))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Overlap and accuracy of pixels; of objects also panoptic quality and COCO's average precision of masks."""
        matches = [t.stats[1] for t in tallies if t.stats[1] is not None]
        found = segmentation_metrics.score([t.stats[0] for t in tallies], bool(matches))
        return found | (coco_ap.average_precision(matches) if matches else {})

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Segment]]:
        """Says of each pixel the class that most pixels have (of the first pictures)."""
        counts: Counter[str] = Counter()
        for truth in truths[:BASELINE]:
            for one, mask in zip(truth, masks.load([t["mask"] for t in truth])):
                counts[one["label"]] += int(mask.sum())
        label = counts.most_common(1)[0][0] if counts else self.label(0)
        return lambda source: [Segment(label, None, Image.new("L", _size(source), 255))]

    def draw(self, source: Any, result: Sequence[Segment]) -> Image.Image:
        """The picture with its segments in colours."""
        numbers = {label: i for i, label in self._labels.items()}
        semantic = any(s.score is None for s in result)
        colours = [numbers.get(s.label, i) if semantic else i for i, s in enumerate(result)]
        captions = [s.label if s.score is None or s.score == 1 else f"{s.label} {s.score:.2f}" for s in result]
        return drawing.masks(self.open(source), [s.mask for s in result], captions, colours)

    def truth_result(self, truth: list[dict[str, Any]]) -> list[Segment]:
        real = masks.load([t["mask"] for t in truth])
        return [Segment(t["label"], None, _picture(m)) for t, m in zip(truth, real) if m.any()]


def _picture(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


def _size(source: Any) -> tuple[int, int]:
    return source.size if isinstance(source, Image.Image) else image.size(source)
