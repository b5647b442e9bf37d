"""What the recipes of detectors share: what is learned from the data, pictures with boxes, assignment, losses, export.

Targets lie flat, as objects differ in number from picture to picture: `boxes` (G, 4) corners in pixels of the
network's input, `classes` (G,) and `owners` (G,), the place of an object's picture in the batch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.media import image as images
from sensorium.ops import assignment
from sensorium.training import augment, cache
from sensorium.training.bases import files_of, network_of
from sensorium.training.networks.detector import Detector, Raw
from sensorium.training.plan import Part, Plan

SMALL = 18  # pixels that an object of the class with the smallest ones should measure
OUTPUTS = ["logits", "pred_boxes"]  # of any detector
OWN = "detector"  # what a plan calls our own network
WEIGHTS = "weights.safetensors"  # of one, in its folder
LEAST, MOST = 224, 640  # pixels of the longer side
SHRINK = "input_shrink"  # what config.json calls the factor by which the network shrinks its pictures first


# --- what is learned from the data --------------------------------------------------------------------------------


def labels_of(examples: Sequence[Example]) -> list[str]:
    """The names of the classes, sorted.

    Raises:
        InputError: there is not one object.
    """
    labels = sorted({o["label"] for e in examples for o in e.fields["objects"]})
    if not labels:
        raise InputError("there is not one object in the training data")
    return labels


def image_size(examples: Sequence[Example], longest: int | None = None) -> tuple[int, int]:
    """(height, width) for the network: the mean shape of the pictures, as small as the objects allow.

    The smallest quarter of the objects of no class should come out with less than `SMALL` pixels, the root of width
    times height; classes with less than a hundredth of the objects are left out of account. Pictures are enlarged only
    up to `LEAST` pixels of their longer side.

    Args:
        longest: the longer side where it is given.
    """
    sample = examples[:: max(1, len(examples) // 500)]
    sizes = np.array([images.size(e.fields["image"]) for e in sample], float)
    ratio = float(np.exp(np.log(sizes[:, 0] / sizes[:, 1]).mean()))  # between upright and lying ones: nearly square
    if longest is None:
        extents: dict[str, list[float]] = {}
        for example in examples:
            for o in example.fields["objects"]:
                x0, y0, x1, y1 = o["box"]
                extents.setdefault(o["label"], []).append(math.sqrt(max(0.0, x1 - x0) * max(0.0, y1 - y0)))
        total = sum(map(len, extents.values()))
        small = min(
            (float(np.percentile(found, 25)) for found in extents.values() if len(found) >= 0.01 * total), default=SMALL
        )
        usual = float(np.median(sizes.max(1)))
        wanted = usual * min(1.0, SMALL / max(small, 1.0))
        longest = round(min(max(wanted, LEAST), MOST) / 32) * 32
    shortest = max(32, round(longest * min(ratio, 1 / ratio) / 16) * 16)
    return (shortest, longest) if ratio >= 1 else (longest, shortest)


def sizes(examples: Sequence[Example], longest: int | None) -> tuple[tuple[int, int], int]:
    """(height, width) for the network, and how many times smaller that is than pictures that all have one size.

    Such pictures are not resized before the network: it takes the mean of so many pixels by so many itself. What runs
    in a browser resizes a little differently, and answers a little differently; a mean is the same everywhere.

    Returns:
        The size, and 0 where pictures are resized before the network.
    """
    size = image_size(examples, longest)
    found = {images.size(e.fields["image"]) for e in examples}
    if len(found) == 1:
        width, height = found.pop()
        shrink = max(1, round(max(width, height) / max(size)))
        if width % (16 * shrink) == height % (16 * shrink) == 0 and max(width, height) <= MOST * 4:
            return (height // shrink, width // shrink), shrink
    return size, 0


def preprocessor(size: tuple[int, int]) -> dict[str, Any]:
    """`preprocessor_config.json` of our own detectors.

    Resampled by Lanczos: of the filters of Pillow, the one that transformers.js computes most alike.
    """
    return {
        "image_processor_type": "YolosImageProcessor",
        "do_resize": True,
        "size": {"height": size[0], "width": size[1]},
        "resample": 1,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": False,
        "do_pad": False,
    }


def plan(task: type[Any], examples: Sequence[Example], base: Path | None, **options: Any) -> Plan:
    """The plan of a detector's training.

    Args:
        task: the class of the task; it takes `labels`, `preprocessor`, `model_type` and `config`.
        examples: with `image` and `objects`.
        options: those of the recipe for object detection.
    """
    labels = labels_of(examples)
    longest, width = options.pop("image_size"), options.pop("width")
    epochs, batch_size, rate = (options.pop(k) for k in ("epochs", "batch_size", "learning_rate"))
    options["zoom"] = tuple(options["zoom"])
    if epochs is None:
        epochs = min(300, max(10, round((25_000 if base is None else 5_000) / len(examples))))
    own = base is None or (base / WEIGHTS).is_file()
    shrink = 0
    if own:
        if base is not None:
            config, pictures = configs_of(base)
            longest = longest or max(pictures["size"].values()) // config.get(SHRINK, 1)
        size, shrink = sizes(examples, longest)
        full = (size[0] * max(1, shrink), size[1] * max(1, shrink))
        width = width if base is None else width_of(base)
        network = {"name": OWN, "classes": len(labels), "size": list(size), "width": width}
        kept = {"architectures": ["YolosForObjectDetection"]} | ({SHRINK: shrink} if shrink > 1 else {})
        ready = task(labels, preprocessor(full), "yolos", kept)
        rate, decay, average = rate or (2e-3 if base is None else 1e-3), 0.05, 0.998
    else:
        config, pictures = configs_of(base)
        given = pictures.get("size")
        if longest is None and isinstance(given, dict) and {"height", "width"} <= given.keys():
            size = (int(given["height"]), int(given["width"]))
        else:
            size = image_size(examples, longest)
        pictures |= {"do_resize": True, "size": {"height": size[0], "width": size[1]}, "do_pad": False}
        kept = {k: v for k, v in config.items() if k not in ("model_type", "id2label", "label2id")}
        ready = task(labels, pictures, config["model_type"], kept)
        network = {"name": config["model_type"]}
        rate, decay, average = rate or 1e-4, 1e-4, 0.99
    return Plan(
        task=ready,
        network=network,
        base=base,
        epochs=epochs,
        batch_size=min(batch_size, len(examples)),
        learning_rate=rate,
        weight_decay=decay,
        average=average,
        clip=10.0 if network["name"] == OWN else 0.1,
        channels_last=True,
        parameters={"image_size": list(size), "shrink": max(1, shrink), **options},
    )


# --- pictures with boxes ------------------------------------------------------------------------------------------


def batch(plan: Plan, examples: Sequence[Example], rng: np.random.Generator | None) -> dict[str, np.ndarray]:
    """`pixel_values` (N, 3, H, W) and the targets; augmented if there is an `rng`."""
    task, options = plan.task, plan.parameters
    size = (options["image_size"][1], options["image_size"][0])
    number = {label: k for k, label in enumerate(task.labels)}
    if rng is None:
        drawn = [resized(e, size, number) for e in examples]
    else:
        drawn = [augmented(i, examples, size, number, rng, options) for i in range(len(examples))]
    counts = [len(boxes) for _, boxes, _ in drawn]
    # They are small already, where the exported network is to shrink them itself.
    small = {**task.preprocessor, "size": {"height": size[1], "width": size[0]}}
    return {
        "pixel_values": np.stack([images.preprocess(small, Image.fromarray(picture)) for picture, _, _ in drawn]),
        "boxes": np.concatenate([boxes for _, boxes, _ in drawn]).astype(np.float32),
        "classes": np.concatenate([classes for _, _, classes in drawn]),
        "owners": np.repeat(np.arange(len(drawn)), counts),
    }


Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]  # picture (H, W, 3) uint8, boxes (G, 4), classes (G,)


def resized(example: Example, size: tuple[int, int], number: dict[str, int]) -> Drawn:
    """The picture at (width, height), with the boxes of the objects that can be learned from."""
    pixels = cache.pixels(example.fields["image"], longest=max(size))
    full = images.size(example.fields["image"])
    objects = [o for o in example.fields["objects"] if not o.get("iscrowd") and o["label"] in number]
    factors = np.array([size[0] / full[0], size[1] / full[1]] * 2)
    boxes = np.array([o["box"] for o in objects], float).reshape(-1, 4) * factors
    classes = np.array([number[o["label"]] for o in objects], np.int64)
    boxes, kept = augment.clip(boxes, *size)  # also drops those without an area
    return augment.resize(pixels, size), boxes, classes[kept]


def augmented(
    index: int,
    examples: Sequence[Example],
    size: tuple[int, int],
    number: dict[str, int],
    rng: np.random.Generator,
    options: dict[str, Any],
) -> Drawn:
    """One example of a batch, changed at random; others of the batch may lend their pictures to a mosaic."""
    if rng.random() < options["mosaic"]:
        four = [index, *rng.integers(0, len(examples), 3)]
        parts = [resized(examples[i], size, number) for i in four]
        picture, boxes, classes = collage(parts, size, rng)
    else:
        picture, boxes, classes = resized(examples[index], size, number)
    enlarged = picture.shape[1] / size[0]  # a collage is not to be fitted into the size, but a part of it shown
    zoom = (options["zoom"][0] * enlarged, options["zoom"][1] * enlarged)
    picture, boxes, kept = augment.affine(
        picture, boxes, rng, size=size, scale=zoom, ratio=(0.8, 1.25), translate=0.25 * enlarged
    )
    classes = classes[kept]
    if rng.random() < options["flip"]:
        picture, boxes = augment.flip(picture, boxes)
    if rng.random() < options["flip_vertical"]:
        picture, boxes = upside_down(picture, boxes)
    colour = options["colour"]
    picture = augment.colour(
        picture, rng, brightness=0.3 * colour, contrast=0.3 * colour, saturation=0.5 * colour, hue=0.03 * colour
    )
    return picture, boxes, classes


def collage(parts: Sequence[Drawn], size: tuple[int, int], rng: np.random.Generator) -> Drawn:
    """Four pictures of this (width, height), meeting at a random point of a sheet twice as wide and high."""
    width, height = size
    x, y = (int(rng.uniform(0.5, 1.5) * side) for side in size)
    sheet = Image.new("RGB", (2 * width, 2 * height), augment.GREY)
    boxes, classes = [], []
    for k, (picture, own, kinds) in enumerate(parts):
        corner = (x - width if k % 2 == 0 else x, y - height if k < 2 else y)
        sheet.paste(Image.fromarray(picture), corner)  # what lies beyond the sheet is cut off
        inside, kept = augment.clip(own + np.array(corner * 2), 2 * width, 2 * height)
        boxes.append(inside)
        classes.append(kinds[kept])
    return np.asarray(sheet), np.concatenate(boxes), np.concatenate(classes)


def upside_down(picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top and bottom exchanged: for pictures without an up and down, such as those from above or of cells."""
    return np.ascontiguousarray(picture[::-1]), boxes[:, [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, len(picture)] * 2


# --- assignment and losses of our own detector --------------------------------------------------------------------


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of corners (..., 4), broadcast against each other."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    common = sides[..., 0] * sides[..., 1]
    areas = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
    return common / (areas[0] + areas[1] - common + 1e-7)


def complete_overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, less distance of the centres and difference in shape (CIoU, arXiv:1911.08287)."""
    iou = overlap(a, b)
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    diagonal = around.square().sum(-1) + 1e-7
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).square().sum(-1) / 4
    angle_a, angle_b = (torch.atan((x[..., 2] - x[..., 0]) / (x[..., 3] - x[..., 1] + 1e-7)) for x in (a, b))
    shape = 4 / math.pi**2 * (angle_a - angle_b).square()
    with torch.no_grad():
        weight = shape / (shape - iou + 1 + 1e-7)
    return iou - apart / diagonal - weight * shape


@torch.no_grad()
def assign(scores: Tensor, iou: Tensor, owners: Tensor, pictures: int, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which cells answer for which objects: those that already say it best (TOOD, arXiv:2108.07755).

    Args:
        scores: (G, A) of each object's class in each cell, 0..1.
        iou: (G, A) of each object and the box of each cell; 0 where the cell's centre is outside of the object.
        owners: (G,) place of the object's picture in the batch.
        most: cells for one object.

    Returns:
        objects (P,), cells (P,), and (P,) the score that the cell should give, 0..1: the better of two cells for the
        same object the higher, and the best as high as the best overlap.
    """
    merit = scores.sqrt() * iou**6
    values, cells = merit.topk(min(most, merit.shape[1]), 1)
    objects = torch.arange(len(merit), device=merit.device)[:, None].expand_as(cells)
    good = values > 1e-12
    objects, cells, values = objects[good], cells[good], values[good]
    near = iou[objects, cells]
    # A cell that two objects want goes to the one it covers better.
    place = owners[objects] * merit.shape[1] + cells
    best = near.new_zeros(pictures * merit.shape[1]).scatter_reduce_(0, place, near, "amax")
    won = near >= best[place]
    objects, cells, values, near = objects[won], cells[won], values[won], near[won]
    top = values.new_zeros(len(merit)).scatter_reduce_(0, objects, values, "amax")
    nearest = near.new_zeros(len(merit)).scatter_reduce_(0, objects, near, "amax")
    return objects, cells, values / (top[objects] + 1e-12) * nearest[objects]


def teach(raw: Raw, boxes: Tensor, classes: Tensor, owners: Tensor) -> dict[str, Tensor]:
    """The losses of our own detector.

    Args:
        raw: of the network, with the *many* head.
        boxes, classes, owners: the targets, see the top of this module.
    """
    assert raw.many is not None
    with torch.no_grad():
        x, y = raw.centres[:, 0], raw.centres[:, 1]
        b = boxes[:, :, None]
        inside = (x > b[:, 0]) & (x < b[:, 2]) & (y > b[:, 1]) & (y < b[:, 3])
        iou = overlap(raw.boxes.detach()[owners], boxes[:, None]) * inside
    losses: dict[str, Tensor] = {}
    total: Tensor | float = 0.0
    for name, logits, most in (("many", raw.many, 10), ("one", raw.one, 1)):
        scores = logits.detach().transpose(1, 2)[owners, classes].sigmoid()
        objects, cells, wanted = assign(scores, iou, owners, len(logits), most)
        pictures = owners[objects]
        target = torch.zeros_like(logits)
        target[pictures, cells, classes[objects]] = wanted
        count = wanted.sum().clamp(min=1)
        said = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / count
        found, true = raw.boxes[pictures, cells], boxes[objects]
        box = ((1 - complete_overlap(found, true)) * wanted).sum() / count
        # The distances to the four sides, in strides, as two neighbouring bins (arXiv:2006.04388).
        reach = torch.cat([raw.centres[cells] - true[:, :2], true[:, 2:] - raw.centres[cells]], 1)
        reach = (reach / raw.strides[cells, None]).clamp(0, raw.sides.shape[-1] - 1.01)
        low = reach.long()
        share = reach - low
        chances = raw.sides[pictures, cells].log_softmax(-1)
        near, far = (chances.gather(2, k[..., None])[..., 0] for k in (low, low + 1))
        side = (-(near * (1 - share) + far * share).mean(1) * wanted).sum() / count
        losses |= {f"class_{name}": said, f"box_{name}": box, f"side_{name}": side}
        total = total + 0.5 * said + 7.5 * box + 1.5 * side
    return {"loss": total, **losses}


# --- networks: ours, or one of transformers -----------------------------------------------------------------------


def build(plan: Plan) -> nn.Module:
    """The network that the plan describes."""
    if plan.network["name"] == OWN:
        options = {k: v for k, v in plan.network.items() if k != "name"}
        own = Detector(**{**options, "size": tuple(options["size"])})
        if plan.base is not None:
            there, fresh = load_file(plan.base / WEIGHTS), own.state_dict()
            # What knows the classes by number starts anew where their number is another.
            own.load_state_dict(
                {k: there[k] if k in there and there[k].shape == v.shape else v for k, v in fresh.items()}
            )
        return own
    os.environ["TRANSFORMERS_DISABLE_TORCH_CHECK"] = "1"  # its checks of values cannot be written as ONNX
    labels = plan.task.labels
    network, _ = network_of(
        plan.base,
        "AutoModelForObjectDetection",
        plan.task.name,
        id2label=dict(enumerate(labels)),
        label2id={label: k for k, label in enumerate(labels)},
    )
    return network


def loss(network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The losses of our network, of one of transformers, or of a user's that gives `logits` and `pred_boxes`."""
    boxes, classes, owners = batch["boxes"], batch["classes"], batch["owners"]
    pixels = batch["pixel_values"]
    if isinstance(network, Detector):
        raw = network.raw(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            return teach(raw, boxes, classes, owners)
    low, high = (boxes / boxes.new_tensor([pixels.shape[3], pixels.shape[2]] * 2)).split(2, 1)
    centred = torch.cat([(low + high) / 2, high - low], 1)
    own = [owners == k for k in range(len(pixels))]
    labels = [{"class_labels": classes[mine], "boxes": centred[mine]} for mine in own]
    if hasattr(network, "config"):
        return {"loss": network(pixel_values=pixels, labels=labels).loss}
    found = network(pixel_values=pixels)
    return set_loss(found["logits"].float(), found["pred_boxes"].float(), labels)


def set_loss(logits: Tensor, boxes: Tensor, labels: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The loss of DETR: each object is matched with one query, all the others say "no object" (arXiv:2005.12872).

    Args:
        logits: (N, Q, C + 1), no object last.
        boxes: (N, Q, 4), centre form, fractions.
    """
    none = logits.shape[2] - 1
    target = torch.full(logits.shape[:2], none, device=logits.device)
    near, shape = boxes.sum() * 0, boxes.sum() * 0
    for k, true in enumerate(labels):
        if not len(true["boxes"]):
            continue
        corners, true_corners = to_corners(boxes[k]), to_corners(true["boxes"])
        with torch.no_grad():
            cost = 5 * torch.cdist(true["boxes"], boxes[k], p=1) - logits[k].softmax(1)[:, true["class_labels"]].T
            cost = cost - 2 * complete_overlap(true_corners[:, None], corners)
            objects, queries = assignment.assign(cost.cpu().numpy())
        target[k, queries] = true["class_labels"][objects]
        near = near + (boxes[k, queries] - true["boxes"][objects]).abs().sum()
        shape = shape + (1 - complete_overlap(corners[queries], true_corners[objects])).sum()
    count = max(1, sum(len(true["boxes"]) for true in labels))
    weight = torch.ones(none + 1, device=logits.device)
    weight[none] = 0.1
    said = F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight)
    return {"loss": said + 5 * near / count + 2 * shape / count, "class": said}


def to_corners(boxes: Tensor) -> Tensor:
    """Centre form to corners."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


class Shrunk(nn.Module):
    """Our own network, on pictures that are so many times larger than those it has learned from."""

    def __init__(self, network: nn.Module, factor: int) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.network(F.avg_pool2d(pixel_values, self.factor))
        return found


class Answer(nn.Module):
    """A network of another kind, giving nothing but `logits` and `pred_boxes`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        found = self.network(pixel_values=pixel_values)
        return found["logits"], found["pred_boxes"]


def sample(plan: Plan, network: nn.Module) -> dict[str, Part]:
    """What is exported: one network from `pixel_values` to `logits` and `pred_boxes`."""
    shrink = plan.parameters["shrink"]
    height, width = (side * shrink for side in plan.parameters["image_size"])
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, max(2, height // 16), max(2, width // 16), generator=generator)
    pixels = F.interpolate(coarse, size=(height, width), mode="bilinear")
    module = network if isinstance(network, Detector) else Answer(network)
    if shrink > 1:
        module = Shrunk(module, shrink)
    return {"model": Part(module, {"pixel_values": pixels}, OUTPUTS, {"pixel_values": {0: "batch"}})}


def width_of(base: Path) -> int:
    """The width of our own network whose weights are in this folder.

    Raises:
        InputError: they are not those of a detector.
    """
    try:
        with safe_open(base / WEIGHTS, "pt") as file:
            return int(file.get_slice("stem.0.weight").get_shape()[0])
    except SafetensorError as error:
        raise InputError(f"{base / WEIGHTS}: not the weights of a detector of ours: {error}") from None


def configs_of(base: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `config.json` and `preprocessor_config.json` of a base say.

    Raises:
        InputError: one of them is not there.
    """
    files = files_of(base, "config.json", "preprocessor_config.json")
    return files["config.json"], files["preprocessor_config.json"]
