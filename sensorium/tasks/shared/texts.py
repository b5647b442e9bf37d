"""Tasks whose model folder holds a tokenizer; apart from those of pictures, which start without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from sensorium.media.encoder import Encoder


@dataclass
class OfText:
    """A task whose network reads a text as tokens."""

    encoder: Encoder

    name: ClassVar[str]
    lower_is_better: ClassVar[bool] = False
    evaluation: ClassVar[dict[str, Any]] = {}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Self:
        """From the files of a model folder.

        Raises:
            InputError: config.json or tokenizer.json is missing.
        """
        return cls(Encoder.load(files, cls.name))

    def files(self) -> dict[str, Any]:
        return self.encoder.files()

    @property
    def padding(self) -> dict[str, float]:
        """Values that fill up the shorter texts of a batch; none where padding would change the answer."""
        return self.encoder.padding
