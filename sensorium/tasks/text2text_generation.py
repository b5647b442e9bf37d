"""Text to text: whatever an encoder-decoder was taught to write about a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.media import drawing
from sensorium.ops import rouge
from sensorium.ops.character_index import CharacterIndex
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.writes_text import OfPair


@dataclass
class Generated:
    """What was written."""

    generated_text: str


@dataclass
class Task(OfPair):
    """Reads one text of a pair (`translation`: input and output), answers with the other."""

    name: ClassVar[str] = "text2text-generation"
    metric: ClassVar[str] = "exact_match"
    architectures: ClassVar[tuple[str, ...]] = ("ForConditionalGeneration", "EncoderDecoderModel")

    @classmethod
    def suits(cls, config: Mapping[str, Any]) -> bool:
        """Whether a `config.json` is that of an encoder-decoder which reads text."""
        others = {"vision_config", "audio_config", "num_mel_bins", "patch_size"} & config.keys()
        return bool(config.get("is_encoder_decoder")) and not others

    def prepare(self, source: str) -> Arrays:
        """Tokens: `input_ids` and `attention_mask`, (time,) int64."""
        ids = self.writer.read(str(self.config.get("prefix") or "") + self.open(source))
        return self.arrays(ids)

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Any],
        *,
        max_new_tokens: int | None = None,
        min_new_tokens: int | None = None,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | None = None,
        no_repeat_ngram_size: int | None = None,
        repetition_penalty: float | None = None,
        do_sample: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        num_return_sequences: int | None = None,
        stop: list[str] | None = None,
        max_time: float | None = None,
        seed: int | None = None,
        choices: list[str] | None = None,
        regex: str | None = None,
        json_schema: dict[str, Any] | None = None,
    ) -> list[Any]:
        """Write; what is not given is as the model's generation_config.json says.

        Options:
            max_new_tokens: longest answer, in tokens
            min_new_tokens: shortest answer, in tokens
            num_beams: answers that are followed side by side; 1 is quickest
            length_penalty: of beams: above 0 prefers longer answers, below 0 shorter ones
            early_stopping: of beams: end with as many answers as there are beams
            no_repeat_ngram_size: no sequence of this many tokens twice, 0 for no such rule
            repetition_penalty: above 1 makes tokens that occurred less likely
            do_sample: draw tokens by their chances instead of taking the likeliest
            temperature: of drawing: below 1 for likelier tokens, above 1 for more surprising ones
            top_k: draw among so many of the likeliest tokens only, 0 for all
            top_p: draw among the likeliest tokens that together have this chance only
            num_return_sequences: answers to each text
            stop: texts that end the answer, which ends with them
            max_time: seconds after which nothing further is computed
            seed: of drawing: the same seed gives the same answer to the same text
            choices: the answer is one of these texts
            regex: the answer matches this regular expression
            json_schema: the answer is a JSON value of this schema
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "nets", "sources")}
        prepared = [self.prepare(source)["input_ids"].tolist() for source in sources]
        answers = []
        for several in self.writer.write(nets, prepared, given):
            made = [Generated(one) for one in several]
            answers.append(made if len(made) > 1 else made[0])
        return answers

    def tally(self, prediction: Any, truth: Any, nets: Nets) -> Tally:
        """Whether the answer is the text wanted, and the words they share; the quality is the latter."""
        answer = (prediction[0] if isinstance(prediction, list) else prediction).generated_text
        wanted = self.wanted(truth)
        shared = rouge.scores(answer, wanted)["rougeL"]
        return Tally(shared, np.array([" ".join(answer.split()) == " ".join(wanted.split()), shared], np.float64))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Share of answers that are the text wanted, spaces apart, and mean ROUGE-L; 0..1."""
        means = np.mean([t.stats for t in tallies], axis=0)
        return {"exact_match": float(means[0]), "rougeL": float(means[1])}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Generated]:
        """The known answer to the most similar known text."""
        index = CharacterIndex([self.open(source) for source in sources])
        known = [self.wanted(truth) for truth in truths]
        return lambda source: Generated(known[index.nearest(self.open(source))])

    def draw(self, source: Any, result: Any, truth: Any = None) -> Image.Image:
        """The text and the answers, one below the other; where it is known, the answer wanted below them."""
        several = result if isinstance(result, list) else [result]
        paragraphs = [("Text", self.open(source)), *(("Answer", one.generated_text) for one in several)]
        if truth is not None:
            paragraphs.append(("Wanted", self.wanted(truth)))
        return drawing.text(paragraphs, 560)
