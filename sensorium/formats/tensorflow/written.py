"""Graphs kept as text (.pbtxt): brought to the bytes that they stand for, so that everything else reads these.

The fields are those of tensorflow/core/framework/*.proto and tensorflow/core/protobuf/{meta_graph,saved_model}.proto;
what is not listed here is not needed to compute, and left out.
"""

from __future__ import annotations

import struct

from sensorium.errors import InputError
from sensorium.formats.shared.source import File
from sensorium.formats.shared.textproto import Block, Scalar, parse
from sensorium.formats.tensorflow.graphdef import NAMES

LIMIT = 1 << 30  # bytes of a text
# Message to its fields: name to number and type. A type is that of a scalar, or another message.
FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "SavedModel": {"saved_model_schema_version": (1, "int"), "meta_graphs": (2, "MetaGraph")},
    "MetaGraph": {"meta_info_def": (1, "MetaInfo"), "graph_def": (2, "Graph"), "signature_def": (5, "SignatureEntry")},
    "MetaInfo": {"stripped_op_list": (2, "OpList"), "tags": (4, "bytes"), "tensorflow_version": (5, "bytes")},
    "OpList": {"op": (1, "Op")},
    "SignatureEntry": {"key": (1, "bytes"), "value": (2, "Signature")},
    "Signature": {"inputs": (1, "TensorEntry"), "outputs": (2, "TensorEntry"), "method_name": (3, "bytes")},
    "TensorEntry": {"key": (1, "bytes"), "value": (2, "TensorInfo")},
    "TensorInfo": {"name": (1, "bytes"), "dtype": (2, "type"), "tensor_shape": (3, "Shape")},
    "Graph": {"node": (1, "Node"), "library": (2, "Library"), "versions": (4, "Versions")},
    "Versions": {"producer": (1, "int"), "min_consumer": (2, "int")},
    "Node": {"name": (1, "bytes"), "op": (2, "bytes"), "input": (3, "bytes"), "device": (4, "bytes"),
             "attr": (5, "AttributeEntry")},
    "AttributeEntry": {"key": (1, "bytes"), "value": (2, "Attribute")},
    "Attribute": {"list": (1, "List"), "s": (2, "bytes"), "i": (3, "int"), "f": (4, "float"), "b": (5, "bool"),
                  "type": (6, "type"), "shape": (7, "Shape"), "tensor": (8, "Tensor"), "placeholder": (9, "bytes"),
                  "func": (10, "Called")},
    "List": {"s": (2, "bytes"), "i": (3, "int"), "f": (4, "float"), "b": (5, "bool"), "type": (6, "type"),
             "shape": (7, "Shape"), "tensor": (8, "Tensor"), "func": (9, "Called")},
    "Called": {"name": (1, "bytes"), "attr": (2, "AttributeEntry")},
    "Shape": {"dim": (2, "Size"), "unknown_rank": (3, "bool")},
    "Size": {"size": (1, "int"), "name": (2, "bytes")},
    "Tensor": {"dtype": (1, "type"), "tensor_shape": (2, "Shape"), "tensor_content": (4, "bytes"),
               "float_val": (5, "float"), "double_val": (6, "double"), "int_val": (7, "int"),
               "string_val": (8, "bytes"), "scomplex_val": (9, "float"), "int64_val": (10, "int"),
               "bool_val": (11, "bool"), "half_val": (13, "int"), "uint32_val": (16, "int"), "uint64_val": (17, "int")},
    "Library": {"function": (1, "Function")},
    "Function": {"signature": (1, "Op"), "node_def": (3, "Node"), "ret": (4, "Result"), "attr": (5, "AttributeEntry")},
    "Result": {"key": (1, "bytes"), "value": (2, "bytes")},
    "Op": {"name": (1, "bytes"), "input_arg": (2, "Argument"), "output_arg": (3, "Argument")},
    "Argument": {"name": (1, "bytes"), "type": (3, "type"), "type_attr": (4, "bytes"), "number_attr": (5, "bytes"),
                 "type_list_attr": (6, "bytes")},
}  # fmt: skip
TYPES = {name: number for number, name in NAMES.items()} | {f"{name}_REF": n + 100 for n, name in NAMES.items()}
KINDS = (("SavedModel", "meta_graphs"), ("MetaGraph", "graph_def"), ("Graph", "node"))


def encoded(file: File) -> bytes:
    """A GraphDef, MetaGraphDef or SavedModel that is kept as text, as its bytes.

    Raises:
        InputError: it cannot be parsed, or is none of these.
    """
    if file.size > LIMIT:
        raise InputError(f"{file.path}: larger than {LIMIT >> 20} MB of text")
    block = parse(file.text, str(file.path))
    kind = next((kind for kind, name in KINDS if name in block), None)
    if kind is None:
        raise InputError(f"{file.path}: a text, but not of a graph of TensorFlow")
    return _message(block, kind)


def _message(block: Block, kind: str) -> bytes:
    found = []
    for name, (number, inner) in FIELDS[kind].items():
        if inner in FIELDS:
            found += [_bytes(number, _message(entry, inner)) for entry in block.blocks(name)]
        elif name in block:
            found += [_scalar(block, value, number, inner) for value in block.scalars(name)]
    return b"".join(found)


def _scalar(block: Block, value: Scalar, number: int, kind: str) -> bytes:
    text = value.text
    if kind == "bytes":
        try:  # bytes are escaped one by one
            return _bytes(number, text.encode("latin-1"))
        except UnicodeEncodeError:
            return _bytes(number, text.encode("utf-8"))
    try:
        if kind == "float":
            number_text = text[:-1] if text[-1:] == "f" and text[-2:-1].isdigit() else text  # 1.5f
            return _varint(number << 3 | 5) + struct.pack("<f", float(number_text))
        if kind == "double":
            return _varint(number << 3 | 1) + struct.pack("<d", float(text))
        if kind == "bool":
            whole = {"true": 1, "false": 0, "t": 1, "f": 0}.get(text.lower())
            whole = int(text) if whole is None else whole
        elif kind == "type":
            whole = TYPES[text] if text in TYPES else int(text)
        else:
            whole = int(text, 0)
    except (ValueError, OverflowError):
        raise block.fault(f"'{text[:40]}' is no value of the type {kind}", value.line) from None
    if not -(1 << 63) <= whole < 1 << 64:
        raise block.fault(f"{text[:40]} is too large", value.line)
    return _varint(number << 3) + _varint(whole % (1 << 64))


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
