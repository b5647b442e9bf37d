"""A recipe of the smallest kind, to test the loop itself: which quarter of the plane is a point in?

Run as a program it trains into a folder and writes the final weights: `python -m tests.training.toy FOLDER [--resume]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from sensorium.data import Example
from sensorium.runs import Run
from sensorium.tasks import Tally
from sensorium.training.loop import fit
from sensorium.training.plan import Part, Plan


@dataclass
class Task:
    name: ClassVar[str] = "toy"
    source: ClassVar[str] = "point"
    truth: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"
    lower_is_better: ClassVar[bool] = False
    padding: ClassVar[dict[str, float]] = {}
    evaluation: ClassVar[dict[str, Any]] = {}

    def open(self, source: Any) -> Any:
        return source

    def prepare(self, source: Any) -> dict[str, np.ndarray]:
        return {"point": np.asarray(source, np.float32)}

    def decode(self, outputs: dict[str, np.ndarray], source: Any) -> int:
        return int(outputs["logits"].argmax())

    def tally(self, prediction: int, truth: int, nets: Any) -> Tally:
        return Tally(float(prediction == truth), prediction == truth)

    def score(self, tallies: Sequence[Tally]) -> dict[str, float]:
        return {"accuracy": float(np.mean([t.stats for t in tallies]))}

    def baseline(self, sources: Sequence[Any], truths: Sequence[Any]) -> Callable[[Any], int]:
        return lambda source: 0


def examples(count: int, seed: int) -> list[Example]:
    points = np.random.default_rng(seed).normal(size=(count, 2))
    return [
        Example(str(i), {"point": p, "label": int(p[0] > 0) + 2 * int(p[1] > 0)}, str(i)) for i, p in enumerate(points)
    ]


def plan(**changes: Any) -> Plan:
    return Plan(Task(), {}, **{"epochs": 4, "batch_size": 8, "learning_rate": 3e-2, "average": 0.9} | changes)


def build(plan: Plan) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))


def batch(plan: Plan, examples: list[Example], rng: np.random.Generator | None) -> dict[str, np.ndarray]:
    points = np.stack([e.fields["point"] for e in examples]).astype(np.float32)
    if rng is not None:
        points = points + rng.normal(0, 0.01, points.shape).astype(np.float32)
    return {"point": points, "label": np.array([e.fields["label"] for e in examples])}


def loss(network: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return nn.functional.cross_entropy(network(batch["point"]).float(), batch["label"])


class Named(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, point: torch.Tensor) -> torch.Tensor:
        return self.network(point)


def sample(plan: Plan, network: nn.Module) -> dict[str, Part]:
    return {"model": Part(Named(network), {"point": torch.zeros(2, 2)}, ["logits"], {"point": {0: "batch"}})}


def train(folder: Path, *, resume: bool = False, recipe: Any = None, **changes: Any) -> nn.Module:
    """Train the toy and write its final weights to `folder/final.safetensors`."""
    recipe = recipe or SimpleNamespace(batch=batch, loss=loss, sample=sample)
    options = {k: changes.pop(k) for k in ("workers", "seed", "budget") if k in changes}
    made = plan(**changes)
    torch.manual_seed(0)
    run = Run(folder)
    network = fit(
        recipe, made, build(made), examples(120, 0), examples(40, 1), run,
        device="cpu", resume=resume, note=lambda message: None, **options,
    )  # fmt: skip
    save_file(network.state_dict(), folder / "final.safetensors")
    return network


if __name__ == "__main__":
    import sensorium.training.loop as loop

    loop.CHECKPOINT_SECONDS = 0.02  # so that a kill often meets a save
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), resume="--resume" in sys.argv, epochs=6)
