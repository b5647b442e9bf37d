"""Layers of Keras that attend: scores of queries and keys, softmax, and values weighted by them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sensorium.formats.shared.keras.base import Layer, Net, Value, layer
from sensorium.formats.shared.keras.weights import Flat

Extra = Mapping[str, Any]


def _mask_of(net: Net, mask: str, axis: int) -> str:
    return net.op("Unsqueeze", net.op("Cast", mask, to=9), net.ints([axis]))


def _causal(net: Net, scores: str) -> str:
    """Lower triangle over the last two axes: a place sees itself and what is before."""
    rank = net.rank(scores)
    rows, columns = (net.op("Squeeze", net.sizes(scores, a, a + 1), net.ints([0])) for a in (rank - 2, rank - 1))
    zero, step = (net.graph.constant(np.array(v, np.int64), "index") for v in (0, 1))
    down = net.op("Unsqueeze", net.op("Range", zero, rows, step), net.ints([1]))
    across = net.op("Range", zero, columns, step)
    return net.op("GreaterOrEqual", down, across)


@layer("Attention", "AdditiveAttention")
def _attention(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Any:
    if len(inputs) not in (2, 3):
        raise part.fault("takes two or three inputs")
    query, value = inputs[:2]
    key = inputs[2] if len(inputs) > 2 else value
    if any(net.rank(x) != 3 for x in inputs):
        raise part.fault("takes inputs of 3 axes")
    additive = part.kind == "AdditiveAttention"
    use_scale = part.flag("use_scale", additive)
    mode = "additive" if additive else part.choice("score_mode", "dot", "dot", "concat")
    part.used.add("score_mode")
    arrays = part.arrays(use_scale + (mode == "concat"))
    if mode == "dot":
        scores = net.op("MatMul", query.name, net.op("Transpose", key.name, perm=[0, 2, 1]))
        if use_scale:
            scores = net.op("Mul", scores, net.array(arrays[0], f"{part.name}.scale"))
    else:
        total = net.op(
            "Add", net.op("Unsqueeze", query.name, net.ints([2])), net.op("Unsqueeze", key.name, net.ints([1]))
        )
        if use_scale and not additive:
            total = net.op("Mul", total, net.array(arrays[0], f"{part.name}.scale"))
        bent = net.op("Tanh", total)
        if use_scale and additive:
            bent = net.op("Mul", bent, net.array(arrays[0], f"{part.name}.scale"))
        scores = net.op("ReduceSum", bent, net.ints([-1]), keepdims=0)
        if mode == "concat":
            scores = net.op("Mul", scores, net.array(arrays[-1], f"{part.name}.concat"))
    given = list(extra["mask"]) if isinstance(extra.get("mask"), (list, tuple)) else []
    masks = [m.name if isinstance(m, Value) else None for m in given] or [query.mask, value.mask]
    seen = _mask_of(net, masks[1], 1) if len(masks) > 1 and masks[1] is not None else None
    if part.flag("causal") or extra.get("use_causal_mask"):
        causal = _causal(net, scores)
        seen = causal if seen is None else net.op("And", seen, causal)
    if seen is not None:
        scores = net.where(seen, scores, net.op("Sub", scores, net.number(1e9)))
    weights = net.op("Softmax", scores, axis=-1)
    y = net.op("MatMul", weights, value.name)
    if masks[0] is not None:
        y = net.op("Mul", y, net.op("Cast", _mask_of(net, masks[0], 2), to=1))
    result = Value(y, masks[0])
    return [result, Value(weights)] if extra.get("return_attention_scores") else result


@layer("MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention")
def _multi_head(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Any:
    """Projections to heads, scaled scores, and back: kernels (in, heads, size) and (heads, size, out).

    With grouped queries, several heads share a key and a value. Axes that do not attend are part of the batch.
    """
    named = {k: v for k, v in extra.items() if isinstance(v, Value)}
    query = inputs[0]
    value = inputs[1] if len(inputs) > 1 else named.get("value", query)
    key = inputs[2] if len(inputs) > 2 else named.get("key", value)
    if len(inputs) > 3:
        raise part.fault("takes three inputs; a mask by its name")
    if part.kind == "MultiHeadAttention":
        heads, size = part.positive("num_heads"), part.positive("key_dim")
        kept, value_size = heads, part.positive("value_dim", size)
    else:
        heads, size = part.positive("num_query_heads"), part.positive("head_dim")
        kept, value_size = part.positive("num_key_value_heads"), size
        if heads % kept:
            raise part.fault(f"{heads} heads of queries cannot share {kept}")
    bias, gate = part.flag("use_bias", True), part.flag("use_gate")
    if gate and isinstance(part.weights, Flat):
        raise part.fault("a gate in a file of this kind is not converted")
    rank = net.rank(query)
    given = part.get("attention_axes")
    axes = list(range(1, rank - 1)) if given is None else [given] if isinstance(given, int) else given
    if not isinstance(axes, list) or not all(isinstance(a, int) and 0 < a % rank < rank - 1 for a in axes):
        raise part.fault(f"attention_axes of {str(given)[:40]} are not known")
    axes = [a % rank for a in axes]
    plain = rank == 3 and axes == [1]
    if any(net.rank(x) != rank for x in (query, key, value)) or rank < 3:
        raise part.fault("takes inputs of as many axes, 3 or more")
    part.used.update(("output_shape", "query_shape", "key_shape", "value_shape", "seed"))
    order = [0, *(a for a in range(1, rank - 1) if a not in axes), *axes, rank - 1]
    start = rank - 1 - len(axes)

    def joined(x: Value) -> tuple[str, str]:
        """(batch, time, features), and the sizes of the axes that became these two."""
        turned = net.transpose(net.real(x.name), order)
        if plain:
            return turned, ""
        time = net.op("ReduceProd", net.sizes(turned, start, rank - 1), net.ints([0]), keepdims=1)
        flat = net.op("Reshape", turned, net.joined(net.ints([-1]), time, net.sizes(turned, rank - 1)))
        return flat, net.sizes(turned, 0, rank - 1)

    def project(x: str, name: str, index: int, count: int, width: int) -> str:
        inner = Layer(part.kind, part.name, {}, part.weights.part(f"{name}_dense", index, 4))
        arrays = inner.arrays(2 if bias else 1)
        kernel = part.shaped(arrays[0], None, count, width).reshape(arrays[0].shape[0], -1)
        y = net.dense(x, kernel, arrays[1].reshape(-1) if bias else None, f"{part.name}.{name}")
        y = net.op("Transpose", net.op("Reshape", y, net.ints([0, 0, count, width])), perm=[0, 2, 1, 3])
        if name in ("key", "value") and count < heads:
            y = net.op("Gather", y, net.ints(np.repeat(np.arange(count), heads // count).tolist()), axis=1)
        return y

    asked, before = joined(query)
    q = project(asked, "query", 0, heads, size)
    k = project(joined(key)[0], "key", 1, kept, size)
    v = project(joined(value)[0], "value", 2, kept, value_size)
    q = net.op("Mul", q, net.number(1 / math.sqrt(size)))
    scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    for seen in _visible(net, part, {"query": query, "value": value, "key": key}, extra, scores, plain):
        scores = net.op(
            "Add", scores, net.where(seen, net.number(0.0), net.number(-3e38 if net.dialect.version == 3 else -1e9))
        )
    weights = net.op("Softmax", scores, axis=-1)
    y = net.op("MatMul", weights, v)
    if gate:
        y = net.op("Mul", y, net.op("Sigmoid", project(asked, "gate", 0, heads, value_size)))
    y = net.op("Transpose", y, perm=[0, 2, 1, 3])
    y = net.op("Reshape", y, net.ints([0, 0, heads * value_size]))
    inner = Layer(part.kind, part.name, {}, part.weights.part("output_dense", 3, 4))
    arrays = inner.arrays(2 if bias else 1)
    if arrays[0].ndim != 3 or arrays[0].shape[:2] != (heads, value_size):
        raise part.fault(f"weights of the shape {list(arrays[0].shape)} instead of {[heads, value_size, 'any']}")
    kernel = arrays[0].reshape(heads * value_size, -1)
    y = net.dense(y, kernel, arrays[1] if bias else None, f"{part.name}.output")
    if not plain:
        y = net.op("Reshape", y, net.joined(before, net.sizes(y, 2)))
        y = net.transpose(y, [int(i) for i in np.argsort(order)])
    result = Value(y, query.mask)
    if extra.get("return_attention_scores"):
        if not plain:
            raise part.fault("the scores over several axes are not converted")
        return [result, Value(weights)]
    return result


def _visible(net: Net, part: Layer, values: Mapping[str, Value], extra: Extra, scores: str, plain: bool) -> list[str]:
    """What each place sees, as one condition in a list, or an empty one."""
    masks = {n: x.mask for n, x in values.items()}
    if values["key"] is values["value"]:
        masks["key"] = None
    masks |= {n: told.name for n in masks if isinstance(told := extra.get(f"{n}_mask"), Value)}
    seen: list[str] = []
    for name, axis in (("query", 2), ("value", 1), ("key", 1)):
        if masks[name] is not None:
            seen.append(_mask_of(net, _mask_of(net, str(masks[name]), axis), 1))
    given = extra.get("attention_mask")
    if isinstance(given, Value):
        wanted = net.op("Cast", given.name, to=9)
        seen.append(net.op("Unsqueeze", wanted, net.ints([1])) if net.rank(wanted) == 3 else wanted)
    elif isinstance(given, np.ndarray) and given.ndim in (2, 3):
        wanted = net.graph.constant(given.astype(np.bool_), "mask")
        seen.append(net.op("Unsqueeze", wanted, net.ints([1])) if given.ndim == 3 else wanted)
    elif given is not None:
        raise part.fault("an attention mask of this kind is not converted")
    if extra.get("use_causal_mask"):
        seen.append(_causal(net, scores))
    window = part.get("sliding_window")
    if window is not None:
        reach = part.positive("sliding_window")
        whole = net.op("ConstantOfShape", net.sizes(scores, 2), value=np.ones(1, np.float32))
        ends = [net.graph.constant(np.array(e, np.int64), "reach") for e in (reach - 1, 1 - reach)]
        band = net.op("Trilu", net.op("Trilu", whole, ends[0], upper=0), ends[1], upper=1)
        seen.append(net.op("Cast", band, to=9))
    if seen and not plain:
        raise part.fault("masks over several axes are not converted")
    for other in seen[1:]:
        seen[0] = net.op("And", seen[0], other)
    return seen[:1]
