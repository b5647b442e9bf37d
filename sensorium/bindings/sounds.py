"""Which input of a converted network takes a sound, as samples or as features, and along which axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensorium import files
from sensorium.bindings import shared
from sensorium.bindings.shared import Binding, Told, length, output, output_shape, quantised
from sensorium.errors import InputError
from sensorium.formats import Graph
from sensorium.formats.shared.graph import Input
from sensorium.media import audio
from sensorium.media.audio import Audio

RAW = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": False}  # the samples as they are


def bind(graph: Graph, told: Told, found: Binding) -> list[str]:
    """The input that takes a sound, by name; empty where there is not one."""
    entries = [i for i in graph.inputs if i.shape and i.dtype != np.bool_]
    if len(entries) != 1:
        listed = ", ".join(f"{i.name} {list(i.shape)}" for i in graph.inputs)
        found.missing.append(f"one input that takes a sound; this network has {listed}")
        return []
    entry = entries[0]
    settings: Any = dict(RAW) if told.features is None else files.read_json(told.features)
    if not isinstance(settings, dict) or settings.get("feature_extractor_type") not in audio.EXTRACTORS:
        known = ", ".join(audio.EXTRACTORS)
        raise InputError(f"{told.features}: should be an object with a feature_extractor_type of {known}")
    settings = settings | ({} if told.rate is None else {"sampling_rate": told.rate})
    if "sampling_rate" not in settings:
        found.missing.append("how many samples a second it takes: --rate HZ")
    several = [n for axis, n in enumerate(entry.shape) if n > 1 and (axis or len(entry.shape) == 1)]
    if told.features is None and len(several) > 1:
        found.missing.append(
            f"how the features that '{entry.name}' {list(entry.shape)} takes are made: --features FILE"
        )
    if not found.missing:
        _arrange(graph, told, entry, settings, found)
    return [entry.name]


def _arrange(graph: Graph, told: Told, entry: Input, settings: dict[str, Any], found: Binding) -> None:
    """Along which axes the network takes what is prepared, and how long it has to be."""
    try:
        rate = audio.sampling_rate(settings)
        if not 100 <= rate <= 1_000_000:
            raise InputError(f"{rate} samples a second are not possible: --rate HZ")
        quiet, longer = (audio.features(settings, Audio(np.zeros(n * rate, np.float32), rate)) for n in (2, 3))
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:  # of numbers that make no sense
        raise InputError(f"{told.features}: features cannot be made so: {' '.join(str(error).split())[:120]}") from None
    name = next(key for key in quiet if key.startswith("input_"))
    given, more = quiet[name].shape, longer[name].shape
    # The axis of time is the one that grows; where a feature extractor fills all up to one length, the longer one.
    time = next((i for i, (a, b) in enumerate(zip(given, more)) if a != b), int(np.argmax(given)))
    letters = "".join("T" if i == time else "1" if n == 1 else "F" for i, n in enumerate(given))
    axes = _axes(graph, entry, letters, given)
    if axes is None:
        raise InputError(
            f"'{entry.name}' {list(entry.shape)} does not take what is made of a sound: {list(given)}"
            + ("" if told.features is None else f" by {told.features}")
        )
    how: dict[str, Any] = {"name": entry.name, "from": f"N{letters}", "axes": axes} | quantised(graph, entry)
    if (steps := length(graph, entry, axes.index("T"), told)) is not None:
        how |= {"length": steps, "fill": float(quiet[name].min())}
    found.content["inputs"] = {name: how}
    found.files = {"preprocessor_config.json": settings}
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 2 * rate).astype(np.float32)
    found.example = {name: audio.features(settings, Audio(noise, rate))[name]}


def _axes(graph: Graph, entry: Input, letters: str, given: tuple[int, ...]) -> str | None:
    """A letter for each axis of the input: N, T (time), F (bands), 1; None where they do not fit."""
    wanted = {letter for letter in letters if letter != "1"}
    if letters.count("F") > 1:
        return None
    free = graph.free_axes(entry)
    found = ["1"] * len(entry.shape)
    rest = list(range(len(found)))
    if len(rest) > len(wanted):
        found[rest.pop(0)] = "N"
    if "F" in wanted:
        bands = given[letters.index("F")]
        fitting = [axis for axis in rest if entry.shape[axis] == bands and axis not in free]
        if not fitting:
            return None
        found[fitting[-1]] = "F"
        rest.remove(fitting[-1])
    long = [axis for axis in rest if axis in free or entry.shape[axis] > 1] or rest[-1:]
    if len(long) != 1:
        return None
    found[long[0]] = "T"
    return "".join(found)


def scores(graph: Graph, told: Told, found: Binding) -> None:
    """One score for each label, or several of parts of the sound, whose mean is the answer."""
    parts = {}
    for name in graph.outputs:
        shape = output_shape(graph, name)
        if shape is not None and 1 < len(shape) < 4 and shape[-1] == len(told.labels):
            parts[name] = shape
    if len(parts) == 1:
        ((name, shape),) = parts.items()
        whole = "N" in next(iter(found.content.get("inputs", {"": {}}).values())).get("axes", "N")
        if len(shape) == 3 or not whole:
            shared.ending(graph, name, len(told.labels), found)
            found.content["outputs"] = {"logits": output(graph, name) | {"mean": True}}
            return
    shared.scores(graph, told, found)
