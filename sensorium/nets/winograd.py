"""Wide 3 x 3 convolutions by Winograd's algorithm, written into a network when ONNX Runtime opens it.

ONNX Runtime computes convolutions as they are defined. F(4 x 4, 3 x 3) of Lavin and Gray (2016, "Fast Algorithms for
Convolutional Neural Networks", section 4) needs a quarter of the multiplications: tiles of 6 x 6 are transformed, the
36 places of all tiles are multiplied as 36 matrices, and what comes out is transformed back to 4 x 4. Here it is put
together from operators that ONNX Runtime has. The file stays as it is: other engines, precisions and browsers see the
convolution. The exporter notes the size of each map that is worth it in the metadata of its node (`MARK`).

The results differ from those of the definition by about 1e-5 of the largest.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from sensorium.nets.mapped import encoded, field
from sensorium.vetting import spans, varint

MARK = "sensorium.map"  # metadata of a node: height and width of its output, as "80x80"
LEAST = 128  # channels read and written: with fewer, transforming takes as long as is saved
LEAST_PLACES = 400  # of a map

INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
     [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
)  # fmt: skip
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
# Of rows and of columns: (36, 1, 6, 6) for a convolution, (36, 9) and (16, 36) for products.
CONSTANTS = {
    "winograd_input": np.kron(INPUT, INPUT).reshape(36, 1, 6, 6).astype(np.float32),
    "winograd_kernel": np.kron(KERNEL, KERNEL).astype(np.float32),
    "winograd_output": np.kron(OUTPUT, OUTPUT).astype(np.float32),
}


def worthwhile(weight: list[int], height: int, width: int) -> bool:
    """Whether a convolution with a weight (O, C, 3, 3), over a map of this size, is quicker so."""
    return len(weight) == 4 and weight[2:] == [3, 3] and min(weight[:2]) >= LEAST and height * width >= LEAST_PLACES


def rewritten(model: bytes) -> bytes | None:
    """A model with the convolutions that are marked written out; None where there is none.

    Args:
        model: a vetted ONNX file, whose weights may lie elsewhere.

    Raises:
        ValueError, IndexError: it is none.
    """
    if MARK.encode() not in model:
        return None
    data = memoryview(model)
    written = bytearray()
    for place, kind, begin, at, end in spans(data, 0, len(data)):
        written += field(7, _graph(data, at, end)) if (place, kind) == (7, 2) else data[begin:end]
    return bytes(written)


def _graph(data: memoryview, at: int, end: int) -> bytes:
    weights = {}
    for place, kind, _, inside, last in spans(data, at, end):
        if (place, kind) == (5, 2):
            name, of_floats, sizes = _weight(data, inside, last)
            if of_floats:
                weights[name] = sizes
    graph, tensors = bytearray(), bytearray()
    for place, kind, begin, inside, last in spans(data, at, end):
        made = None
        if (place, kind) == (1, 2) and MARK.encode() in bytes(data[inside:last]):
            made = _convolution(data, inside, last, weights)
        if made is None:
            graph += data[begin:last]
        else:
            graph += made[0]
            tensors += made[1]
    if tensors:
        tensors += b"".join(field(5, _tensor(name, array)) for name, array in CONSTANTS.items())
    return bytes(graph + tensors)


def _weight(data: memoryview, at: int, end: int) -> tuple[str, bool, list[int]]:
    """Of a TensorProto: its name, whether it has floats of 32 bits, its shape."""
    name, of_floats, sizes = "", False, []
    for place, kind, _, value, last in spans(data, at, end):
        if place == 8:
            name = bytes(data[value:last]).decode("utf-8", "replace")
        elif (place, kind) == (2, 0):
            of_floats = varint(data, value)[0] == 1
        elif (place, kind) == (1, 0):
            sizes.append(varint(data, value)[0])
        elif place == 1:  # packed
            while value < last:
                size, value = varint(data, value)
                sizes.append(size)
    return name, of_floats, sizes


def _convolution(data: memoryview, at: int, end: int, weights: dict[str, list[int]]) -> tuple[bytes, bytes] | None:
    """Nodes and tensors, as fields of a graph, in place of one node; None where it is not to be written out."""
    inputs, outputs, size = [], [], ""
    for place, _, _, value, last in spans(data, at, end):
        part = data[value:last]
        if place == 1:
            inputs.append(bytes(part).decode())
        elif place == 2:
            outputs.append(bytes(part).decode())
        elif place == 9:  # metadata: the mark is the key, its size the value
            texts = [bytes(part[a:b]).decode() for _, _, _, a, b in spans(part, 0, len(part))]
            size = texts[1] if texts[0] == MARK else size
    told = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if told is None or len(inputs) < 2:
        return None
    x, weight, *bias = inputs
    sizes, height, width = weights.get(weight, []), int(told[1]), int(told[2])
    if not worthwhile(sizes, height, width):
        return None
    return _written(x, weight, [name for name in bias if name], outputs[0], sizes, height, width)


def _written(
    x: str, weight: str, bias: list[str], y: str, sizes: list[int], height: int, width: int
) -> tuple[bytes, bytes]:
    out, channels = sizes[:2]
    down, across = -(-height // 4), -(-width // 4)  # tiles
    nodes, tensors = bytearray(), bytearray()

    def make(op: str, *given: str | list[int], **how: int | str | list[int]) -> str:
        """One operator more; lists among its inputs are shapes and places."""
        nonlocal nodes, tensors
        made = f"{y}_winograd_{len(nodes)}"
        inputs: list[str] = []
        for one in given:
            if isinstance(one, list):
                tensors += field(5, _tensor(f"{made}_{len(inputs)}", np.array(one, np.int64)))
                one = f"{made}_{len(inputs)}"
            inputs.append(one)
        nodes += field(1, _node(op, inputs, made, how))
        return made

    places = down * across
    tiles = make("Reshape", make("Transpose", x, perm=[1, 0, 2, 3]), [-1, 1, height, width])
    pads = [1, 1, 1 + 4 * down - height, 1 + 4 * across - width]
    seen = make("Conv", tiles, "winograd_input", strides=[4, 4], pads=pads)
    seen = make("Transpose", make("Reshape", seen, [channels, -1, 36, places]), perm=[1, 2, 0, 3])
    # Of weights alone: computed once, when the network is opened.
    kernel = make("Gemm", "winograd_kernel", make("Reshape", weight, [out * channels, 9]), transB=1)
    kernel = make("Reshape", kernel, [1, 36, out, channels])
    found = make("Reshape", make("MatMul", kernel, seen), [-1, 36, out * places])
    found = make("Reshape", make("MatMul", "winograd_output", found), [-1, 16 * out, down, across])
    found = make("DepthToSpace", found, blocksize=4, mode="DCR")
    if height % 4 or width % 4:
        found = make("Slice", found, [0, 0], [height, width], [2, 3])
    if bias:
        found = make("Add", found, make("Reshape", bias[0], [out, 1, 1]))
    nodes += field(1, _node("Identity", [found], y, {}))
    return bytes(nodes), bytes(tensors)


def _node(op: str, inputs: list[str], output: str, how: dict[str, Any]) -> bytes:
    """A NodeProto."""
    names = b"".join(field(1, name.encode()) for name in inputs) + field(2, output.encode())
    return names + field(3, output.encode()) + field(4, op.encode()) + b"".join(map(_attribute, how, how.values()))


def _attribute(name: str, value: int | str | list[int]) -> bytes:
    """An AttributeProto, as a field of a node: of its type's number and its value."""
    if isinstance(value, list):
        kind, content = 7, b"".join(encoded(8 << 3) + encoded(one) for one in value)
    elif isinstance(value, str):
        kind, content = 3, field(4, value.encode())
    else:
        kind, content = 2, encoded(3 << 3) + encoded(value)
    return field(5, field(1, name.encode()) + content + encoded(20 << 3) + encoded(kind))


def _tensor(name: str, array: np.ndarray) -> bytes:
    """A TensorProto of float32 or int64."""
    sizes = b"".join(encoded(1 << 3) + encoded(size) for size in array.shape)
    kind = encoded(2 << 3) + encoded(7 if array.dtype == np.int64 else 1)
    return sizes + kind + field(8, name.encode()) + field(9, array.tobytes())
