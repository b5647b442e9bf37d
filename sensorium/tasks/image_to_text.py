"""Image to text: a sentence for a picture, or the text that is written in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, image, processors, viewer
from sensorium.media.writer import Writer
from sensorium.ops import batches, captions
from sensorium.tasks import Arrays, Nets, Tally

# What Florence-2 is asked for each of its tasks (those after which words follow take them in place of `{}`).
FLORENCE = {
    "<OCR>": "What is the text in the image?",
    "<OCR_WITH_REGION>": "What is the text in the image, with regions?",
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
    "<OD>": "Locate the objects with category name in the image.",
    "<DENSE_REGION_CAPTION>": "Locate the objects in the image, with their descriptions.",
    "<REGION_PROPOSAL>": "Locate the region proposals in the image.",
    "<CAPTION_TO_PHRASE_GROUNDING>": "Locate the phrases in the caption: {}",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "Locate {} in the image with mask",
    "<REGION_TO_SEGMENTATION>": "What is the polygon mask of region {}",
    "<OPEN_VOCABULARY_DETECTION>": "Locate {} in the image.",
    "<REGION_TO_CATEGORY>": "What is the region {}?",
    "<REGION_TO_DESCRIPTION>": "What does the region {} describe?",
    "<REGION_TO_OCR>": "What text is in the region {}?",
}


@dataclass
class Caption:
    """What the picture shows, or says."""

    generated_text: str


@dataclass
class Task:
    """What the folder's files say.

    Attributes:
        writer: the words.
        preprocessor: preprocessor_config.json: how a picture becomes `pixel_values`.
    """

    writer: Writer
    preprocessor: dict[str, Any]
    numbers: dict[tuple[str, ...], int] = field(default_factory=dict, compare=False, repr=False)

    name: ClassVar[str] = "image-to-text"
    architectures: ClassVar[tuple[str, ...]] = (
        "VisionEncoderDecoderModel",
        "BlipForConditionalGeneration",
        "GitForCausalLM",
        "Pix2StructForConditionalGeneration",
        "Florence2ForConditionalGeneration",
        *viewer.ARCHITECTURES,
    )
    source: ClassVar[str] = "image"
    truth: ClassVar[str] = "text"
    metric: ClassVar[str] = "cider"
    lower_is_better: ClassVar[bool] = False
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Task:
        return cls(Writer.load(files, cls.name), processors.settings(files))

    def files(self) -> dict[str, Any]:
        return {**self.writer.files(), "preprocessor_config.json": self.preprocessor}

    def open(self, source: Any) -> Image.Image:
        return image.load(source)

    def prepare(self, source: Image.Image) -> Arrays:
        """pixel_values: (3, H, W) float32, or what else the model takes of a picture."""
        return processors.arrays(self.preprocessor, source)

    def prompt(self, words: str | None) -> list[int]:
        """Tokens that the text begins with, as each family has them."""
        start = self.writer.start
        if not words:
            return start
        if self.writer.model_type == "blip":
            return [*start, *self.writer.encode(words)[1:-1]]
        tokens = self.writer.encode(words, special=False)
        # Donut's prompts are tokens that name what to read, and begin by themselves.
        encoder = str((self.writer.config.get("encoder") or {}).get("model_type", ""))
        return tokens if tokens[:1] == start or "donut" in encoder else [*start, *tokens]

    def question(self, words: str) -> list[int]:
        """Tokens of a question to Florence-2, or of one of its tasks with what belongs to it."""
        for name, asked in FLORENCE.items():
            if name in words:
                words = asked.replace("{}", words.replace(name, "").strip())
                break
        tokens = [self.writer.tokenizer_config.get(name) for name in ("bos_token", "eos_token")]
        first, last = (str(t.get("content")) if isinstance(t, dict) else str(t or "") for t in tokens)
        return self.writer.encode(f"{first}{words}{last}", special=False)

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Image.Image],
        *,
        prompt: str | None = None,
        max_new_tokens: int | None = None,
        num_beams: int | None = None,
    ) -> list[Caption]:
        """Describe or read each picture; what is not given is as the model's generation_config.json says.

        Options:
            prompt: words that the text begins with; for a model that is asked in a chat what it is asked; for
                Florence-2 the question, or a task such as <CAPTION>
            max_new_tokens: longest text, in tokens
            num_beams: texts that are followed side by side; 1 is quickest
        """
        given = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
        items = [self.prepare(source) for source in sources]
        if viewer.sees(nets):
            found = [viewer.write(nets, self.writer, item, prompt, given) for item in items]
            return [Caption(self.writer.decode(tokens)) for tokens in found]
        if "vision_encoder" in nets:  # the question is read together with the picture
            asked = np.array(self.question(prompt or "<CAPTION>"), np.int64)
            items = [item | {"input_ids": asked} for item in items]
            start, read = self.writer.start, read_together
        else:
            start, read = self.prompt(prompt), None
        written = self.writer.write(nets, items, [start] * len(items), given, self.padding, read)
        return [Caption(self.writer.decode(tokens)) for tokens in written]

    def tally(self, prediction: Caption, truth: str | Sequence[str], nets: Nets) -> Tally:
        """What CIDEr and BLEU need; the quality is the likeness to the references, 0..1."""
        references = [truth] if isinstance(truth, str) else list(truth)
        if not references:
            raise InputError("a picture to measure with needs a caption")
        stats = captions.stats(prediction.generated_text, references, self.numbers)
        return Tally(captions.likeness(stats), stats)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """CIDEr-D and BLEU-4 over all pictures together, as pycocoevalcap gives them."""
        stats = [t.stats for t in tallies]
        return {"cider": float(np.mean(captions.cider(stats))), "bleu4": captions.bleu(stats)}

    def baseline(self, sources: Sequence[Any], truths: Sequence[str | Sequence[str]]) -> Callable[[Any], Caption]:
        """Always the commonest caption."""
        known = [truth if isinstance(truth, str) else next(iter(truth), "") for truth in truths]
        answer = Caption(Counter(known).most_common(1)[0][0] if known else "")
        return lambda source: answer

    def draw(self, source: Any, result: Caption, truth: str | Sequence[str] | None = None) -> Image.Image:
        """The picture with its caption below; where it is known, the reference below that."""
        picture, _ = drawing.enlarge(self.open(source))
        picture = drawing.caption(picture, result.generated_text or "(nothing)", 6)
        if truth is None:
            return picture
        told = truth if isinstance(truth, str) else next(iter(truth), "")
        return drawing.caption(picture, f"reference: {told}", 6)


def read_together(nets: Mapping[str, Any], feeds: Arrays) -> np.ndarray:
    """The states of a picture and a question, (rows, places, width), by an encoder that takes both as vectors."""
    seen = batches.answers(nets["vision_encoder"], {"pixel_values": feeds["pixel_values"]})["image_features"]
    asked = nets["embed_tokens"]({"input_ids": feeds["input_ids"]})["inputs_embeds"]
    both = np.concatenate([seen, asked], axis=1)
    mask = np.ones(both.shape[:2], np.int64)
    states: np.ndarray = nets["encoder_model"]({"inputs_embeds": both, "attention_mask": mask})["last_hidden_state"]
    return states
