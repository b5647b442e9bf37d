"""How the tests try each task: one entry for a task, with tiny real data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sensorium
from sensorium import tasks
from tests import tiny
from tests.parity.architectures import (
    audio,
    forecasts,
    keypoints,
    multimodal,
    segment_anything,
    segmentation,
    text,
    vision,
    zero_shot_vision,
)


@dataclass(frozen=True)
class Case:
    """How to try one task: its data, what makes training short, and what it must at least reach.

    A task that is not trained here has a `checkpoint`: it writes a tiny Hugging Face folder, which is converted.
    """

    data: Callable[[Path], Path]
    parameters: dict[str, Any] = field(default_factory=dict)
    reaches: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: Callable[[Path], Any] | None = None


def tiny_decoder(folder: Path) -> None:
    from tests.parity.architectures.generation import DECODERS, maker

    maker("gpt2", DECODERS["gpt2"])(folder)


def tiny_writer(folder: Path) -> None:
    from tests.parity.architectures.generation import WRITERS, write_maker

    write_maker("t5", WRITERS["t5"])(folder)


CASES = {
    "background-removal": Case(tiny.mattes, checkpoint=vision.make_matte),
    "depth-estimation": Case(tiny.depths, checkpoint=vision.make_depth),
    "image-feature-extraction": Case(tiny.image_folder, checkpoint=vision.make_features),
    "image-to-image": Case(tiny.larger, checkpoint=vision.make_larger),
    "video-classification": Case(tiny.clips, checkpoint=vision.make_video),
    "audio-classification": Case(tiny.keys, checkpoint=audio.make_ast),
    "image-classification": Case(tiny.image_folder, {"epochs": 6, "image_size": 32}, {"accuracy": 0.8}),
    "image-generation": Case(
        tiny.image_folder, {"epochs": 2, "widths": [16, 32], "features": 16, "image_size": 16}, {}, {"steps": 2}
    ),
    "image-segmentation": Case(tiny.masks, checkpoint=segmentation.maker(segmentation.segformer)),
    "image-to-text": Case(tiny.captions, options={"max_new_tokens": 6}, checkpoint=multimodal.make_blip),
    "visual-question-answering": Case(tiny.asked_pictures, checkpoint=multimodal.make_vilt),
    "document-question-answering": Case(tiny.asked_pictures, checkpoint=multimodal.make_layoutlm),
    "object-detection": Case(tiny.coco, {"epochs": 3, "image_size": 96, "width": 16}),
    "object-tracking": Case(tiny.mot, {"epochs": 2, "image_size": 96, "width": 16}),
    "text-generation": Case(
        lambda root: tiny.topics(root / "topics.tsv"), options={"max_new_tokens": 6}, checkpoint=tiny_decoder
    ),
    "summarization": Case(
        lambda root: tiny.summaries(root / "help.jsonl"), options={"max_new_tokens": 6}, checkpoint=tiny_writer
    ),
    "text2text-generation": Case(tiny.number_words, options={"max_new_tokens": 6}, checkpoint=tiny_writer),
    "text-classification": Case(lambda root: tiny.topics(root / "topics.tsv"), {"epochs": 6}, {"accuracy": 0.8}),
    "translation": Case(
        tiny.number_words, {"epochs": 2, "width": 32, "hidden": 64, "vocabulary": 200, "encoder_layers": 1,
                            "decoder_layers": 1}, {}, {"num_beams": 2, "max_new_tokens": 12},
    ),
    "text-to-speech": Case(tiny.spoken, checkpoint=audio.make_vits),
    "automatic-speech-recognition": Case(tiny.tones, {"epochs": 2}),
    "feature-extraction": Case(tiny.handbook, checkpoint=text.tiny("Model")),
    "fill-mask": Case(lambda root: tiny.gaps(root / "gaps.tsv"), checkpoint=text.tiny("ForMaskedLM")),
    "question-answering": Case(tiny.asked, checkpoint=text.tiny("ForQuestionAnswering")),
    "sentence-similarity": Case(lambda root: tiny.likened(root / "pairs.tsv"), checkpoint=text.tiny("Model")),
    "time-series-forecasting": Case(lambda root: tiny.waves(root / "waves.csv"), checkpoint=forecasts.tiny),
    "token-classification": Case(tiny.tagged, checkpoint=text.tiny("ForTokenClassification")),
    "zero-shot-classification": Case(
        lambda root: tiny.topics(root / "topics.tsv"), options={"candidate_labels": ["strings", "classes"]},
        checkpoint=text.tiny("ForSequenceClassification"),
    ),
    "keypoint-detection": Case(tiny.poses, checkpoint=keypoints.make_vitpose()),
    "mask-generation": Case(tiny.masks, checkpoint=segment_anything.maker("Sam")),
    "zero-shot-audio-classification": Case(
        tiny.keys, checkpoint=audio.make_clap(), options={"candidate_labels": ["class 1", "class 2", "class 3"]}
    ),
    "zero-shot-image-classification": Case(
        tiny.image_folder, options={"candidate_labels": ["digit 0", "digit 1", "digit 2"]},
        checkpoint=zero_shot_vision.maker(zero_shot_vision.clip),
    ),
    "zero-shot-object-detection": Case(
        tiny.coco, options={"candidate_labels": ["zero", "one"]},
        checkpoint=zero_shot_vision.maker(zero_shot_vision.owl("OwlViT")),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Trained:
    name: str
    case: Case
    data: Path
    run: Path
    record: dict[str, Any]

    def examples(self, count: int = 3) -> list[Any]:
        """Sources that the model has not learned from."""
        kind = tasks.find(self.name)
        found = sensorium.open_data(self.data, task=self.name)
        chosen = list(found.examples)
        if self.case.checkpoint is None:
            held = set(json.loads((self.run / "splits.json").read_text())["val"])
            chosen = [e for e in chosen if e.id in held]
        return [tasks.source_of(kind, e.fields) for e in chosen][:count]

    @property
    def split(self) -> str:
        """The examples to evaluate on."""
        return "val" if self.case.checkpoint is None else "all"
