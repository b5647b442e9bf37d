"""Image generation beside what it must beat: a Gaussian of the pixels, and a variational autoencoder.

One picture is made for each test picture, of the same class. All are compared with the test pictures by KID and FID,
on the features in the model's own folder; and with the training pictures, to see who merely copies them.

    python benchmarks/image_generation.py --data omniglot --minutes 15

The autoencoder is given as many seconds of computing time, with the same pictures, moved in the same ways, and told
classes and moves in the same way.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sensorium
from sensorium import inference
from sensorium.media import drawing
from sensorium.ops.frechet import fid, mmd
from sensorium.tasks.image_generation import Generated, sheet
from sensorium.training.networks.unet import UNet
from sensorium.training.recipes import image_generation as recipe

LATENT = 32


class Autoencoder(nn.Module):
    """A convolutional VAE for pictures whose side is a multiple of 8; class and moves condition both halves."""

    def __init__(self, channels: int, size: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.side, self.wide = size // 8, 4 * width
        self.classes = nn.Embedding(classes + 1, 64)
        self.moves = nn.Linear(UNet.MOVES, 64, bias=False)
        sizes = (channels, width, 2 * width, 4 * width)
        self.down = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.SiLU(), nn.Conv2d(b, b, 3, 1, 1), nn.SiLU()
                )
                for a, b in pairwise(sizes)
            ),
            nn.Flatten(),
        )
        places = self.wide * self.side**2
        self.code = nn.Sequential(nn.Linear(places + 64, 256), nn.SiLU(), nn.Linear(256, 2 * LATENT))
        self.start = nn.Sequential(nn.Linear(LATENT + 64, 256), nn.SiLU(), nn.Linear(256, places))
        up = [
            nn.Sequential(
                nn.SiLU(),
                nn.Upsample(scale_factor=2),
                nn.Conv2d(a, b, 3, 1, 1),
                nn.BatchNorm2d(b),
                nn.SiLU(),
                nn.Conv2d(b, b, 3, 1, 1),
            )
            for a, b in ((4 * width, 4 * width), (4 * width, 2 * width), (2 * width, width))
        ]
        self.up = nn.Sequential(*up, nn.SiLU(), nn.Conv2d(width, channels, 3, 1, 1), nn.Tanh())
        self.deviation = nn.Parameter(torch.zeros(()))  # of a pixel, learned: nothing to tune between the two terms

    def told(self, labels: Tensor, moves: Tensor) -> Tensor:
        return self.classes(labels) + self.moves(10 * moves)

    def draw(self, code: Tensor, told: Tensor) -> Tensor:
        start = self.start(torch.cat((code, told), 1))
        return self.up(start.reshape(len(code), self.wide, self.side, self.side))

    def forward(self, pixels: Tensor, labels: Tensor, moves: Tensor) -> Tensor:
        """The negative of the evidence's lower bound, per pixel."""
        told = self.told(labels, moves)
        mean, spread = self.code(torch.cat((self.down(pixels), told), 1)).float().chunk(2, 1)
        code = mean + torch.randn_like(mean) * (spread / 2).exp()
        drawn = self.draw(code, told).float()
        error = (pixels - drawn).square().mean((1, 2, 3)) / (2 * torch.exp(2 * self.deviation)) + self.deviation
        divergence = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(1)
        return (error + divergence / pixels[0].numel()).mean()


def train_autoencoder(plan: Any, train: list[Any], seconds: float, seed: int = 0) -> Autoencoder:
    """Train for so many seconds of computing time of this process."""
    torch.manual_seed(seed)
    network = Autoencoder(plan.task.channels, plan.task.size, len(plan.task.labels))
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    start, done, epoch, recent = time.process_time(), 0.0, 0, []
    while done < 1:
        order = np.random.default_rng([seed, epoch]).permutation(len(train))
        for number, chunk in enumerate(np.array_split(order, max(1, len(order) // plan.batch_size))):
            rng = np.random.default_rng([seed, epoch, number])
            batch = {k: torch.from_numpy(v) for k, v in recipe.batch(plan, [train[i] for i in chunk], rng).items()}
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, done))))
            with torch.autocast("cpu", torch.bfloat16):
                loss = network(batch["pixel_values"], batch["class_labels"], batch["moves"])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            recent = [*recent[-49:], float(loss.detach())]
            done = (time.process_time() - start) / seconds
            if done >= 1:
                break
        epoch += 1
    print(f"autoencoder: {epoch} epochs, bound {np.mean(recent):.4f} per pixel")
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="pictures in a folder for each class")
    parser.add_argument("--model", type=Path, help="a model trained before, instead of training one")
    parser.add_argument("--minutes", type=float, default=15.0, help="to train each of the two networks for")
    parser.add_argument("--out", type=Path, default=Path("runs/image-generation"), help="folder of run and pictures")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model = given.model
    if model is None:
        model = given.out / "run"
        sensorium.train("image-generation", given.data, out=model, budget=60 * given.minutes, seed=given.seed)
    predictor = sensorium.load(model)
    task, nets = predictor.task, predictor.nets
    data = sensorium.open_data(given.data, task=task.name)
    train, test = data.subset("train"), data.subset("test")
    wanted = [e.fields.get("label") for e in test]
    given.out.mkdir(parents=True, exist_ok=True)

    def features(pictures: list[Any]) -> np.ndarray:
        blank = Generated(pictures[0], None, 0)
        return np.stack([task.tally(blank, picture, nets).stats[1] for picture in pictures])

    draw = np.random.default_rng(given.seed)
    of_class: dict[Any, list[Any]] = {}
    for example in train:
        of_class.setdefault(example.fields.get("label"), []).append(example)
    made: dict[str, list[Any]] = {
        "training pictures": [
            task.truth_result(of_class[w][draw.integers(len(of_class[w]))].fields["image"]).image for w in wanted
        ]
    }
    naive = task.baseline([e.fields.get("label") for e in train], [e.fields["image"] for e in train])
    made["Gaussian of the pixels of each class"] = [naive(w).image for w in wanted]
    plan = recipe.plan(train, None, image_size=task.size)
    network = train_autoencoder(plan, train, 60 * given.minutes, given.seed)
    with torch.inference_mode():
        labels = torch.tensor(np.stack([task.prepare(w)["class_labels"] for w in wanted]))
        code = torch.randn(len(wanted), LATENT, generator=torch.Generator().manual_seed(given.seed))
        drawn = network.draw(code, network.told(labels, torch.zeros(len(wanted), UNet.MOVES))).numpy()
    made["variational autoencoder"] = [task.picture(pixels) for pixels in drawn]
    start = time.perf_counter()
    ours = [result for _, result in inference.stream(task, nets, wanted, batch_size=64)]
    seconds = (time.perf_counter() - start) / len(wanted)
    made["Sensorium"] = [result.image for result in ours]

    real = [task.truth_result(e.fields["image"]).image for e in test]
    known = np.stack([task.pixels(e.fields["image"]).ravel() for e in train])
    target = features(real)

    def nearest(pictures: list[Any]) -> np.ndarray:
        """Root mean square distance of each picture to the training picture most like it; pixels are -1..1."""
        rows = np.stack([task.pixels(p).ravel() for p in pictures])
        squares = (rows**2).sum(1)[:, None] + (known**2).sum(1) - 2 * rows @ known.T
        return np.sqrt(np.maximum(squares, 0).min(1) / rows.shape[1])

    print(f"{len(test)} pictures, {task.size} x {task.size}; {1000 * seconds:.0f} ms for each of Sensorium's")
    print(f"features: {task.features['description']}\n")
    print("| | KID | FID | median distance to nearest training picture | nearer than 0.1 |")
    print("|---|---|---|---|---|")
    for name, pictures in {**made, "test pictures": real}.items():
        found, distances = features(pictures), nearest(pictures)
        kid, frechet = (mmd(found, target), fid(found, target)) if pictures is not real else (0.0, 0.0)
        print(f"| {name} | {kid:.4f} | {frechet:.3f} | {np.median(distances):.3f} | {np.mean(distances < 0.1):.1%} |")
    shown = np.sort(draw.choice(len(ours), min(60, len(ours)), replace=False))
    sheet([ours[i] for i in shown], 12).save(given.out / "samples.png")
    rows = [[pictures[i] for i in shown[:12]] for pictures in ({"test": real} | made).values()]
    drawing.grid([p for row in rows for p in row], columns=12, cell=64).save(given.out / "side-by-side.png")
    print(f"\nsamples: {given.out / 'samples.png'}, beside the others: {given.out / 'side-by-side.png'}")


if __name__ == "__main__":
    main()
