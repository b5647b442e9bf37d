"""TensorFlow: frozen GraphDef, SavedModel, and TF1 checkpoints with their .meta graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared import protobuf
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.protobuf import BYTES, VARINT, Message
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options
from sensorium.formats.shared.tensorflow_build import build
from sensorium.formats.shared.tensorflow_graph import DANGEROUS, SEVERAL, SIDES, Call, Node, Source, Variable
from sensorium.formats.tensorflow import graphdef, written
from sensorium.formats.tensorflow.checkpoint import Checkpoint, is_index

TITLE = "TensorFlow"
ENDINGS = (".pb", ".pbtxt", ".meta")
VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
SERVING = "serving_default"
# Last words of the names that people give to what a graph is for.
ANSWERS = {"output", "outputs", "out", "pred", "preds", "prediction", "predictions", "predict", "prob", "probs",
           "probabilities", "softmax", "logits", "scores", "y_pred", "y_hat", "y_conv"}  # fmt: skip
# Names of what training adds to a graph.
TRAINING = re.compile(r"(^|/)(gradients|save|report_uninitialized\w*|init(_\d+)?)(_\d+)?/|^(gradients|train|save)\b")


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
        graph = start.startswith((b"node {", b"node{")) and b"op:" in file.head
        saved = start.startswith((b"saved_model_schema_version", b"meta_info_def", b"meta_graphs"))
        return 0.7 if graph else 0.6 if saved else 0.0
    if file.suffix == ".index":
        return 0.5 if is_index(file.path) else 0.0
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


def _main(files: Sequence[File]) -> File:
    """The file with the graph, of those given."""
    file = max(files, key=match)
    if file.is_folder:
        file = File.of(file.path / ("saved_model.pb" if "saved_model.pb" in file.names else "saved_model.pbtxt"))
    if file.suffix == ".index":
        raise InputError(f"{file.path}: a checkpoint without its graph: give {file.path.stem}.meta as well")
    return file


def _read(file: File) -> Message:
    return Message(memoryview(written.encoded(file)) if file.looks_like_text else file.data, str(file.path))


def _is_saved(message: Message) -> bool:
    return bool(message.fields.get(1)) and isinstance(message.fields[1][0], int)


def _is_meta(message: Message) -> bool:
    head = bytes(message.data[:65536])
    return 2 in message and not _is_node(protobuf.first_bytes(head, 1)) and _looks_like_tags(head)


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE)
    file = max(files, key=match)
    if file.is_folder and "variables" not in file.names:
        report.missing.append("the folder 'variables' of this SavedModel")
    file = _main(files)
    message = _read(file)
    graphs = [message]
    report.version = "GraphDef"
    if _is_saved(message):
        report.version = "SavedModel"
        metas = message.messages(2, "meta graph")
        graphs = [m.message(2, "graph") for m in metas]
        for meta in metas:
            report.metadata |= {"tensorflow": meta.message(1).text(5), "tags": meta.message(1).texts(4)}
            report.metadata["signatures"] = [entry.text(1) for entry in meta.messages(5)]
    elif _is_meta(message):
        report.version = "MetaGraphDef"
        graphs = [message.message(2, "graph")]
        report.metadata["tensorflow"] = message.message(1).text(5)
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


def read(files: Sequence[File], options: Options) -> Graph:
    file = _main(files)
    message = _read(file)
    if _is_saved(message):
        source, prefix = _saved(message, file.path.parent / "variables" / "variables", options)
    elif _is_meta(message):
        source, prefix = _meta(message, options), file.path.with_suffix("")
    else:
        source, prefix = Source(graphdef.nodes(message), functions=graphdef.functions(message)), file.path
        source.numbered, source.old = True, _old(message)
    source.variables = _variables(source, prefix)
    return build("tensorflow_model", TITLE, source, _wanted(source, options), options)


def _old(graph: Message) -> bool:
    """Before version 24 of graphs, a placeholder without axes had a shape that nobody knew."""
    return graph.message(4).signed(1) < 24


def _saved(message: Message, prefix: Path, options: Options) -> tuple[Source, Path]:
    metas = message.messages(2, "meta graph")
    if not metas:
        raise InputError(f"{message.where}: no graph in it")
    meta = next((m for m in metas if "serve" in m.message(1).texts(4)), metas[0])
    graph = meta.message(2, "graph")
    source = Source(graphdef.nodes(graph), functions=graphdef.functions(graph), results=graphdef.results(meta))
    signatures = {entry.text(1): entry.message(2, "signature") for entry in meta.messages(5)}
    usable = {k: s for k, s in signatures.items() if not k.startswith("__") and s.messages(2)}
    if not usable:
        raise InputError(
            f"{message.where}: no signature in it says what its inputs and outputs are; save the model again with "
            "tf.saved_model.save(model, path, signatures=model.function.get_concrete_function(...))"
        )
    signature = usable.get(SERVING) or usable[min(usable)]
    source.inputs = _tensors(signature, 1)
    source.outputs = _tensors(signature, 2)
    source.types = {e.text(1): graphdef.type_name(e.message(2).unsigned(2)) for e in signature.messages(2)}
    return source, prefix


def _tensors(signature: Message, number: int) -> dict[str, str]:
    found = {}
    for entry in signature.messages(number):
        found[entry.text(1)] = entry.message(2).text(1)
        if not found[entry.text(1)]:
            raise InputError(f"{signature.where}: '{entry.text(1)[:80]}' is no plain array; this is not converted")
    return dict(sorted(found.items()))


def _meta(message: Message, options: Options) -> Source:
    graph = message.message(2, "graph")
    source = Source(graphdef.nodes(graph), functions=graphdef.functions(graph), results=graphdef.results(message))
    source.numbered, source.old = True, _old(graph)
    return source


# Variables


def _variables(source: Source, prefix: Path) -> dict[str, Variable]:
    """The variables of the graph, by the name of their node, to be read from the checkpoint."""
    names = [node.name for node in source.nodes if node.op in VARIABLES]
    if not names:
        return {}
    keys = _restored(source)
    keys |= _copied(source, keys)
    opened: list[Checkpoint] = []

    def load(node: Node) -> Callable[[], np.ndarray]:
        def array() -> np.ndarray:
            if not opened:
                index = prefix.with_name(prefix.name + ".index")
                if not index.is_file():
                    raise InputError(f"{index}: the values of the variables are missing")
                opened.append(Checkpoint(index))
            shared = str(node.get("shared_name", ""))
            options = [keys.get(node.name, ""), node.name, shared, f"{shared}/.ATTRIBUTES/VARIABLE_VALUE"]
            return opened[0].array(next((k for k in options if k and k in opened[0]), keys.get(node.name, node.name)))

        return array

    return {node.name: Variable(node.name, load(node)) for node in source.nodes if node.op in VARIABLES}


def _restored(source: Source) -> dict[str, str]:
    """Where the graph itself restores its variables from: node of a variable to the name in the checkpoint."""
    nodes = {node.name: node for node in source.nodes}
    found = _assigned(nodes, {})
    for node in source.nodes:
        called = node.get("f")
        if node.op not in ("PartitionedCall", "StatefulPartitionedCall") or not isinstance(called, Call):
            continue
        function = source.functions.get(called.name)
        if function is None or not any(n.op == "RestoreV2" for n in function.nodes):
            continue
        given = [i.split(":")[0] for i in node.inputs if not i.startswith("^")]
        found |= _assigned({n.name: n for n in function.nodes}, dict(zip(function.arguments, given)))
    return found


def _copied(source: Source, keys: Mapping[str, str]) -> dict[str, str]:
    """The variables that the file holds only as copies: TensorFlow 2 saves a module with a Keras 3 model so.

    Args:
        keys: node of a variable that is restored to its name in the checkpoint.
    """
    nodes = {node.name: node for node in source.nodes}
    found = {}
    for node in source.nodes:
        if node.op != "AssignVariableOp" or len(node.inputs) < 2:
            continue
        copy, value = (nodes.get(name.split(":")[0]) for name in node.inputs[:2])
        if copy is None or copy.name not in keys or value is None or value.op != "ReadVariableOp" or not value.inputs:
            continue
        original = value.inputs[0].split(":")[0]
        if original not in keys:
            found[original] = keys[copy.name]
    return found


def _assigned(nodes: Mapping[str, Node], arguments: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for node in nodes.values():
        if node.op not in ("Assign", "AssignVariableOp") or len(node.inputs) < 2:
            continue
        target, value = node.inputs[0].split(":")[0], node.inputs[1]
        for _ in range(8):
            name, _, rest = value.partition(":")
            origin = nodes.get(name)
            if origin is None or origin.op != "Identity" or not origin.inputs:
                break
            value = origin.inputs[0]
        if origin is None or origin.op != "RestoreV2" or len(origin.inputs) < 2:
            continue
        listed = nodes.get(origin.inputs[1].split(":")[0])
        read_names = listed.get("value") if listed is not None else None
        keys = read_names() if callable(read_names) else None
        number = int(rest.rpartition(":")[2] or 0) if rest.rpartition(":")[2].isdigit() or not rest else 0
        if isinstance(keys, list) and number < len(keys):
            found[arguments.get(target, target)] = keys[number]
    return found


# Outputs of graphs that do not say which


def _wanted(source: Source, options: Options) -> list[str]:
    if options.outputs or source.outputs:
        return list(options.outputs)
    several = [n for n in source.nodes if n.op in SEVERAL]
    tensors = [f"{n.name}:{i}" for n in several for i in range(1, SIDES)] + [f"{n.name}:0" for n in source.nodes]
    named = {re.sub(r"[^A-Za-z0-9_.-]", "_", tensor): tensor for tensor in tensors}
    given = [named[key] for key in options.answers if key in named]
    if given:
        return given
    used = {i.removeprefix("^").split(":")[0] for n in source.nodes if not TRAINING.search(n.name) for i in n.inputs}
    quiet = ("NoOp", "Const", "Placeholder", "Assert", *VARIABLES)
    ends = [n for n in source.nodes if n.name not in used and n.op not in quiet]
    trained = any(TRAINING.search(n.name) or n.op.startswith("Apply") for n in source.nodes)
    if not trained:
        return []
    answers = [
        n.name
        for n in source.nodes
        if not TRAINING.search(n.name) and n.name.split("/")[-1].lower() in ANSWERS and n.op not in quiet
    ]
    if len(answers) == 1:
        return [f"{answers[0]}:0"]
    forward = [n.name for n in ends if not TRAINING.search(n.name) and not n.op.startswith(("Assign", "Apply"))]
    shown = ", ".join(f"{n}:0" for n in (answers or forward)[:12])
    raise InputError(f"a graph of training does not say what its outputs are; name them with --outputs, of {shown}")
