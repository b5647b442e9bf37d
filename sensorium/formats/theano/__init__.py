"""Theano and Lasagne: parameters in .npz files or pickled lists, with the layers described in a JSON file."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared import json_text, pickles
from sensorium.formats.shared.archive import open_zip
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options, nature, only
from sensorium.formats.theano import pickled
from sensorium.formats.theano.layers import BUILDERS, DROPPED, Build, Layer, parameters

TITLE = "Theano/Lasagne"
ENDINGS = (".npz",)
LAYERS = 20_000
SPATIAL = ("height", "width")
USUAL = {1: 16, 2: 64}


def match(file: File) -> float:
    if file.head[:4] == b"PK\x03\x04":
        try:
            names = open_zip(file).names
        except InputError:
            return 0.55 if file.suffix == ".npz" or b".npy" in file.head[:200] else 0.0
        if names and all(n.startswith(("in_", "out_")) for n in names):  # values to compare with (--check)
            return 0.0
        return 0.6 if names and all(n.endswith(".npy") for n in names) else 0.0
    if file.head[:1] == b"\x80" and file.head[1:2] in b"\x02\x03\x04\x05":
        if any(word in file.head for word in (b"lasagne", b"theano", b"nolearn")):
            return 0.9
        start = file.head[:120]  # a list of arrays, before anything else
        if (
            start[2:3] in (b"]", b"(", b"\x95")
            and (b"multiarray" in start or b"_frombuffer" in start)
            and b"torch" not in file.head
        ):
            return 0.75
        return 0.55 if b"numpy" in file.head and b"multiarray" in file.head and b"torch" not in file.head else 0.0
    if file.head.lstrip()[:1] == b"{" and b'"layers"' in file.head and b'"lasagne' in file.head:
        return 0.6
    return 0.0


def _is_architecture(file: File) -> bool:
    return file.looks_like_text and file.head.lstrip()[:1] == b"{"


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE)
    report.parameters = 0
    described = [file for file in files if _is_architecture(file)]
    if not described:
        report.missing.append("the architecture (--architecture FILE): the file holds arrays and no layers")
    for file in described:
        content = json_text.load(file)
        entries = content.get("layers") if isinstance(content, dict) else None
        for entry in entries if isinstance(entries, list) else []:
            report.layers[str(entry.get("type") if isinstance(entry, dict) else entry)[:60]] += 1
    for file in files:
        if file.head[:4] == b"PK\x03\x04":
            archive = open_zip(file)
            report.version = "npz"
            for name in archive.names:
                shape = header(archive.read(name), f"{file.path}: {name}")[0]
                report.metadata[name.removesuffix(".npy")] = list(shape)
                report.parameters += int(np.prod(shape, dtype=np.float64))
        elif file.head[:1] == b"\x80":
            report.version = "pickle"
            seen = pickles.walk(file.data, str(file.path))
            others = [name for name in seen.suspicious if name not in pickled.ALLOWED]
            report.code += [f"the pickle would import and may call {name}" for name in others]
            if others:
                report.reason = f"refused: its pickle names {', '.join(others[:5])}"
            else:
                found = pickled.arrays(file.data, str(file.path))
                report.metadata |= {name: list(array.shape) for name, array in found.items()}
                report.parameters += sum(array.size for array in found.values())
    return report


def header(data: bytes, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """What a .npy file declares: shape, whether in Fortran's order, type, and where its values begin.

    Raises:
        InputError: it is no .npy file, holds pickled objects, or less than it declares.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
    except Exception as error:  # numpy raises many kinds
        raise InputError(f"{where}: not a NumPy array: {' '.join(str(error).split())[:100]}") from None
    if dtype.hasobject:
        raise InputError(f"{where}: a pickled object array; refused, for reading it could run code")
    if any(n < 0 for n in shape) or len(shape) > 32:
        raise InputError(f"{where}: corrupt: shape {list(shape)[:8]}")
    if len(data) - stream.tell() < int(np.prod(shape, dtype=np.float64)) * dtype.itemsize:
        raise InputError(f"{where}: truncated: shape {list(shape)[:8]} needs more bytes than there are")
    return tuple(int(n) for n in shape), bool(fortran), dtype, stream.tell()


def _number(name: str) -> tuple[str, int, str]:
    """So that arr_10 follows arr_9."""
    found = re.fullmatch(r"(.*?)(\d+)", name)
    return (found[1], int(found[2]), name) if found else (name, -1, name)


def _arrays(file: File) -> dict[str, np.ndarray]:
    """The stored arrays, in their order."""
    if file.head[:4] != b"PK\x03\x04":
        if file.head[:1] != b"\x80":
            raise InputError(f"{file.path}: neither an .npz file nor a pickle: {nature(file)}")
        return pickled.arrays(file.data, str(file.path))
    archive = open_zip(file)
    found = {}
    for name in archive.names:
        data, where = archive.read(name), f"{file.path}: {name}"
        shape, fortran, dtype, at = header(data, where)
        if dtype.kind not in "fiub":
            raise InputError(f"{where}: an array of type {dtype}; numbers are needed")
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(data, dtype, count, at).reshape(shape, order="F" if fortran else "C")
        found[name.removesuffix(".npy")] = array
    if found and all(re.fullmatch(r"(arr_|param_?|p)?\d+", name) for name in found):
        return {name: found[name] for name in sorted(found, key=_number)}
    return found


def _layers(content: Any, where: str) -> tuple[dict[str, Layer], list[str]]:
    """The layers of an architecture by name, and the names of the outputs."""
    entries = content.get("layers") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not 0 < len(entries) <= LAYERS:
        raise InputError(f"{where}: no list of 'layers' in this architecture (see docs/foreign-formats.md)")
    layers: dict[str, Layer] = {}
    before = ""
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            raise InputError(f"{where}: layer {number} has no 'type'")
        written = entry["type"]
        kind = written.removesuffix("Layer").lower()
        name = entry.get("name", f"{kind}{number}")
        known = ("type", "name", "incoming", "incomings", "input", "kwargs", "dtype")
        options = {k: v for k, v in entry.items() if k not in known}
        if not isinstance(entry.get("kwargs", {}), dict) or not isinstance(name, str) or name in layers:
            raise InputError(
                f"{where}: layer {number}: a second layer '{str(name)[:60]}', or 'kwargs' is not an object"
            )
        options |= entry.get("kwargs", {})
        incoming = entry.get("incoming", entry.get("incomings", entry.get("input")))
        if incoming is None:
            incoming = [before] if before and kind != "input" else []
        incoming = [incoming] if isinstance(incoming, str) else incoming
        if not isinstance(incoming, list) or any(i not in layers for i in incoming):
            raise InputError(f"{where}: layer '{name}': its input {str(incoming)[:80]} is not a layer before it")
        if kind == "input":
            options["dtype"] = entry.get("dtype", options.get("dtype", "float32"))
        layer = layers[name] = Layer(name, kind, written, incoming, options)
        if kind != "input" and kind not in BUILDERS:
            raise layer.fault(f"the layer {written[:60]} is not known or not supported")
        if (kind == "input") != (not incoming):
            raise layer.fault("an input layer has no layer before it, and every other has one")
        if kind in ("batch_norm", "prelu"):
            _take_over(layers, layer)
        before = name
    outputs = content.get("outputs", content.get("output", [before]))
    outputs = [outputs] if isinstance(outputs, str) else outputs
    if not isinstance(outputs, list) or not outputs or any(o not in layers for o in outputs):
        raise InputError(f"{where}: 'outputs' names a layer that is not there: {str(outputs)[:80]}")
    return layers, outputs


def _take_over(layers: dict[str, Layer], layer: Layer) -> None:
    """Lasagne's batch_norm() and prelu() change the layer before: no nonlinearity, and no bias."""
    before = layers[layer.incoming[0]]
    names = ("conv", "transposedconv", "deconv", "dilatedconv", "dense", "nin")
    if not before.kind.startswith(names):
        if layer.kind == "batch_norm" and "nonlinearity" not in before.options and before.kind != "nonlinearity":
            return
        raise layer.fault(f"after a layer of the kind {before.written[:40]} is not supported")
    if layer.kind == "batch_norm":
        layer.options["nonlinearity"] = before.options.get("nonlinearity", "rectify")
        before.normalised = True
    else:
        before.options["nonlinearity"] = None


def _order(layers: dict[str, Layer], outputs: Sequence[str]) -> list[str]:
    """Names in the order of `lasagne.layers.get_all_layers`: every layer after those it needs."""
    done: dict[str, None] = {}
    stack = list(outputs)[::-1]
    while stack:
        name = stack[-1]
        waiting = [i for i in layers[name].incoming if i not in done]
        if waiting:
            stack += waiting[::-1]
        else:
            done[stack.pop()] = None
    return list(done)


def _assign(layers: dict[str, Layer], order: Sequence[str], arrays: dict[str, np.ndarray], where: str) -> None:
    """Give each layer its arrays: by `layer.parameter` where they have such names, else by their order."""
    wanted = [(layers[name], parameter) for name in order for parameter in parameters(layers[name])]
    if wanted and all(f"{layer.name}.{parameter}" in arrays for layer, parameter in wanted):
        for layer, parameter in wanted:
            layer.arrays[parameter] = arrays[f"{layer.name}.{parameter}"]
        return
    if len(wanted) != len(arrays):
        raise InputError(f"{where}: {len(arrays)} arrays, but {len(wanted)} are expected by this architecture")
    for (layer, parameter), array in zip(wanted, arrays.values()):
        layer.arrays[parameter] = array


def _input(graph: Graph, layer: Layer, options: Options, first: bool) -> str:
    shape = layer.get("shape")
    kinds = {"float32": np.float32, "float64": np.float32, "int32": np.int32, "int64": np.int64, "uint8": np.uint8}
    kind = layer.word("dtype", "float32", kinds)
    if not isinstance(shape, list) or not shape or any(n is not None and (type(n) is not int or n < 1) for n in shape):
        raise layer.fault("shape is a list of sizes, null where any size will do")
    rank = len(shape)
    given = options.shapes.get(layer.name) or options.example(layer.name)
    free = {0: "batch"}
    for axis in range(1, rank):
        if shape[axis] is None:
            label = SPATIAL[axis - 2] if rank == 4 and axis > 1 else "length" if axis == 1 else f"axis{axis}"
            free[axis] = label if first else f"{layer.name}_{label}"
    if given is not None and len(given) == rank:
        sizes = list(given)
    else:
        sizes = [n or (1 if i == 0 else USUAL.get(rank - 2, 16)) for i, n in enumerate(shape)]
        if options.image_size is not None and rank == 4 and shape[2:] == [None, None]:
            sizes[2:] = options.image_size
    for axis, size in enumerate(shape):
        if axis and size is not None and sizes[axis] != size:
            raise layer.fault(f"an input of shape {sizes} where the architecture says {shape}")
    return graph.input(layer.name, sizes, kinds[kind], free)


def read(files: Sequence[File], options: Options) -> Graph:
    described = [file for file in files if _is_architecture(file)]
    if options.architecture is not None:
        described = [File.of(options.architecture)]
    stored = [file for file in files if not _is_architecture(file)]
    if not stored:
        raise InputError(f"{files[0].path}: the file of parameters is missing; give it, too")
    file = only(stored, "file of parameters")
    arrays = _arrays(file)
    if not described:
        raise InputError(
            f"{file.path}: {len(arrays)} arrays, and no layers: it cannot be converted without the architecture; "
            "describe it in a JSON file (--architecture FILE; docs/foreign-formats.md shows one)"
        )
    architecture = only(described, "architecture")
    layers, outputs = _layers(json_text.load(architecture), str(architecture.path))
    for name in options.outputs:
        if name not in layers:
            raise InputError(f"{architecture.path}: there is no layer named '{name[:80]}'")
    _assign(layers, _order(layers, outputs), arrays, str(file.path))
    graph = Graph(architecture.path.stem if architecture.path.stem != "architecture" else file.path.stem)
    build = Build(graph)
    values: dict[str, str] = {}
    outputs = list(options.outputs) or outputs
    for name in _order(layers, outputs):
        layer = layers[name]
        if layer.kind == "input":
            values[name] = _input(graph, layer, options, not graph.inputs)
        else:
            given = [values[i] for i in layer.incoming]
            several = layer.kind in ("concat", "elemwisesum", "elemwisemerge")
            if len(given) != 1 and not several:
                raise layer.fault(f"{len(given)} inputs instead of one")
            try:
                value = BUILDERS[layer.kind](build, layer, *given)
                if layer.kind == "batch_norm" and layer.options.get("nonlinearity") is not None:
                    value = build.activate(layer, value)
            except InputError as error:
                if f"layer '{layer.name[:80]}'" in str(error):
                    raise
                raise layer.fault(str(error)) from None
            values[name] = value
        if layer.kind not in DROPPED:
            layer.used.add("nonlinearity") if layers[name].normalised or layer.kind == "batch_norm" else None
            layer.finish()
    for name in outputs:
        graph.output(values[name], name)
    return graph
