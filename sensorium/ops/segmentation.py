"""From a segmenter's outputs to segments, equal to the `post_process_..._segmentation` of Hugging Face's processors.

A semantic network scores each class at each pixel. The others answer by queries, each with a class and a mask; the
families differ in the size at which masks are compared and in what becomes of a pixel that several of them want.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.ops.interpolation import resize
from sensorium.ops.ranking import highest

SUBTASKS = ("panoptic", "instance", "semantic")
AT_ONCE = 1 << 25  # values that are resized at once: 128 MB
SQUARE = 384  # pixels: the side of the masks that Mask2Former's processor compares, whatever the network's input was


@dataclass(frozen=True, slots=True)
class Region:
    """Where something is.

    Attributes:
        label: number of its class.
        score: 0..1, or None where the network gives none (semantic).
        mask: bool (height, width).
    """

    label: int
    score: float | None
    mask: np.ndarray


@dataclass(frozen=True, slots=True)
class Family:
    """How the outputs of a `model_type` are to be read.

    Attributes:
        subtasks: what it can do; the first is what it does unless told.
        logits, masks: names of the outputs of the queries.
        square: masks are brought to this size first (0: no).
        instances: what counts as an object: `panoptic` (as there), `pairs` (the best pairs of query and class), `raw`
            (the same, but masks divided between them by their raw values), `queries` (each with its best class) or
            `first` (pairs by sigmoid, the best takes its pixels first).
        sure: a pixel belongs to the best query only where that is also above the mask threshold.
    """

    subtasks: tuple[str, ...] = ("semantic",)
    logits: str = "class_queries_logits"
    masks: str = "masks_queries_logits"
    square: int = 0
    instances: str = "pairs"
    sure: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Least score of a query, least share of a mask at a pixel, and least share of its mask that a region keeps."""

    threshold: float = 0.9
    mask_threshold: float = 0.5
    overlap: float = 0.5


FAMILIES: dict[str, Family] = {
    "detr": Family(SUBTASKS, "logits", "pred_masks", instances="panoptic"),
    "eomt": Family(SUBTASKS, instances="queries", sure=True),
    "eomt_dinov3": Family(SUBTASKS, instances="queries", sure=True),
    "mask2former": Family(SUBTASKS, square=SQUARE),
    "maskformer": Family(SUBTASKS),
    "oneformer": Family(SUBTASKS, instances="raw"),
    "rf_detr": Family(("instance",), "logits", "pred_masks", instances="first"),
}


def family(model_type: str, architecture: str = "") -> Family:
    """How to read the outputs of this kind of network; by its architecture's name where nothing else is known."""
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    if architecture.endswith(("ForUniversalSegmentation", "ForInstanceSegmentation")):
        return Family(SUBTASKS)
    return Family()


def semantic(logits: np.ndarray, width: int, height: int) -> list[Region]:
    """A region for each class that is somewhere the best.

    Args:
        logits: (C, h, w), at any size.
        width, height: of the picture.
    """
    return by_class(largest(logits, width, height))


def largest(scores: np.ndarray, width: int, height: int) -> np.ndarray:
    """The best class at each pixel, int64 (height, width), without holding all resized (C, h, w) scores at once."""
    step = max(1, AT_ONCE // (width * height))
    best = np.full((height, width), -np.inf, np.float32)
    which = np.zeros((height, width), np.int64)
    for start in range(0, len(scores), step):
        part = resize(scores[start : start + step].astype(np.float32, copy=False), (height, width))
        value = part.max(0)
        better = value > best
        which[better] = start + part.argmax(0)[better]
        best[better] = value[better]
    return which


def by_class(best: np.ndarray) -> list[Region]:
    """A region for each class in a map of classes."""
    return [Region(int(label), None, best == label) for label in np.unique(best)]


def class_scores(kind: Family, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The score of each class at each pixel, (C, h, w), from queries."""
    logits, masks = _queries(kind, outputs)
    masks = _squared(kind, masks)
    chances = softmax(logits)[:, :-1]
    flat: np.ndarray = chances.T @ sigmoid(masks).reshape(len(masks), -1)
    return flat.reshape(chances.shape[1], *masks.shape[1:])


def at_size(
    kind: Family, outputs: Mapping[str, np.ndarray], size: tuple[int, int], filled: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The outputs with masks at the size of the network's input, without what was filled up at its ends.

    Args:
        size: (height, width) of the network's input.
        filled: (height, width) of the picture in it.
    """
    masks = resize(np.asarray(outputs[kind.masks], np.float32), size)
    return {**outputs, kind.masks: masks[:, : filled[0], : filled[1]]}


def panoptic(kind: Family, outputs: Mapping[str, np.ndarray], width: int, height: int, limits: Limits) -> list[Region]:
    """Each pixel to one of the queries that are surer than the threshold, or to none."""
    logits, masks = _queries(kind, outputs)
    chances = softmax(logits)
    labels, scores = chances.argmax(1), chances.max(1)
    kept = (labels != logits.shape[1] - 1) & (scores > limits.threshold)
    labels, scores, masks = labels[kept], scores[kept], _squared(kind, masks[kept])
    if kind.sure:  # resizes what the network said; the others resize the chances
        shares = sigmoid(resize(masks, (height, width)))
    else:
        shares = resize(sigmoid(masks), (height, width))
    return _divide(kind, labels, scores, shares, limits)


def instances(kind: Family, outputs: Mapping[str, np.ndarray], width: int, height: int, limits: Limits) -> list[Region]:
    """The objects that are surer than the threshold; a pixel belongs to at most one of them."""
    if kind.instances == "panoptic":
        return panoptic(kind, outputs, width, height, limits)
    logits, masks = _queries(kind, outputs)
    if kind.instances == "first":
        return _first_come(logits, masks, width, height, limits.threshold)
    chances = softmax(logits)[:, :-1]
    if kind.instances == "queries":
        labels, scores = chances.argmax(1), chances.max(1)
        masks = resize(masks, (height, width))
    else:
        best = highest(chances.reshape(-1), len(logits))
        queries, labels = np.divmod(best, chances.shape[1])
        scores, masks = chances.reshape(-1)[best], masks[queries]
    if kind.instances == "raw":
        kept = scores > limits.threshold
        wide = resize(masks[kept], (height, width))
        return _divide(kind, labels[kept], scores[kept], wide, limits)
    masks = _squared(kind, masks)
    inside = masks > 0
    area = inside.sum((1, 2), dtype=np.float32)
    scores = scores * ((sigmoid(masks) * inside).sum((1, 2), dtype=np.float32) / (area + np.float32(1e-6)))
    found = np.full((height, width), -1)
    kept_ones: list[tuple[int, float]] = []
    for label, score, own in zip(labels, scores, inside):
        wide = resize(own, (height, width), "nearest")
        if score >= limits.threshold and wide.any():
            found[wide] = len(kept_ones)
            kept_ones.append((int(label), round(float(score), 6)))
    return [Region(label, score, found == i) for i, (label, score) in enumerate(kept_ones)]


def _squared(kind: Family, masks: np.ndarray) -> np.ndarray:
    return resize(masks, (kind.square, kind.square)) if kind.square else masks


def _divide(kind: Family, labels: np.ndarray, scores: np.ndarray, shares: np.ndarray, limits: Limits) -> list[Region]:
    """Each pixel to the one with the best score there; those that lose too much of their mask are left out."""
    if not len(labels):
        return []
    weighed = shares * scores.astype(np.float32)[:, None, None]
    best = weighed.argmax(0)
    regions = []
    for k, (label, score) in enumerate(zip(labels, scores)):
        own = best == k
        mask = (shares if kind.sure else weighed)[k] >= limits.mask_threshold
        area, whole = int(own.sum()), int(mask.sum())
        shown = own & mask if kind.sure else own
        if area and whole and shown.any() and np.float32(area) / np.float32(whole) > limits.overlap:
            regions.append(Region(int(label), round(float(score), 6), shown))
    return regions


def _first_come(logits: np.ndarray, masks: np.ndarray, width: int, height: int, threshold: float) -> list[Region]:
    chances = sigmoid(logits).reshape(-1)
    best = highest(chances, len(logits))
    free = np.ones((height, width), bool)
    regions = []
    for pair in best[chances[best] > threshold]:
        query, label = divmod(int(pair), logits.shape[1])
        own = (resize(masks[query], (height, width)) > 0) & free
        if own.any():
            free &= ~own
            regions.append(Region(label, round(float(chances[pair]), 6), own))
    return regions


def _queries(kind: Family, outputs: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    missing = [name for name in (kind.logits, kind.masks) if name not in outputs]
    if missing:
        raise InputError(f"the network gives no {missing[0]}, as a segmenter of this family does: {', '.join(outputs)}")
    logits, masks = (np.asarray(outputs[name], np.float32) for name in (kind.logits, kind.masks))
    if logits.ndim != 2 or masks.ndim != 3 or len(logits) != len(masks):
        raise InputError(f"these are not outputs of a segmenter, (Q, C) and (Q, H, W): {logits.shape}, {masks.shape}")
    return logits, masks


def softmax(values: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    powers = np.exp(values - values.max(-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return shares


def sigmoid(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        chances: np.ndarray = 1 / (1 + np.exp(-values))
    return chances
