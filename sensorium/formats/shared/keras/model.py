"""A model that Keras describes in JSON: its layers, how they are joined, and Keras 1's words in those of Keras 2."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.keras import layers, ops
from sensorium.formats.shared.keras.base import LAYERS, Dialect, Layer, Net, Value, flatten
from sensorium.formats.shared.keras.ops import lambdas
from sensorium.formats.shared.keras.ops.call import OPS, call
from sensorium.formats.shared.keras.weights import Layers, Weights
from sensorium.formats.shared.source import Options

MODELS = {"Sequential", "Functional", "Model"}
CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer"}
OURS = {"keras", "builtins", "tensorflow", "tf_keras", "keras_core"}
ARGUMENTS = {"mask", "training", "initial_state", "query", "value", "key", "attention_mask", "use_causal_mask",
             "return_attention_scores", "inputs", "count_weights", "reverse", "query_mask", "value_mask",
             "key_mask"}  # fmt: skip
ATTENTION = {"MultiHeadAttention", "GroupedQueryAttention"}
DEPTH = 30
COUNT = 20_000
STORED = {"__ellipsis__", "__tuple__", "__slice__", "__numpy__", "__tensor__"}
EXAMPLE = 48  # size of a free axis in the example
for _folder in (layers, ops):  # their modules fill LAYERS and OPS
    for _entry in pkgutil.iter_modules(_folder.__path__):
        importlib.import_module(f"{_folder.__name__}.{_entry.name}")

# Keras 1, to Keras 2

OLD_KINDS = {
    "Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D", "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D", "SeparableConvolution2D": "SeparableConv2D", "Deconvolution2D": "Conv2DTranspose",
    "InputLayer": "InputLayer",
}  # fmt: skip
OLD_KEYS = {
    "nb_filter": "filters", "border_mode": "padding", "subsample": "strides", "subsample_length": "strides",
    "dim_ordering": "data_format", "bias": "use_bias", "inner_activation": "recurrent_activation", "p": "rate",
    "atrous_rate": "dilation_rate", "pool_length": "pool_size", "filter_length": "kernel_size", "stride": "strides",
    "length": "size",
}  # fmt: skip
OLD_SIZES = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))
OLD_UNITS = {"Dense", "LSTM", "GRU", "SimpleRNN", "MaxoutDense", "TimeDistributedDense"}


def modern(kind: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A layer of Keras 1 in the words of Keras 2."""
    new = {key: value for key, value in config.items() if not re.fullmatch(r"[WUb]_(regularizer|constraint)", key)}
    for names in OLD_SIZES:
        if all(name in new for name in names):
            new["kernel_size"] = [new.pop(name) for name in names]
    for old, key in OLD_KEYS.items():
        if old in new and key not in new:
            new[key] = new.pop(old)
    if kind in OLD_UNITS and "output_dim" in new:
        new["units"] = new.pop("output_dim")
    if "data_format" in new:
        new["data_format"] = {"th": "channels_first", "tf": "channels_last"}.get(new["data_format"], new["data_format"])
    if kind == "Highway":
        new.pop("transform_bias", None)
    if kind == "TimeDistributedDense":
        kind = "Dense"
    return OLD_KINDS.get(kind, kind), new


def entries(value: Any) -> Iterator[dict[str, Any]]:
    """Every layer of a description, nested ones too, without recursion."""
    left = [value]
    while left:
        entry = left.pop()
        if isinstance(entry, list):
            left.extend(entry)
        elif isinstance(entry, dict):
            if "class_name" in entry and "config" in entry:
                yield entry
            left.extend(v for v in entry.values() if isinstance(v, (dict, list)))


def layers_of(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The layers of a model's description."""
    config = entry.get("config")
    found = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    if not isinstance(found, list) or not all(isinstance(e, dict) and "class_name" in e for e in found):
        raise InputError(f"the model '{str(entry.get('class_name'))[:60]}' does not describe its layers")
    return found


def name_of(entry: Mapping[str, Any], default: str = "") -> str:
    config = entry.get("config")
    inner = config.get("name") if isinstance(config, dict) else None
    return str(entry.get("name") or inner or default)


def _check(entry: Mapping[str, Any]) -> str:
    """The class of a layer, if it is one that is known.

    Raises:
        InputError: it would need code that is not ours.
    """
    kind, name = str(entry.get("class_name")), name_of(entry)
    module, registered = str(entry.get("module") or "keras"), entry.get("registered_name")
    if kind in CODE:
        raise InputError(f"layer '{name[:80]}' ({kind}): runs code from the file; shown, never run: refused")
    if module.split(".")[0] not in OURS:
        raise InputError(
            f"layer '{name[:80]}' ({kind[:60]}): the file asks for '{module[:60]}.{kind[:60]}', which is not Keras's: "
            "nothing named in a file is imported; refused"
        )
    if isinstance(registered, str) and ">" in registered and not registered.startswith(("keras>", "Keras>")):
        raise InputError(f"layer '{name[:80]}' ({kind[:60]}): a custom class ({registered[:60]}) is not known; refused")
    return kind


class Builder:
    """Builds the graph of a described model."""

    def __init__(self, graph: Graph, dialect: Dialect, options: Options, tensor_names: bool = False) -> None:
        self.net = Net(graph, dialect)
        self.net.apply = self.apply
        self.options, self.tensor_names = options, tensor_names
        self.depth, self.count = 0, 0
        self.users: dict[str, list[tuple[str, str]]] = {}  # of values with a mask: class and output of the layers
        self.wanted: list[tuple[str, int, int]] = []  # what the model ended in
        self.last = ""

    # One layer

    def apply(self, entry: Mapping[str, Any], weights: Weights, inputs: list[Value], extra: Mapping[str, Any]) -> Any:
        """The outputs of a layer or a model within the model."""
        kind, name = _check(entry), name_of(entry)
        self.count += 1
        if self.count > COUNT:
            raise InputError(f"more than {COUNT} layers")
        config = entry.get("config")
        module = str(entry.get("module") or "")
        if kind in MODELS or (isinstance(config, dict) and "layers" in config and "input_layers" in config):
            return self.model(entry, weights, inputs)
        if not isinstance(config, dict):
            raise InputError(f"layer '{name[:80]}' ({kind[:60]}): is not described")
        if self.net.dialect.version == 1 or "border_mode" in config or "output_dim" in config:
            kind, config = modern(kind, config)
        if module.startswith("keras.src.ops") or kind not in LAYERS:
            raise InputError(f"layer '{name[:80]}' ({kind[:60]}): layers of this class are not known")
        dtype = config.get("dtype")
        policy = str(dtype.get("config", dtype) if isinstance(dtype, dict) else dtype)
        if any(word in policy for word in ("int4", "int8_from", "float8", "gptq", "awq", "quantization_mode")):
            raise InputError(f"layer '{name[:80]}' ({kind[:60]}): quantised weights ({policy[:40]}) are not converted")
        if any(word in policy for word in ("float16", "float64")):
            note = "the source computes in float16 or float64, here it is float32"
            if note not in self.net.graph.notes:
                self.net.graph.notes.append(note)
        mask = extra.get("mask")
        if len(inputs) == 1 and isinstance(mask, Value) and inputs[0].mask is None:
            inputs = [Value(inputs[0].name, mask.name)]
        if self.net.dialect.version == 3:
            inputs = self._after_attention(kind, name, inputs)
        part = Layer(kind, name or kind, config, weights)
        if not inputs:
            raise part.fault("has no input")
        try:
            result = LAYERS[kind](self.net, part, inputs, extra)
        except InputError as error:
            text = str(error)
            raise error if f"'{part.name[:80]}'" in text else part.fault(text) from None
        part.finish()
        for value in inputs if self.net.dialect.version == 3 else ():
            if value.mask is not None:
                made = [v.name for v in flatten(result)]
                self.users.setdefault(value.name, []).append((kind, made[0]))
        unknown = set(extra) - ARGUMENTS
        if any(extra[key] not in (None, False) for key in unknown):
            raise part.fault(f"the argument '{min(unknown)[:40]}' is not known")
        return result

    def _after_attention(self, kind: str, name: str, inputs: list[Value]) -> list[Value]:
        """Keras 3 takes the mask off what it gives to MultiHeadAttention: who comes later sees none.

        Raises:
            InputError: neither of two layers must come first, so what Keras computes depends on its order.
        """
        found = []
        for value in inputs:
            for other, made in self.users.get(value.name, []) if value.mask is not None else []:
                if not ATTENTION & {kind, other}:
                    continue
                if not self._depends([v.name for v in inputs], made):
                    raise InputError(
                        f"layer '{name[:80]}' ({kind[:60]}): shares an input that has a mask with attention; which "
                        "of them sees the mask depends on the order of calls; this is not converted"
                    )
                if other in ATTENTION:
                    value = Value(value.name)
                    break
            found.append(value)
        return found

    def _depends(self, values: list[str], source: str) -> bool:
        makers = {name: node for node in self.net.graph.nodes for name in node.outputs}
        left, seen = list(values), set(values)
        while left:
            value = left.pop()
            if value == source:
                return True
            for name in makers[value].inputs if value in makers else ():
                if name not in seen:
                    seen.add(name)
                    left.append(name)
        return False

    # Models

    def model(self, entry: Mapping[str, Any], weights: Layers, inputs: list[Value] | None) -> Any:
        """The outputs of a model; of the whole one where `inputs` is None."""
        self.depth += 1
        if self.depth > DEPTH:
            raise InputError("models are nested too deeply")
        config = entry.get("config")
        functional = isinstance(config, dict) and "input_layers" in config
        result = self.functional(entry, weights, inputs) if functional else self.sequential(entry, weights, inputs)
        self.depth -= 1
        return result

    def _is_operation(self, entry: Mapping[str, Any]) -> bool:
        """Whether it is a function between the layers; HDF5 files do not say where a class is from."""
        if entry.get("class_name") in lambdas.KINDS:
            return True
        if "module" in entry or self.net.dialect.version < 3:
            return str(entry.get("module") or "").startswith("keras.src.ops")
        return entry.get("class_name") in OPS and "trainable" not in (entry.get("config") or {})

    def _weights(self, layers: Sequence[Mapping[str, Any]], weights: Layers) -> Mapping[str, Weights]:
        wanted = []
        for entry in layers:
            below = frozenset(name_of(e) for e in entries(entry.get("config")) if name_of(e))
            if self._is_operation(entry):
                continue
            wanted.append((name_of(entry), str(entry["class_name"]), below))
        return weights.layers(wanted)

    def sequential(self, entry: Mapping[str, Any], weights: Layers, inputs: list[Value] | None) -> Any:
        layers = [dict(e) for e in layers_of(entry)]
        for i, inner in enumerate(layers):
            if not name_of(inner):
                inner["name"] = f"{str(inner['class_name']).lower()}_{i + 1}"
        by_name = self._weights(layers, weights)
        if not layers:
            raise InputError("a Sequential model without layers")
        values: Any = inputs
        for inner in layers:
            if inner["class_name"] == "InputLayer":
                if values is None:
                    values = [self.input(inner, name_of(inner))]
                continue
            mine = by_name[name_of(inner)]
            if values is None:
                branches = inner["config"].get("layers") if isinstance(inner["config"], dict) else None
                if inner["class_name"] == "Merge" and isinstance(branches, list) and branches:
                    parts = self._weights(branches, mine)
                    values = [v for b in branches for v in flatten(self.model(b, parts[name_of(b)], None))]
                elif inner["class_name"] in MODELS:
                    values = list(flatten(self.model(inner, mine, None)))
                    continue
                else:
                    values = [self.input(inner, f"{name_of(inner)}_input", entry)]
            values = list(flatten(self.apply(inner, mine, values, {})))
        if values is None:
            raise InputError("a Sequential model without an input")
        self.last = name_of(layers[-1])
        return values[0] if len(values) == 1 else values

    def functional(self, entry: Mapping[str, Any], weights: Layers, inputs: list[Value] | None) -> Any:
        config = entry["config"]
        layers = {name_of(e): e for e in layers_of(entry)}
        by_name = self._weights(list(layers.values()), weights)
        known: dict[tuple[str, int, int], Value] = {}
        asked = list(_references(config["input_layers"]))
        if inputs is not None and len(inputs) != len(asked):
            raise InputError(f"the model '{name_of(entry)[:80]}' takes {len(asked)} inputs, not {len(inputs)}")
        for i, (name, _, _) in enumerate(asked):
            if name not in layers:
                raise InputError(f"the input '{name[:80]}' is not among the layers")
            known[name, 0, 0] = inputs[i] if inputs is not None else self.input(layers[name], name)
        wanted = list(_references(config["output_layers"]))
        if not wanted:
            raise InputError(f"the model '{name_of(entry)[:80]}' has no outputs")
        calls: dict[tuple[str, int], tuple[Any, Mapping[str, Any]]] = {}
        for name, inner in layers.items():
            nodes = inner.get("inbound_nodes", [])
            if not isinstance(nodes, list):
                raise InputError(f"layer '{name[:80]}': how it is called is not described")
            for i, node in enumerate(nodes):
                calls[name, i] = _call(node, inner.get("class_name") in lambdas.KINDS)

        def ready(reference: tuple[str, int, int]) -> bool:
            return reference in known

        left = [(name, node) for name, node, _ in wanted]
        active: set[tuple[str, int]] = set()
        while left:
            name, node = left[-1]
            if ready((name, node, 0)):
                left.pop()
                continue
            if (name, node) not in calls:
                raise InputError(f"the layer '{name[:80]}' is asked for, but not called (call {node})")
            args, kwargs = calls[name, node]
            missing = [(n, k) for n, k, t in _references([args, kwargs]) if not ready((n, k, 0))]
            if missing:
                if (name, node) in active:
                    raise InputError(f"the layer '{name[:80]}' takes its own output: a cycle")
                active.add((name, node))
                left.extend(missing)
                continue
            left.pop()
            given, extra = _resolved(args, known), _resolved(kwargs, known)
            if self._is_operation(layers[name]):
                made = self.operation(layers[name], given, extra)
                for i, value in enumerate([made] if isinstance(made, str) else made):
                    known[name, node, i] = Value(value)
                continue
            values = list(flatten(given))
            for key in ("inputs", "sequence", "input"):
                if isinstance(extra.get(key), (Value, list)):
                    values += list(flatten(extra.pop(key)))
            if isinstance(extra.get("query"), Value):
                values.insert(0, extra.pop("query"))
            result = self.apply(layers[name], by_name[name], values, extra)
            for i, value in enumerate(flatten(result)):
                known[name, node, i] = value
        for reference in wanted:
            if not ready(reference):
                raise InputError(f"layer '{reference[0][:80]}' has no output number {reference[2]}")
        outputs = [known[reference] for reference in wanted]
        self.wanted = wanted
        return outputs[0] if len(outputs) == 1 else outputs

    def operation(self, entry: Mapping[str, Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        """The names of what a function of `keras.ops` between the layers gives."""
        config = entry.get("config")
        kind = str(entry.get("class_name"))
        try:
            given = args if isinstance(args, list) else [args]
            if kind in lambdas.KINDS:
                _check(entry)
                told = str(config.get("function")) if isinstance(config, dict) else ""
                if told.split(".")[-1] in ("concat", "stack", "add_n"):
                    given = [given]
                return lambdas.function(self.net, told, given, kwargs)
            return call(self.net, kind, given, kwargs, config if isinstance(config, dict) else {})
        except InputError as error:
            raise InputError(f"layer '{name_of(entry)[:80]}' ({kind[:60]}): {error}") from None

    # Ends

    def input(self, entry: Mapping[str, Any], name: str, model: Mapping[str, Any] | None = None) -> Value:
        """An input of the whole model."""
        config = entry["config"] if isinstance(entry.get("config"), dict) else {}
        shape = config.get("batch_input_shape") or config.get("batch_shape")
        if shape is None:
            build = entry.get("build_config") or (
                model["config"] if model and isinstance(model["config"], dict) else {}
            )
            shape = build.get("input_shape") or build.get("build_input_shape") if isinstance(build, dict) else None
        if shape is None and isinstance(config.get("input_shape"), list):
            shape = [None, *config["input_shape"]]
        if shape is None and isinstance(config.get("input_dim"), int) and entry["class_name"] == "Dense":
            shape = [None, config["input_dim"]]
        told = self.options.shapes.get(name)
        if told is not None:
            shape = [None, *told[1:]]
        if not isinstance(shape, list) or not shape:
            raise InputError(f"the shape of the input '{name[:80]}' is not in the file; name it with --shape")
        if any(s is not None and not isinstance(s, int) for s in shape):
            raise InputError(f"the input '{name[:80]}' has no shape that is known: {str(shape)[:60]}")
        dtype = (
            config.get("dtype")
            if entry["class_name"] == "InputLayer"
            else config.get("input_dtype", config.get("dtype"))
        )
        if entry["class_name"] == "Embedding":
            dtype = "int32"
        kind = {"int32": np.int32, "int64": np.int64, "uint8": np.uint8, "bool": np.bool_, "int8": np.int8,
                "int16": np.int16}.get(str(dtype), np.float32)  # fmt: skip
        if str(dtype) == "string":
            raise InputError(f"the input '{name[:80]}' takes texts; this is not converted")
        names = {4: {1: "height", 2: "width"}, 3: {1: "length"}, 2: {1: "length"}}.get(len(shape), {})
        only = not self.net.graph.inputs
        free = {0: "batch"}
        for axis, size in enumerate(shape[1:], 1):
            if size is None:
                hint = names.get(axis, f"axis_{axis}")
                free[axis] = hint if only else f"{name}_{hint}"
                self.net.dialect.free = True
        sizes = [1 if a == 0 else EXAMPLE if s is None else s for a, s in enumerate(shape)]
        if self.options.image_size and len(shape) == 4:
            first = shape[1] in (1, 3) and shape[3] not in (1, 3)
            for axis, size in zip((2, 3) if first else (1, 2), self.options.image_size):
                sizes[axis] = size if shape[axis] is None else sizes[axis]
        return Value(self.net.graph.input(name, sizes, kind, free))

    def whole(self, entry: Mapping[str, Any], weights: Layers) -> None:
        """Build the model and name its outputs."""
        if str(entry.get("class_name")) not in MODELS and "layers" not in (entry.get("config") or {}):
            _check(entry)
            raise InputError(f"'{str(entry.get('class_name'))[:60]}' is not a model whose layers are described")
        values = list(flatten(self.model(entry, weights, None)))
        functional = isinstance(entry["config"], dict) and "input_layers" in entry["config"]
        names = [n for n, _, _ in self.wanted] if functional else [self.last] * len(values)
        used: dict[str, int] = {}
        for value, name in zip(values, names):
            count = used[name] = used.get(name, -1) + 1
            name = f"{name}/{name}" if self.tensor_names else name
            if count:
                name = f"{name}_{count}"
                while name in names:  # another layer's: the second 'lstm' is 'lstm_1'
                    name += "_"
            self.net.graph.output(value.name, name)


def _is_reference(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 3
        and isinstance(value[0], str)
        and value[0] != "_CONSTANT_VALUE"
        and all(isinstance(v, int) and not isinstance(v, bool) for v in value[1:3])
    )


def _references(tree: Any) -> Iterator[tuple[str, int, int]]:
    """The (layer, call, output) in a structure, in Keras's order."""
    if _is_reference(tree):
        yield tree[0], tree[1], tree[2]
    elif isinstance(tree, list):
        for item in tree:
            yield from _references(item)
    elif isinstance(tree, dict):
        if tree.get("class_name") == "__keras_tensor__":
            history = tree["config"]["keras_history"]
            yield str(history[0]), int(history[1]), int(history[2])
        else:
            for key in sorted(tree):
                yield from _references(tree[key])


def _resolved(tree: Any, known: Mapping[tuple[str, int, int], Value]) -> Any:
    if _is_reference(tree):
        return _known(known, (tree[0], tree[1], tree[2]))
    if isinstance(tree, list):
        return [_resolved(item, known) for item in tree]
    if isinstance(tree, dict):
        if tree.get("class_name") == "__keras_tensor__":
            name, node, index = tree["config"]["keras_history"]
            value = _known(known, (str(name), int(node), int(index)))
            shape = tree["config"].get("shape")
            return replace(value, sizes=tuple(shape)) if isinstance(shape, list) else value
        if tree.get("class_name") in STORED and isinstance(tree.get("config"), (dict, list)):
            return _stored(str(tree["class_name"]), tree["config"], known)
        return {key: _resolved(value, known) for key, value in tree.items()}
    return tree


def _stored(kind: str, config: Any, known: Mapping[tuple[str, int, int], Value]) -> Any:
    """What Keras 3 writes of an argument that is neither a value nor a number."""
    if kind == "__ellipsis__":
        return ...
    if kind == "__tuple__":
        return _resolved(config, known)
    if not isinstance(config, dict):
        raise InputError(f"an argument of the kind {kind} is not described")
    if kind == "__slice__":
        return slice(*(_resolved(config.get(key), known) for key in ("start", "stop", "step")))
    try:
        return np.asarray(config.get("value"), str(config.get("dtype", "float32")).replace("bfloat16", "float32"))
    except (TypeError, ValueError):
        raise InputError("a stored array is not one") from None


def _known(known: Mapping[tuple[str, int, int], Value], reference: tuple[str, int, int]) -> Value:
    if reference not in known:
        raise InputError(f"layer '{reference[0][:80]}' has no output number {reference[2]}")
    return known[reference]


def _call(node: Any, constants: bool = False) -> tuple[Any, dict[str, Any]]:
    """Arguments and named arguments of one call of a layer, which may be called with stored constants."""
    if isinstance(node, dict):  # Keras 3
        args, kwargs = node.get("args", []), node.get("kwargs", {})
        return args, dict(kwargs) if isinstance(kwargs, dict) else {}
    alone = isinstance(node, list) and bool(node) and isinstance(node[0], str)
    items = [node] if alone else node
    found: list[Any] = []
    named: dict[str, Any] = {}
    if isinstance(items, dict):
        items = [items[key] for key in sorted(items)]
    for item in items if isinstance(items, list) else []:
        if isinstance(item, list) and len(item) > 2 and item[0] == "_CONSTANT_VALUE":
            if not constants:
                raise InputError("a layer is called with a stored constant; this is not converted")
            found.append(item[2])
            named.update(item[3] if len(item) > 3 and isinstance(item[3], dict) else {})
            continue
        if not _is_reference(item):
            raise InputError(f"a layer is called with {str(item)[:60]}; this is not known")
        found.append(item[:3])
        if len(item) > 3 and isinstance(item[3], dict):
            named.update(item[3])
    return found, named
