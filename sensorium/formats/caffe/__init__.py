"""Caffe: prototxt (V0, V1, V2) and caffemodel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.caffe import net as nets
from sensorium.formats.caffe.build import build
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options, nature

TITLE = "Caffe"
ENDINGS = (".caffemodel", ".prototxt")


def match(file: File) -> float:
    if file.looks_like_text:
        if nets.is_text(file):
            return 0.9
        named = file.suffix == ".prototxt"
        return 0.9 if nets.is_solver(file) else 0.1 if named and nature(file) == "a text" else 0.0
    surety = nets.weights_surety(file)
    return surety if surety or file.suffix != ".caffemodel" else 0.05


def inspect(files: Sequence[File]) -> Report:
    texts, weights = _sort(files)
    report = Report(TITLE)
    if texts:
        net = nets.read_net(texts[0])
        report.version = f"prototxt {net.version}"
        report.metadata["name"] = net.name
        report.inputs = dict(net.inputs)
        for layer in net.layers:
            report.layers[layer.type] += 1
            if layer.type == "Input":
                shapes = [b.whole_list("dim") for b in layer.param("input_param").blocks("shape")]
                report.inputs |= {top: shapes[min(i, len(shapes) - 1)] for i, top in enumerate(layer.tops) if shapes}
            if layer.type == "Python":
                report.code.append(f"layer '{layer.name}' runs the Python module it names")
        used = {b for layer in net.layers for b in layer.bottoms}
        report.outputs = {t: None for layer in net.layers for t in layer.tops if t not in used}
    else:
        report.missing.append("the prototxt that describes the layers")
    if weights:
        version, layers = nets.read_weights(weights[0])
        report.version = ", ".join(filter(None, (report.version, f"caffemodel {version}")))
        report.parameters = sum(int(blob.size) for _, blobs in layers.values() for blob in blobs)
        if not texts:
            report.layers.update(kind for kind, _ in layers.values())
            report.metadata["blobs"] = {
                name: [list(map(int, np.shape(b))) for b in blobs] for name, (_, blobs) in layers.items() if blobs
            }
    else:
        report.missing.append("the weights (.caffemodel)")
    return report


def read(files: Sequence[File], options: Options) -> Graph:
    texts, weights = _sort(files)
    if not texts:
        raise InputError(f"{files[0].path}: the layers are missing: give the network's .prototxt too")
    net = nets.read_net(texts[0])
    if not weights:
        raise InputError(f"{texts[0].path}: the weights are missing: give the .caffemodel too")
    _, blobs = nets.read_weights(weights[0])
    return build(net, blobs, options, str(weights[0].path))


def _sort(files: Sequence[File]) -> tuple[list[File], list[File]]:
    """The prototxt and the caffemodel among the files given; of several prototxts the one called `deploy`."""
    texts = [f for f in files if nets.is_text(f) or (f.suffix == ".prototxt" and f.looks_like_text)]
    weights = [f for f in files if f not in texts]
    solvers = [f for f in texts if nets.is_solver(f) and not nets.is_text(f)]
    texts = [f for f in texts if f not in solvers]
    if solvers and not texts:
        raise InputError(f"{solvers[0].path}: a solver's settings; give the network that it names after 'net:'")
    deployed = [f for f in texts if "deploy" in f.path.stem.lower()]
    if len(texts) > 1 and len(deployed) == 1:
        texts = deployed
    for kind, found in (("prototxt", texts), ("caffemodel", weights)):
        if len(found) > 1:
            raise InputError(f"{found[1].path}: a second {kind} beside {found[0].path}; give one ({nature(found[1])})")
    return texts, weights
