"""Image feature extraction: vectors for a picture, so that like pictures have like vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import drawing
from sensorium.ops import likeness
from sensorium.tasks import Arrays, Nets, Tally
from sensorium.tasks.shared.folders import OfPicture

POOLED = ("pooler_output", "image_embeds")  # outputs that are one vector of the whole picture
SIDE = 8  # pixels of the tiny picture that the baseline compares


@dataclass
class Found:
    """What one picture finds among the others, once all are known.

    Attributes:
        vector: (D,).
        measures: as `likeness.found`; None before.
    """

    vector: np.ndarray
    label: str
    measures: np.ndarray | None = None


@dataclass
class Task(OfPicture):
    """What the folder's files say: config.json."""

    name: ClassVar[str] = "image-feature-extraction"
    truth: ClassVar[str] = "label"
    metric: ClassVar[str] = "mean_average_precision"
    evaluation: ClassVar[dict[str, Any]] = {"pool": True}
    architectures: ClassVar[tuple[str, ...]] = ("Model", "VisionModel", "VisionModelWithProjection", "Backbone")

    @staticmethod
    def suits(config: Mapping[str, Any]) -> bool:
        """Whether these are the settings of a model that sees, and does nothing else."""
        sees = {"image_size", "num_channels", "patch_size"} & config.keys()
        return bool(sees) and not {"vocab_size", "text_config", "num_mel_bins"} & config.keys()

    def decode(self, outputs: Arrays, source: Image.Image, *, pool: bool = False) -> np.ndarray:
        """The vectors: of each place of the picture (T, D), or (C, h, w) of a network of convolutions; or one (D,).

        Args:
            outputs: `last_hidden_state`, `pooler_output`; `image_embeds`.

        Options:
            pool: one vector for the whole picture: the network's own, or else the mean over all places
        """
        pooled = next((outputs[name] for name in POOLED if name in outputs), None)
        places = next((outputs[name] for name in outputs if name not in POOLED), None)
        if pooled is None and places is None:
            raise InputError("the network gives nothing: no 'last_hidden_state' and no 'pooler_output'")
        if not pool:
            return np.asarray(pooled if places is None else places, np.float32)
        if pooled is not None:
            return np.asarray(pooled, np.float32).reshape(-1)
        assert places is not None
        axes = (1, 2) if places.ndim == 3 else tuple(range(places.ndim - 1))
        return np.asarray(places.mean(axes) if axes else places, np.float32)

    def tally(self, prediction: np.ndarray, truth: str, nets: Nets) -> Tally:
        """The vector; how good it is shows only among all."""
        return Tally(0.0, Found(np.asarray(prediction, np.float32).reshape(-1), truth))

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """Each picture looks for others of its label among all the others: recall at 1, 5 and 10; average precision.

        The first call decides what "all" is: later ones, over some of them, average what these found.
        """
        if any(t.stats.measures is None for t in tallies):
            measured = likeness.found(np.stack([t.stats.vector for t in tallies]), [t.stats.label for t in tallies])
            for t, row in zip(tallies, measured):
                t.stats.measures = row
        rows = np.stack([t.stats.measures for t in tallies])
        rows = rows[~np.isnan(rows[:, 0])]
        names = [*(f"recall_at_{k}" for k in likeness.CUTS), self.metric]
        return dict(zip(names, map(float, rows.mean(0) if len(rows) else np.full(len(names), np.nan))))

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], np.ndarray]:
        """The colours of the picture, made tiny."""

        def predict(source: Any) -> np.ndarray:
            tiny = np.asarray(self.open(source).resize((SIDE, SIDE)), np.float32).reshape(-1)
            return np.asarray(tiny - tiny.mean())

        return predict

    def draw(self, source: Image.Image, result: np.ndarray) -> Image.Image:
        """The picture with the first numbers of its (mean) vector, as shares of the largest."""
        vector = result if result.ndim == 1 else result.reshape(len(result), -1).mean(int(result.ndim == 3))
        values = [float(v) for v in vector[:8]]
        largest = max(map(abs, values), default=1.0) or 1.0
        return drawing.bars(self.open(source), [(f"{v:+.3f}", abs(v) / largest) for v in values])
