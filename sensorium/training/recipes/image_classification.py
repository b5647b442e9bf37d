"""How to train image classification: a compact network from scratch, or a Hugging Face model from its folder."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.media import image
from sensorium.tasks.image_classification import Task
from sensorium.training import augment, cache
from sensorium.training.bases import files_of, network_of
from sensorium.training.networks.convnet import ConvNet
from sensorium.training.plan import Part, Plan

LOOKED_AT = 200  # pictures whose size is read to choose the network's


def plan(
    examples: list[Example],
    base: Path | None,
    *,
    image_size: int | None = None,
    flip: bool = False,
    rotate: float = 15.0,
    zoom: float = 0.25,
    shift: float = 0.1,
    light: float = 0.3,
    erase: float = 0.25,
    mixup: float = 0.2,
    cutmix: float = 0.0,
    smoothing: float = 0.1,
    frozen: bool = False,
) -> Plan:
    """
    Args:
        image_size: pixels of the network's side; None chooses it from the data.
        flip: whether left and right may be exchanged: not for hands, text or signs, which then mean something else.
        rotate, zoom, shift: largest turn in degrees, and largest change of size and place, of what is learned from.
        light: largest change of brightness, contrast and colour.
        erase: probability that a rectangle of a picture is covered.
        mixup, cutmix: how strongly pictures are mixed with others, 0 for not at all.
        smoothing: share of the target that goes to all labels alike.
        frozen: with a base model, train the last layer only.
    """
    multi = "label" not in examples[0].fields
    truth = "labels" if multi else "label"
    counts = Counter(label for e in examples for label in ([e.fields[truth]] if not multi else e.fields[truth]))
    labels = sorted(counts, key=_natural)
    if len(labels) < (1 if multi else 2):
        raise InputError(f"image-classification needs at least two labels to tell apart; the data has {labels}")
    size = (image_size, image_size) if image_size else _size(examples)
    parameters = {
        "flip": flip,
        "rotate": rotate,
        "zoom": zoom,
        "shift": shift,
        "light": light,
        "erase": erase,
        "mixup": mixup,
        "cutmix": cutmix,
        "smoothing": 0.0 if multi else smoothing,
        "frozen": frozen,
    }
    names = {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": "multi_label_classification" if multi else "single_label_classification",
    }
    if base is not None:
        return _plan_from_base(base, names, parameters, len(examples), image_size)
    if frozen:
        raise InputError("--set frozen=true needs --base: without one there is nothing to keep")
    height, width = size
    preprocessor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": 1,  # Lanczos: of Pillow's filters, the one that transformers.js computes alike
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
    }
    config = {"model_type": "resnet", "architectures": ["ResNetForImageClassification"], **names}
    edge = math.sqrt(height * width)
    network = {"labels": len(labels), "dropout": 0.2, **_shape(edge)}
    return Plan(
        task=Task(config | {"image_size": [height, width]}, preprocessor),
        network=network,
        epochs=_epochs(len(examples)),
        batch_size=int(np.clip(2 ** round(math.log2(max(1, len(examples) / 16))), 16, 64)),
        learning_rate=2e-3,
        weight_decay=0.05,
        warmup=0.1,
        average=0.995,
        channels_last=True,
        parameters=parameters,
    )


def _natural(label: str) -> tuple[Any, ...]:
    """Numbers in order of value, before words."""
    return (0, int(label), "") if label.isdecimal() else (1, 0, label)


def _epochs(count: int) -> int:
    """More rounds for less data: about 40 000 pictures seen, and at least ten rounds."""
    return int(np.clip(round(40_000 / count), 10, 120))


def _size(examples: list[Example]) -> tuple[int, int]:
    """(height, width) for the network, from the pictures: their own shape, 128 squared at most, in steps of 8.

    Small pictures that are all of one size keep it: what is not resized is the same for every reader.
    """
    step = max(1, len(examples) // LOOKED_AT)
    sides = np.array([image.size(e.fields["image"]) for e in examples[::step]], float)
    same, least, most = (sides == sides[0]).all(), sides[0].min(), sides[0].max()
    if same and least >= 8 and most <= 3 * least and sides[0].prod() <= 128**2:
        return int(sides[0, 1]), int(sides[0, 0])
    shape = float(np.exp(np.median(np.log(sides[:, 0] / sides[:, 1]))))
    edge = float(np.clip(np.sqrt(np.median(sides.prod(axis=1))), 8, 128))
    width, height = edge * math.sqrt(shape), edge / math.sqrt(shape)
    if not 1 / 3 <= shape <= 3:  # a strip: keep the area, lose the shape
        width, height = edge, edge
    return _step(height), _step(width)


def _step(side: float) -> int:
    step = 8 if side >= 32 else 4 if side >= 12 else 1
    return max(8, round(side / step) * step)


def _shape(edge: float) -> dict[str, Any]:
    """Stages for pictures of this size: the last one sees about 6 by 6 places."""
    if edge < 14:
        return {"widths": [64, 128], "depths": [1, 1], "stem": 0}
    if edge < 40:
        return {"widths": [48, 96, 192], "depths": [1, 1, 1], "stem": 0}
    if edge < 80:
        return {"widths": [48, 96, 192], "depths": [1, 1, 1], "stem": 1}
    return {"widths": [32, 64, 128, 256], "depths": [1, 1, 1, 1], "stem": 1}


def _plan_from_base(
    base: Path, names: dict[str, Any], parameters: dict[str, Any], count: int, image_size: int | None
) -> Plan:
    files = files_of(base, "config.json", "preprocessor_config.json")
    config, preprocessor = files["config.json"] | names, files["preprocessor_config.json"]
    config.pop("num_labels", None)  # it follows from id2label
    if image_size is not None:
        preprocessor |= {"size": {"height": image_size, "width": image_size}, "do_center_crop": False}
    model_type = str(config.get("model_type", ""))
    config["architectures"] = [_architecture(model_type)]
    frozen = parameters["frozen"]
    return Plan(
        task=Task(config, preprocessor),
        network={"model_type": model_type},
        base=base,
        epochs=int(np.clip(round(8_000 / count), 3, 30)),
        batch_size=16,
        learning_rate=2e-3 if frozen else 5e-5,
        weight_decay=0.01,
        average=0.99,
        parameters=parameters | ({"mixup": 0.0} if frozen else {}),
    )


def _architecture(model_type: str) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN

    if model_type not in KNOWN:
        raise InputError(
            f"a base of type '{model_type}' cannot classify pictures; such can: {', '.join(sorted(KNOWN))}"
        )
    found = KNOWN[model_type]
    return found if isinstance(found, str) else found[0]


def build(plan: Plan) -> nn.Module:
    if plan.base is None:
        return ConvNet(**plan.network)
    from transformers import AutoConfig

    config = AutoConfig.for_model(**plan.task.config)
    model, missing = network_of(plan.base, "AutoModelForImageClassification", Task.name, config=config)
    new = [name for name in missing if name.startswith(f"{model.base_model_prefix}.")]
    if len(new) > 0.1 * sum(1 for _ in model.base_model.parameters()):
        raise InputError(
            f"{plan.base}: the weights are not those of config.json: {len(new)} are missing, such as {new[0]}"
        )
    if plan.parameters["frozen"]:
        body = model.base_model.eval().requires_grad_(False)
        body.train = MethodType(_stay, body)  # statistics and dropout, too, are as they are in use
    return model


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """In place of `train`: the module stays as it is."""
    return module


def batch(plan: Plan, examples: list[Example], rng: np.random.Generator | None) -> dict[str, np.ndarray]:
    """pixel_values (N, 3, H, W) float32, and (N, labels) float32: `shares` of one label each, `present` of several."""
    task: Task = plan.task
    how = plan.parameters
    pixels = np.stack([task.prepare(_picture(plan, e, rng))["pixel_values"] for e in examples])
    targets = np.zeros((len(examples), len(task.labels)), np.float32)
    for row, example in zip(targets, examples):
        truth = example.fields[task.truth]
        row[[task.number[t] for t in ([truth] if isinstance(truth, str) else truth) if t in task.number]] = 1
    if rng is not None:
        pixels, targets = augment.mix(pixels, targets, rng, mixup=how["mixup"], cutmix=how["cutmix"])
        targets = targets * (1 - how["smoothing"]) + how["smoothing"] / len(task.labels)
    return {"pixel_values": pixels, "present" if task.multi else "shares": targets}


def _picture(plan: Plan, example: Example, rng: np.random.Generator | None) -> Image.Image:
    """The picture of an example, changed at random in ways that keep its label."""
    task: Task = plan.task
    if rng is None:
        return task.open(example.fields["image"])
    how = plan.parameters
    enough = max(image.geometry(task.preprocessor, 512, 512).resize)
    pixels, _, _ = augment.affine(
        cache.pixels(example.fields["image"], shortest=enough),
        None,
        rng,
        rotate=how["rotate"],
        scale=(1 / (1 + how["zoom"]), 1 + how["zoom"]),
        ratio=(1 / (1 + how["zoom"] / 2), 1 + how["zoom"] / 2),
        shear=how["rotate"] / 3,
        translate=how["shift"],
        mirror=0.5 if how["flip"] else 0.0,
        fill=None,
    )
    if how["light"] > 0:
        pixels = augment.colour(pixels, rng, brightness=how["light"], contrast=how["light"], saturation=how["light"])
    if rng.random() < how["erase"]:
        pixels = augment.erase(pixels, rng)
    return Image.fromarray(pixels)


def _logits(network: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
    """Of our own network, of a model of transformers, or of the user's."""
    found = network(pixel_values=pixel_values)
    return found if isinstance(found, torch.Tensor) else found["logits"]


def loss(network: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    logits = _logits(network, batch["pixel_values"]).float()
    if "present" in batch:
        return functional.binary_cross_entropy_with_logits(logits, batch["present"])
    return functional.cross_entropy(logits, batch["shares"])


class Logits(nn.Module):
    """The part of a network that is exported: logits from pixels, as a tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return _logits(self.network, pixel_values)


def sample(plan: Plan, network: nn.Module) -> dict[str, Part]:
    width, height = image.geometry(plan.task.preprocessor, 512, 512).size
    inputs = {"pixel_values": torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))}
    return {"model": Part(Logits(network), inputs, ["logits"], {"pixel_values": {0: "batch"}})}
