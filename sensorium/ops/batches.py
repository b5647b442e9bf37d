"""Examples of different sizes as batches for a network, and its outputs example by example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

# Numbers of an input: what the layers make of more (two pictures of 224 x 224) leaves a processor's cache.
CACHED = 320_000


def collate(items: Sequence[Arrays], padding: Mapping[str, float]) -> Arrays:
    """Put examples on a new first axis; arrays named in `padding` are filled up at their ends to equal shapes."""
    batch = {}
    for name in items[0]:
        arrays = [item[name] for item in items]
        if name in padding and len({a.shape for a in arrays}) > 1:
            shape = tuple(max(sizes) for sizes in zip(*(a.shape for a in arrays)))
            filled = np.full((len(arrays), *shape), padding[name], arrays[0].dtype)
            for row, array in zip(filled, arrays):
                row[tuple(slice(0, n) for n in array.shape)] = array
            batch[name] = filled
        else:
            batch[name] = np.stack(arrays)
    return batch


def alike(items: Sequence[Arrays], padding: Mapping[str, float]) -> list[list[int]]:
    """Indices of the examples that can share a batch: those whose arrays without a padding value agree in shape."""
    groups: dict[Any, list[int]] = {}
    for i, item in enumerate(items):
        key = tuple((name, a.shape if name not in padding else a.ndim) for name, a in sorted(item.items()))
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def fixed_size(net: Any) -> int | None:
    """The batch size that is fixed in a network's file, or None where it is free."""
    sizes = {s[0] for s, _ in net.inputs.values() if len(s) > 0 and isinstance(s[0], int)} if net.inputs else set()
    return max(sizes) if sizes else None


def answers(net: Callable[[Arrays], Arrays], feeds: Arrays) -> Arrays:
    """Run a network on a batch: large examples by the few, where its engine is quicker so (`net.pieces`).

    Args:
        feeds: arrays with a batch axis.

    Returns:
        Its outputs for the whole batch.
    """
    count = len(next(iter(feeds.values())))
    size = max(1, CACHED * count // max(1, *(array.size for array in feeds.values())))
    if size >= count or not getattr(net, "pieces", False):
        return net(feeds)
    found = [net({name: array[i : i + size] for name, array in feeds.items()}) for i in range(0, count, size)]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def outputs(
    net: Callable[[Arrays], Arrays], items: Sequence[Arrays], padding: Mapping[str, float], most: int = 32
) -> Iterator[tuple[int, Arrays]]:
    """Run a network on examples, those together that can share a batch.

    Args:
        items: arrays of each example, without a batch axis.
        padding: value that fills up a shorter example, by array.
        most: examples in one batch, where the network's file does not fix their number.

    Yields:
        (number of the example, its outputs without the batch axis), batch by batch; outputs of an example that was
        filled up are longer than it.
    """
    fixed = fixed_size(net)
    size = fixed or most
    for group in alike(items, padding):
        for start in range(0, len(group), size):
            chunk = [items[i] for i in group[start : start + size]]
            if fixed:  # fill a fixed batch up with copies of its last example
                chunk += [chunk[-1]] * (size - len(chunk))
            found = net(collate(chunk, padding)) if fixed else answers(net, collate(chunk, padding))
            for row, i in enumerate(group[start : start + size]):
                yield i, {name: array[row] for name, array in found.items()}
