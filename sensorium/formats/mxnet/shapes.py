"""What changes shapes and moves axes: reshape, transpose, broadcasting."""

from __future__ import annotations

import numpy as np

from sensorium.formats.mxnet.call import Call, operator

Piece = int | tuple[int, ...]  # a length (-1: what is left), or axes of the input whose product it is


def _to_pieces(call: Call, value: str, pieces: list[Piece]) -> str:
    rank = call.rank(value)
    stored = call.graph.constants.get(value)
    if stored is not None:
        sizes = [p if isinstance(p, int) else int(np.prod([stored.shape[a] for a in p])) for p in pieces]
        try:
            return call.graph.constant(stored.reshape(sizes), call.name)
        except ValueError:
            raise call.fault(f"{list(stored.shape)} cannot be given the shape {sizes}") from None
    if sum(p == -1 for p in pieces) > 1:
        raise call.fault("more than one length is left open")
    if all(isinstance(p, int) or p == (i,) for i, p in enumerate(pieces)):
        return str(call.add("Reshape", value, call.ints(*(p if isinstance(p, int) else 0 for p in pieces))))
    dims = call.dims(value)
    parts = []
    for piece in pieces:
        if isinstance(piece, int):
            parts.append(call.ints(piece))
        elif any(not 0 <= a < rank for a in piece):
            raise call.fault("its shape needs more axes than its input has")
        else:
            size = call.graph.add("Gather", dims, call.ints(*piece))
            parts.append(str(call.graph.add("ReduceProd", size, keepdims=1)) if len(piece) > 1 else str(size))
    shape = call.graph.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
    return str(call.add("Reshape", value, shape))


@operator("Reshape", "reshape")
def reshape(call: Call) -> str:
    rank = call.rank(call.x)
    call.expect(1)
    codes = call.wholes("shape")
    if not codes and call.given("target_shape"):  # before 0.8: 0 is what is left
        codes = [-1 if c == 0 else c for c in call.wholes("target_shape")]
        if call.flag("keep_highest"):
            codes[:1] = [0]
        return _to_pieces(call, call.x, [c if c else (0,) for c in codes])
    call.used.update(("target_shape", "keep_highest"))
    back = call.flag("reverse")
    if not codes:
        raise call.fault("shape=() is not supported")
    if back:
        if any(c < -1 for c in codes):
            raise call.fault("reverse=True with the codes -2, -3 and -4 is not supported")
        pieces: list[Piece] = []
        for i, code in enumerate(codes):
            at = rank - len(codes) + i
            if code == 0 and at < 0:
                raise call.fault(f"shape={codes} for an input with {rank} axes")
            pieces.append((at,) if code == 0 else code)
        return _to_pieces(call, call.x, pieces)
    pieces, at, i = [], 0, 0
    while i < len(codes):
        code = codes[i]
        i += 1
        if code == 0:
            pieces.append((at,))
            at += 1
        elif code == -2:
            pieces += [(a,) for a in range(at, rank)]
            at = rank
        elif code == -3:
            pieces.append((at, at + 1))
            at += 2
        elif code == -4:
            if i + 2 > len(codes) or at >= rank:
                raise call.fault(f"shape={codes}: -4 needs two lengths after it")
            pieces += _divided(call, codes[i], codes[i + 1], call.shape(call.x)[at])
            i, at = i + 2, at + 1
        elif code < -4:
            raise call.fault(f"shape={codes}: the code {code} is not known")
        else:
            pieces.append(code)
            at += 1
        if at > rank and code in (0, -3):
            raise call.fault(f"shape={codes} for an input with {rank} axes")
    return _to_pieces(call, call.x, pieces)


def _divided(call: Call, first: int, second: int, size: int) -> list[Piece]:
    """One axis as two, one length of which may be left open (-1)."""
    known = [n for n in (first, second) if n != -1]
    if (
        not known
        or any(n < 1 for n in known)
        or size % int(np.prod(known))
        or (len(known) == 2 and first * second != size)
    ):
        raise call.fault(f"an axis of {size} cannot be divided into {first} and {second}")
    return [first, second]


@operator("_npx_reshape", "_npi_reshape", "_np_reshape")
def numpy_reshape(call: Call) -> str:
    codes = call.wholes("newshape")
    if call.text("order", "C") != "C" or call.flag("reverse"):
        raise call.fault("another order than C is not supported")
    rank, shape = call.rank(call.x), call.shape(call.x)
    if call.op != "_npx_reshape":
        if any(c < -1 for c in codes):
            raise call.fault(f"newshape={codes}")
        return _to_pieces(call, call.x, list(codes))
    pieces: list[Piece] = []
    at, i = 0, 0
    while i < len(codes):
        code = codes[i]
        i += 1
        step = 1
        if code in (-2, -3, -5, -6) and at + (code == -5) >= rank:
            raise call.fault(f"newshape={codes} for an input with {rank} axes")
        if code == -2:
            pieces.append((at,))
        elif code == -3:
            if shape[at] != 1:
                raise call.fault(f"newshape={codes}: axis {at} has {shape[at]} values, not one")
        elif code == -4:
            pieces += [(a,) for a in range(at, rank)]
            step = rank - at
        elif code == -5:
            pieces.append((at, at + 1))
            step = 2
        elif code == -6:
            if i + 2 > len(codes):
                raise call.fault(f"newshape={codes}: -6 needs two lengths after it")
            pieces += _divided(call, codes[i], codes[i + 1], shape[at])
            i += 2
        elif code < -6:
            raise call.fault(f"newshape={codes}: the code {code} is not known")
        else:
            pieces.append(code)
        at += step
    return _to_pieces(call, call.x, pieces)


@operator("Flatten", "flatten", "_npx_batch_flatten")
def flatten(call: Call) -> str:
    return call.x if call.rank(call.x) == 2 else str(call.add("Flatten", call.x))


@operator("reshape_like", "_npx_reshape_like")
def reshape_like(call: Call) -> str:
    call.expect(2)
    for key in ("lhs_begin", "lhs_end", "rhs_begin", "rhs_end"):
        call.refuse(key)
    return str(call.add("Reshape", call.x, call.dims(call.input(1))))


@operator("transpose", "_npi_transpose", "_np_transpose")
def transpose(call: Call) -> str:
    rank = call.rank(call.x)
    axes = [call.axis(a, rank) for a in call.wholes("axes")] or list(range(rank))[::-1]
    if sorted(axes) != list(range(rank)):
        raise call.fault(f"axes={axes} for an input with {rank} axes")
    return str(call.add("Transpose", call.x, perm=axes))


@operator("SwapAxis", "swapaxes", "_npi_swapaxes")
def swap_axes(call: Call) -> str:
    rank = call.rank(call.x)
    a = call.axis(call.whole("dim1", 0), rank)
    b = call.axis(call.whole("dim2", 0), rank)
    axes = list(range(rank))
    axes[a], axes[b] = b, a
    return str(call.add("Transpose", call.x, perm=axes))


@operator("expand_dims", "_npi_expand_dims")
def expand_dims(call: Call) -> str:
    return str(call.add("Unsqueeze", call.x, call.ints(call.axis(call.whole("axis"), call.rank(call.x) + 1))))


@operator("squeeze", "_npi_squeeze", "_np_squeeze")
def squeeze(call: Call) -> str:
    shape = call.shape(call.x)
    axes = [call.axis(a, len(shape)) for a in call.wholes("axis")]
    if not axes:
        axes = [i for i, size in enumerate(shape) if size == 1 and i > 0]
        if shape and shape[0] == 1:
            raise call.fault("without an axis it would take away the batch, too")
        call.pin()
    if any(shape[a] != 1 for a in axes):
        raise call.fault(f"axis {axes} of an input of shape {list(shape)}")
    return str(call.add("Squeeze", call.x, call.ints(*axes)))


@operator("broadcast_axis", "broadcast_axes")
def broadcast_axis(call: Call) -> str:
    rank = call.rank(call.x)
    axes, sizes = call.wholes("axis"), call.wholes("size", least=1)
    if len(axes) != len(sizes):
        raise call.fault("as many sizes as axes are needed")
    shape = [1] * rank
    for a, size in zip(axes, sizes):
        shape[call.axis(a, rank)] = size
    return str(call.add("Expand", call.x, call.ints(*shape)))


@operator("broadcast_to", "_npi_broadcast_to", "_np_broadcast_to")
def broadcast_to(call: Call) -> str:
    shape = call.wholes("shape", least=0)
    return str(call.add("Expand", call.x, call.ints(*(size or 1 for size in shape))))


@operator("broadcast_like")
def broadcast_like(call: Call) -> str:
    call.expect(2)
    call.refuse("lhs_axes")
    call.refuse("rhs_axes")
    return str(call.add("Expand", call.x, call.dims(call.input(1))))


@operator("shape_array", "_npx_shape_array")
def shape_array(call: Call) -> str:
    return call.dims(call.x)


@operator("size_array")
def size_array(call: Call) -> str:
    return str(call.add("Reshape", call.add("Size", call.x), call.ints(1)))


@operator("depth_to_space", "space_to_depth")
def depth_and_space(call: Call) -> str:
    op = "DepthToSpace" if call.op == "depth_to_space" else "SpaceToDepth"
    return str(call.add(op, call.x, blocksize=call.whole("block_size")))
