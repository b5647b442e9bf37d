"""Darknet: .cfg and .weights (YOLO v1 to v4, classifiers)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.darknet.heads import detection, region, yolo
from sensorium.formats.darknet.layers import (
    activation,
    avgpool,
    batchnorm,
    connected,
    convolutional,
    crop,
    deconvolutional,
    gate,
    l2norm,
    local,
    local_avgpool,
    logistic,
    maxpool,
    normalization,
    reorg,
    reorg3d,
    route,
    shortcut,
    softmax,
    upsample,
)
from sensorium.formats.darknet.sections import Section, is_text, read_sections
from sensorium.formats.darknet.state import SIDE, State
from sensorium.formats.darknet.weights import Weights, is_weights
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options, nature

TITLE = "Darknet"


ENDINGS = (".weights",)


# Settings of training only, and drawing: nothing of a network's answer depends on a section of these.
TRAINING = frozenset({"cost", "dropout"})


def match(file: File) -> float:
    if is_text(file):
        return 0.95 if re.match(rb"(\s|[#;][^\n]*\n)*\[net(work)?\]", file.head) else 0.5
    return (0.5 + 0.4 * (file.suffix == ".weights")) if is_weights(file) else 0.05 * (file.suffix == ".weights")


def _sort(files: Sequence[File]) -> tuple[File | None, File | None]:
    texts = [f for f in files if is_text(f) or (f.suffix == ".cfg" and f.looks_like_text)]
    weights = [f for f in files if f not in texts]
    for kind, found in (("cfg", texts), ("weights file", weights)):
        if len(found) > 1:
            raise InputError(f"{found[1].path}: a second {kind} beside {found[0].path}; give one ({nature(found[1])})")
    return (texts[0] if texts else None), (weights[0] if weights else None)


def inspect(files: Sequence[File]) -> Report:
    text, weights = _sort(files)
    report = Report(TITLE)
    if text is not None:
        net, *layers = read_sections(text)
        report.layers.update(section.kind for section in layers)
        report.inputs = {"data": [None, *(net.whole(k, 0) for k in ("channels", "height", "width"))]}
        report.outputs = {f"{s.kind}_{s.number}": None for s in layers if s.kind in HEADS}
        for section in layers:
            if section.kind not in LAYERS and section.kind not in TRAINING:
                report.missing.append(f"a conversion of layer {section.number}: [{section.kind[:40]}]")
    else:
        report.missing.append("the .cfg that describes the layers")
    if weights is not None:
        values = Weights(weights)
        report.version = values.version
        report.parameters = len(values.values)
        report.metadata["pictures seen in training"] = values.seen
    else:
        report.missing.append("the weights (.weights)")
    return report


LAYERS: dict[str, Callable[[State, Section], str]] = {
    "convolutional": convolutional,
    "conv": convolutional,
    "deconvolutional": deconvolutional,
    "deconv": deconvolutional,
    "connected": connected,
    "conn": connected,
    "batchnorm": batchnorm,
    "maxpool": maxpool,
    "max": maxpool,
    "local_avgpool": local_avgpool,
    "avgpool": avgpool,
    "avg": avgpool,
    "softmax": softmax,
    "soft": softmax,
    "route": route,
    "shortcut": shortcut,
    "scale_channels": gate,
    "sam": gate,
    "crop": crop,
    "upsample": upsample,
    "reorg": reorg,
    "reorg3d": reorg3d,
    "yolo": yolo,
    "region": region,
    "detection": detection,
    "local": local,
    "normalization": normalization,
    "lrn": normalization,
    "l2norm": l2norm,
    "logistic": logistic,
    "activation": activation,
}


HEADS = frozenset({"yolo", "region", "detection", "softmax", "soft", "logistic"})


SHORT = {"convolutional": "conv", "deconvolutional": "deconv", "connected": "conn"}


def _name(section: Section) -> str:
    return f"{SHORT.get(section.kind, section.kind)}_{section.number}"


def read(files: Sequence[File], options: Options) -> Graph:
    """Outputs: each head as Darknet's own layer gives it and the layer before it, and the decoded boxes and scores."""
    text, weights_file = _sort(files)
    if text is None:
        raise InputError(f"{files[0].path}: the layers are missing: give the network's .cfg too")
    net, *sections = read_sections(text)
    for section in sections:
        if section.kind not in LAYERS and section.kind not in TRAINING:
            raise section.fault(f"unsupported layer '{section.kind[:60]}'")
    if weights_file is None:
        raise InputError(f"{text.path}: the weights are missing: give the .weights too")
    weights = Weights(weights_file)
    graph = Graph(text.path.stem, f"Darknet {weights.version}")
    height, width = options.image_size or (net.whole("height", 0, 1, SIDE), net.whole("width", 0, 1, SIDE))
    shape = options.shapes.get("data") or (1, net.whole("channels", 3, 1, 1024), height, width)
    if min(shape[2:]) < 1:
        raise net.fault("width and height are not given; give them with --image-size")
    free = {0: "batch", 2: "height", 3: "width"}
    state = State(graph, net, weights, graph.input("data", shape, np.float32, free))
    graph.preprocessing = {"scale": 1 / 255, "color": "rgb", "size": (height, width)}
    graph.notes.append("Darknet fits a picture into the input by letterboxing (grey bars), which is outside the model")
    for section in sections:
        if section.kind not in TRAINING:
            try:
                state.x = LAYERS[section.kind](state, section)
            except InputError as error:
                raise error if "[" in str(error) else section.fault(str(error)) from None
        state.values.append(state.x)
    left = len(weights.values) - weights.at
    if left:
        graph.notes.append(f"{4 * left} bytes of the weights were not used; are they of another .cfg?")
    _outputs(state, sections, options)
    return graph


def _outputs(s: State, sections: Sequence[Section], options: Options) -> None:
    named = {_name(section): s.values[section.number] for section in sections}
    decoded = {}
    if s.boxes:
        for name, parts in (("boxes", s.boxes), ("scores", s.scores)):
            same = len({s.shape(p)[2] for p in parts}) == 1
            if same:
                decoded[name] = parts[0] if len(parts) == 1 else s.graph.add("Concat", *parts, axis=1)
    wanted = list(options.outputs)
    if not wanted:
        for section in sections:
            if section.kind in HEADS:
                before = [_name(sections[section.number - 1])] if section.number else []
                wanted += [n for n in (*before, _name(section)) if n not in wanted]
        wanted = wanted or [_name([x for x in sections if x.kind not in TRAINING][-1])]
        wanted += list(decoded)
    for name in wanted:
        value = decoded.get(name) or named.get(name)
        if value is None:
            raise InputError(f"there is no output '{name[:60]}'; layers are named {', '.join(list(named)[-4:])}")
        s.graph.output(value, name)
