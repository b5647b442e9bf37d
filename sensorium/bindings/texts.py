"""Which inputs of a converted network take the tokens of a text, and how long it has to be."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium.bindings.shared import Binding, Told, length
from sensorium.formats import Graph
from sensorium.formats.shared.graph import Input
from sensorium.media import vocabulary
from sensorium.media.encoder import Encoder

# What a word in an input's name says it takes; what none of them fits takes the tokens.
ROLES = (("attention_mask", ("mask",)), ("token_type_ids", ("segment", "type")), ("lengths", ("len",)))
LONGEST = 8  # tokens of the made-up text


def role(name: str) -> str:
    return next((role for role, words in ROLES if any(word in name.lower() for word in words)), "input_ids")


def bind(graph: Graph, told: Told, found: Binding) -> list[str]:
    """The inputs that take a text, by name; empty where there is not one for its tokens."""
    entries: dict[str, list[Input]] = {}
    for entry in graph.inputs:
        kind = role(entry.name)
        if entry.dtype != np.bool_ and len(entry.shape) == (1 if kind == "lengths" else 2):
            entries.setdefault(kind, []).append(entry)
    if len(entries.get("input_ids", ())) != 1 or any(len(several) > 1 for several in entries.values()):
        listed = ", ".join(f"{i.name} {list(i.shape)}" for i in graph.inputs)
        found.missing.append(f"one input that takes the numbers of tokens; this network has {listed}")
        entries = {}
    if told.tokenizer is None:
        found.missing.append("what makes tokens of a text: --tokenizer FOLDER, tokenizer.json or a vocabulary")
    if not entries or told.tokenizer is None:
        return [several[0].name for several in entries.values()]
    found.files = vocabulary.load(told.tokenizer)
    settings: dict[str, Any] = found.files["tokenizer_config.json"]
    if told.padding is not None:
        settings |= {"padding_side": told.padding, "truncation_side": told.padding}
    side = str(settings.get("padding_side", "right"))
    fixed = length(graph, entries["input_ids"][0], 1, told)
    if fixed is not None:
        settings["model_max_length"] = min(fixed, int(settings.get("model_max_length") or fixed))
    prepared = [name for name in entries if name != "lengths"]
    settings["model_input_names"] = prepared
    encoder = Encoder({}, found.files["tokenizer.json"], settings, found.files.get("special_tokens_map.json", {}))
    padding = encoder.token_id("pad_token") or 0
    inputs = {}
    for kind, (entry,) in entries.items():
        how: dict[str, Any] = {"name": entry.name}
        if kind == "lengths":
            how["count"] = True
        elif fixed is not None:
            how |= {"length": fixed, "side": side, "fill": padding if kind == "input_ids" else 0}
        inputs[kind] = how
    found.content["inputs"] = inputs
    count = min(fixed or LONGEST, LONGEST)
    found.example = {name: np.full(count, name == "attention_mask", np.int64) for name in prepared}
    found.example["attention_mask"] = np.ones(count, np.int64)
    return [how["name"] for how in inputs.values()]
