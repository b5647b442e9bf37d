"""TFLite / LiteRT: flat buffers of TensorFlow's mobile runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options, only
from sensorium.formats.tflite import schema
from sensorium.formats.tflite.build import Builder, inside, onnx_type
from sensorium.formats.tflite.schema import Model

TITLE = "TFLite"
MAGIC = b"TFL3"  # the identifier at offset 4
ENDINGS = (".tflite", ".lite")


def match(file: File) -> float:
    return 1.0 if file.head[4:8] == MAGIC else 0.0


def _model(files: Sequence[File]) -> Model:
    return schema.read(only([f for f in files if match(f) > 0], "TFLite model").data)


def inspect(files: Sequence[File]) -> Report:
    model = _model(files)
    main = model.graphs[0]
    report = Report(TITLE, str(model.version))

    def shown(index: int) -> list[int | str | None]:
        tensor = main.tensors[index]
        free = {axis: None if axis else "batch" for axis in tensor.free}
        return [free.get(axis, size) for axis, size in enumerate(tensor.shape)]

    report.inputs = {main.tensors[i].name: shown(i) for i in main.inputs}
    report.outputs = {main.tensors[i].name: shown(i) for i in main.outputs}
    report.layers = Counter(o.op for graph in model.graphs for o in graph.operators)
    stored = [t for g in model.graphs for t in g.tensors if t.stored is not None and t.kind not in (4, 5, 6)]
    report.parameters = sum(
        int(np.prod(t.shape, dtype=np.float64)) for t in stored if t.quantised or t.kind in (0, 1, 10)
    )
    report.metadata = {"description": model.description} if model.description else {}
    report.code = sorted({o.op for g in model.graphs for o in g.operators if o.op.startswith("CUSTOM")})
    return report


def read(files: Sequence[File], options: Options) -> Graph:
    model = _model(files)
    graph = Graph(model.description or "model", producer=TITLE)
    builder = Builder(model, 0, graph, options)
    builder.inputs()
    builder.run()
    if builder.asked and any(i.free for i in graph.inputs):
        # Settings that follow from sizes: where other sizes give other settings, these axes cannot stay free.
        other = Builder(model, 0, Graph(), options)
        try:
            other.inputs(more=1)
            other.run()
        except InputError:
            other.asked = []
        if other.asked != builder.asked:
            graph.pin()
            graph.notes.append("works for one size of its inputs only; --shape NAME=SIZES chooses it")
    main = builder.source
    wanted = list(main.outputs)
    if options.outputs:
        names = {tensor.name: i for i, tensor in enumerate(main.tensors)}
        missing = [name for name in options.outputs if name not in names]
        if missing:
            raise InputError(f"there is no tensor named '{missing[0]}' for an output")
        wanted = [names[name] for name in options.outputs]
    taken: set[str] = set()
    for index in wanted:
        tensor = main.tensors[index]
        value = builder.value(index)
        outer = np.dtype(schema.DTYPES[tensor.kind])
        if np.dtype(inside(tensor)) != outer:
            value = graph.add("Cast", value, to=onnx_type(outer))
        name = tensor.name
        while name in taken:
            name += "_"
        taken.add(name)
        graph.output(value, name)
    return graph
