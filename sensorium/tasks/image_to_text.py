"""Image to text: a sentence for a picture, or the text that is written in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, image, processors
from sensorium.media.writer import Writer
from sensorium.ops import captions
from sensorium.tasks import Arrays, Nets, Tally


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
        """pixel_values: (3, H, W) float32."""
        return {"pixel_values": processors.preprocess(self.preprocessor, source)}

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
            prompt: words that the text begins with
            max_new_tokens: longest text, in tokens
            num_beams: texts that are followed side by side; 1 is quickest
        """
        start = self.prompt(prompt)
        given = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
        items = [self.prepare(source) for source in sources]
        written = self.writer.write(nets, items, [start] * len(items), given, self.padding)
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
