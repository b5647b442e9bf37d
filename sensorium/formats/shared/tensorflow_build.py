"""From TensorFlow's nodes to an ONNX graph: inputs, constants, outputs, and which axes stay free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared import (
    tensorflow_algebra,
    tensorflow_control,
    tensorflow_math,
    tensorflow_ops,
    tensorflow_pictures,
    tensorflow_recurrent,
    tensorflow_spectra,
)
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.source import Options
from sensorium.formats.shared.tensorflow_graph import (
    Complex,
    Moves,
    Net,
    Node,
    Scope,
    Source,
    Texts,
    Value,
    operator,
    plain,
)

# Modules of operators: importing them registers these.
__all__ = [
    "build",
    "tensorflow_algebra",
    "tensorflow_control",
    "tensorflow_math",
    "tensorflow_ops",
    "tensorflow_pictures",
    "tensorflow_recurrent",
    "tensorflow_spectra",
]

EXAMPLE, OTHER = 64, 96  # sizes of a free axis in the example, and in the one that tells what follows from it
LARGE = 256  # of a picture, where the example is too small
INPUTS: dict[str, Any] = {"DT_FLOAT": np.float32, "DT_INT32": np.int32, "DT_INT64": np.int64, "DT_BOOL": np.bool_,
                          "DT_UINT8": np.uint8, "DT_INT8": np.int8, "DT_HALF": np.float16,
                          "DT_DOUBLE": np.float64}  # fmt: skip
# What an output is brought back to: ONNX's number of the type.
BACK = {"DT_INT32": 6, "DT_UINT8": 2, "DT_INT8": 3, "DT_INT16": 5, "DT_HALF": 10, "DT_DOUBLE": 11}


@operator("Const", "HostConst")
def _const(net: Net, node: Node, inputs: list[Value]) -> Value:
    value = net.source.constants.get(node.name) if net.in_main else None
    if value is None:
        value = node.get("value")
    if callable(value):
        value = value()
    if isinstance(value, list):
        return Texts(value)
    if not isinstance(value, np.ndarray):
        raise node.fault("its values are missing")
    if value.dtype.kind == "c":
        parts = (np.ascontiguousarray(p, np.float32) for p in (value.real, value.imag))
        return Complex(*(net.top.constant(p, node.name) for p in parts))
    return net.top.constant(plain(node, value), node.name)


@operator("Placeholder", "PlaceholderV2")
def _placeholder(net: Net, node: Node, inputs: list[Value]) -> Value:
    if not net.in_main:
        raise node.fault("an input within a function is not converted")
    wanted = {net.source.inputs[name].removesuffix(":0"): name for name in net.source.inputs}
    name = wanted.get(node.name) or (f"{node.name}:0" if net.source.numbered else node.name)
    dtype = INPUTS.get(str(node.get("dtype", "DT_FLOAT")))
    if dtype is None:
        raise node.fault(f"an input of the type {node.get('dtype')} is not converted")
    options, shape = net.options, node.get("shape")
    if net.source.old and shape == []:
        shape = None
    told = options.shapes.get(name, options.shapes.get(node.name))
    hint = next((h for h in (told, options.example(name), options.example(node.name)) if h is not None), None)
    if shape is None and hint is None:
        raise node.fault(
            f"the shape of this input is not in the file; give it: --shape {name}=1,224,224,3 "
            f"(or {name}= for a single number)"
        )
    if shape is None:
        shape = [-1, *(hint or ())[1:]] if hint else []
    if hint is not None and (
        len(hint) != len(shape) or any(a != b for a, b in zip(hint, shape) if b >= 0 and told is not None)
    ):
        raise node.fault(f"the shape {list(hint)} was given for this input, which has {_text(shape)}")
    names = {4: {1: "height", 2: "width"}, 3: {1: "length"}, 2: {1: "length"}}.get(len(shape), {})
    free, sizes = {}, []
    for axis, size in enumerate(shape):
        if size >= 0:
            sizes.append(size)
            continue
        word = "batch" if axis == 0 else names.get(axis, f"axis_{axis}")
        free[axis] = word if axis == 0 or not net.graph.inputs else f"{name.removesuffix(':0')}_{word}"
        net.free = net.free or axis > 0
        example = 1 if axis == 0 else EXAMPLE
        if options.image_size and len(shape) == 4 and axis in (1, 2):
            example = options.image_size[axis - 1]
        example = hint[axis] if hint else example
        other = example * 2 if axis == 0 or example != EXAMPLE else OTHER
        sizes.append(other if ("sizes" if axis else "batch") in net.vary else example)
    value = net.graph.input(name, sizes, dtype, free)
    kind = np.dtype(dtype)
    if kind.kind in "iu" and kind != np.int64:
        return net.op("Cast", value, to=7)
    return net.op("Cast", value, to=1) if kind in (np.float64, np.float16) else value


def _text(shape: Sequence[int]) -> str:
    return "[" + ", ".join("?" if s < 0 else str(s) for s in shape) + "]"


def build(name: str, producer: str, source: Source, outputs: Sequence[str], options: Options) -> Graph:
    """The ONNX graph.

    What has to be written into it (the axes of a transposition, say) may follow from the sizes of an example. So it is
    built for other sizes as well; where that gives something else, these axes cannot stay free.

    Args:
        outputs: names wanted: of the signature, or of tensors; empty for the signature's, or those that nothing uses.

    Raises:
        InputError: a node is unknown, missing, or cannot be converted.
    """
    try:
        return _build(name, producer, source, outputs, options)
    except InputError as error:
        # The example may be too small for a network of any size.
        if options.image_size is not None or options.shapes or not any(_open(n) for n in source.nodes):
            raise
        try:
            return _build(name, producer, source, outputs, replace(options, image_size=(LARGE, LARGE)))
        except InputError:
            raise error from None


def _open(node: Node) -> bool:
    """Whether a node is an input for pictures of any size."""
    shape = node.get("shape") if node.op in ("Placeholder", "PlaceholderV2") else None
    return isinstance(shape, list) and len(shape) == 4 and -1 in shape[1:3]


def _build(name: str, producer: str, source: Source, outputs: Sequence[str], options: Options) -> Graph:
    for vary in ({"batch", "sizes"}, {"batch"}, {"sizes"}, set[str]()):
        asked: dict[Any, Any] = {}
        whole = True
        probe = Net(Graph(name, producer), source, options, vary)
        if vary:
            try:
                _fill(probe, outputs)
            except InputError:  # these sizes do not fit: what is asked from here on may follow from them
                whole = False
            if any(i.free for i in probe.graph.inputs):
                asked = probe.asked
            else:
                whole = True
        net = Net(Graph(name, producer), source, options, before=asked, whole=whole)
        try:
            _fill(net, outputs)
        except Moves:
            continue
        axes = {n: "batch" if axis == 0 else "sizes" for i in net.graph.inputs for axis, n in i.free.items()}
        pinned = sorted(n for n, kind in axes.items() if kind not in vary)
        if pinned:
            net.graph.pin(*pinned)
            net.graph.notes.append(f"works for one size of {', '.join(pinned)} only; --shape NAME=SIZES chooses it")
        return net.graph
    raise AssertionError("without axes that vary, nothing moves")


def _fill(net: Net, outputs: Sequence[str]) -> None:
    source, graph = net.source, net.graph
    for variable in source.variables.values():
        variable.value = None
    wanted = {name: source.outputs.get(name, name) for name in outputs} if outputs else dict(source.outputs)
    scope = Scope(net, source.nodes, main=True)
    if not wanted:
        used = {scope.place(i)[0] for node in source.nodes for i in node.inputs}
        quiet = ("NoOp", "Const", "Placeholder", "Assert")
        for node in source.nodes:
            if node.name not in used and node.op not in quiet:
                wanted[f"{node.name}:0" if source.numbered else node.name] = node.name
    inputs = [scope.place(reference)[0] for reference in source.inputs.values()]
    reached = _reached(scope, list(wanted.values()))
    for node in source.nodes:
        given = any(net.options.example(n) is not None for n in (node.name, f"{node.name}:0"))
        if node.op in ("Placeholder", "PlaceholderV2") and (node.name in reached or given):
            inputs.append(node.name)
    for name in inputs:
        scope.values([name])
    values = scope.values(list(wanted.values()))
    for (name, reference), value in zip(wanted.items(), values):
        place, index = scope.place(reference)
        node = scope.nodes[place]
        if not isinstance(value, str):
            raise node.fault(f"the output '{name[:80]}' is no array")
        kind = source.types.get(name) or _kind(node)
        if kind in BACK and (graph.dtype(value).kind in "iu") == ("INT" in kind):
            value = net.op("Cast", value, to=BACK[kind])
        if name == reference and not source.numbered:
            name = place if index == 0 else f"{place}:{index}"
        elif name == reference and ":" not in name:
            name = f"{name}:0"
        graph.output(value, name)


def _kind(node: Node) -> str:
    key = {"ArgMax": "output_type", "ArgMin": "output_type", "Cast": "DstT", "Shape": "out_type"}.get(node.op, "T")
    default = "DT_INT64" if key == "output_type" else ""
    return str(node.get(key, default))


def _reached(scope: Scope, references: Sequence[str]) -> set[str]:
    """Names of the nodes that some outputs need."""
    left, found = [scope.place(r)[0] for r in references], set()
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            node = scope.nodes.get(name)
            left += [scope.place(i)[0] for i in node.inputs if not i.startswith("^")] if node else []
    return found
