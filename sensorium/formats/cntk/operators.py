"""CNTK's primitive operations: which function converts each, and how many inputs it takes."""

from __future__ import annotations

from sensorium.errors import InputError
from sensorium.formats.cntk.attributes import Handler
from sensorium.formats.cntk.build import Builder, Value
from sensorium.formats.cntk.convolution import convolution, pooling, unpooling
from sensorium.formats.cntk.elements import (
    BINARY,
    COMPARE,
    UNARY,
    assign,
    batch_norm,
    binary,
    clip,
    compare,
    cosine,
    elu,
    fill,
    identity,
    log_plus,
    logarithm,
    reciprocal,
    root,
    select,
    softmax,
    unary,
)
from sensorium.formats.cntk.network import Function
from sensorium.formats.cntk.products import times
from sensorium.formats.cntk.recurrent import rnn_stack
from sensorium.formats.cntk.reductions import gather, one_hot, reduce, roi_pooling, top_k
from sensorium.formats.cntk.sequences import (
    broadcast_as,
    delay,
    gather_packed,
    packed_index,
    reconcile,
    to_batch,
    to_sequence,
    unpack,
    unpack_batch,
    where,
)
from sensorium.formats.cntk.shapes import crop, cut, new_shape, pad, splice, squeezed, transpose

IDENTITY = ("Pass", "NoOp", "StopGradient", "Dropout", "Cast")


def convert(b: Builder, function: Function) -> list[Value]:
    """Evaluate one function; its outputs.

    Raises:
        InputError: it is not one that is converted; the reason, without its name.
    """
    op = function.block if function.op == "Block" else function.op
    handler = HANDLERS.get(op)
    if handler is None:
        raise InputError("this operation is not converted")
    least, most = ARITY.get(op, (1, 1))
    sources = function.arguments if function.op == "Block" else function.inputs
    if not least <= len(sources) <= most:
        raise InputError(f"has {len(sources)} inputs")
    found = handler(b, function, [b.value(uid) for uid in sources])
    return found if isinstance(found, list) else [found]


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(IDENTITY, identity),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(COMPARE, compare),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    "Reciprocal": reciprocal,
    "Log": logarithm,
    "Sqrt": root,
    "ELU": elu,
    "LogPlus": log_plus,
    "Clip": clip,
    "Select": select,
    "Assign": assign,
    "ConstantOp": fill,
    "CosDistance": cosine,
    "Times": times,
    "TransposeTimes": times,
    "Reshape": new_shape,
    "TransposeAxes": transpose,
    "Slice": cut,
    "Splice": splice,
    "Squeeze": squeezed,
    "Pad": pad,
    "Crop": crop,
    "ReduceElements": reduce,
    "SumAll": reduce,
    "OneHot": one_hot,
    "Gather": gather,
    "TopK": top_k,
    "BatchNormalization": batch_norm,
    "Convolution": convolution,
    "Pooling": pooling,
    "Unpooling": unpooling,
    "ROIPooling": roi_pooling,
    "OptimizedRNNStack": rnn_stack,
    "PastValue": delay,
    "FutureValue": delay,
    "ReconcileDynamicAxis": reconcile,
    "ToSequenceLike": to_sequence,
    "ToSequence": to_sequence,
    "UnpackSequence": unpack,
    "UnpackBatch": unpack_batch,
    "ToBatch": to_batch,
    "Where": where,
    "PackedIndex": packed_index,
    "GatherPacked": gather_packed,
    "Sequence::BroadcastAs": broadcast_as,
}


ARITY: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        (*BINARY, *COMPARE, "LogPlus", "Times", "TransposeTimes", "CosDistance", "Assign", "Gather"), (2, 2)
    ),
    **dict.fromkeys(("Convolution", "Unpooling", "ROIPooling", "OptimizedRNNStack", "ReconcileDynamicAxis"), (2, 2)),
    **dict.fromkeys(("PackedIndex", "GatherPacked", "Sequence::BroadcastAs", "ToSequenceLike"), (2, 2)),
    **dict.fromkeys(("PastValue", "FutureValue", "ToSequence"), (1, 2)),
    **dict.fromkeys(("Clip", "Select"), (3, 3)),
    "Crop": (2, 4),
    "Splice": (1, 1 << 16),
    "BatchNormalization": (5, 6),
}
