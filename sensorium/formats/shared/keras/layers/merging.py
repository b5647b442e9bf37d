"""Layers of Keras that merge several values."""

from __future__ import annotations

from typing import Any

from sensorium.formats.shared.keras.base import LAYERS, Layer, Net, Value, layer
from sensorium.formats.shared.keras.layers.inputs import Extra


def _merged_mask(net: Net, inputs: list[Value]) -> str | None:
    masks = [x.mask for x in inputs]
    given = [m for m in masks if m is not None]
    if not given or (net.dialect.version == 3 and len(given) < len(masks)):
        return None
    result = given[0]
    for mask in given[1:]:
        result = net.op("Or" if net.dialect.version == 3 else "And", result, mask)
    return result


def _aligned(net: Net, inputs: list[Value]) -> list[str]:
    """Inputs of fewer axes get more after the first."""
    values = [net.real(x.name) for x in inputs]
    rank = max(net.rank(v) for v in values)
    return [
        net.op("Unsqueeze", v, net.ints(range(1, 1 + rank - net.rank(v)))) if net.rank(v) < rank else v for v in values
    ]


@layer("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
def _merge(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    if len(inputs) < 2 or (part.kind == "Subtract" and len(inputs) != 2):
        raise part.fault(f"cannot merge {len(inputs)} inputs")
    op = {"Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Average": "Add", "Maximum": "Max", "Minimum": "Min"}
    values = _aligned(net, inputs)
    y = values[0]
    for value in values[1:]:
        y = net.op(op[part.kind], y, value)
    if part.kind == "Average":
        y = net.op("Div", y, net.number(float(len(values))))
    return Value(y, _merged_mask(net, inputs))


@layer("Concatenate")
def _concatenate(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    axis = part.whole("axis", -1)
    if not inputs:
        raise part.fault("has no input")
    rank = net.rank(inputs[0])
    axis = net.axis(part, inputs[0].name, axis, batch=True)
    same = all(net.graph.dtype(x.name) == net.graph.dtype(inputs[0].name) for x in inputs)
    values = [x.name if same else net.real(x.name) for x in inputs]
    y = net.op("Concat", *values, axis=axis)
    if all(x.mask is None for x in inputs):
        return Value(y)
    if rank != 3 or axis != 2:
        if axis == 1 and all(x.mask is not None for x in inputs):
            return Value(y, net.op("Concat", *[str(x.mask) for x in inputs], axis=1))
        return Value(y) if rank != 3 else _no_mask(part)
    masks = [x.mask for x in inputs if x.mask is not None]
    result = masks[0]
    for mask in masks[1:]:
        result = net.op("And", result, mask)
    return Value(y, result)


def _no_mask(part: Layer) -> Value:
    raise part.fault("joins values of which only some have a mask; this is not converted")


@layer("Dot")
def _dot(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    if len(inputs) != 2:
        raise part.fault("takes two inputs")
    axes = part.get("axes", -1)
    pair = [axes, axes] if isinstance(axes, int) else axes
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(a, int) for a in pair):
        raise part.fault(f"axes of {str(axes)[:40]} are not known")
    values = [net.real(x.name) for x in inputs]
    if part.flag("normalize"):
        for i, (v, a) in enumerate(zip(values, pair)):
            power = net.op("ReduceSum", net.op("Mul", v, v), net.ints([net.axis(part, v, a)]), keepdims=1)
            values[i] = net.op("Div", v, net.op("Sqrt", net.op("Max", power, net.number(1e-12))))
    letters = ["b" + "cdefgh"[: net.rank(values[0]) - 1], "b" + "ijklmn"[: net.rank(values[1]) - 1]]
    if any(net.rank(v) > 6 for v in values):
        raise part.fault("inputs of so many axes are not converted")
    terms = []
    for v, a, text in zip(values, pair, letters):
        axis = net.axis(part, v, a)
        terms.append(text[:axis] + "z" + text[axis + 1 :])
    out = "".join(c for c in terms[0] + terms[1][1:] if c != "z")
    y = net.op("Einsum", *values, equation=f"{terms[0]},{terms[1]}->{out}")
    return Value(net.op("Unsqueeze", y, net.ints([1])) if len(out) == 1 else y)


@layer("Merge")
def _merge1(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """Of Keras 1."""
    part.used.update(("output_shape", "output_shape_type", "arguments", "output_mask", "output_mask_type", "mode_type",
                      "layers", "node_indices", "tensor_indices"))  # fmt: skip
    kinds = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate", "dot": "Dot",
             "cos": "Dot"}  # fmt: skip
    mode = part.get("mode", "sum")
    if part.config.get("mode_type") not in (None, "raw") or mode not in kinds:
        raise part.fault(f"the mode '{str(mode)[:40]}' is not known: a Python function is not run")
    axis, axes = part.whole("concat_axis", -1), part.get("dot_axes", -1)
    if isinstance(axes, list) and axes and isinstance(axes[0], list):
        axes = [a[0] for a in axes]
    kind = kinds[mode]
    config: dict[str, Any] = {"axis": axis} if kind == "Concatenate" else {}
    if kind == "Dot":
        config = {"axes": axes, "normalize": mode == "cos"}
    result: Value = LAYERS[kind](net, Layer(kind, part.name, config, part.weights), inputs, {})
    return result
