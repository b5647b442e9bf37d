"""Summarization: a long text in few sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.media import drawing, text
from sensorium.ops import rouge
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.writes_text import WritesText


@dataclass
class Summary:
    """The text in few sentences."""

    summary_text: str


@dataclass
class Task(WritesText):
    """Reads a text, answers with its summary; what `task_specific_params` of config.json say of it is followed."""

    name: ClassVar[str] = "summarization"
    source: ClassVar[str] = "text"
    truth: ClassVar[str] = "summary"
    metric: ClassVar[str] = "rougeL"
    architectures: ClassVar[tuple[str, ...]] = (
        "PegasusForConditionalGeneration",
        "PegasusXForConditionalGeneration",
        "BigBirdPegasusForConditionalGeneration",
        "LEDForConditionalGeneration",
    )

    def prepare(self, source: str) -> Arrays:
        """Tokens: `input_ids` and `attention_mask`, (time,) int64."""
        prefix = self.writer.own(self.name).get("prefix") or self.config.get("prefix") or ""
        ids = self.writer.read(str(prefix) + source) if source.strip() else []
        return self.arrays(ids)

    def predict(
        self,
        nets: Nets,
        sources: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        min_new_tokens: int | None = None,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | None = None,
        no_repeat_ngram_size: int | None = None,
        repetition_penalty: float | None = None,
        encoder_no_repeat_ngram_size: int | None = None,
        do_sample: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> list[Summary]:
        """Summarize; what is not given is as the model's files say.

        Options:
            max_new_tokens: longest summary, in tokens
            min_new_tokens: shortest summary, in tokens
            num_beams: summaries that are followed side by side; 1 is quickest
            length_penalty: of beams: above 1 prefers longer summaries, below 1 shorter ones
            early_stopping: of beams: end with as many summaries as there are beams
            no_repeat_ngram_size: no sequence of this many tokens twice, 0 for no such rule
            repetition_penalty: above 1 makes tokens that occurred less likely
            encoder_no_repeat_ngram_size: no sequence of this many tokens that the text has, 0 for no such rule
            do_sample: draw tokens by their chances instead of taking the likeliest
            temperature: of drawing: below 1 for likelier tokens, above 1 for more surprising ones
            top_k: draw among so many of the likeliest tokens only, 0 for all
            top_p: draw among the likeliest tokens that together have this chance only
            seed: of drawing: the same seed gives the same summary of the same text
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "nets", "sources")}
        own = {name: value for name, value in self.writer.own(self.name).items() if name != "prefix"}
        prepared = [self.prepare(source)["input_ids"].tolist() for source in sources]
        return [Summary(several[0]) for several in self.writer.write(nets, prepared, given, **own)]

    def tally(self, prediction: Summary, truth: Any, nets: Nets) -> Tally:
        """The F-measures of ROUGE; the quality is that of the longest common subsequence."""
        found = rouge.scores(prediction.summary_text, text.load(truth))
        return Tally(found["rougeL"], np.array([found[name] for name in rouge.NAMES]))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """ROUGE-1, -2, -L and -Lsum: mean F-measures, 0..1, as the package rouge-score gives them without stemming."""
        means = np.mean([t.stats for t in tallies], axis=0)
        return dict(zip(rouge.NAMES, means.tolist()))

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Summary]:
        """As many words of the beginning as a summary has."""
        lengths = [len(text.load(truth).split()) for truth in truths]
        count = int(np.median(lengths)) if lengths else 50
        return lambda source: Summary(" ".join(self.open(source).split()[:count]))

    def draw(self, source: Any, result: Summary, truth: Any = None) -> Image.Image:
        """The text, its summary, and the reference where it is known, one below the other."""
        whole = self.open(source)
        shown = whole if len(whole) <= 1500 else whole[:1500] + " ..."
        paragraphs = [("Text", shown), ("Summary", result.summary_text)]
        if truth is not None:
            paragraphs.append(("Reference", text.load(truth)))
        return drawing.text(paragraphs, 560)
