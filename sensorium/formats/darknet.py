"""Darknet: .cfg and .weights (YOLO v2 to v4, classifiers)."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options, nature

TITLE = "Darknet"
ENDINGS = (".weights",)
SECTIONS = 10_000
SIDE = 16384  # largest picture
CHANNELS = 65536
# Settings of training only, and drawing: nothing of a network's answer depends on a section of these.
TRAINING = frozenset({"cost", "dropout"})


@dataclass
class Section:
    """One section of a .cfg: its kind and its settings; `number` is that of the layer (the first after [net] is 0)."""

    kind: str
    line: int
    where: str
    settings: dict[str, str] = field(default_factory=dict)
    number: int = -1

    def fault(self, message: str) -> InputError:
        layer = f"layer {self.number} " if self.number >= 0 else ""
        return InputError(f"{self.where}, line {self.line}: {layer}[{self.kind}]: {message}")

    def whole(self, name: str, default: int = 0, least: int = -(1 << 31), most: int = (1 << 31) - 1) -> int:
        """An integer.

        Raises:
            InputError: it is none, or not within `least` and `most`.
        """
        text = self.settings.get(name)
        if text is None:
            return default
        try:
            value = int(float(text)) if re.fullmatch(r"[+-]?\d{1,12}\.\d*", text) else int(text)
        except ValueError:
            raise self.fault(f"{name}={text[:40]} is not a whole number") from None
        if not least <= value <= most:
            raise self.fault(f"{name}={text[:40]} is not possible ({least} to {most})")
        return value

    def number_of(self, name: str, default: float) -> float:
        text = self.settings.get(name)
        try:
            return default if text is None else float(text)
        except ValueError:
            raise self.fault(f"{name}={text!r} is not a number") from None

    def numbers(self, name: str) -> list[float]:
        """A list separated by commas."""
        words = [w.strip() for w in self.settings.get(name, "").split(",") if w.strip()]
        try:
            return [float(w) for w in words]
        except ValueError:
            raise self.fault(f"{name} is not a list of numbers") from None


def _is_text(file: File) -> bool:
    return file.looks_like_text and bool(
        re.search(rb"^\s*\[(net|network|convolutional|maxpool|yolo|region)\]", file.head, re.MULTILINE)
    )


def _is_weights(file: File) -> bool:
    """Three version numbers, then the count of pictures seen, in 32 or 64 bits, then floats."""
    if len(file.head) < 16 or file.looks_like_text:
        return False
    major, minor, revision = struct.unpack_from("<3i", file.head)
    return major in (0, 1) and 0 <= minor < 10 and 0 <= revision < 10 and (major, minor) != (0, 0)


def match(file: File) -> float:
    if _is_text(file):
        return 0.95 if re.match(rb"(\s|[#;][^\n]*\n)*\[net(work)?\]", file.head) else 0.5
    return (0.5 + 0.4 * (file.suffix == ".weights")) if _is_weights(file) else 0.05 * (file.suffix == ".weights")


def read_sections(file: File) -> list[Section]:
    """The sections of a .cfg, [net] first.

    Raises:
        InputError: a line is no setting, or there is no [net].
    """
    found: list[Section] = []
    for number, raw in enumerate(file.text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if not line.endswith("]"):
                raise InputError(f"{file.path}, line {number}: a section's name does not end: {line[:40]!r}")
            found.append(Section(line[1:-1].strip().lower(), number, str(file.path)))
            if len(found) > SECTIONS:
                raise InputError(f"{file.path}: more than {SECTIONS} sections")
            continue
        name, equals, value = line.partition("=")
        if not equals or not found:
            raise InputError(f"{file.path}, line {number}: {line[:40]!r} is no setting of a section")
        # Darknet takes out all white space
        found[-1].settings[re.sub(r"\s", "", name)] = re.sub(r"\s", "", re.split(r"[#;]", value)[0])
    if not found or found[0].kind not in ("net", "network"):
        raise InputError(f"{file.path}: it does not begin with a section [net]: not a Darknet network")
    if len(found) < 2:
        raise InputError(f"{file.path}: no layers in this network")
    for number, section in enumerate(found[1:]):
        section.number = number
    return found


def _sort(files: Sequence[File]) -> tuple[File | None, File | None]:
    texts = [f for f in files if _is_text(f) or (f.suffix == ".cfg" and f.looks_like_text)]
    weights = [f for f in files if f not in texts]
    for kind, found in (("cfg", texts), ("weights file", weights)):
        if len(found) > 1:
            raise InputError(f"{found[1].path}: a second {kind} beside {found[0].path}; give one ({nature(found[1])})")
    return (texts[0] if texts else None), (weights[0] if weights else None)


def inspect(files: Sequence[File]) -> Report:
    text, weights = _sort(files)
    report = Report(TITLE)
    if text is not None:
        net, *layers = read_sections(text)
        report.layers.update(section.kind for section in layers)
        report.inputs = {"data": [None, *(net.whole(k, 0) for k in ("channels", "height", "width"))]}
        report.outputs = {f"{s.kind}_{s.number}": None for s in layers if s.kind in ("yolo", "region", "softmax")}
        for section in layers:
            if section.kind not in LAYERS and section.kind not in TRAINING:
                report.missing.append(f"a conversion of layer {section.number}: [{section.kind[:40]}]")
    else:
        report.missing.append("the .cfg that describes the layers")
    if weights is not None:
        values = Weights(weights)
        report.version = values.version
        report.parameters = len(values.values)
        report.metadata["pictures seen in training"] = values.seen
    else:
        report.missing.append("the weights (.weights)")
    return report


class Weights:
    """A .weights file: its header, and its floats in the order the layers take them.

    Raises:
        InputError: it is no such file.
    """

    def __init__(self, file: File) -> None:
        self.path = file.path
        if not file.size or file.looks_like_text or not _is_weights(file):
            raise InputError(f"{file.path}: {nature(file)}, not Darknet weights")
        major, minor, revision = struct.unpack_from("<3i", file.data)
        wide = major * 10 + minor >= 2 and major < 1000 and minor < 1000
        self.version = f"{major}.{minor}.{revision}"
        start = 20 if wide else 16
        self.seen = struct.unpack_from("<Q" if wide else "<I", file.data.ljust(20, b"\0"), 12)[0]
        size = (len(file.data) - start) // 4
        if size < 0:
            raise InputError(f"{file.path}: truncated: too short for its header")
        self.values = np.frombuffer(file.data, "<f4", size, start)
        self.at = 0

    def take(self, section: Section, *shape: int) -> np.ndarray:
        count = 1
        for size in shape:
            count *= size
        if self.at + count > len(self.values):
            raise InputError(
                f"{self.path}: the weights are too short: layer {section.number} [{section.kind}] needs {4 * count} "
                f"bytes, {4 * (len(self.values) - self.at)} are left; truncated, or of another .cfg"
            )
        found = self.values[self.at : self.at + count]
        if not np.isfinite(found).all():
            raise InputError(
                f"{self.path}: layer {section.number} [{section.kind}]: its weights are not all numbers: corrupt, or "
                "of another .cfg"
            )
        self.at += count
        return found.reshape(shape)


@dataclass
class State:
    """What the layers so far have made.

    Attributes:
        x: the value the next layer reads; `values` those of all layers.
        boxes, scores: decoded answers of the heads.
    """

    graph: Graph
    net: Section
    weights: Weights
    x: str
    values: list[str] = field(default_factory=list)
    boxes: list[str] = field(default_factory=list)
    scores: list[str] = field(default_factory=list)

    def shape(self, value: str | None = None) -> tuple[int, ...]:
        return self.graph.shape(value or self.x)

    def layer(self, section: Section, place: int, setting: str) -> str:
        """The output of another layer: its number, or how many before this one."""
        number = section.number + place if place < 0 else place
        if not 0 <= number < section.number:
            raise section.fault(f"{setting} {place}: there is no layer {number} before this one")
        return self.values[number]


def _activate(s: State, section: Section, x: str, default: str = "logistic") -> str:
    name = section.settings.get("activation", default).lower()
    g = s.graph
    if name == "linear":
        return x
    if name in SIMPLE:
        return str(g.add(SIMPLE[name], x))
    if name == "leaky":
        return str(g.add("LeakyRelu", x, alpha=0.1))
    if name == "elu":
        return str(g.add("Elu", x, alpha=1.0))
    if name in ("swish", "silu"):
        return str(g.add("Mul", x, g.add("Sigmoid", x)))
    if name == "mish":
        return str(g.add("Mul", x, g.add("Tanh", g.add("Softplus", x))))
    if name == "selu":
        return str(g.add("Selu", x, alpha=1.6732, gamma=1.0507))
    if name == "relu6":
        return str(g.add("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(6))))
    if name == "ramp":  # x * (x > 0) + 0.1 * x
        return str(g.add("Add", g.add("Relu", x), g.add("Mul", x, g.constant(np.float32(0.1)))))
    if name == "loggy":  # 2 / (1 + exp(-x)) - 1
        twice = g.add("Mul", g.add("Sigmoid", x), g.constant(np.float32(2)))
        return str(g.add("Sub", twice, g.constant(np.float32(1))))
    if name == "relie":  # x > 0: x, else 0.01 * x
        return str(g.add("LeakyRelu", x, alpha=0.01))
    raise section.fault(f"unsupported activation '{name[:40]}'")


SIMPLE = {"relu": "Relu", "logistic": "Sigmoid", "tanh": "Tanh"}


def _norm(s: State, section: Section, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Factor and shift for batch normalisation: scale * (x - mean) / (sqrt(variance) + 0.000001), as Darknet has it."""
    scales, mean, variance = (s.weights.take(section, count) for _ in range(3))
    if (variance < 0).any():
        raise section.fault("a negative variance in its weights: corrupt, or of another .cfg")
    factor = scales.astype(np.float64) / (np.sqrt(variance.astype(np.float64)) + 1e-6)
    return factor, -mean * factor


def convolutional(s: State, section: Section) -> str:
    filters = section.whole("filters", 1, 1, CHANNELS)
    size = section.whole("size", 1, 1, 255)
    stride = section.whole("stride", 1, 1, 255)
    stride_y, stride_x = section.whole("stride_y", stride, 1, 255), section.whole("stride_x", stride, 1, 255)
    dilation = section.whole("dilation", 1, 1, 255) if size > 1 else 1
    groups, channels = section.whole("groups", 1, 1, CHANNELS), s.shape()[1]
    pad = section.whole("padding", 0, 0, 255)
    if section.whole("pad"):
        pad = size // 2
    if channels % groups or filters % groups:
        raise section.fault(f"{channels} channels to {filters} filters in {groups} groups is not possible")
    for setting in ("antialiasing", "share_index", "assisted_excitation", "flipped", "binary", "xnor", "deform", "sway",
                    "rotate", "stretch", "stretch_sway"):  # fmt: skip
        if section.whole(setting):
            raise section.fault(f"unsupported setting {setting}")
    bias = s.weights.take(section, filters).astype(np.float64)
    factor: np.ndarray | None = None
    if section.whole("batch_normalize"):
        factor, shift = _norm(s, section, filters)
        bias = bias + shift
    weight = s.weights.take(section, filters, channels // groups, size, size)
    if factor is not None:
        weight = weight * factor[:, None, None, None]
    name = f"conv_{section.number}"
    y = s.graph.add(
        "Conv",
        s.x,
        s.graph.constant(weight.astype(np.float32), f"{name}.weight"),
        s.graph.constant(bias.astype(np.float32), f"{name}.bias"),
        kernel_shape=[size, size],
        strides=[stride_y, stride_x],
        pads=[pad * dilation] * 4,
        dilations=[dilation] * 2,
        group=groups,
    )
    return _activate(s, section, y)


def deconvolutional(s: State, section: Section) -> str:
    filters, channels = section.whole("filters", 1, 1, CHANNELS), s.shape()[1]
    size, stride = section.whole("size", 1, 1, 255), section.whole("stride", 1, 1, 255)
    pad = size // 2 if section.whole("pad") else section.whole("padding", 0, 0, 255)
    bias = s.weights.take(section, filters).astype(np.float64)
    factor = np.ones(filters)
    if section.whole("batch_normalize"):
        factor, shift = _norm(s, section, filters)
        bias = bias + shift
    weight = s.weights.take(section, channels, filters, size, size) * factor[:, None, None]
    y = s.graph.add(
        "ConvTranspose",
        s.x,
        s.graph.constant(weight.astype(np.float32), f"deconv_{section.number}.weight"),
        s.graph.constant(bias.astype(np.float32), f"deconv_{section.number}.bias"),
        kernel_shape=[size, size],
        strides=[stride, stride],
        pads=[pad] * 4,
    )
    return _activate(s, section, y)


def connected(s: State, section: Section) -> str:
    outputs = section.whole("output", 1, 1, 1 << 20)
    inner = int(np.prod(s.shape()[1:], dtype=np.float64))
    bias = s.weights.take(section, outputs).astype(np.float64)
    weight = s.weights.take(section, outputs, inner).astype(np.float64)
    if section.whole("batch_normalize"):
        factor, shift = _norm(s, section, outputs)
        weight, bias = weight * factor[:, None], bias + shift
    if len(s.shape()) > 2:
        if s.shape()[2:] != (1, 1):
            s.graph.pin("height", "width")
        s.x = s.graph.add("Flatten", s.x, axis=1)
    stored = [s.graph.constant(a.astype(np.float32), f"connected_{section.number}") for a in (weight, bias)]
    return _activate(s, section, s.graph.add("Gemm", s.x, *stored, transB=1))


def batchnorm(s: State, section: Section) -> str:
    factor, shift = _norm(s, section, s.shape()[1])
    y = s.graph.add("Mul", s.x, s.graph.constant(factor.astype(np.float32).reshape(-1, 1, 1), "scale"))
    return str(s.graph.add("Add", y, s.graph.constant(shift.astype(np.float32).reshape(-1, 1, 1), "shift")))


def maxpool(s: State, section: Section) -> str:
    """Darknet pads by `padding` in all (size - 1 by default), the smaller half in front."""
    stride = section.whole("stride", 1, 1, 255)
    size = section.whole("size", stride, 1, 255)
    steps = [section.whole("stride_y", stride, 1, 255), section.whole("stride_x", stride, 1, 255)]
    padding = section.whole("padding", size - 1, 0, 255)
    if section.whole("maxpool_depth") or section.whole("antialiasing"):
        raise section.fault("unsupported: pooling over channels, or with a filter")
    before, after = padding // 2, padding - padding // 2
    if after >= size:
        raise section.fault(f"padding {padding} is too much for a window of {size}")
    # Output: (size of input + padding - window) / stride + 1, rounded down
    return str(s.graph.add("MaxPool", s.x, kernel_shape=[size, size], strides=steps,
                           pads=[before, before, after, after]))  # fmt: skip


def local_avgpool(s: State, section: Section) -> str:
    stride = section.whole("stride", 1, 1, 255)
    size = section.whole("size", stride, 1, 255)
    padding = section.whole("padding", size - 1, 0, 255)
    before, after = padding // 2, padding - padding // 2
    if after >= size:
        raise section.fault(f"padding {padding} is too much for a window of {size}")
    return str(s.graph.add("AveragePool", s.x, kernel_shape=[size, size], strides=[stride] * 2,
                           pads=[before, before, after, after], count_include_pad=0))  # fmt: skip


def avgpool(s: State, section: Section) -> str:
    return str(s.graph.add("GlobalAveragePool", s.x))


def softmax(s: State, section: Section) -> str:
    """Over all values of a picture, or of each of its groups."""
    groups, temperature = section.whole("groups", 1, 1, CHANNELS), section.number_of("temperature", 1.0)
    if section.whole("spatial") or "tree" in section.settings:
        raise section.fault("unsupported: over a tree of classes, or in space")
    g, x = s.graph, s.x
    if len(s.shape()) > 2:
        x = g.add("Flatten", x, axis=1)
    total = s.shape(x)[1]
    if total % groups or temperature <= 0:
        raise section.fault(f"{total} values in {groups} groups, temperature {temperature}")
    if temperature != 1:
        x = g.add("Div", x, g.constant(np.float32(temperature)))
    if groups == 1:
        return str(g.add("Softmax", x, axis=1))
    y = g.add("Softmax", g.add("Reshape", x, g.ints(0, groups, -1)), axis=2)
    return str(g.add("Flatten", y, axis=1))


def route(s: State, section: Section) -> str:
    places = section.numbers("layers")
    if not places:
        raise section.fault("names no layers")
    values = [s.layer(section, int(p), "route to layer") for p in places]
    sizes = {s.shape(v)[2:] for v in values}
    if len(sizes) > 1:
        raise section.fault(f"its layers differ in size: {', '.join(str(list(x)) for x in sizes)}")
    groups, part = section.whole("groups", 1, 1, CHANNELS), section.whole("group_id", 0, 0, CHANNELS)
    if groups > 1:
        cut = []
        for value in values:
            channels = s.shape(value)[1]
            if channels % groups or part >= groups:
                raise section.fault(f"part {part} of {channels} channels in {groups} groups")
            width = channels // groups
            ints = s.graph.ints
            cut.append(s.graph.add("Slice", value, ints(part * width), ints((part + 1) * width), ints(1)))
        values = cut
    if len(values) == 1:
        return str(s.graph.add("Identity", values[0]))
    return str(s.graph.add("Concat", *values, axis=1))


def shortcut(s: State, section: Section) -> str:
    """The sum with earlier layers; where the number of channels differs, the common ones are added."""
    if section.settings.get("weights_type", "none") not in ("none", "0"):
        raise section.fault("unsupported: a weighted sum (weights_type)")
    if section.number_of("alpha", 1.0) != 1 or section.number_of("beta", 1.0) != 1:
        raise section.fault("unsupported: a weighted sum (alpha, beta)")
    g, y = s.graph, s.x
    channels = s.shape()[1]
    for place in section.numbers("from"):
        other = s.layer(section, int(place), "from layer")
        if s.shape(other)[2:] != s.shape(y)[2:]:
            raise section.fault(f"its layers differ in size: {list(s.shape(y))} and {list(s.shape(other))}")
        here = s.shape(other)[1]
        if here > channels:
            other = g.add("Slice", other, g.ints(0), g.ints(channels), g.ints(1))
        elif here < channels:
            other = g.add("Pad", other, g.ints(0, 0, 0, 0, 0, channels - here, 0, 0), g.constant(np.float32(0)))
        y = g.add("Add", y, other)
    if y == s.x:
        raise section.fault("names no layer (from)")
    return _activate(s, section, y, "linear")


def gate(s: State, section: Section) -> str:
    """The product with an earlier layer: of a value for each channel and a picture, or of two pictures."""
    if section.whole("scale_wh"):
        raise section.fault("unsupported setting scale_wh")
    places = section.numbers("from")
    if len(places) != 1:
        raise section.fault("names no layer (from)")
    y = s.graph.add("Mul", s.x, s.layer(section, int(places[0]), "from layer"))
    return _activate(s, section, y, "linear")


def upsample(s: State, section: Section) -> str:
    """Nearest neighbours, times `scale`."""
    stride, factor = section.whole("stride", 2, -255, 255), section.number_of("scale", 1.0)
    if stride < 1:
        raise section.fault(f"unsupported stride {stride}")
    g = s.graph
    y = g.add("Resize", s.x, "", g.constant(np.array([1, 1, stride, stride], np.float32)), mode="nearest",
              nearest_mode="floor", coordinate_transformation_mode="asymmetric")  # fmt: skip
    return str(y if factor == 1 else g.add("Mul", y, g.constant(np.float32(factor))))


def reorg(s: State, section: Section) -> str:
    """Space to channels, in Darknet's own order (that of its CPU code, as its weights were trained with)."""
    stride, g = section.whole("stride", 1, 1, 255), s.graph
    if section.whole("reverse") or section.whole("flatten") or section.whole("extra"):
        raise section.fault("unsupported setting reverse, flatten or extra")
    _, channels, height, width = s.shape()
    if channels % (stride * stride) or height % stride or width % stride:
        raise section.fault(f"{channels} x {height} x {width} cannot be divided by {stride}")
    # As memory of (channels / stride^2, height, stride, width, stride): the two offsets become the first axes
    inner, side = channels // (stride * stride), g.ints(stride)
    rows, columns = g.add("Shape", s.x, start=2, end=3), g.add("Shape", s.x, start=3, end=4)
    y = g.add("Reshape", s.x, g.add("Concat", g.ints(0, inner), rows, side, columns, side, axis=0))
    y = g.add("Transpose", y, perm=[0, 3, 5, 1, 2, 4])
    size = g.ints(0, channels * stride * stride), g.add("Div", rows, side), g.add("Div", columns, side)
    return str(g.add("Reshape", y, g.add("Concat", *size, axis=0)))


def reorg3d(s: State, section: Section) -> str:
    """Space to channels, in the order of ONNX (a layer of the later forks)."""
    return str(s.graph.add("SpaceToDepth", s.x, blocksize=section.whole("stride", 1, 1, 255)))


def crop(s: State, section: Section) -> str:
    """The middle of the picture, brought from 0..1 to -1..1 unless `noadjust`."""
    height, width = section.whole("crop_height", 1, 1, SIDE), section.whole("crop_width", 1, 1, SIDE)
    g, ints, shape = s.graph, s.graph.ints, s.shape()
    if height > shape[2] or width > shape[3]:
        raise section.fault(f"cannot cut {height} x {width} from {shape[2]} x {shape[3]}")
    top, left = (shape[2] - height) // 2, (shape[3] - width) // 2
    g.pin("height", "width")
    y = g.add("Slice", s.x, ints(top, left), ints(top + height, left + width), ints(2, 3))
    if section.whole("noadjust"):
        return str(y)
    return str(g.add("Sub", g.add("Mul", y, g.constant(np.float32(2))), g.constant(np.float32(1))))


def _split(s: State, section: Section, boxes: int, classes: int) -> tuple[str, ...]:
    """Place, size, objectness and classes (batch, boxes, values, height, width) of a head's channels."""
    g, channels = s.graph, s.shape()[1]
    if len(s.shape()) != 4 or channels != boxes * (classes + 5):
        raise section.fault(f"{boxes} boxes of {classes + 5} values do not fit {channels} channels")
    size = g.add("Concat", g.ints(0, boxes, classes + 5), g.add("Shape", s.x, start=2, end=4), axis=0)
    found: tuple[str, ...] = g.add("Split", g.add("Reshape", s.x, size), g.ints(2, 2, 1, classes), outputs=4, axis=2)
    return found


def _decode(s: State, parts: Sequence[str], anchors: np.ndarray, of_input: bool, square: bool = False) -> None:
    """Corners in 0..1 of the picture, and scores (objectness times class), for all boxes of a head.

    Args:
        parts: place (0..1 in its cell), size, objectness and classes, as `_split` has them.
        anchors: (boxes, 2) widths and heights.
        of_input: whether anchors are pixels of the network's input; else cells.
        square: whether sizes are (2 * value)^2 anchors instead of e^value.
    """
    g, ints = s.graph, s.graph.ints
    place, size, objectness, classes = parts
    cells = g.add("Cast", g.add("Shape", s.x, start=2, end=4), to=1)  # height, width
    zero, one = g.constant(np.float32(0)), g.constant(np.float32(1))
    grids, scales = [], []
    for axis, shape in ((1, (1, 1, 1, 1, -1)), (0, (1, 1, 1, -1, 1))):
        count = g.add("Gather", cells, g.constant(np.int64(axis)))
        line = g.add("Range", zero, count, one)
        g.tell(line, (s.shape()[2 + axis],))
        grids.append(g.add("Reshape", line, ints(*shape)))
        scales.append(count)
    inputs = g.add("Cast", g.add("Shape", g.inputs[0].name, start=2, end=4), to=1)
    corners: list[list[str]] = [[], []]
    for i in (0, 1):
        centre = g.add("Slice", place, ints(i), ints(i + 1), ints(2))
        centre = g.add("Div", g.add("Add", centre, grids[i]), scales[i])
        side = g.add("Slice", size, ints(i), ints(i + 1), ints(2))
        if square:
            side = g.add("Mul", g.add("Mul", side, side), g.constant(np.float32(4)))
        else:
            side = g.add("Exp", side)
        side = g.add("Mul", side, g.constant(anchors[:, i].astype(np.float32).reshape(1, -1, 1, 1, 1), "anchors"))
        whole = g.add("Gather", inputs, g.constant(np.int64(1 - i))) if of_input else scales[i]
        half = g.add("Mul", g.add("Div", side, whole), g.constant(np.float32(0.5)))
        corners[0].append(g.add("Sub", centre, half))
        corners[1].append(g.add("Add", centre, half))
    box = g.add("Concat", *corners[0], *corners[1], axis=2)
    for found, value, width in (
        (s.boxes, box, 4),
        (s.scores, g.add("Mul", classes, objectness), g.shape(classes)[2]),
    ):
        value = g.add("Transpose", value, perm=[0, 1, 3, 4, 2])
        found.append(g.add("Reshape", value, ints(0, -1, width)))


def yolo(s: State, section: Section) -> str:
    """As Darknet's own layer answers: x, y, objectness and classes through the logistic function; w, h as they are."""
    classes, g = section.whole("classes", 20, 1, CHANNELS), s.graph
    mask = [int(m) for m in section.numbers("mask")] or list(range(section.whole("num", 1, 1, 1000)))
    place, size, objectness, rest = _split(s, section, len(mask), classes)
    anchors = section.numbers("anchors")
    new = bool(section.whole("new_coords"))
    if not new:  # else the convolution before has gone through the logistic function already
        place, objectness, rest = (g.add("Sigmoid", v) for v in (place, objectness, rest))
    factor = section.number_of("scale_x_y", 1.0)
    if factor != 1:
        place = g.add("Mul", place, g.constant(np.float32(factor)))
        place = g.add("Sub", place, g.constant(np.float32((factor - 1) / 2)))
    if anchors:
        if len(anchors) < 2 * (max(mask) + 1) or min(mask) < 0:
            raise section.fault(f"the mask {mask[:20]} goes beyond its {len(anchors) // 2} anchors")
        pairs = np.array(anchors[: len(anchors) // 2 * 2]).reshape(-1, 2)[mask]
        _decode(s, (place, size, objectness, rest), pairs, True, new)
    whole = g.add("Concat", place, size, objectness, rest, axis=2)
    return str(g.add("Reshape", whole, g.add("Shape", s.x)))


def region(s: State, section: Section) -> str:
    """As Darknet's own layer answers: x, y and objectness through the logistic function, classes through softmax."""
    classes, boxes, g = section.whole("classes", 20, 1, CHANNELS), section.whole("num", 1, 1, 1000), s.graph
    if section.whole("coords", 4) != 4 or section.settings.get("tree") or section.whole("background"):
        raise section.fault("unsupported: a tree of classes, a background, or other than 4 coordinates")
    place, size, objectness, rest = _split(s, section, boxes, classes)
    place, objectness = g.add("Sigmoid", place), g.add("Sigmoid", objectness)
    rest = g.add("Softmax", rest, axis=2) if section.whole("softmax") else g.add("Sigmoid", rest)
    anchors = section.numbers("anchors")
    if anchors:
        if len(anchors) < 2 * boxes:
            raise section.fault(f"{len(anchors) // 2} anchors for {boxes} boxes")
        _decode(s, (place, size, objectness, rest), np.array(anchors[: 2 * boxes]).reshape(-1, 2), False)
    whole = g.add("Concat", place, size, objectness, rest, axis=2)
    return str(g.add("Reshape", whole, g.add("Shape", s.x)))


def activation(s: State, section: Section) -> str:
    return _activate(s, section, s.x, "linear")


LAYERS: dict[str, Callable[[State, Section], str]] = {
    "convolutional": convolutional,
    "conv": convolutional,
    "deconvolutional": deconvolutional,
    "deconv": deconvolutional,
    "connected": connected,
    "conn": connected,
    "batchnorm": batchnorm,
    "maxpool": maxpool,
    "max": maxpool,
    "local_avgpool": local_avgpool,
    "avgpool": avgpool,
    "avg": avgpool,
    "softmax": softmax,
    "soft": softmax,
    "route": route,
    "shortcut": shortcut,
    "scale_channels": gate,
    "sam": gate,
    "crop": crop,
    "upsample": upsample,
    "reorg": reorg,
    "reorg3d": reorg3d,
    "yolo": yolo,
    "region": region,
    "activation": activation,
}
HEADS = frozenset({"yolo", "region", "softmax", "soft"})
SHORT = {"convolutional": "conv", "deconvolutional": "deconv", "connected": "conn"}


def _name(section: Section) -> str:
    return f"{SHORT.get(section.kind, section.kind)}_{section.number}"


def read(files: Sequence[File], options: Options) -> Graph:
    """Outputs: each head as Darknet's own layer gives it and the layer before it, and the decoded boxes and scores."""
    text, weights_file = _sort(files)
    if text is None:
        raise InputError(f"{files[0].path}: the layers are missing: give the network's .cfg too")
    net, *sections = read_sections(text)
    for section in sections:
        if section.kind not in LAYERS and section.kind not in TRAINING:
            raise section.fault(f"unsupported layer '{section.kind[:60]}'")
    if weights_file is None:
        raise InputError(f"{text.path}: the weights are missing: give the .weights too")
    weights = Weights(weights_file)
    graph = Graph(text.path.stem, f"Darknet {weights.version}")
    height, width = options.image_size or (net.whole("height", 0, 1, SIDE), net.whole("width", 0, 1, SIDE))
    shape = options.shapes.get("data") or (1, net.whole("channels", 3, 1, 1024), height, width)
    if min(shape[2:]) < 1:
        raise net.fault("width and height are not given; give them with --image-size")
    free = {0: "batch", 2: "height", 3: "width"}
    state = State(graph, net, weights, graph.input("data", shape, np.float32, free))
    graph.preprocessing = {"scale": 1 / 255, "color": "rgb", "size": (height, width)}
    graph.notes.append("Darknet fits a picture into the input by letterboxing (grey bars), which is outside the model")
    for section in sections:
        if section.kind not in TRAINING:
            try:
                state.x = LAYERS[section.kind](state, section)
            except InputError as error:
                raise error if "[" in str(error) else section.fault(str(error)) from None
        state.values.append(state.x)
    left = len(weights.values) - weights.at
    if left:
        graph.notes.append(f"{4 * left} bytes of the weights were not used; are they of another .cfg?")
    _outputs(state, sections, options)
    return graph


def _outputs(s: State, sections: Sequence[Section], options: Options) -> None:
    named = {_name(section): s.values[section.number] for section in sections}
    decoded = {}
    if s.boxes:
        for name, parts in (("boxes", s.boxes), ("scores", s.scores)):
            same = len({s.shape(p)[2] for p in parts}) == 1
            if same:
                decoded[name] = parts[0] if len(parts) == 1 else s.graph.add("Concat", *parts, axis=1)
    wanted = list(options.outputs)
    if not wanted:
        for section in sections:
            if section.kind in HEADS:
                before = [_name(sections[section.number - 1])] if section.number else []
                wanted += [n for n in (*before, _name(section)) if n not in wanted]
        wanted = wanted or [_name([x for x in sections if x.kind not in TRAINING][-1])]
        wanted += list(decoded)
    for name in wanted:
        value = decoded.get(name) or named.get(name)
        if value is None:
            raise InputError(f"there is no output '{name[:60]}'; layers are named {', '.join(list(named)[-4:])}")
        s.graph.output(value, name)
