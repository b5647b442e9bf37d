"""Translation: a text in another language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing, text
from sensorium.ops import translation_metrics as metrics
from sensorium.ops.character_index import CharacterIndex
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.writes_text import OfPair

PUNCTUATION = set(".,!?;:。、！？；：।؟")


@dataclass
class Translation:
    """The text in the other language."""

    translation_text: str


@dataclass
class Task(OfPair):
    """Reads one text of a `translation` pair, answers the other.

    `source_language` and `target_language` of its config.json are keys of a pair; without them, the first is the
    source. Its `bleu_tokenizer` says how BLEU finds words: `none` in text whose tokens are spaced already, `13a` in
    European languages, `char` where words have no spaces.
    """

    name: ClassVar[str] = "translation"
    metric: ClassVar[str] = "bleu"
    architectures: ClassVar[tuple[str, ...]] = (
        "MarianMTModel",
        "M2M100ForConditionalGeneration",
        "NllbMoeForConditionalGeneration",
        "MBartForConditionalGeneration",
        "FSMTForConditionalGeneration",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scoring not in metrics.TOKENIZERS:
            known = ", ".join(metrics.TOKENIZERS)
            raise InputError(f"config.json: bleu_tokenizer '{self.scoring}' is not one of {known}")

    @property
    def scoring(self) -> str:
        """The tokenizer that BLEU uses."""
        return str(self.config.get("bleu_tokenizer", "13a"))

    def pair(self, translation: Mapping[str, Any]) -> tuple[str, str]:
        """Source and target text of a field `translation`.

        Raises:
            InputError: a language is missing, or what it has is no text.
        """
        keys = [str(key) for key in translation]
        source = self.config.get("source_language") or "".join(keys[:1])
        target = self.config.get("target_language") or "".join(keys[1:2])
        for language in (source, target):
            if not isinstance(translation.get(language), str):
                raise InputError(f"a translation has a text for '{language}'; this has {', '.join(keys)}")
        return text.load(translation[source]), text.load(translation[target])

    def prepare(self, source: str, src_lang: str | None = None, tgt_lang: str | None = None) -> Arrays:
        """Tokens: `input_ids` and `attention_mask`, (time,) int64.

        Args:
            src_lang, tgt_lang: the languages, for a model that knows several.
        """
        own = self._own(src_lang, tgt_lang)
        prefix = str(own.get("prefix") or "") + str(self.config.get("prefix") or "")
        if tgt_lang is not None and self.writer.tokens.id_of(f">>{tgt_lang}<<") is not None:  # Marian
            prefix = f">>{tgt_lang}<< {prefix}"
        # The languages of T5 stand in what comes before the text.
        language = None if own.get("prefix") or prefix.startswith(">>") else src_lang
        ids = self.writer.read(prefix + self.open(source), language)
        return self.arrays(ids)

    def _own(self, src_lang: str | None, tgt_lang: str | None) -> dict[str, Any]:
        """What config.json says of translating between these languages."""
        names = (f"translation_{src_lang}_to_{tgt_lang}",) if src_lang and tgt_lang else ()
        return self.writer.own(*names, self.name)

    def target_tokens(self, target: str) -> list[int]:
        """Tokens of a text in the other language, as the network learns to write it, with the one that ends it."""
        return text.encode(self.tokenizer, target).ids

    def predict(
        self,
        nets: Nets,
        sources: Sequence[Any],
        *,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        num_beams: int | None = None,
        max_new_tokens: int | None = None,
        min_new_tokens: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | None = None,
        no_repeat_ngram_size: int | None = None,
        repetition_penalty: float | None = None,
    ) -> list[Translation]:
        """Translate; what is not given is as the model's generation_config.json says.

        Options:
            src_lang: language of the text, for a model that knows several, as it spells it (fra_Latn, fr_XX, fr)
            tgt_lang: language to translate to, likewise
            num_beams: translations that are followed side by side; 1 is quickest
            max_new_tokens: longest translation, in tokens
            min_new_tokens: shortest translation, in tokens
            length_penalty: above 1 prefers longer translations, below 1 shorter ones
            early_stopping: of beams: end with as many translations as there are beams
            no_repeat_ngram_size: no sequence of this many tokens twice, 0 for no such rule
            repetition_penalty: above 1 makes tokens that occurred less likely
        """
        names = ("self", "nets", "sources", "src_lang", "tgt_lang")
        given = {name: value for name, value in locals().items() if name not in names}
        own = self._own(src_lang, tgt_lang)
        in_text = own.pop("prefix", None) or self.writer.tokens.id_of(f">>{tgt_lang}<<") is not None
        prepared = [self.prepare(source, src_lang, tgt_lang)["input_ids"].tolist() for source in sources]
        if tgt_lang is not None and not in_text:
            own["forced_bos_token_id"] = self.writer.language(tgt_lang)
        return [Translation(several[0]) for several in self.writer.write(nets, prepared, given, **own)]

    def tally(self, prediction: Translation, truth: Any, nets: Nets) -> Tally:
        """Statistics of BLEU and chrF; the quality is this text's own chrF, 0..1."""
        wanted = self.wanted(truth)
        characters = metrics.chrf_stats(prediction.translation_text, wanted)
        words = metrics.bleu_stats(prediction.translation_text, wanted, self.scoring)
        return Tally(metrics.chrf(characters) / 100, np.concatenate([words, characters]))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Corpus BLEU and chrF, 0..100, as sacrebleu gives them."""
        total = np.sum([t.stats for t in tallies], axis=0)
        split = 2 + 2 * metrics.ORDER
        return {"bleu": metrics.bleu(total[:split]), "chrf": metrics.chrf(total[split:])}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], Translation]:
        """The known translation of the most similar known source."""
        index = CharacterIndex([self.open(source) for source in sources])
        known = [self.wanted(truth) for truth in truths]
        return lambda source: Translation(known[index.nearest(self.open(source))])

    def draw(self, source: Any, result: Translation, truth: Any = None) -> Image.Image:
        """Both texts, one above the other; where it is known, the reference below them."""
        paragraphs = [("Text", self.open(source)), ("Translation", result.translation_text)]
        if truth is not None:
            paragraphs.append(("Reference", self.wanted(truth)))
        return drawing.text(paragraphs, 560)


def scoring_tokenizer(texts: Sequence[str]) -> str:
    """How BLEU should find the words of such texts: one of `translation_metrics.TOKENIZERS`."""
    some = "\n".join(texts[:2000])
    characters = [c for c in some if not c.isspace()]
    # Chinese, Japanese and their full-width punctuation, and Thai, Lao, Burmese and Khmer have no spaces.
    unspaced = sum("\u3000" <= c <= "\u9fff" or "\uff00" <= c <= "\uffef" or "\u0e00" <= c <= "\u0eff" or
                   "\u1000" <= c <= "\u109f" or "\u1780" <= c <= "\u17ff" for c in characters)  # fmt: skip
    if unspaced > len(characters) / 2:
        return "none" if some.count(" ") > len(characters) / 8 else "char"
    # Punctuation that ends a word has a space before it only where somebody has made tokens of the text.
    words = some.split()
    ended = sum(word[-1] in PUNCTUATION for word in words)
    return "none" if ended and sum(word in PUNCTUATION for word in words) > 0.8 * ended else "13a"
