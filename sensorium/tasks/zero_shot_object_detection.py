"""Zero-shot object detection: the objects in a picture that fit labels given with the question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import check_count
from sensorium.media import drawing, image, prompts, text
from sensorium.ops import batches, boxes, classification, coco_ap
from sensorium.ops.detection import Box
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.zero_shot import Prompted

MOST = 100  # objects of a picture that are evaluated, as COCO does
# Families that read one sentence of all labels, and say for each object which of its tokens it fits.
GROUNDED = frozenset({"grounding-dino", "mm-grounding-dino"})
SQUARED = frozenset({"owlv2"})  # boxes are fractions of the longer side, as the picture is filled up to a square
USUAL, USUAL_GROUNDED = 0.1, 0.25


@dataclass(frozen=True, slots=True)
class Detection:
    """An object.

    Attributes:
        label: the one given, or, of Grounding DINO, the words of the labels that it fits.
        score: 0..1.
    """

    label: str
    score: float
    box: Box


@dataclass
class Task(Prompted):
    """What the folder's files say: a network that finds what texts speak of."""

    name: ClassVar[str] = "zero-shot-object-detection"
    source: ClassVar[str] = "image"
    truth: ClassVar[str] = "objects"
    metric: ClassVar[str] = "map"
    lower_is_better: ClassVar[bool] = False
    lengths: ClassVar[dict[str, int]] = {"owlvit": 16, "owlv2": 16}
    evaluation: ClassVar[dict[str, Any]] = {"threshold": 0.0}
    architectures: ClassVar[tuple[str, ...]] = (
        "OwlViTForObjectDetection",
        "Owlv2ForObjectDetection",
        "GroundingDinoForObjectDetection",
        "MMGroundingDinoForObjectDetection",
    )

    def open(self, source: Any) -> Image.Image:
        return image.load(source)

    def prepare(self, source: Any) -> Arrays:
        """pixel_values: float32 (3, H, W)."""
        return image.arrays(self.preprocessor, self.open(source))

    def sentence(self, labels: Sequence[str]) -> str:
        """The labels as one sentence, as Grounding DINO reads them."""
        return ". ".join(label.strip().lower() for label in labels) + "."

    def decode(
        self,
        outputs: Arrays,
        source: Any,
        labels: Sequence[str] = (),
        threshold: float = USUAL,
        text_threshold: float = 0.25,
    ) -> list[Detection]:
        """The objects, best score first.

        Args:
            outputs: `logits` (Q, L), or (Q, T) of the tokens of a sentence, and `pred_boxes` (Q, 4) in centre form, as
                fractions of the picture.
        """
        width, height = self.open(source).size
        scale = np.full(4, max(width, height)) if self.family in SQUARED else np.array([width, height] * 2)
        corners = boxes.to_corners(outputs["pred_boxes"].astype(np.float32)) * scale.astype(np.float32)
        scores = classification.sigmoid(outputs["logits"].astype(np.float64))
        if self.family in GROUNDED:
            found = self._phrases(scores, labels, threshold, text_threshold)
        else:
            found = [(q, labels[k], float(scores[q, k])) for k, q in zip(*np.nonzero(threshold < scores.T))]
        found.sort(key=lambda f: -f[2])
        return [Detection(label, score, Box(*map(float, corners[q]))) for q, label, score in found]

    def _phrases(
        self, scores: np.ndarray, labels: Sequence[str], threshold: float, text_threshold: float
    ) -> list[tuple[int, str, float]]:
        """(query, what its tokens say, score) of each that fits a token."""
        ids = self.words.rows([self.sentence(labels)])["input_ids"][0]
        tokens = scores[:, : len(ids)] > text_threshold
        tokens[:, 0] = False  # [CLS]
        tokens[:, scores.shape[1] - 1 :] = False
        best = scores.max(1)
        with text.guarded("the tokenizer fails at decoding"):
            words = [
                self.words.tokenizer.decode(ids[tokens[q]].tolist(), skip_special_tokens=False)
                for q in np.flatnonzero(best > threshold)
            ]
        return [(int(q), word, float(best[q])) for q, word in zip(np.flatnonzero(best > threshold), words)]

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Any],
        *,
        candidate_labels: list[str],
        threshold: float | None = None,
        text_threshold: float = 0.25,
        top_k: int | None = None,
    ) -> list[list[Detection]]:
        """The objects in each picture, best score first.

        Options:
            candidate_labels: what to look for
            threshold: least score of an object, 0..1; by default 0.1, or 0.25 for Grounding DINO
            text_threshold: least score of a word in the label of an object that Grounding DINO finds, 0..1
            top_k: at most so many objects

        Raises:
            InputError: there are no labels.
        """
        labels = prompts.labels(candidate_labels)
        check_count("top_k", top_k)
        least = threshold
        if least is None:
            least = USUAL_GROUNDED if self.family in GROUNDED else USUAL
        net = nets["model"]
        items = [self.prepare(source) for source in sources]
        texts = self.words.rows([self.sentence(labels)] if self.family in GROUNDED else labels)
        texts = {name: rows for name, rows in texts.items() if name in net.inputs}
        answers: list[list[Detection]] = [[]] * len(items)
        for group in batches.alike(items, {}):
            pictures = batches.collate([items[i] for i in group], {})
            shown = {name: np.repeat(rows, len(group), 0) for name, rows in texts.items()}
            feeds = {**(shown if self.family in GROUNDED else texts), "pixel_values": pictures["pixel_values"]}
            if "pixel_mask" in net.inputs:
                count, _, height, width = feeds["pixel_values"].shape
                feeds["pixel_mask"] = np.ones((count, height, width), np.int64)
            found = net(feeds)
            for row, i in enumerate(group):
                outputs = {name: found[name][row] for name in ("logits", "pred_boxes")}
                answers[i] = self.decode(outputs, sources[i], labels, least, text_threshold)[:top_k]
        return answers

    def evaluation_on(self, truths: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """The classes of the data are what to look for."""
        return {"candidate_labels": sorted({o["label"] for objects in truths for o in objects}) or ["object"]}

    def tally(self, prediction: list[Detection], truth: list[dict[str, Any]], nets: Nets) -> Tally:
        """Matches with the truth; quality: the F1 of the objects with a score of at least 0.25, at IoU 0.5."""
        best = sorted(prediction, key=lambda d: -d.score)[:MOST]
        matches = coco_ap.match(
            {
                "labels": [d.label for d in best],
                "scores": [d.score for d in best],
                "boxes": [[d.box.xmin, d.box.ymin, d.box.xmax, d.box.ymax] for d in best],
            },
            truth,
        )
        sure = matches.scores >= 0.25
        hits = int((matches.outcomes[sure, 0, 0] > 0).sum())
        wrong = int((matches.outcomes[sure, 0, 0] < 0).sum())
        wanted = int(matches.truths[:, 0].sum())
        return Tally(2 * hits / (hits + wrong + wanted) if hits + wrong + wanted else 1.0, matches)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """COCO average precision and recall."""
        return coco_ap.average_precision([t.stats for t in tallies])

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], list[Detection]]:
        """Says of each picture that it is an object of the most common class, from edge to edge."""
        counts = Counter(o["label"] for objects in truths for o in objects)
        label = counts.most_common(1)[0][0] if counts else "object"

        def predict(source: Any) -> list[Detection]:
            width, height = source.size if isinstance(source, Image.Image) else image.size(source)
            return [Detection(label, 1.0, Box(0.0, 0.0, float(width), float(height)))]

        return predict

    def draw(self, source: Any, result: Sequence[Detection]) -> Image.Image:
        """The picture with its boxes; where there are more than `MOST`, as in an evaluation, only the best."""
        shown = list(result)[:MOST]
        kinds = sorted({d.label for d in shown})
        corners = [(d.box.xmin, d.box.ymin, d.box.xmax, d.box.ymax) for d in shown]
        captions = [f"{d.label} {d.score:.2f}" if d.score < 1 else d.label for d in shown]
        return drawing.boxes(self.open(source), corners, captions, [kinds.index(d.label) for d in shown])

    def truth_result(self, truth: list[dict[str, Any]]) -> list[Detection]:
        return [Detection(o["label"], 1.0, Box(*map(float, o["box"]))) for o in truth if not o.get("iscrowd")]
