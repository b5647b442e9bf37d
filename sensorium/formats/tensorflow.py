"""TensorFlow: frozen GraphDef, SavedModel, and TF1 checkpoints with their .meta graph."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.formats.shared import protobuf
from sensorium.formats.shared.protobuf import BYTES, VARINT, Message
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "TensorFlow"
ENDINGS = (".pb", ".meta")
# Operators that touch files, processes or the network when the graph runs.
DANGEROUS = frozenset({"ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "EagerPyFunc", "PyFuncStateless",
                       "PrintV2", "Save", "SaveV2", "MergeV2Checkpoints"})  # fmt: skip


def _is_node(data: bytes | None) -> bool:
    """NodeDef: name 1, op 2, input 3, device 4, attr 5."""
    if data is None:
        return False
    shape = protobuf.shape_of(data)
    known = shape is not None and set(shape) <= {1, 2, 3, 4, 5, 6, 7} and {1, 2} <= set(shape)
    return bool(known and shape and all(kinds == {BYTES} for kinds in shape.values()))


def _is_meta_graph(data: bytes | None) -> bool:
    """MetaGraphDef: meta_info_def 1 (with tags in 4 and the TensorFlow version in 5), graph_def 2."""
    info = protobuf.first_bytes(data, 1) if data else None
    shape = protobuf.shape_of(info) if info else None
    return shape is not None and set(shape) <= set(range(1, 9)) and bool({1, 2, 4, 5} & set(shape)) and data is not None


def match(file: File) -> float:
    if file.is_folder:
        return 0.95 if {"saved_model.pb", "saved_model.pbtxt"} & file.names else 0.0
    if file.looks_like_text:
        start = file.head.lstrip()[:200]
        return 0.7 if start.startswith((b"node {", b"node{")) and b"op:" in file.head else 0.0
    shape = protobuf.shape_of(file.head)
    if shape is None:
        return 0.02 if file.suffix == ".pb" else 0.0
    if shape.get(1) == {BYTES} and _is_node(protobuf.first_bytes(file.head, 1)):
        return 0.85
    if shape.get(1) == {VARINT} and shape.get(2) == {BYTES} and set(shape) == {1, 2}:
        meta = protobuf.first_bytes(file.head, 2)
        return 0.8 if _is_meta_graph(meta) and _looks_like_tags(meta) else 0.0
    if shape.get(1) == {BYTES} and set(shape) <= {1, 2, 3, 4, 5, 6, 7} and _looks_like_tags(file.head):
        return 0.75
    return 0.0


def _looks_like_tags(meta: bytes | None) -> bool:
    """An op list or a version text in the first part of a MetaGraphDef."""
    info = protobuf.first_bytes(meta or b"", 1) or b""
    ops = protobuf.first_bytes(info, 2)
    return bool(protobuf.first_bytes(info, 5)) or (ops is not None and protobuf.shape_of(ops) is not None)


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE)
    file = next((f for f in files if match(f)), files[0])
    if file.is_folder:
        names = file.names
        if "variables" not in names:
            report.missing.append("the folder 'variables' of this SavedModel")
        file = File.of(file.path / "saved_model.pb")
    if file.looks_like_text:
        report.version = "GraphDef, text"
        return report
    message = Message(file.data, str(file.path))
    graphs = [message]
    if message.fields.get(1) and isinstance(message.fields[1][0], int):
        report.version = "SavedModel"
        metas = message.messages(2, "meta graph")
        graphs = [m.message(2, "graph") for m in metas]
        for meta in metas:
            report.metadata |= {"tensorflow": meta.message(1).text(5), "tags": meta.message(1).texts(4)}
    elif 2 in message and match(file) == 0.75:
        report.version = "MetaGraphDef"
        graphs = [message.message(2, "graph")]
        report.metadata["tensorflow"] = message.message(1).text(5)
    else:
        report.version = "GraphDef"
    for graph in graphs:
        functions = [n for f in graph.message(2, "library").messages(1, "function") for n in f.messages(3, "node")]
        for node in [*graph.messages(1, "node"), *functions]:
            kind = node.text(2)
            report.layers[kind] += 1
            if kind == "Placeholder":
                report.inputs[node.text(1)] = None
            if kind in DANGEROUS:
                report.code.append(
                    f"node '{node.text(1)[:80]}': {kind} touches files or runs Python when the graph is run"
                )
    return report
