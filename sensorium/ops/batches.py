"""Running one network on many inputs: those of equal shapes together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
MOST = 16  # examples of one batch


def each(net: Callable[[Arrays], Arrays], items: Sequence[Arrays], most: int = MOST) -> list[Arrays]:
    """The network's outputs for each of the items, all of them without a batch axis.

    Inputs of the items that the network does not have are left out. A network whose file has a fixed batch is given
    copies to fill it up.
    """
    inputs = getattr(net, "inputs", None) or {}
    fixed = max((s[0] for s, _ in inputs.values() if len(s) and isinstance(s[0], int)), default=0)
    groups: dict[Any, list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(tuple((name, a.shape) for name, a in sorted(item.items())), []).append(i)
    results: list[Arrays] = [{}] * len(items)
    size = fixed or most
    for group in groups.values():
        for start in range(0, len(group), size):
            chunk = group[start : start + size]
            rows = chunk + [chunk[-1]] * (fixed - len(chunk))
            names = [name for name in items[chunk[0]] if not inputs or name in inputs]
            outputs = net({name: np.stack([items[i][name] for i in rows]) for name in names})
            for row, i in enumerate(chunk):
                results[i] = {name: values[row] for name, values in outputs.items()}
    return results
