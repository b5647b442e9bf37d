"""Keras's ConvLSTM: an LSTM whose products are convolutions, as a Scan."""

from __future__ import annotations

import numpy as np

from sensorium.formats.shared.keras.base import Layer, Net, Value, activate
from sensorium.formats.shared.keras.layers.convolution import padding, same
from sensorium.formats.shared.keras.layers.inputs import channels_first
from sensorium.formats.shared.keras.weights import Weights


def conv_lstm(
    net: Net, part: Layer, weights: Weights, x: Value, states: list[str], backwards: bool
) -> tuple[str, str, list[str]]:  # fmt: skip
    """Its outputs in the order of time, the last one, its last states. Source: Shi et al., 2015, as Keras has it.

    The convolution of the inputs sees all times at once; only that of the state is in the loop.
    """
    axes = int(part.kind[-2])
    if net.rank(x) != axes + 3:
        raise part.fault(f"takes an input of {axes + 3} axes, not {net.rank(x)}")
    first = channels_first(net, part)
    filters, bias = part.positive("filters"), part.flag("use_bias", True)
    kernel, strides = part.ints("kernel_size", axes), part.ints("strides", axes, 1)
    dilation = part.ints("dilation_rate", axes, 1)
    stored = Layer(part.kind, part.name, {}, weights).arrays(3 if bias else 2)
    part.shaped(stored[0], *kernel, None, 4 * filters)
    part.shaped(stored[1], *kernel, filters, 4 * filters)
    first_axes = [axes + 1, axes, *range(axes)]
    value = net.real(x.name)
    rank = net.rank(value)
    if not first:
        value = net.op("Transpose", value, perm=[0, 1, rank - 1, *range(2, rank - 1)])
    flat = net.op("Reshape", value, net.joined(net.ints([-1]), net.sizes(value, 2)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    given = net.op(
        "Conv", flat, net.array(stored[0].transpose(first_axes), f"{part.name}.kernel"),
        net.array(part.shaped(stored[2], 4 * filters), f"{part.name}.bias") if bias else "",
        kernel_shape=kernel, strides=strides, dilations=dilation, **padding(net, part, flat, axes, reach, strides),
    )  # fmt: skip
    space = net.graph.shape(given)[2:]
    given = net.op("Reshape", given, net.joined(net.sizes(value, 0, 2), net.sizes(given, 1)))
    steps = net.op("Transpose", given, perm=[1, 0, *range(2, rank)])
    time, batch = net.graph.shape(steps)[:2]
    shape = (batch, filters, *space)
    if states and len(states) != 2:
        raise part.fault(f"{len(states)} initial states instead of 2")
    whole = net.joined(net.sizes(value, 0, 1), net.ints([filters]), net.sizes(given, 3))
    start = [net.real(s) if first else net.last_to_first(net.real(s)) for s in states]
    start = start or [net.op("ConstantOfShape", whole, value=np.zeros(1, np.float32))] * 2

    body = net.graph.subgraph()
    inner = Net(body, net.dialect)
    h, c = (body.input(f"state_{i}", shape, free={0: "batch"}) for i in range(2))
    now = body.input("step", (batch, 4 * filters, *space), free={0: "batch"})
    turned = inner.array(stored[1].transpose(first_axes), f"{part.name}.recurrent_kernel")
    total = inner.op("Add", now, inner.op("Conv", h, turned, kernel_shape=kernel,
                                          **same(inner, h, axes, kernel, [1] * axes)))  # fmt: skip
    i, f, m, o = (inner.part(total, 1, k * filters, (k + 1) * filters) for k in range(4))

    def act(name: str) -> str:
        return activate(inner, part, name, "activation", "tanh", axis=1)

    def gate(name: str) -> str:
        default = "hard_sigmoid" if net.dialect.version < 3 else "sigmoid"
        return activate(inner, part, name, "recurrent_activation", default, axis=1)

    memory = inner.op("Add", inner.op("Mul", gate(f), c), inner.op("Mul", gate(i), act(m)))
    y = inner.op("Mul", gate(o), act(memory))
    for name, v in (("h", y), ("c", memory), ("y", y)):
        body.output(inner.op("Identity", v), f"after_{body.fresh(name)}")
    direction = [1 if backwards else 0]
    found = net.graph.add("Scan", *start, steps, outputs=3, body=body, num_scan_inputs=1,
                          scan_input_directions=direction, scan_output_directions=direction)  # fmt: skip
    for v in found[:2]:
        net.graph.tell(v, shape)
    net.graph.tell(found[2], (time, *shape))
    order = [1, 0, *range(2, rank)] if first else [1, 0, *range(3, rank), 2]
    after = [v if first else net.first_to_last(v) for v in found[:2]]
    return net.op("Transpose", found[2], perm=order), after[0], after
