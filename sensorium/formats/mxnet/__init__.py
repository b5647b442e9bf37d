"""MXNet: symbol.json and .params of 0.8 to 2.0, and what Gluon exports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.mxnet import build, params
from sensorium.formats.mxnet.call import OPERATORS
from sensorium.formats.mxnet.symbol import Symbol, load
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options, nature, only

TITLE = "MXNet"
ENDINGS = (".params",)


def match(file: File) -> float:
    if file.head.startswith(params.MAGIC):
        return 1.0
    start = file.head.lstrip()
    if start.startswith(b"{") and b'"nodes"' in start[:400] and b'"op"' in start and b"tvm_op" not in start:
        return 0.8
    if file.path.name.endswith("-symbol.json"):
        return 0.1
    return 0.05 if file.suffix == ".params" else 0.0


def _sorted(files: Sequence[File]) -> tuple[list[File], list[File]]:
    """Symbols and parameters."""
    stored = [file for file in files if file.head.startswith(params.MAGIC)]
    for file in files:
        if file not in stored and file.suffix == ".params":
            raise InputError(f"{file.path}: not an MXNet .params file (its magic number is wrong): {nature(file)}")
    return [file for file in files if file not in stored], stored


def _arrays(files: Sequence[File], symbol: Symbol | None) -> tuple[dict[str, np.ndarray], str]:
    """The arrays by the symbol's names, from the one file that has them."""
    fitting = []
    for file in files:
        stored = params.parse(file.data, str(file.path))
        plain = {name.removeprefix("arg:").removeprefix("aux:"): array for name, array in stored.items()}
        if len(plain) != len(stored):
            raise InputError(f"{file.path}: two arrays have the same name")
        wanted = {node.name for node in symbol.nodes if node.op == "null"} if symbol else set(plain)
        fitting.append((len(wanted & set(plain)), file, plain))
    if not fitting:
        return {}, ""
    fitting.sort(key=lambda entry: -entry[0])
    if len(fitting) > 1 and fitting[0][0] == fitting[1][0]:
        only([file for _, file, _ in fitting], "file of parameters")
    return fitting[0][2], str(fitting[0][1].path)


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE)
    symbols, stored = _sorted(files)
    symbol = load(only(symbols, "symbol.json")) if symbols else None
    arrays, _ = _arrays(stored, symbol)
    report.parameters = sum(array.size for array in arrays.values()) if stored else None
    if not stored:
        report.missing.append("the .params file with the weights")
    if symbol is None:
        report.missing.append("symbol.json: these are parameters, and no graph")
        report.metadata = {name: list(array.shape) for name, array in arrays.items()}
        return report
    report.version = symbol.version
    order = symbol.order(symbol.heads)
    report.layers.update(symbol.nodes[i].op for i in order if symbol.nodes[i].op != "null")
    unknown = sorted(op for op in report.layers if op not in OPERATORS)
    if unknown:
        report.reason = f"unsupported operators: {', '.join(unknown)[:200]}"
    if not stored:
        return report
    try:
        graph = read(files, Options())
    except InputError as error:
        report.notes.append(str(error))
        return report
    free = {entry.name: graph.free_axes(entry) for entry in graph.inputs}
    report.inputs = {i.name: [free[i.name].get(k, n) for k, n in enumerate(i.shape)] for i in graph.inputs}
    report.outputs = {name: list(graph.find_shape(value) or []) or None for name, value in graph.outputs.items()}
    report.multiply_adds = graph.multiply_adds()
    return report


def read(files: Sequence[File], options: Options) -> Graph:
    symbols, stored = _sorted(files)
    if not symbols:
        raise InputError(
            f"{files[0].path}: parameters, and no graph: give the symbol.json (a JSON text) that belongs to them, too"
        )
    symbol = load(only(symbols, "symbol.json"))
    arrays, source = _arrays(stored, symbol)
    return build.read_graph(symbol, arrays, options, source)
