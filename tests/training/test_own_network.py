"""A user's own network, in PyTorch or Keras, goes the whole way: train, export, verify, answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import sensorium
from tests import tiny


class Mine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.head = nn.Linear(256, 2)

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.head(self.body(pixel_values))}


@pytest.mark.parametrize("kind", ["dictionary", "tensor"])
def test_a_module(tmp_path: Path, kind: str) -> None:
    class Bare(Mine):
        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return super().forward(pixel_values)["logits"]

    data = tiny.image_folder(tmp_path / "data", count=150, classes=2)
    network = Mine() if kind == "dictionary" else Bare()
    record = sensorium.train(
        "image-classification", data, out=tmp_path / "run", network=network, epochs=15, image_size=32, mixup=0.0,
        quiet=True,
    )  # fmt: skip
    assert record["result"]["metrics"]["accuracy"]["value"] > 0.8
    assert record["plan"]["network"]["class"].endswith(type(network).__name__)
    assert sensorium.verify(tmp_path / "run", data)["verdict"] == "pass"
    answer = sensorium.load(tmp_path / "run").predict(next((data / "digit 0").iterdir()))
    assert {a.label for a in answer} == {"digit 0", "digit 1"}


KERAS = """
import sys
from pathlib import Path
import keras
import sensorium

keras.config.set_image_data_format("channels_first")
pixels = keras.Input((3, 32, 32), name="pixel_values")
x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(pixels)
x = keras.layers.Conv2D(32, 3, strides=2, activation="relu")(x)
logits = keras.layers.Dense(2)(keras.layers.Flatten()(x))
record = sensorium.train("image-classification", sys.argv[1], out=sys.argv[2], network=keras.Model(pixels, logits),
                         epochs=15, image_size=32, mixup=0.0, quiet=True)
assert record["result"]["metrics"]["accuracy"]["value"] > 0.8, record["result"]
assert sensorium.verify(sys.argv[2], sys.argv[1])["verdict"] == "pass"
"""


def test_a_keras_model(tmp_path: Path) -> None:
    data = tiny.image_folder(tmp_path / "data", count=150, classes=2)
    environment = os.environ | {"KERAS_BACKEND": "torch", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", KERAS, str(data), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
