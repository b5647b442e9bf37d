"""From symbol and arrays to the graph; and the shapes of inputs, of which the files say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.mxnet import (
    arithmetic,
    boxes,
    constants,
    layers,
    pictures,
    places,
    recurrent,
    regions,
    sequences,
    shapes,
    slices,
)
from sensorium.formats.mxnet.call import OPERATORS, Call, Misfit
from sensorium.formats.mxnet.symbol import Node, Symbol
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.source import Options

# Each enters its operators into the table.
__all__ = ["arithmetic", "boxes", "build", "constants", "layers", "outputs_of", "pictures", "places", "read_graph",
    "regions", "sequences", "shapes", "slices"]  # fmt: skip

# Operators whose inputs from this one on are parameters, and must be in the file.
PARAMETERS = {"Convolution": 1, "Convolution_v1": 1, "Deconvolution": 1, "FullyConnected": 1, "BatchNorm": 1,
    "BatchNorm_v1": 1, "CuDNNBatchNorm": 1, "_contrib_SyncBatchNorm": 1, "InstanceNorm": 1, "LayerNorm": 1,
    "GroupNorm": 1, "Embedding": 1, "_npx_convolution": 1, "_npx_deconvolution": 1, "_npx_fully_connected": 1,
    "_npx_batch_norm": 1, "_npx_layer_norm": 1, "_npx_group_norm": 1, "_npx_embedding": 1,
    "_rnn_param_concat": 0}  # fmt: skip
STATES = ("output", "state_output", "statecell_output")
SIZES = 2048  # the largest side or length that is tried
USUAL = 224


@dataclass(frozen=True)
class Guess:
    """A shape of an input: None is the side or length to be found; the names of free axes."""

    shape: tuple[int | None, ...]
    free: dict[int, str]

    def of(self, size: int) -> tuple[int, ...]:
        return tuple(size if n is None else n for n in self.shape)


def output_names(node: Node, count: int) -> list[str]:
    """What MXNet calls the outputs of a node."""
    if node.op == "null":
        return [node.name]
    # These make a second output that is not shown.
    numbered = node.op == "sort" or (node.op == "topk" and node.attributes.get("ret_typ") == "value")
    if count == 1 and not numbered:
        return [f"{node.name}_output"]
    if node.op in ("RNN", "_npx_rnn"):
        return [f"{node.name}_{end}" for end in STATES[:count]]
    return [f"{node.name}_output{i}" for i in range(count)]


def outputs_of(symbol: Symbol, wanted: Sequence[str]) -> list[tuple[int, int]]:
    """The outputs asked for, by the name of an output or of its node; the symbol's own where none are.

    Raises:
        InputError: there is none of that name.
    """
    found = []
    for name in wanted:
        for number, node in enumerate(symbol.nodes):
            if node.op == "null":
                continue
            names = [node.name, *output_names(node, 1), *(f"{node.name}_output{i}" for i in range(64))]
            names += [f"{node.name}_{end}" for end in STATES[1:]]
            if name in names:
                place = names.index(name)
                found.append((number, 0 if place < 2 else place - 2 if place < 66 else place - 65))
                break
        else:
            raise InputError(f"{symbol.where}: there is no output named '{name[:80]}'")
    return found or symbol.heads


def build(
    symbol: Symbol,
    heads: Sequence[tuple[int, int]],
    arrays: Mapping[str, np.ndarray],
    inputs: Mapping[str, tuple[tuple[int, ...], dict[int, str]]],
) -> Graph:
    """The graph for inputs of these shapes.

    Raises:
        Misfit: an input of another size is needed.
        InputError: an operator is not known or its parameters are not possible: says which layer.
    """
    graph = Graph(_name(symbol))
    values: dict[int, tuple[str, ...]] = {}
    stored: dict[str, str] = {}

    def parameter(name: str) -> str:
        if name not in stored:
            array = arrays[name]
            if array.dtype.kind == "f" and array.dtype != np.float32:
                array = array.astype(np.float32)
            stored[name] = graph.constant(array, name)
        return stored[name]

    order = symbol.order(list(heads))
    for index in order:
        node = symbol.nodes[index]
        if node.op == "null" and node.name in inputs and node.name not in stored:
            shape, free = inputs[node.name]
            stored[node.name] = graph.input(node.name, shape, np.float32, free)
    for index in order:
        node = symbol.nodes[index]
        if node.op == "null":
            values[index] = (stored.get(node.name) or parameter(node.name),)
            continue
        given = []
        for source, output in symbol.used(node):
            if output >= len(values[source]):
                before = symbol.nodes[source].name
                raise InputError(f"{symbol.where}: layer '{node.name}' ({node.op}): '{before}' has no output {output}")
            given.append(values[source][output])

        def extra(ending: str, node: Node = node) -> str:
            name = f"{node.name}_{ending}"
            if name not in arrays:
                raise InputError(f"layer '{node.name}' ({node.op}): no parameter '{name}' in the .params file")
            return parameter(name)

        call = Call(graph, node.op, node.name, given, node.attributes, extra)
        function = OPERATORS.get(node.op)
        if function is None:
            raise call.fault(f"the operator {node.op[:60]} is not supported")
        try:
            found = function(call)
        except Misfit:
            raise
        except InputError as error:
            if f"layer '{node.name[:100]}'" in str(error):
                raise
            raise call.fault(str(error)) from None
        except (IndexError, ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
            raise call.fault(f"its parameters do not fit its inputs ({' '.join(str(error).split())[:100]})") from None
        call.finish()
        values[index] = (found,) if isinstance(found, str) else found
    for index, output in heads:
        if output >= len(values[index]):
            raise InputError(f"{symbol.where}: '{symbol.nodes[index].name}' has no output {output}")
        name = output_names(symbol.nodes[index], len(values[index]))[output]
        graph.output(values[index][output], name)
    return graph


def _name(symbol: Symbol) -> str:
    return symbol.where.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".json").removesuffix("-symbol") or "model"


def read_graph(symbol: Symbol, arrays: Mapping[str, np.ndarray], options: Options, source: str) -> Graph:
    """Build the graph; shapes of inputs that nobody gave follow from the parameters, and are tried.

    Raises:
        InputError: a parameter is missing, an operator not known, or no shape fits.
    """
    heads = outputs_of(symbol, options.outputs)
    order = symbol.order(heads)
    names = _inputs(symbol, order, arrays, source)
    unknown = [name for name in options.shapes if name not in names]
    if unknown:
        raise InputError(f"there is no input '{unknown[0][:80]}'; there is {', '.join(names)[:200]}")
    for index in order:  # before shapes are tried
        node = symbol.nodes[index]
        if node.op != "null" and node.op not in OPERATORS:
            kind = node.op[:60]
            raise InputError(f"{symbol.where}: layer '{node.name[:100]}' ({kind}): the operator {kind} is unsupported")
    fault: InputError | None = None
    for guesses in _guesses(symbol, order, names, arrays, options):
        try:
            graph = _fit(symbol, heads, arrays, names, guesses, options.image_size)
            return graph
        except InputError as error:
            fault = fault or error
    if fault is not None and any(name not in options.shapes for name in names):
        raise InputError(
            f"{fault} (if an input has another shape than was tried, name it: --shape {names[0]}=1,3,224,224)"
        )
    raise fault or InputError(f"{symbol.where}: nothing leads from an input to an output")


def _fit(
    symbol: Symbol,
    heads: Sequence[tuple[int, int]],
    arrays: Mapping[str, np.ndarray],
    names: Sequence[str],
    guesses: Mapping[str, Guess],
    image_size: tuple[int, int] | None,
) -> Graph:
    """Build with the usual size; where a layer needs less or more, search for the size between."""
    tried: dict[int, Graph | Misfit] = {}

    def attempt(size: int) -> Graph | Misfit:
        if size not in tried:
            shapes = {}
            for name in names:
                guess = guesses[name]
                shape = guess.of(size)
                if image_size is not None and len(shape) == 4 and guess.shape[2:] == (None, None):
                    shape = (*shape[:2], *image_size)
                shapes[name] = (shape, guess.free)
            try:
                tried[size] = build(symbol, heads, arrays, shapes)
            except Misfit as error:
                tried[size] = error
        return tried[size]

    found = attempt(USUAL)
    open_size = any(None in guesses[name].shape for name in names)
    if isinstance(found, Graph):
        return found
    if image_size is not None or not open_size:
        raise found
    low, high = (1, USUAL) if found.got > found.needed else (USUAL, SIZES)
    first = found
    while low <= high:
        middle = (low + high) // 2
        found = attempt(middle)
        if isinstance(found, Graph):
            break
        if found.got == first.got:
            break  # not what follows from the size
        if found.got > found.needed:
            high = middle - 1
        else:
            low = middle + 1
    if not isinstance(found, Graph):
        raise first
    # Several sizes may fit: the roundest of those near is what people use.
    best = middle
    for step in (32, 16, 8, 4, 2):
        near = round(middle / step) * step
        if near > 0 and abs(near - middle) < 32:
            other = attempt(near)
            if isinstance(other, Graph):
                best = near
                break
    result = tried[best]
    assert isinstance(result, Graph)
    result.notes.append(f"its parameters fit an input with a side or length of {best} (and perhaps others near it)")
    return result


def _inputs(symbol: Symbol, order: Sequence[int], arrays: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Variables that are not in the file: inputs, unless they are where a parameter belongs."""
    missing: dict[str, str] = {}
    for index in order:
        node = symbol.nodes[index]
        first = PARAMETERS.get(node.op)
        if node.op == "RNN":
            first = 1
        if first is None:
            continue
        last = first + 1 if node.op == "RNN" else None
        for place, _ in symbol.used(node)[first:last]:
            variable = symbol.nodes[place]
            if variable.op == "null" and variable.name not in arrays:
                missing.setdefault(variable.name, node.name)
    if missing:
        name, layer = next(iter(missing.items()))
        if not arrays:
            raise InputError(f"{symbol.where}: the .params file with the weights is missing; give it, too")
        raise InputError(
            f"{source}: no parameter '{name[:80]}' (layer '{layer[:80]}'), {len(missing)} missing in all: "
            "these parameters are of another model"
        )
    names = [symbol.nodes[i].name for i in order if symbol.nodes[i].op == "null"]
    found = [name for name in dict.fromkeys(names) if name not in arrays]
    return sorted(found, key=[n.name for n in symbol.nodes].index)


# Shapes of inputs

THROUGH = frozenset({"Activation", "LeakyReLU", "Dropout", "BlockGrad", "identity", "_copy", "Cast", "clip", "relu",
    "_mul_scalar", "_plus_scalar", "_minus_scalar", "_div_scalar", "_MulScalar", "_PlusScalar", "_MinusScalar",
    "_DivScalar", "Pooling", "sigmoid", "tanh", "elemwise_add", "elemwise_mul", "elemwise_sub", "LRN", "Pad",
    "_npx_relu", "_npx_activation", "_npx_dropout", "L2Normalization", "BatchNorm", "amp_cast",
    "_rminus_scalar", "InstanceNorm", "_npx_batch_norm", "_npx_pooling", "broadcast_sub", "broadcast_div",
    "broadcast_mul", "broadcast_add"})  # fmt: skip
PICTURE = {0: "batch", 2: "height", 3: "width"}


def _guesses(
    symbol: Symbol, order: Sequence[int], names: Sequence[str], arrays: Mapping[str, np.ndarray], options: Options
) -> Iterator[dict[str, Guess]]:
    """Shapes to try, the surest first: what was given, what the file says, what the first layers need."""
    consumers: dict[int, list[int]] = {}
    for index in order:
        for source, _ in symbol.used(symbol.nodes[index]):
            consumers.setdefault(source, []).append(index)
    surest: dict[str, list[Guess]] = {}
    for number, name in enumerate(names):
        index = next(i for i in order if symbol.nodes[i].op == "null" and symbol.nodes[i].name == name)
        known = _needed(symbol, index, consumers, arrays)
        given = options.shapes.get(name) or options.example(name) or _noted(symbol.nodes[index])
        if given is not None:
            alike = [g.free for g in known if len(g.shape) == len(given)]
            free = alike[0] if alike else PICTURE if len(given) == 4 else {0: "batch"}
            known = [Guess(tuple(given), free)]
        surest[name] = [_renamed(g, name) if number else g for g in known]
    for i in range(max((len(g) for g in surest.values()), default=1)):
        yield {name: found[min(i, len(found) - 1)] for name, found in surest.items()}


def _renamed(guess: Guess, name: str) -> Guess:
    """Further inputs share the batch only."""
    return Guess(guess.shape, {k: v if v == "batch" else f"{name}_{v}" for k, v in guess.free.items()})


def _noted(node: Node) -> tuple[int, ...] | None:
    """The shape that the symbol notes of a variable, if it is a whole one."""
    text = node.attributes.get("__shape__", "")
    parts = text.strip("()[] ").split(",")
    sizes = [int(p) for p in parts if p.strip().isdigit()]
    return tuple(sizes) if sizes and min(sizes) > 0 and len(sizes) == len([p for p in parts if p.strip()]) else None


def _needed(
    symbol: Symbol, start: int, consumers: Mapping[int, Sequence[int]], arrays: Mapping[str, np.ndarray]
) -> list[Guess]:
    """What the first layers that have parameters say of the shape of an input."""
    seen = {start}
    queue: list[tuple[int, tuple[int, int] | None]] = [(start, None)]
    rank4 = False
    channels = 0
    for index, swapped in queue:
        for at in consumers.get(index, ()):
            node = symbol.nodes[at]
            sources = [s for s, _ in symbol.used(node)]
            place = sources.index(index)
            found = _layer(symbol, node, place, sources, arrays)
            if found is not None:
                if swapped is not None and max(swapped) < len(found.shape):
                    a, b = swapped
                    turn = {a: b, b: a}
                    shape = [found.shape[turn.get(i, i)] for i in range(len(found.shape))]
                    found = Guess(tuple(shape), {turn.get(k, k): v for k, v in found.free.items()})
                return [found]
            rank4 = rank4 or node.op in ("LRN", "UpSampling", "L2Normalization", "InstanceNorm", "ROIPooling")
            rank4 = rank4 or (node.op == "Pad" and node.attributes.get("pad_width", "").count(",") >= 7)
            rank4 = rank4 or (
                node.op in ("Pooling", "_npx_pooling") and node.attributes.get("kernel", "").count(",") == 1
            )
            if node.op in ("BatchNorm", "_npx_batch_norm") and len(sources) > 1 and not channels:
                array = arrays.get(symbol.nodes[sources[1]].name)
                channels = len(array) if array is not None and array.ndim == 1 else 0
            if node.op in ("SwapAxis", "swapaxes") and swapped is None and at not in seen:
                dims = [node.attributes.get(k, "0") for k in ("dim1", "dim2")]
                if all(d.isdigit() for d in dims):
                    seen.add(at)
                    queue.append((at, (int(dims[0]), int(dims[1]))))
            elif node.op in THROUGH and at not in seen and len(seen) < 300:
                seen.add(at)
                queue.append((at, swapped))
    counts = [channels] if channels else [3, 1, 4, 8, 16, 32, 64]
    pictures = [Guess((1, c, None, None), PICTURE if channels else {1: "channels", **PICTURE}) for c in counts]
    rows = [Guess((1, c), {0: "batch"}) for c in counts] if channels else [Guess((1, None), {0: "batch", 1: "length"})]
    long = [Guess((1, c, None), {0: "batch", 2: "length"}) for c in counts[:2]]
    return pictures if rank4 else [*pictures, *rows, *long]


def _layer(
    symbol: Symbol, node: Node, place: int, sources: Sequence[int], arrays: Mapping[str, np.ndarray]
) -> Guess | None:
    """The input that a layer with parameters takes."""
    if node.op in ("RNN", "_npx_rnn"):
        return _sequence(node, place, symbol, sources, arrays)
    if place != 0 or len(sources) < 2:
        return None
    weight = arrays.get(symbol.nodes[sources[1]].name)
    if weight is None or weight.ndim < 2:
        return None
    if node.op in ("Convolution", "Convolution_v1", "_npx_convolution", "Deconvolution", "_npx_deconvolution"):
        spatial = weight.ndim - 2
        groups = node.attributes.get("num_group", "1")
        count = weight.shape[1] * (int(groups) if groups.isdigit() else 1)
        count = weight.shape[0] if "econvolution" in node.op else count
        names = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}.get(spatial, ())
        if node.attributes.get("layout", "").endswith("C"):
            shape: tuple[int | None, ...] = (1, *[None] * spatial, weight.shape[-1])
            return Guess(shape, {0: "batch", **{i + 1: n for i, n in enumerate(names)}})
        return Guess((1, count, *[None] * spatial), {0: "batch", **{i + 2: n for i, n in enumerate(names)}})
    if node.op in ("FullyConnected", "_npx_fully_connected"):
        if node.attributes.get("flatten", "True") in ("False", "0"):
            return Guess((1, None, weight.shape[1]), {0: "batch", 1: "time"})
        return Guess((1, int(np.prod(weight.shape[1:]))), {0: "batch"})
    return None


def _sequence(
    node: Node, place: int, symbol: Symbol, sources: Sequence[int], arrays: Mapping[str, np.ndarray]
) -> Guess | None:
    try:
        hidden, count = int(node.attributes["state_size"]), int(node.attributes["num_layers"])
        directions = 2 if node.attributes.get("bidirectional", "False") in ("True", "1") else 1
    except (KeyError, ValueError):
        return None
    if place > 1:
        return Guess((count * directions, 1, hidden), {1: "batch"})
    row = arrays.get(symbol.nodes[sources[1]].name)
    length = row.size if row is not None else 0
    if row is None:  # joined from parts
        joined = symbol.nodes[sources[1]]
        parts = [arrays.get(_variable(symbol, s).name) for s, _ in joined.inputs]
        length = sum(p.size for p in parts if p is not None)
    mode = node.attributes.get("mode", "")
    width = recurrent.input_size(length, mode, hidden, count, directions) if mode in recurrent.GATES else 0
    return Guess((None, 1, width), {0: "time", 1: "batch"}) if width > 0 and place == 0 else None


def _variable(symbol: Symbol, index: int) -> Node:
    """The variable that a chain of reshapes begins with."""
    for _ in range(8):
        node = symbol.nodes[index]
        if node.op == "null" or not node.inputs:
            return node
        index = node.inputs[0][0]
    return symbol.nodes[index]
