"""What tasks have in common whose model, an encoder and a decoder, writes a text about a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from tokenizers import Tokenizer

from sensorium.errors import InputError
from sensorium.media import text, text_writer
from sensorium.media.text_writer import TextWriter
from sensorium.tasks import Arrays


@dataclass
class WritesText:
    """Reads a text, answers with another.

    Attributes:
        config: `config.json`; its `prefix` stands before each text.
        tokenizer_json: the text of `tokenizer.json`.
        tokenizer_config: `tokenizer_config.json`, special tokens included.
        generation: `generation_config.json`: the defaults of the options of `predict`, and more.
    """

    config: dict[str, Any]
    tokenizer_json: str = field(repr=False)
    tokenizer_config: dict[str, Any]
    generation: dict[str, Any]
    writer: TextWriter = field(init=False, compare=False, repr=False)

    name: ClassVar[str]
    lower_is_better: ClassVar[bool] = False
    padding: ClassVar[dict[str, float]] = {"input_ids": 0, "attention_mask": 0}
    evaluation: ClassVar[dict[str, Any]] = {}

    def __post_init__(self) -> None:
        self.writer = TextWriter(self.config, self.tokenizer_json, self.tokenizer_config, self.generation)

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Self:
        """From the files of a model folder.

        Raises:
            InputError: there is no tokenizer.
        """
        return cls(*text_writer.files_of(files, cls.name))

    def files(self) -> dict[str, Any]:
        return {
            "config.json": self.config,
            "tokenizer.json": self.tokenizer_json,
            "tokenizer_config.json": self.tokenizer_config,
            "generation_config.json": self.generation,
        }

    @property
    def tokenizer(self) -> Tokenizer:
        """Of what is read and of what is written."""
        return self.writer.tokens.tokenizer

    def open(self, source: Any) -> str:
        """The text to read.

        Raises:
            InputError: no text.
        """
        return text.load(source)

    @staticmethod
    def arrays(ids: Sequence[int]) -> Arrays:
        """Tokens as the network reads them: `input_ids` and `attention_mask`, (time,) int64."""
        return {"input_ids": np.array(ids, np.int64), "attention_mask": np.ones(len(ids), np.int64)}


class OfPair(WritesText):
    """One whose data have both texts in one field, `translation`: a mapping of the two."""

    source: ClassVar[str] = "translation"
    truth: ClassVar[str] = "translation"

    def pair(self, translation: Mapping[str, Any]) -> tuple[str, str]:
        """Both texts of a field `translation`: by default the first and the second.

        Raises:
            InputError: it has not two texts.
        """
        values = list(translation.values())
        if len(values) < 2:
            names = ", ".join(map(str, translation))
            raise InputError(f"a pair has a text to read and one to write; this has {names}")
        return text.load(values[0]), text.load(values[1])

    def open(self, source: Any) -> str:
        """The text to read: of a pair the first.

        Raises:
            InputError: no text.
        """
        return text.load(self.pair(source)[0] if isinstance(source, Mapping) else source)

    def wanted(self, truth: Any) -> str:
        """The text to write: of a pair the second."""
        return text.load(self.pair(truth)[1] if isinstance(truth, Mapping) else truth)
