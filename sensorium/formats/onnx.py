"""ONNX: the format that everything here becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sensorium.errors import InputError
from sensorium.formats.shared import protobuf
from sensorium.formats.shared.finished import finished
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.protobuf import BYTES, VARINT, Message
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options, only
from sensorium.vetting import vet

TITLE = "ONNX"
ENDINGS = (".onnx",)
NODES = 200_000
HEAVY = True  # it is a graph already: `inspect` need not read it again


def match(file: File) -> float:
    if file.looks_like_text:
        return 0.9 if file.head.lstrip()[:12].startswith((b"ir_version:", b"<", b"ir_version :")) and (
            b"ir_version" in file.head[:200]) else 0.0  # fmt: skip
    shape = protobuf.shape_of(file.head)
    if shape is None or shape.get(1) != {VARINT} or not set(shape) <= {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}:
        return 0.0
    version = file.head[1] if file.head[:1] == b"\x08" else 0
    if 7 not in shape and 8 not in shape:
        return 0.0
    good = shape.get(7, {BYTES}) == {BYTES} and 0 < version < 32
    return (0.85 if good and (2 in shape or 8 in shape) else 0.6 if good else 0.0) + 0.1 * (file.suffix == ".onnx")


def _shape(info: Message) -> list[Any]:
    dims: list[Any] = []
    for dim in info.message(2).message(1).message(2).messages(1):
        dims.append(dim.signed(1) if 1 in dim else dim.text(2) or None)
    return dims


def inspect(files: Sequence[File]) -> Report:
    """Read from the protobuf alone; the folder's other files are not touched."""
    file = files[0]
    report = Report(TITLE)
    if file.looks_like_text:
        report.reason = "the text form of ONNX is not read"
        report.notes.append("the text form of ONNX: onnx.parser makes the binary file of it")
        return report
    model = Message(file.data, str(file.path))
    report.version = f"IR {model.signed(1)}"
    report.metadata["opset"] = {o.text(1) or "ai.onnx": o.signed(2) for o in model.messages(8, "opset")}
    if producer := " ".join(filter(None, (model.text(2), model.text(3)))):
        report.metadata["producer"] = producer
    report.metadata |= {p.text(1): p.text(2) for p in model.messages(14, "metadata")}
    graph = model.message(7, "graph")
    nodes = graph.messages(1, "node")
    if len(nodes) > NODES:
        raise InputError(f"{file.path}: more than {NODES} nodes")
    for node in nodes:
        domain = node.text(7)
        report.layers[f"{domain}.{node.text(4)}" if domain not in ("", "ai.onnx") else node.text(4)] += 1
    stored = set()
    report.parameters = 0
    vet(file.path)
    for tensor in graph.messages(5, "initializer"):
        count = 1
        for size in tensor.signed_list(1):
            if size < 0:
                raise InputError(f"{file.path}: corrupt: '{tensor.text(8)[:80]}' has a dimension of {size}")
            count *= size
        report.parameters += count
        stored.add(tensor.text(8))
        places = [e.text(2) for e in tensor.messages(13) if e.text(1) == "location"]
        if places:
            report.metadata["external_data"] = places[-1]
    report.inputs = {i.text(1): _shape(i) for i in graph.messages(11, "input") if i.text(1) not in stored}
    report.outputs = {o.text(1): _shape(o) for o in graph.messages(12, "output")}
    if not nodes and not report.outputs:
        raise InputError(f"{file.path}: not a network: no nodes and no outputs in it")
    return report


def read(files: Sequence[File], options: Options) -> Graph:
    """As it is, with the data that lie beside it; of its outputs those wanted."""
    file = only([f for f in files if match(f)], "network")
    report = inspect([file])
    if report.reason is not None:
        raise InputError(f"{file.path}: {report.reason}")
    graph = finished(file.path, TITLE)
    if options.outputs:
        kept = {entry.name: entry for entry in graph.proto.graph.output}
        for name in options.outputs:
            if name not in kept:
                raise InputError(f"{file.path}: there is no output '{name[:80]}'; there is {', '.join(kept)[:200]}")
        del graph.proto.graph.output[:]
        graph.proto.graph.output.extend(kept[name] for name in options.outputs)
        graph._outputs = [(name, name) for name in options.outputs]
    for entry in graph.inputs:
        told = options.shapes.get(entry.name) or options.example(entry.name)
        if told is not None and len(told) == len(entry.shape):
            entry.shape = tuple(told)
    opset = report.metadata["opset"].get("ai.onnx")
    if isinstance(opset, int) and opset < 17:
        graph.notes.append(f"its operators are those of opset {opset}, and stay so")
    return graph
