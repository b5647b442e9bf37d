"""Layers of Keras that make places and rows of numbers: encodings, bins, look-ups."""

from __future__ import annotations

import numpy as np

from sensorium.formats.shared.keras.base import Layer, Net, Value, layer
from sensorium.formats.shared.keras.layers.inputs import Extra, one


@layer("CategoryEncoding")
def _category(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    tokens = part.positive("num_tokens")
    mode = part.choice("output_mode", "multi_hot", "one_hot", "multi_hot", "count")
    weights = extra.get("count_weights", inputs[1] if len(inputs) > 1 else None)
    given = weights.name if isinstance(weights, Value) else None
    return _encoded(net, net.op("Cast", inputs[0].name, to=7), mode, tokens, given)


def _encoded(net: Net, indices: str, mode: str, tokens: int, weights: str | None = None) -> Value:
    """Numbers as rows of as many places: one each, or those of a row together or counted."""
    values = net.graph.constant(np.array([0, 1], np.float32), "off_on")
    hot = net.op("OneHot", indices, net.ints([tokens]), values, axis=-1)
    rank = net.rank(indices)
    if mode == "one_hot":
        if rank > 1 and net.size(indices, rank - 1) == 1:
            hot = net.op("Squeeze", hot, net.ints([rank - 1]))
        return Value(hot)
    if rank == 1:
        return Value(hot)
    if mode == "count" and weights is not None:
        hot = net.op("Mul", hot, net.op("Unsqueeze", net.real(weights), net.ints([-1])))
    return Value(net.op("ReduceMax" if mode == "multi_hot" else "ReduceSum", hot, net.ints([rank - 1]), keepdims=0))


@layer("Discretization")
def _discretization(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    x = one(part, inputs)
    part.used.update(("num_bins", "epsilon"))
    bounds = part.get("bin_boundaries")
    if not isinstance(bounds, list) or not bounds:
        raise part.fault("has no bin_boundaries")
    spread = net.op("Unsqueeze", net.real(x.name), net.ints([-1]))
    above = net.op("GreaterOrEqual", spread, net.array(bounds))
    bins = net.op("ReduceSum", net.op("Cast", above, to=7), net.ints([-1]), keepdims=0)
    mode = part.choice("output_mode", "int", "int", "one_hot", "multi_hot", "count")
    if mode != "int":
        return _encoded(net, bins, mode, len(bounds) + 1)
    return Value(net.op("Cast", bins, to=7 if net.dialect.version < 3 else 6))


@layer("IntegerLookup")
def _integer_lookup(net: Net, part: Layer, inputs: list[Value], extra: Extra) -> Value:
    """Places in a list of whole numbers: the mask's first, then those of what is not in it."""
    x = one(part, inputs)
    vocabulary, mask = part.get("vocabulary"), part.get("mask_token")
    part.used.update(
        ("max_tokens", "vocabulary_dtype", "vocabulary_size", "oov_token", "encoding", "idf_weights", "salt")
    )
    if isinstance(vocabulary, dict):
        vocabulary = vocabulary.get("config", {}).get("value") if isinstance(vocabulary.get("config"), dict) else None
    if not isinstance(vocabulary, list) or not vocabulary or not all(isinstance(v, int) for v in vocabulary):
        raise part.fault("its vocabulary is not in the file's description; this is not converted")
    others = part.whole("num_oov_indices", 1)
    hashed = part.get("oov_method", "floormod") != "floormod" and others > 1
    if part.get("invert") or hashed or (others and part.config.get("vocabulary_dtype", "int64") != "int64"):
        raise part.fault("hashes of unknown numbers, or the way back, are not converted")
    mode = part.choice("output_mode", "int", "int", "one_hot", "multi_hot", "count", "tf_idf")
    start = others + (mask is not None and mode == "int")
    depth = start + len(vocabulary)
    value = net.op("Cast", x.name, to=7)

    def number(n: int) -> str:
        return net.graph.constant(np.array(n, np.int64), "number")

    places = net.graph.constant(np.arange(start, depth, dtype=np.int64), "places")
    same = net.op("Equal", net.op("Unsqueeze", value, net.ints([-1])), net.ints(vocabulary))
    found = net.op("ReduceMax", net.where(same, places, number(-1)), net.ints([-1]), keepdims=0)
    unknown = number(start - 1 if others else -1)
    if others > 1:  # spread over their places by what is left of a division
        unknown = net.op("Add", net.op("Mod", value, number(others)), number(start - others))
    found = net.where(net.op("Less", found, number(0)), unknown, found)
    if mask is not None:  # outside of all rows where it has no place of its own
        given = net.op("Equal", value, number(int(mask)))
        found = net.where(given, number(0 if mode == "int" else 1 << 31), found)
    width = part.config.get("max_tokens") if part.flag("pad_to_max_tokens") else None
    if mode != "tf_idf":
        return Value(found) if mode == "int" else _encoded(net, found, mode, width or depth)
    weights = part.get("idf_weights")
    weights = weights.get("config", {}).get("value") if isinstance(weights, dict) else weights
    if not isinstance(weights, list) or len(weights) != len(vocabulary):
        raise part.fault("its idf_weights do not fit its vocabulary")
    row = np.pad(np.array(weights, np.float32), (others, (width or depth) - depth))
    row[:others] = np.mean(weights)  # of what is not known
    return Value(net.op("Mul", _encoded(net, found, "count", width or depth).name, net.array(row)))
