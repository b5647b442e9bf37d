"""From Caffe's layers to a graph: inputs, blobs by name (in-place layers make new values), weights, outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.caffe import (
    convolution,
    detection,
    elements,
    normalisation,
    pooling,
    recurrent,
    regions,
    resizing,
    shapes,
)
from sensorium.formats.caffe.context import LAYERS, Context
from sensorium.formats.caffe.net import DATA, TRAINING, Layer, Net
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.source import Options

# Each enters its layers into the table.
__all__ = ["convolution", "detection", "elements", "normalisation", "pooling", "recurrent", "regions", "resizing",
    "shapes"]  # fmt: skip
RECURRENT = frozenset({"LSTM", "RNN"})


@dataclass
class Blobs:
    """The values of a network's blobs while it is built.

    Attributes:
        values: the newest value of each blob.
        fixed: blobs whose size does not follow that of the picture.
        absent: blobs that exist in training only, and why.
    """

    values: dict[str, str] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    absent: dict[str, str] = field(default_factory=dict)


def build(net: Net, trained: Mapping[str, tuple[str, list[np.ndarray]]], options: Options, weights_file: str) -> Graph:
    """The graph of a network.

    Raises:
        InputError: a layer is unknown, has no weights, or does not fit what comes before it.
    """
    graph = Graph(net.name or "caffe")
    graph.producer = f"Caffe {net.version}"
    blobs = Blobs()
    sequence = any(layer.type in RECURRENT for layer in net.layers)
    for name, shape in net.inputs.items():
        _input(graph, blobs, name, shape, options, sequence, f"{net.layers[0].fields.where}: input '{name}'")
    kept: list[Layer] = []
    for layer in net.layers:
        if layer.type == "Input" or layer.type in DATA:
            _data(graph, blobs, layer, net, trained, options, sequence)
        elif TRAINING.search(layer.type) or any(b in blobs.absent for b in layer.bottoms):
            lost = [b for b in layer.bottoms if b in blobs.absent]
            if lost and not TRAINING.search(layer.type):
                raise layer.fault(f"needs '{lost[0]}', which exists in training only ({blobs.absent[lost[0]]})")
            if layer.type != "Silence":
                graph.notes.append(f"left out for training only: layer '{layer.name}' ({layer.type})")
                blobs.absent.update(dict.fromkeys(layer.tops, f"made by {layer.type}"))
            else:
                kept.append(layer)
        else:
            kept.append(layer)
            _add(graph, blobs, layer, trained, weights_file)
    unused = [n for n in trained if trained[n][1] and n not in {layer.name for layer in net.layers}]
    if unused:
        graph.notes.append(f"weights of layers that this prototxt does not have: {', '.join(unused[:10])}")
    _outputs(graph, blobs, kept, options)
    return graph


def _input(
    graph: Graph, blobs: Blobs, name: str, shape: Sequence[int], options: Options, sequence: bool, where: str
) -> None:
    size = list(options.shapes.get(name, shape))
    if not size:
        raise InputError(f"{where}: its shape is not in the file; give it with --shape {name}=1,3,224,224")
    if options.image_size is not None and len(size) == 4 and name not in options.shapes:
        size[2:] = options.image_size
    for dim in size:
        if not 0 < dim < 1 << 24:
            raise InputError(f"{where}: a dimension (dim) of {dim} is not possible")
    if sequence:
        free = {0: "length", 1: "batch"} if len(size) > 1 else {0: "length"}
    else:
        same = not graph.inputs or graph.inputs[0].shape[0] == size[0]
        free = {0: "batch" if same else f"{name}_batch"}
        if len(size) == 4:
            first = not graph.inputs or list(graph.inputs[0].shape[2:]) == size[2:]
            free |= {2: "height", 3: "width"} if first else {2: f"{name}_height", 3: f"{name}_width"}
    blobs.values[name] = graph.input(name, size, np.float32, free)


def _data(
    graph: Graph,
    blobs: Blobs,
    layer: Layer,
    net: Net,
    trained: Mapping[str, tuple[str, list[np.ndarray]]],
    options: Options,
    sequence: bool,
) -> None:
    """Input layers, and the data layers of training files: their first top is the input, the others are labels."""
    where = f"{layer.fields.where}, line {layer.fields.line}: layer '{layer.name}'"
    if layer.type in ("Input", "DummyData"):
        group = layer.param("input_param" if layer.type == "Input" else "dummy_data_param")
        shapes = [b.whole_list("dim") for b in group.blocks("shape")]
        if not shapes and "num" in group:
            shapes = [list(t) for t in zip(*(group.whole_list(k) for k in ("num", "channels", "height", "width")))]
        if len(shapes) not in (0, 1, len(layer.tops)):
            raise layer.fault(f"{len(shapes)} shapes for {len(layer.tops)} tops")
        for i, top in enumerate(layer.tops):
            shape = shapes[min(i, len(shapes) - 1)] if shapes else []
            _input(graph, blobs, top, shape, options, sequence, f"{where}: input '{top}'")
        return
    if not layer.tops:
        raise layer.fault("has no top")
    blobs.absent.update(dict.fromkeys(layer.tops[1:], f"a label of {layer.type}"))
    name = layer.tops[0]
    transform = layer.param("transform_param")
    for old in ("data_param", "image_data_param"):
        if "crop_size" not in transform and ("crop_size" in layer.param(old) or "scale" in layer.param(old)):
            transform = layer.param(old)
    memory = layer.param("memory_data_param")
    shape = list(options.shapes.get(name, ()))
    if not shape and "height" in memory:
        shape = [memory.whole(k) for k in ("batch_size", "channels", "height", "width")]
    if not shape:
        side = transform.whole("crop_size") or 0
        height, width = options.image_size or (side, side)
        channels = _channels(net, name, trained)
        if not height or not channels:
            raise InputError(f"{where}: the size of '{name}' is not in the file; give it with --shape {name}=1,3,H,W")
        shape = [1, channels, height, width]
    _input(graph, blobs, name, shape, options, sequence, f"{where}: input '{name}'")
    if "scale" in transform:
        graph.preprocessing["scale"] = transform.number("scale", 1.0)
        # Caffe subtracts the mean before it scales; the other order needs the mean in scaled units.
    if "mean_value" in transform:
        scale = transform.number("scale", 1.0)
        graph.preprocessing["mean"] = [m * scale for m in transform.number_list("mean_value")]
    if "mean_file" in transform:
        graph.notes.append(f"the mean picture {transform.text('mean_file')[:120]} is to be subtracted; see --mean")
    if shape[1] == 3:
        graph.preprocessing["color"] = "bgr"
    graph.notes.append(f"input '{name}' takes the place of layer '{layer.name}' ({layer.type})")


def _channels(net: Net, name: str, trained: Mapping[str, tuple[str, list[np.ndarray]]]) -> int:
    """The channels of a data layer, from the weights of the first convolution that reads it."""
    for layer in net.layers:
        if name in layer.bottoms and layer.type == "Convolution" and layer.name in trained:
            group = max(1, layer.param("convolution_param").whole("group", 1))
            arrays = trained[layer.name][1]
            return int(arrays[0].shape[1]) * group if arrays and arrays[0].ndim == 4 else 0
    return 0


def _add(
    graph: Graph, blobs: Blobs, layer: Layer, trained: Mapping[str, tuple[str, list[np.ndarray]]], weights_file: str
) -> None:
    if layer.type not in LAYERS:
        raise layer.fault(f"unsupported layer type '{layer.type}' (layer name '{layer.name}')")
    kind = LAYERS[layer.type]
    missing = [b for b in layer.bottoms if b not in blobs.values]
    if missing:
        raise layer.fault(f"its bottom '{missing[0]}' is made by no layer before it")
    if layer.name in trained:
        layer.blobs = trained[layer.name][1]
    least = kind.blobs(layer) if callable(kind.blobs) else kind.blobs
    if least and not layer.blobs:
        raise InputError(
            f"{weights_file}: no weights for layer '{layer.name}' ({layer.type}): Caffe would silently take random "
            "ones; is it named otherwise in the prototxt?"
        )
    if len(layer.blobs) < least:
        raise layer.fault(f"needs {least} blobs of weights, the caffemodel has {len(layer.blobs)}")
    inputs = [blobs.values[b] for b in layer.bottoms]
    try:
        outputs: Any = kind.convert(Context(graph, layer, inputs, all(b in blobs.fixed for b in layer.bottoms)))
    except InputError as error:
        text = str(error)
        raise error if "layer '" in text else layer.fault(text) from None
    found = [outputs] if isinstance(outputs, str) else list(outputs)
    if len(layer.bottoms) > kind.bottoms:
        raise layer.fault(f"{len(layer.bottoms)} bottoms are more than it is converted with ({kind.bottoms})")
    layer.finish()
    if len(found) < len(layer.tops):
        raise layer.fault(f"has {len(layer.tops)} tops where {len(found)} can be converted")
    settled = all(b in blobs.fixed for b in layer.bottoms) or kind.settles or _single(layer)
    for top, value in zip(layer.tops, found):
        blobs.values[top] = value
        (blobs.fixed.add if settled else blobs.fixed.discard)(top)


def _single(layer: Layer) -> bool:
    """Whether a layer makes one value of a whole plane."""
    return layer.type == "Pooling" and layer.param("pooling_param").flag("global_pooling")


def _outputs(graph: Graph, blobs: Blobs, kept: Sequence[Layer], options: Options) -> None:
    """The outputs asked for, or else what no layer reads."""
    wanted = list(options.outputs)
    if not wanted:
        read: set[str] = set()
        made: dict[str, None] = {}
        for layer in kept:
            read.update(layer.bottoms)
            for top in layer.tops:
                made[top] = None
                read.discard(top)  # an in-place layer gives the blob back
        wanted = [top for top in made if top not in read]
    for name in wanted:
        if name not in blobs.values:
            known = ", ".join(list(blobs.values)[-8:])
            raise InputError(f"there is no blob '{name[:80]}' to be an output; the last ones are {known}")
        graph.output(blobs.values[name], name)
