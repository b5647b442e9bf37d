"""CNTK: v2 protobuf models, and v1 (BrainScript) files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sensorium.errors import InputError
from sensorium.formats.cntk import network as cn
from sensorium.formats.cntk.build import Builder
from sensorium.formats.cntk.legacy import MAGIC, read_v1
from sensorium.formats.cntk.network import Network, owner, read_v2
from sensorium.formats.shared import protobuf
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.protobuf import BYTES, VARINT
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options, only

TITLE = "CNTK"
ENDINGS = (".model", ".dnn", ".cntk", ".cmf", ".bcn")


def match(file: File) -> float:
    if file.head.startswith(MAGIC):
        return 1.0
    return 0.8 + 0.1 * (file.suffix in ENDINGS) if _is_v2(file.head) else 0.0


def _is_v2(head: bytes) -> bool:
    shape = protobuf.shape_of(head)
    if shape is None or shape.get(1) != {VARINT} or shape.get(2) != {BYTES} or set(shape) != {1, 2}:
        return False
    entry = protobuf.first_bytes(head, 2) or b""  # a map entry: key 1, value 2
    inner = protobuf.shape_of(entry)
    key = protobuf.first_bytes(entry, 1) or b""
    value = protobuf.shape_of(protobuf.first_bytes(entry, 2) or b"")
    return (
        inner is not None
        and set(inner) == {1, 2}
        and key.isascii()
        and value is not None
        and set(value) <= set(range(1, 14))
        and all(value.get(n, {VARINT}) == {VARINT} for n in (1, 2))  # version and type
    )


def _network(files: Sequence[File]) -> Network:
    file = only([f for f in files if match(f) > 0], "CNTK model")
    data = file.data
    if file.head.startswith(MAGIC):
        return read_v1(data)
    return read_v2(data, str(file.path))


def inspect(files: Sequence[File]) -> Report:
    network = _network(files)
    variables = network.variables.values()
    report = Report(TITLE, network.version)
    report.inputs = {v.label: _shown(v) for v in variables if v.kind == cn.INPUT}
    report.outputs = {_label(network, uid): None for uid in network.roots}
    report.layers = Counter(f.block or f.op for f in network.functions.values())
    stored = [v for v in variables if v.kind in (cn.PARAMETER, cn.CONSTANT)]
    report.parameters = sum(_count(v.shape) for v in stored)
    report.metadata = {"name": network.name} if network.name else {}
    return report


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= max(size, 0)
    return count


def _shown(variable: cn.Variable) -> list[Any]:
    dynamic = ["batch", "time"][: variable.dynamic]
    return dynamic + [size if size >= 0 else None for size in variable.shape[::-1]]


def _label(network: Network, uid: str) -> str:
    """What the file calls a value: the name of its function, or else the number CNTK gave it."""
    for name in _names(network, uid):
        return name
    return uid


def _names(network: Network, uid: str) -> list[str]:
    """The names of a value, from the outside in, and its identifier."""
    found = []
    for _ in range(len(network.aliases) + 1):
        function, variable = network.functions.get(owner(uid)), network.variables.get(uid)
        if function is not None and function.name:
            found.append(function.name)
        elif variable is not None and variable.name and variable.kind != cn.PLACEHOLDER:
            found.append(variable.name)
        found.append(uid)
        if uid not in network.aliases:
            break
        uid = network.aliases[uid]
    return found


def read(files: Sequence[File], options: Options) -> Graph:
    network = _network(files)
    graph = Graph(network.name or "model", producer=f"CNTK v{network.version}")
    builder = Builder(network, graph, options)
    outputs = _chosen(network, options) if options.outputs else _wanted(network, graph)
    values = builder.run([uid for _, uid in outputs])
    taken = set()
    for (name, uid), value in zip(outputs, values):
        name = uid if name in taken else name
        taken.add(name)
        graph.output(value.name, name)
    if any(v.dynamic == 2 for v in builder.values.values()):
        graph.notes.append("all sequences of a batch are taken to be of one length")
    return graph


def _chosen(network: Network, options: Options) -> list[tuple[str, str]]:
    """The outputs that the user names: by the name or the identifier of a function."""
    found = []
    for wanted in options.outputs:
        for f in network.functions.values():
            if wanted in (f.name, f.uid, f"{f.uid}_Output_0"):
                found.append((wanted, f"{f.uid}_Output_0"))
                break
        else:
            raise InputError(f"there is no layer named '{wanted}' for an output")
    return found


def _wanted(network: Network, graph: Graph) -> list[tuple[str, str]]:
    """The file's outputs without training criteria; where it has nothing else, what a criterion compares."""
    kept: list[str] = []
    dropped: list[str] = []
    for uid in network.roots:
        (dropped if _is_criterion(network, uid) else kept).append(uid)
    if not kept:
        for uid in dropped:
            kept += _predictions(network, uid)
    if dropped:
        names = ", ".join(_label(network, uid) for uid in dropped)
        graph.notes.append(f"training criteria are left out: {names}")
    if not kept:
        raise InputError("it holds training criteria only; name the outputs wanted with --outputs")
    return [(_label(network, uid), uid) for uid in dict.fromkeys(kept)]


def _criterion(network: Network, uid: str) -> cn.Function | None:
    """The criterion whose output a value is, as it is or as a block."""
    for _ in range(len(network.aliases) + 1):
        function = network.functions.get(owner(uid))
        if function is not None and (function.op in cn.CRITERIA or function.block in cn.CRITERIA):
            return function
        if uid not in network.aliases:
            return None
        uid = network.aliases[uid]
    return None


def _is_criterion(network: Network, uid: str) -> bool:
    """Whether a value is, or follows from, a training criterion."""
    seen, work = set(), [uid]
    while work:
        here = work.pop()
        if here in seen:
            continue
        seen.add(here)
        if _criterion(network, here) is not None:
            return True
        function = network.functions.get(owner(network.resolve(here)))
        if function is not None:
            work += function.inputs + function.arguments
    return False


def _predictions(network: Network, uid: str) -> list[str]:
    """What a criterion compares with the truth: of its operands the one that a parameter leads to."""
    function = _criterion(network, uid)
    if function is None:
        return []
    for source in function.arguments or function.inputs:
        if owner(network.resolve(source)) in network.functions and not _is_criterion(network, source):
            return [source]
    return []
