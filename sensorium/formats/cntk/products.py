"""CNTK's products."""

from __future__ import annotations

import math

from sensorium.errors import InputError
from sensorium.formats.cntk.attributes import given
from sensorium.formats.cntk.build import Builder, Value
from sensorium.formats.cntk.network import Function


def times(b: Builder, f: Function, x: list[Value]) -> Value:
    """Left [out x in] times right [in x rest] is [out x rest]; as arrays, right times left."""
    out_rank = given(f, "outputRank", int, 1)
    if f.attributes.get("inferInputRankToMap", -1) == -2:
        raise InputError("a product that sums over the sequence is not converted")
    left, right = x
    a, c = b.static(left), b.static(right)
    if not a and not c:
        return b.add("Mul", *b.aligned(x))
    if f.op == "TransposeTimes":
        if len(a) > 2:
            raise InputError(f"its left operand has {len(a)} axes")
        if len(a) == 1:
            left = b.unsqueeze(left, left.dynamic)
        order = [*range(left.dynamic), left.dynamic + 1, left.dynamic]
        stored = b.known(left)
        if stored is not None and stored.ndim == 2:
            left = b.stored(stored.T, "weight")
        else:
            left = b.add("Transpose", left, perm=order)
        a = b.static(left)
    if not 0 <= out_rank <= len(a):
        raise InputError(f"outputRank is {out_rank}, its left operand has {len(a)} axes")
    inner = len(a) - out_rank
    if inner > len(c):
        raise InputError(f"shapes {list(a[::-1])} and {list(c[::-1])} do not fit")
    shared, rest, outs = a[:inner], c[: len(c) - inner], a[inner:]
    if shared != c[len(c) - inner :]:
        raise InputError(f"shapes {list(a[::-1])} and {list(c[::-1])} do not fit")
    size, count = math.prod(shared), math.prod(outs)
    left = b.reshape(left, [size, count]) if len(a) != 2 or inner != 1 else left
    plain = len(rest) <= 1 and inner == 1  # the right operand is a row, or rows, already
    if not plain:
        right = b.reshape(right, [math.prod(rest), size])
    row = plain and not rest and bool(left.dynamic or right.dynamic) and (left.dynamic > 0 or not right.dynamic)
    if row:
        right = b.unsqueeze(right, right.dynamic)
    if left.dynamic and right.dynamic and left.dynamic != right.dynamic:
        left, right = (b.unsqueeze(v, 1, dynamic=2) if v.dynamic == 1 else v for v in (left, right))
    found = b.add("MatMul", right, left)
    if row:
        found = b.squeeze(found, found.dynamic)
    if plain and len(outs) == 1:
        return found
    return b.reshape(found, [*rest, *outs])
