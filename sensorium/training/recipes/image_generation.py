"""How to train image generation: flow matching with a small U-Net, and beside it the judge that measures it."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.media import image as media
from sensorium.tasks.image_generation import Task, preprocessor
from sensorium.training import cache
from sensorium.training.networks.unet import Judge, UNet
from sensorium.training.plan import Part, Plan

LOOKED_AT = 200  # pictures whose size and colours decide those of the network
QUARTERS = 4  # the judge's classes where the data has none: by how many quarters a picture was turned


def plan(
    examples: list[Example],
    base: Path | None,
    *,
    image_size: int = 0,
    widths: tuple[int, ...] = (64, 96, 128),
    layers: int = 1,
    patch: int = 0,
    dropout: float = 0.1,
    features: int = 64,
    drop_labels: float = 0.1,
    move: float = 1.0,
    flip: bool = False,
    epochs: int = 300,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    average: float = 0.998,
) -> Plan:
    """Classes, size and colours from the data.

    Args:
        image_size: side of the pictures made, in pixels; 0 for that of the data, at most 32.
        widths: channels of the network at each level.
        layers: blocks at each level.
        patch: side of the squares of pixels that are one place of the first level; 0 for 2 (from 64 pixels on, 4).
        features: length of the feature vectors that FID and KID compare.
        drop_labels: share of examples whose class is hidden, so that the network can draw without, and be guided.
        move: how much pictures are moved, turned and stretched in training, 0 for not. The network is told by how
            much, and is asked for unmoved pictures afterwards: so they do not come out crooked.
        flip: mirror half of them, too.

    Raises:
        InputError: a base model is given, or only some examples have labels.
    """
    if base is not None:
        raise InputError("image-generation is trained from scratch: leave out the base model")
    labels = sorted({str(e.fields["label"]) for e in examples if e.fields.get("label") is not None})
    unlabelled = [e for e in examples if e.fields.get("label") is None]
    if labels and unlabelled:
        raise InputError(f"{unlabelled[0].where}: no label, but other examples have one: label all or none")
    some = examples[:: max(1, len(examples) // LOOKED_AT)]
    size = image_size
    if not size:
        side = float(np.median([min(media.size(e.fields["image"])) for e in some]))
        size = int(np.clip(8 * np.ceil(side / 8), 16, 32))
    patch = patch or (2 if size < 64 else 4)
    step = patch * 2 ** (len(widths) - 1)
    if size % step:
        raise InputError(f"image_size={size} is not a multiple of {step}, which patch and widths ask for")
    channels = 1 if all(_is_grey(media.load(e.fields["image"])) for e in some) else 3
    config = {
        "model_type": "unet2d",
        "_class_name": "UNet2DModel",
        "sample_size": size,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": list(widths),
        "layers_per_block": layers,
        "num_class_embeds": len(labels) + 1,
        "dropout": dropout,
    }
    told = (
        f"the {features} outputs before the last layer of a small classifier of the {len(labels)} classes, trained on "
        "the same pictures"
        if len(labels) > 1
        else f"the {features} outputs before the last layer of a small classifier, trained on the same pictures to "
        "tell by how many quarters they were turned"
    )
    task = Task(
        labels,
        preprocessor(size),
        config,
        {"_class_name": "FlowMatchHeunDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0},
        {"description": told + f", at {size} x {size} pixels; scaled to unit variance"},
    )
    network = {
        "channels": channels,
        "widths": list(widths),
        "layers": layers,
        "classes": len(labels),
        "patch": patch,
        "dropout": dropout,
        "features": features,
    }
    return Plan(
        task=task,
        network=network,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        average=average,
        monitor="loss",
        channels_last=True,
        parameters={"drop_labels": drop_labels, "move": move, "flip": flip},
    )


def _is_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


class Generator(nn.Module):
    """The U-Net and the judge: two networks without common weights, trained together on the same batches.

    So the judge needs no phase of its own, and its training goes on exactly where it was interrupted.
    """

    def __init__(self, unet: UNet, judge: Judge) -> None:
        super().__init__()
        self.unet = unet
        self.judge = judge


def build(plan: Plan) -> Generator:
    """The networks, from scratch."""
    n = plan.network
    unet = UNet(n["channels"], n["widths"], n["layers"], n["classes"], n["patch"], n["dropout"])
    judged = n["classes"] if n["classes"] > 1 else QUARTERS
    return Generator(unet, Judge(n["channels"], 24, n["features"], judged))


def batch(plan: Plan, examples: list[Example], rng: np.random.Generator | None) -> dict[str, np.ndarray]:
    """Pictures, noise, times, classes, and how the pictures were moved.

    Without `rng`, nothing is moved, and noise and time follow from the name of the example, so that the losses of two
    epochs can be compared.
    """
    task, own = plan.task, plan.parameters
    rows = []
    for example in examples:
        draw = rng or np.random.default_rng(zlib.crc32(example.id.encode()))
        moved = np.zeros(UNet.MOVES, np.float32)
        # Four times what the network sees is sharp enough to be moved about.
        image = cache.pixels(example.fields["image"], shortest=4 * task.size)
        image = image[..., 0] if task.channels == 1 else image
        if rng is not None:
            moved = moves(draw, own["move"], own["flip"])
            image = warp(image, moved)
        pixels = task.pixels(image)
        label = task.prepare(example.fields.get("label"))["class_labels"]
        turned, judged = pixels, label
        if len(task.labels) < 2:
            judged = draw.integers(QUARTERS)
            turned = np.rot90(pixels, judged, (1, 2))
        # Times in the middle are the hardest, and are drawn more often (Esser et al. 2024).
        time = 1 / (1 + np.exp(-draw.standard_normal()))
        noise = draw.standard_normal(pixels.shape, np.float32)
        if rng is not None and draw.random() < own["drop_labels"]:
            label = len(task.labels)
        rows.append((pixels, noise, time, label, moved, turned, judged))
    names = ("pixel_values", "noise", "time", "class_labels", "moves", "turned", "judged")
    kinds = (np.float32, np.float32, np.float32, np.int64, np.float32, np.float32, np.int64)
    return {name: np.stack(column).astype(kind) for name, kind, column in zip(names, kinds, zip(*rows))}


def moves(draw: np.random.Generator, strength: float, flip: bool) -> np.ndarray:
    """How to move a picture: across, down (shares of its size), turn, shear, stretch in both directions, mirrored."""
    amounts = draw.standard_normal(6) * (0.05, 0.05, 0.1, 0.1, 0.1, 0.1) * strength
    return np.array([*np.clip(amounts, -0.3, 0.3), float(flip and draw.random() < 0.5)], np.float32)


def warp(image: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """A picture, uint8 (H, W) or (H, W, 3), moved by these amounts; what comes in from outside repeats the edge."""
    across, down, turn, shear, wide, high, mirrored = (float(a) for a in amounts)
    h, w = image.shape[:2]
    margin = max(w, h) // 4
    padded = np.pad(image, [(margin, margin)] * 2 + [(0, 0)] * (image.ndim - 2), "edge")
    c, s = np.cos(turn), np.sin(turn)
    matrix = np.array([[c, -s], [s, c]]) @ [[1, shear], [0, 1]] @ np.diag([np.exp(wide), np.exp(high)])
    if mirrored:
        matrix = matrix @ np.diag([-1.0, 1.0])
    centre = np.array([w / 2, h / 2])
    offset = centre + margin - matrix @ (centre + np.array([across * w, down * h]))
    values = (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1])
    moved = Image.fromarray(padded).transform((w, h), Image.Transform.AFFINE, values, Image.Resampling.BILINEAR)
    return np.asarray(moved)


def loss(network: Generator, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The squared error of the velocity, and in training the judge's cross-entropy."""
    time = batch["time"][:, None, None, None]
    noisy = (1 - time) * batch["pixel_values"] + time * batch["noise"]
    found = network.unet(noisy, 1000 * batch["time"], batch["class_labels"], batch["moves"])
    flow = functional.mse_loss(found.float(), batch["noise"] - batch["pixel_values"])
    judged = functional.cross_entropy(network.judge.classify(batch["turned"]).float(), batch["judged"])
    # The judge has weights of its own; which epoch is the best is for the pictures alone to decide.
    return {"loss": flow + judged if network.training else flow, "flow": flow, "judge": judged}


def sample(plan: Plan, network: Generator) -> dict[str, Part]:
    """The U-Net as `model` and the judge as `features`."""
    n, size = plan.network, plan.task.size
    pictures = torch.randn(2, n["channels"], size, size, generator=torch.Generator().manual_seed(0))
    free = {0: "batch"}
    return {
        "model": Part(
            network.unet,
            {
                "sample": pictures,
                "timestep": torch.tensor([900.0, 100.0]),
                "class_labels": torch.tensor([0, n["classes"]]),
            },
            ["velocity"],
            {"sample": free, "timestep": free, "class_labels": free},
        ),
        "features": Part(network.judge, {"pixel_values": pictures.clamp(-1, 1)}, ["features"], {"pixel_values": free}),
    }
