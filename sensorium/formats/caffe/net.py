"""A Caffe network as a list of layers of today's kind, whatever syntax it is written in, with its trained blobs.

Follows caffe.proto and upgrade_proto.cpp of BVLC Caffe 1.0: V0 (`layers { layer { type: "conv" } }`), V1
(`layers { type: CONVOLUTION }`) and V2 (`layer { type: "Convolution" }`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared import protobuf, textproto
from sensorium.formats.shared.protobuf import BYTES, VARINT, Message
from sensorium.formats.shared.source import File, nature
from sensorium.formats.shared.textproto import Block, Scalar

V1_TYPES = {
    35: "AbsVal", 1: "Accuracy", 30: "ArgMax", 2: "BNLL", 3: "Concat", 37: "ContrastiveLoss", 4: "Convolution",
    5: "Data", 39: "Deconvolution", 6: "Dropout", 32: "DummyData", 7: "EuclideanLoss", 25: "Eltwise", 38: "Exp",
    8: "Flatten", 9: "HDF5Data", 10: "HDF5Output", 28: "HingeLoss", 11: "Im2col", 12: "ImageData", 13: "InfogainLoss",
    14: "InnerProduct", 15: "LRN", 29: "MemoryData", 16: "MultinomialLogisticLoss", 34: "MVN", 17: "Pooling",
    26: "Power", 18: "ReLU", 19: "Sigmoid", 27: "SigmoidCrossEntropyLoss", 36: "Silence", 20: "Softmax",
    21: "SoftmaxWithLoss", 22: "Split", 33: "Slice", 23: "TanH", 24: "WindowData", 31: "Threshold",
}  # fmt: skip
# How prototxt spells them; the others are made of capitals and underscores alone.
V1_NAMES = {
    "ABSVAL": "AbsVal", "BNLL": "BNLL", "LRN": "LRN", "MVN": "MVN", "RELU": "ReLU", "TANH": "TanH", "ARGMAX": "ArgMax",
    "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output", "SOFTMAX_LOSS": "SoftmaxWithLoss", "PRELU": "PReLU",
    "ELU": "ELU", "IM2COL": "Im2col", "BN": "BN", "SPP": "SPP", "LSTM": "LSTM",
}  # fmt: skip
V0_TYPES = {
    "accuracy": "Accuracy", "bnll": "BNLL", "concat": "Concat", "conv": "Convolution", "data": "Data",
    "dropout": "Dropout", "euclidean_loss": "EuclideanLoss", "flatten": "Flatten", "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output", "hinge_loss": "HingeLoss", "im2col": "Im2col", "images": "ImageData",
    "infogain_loss": "InfogainLoss", "innerproduct": "InnerProduct", "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss", "padding": "Padding", "pool": "Pooling", "relu": "ReLU",
    "sigmoid": "Sigmoid", "softmax": "Softmax", "softmax_loss": "SoftmaxWithLoss", "split": "Split", "tanh": "TanH",
    "window_data": "WindowData",
}  # fmt: skip
# V0 wrote all parameters into the layer: where each belongs today.
V0_FIELDS = {
    "Convolution": ("convolution_param", {"num_output": "num_output", "biasterm": "bias_term", "pad": "pad",
                                          "kernelsize": "kernel_size", "group": "group", "stride": "stride"}),
    "Pooling": ("pooling_param", {"pool": "pool", "kernelsize": "kernel_size", "stride": "stride", "pad": "pad"}),
    "InnerProduct": ("inner_product_param", {"num_output": "num_output", "biasterm": "bias_term"}),
    "LRN": ("lrn_param", {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"}),
    "Concat": ("concat_param", {"concat_dim": "concat_dim"}),
    "Dropout": ("dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "Data": ("transform_param", {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size",
                                 "mirror": "mirror"}),
}  # fmt: skip

# Groups of LayerParameter in BVLC Caffe 1.0: a layer may carry those of others, which say nothing of it.
GROUP_NAMES = """
transform loss accuracy argmax batch_norm bias clip concat contrastive_loss convolution crop data dropout dummy_data
eltwise elu embed exp flatten hdf5_data hdf5_output hinge_loss image_data infogain_loss inner_product input log lrn
memory_data mvn parameter pooling power prelu python recurrent reduction relu reshape scale sigmoid softmax spp slice
swish tanh threshold tile window_data
"""
GROUPS = frozenset(f"{name}_param" for name in GROUP_NAMES.split())
# Fields that say how something is computed, trained or shown, not what.
WITHOUT_EFFECT = re.compile(
    r"(.*_)?filler$|engine$|cudnn_|force_nd_im2col$|moving_average_fraction$|momentum$|frozen$|stable_prod_grad$|"
    r"debug_info$|save_output_param$|visualize|param$"
)
DATA = frozenset({"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "DummyData", "AnnotatedData",
                  "ImageSegData", "VideoData", "DenseImageData"})  # fmt: skip
TRAINING = re.compile(r"Loss\d*$|^(Accuracy|HDF5Output|DetectionEvaluate|Silence)$")
LAYERS = 100_000


@dataclass
class Layer:
    """One layer, with the fields of its prototxt and, once matched, its trained blobs."""

    name: str
    type: str
    bottoms: list[str]
    tops: list[str]
    fields: Block
    blobs: list[np.ndarray] = field(default_factory=list)

    def fault(self, message: str) -> InputError:
        return InputError(f"{self.fields.where}, line {self.fields.line}: layer '{self.name}' ({self.type}): {message}")

    def param(self, name: str) -> Block:
        return self.fields.block(name)

    def finish(self) -> None:
        """Every field must have been understood.

        Raises:
            InputError: nobody looked at one.
        """
        for group, values in self.fields.fields.items():
            for value in values:
                if not isinstance(value, Block) or not group.endswith("_param"):
                    continue
                if group not in self.fields.seen:
                    if group not in GROUPS:
                        raise self.fault(f"the group '{group[:60]}' is not known")
                    continue
                for name in value.fields:
                    if name not in value.seen and not WITHOUT_EFFECT.match(name):
                        raise self.fault(f"the field '{name[:60]}' of {group} is not known")


@dataclass
class Net:
    """A prototxt: its declared inputs, and the layers of the testing phase."""

    name: str
    version: str
    inputs: dict[str, list[int]]
    layers: list[Layer]


def is_text(file: File) -> bool:
    """Whether a file is a prototxt of a network."""
    if not file.looks_like_text:
        return False
    head = file.head.decode("utf-8", "replace")
    layers = re.search(r"^\s*layers?\s*\{", head, re.MULTILINE)
    return bool(layers and re.search(r"\b(type|name|bottom|top)\s*:", head)) or bool(
        re.search(r"^\s*input\s*:\s*[\"']", head, re.MULTILINE) and re.search(r"\binput_(dim|shape)\b", head)
    )


def is_solver(file: File) -> bool:
    """Whether a file is a solver's settings, which name a network and hold none."""
    head = file.head.decode("utf-8", "replace")
    return file.looks_like_text and bool(
        re.search(r"^\s*(train_)?net\s*:\s*\"", head, re.MULTILINE)
        and re.search(r"^\s*base_lr\s*:", head, re.MULTILINE)
    )


def weights_surety(file: File) -> float:
    """How surely a file is a caffemodel."""
    shape = protobuf.shape_of(file.head)
    if shape is None or shape.get(1, {BYTES}) != {BYTES} or not set(shape) <= {1, 2, 3, 4, 5, 6, 7, 8, 100}:
        return 0.0
    for number in (100, 2):
        inner = protobuf.first_bytes(file.head, number)
        fields = protobuf.shape_of(inner) if inner else None
        if fields is None:
            continue
        if number == 100 and fields.get(1) == {BYTES} and fields.get(2) == {BYTES}:
            return 0.95
        if number == 2 and (
            (fields.get(4) == {BYTES} and fields.get(5) == {VARINT})
            or (fields.get(1) == {BYTES} and protobuf.first_bytes(inner or b"", 1) and set(fields) <= {1, 2, 3})
        ):
            return 0.7 + 0.2 * (file.suffix == ".caffemodel")
    return 0.0


# The text


def read_net(file: File) -> Net:
    """The layers of a prototxt that run in the testing phase.

    Raises:
        InputError: it cannot be parsed, or says what cannot be.
    """
    top = textproto.parse(file.text, str(file.path))
    old = top.blocks("layers")
    new = top.blocks("layer")
    if old and new:
        raise top.fault("it has both 'layer' and 'layers': two syntaxes in one file", old[0].line)
    if len(old) + len(new) > LAYERS:
        raise top.fault(f"more than {LAYERS} layers")
    version = "V2"
    if old:
        version = "V0" if any("layer" in block for block in old) else "V1"
    if version == "V0":
        layers = _fold_padding([_from_v0(block) for block in old])
    else:
        layers = [_layer(block, block.text("type"), version) for block in old or new]
    layers = [layer for layer in layers if _included(layer.fields)]
    inputs = _inputs(top)
    if not layers:
        raise top.fault("no layers in this network")
    return Net(top.text("name"), version, inputs, layers)


def _layer(block: Block, kind: str, version: str) -> Layer:
    if version == "V1":
        if kind.isdigit():
            kind = V1_TYPES.get(int(kind), kind)
        else:
            kind = V1_NAMES.get(kind) or "".join(word.capitalize() for word in kind.split("_"))
    if not kind:
        raise block.fault(f"layer '{block.text('name')}' has no type")
    return Layer(block.text("name"), kind, block.texts("bottom"), block.texts("top"), block)


def _from_v0(outer: Block) -> Layer:
    inner = outer.block("layer")
    kind = inner.text("type")
    if kind not in V0_TYPES:
        raise inner.fault(f"layer '{inner.text('name')}': unsupported type '{kind}'")
    kind = V0_TYPES[kind]
    block = Block(outer.where, inner.line, {k: v for k, v in outer.fields.items() if k != "layer"})
    group, names = V0_FIELDS.get(kind, ("", {}))
    params = Block(outer.where, inner.line, {new: inner.fields[old] for old, new in names.items() if old in inner})
    if group:
        block.fields[group] = [params]
    if kind == "Padding":
        block.fields["pad"] = inner.fields.get("pad", [])
    return Layer(inner.text("name"), kind, outer.texts("bottom"), outer.texts("top"), block)


def _fold_padding(layers: list[Layer]) -> list[Layer]:
    """V0 padded by a layer of its own: its pad becomes the next layer's."""
    padding = {top: layer for layer in layers if layer.type == "Padding" for top in layer.tops}
    kept = []
    for layer in layers:
        if layer.type == "Padding":
            continue
        for i, bottom in enumerate(layer.bottoms):
            if bottom in padding:
                if layer.type not in ("Convolution", "Pooling"):
                    raise layer.fault("a padding layer before it cannot be folded into it")
                group = "convolution_param" if layer.type == "Convolution" else "pooling_param"
                pad = padding[bottom].fields.text("pad", "0")
                layer.param(group).fields["pad"] = [Scalar(pad, layer.fields.line)]
                layer.bottoms[i] = padding[bottom].bottoms[0]
        kept.append(layer)
    return kept


def _included(block: Block) -> bool:
    """Whether the rules include a layer in the testing phase, level 0, without stages."""
    include, exclude = block.blocks("include"), block.blocks("exclude")
    if include:
        return any(_meets(rule) for rule in include)
    return not any(_meets(rule) for rule in exclude)


def _meets(rule: Block) -> bool:
    if rule.text("phase", "TEST") not in ("TEST", "1"):
        return False
    if rule.whole("min_level", 0) > 0 or ("max_level" in rule and rule.whole("max_level") < 0):
        return False
    return not rule.texts("stage")


def _inputs(top: Block) -> dict[str, list[int]]:
    names = top.texts("input")
    shapes = [b.whole_list("dim") for b in top.blocks("input_shape")]
    if not shapes:
        dims = top.whole_list("input_dim")
        if len(dims) % 4 or (dims and len(dims) != 4 * len(names)):
            raise top.fault(f"{len(dims)} input_dim for {len(names)} inputs: there should be four for each")
        shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
    if shapes and len(shapes) != len(names):
        raise top.fault(f"{len(shapes)} input shapes for {len(names)} inputs")
    return dict(zip(names, shapes or [[] for _ in names]))


# The weights


def _blob(message: Message) -> np.ndarray:
    """BlobProto: `shape` or the four old dimensions, and float or double data."""
    if 7 in message:
        shape = message.message(7).signed_list(1)
    elif any(n in message for n in (1, 2, 3, 4)):
        shape = [message.signed(n) for n in (1, 2, 3, 4)]
    else:
        shape = []
    data = message.floats(5) if 5 in message else message.doubles(8).astype(np.float32)
    if 12 in message:  # NVIDIA's fork: raw_data of raw_data_type
        raw = message.raw(12)
        kind = {0: "<f8", 1: "<f4", 2: "<f2"}.get(message.unsigned(10, 1))
        if kind is None or len(raw) % np.dtype(kind).itemsize:
            raise InputError(f"{message.where}: a blob of a type that is not known")
        data = np.frombuffer(raw, kind).astype(np.float32)
    if not shape and not any(n in message for n in (1, 2, 3, 4, 7)):
        shape = [len(data)]
    if any(size < 0 for size in shape) or math.prod(shape) != len(data):
        raise InputError(
            f"{message.where}: corrupt: a blob of shape {'x'.join(map(str, shape[:8]))} holds {len(data)} values"
        )
    return data.reshape(shape)


def read_weights(file: File) -> tuple[str, dict[str, tuple[str, list[np.ndarray]]]]:
    """The syntax version of a caffemodel, and type and blobs of each layer by name.

    Raises:
        InputError: it is damaged, or no caffemodel.
    """
    where = str(file.path)
    if file.looks_like_text or not file.size or nature(file) != "binary data of an unknown kind":
        raise InputError(f"{file.path}: {nature(file)}, not a caffemodel")
    top = Message(file.data, where)
    found: dict[str, tuple[str, list[np.ndarray]]] = {}
    version = "V2"
    for layer in top.messages(100, "layer"):
        _add(found, layer.text(1), layer.text(2), layer.messages(7), where)
    for outer in top.messages(2, "layers"):
        version = "V1"
        if 1 in outer:
            version = "V0"
            inner = outer.message(1)
            kind = V0_TYPES.get(inner.text(2), inner.text(2))
            _add(found, inner.text(1), kind, inner.messages(50), where)
        else:
            number = outer.unsigned(5)
            _add(found, outer.text(4), V1_TYPES.get(number, str(number)), outer.messages(6), where)
    if not found:
        raise InputError(f"{where}: not a caffemodel, or a corrupt one: no layers in it")
    return version, found


def _add(
    found: dict[str, tuple[str, list[np.ndarray]]], name: str, kind: str, blobs: Sequence[Message], where: str
) -> None:
    for blob in blobs:
        blob.where = f"{where}: layer '{name[:80]}'"
    arrays = [_blob(blob) for blob in blobs]
    if arrays or name not in found:
        found[name] = (kind, arrays)
