"""Tasks whose model folder holds settings of pictures or sounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from PIL import Image

from sensorium.errors import InputError
from sensorium.media import image
from sensorium.tasks import Arrays


@dataclass
class Preprocessed:
    """A task whose folder has a config.json and a preprocessor_config.json.

    Attributes:
        config: config.json: `id2label`, `model_type`, and what the task asks of it.
        preprocessor: preprocessor_config.json: how a source becomes an array.
    """

    config: dict[str, Any]
    preprocessor: dict[str, Any]

    name: ClassVar[str]
    lower_is_better: ClassVar[bool] = False
    evaluation: ClassVar[dict[str, Any]] = {}

    @classmethod
    def load(cls, files: Mapping[str, Any]) -> Self:
        """From the files of a model folder.

        Raises:
            InputError: config.json is missing.
        """
        if not isinstance(files.get("config.json"), dict):
            raise InputError(f"config.json is missing: {cls.name} needs it")
        return cls(files["config.json"], cls.settings(files))

    @staticmethod
    def settings(files: Mapping[str, Any]) -> dict[str, Any]:
        """How a source becomes an array: of pictures, where a task does not say otherwise."""
        return image.settings(files)

    def files(self) -> dict[str, Any]:
        return {"config.json": self.config, "preprocessor_config.json": self.preprocessor}


@dataclass
class OfPicture(Preprocessed):
    """A task whose source is one picture."""

    source: ClassVar[str] = "image"
    padding: ClassVar[dict[str, float]] = {}

    def open(self, source: Any) -> Image.Image:
        return image.load(source)

    def prepare(self, source: Image.Image) -> Arrays:
        """pixel_values: (3, H, W) float32; or what else the network reads of a picture."""
        return image.arrays(self.preprocessor, source)
