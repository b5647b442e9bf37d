"""Layers with parameters: convolutions, pooling, normalisation, dense layers, activations, softmax, losses."""

from __future__ import annotations

import numpy as np

from sensorium.formats.mxnet.arithmetic import powered
from sensorium.formats.mxnet.call import Call, Misfit, operator

LOWEST = float(np.finfo(np.float32).min)
LAST = {"NWC": 1, "NHWC": 2, "NDHWC": 3}
FIRST = {"NCW": 1, "NCHW": 2, "NCDHW": 3}


def _channels_last(call: Call, spatial: int, ranks: str = "layout") -> bool:
    """Whether the channels are the last axis, as `layout` says."""
    layout = call.text(ranks, "None")
    if layout == "None":
        return False
    if FIRST.get(layout) == spatial:
        return False
    if LAST.get(layout) == spatial:
        return True
    raise call.fault(f"layout={layout[:20]} is not supported for {spatial} spatial axes")


def _first(call: Call, value: str, spatial: int) -> str:
    return str(call.add("Transpose", value, perm=[0, spatial + 1, *range(1, spatial + 1)]))


def _last(call: Call, value: str, spatial: int) -> str:
    return str(call.add("Transpose", value, perm=[0, *range(2, spatial + 2), 1]))


def _each(call: Call, key: str, spatial: int, default: int, least: int) -> list[int]:
    found = call.wholes(key, least=least) or [default] * spatial
    if len(found) != spatial:
        raise call.fault(f"{key}={found} for {spatial} spatial axes")
    return found


def _weighted(call: Call, bias_default: bool) -> tuple[str, str, str]:
    """Data, weight and bias ("" without one)."""
    without = call.flag("no_bias", bias_default)
    call.expect(2 if without else 3)
    return call.x, call.input(1), "" if without else call.input(2)


@operator("Convolution", "Convolution_v1", "_npx_convolution")
def convolution(call: Call) -> str:
    kernel = call.wholes("kernel", least=1)
    spatial = len(kernel)
    data, weight, bias = _weighted(call, False)
    filters, groups = call.whole("num_filter"), call.whole("num_group", 1)
    pad = _each(call, "pad", spatial, 0, 0)
    last = _channels_last(call, spatial)
    if last:
        data, weight = _first(call, data, spatial), _first(call, weight, spatial)
    shape = call.shape(weight)
    if list(shape[2:]) != kernel or shape[0] != filters or groups < 1 or filters % groups:
        raise call.fault(f"a weight of shape {list(shape)} for {filters} filters of {kernel} in {groups} groups")
    channels = call.shape(data)
    if len(channels) != spatial + 2:
        raise call.fault(f"an input with {len(channels)} axes for a kernel {kernel}")
    if channels[1] != shape[1] * groups:
        raise Misfit(
            str(call.fault(f"{channels[1]} channels for a weight of {shape[1] * groups}")),
            channels[1],
            shape[1] * groups,
        )
    stride, dilate = _each(call, "stride", spatial, 1, 1), _each(call, "dilate", spatial, 1, 1)
    for size, k, p, d in zip(channels[2:], kernel, pad, dilate):
        if size + 2 * p < d * (k - 1) + 1:
            raise Misfit(str(call.fault(f"a size of {size} is smaller than its kernel")), size, d * (k - 1) + 1 - 2 * p)
    value = call.add(
        "Conv", data, weight, bias, kernel_shape=kernel, strides=stride, dilations=dilate, group=groups, pads=pad * 2
    )  # fmt: skip
    return _last(call, value, spatial) if last else str(value)


@operator("Deconvolution", "_npx_deconvolution")
def deconvolution(call: Call) -> str:
    kernel = call.wholes("kernel", least=1)
    spatial = len(kernel)
    data, weight, bias = _weighted(call, True)
    last = _channels_last(call, spatial)
    if last:
        raise call.fault("a layout with the channels last is not supported")
    stride, dilate = _each(call, "stride", spatial, 1, 1), _each(call, "dilate", spatial, 1, 1)
    pad, adjust = _each(call, "pad", spatial, 0, 0), _each(call, "adj", spatial, 0, 0)
    filters, groups = call.whole("num_filter"), call.whole("num_group", 1)
    shape = call.shape(weight)
    if list(shape[2:]) != kernel or groups < 1 or shape[1] * groups != filters:
        raise call.fault(f"a weight of shape {list(shape)} for {filters} filters of {kernel} in {groups} groups")
    channels = call.shape(data)
    if len(channels) != spatial + 2 or channels[1] != shape[0]:
        raise call.fault(f"an input of shape {list(channels)} for a weight of shape {list(shape)}")
    target = call.wholes("target_shape", least=0)
    if any(target):
        if len(target) != spatial:
            raise call.fault(f"target_shape={target} for {spatial} spatial axes")
        call.pin()  # the padding follows from the size of the input
        for i, size in enumerate(channels[2:]):
            total = stride[i] * (size - 1) + dilate[i] * (kernel[i] - 1) + 1 - target[i]
            if total < 0:
                raise call.fault(f"target_shape={target} is too large")
            pad[i], adjust[i] = (total + 1) // 2, total % 2
    return str(
        call.add("ConvTranspose", data, weight, bias, kernel_shape=kernel, strides=stride, dilations=dilate,
            group=groups, pads=pad * 2, output_padding=adjust)
    )  # fmt: skip


@operator("Pooling", "Pooling_v1", "_npx_pooling")
def pooling(call: Call) -> str:
    call.expect(1)
    kind = call.text("pool_type", "max", ("max", "avg", "sum", "lp"))
    convention = call.text("pooling_convention", "valid", ("valid", "full", "same"))
    everything = call.flag("global_pool")
    counted = call.flag("count_include_pad", True)
    kernel, stride = call.wholes("kernel", least=1), call.wholes("stride", least=1)
    pad, power = call.wholes("pad", least=0), call.whole("p_value", 2)
    rank = call.rank(call.x)
    spatial = rank - 2
    if not 1 <= spatial <= 3:
        raise call.fault(f"an input with {rank} axes")
    last = _channels_last(call, spatial)
    x = _first(call, call.x, spatial) if last else call.x
    if everything:
        axes = call.ints(*range(2, rank))
        if kind == "sum":
            value = call.add("ReduceSum", x, axes)
        elif kind == "lp":
            value = _root(call, call.add("ReduceSum", _power(call, x, power), axes), power)
        else:
            value = call.add("GlobalMaxPool" if kind == "max" else "GlobalAveragePool", x)
        return _last(call, value, spatial) if last else str(value)
    stride, pad = stride or [1] * spatial, pad or [0] * spatial
    if not len(kernel) == len(stride) == len(pad) == spatial:
        raise call.fault(f"kernel {kernel}, stride {stride}, pad {pad} for {spatial} spatial axes")
    for size, k, p in zip(call.shape(x)[2:], kernel, pad):
        if size + 2 * p < k:
            raise Misfit(str(call.fault(f"a size of {size} is smaller than its kernel")), size, k - 2 * p)
    value = _pool(call, x, kind, convention, kernel, stride, pad, counted, power)
    return _last(call, value, spatial) if last else value


def _pool(
    call: Call,
    x: str,
    kind: str,
    convention: str,
    kernel: list[int],
    stride: list[int],
    pad: list[int],
    counted: bool,
    power: int,
) -> str:
    """`full` rounds the size up: the same as more padding at the end, and rounding down.

    Averages divide by the part of the window that lies in the padded input (or in the input, if padding does not
    count), so padding that counts is written out, and what rounding up adds is padding that does not.
    """
    if convention == "same":
        raise call.fault("pooling_convention=same is not supported")
    more = [s - 1 if convention == "full" else 0 for s in stride]
    ends = [p + m for p, m in zip(pad, more)]
    window = {"kernel_shape": kernel, "strides": stride}
    outside = any(p >= k for p, k in zip(pad + ends, kernel * 2))
    if kind == "max":
        if outside:
            x, pad, ends = _padded(call, x, pad, ends, LOWEST), [0] * len(pad), [0] * len(pad)
        return str(call.add("MaxPool", x, pads=pad + ends, **window))
    if kind == "avg":
        if counted and any(pad):
            x, pad, ends = _padded(call, x, pad, pad, 0.0), [0] * len(pad), more
        if any(p >= k for p, k in zip(pad + ends, kernel * 2)):
            raise call.fault(f"windows of {kernel} every {stride} that lie outside of the input")
        return str(call.add("AveragePool", x, pads=pad + ends, count_include_pad=0, **window))
    if outside:
        raise call.fault(f"windows of {kernel} every {stride} that lie outside of the input")
    x = _padded(call, x, pad, ends, 0.0)
    value = call.add("AveragePool", _power(call, x, power) if kind == "lp" else x, **window)
    value = str(call.add("Mul", value, call.constant(np.float32(np.prod(kernel)))))
    return _root(call, value, power) if kind == "lp" else value


def _power(call: Call, x: str, power: int) -> str:
    """x ^ p with its sign: MXNet does not take the magnitude first, as LpPool would."""
    if power not in (1, 2, 3):
        raise call.fault(f"p_value={power} is not defined: only 1, 2, 3")
    y = x
    for _ in range(power - 1):
        y = str(call.add("Mul", y, x))
    return y


def _root(call: Call, x: str, power: int) -> str:
    if power == 1:
        return x
    return str(call.add("Sqrt", x)) if power == 2 else powered(call, x, 1 / 3)


def _padded(call: Call, x: str, begin: list[int], end: list[int], value: float) -> str:
    if not any(begin + end):
        return x
    return str(call.add("Pad", x, call.ints(0, 0, *begin, 0, 0, *end), call.number_like(value, x)))


@operator("_contrib_AdaptiveAvgPooling2D", "contrib_AdaptiveAvgPooling2D")
def adaptive_pooling(call: Call) -> str:
    size = call.wholes("output_size", least=1)
    if len(size) > 2:
        raise call.fault(f"output_size={size}")
    height, width = (size * 2)[:2] if size else (1, 1)
    if (height, width) == (1, 1):
        return str(call.add("GlobalAveragePool", call.x))
    call.pin()  # the windows follow from the size of the input
    rows, columns = call.shape(call.x)[2:]
    value = call.add("MatMul", call.constant(_windows(rows, height)), call.x)
    return str(call.add("MatMul", value, call.constant(_windows(columns, width).T)))


def _windows(size: int, count: int) -> np.ndarray:
    """Rows that average the parts of an axis, from floor(i*size/count) to ceil((i+1)*size/count)."""
    matrix = np.zeros((count, size), np.float32)
    for i in range(count):
        a, b = i * size // count, -(-(i + 1) * size // count)
        matrix[i, a:b] = 1 / (b - a)
    return matrix


@operator("FullyConnected", "_npx_fully_connected")
def fully_connected(call: Call) -> str:
    data, weight, bias = _weighted(call, False)
    hidden = call.whole("num_hidden")
    flat = call.flag("flatten", True)
    rank = call.rank(data)
    shape = call.shape(weight)
    if len(shape) != 2 and len(shape) > 0:
        weight, shape = str(call.add("Flatten", weight)), (shape[0], int(np.prod(shape[1:])))
    if len(shape) != 2 or shape[0] != hidden:
        raise call.fault(f"a weight of shape {list(shape)} for {hidden} outputs")
    if flat and rank != 2:
        data, rank = str(call.add("Flatten", data)), 2
    given = call.shape(data)[-1]
    if given != shape[1]:
        raise Misfit(str(call.fault(f"{given} values for a weight of {shape[1]}")), given, shape[1])
    if rank == 2:
        return str(call.add("Gemm", data, weight, bias, transB=1))
    value = call.add("MatMul", data, call.add("Transpose", weight, perm=[1, 0]))
    return str(call.add("Add", value, bias)) if bias else str(value)


@operator("BatchNorm", "BatchNorm_v1", "CuDNNBatchNorm", "_contrib_SyncBatchNorm", "SyncBatchNorm", "_npx_batch_norm")
def batch_norm(call: Call) -> str:
    call.refuse("output_mean_var")
    call.used.update(("ndev", "key"))
    epsilon = call.number("eps", 1e-3)
    fixed = call.flag("fix_gamma", True)
    inputs = list(call.inputs)
    if len(inputs) == 3 and call.extra is not None:
        inputs += [call.extra("moving_mean"), call.extra("moving_var")]
    if len(inputs) != 5:
        raise call.fault(f"{len(inputs)} inputs are not what it takes")
    x, gamma, beta, mean, variance = inputs
    rank = call.rank(x)
    axis = call.axis(call.whole("axis", 1), rank)
    size = call.shape(x)[axis]
    for value in (gamma, beta, mean, variance):
        if call.shape(value) != (size,):
            needed = call.shape(value)[0] if call.rank(value) else 0
            raise Misfit(str(call.fault(f"{size} channels for parameters of {needed}")), size, needed)
    if fixed:
        gamma = call.constant(np.ones(size, np.float32))
    if axis == 1:
        return str(call.add("BatchNormalization", x, gamma, beta, mean, variance, epsilon=epsilon))
    shape = [size] + [1] * (rank - 1 - axis)
    spread = call.add("Sqrt", call.add("Add", variance, call.number_like(epsilon, variance)))
    scale = call.add("Reshape", call.add("Div", gamma, spread), call.ints(*shape))
    value = call.add("Mul", call.add("Sub", x, call.add("Reshape", mean, call.ints(*shape))), scale)
    return str(call.add("Add", value, call.add("Reshape", beta, call.ints(*shape))))


@operator("InstanceNorm", "_npx_instance_norm")
def instance_norm(call: Call) -> str:
    call.expect(3)
    if call.whole("axis", 1) != 1:
        raise call.fault("an axis other than 1 is not supported")
    return str(call.add("InstanceNormalization", *call.inputs, epsilon=call.number("eps", 1e-3)))


@operator("LayerNorm", "_npx_layer_norm")
def layer_norm(call: Call) -> str:
    call.expect(3)
    call.refuse("output_mean_var")
    x, gamma, beta = call.inputs
    rank = call.rank(x)
    axis = call.axis(call.whole("axis", -1), rank)
    epsilon = call.number("eps", 1e-5)
    if axis == rank - 1:
        return str(call.add("LayerNormalization", x, gamma, beta, axis=-1, epsilon=epsilon))
    axes, shape = call.ints(axis), call.ints(-1, *[1] * (rank - 1 - axis))
    centred = call.add("Sub", x, call.add("ReduceMean", x, axes))
    variance = call.add("ReduceMean", call.add("Mul", centred, centred), axes)
    value = call.add("Div", centred, call.add("Sqrt", call.add("Add", variance, call.number_like(epsilon, x))))
    value = call.add("Mul", value, call.add("Reshape", gamma, shape))
    return str(call.add("Add", value, call.add("Reshape", beta, shape)))


@operator("GroupNorm", "_npx_group_norm")
def group_norm(call: Call) -> str:
    call.expect(3)
    call.refuse("output_mean_var")
    x, gamma, beta = call.inputs
    groups, epsilon = call.whole("num_groups", 1), call.number("eps", 1e-5)
    shape = call.shape(x)
    if groups < 1 or len(shape) < 3 or shape[1] % groups:
        raise call.fault(f"{groups} groups for an input of shape {list(shape)}")
    parts = call.add("Reshape", x, call.ints(0, groups, -1))
    ones = call.constant(np.ones(groups, np.float32))
    zeros = call.constant(np.zeros(groups, np.float32))
    value = call.add("InstanceNormalization", parts, ones, zeros, epsilon=epsilon)
    value = call.add("Reshape", value, call.dims(x))
    for op, parameter in (("Mul", gamma), ("Add", beta)):
        length = call.shape(parameter)
        if length not in ((groups,), (shape[1],)):
            raise call.fault(f"a parameter of shape {list(length)} for {groups} groups of {shape[1]} channels")
        array = call.stored(parameter, "scale or shift")
        spread = np.repeat(array, shape[1] // len(array)).reshape([-1] + [1] * (len(shape) - 2))
        value = call.add(op, value, call.constant(spread))
    return str(value)


@operator("L2Normalization")
def l2_normalization(call: Call) -> str:
    mode = call.text("mode", "instance", ("instance", "channel", "spatial"))
    rank = call.rank(call.x)
    axes = {"instance": range(1, rank), "channel": range(1, 2), "spatial": range(2, rank)}[mode]
    if not axes:
        raise call.fault(f"mode={mode} for an input with {rank} axes")
    total = call.add("ReduceSumSquare", call.x, call.ints(*axes))
    length = call.add("Sqrt", call.add("Add", total, call.number_like(call.number("eps", 1e-10), call.x)))
    return str(call.add("Div", call.x, length))


@operator("LRN")
def lrn(call: Call) -> str:
    size = call.whole("nsize")
    if size < 1 or size % 2 == 0:
        raise call.fault(f"nsize={size}")
    return str(
        call.add("LRN", call.x, size=size, alpha=call.number("alpha", 1e-4), beta=call.number("beta", 0.75),
            bias=call.number("knorm", 2.0))
    )  # fmt: skip


ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign",
    "mish": "Mish"}  # fmt: skip


@operator("Activation", "_npx_activation")
def activation(call: Call) -> str:
    call.expect(1)
    kind = call.text("act_type", None, (*ACTIVATIONS, "log_sigmoid"))
    if kind == "log_sigmoid":
        return _log_sigmoid(call)
    return str(call.add(ACTIVATIONS[kind], call.x))


@operator("log_sigmoid")
def log_sigmoid(call: Call) -> str:
    return _log_sigmoid(call)


def _log_sigmoid(call: Call) -> str:
    return str(call.add("Neg", call.add("Softplus", call.add("Neg", call.x))))


@operator("hard_sigmoid")
def hard_sigmoid(call: Call) -> str:
    return str(call.add("HardSigmoid", call.x, alpha=call.number("alpha", 0.2), beta=call.number("beta", 0.5)))


@operator("LeakyReLU", "_npx_leaky_relu")
def leaky_relu(call: Call) -> str:
    kind = call.text("act_type", "leaky", ("leaky", "prelu", "elu", "selu", "gelu", "gelu_erf", "gelu_tanh", "rrelu"))
    slope = call.number("slope", 0.25)
    low, high = call.number("lower_bound", 0.125), call.number("upper_bound", 0.334)
    if kind == "prelu":
        call.expect(2)
        shape = call.shape(call.input(1))
        if len(shape) != 1:
            raise call.fault(f"slopes of shape {list(shape)}")
        rank = call.rank(call.x)
        if rank > 2 or shape[0] == 1:
            ends = call.ints(*shape, *[1] * max(0, rank - 2))
            return str(call.add("PRelu", call.x, call.add("Reshape", call.input(1), ends)))
        return str(call.add("PRelu", call.x, call.input(1)))
    call.expect(1)
    if kind == "elu":
        return str(call.add("Elu", call.x, alpha=slope))
    if kind == "selu":
        return str(call.add("Selu", call.x))
    if kind == "gelu_tanh":
        return _gelu_tanh(call)
    if kind.startswith("gelu"):
        half = call.add("Mul", call.x, call.number_like(0.5, call.x))
        grown = call.add("Erf", call.add("Mul", call.x, call.number_like(0.5**0.5, call.x)))
        return str(call.add("Mul", half, call.add("Add", grown, call.number_like(1.0, call.x))))
    return str(call.add("LeakyRelu", call.x, alpha=(low + high) / 2 if kind == "rrelu" else slope))


def _gelu_tanh(call: Call) -> str:
    x = call.x
    cube = call.add("Mul", call.add("Mul", x, x), x)
    inner = call.add("Add", x, call.add("Mul", cube, call.number_like(0.044715, x)))
    grown = call.add("Tanh", call.add("Mul", inner, call.number_like((2 / np.pi) ** 0.5, x)))
    half = call.add("Mul", x, call.number_like(0.5, x))
    return str(call.add("Mul", half, call.add("Add", grown, call.number_like(1.0, x))))


@operator("SoftmaxOutput", "Softmax")
def softmax_output(call: Call) -> str:
    if call.flag("multi_output"):
        call.used.add("preserve_shape")
        return str(call.add("Softmax", call.x, axis=1))
    if call.flag("preserve_shape"):
        return str(call.add("Softmax", call.x, axis=-1))
    rank = call.rank(call.x)
    if rank <= 2:
        return str(call.add("Softmax", call.x, axis=rank - 1))
    if rank > 3:  # over everything, or over the last axis with oneDNN
        raise call.fault(f"MXNet's builds differ in what it computes for an input with {rank} axes")
    value = call.add("Softmax", call.add("Flatten", call.x), axis=1)
    return str(call.add("Reshape", value, call.dims(call.x)))


@operator("SoftmaxActivation")
def softmax_activation(call: Call) -> str:
    if call.text("mode", "instance", ("instance", "channel")) == "channel":
        return str(call.add("Softmax", call.x, axis=1))
    return str(call.add("Softmax", call.x, axis=-1))


@operator("softmax", "log_softmax", "softmin", "_npx_softmax", "_npx_log_softmax", "masked_softmax")
def softmax(call: Call) -> str:
    lengths = call.flag("use_length")
    call.expect(1 + lengths)
    call.refuse("dtype", "float32")
    axis = call.axis(call.whole("axis", -1), call.rank(call.x))
    x = call.x
    if call.given("temperature") and call.number("temperature") != 1:
        x = call.add("Div", x, call.number_like(call.number("temperature"), x))
    if call.op == "softmin":
        x = call.add("Neg", x)
    log = call.op.endswith("log_softmax")
    if not lengths:
        return str(call.add("LogSoftmax" if log else "Softmax", x, axis=axis))
    if log:
        raise call.fault("use_length is not supported")
    # What lies behind the length of a row takes no part, and is 0.
    zero, one = (call.graph.constant(np.array(n, np.int64)) for n in (0, 1))
    size = call.add("Squeeze", call.dims(x, axis, axis + 1), call.ints(0))
    place = call.add("Range", zero, size, one)
    rest = call.rank(x) - 1 - axis
    place = call.add("Unsqueeze", place, call.ints(*range(1, rest + 1))) if rest else place
    length = call.add("Unsqueeze", call.cast(call.input(1), np.int64), call.ints(axis))
    inside = call.add("Less", place, length)
    y = call.add("Softmax", call.add("Where", inside, x, call.number_like(-np.inf, x)), axis=axis)
    return str(call.add("Where", inside, y, call.number_like(0.0, x)))


@operator("LogisticRegressionOutput")
def logistic_output(call: Call) -> str:
    return str(call.add("Sigmoid", call.x))


@operator("LinearRegressionOutput", "MAERegressionOutput", "SVMOutput", "MakeLoss", "make_loss", "BlockGrad",
    "stop_gradient", "identity", "_copy", "_np_copy", "Dropout", "_npx_dropout", "_identity_with_attr_like_rhs",
    "IdentityAttachKLSparseReg", "_copyto", "_npi_copy", "_npx_stop_gradient",
    "_contrib_gradientmultiplier")  # fmt: skip
def same(call: Call) -> str:
    """What only training knows."""
    call.used.update(("p", "axes", "margin", "regularization_coefficient", "use_linear", "valid_thresh",
        "scalar"))  # fmt: skip
    call.used.update(("sparseness_target", "penalty"))
    call.refuse("mode", "training")
    return call.x


@operator("Embedding", "_contrib_SparseEmbedding", "_npx_embedding")
def embedding(call: Call) -> str:
    call.expect(2)
    call.refuse("dtype", "float32")
    call.used.add("deterministic")
    rows, width = call.whole("input_dim"), call.whole("output_dim")
    if call.shape(call.input(1)) != (rows, width):
        raise call.fault(f"a weight of shape {list(call.shape(call.input(1)))} for {rows} rows of {width}")
    index = call.cast(call.x, np.int64)
    index = call.add("Min", call.add("Max", index, call.ints(0)), call.ints(rows - 1))
    return str(call.add("Gather", call.input(1), index, axis=0))
