"""What enlarges pictures and looks into them elsewhere."""

from __future__ import annotations

import math

import numpy as np

from sensorium.formats.mxnet.call import Call, operator


@operator("UpSampling")
def upsampling(call: Call) -> str:
    scale = call.whole("scale")
    kind = call.text("sample_type", None, ("nearest", "bilinear"))
    mode = call.text("multi_input_mode", "concat", ("concat", "sum"))
    filters = call.whole("num_filter", 0)
    if not 1 <= scale <= 1000:
        raise call.fault(f"scale={scale}")
    if kind == "bilinear":
        call.expect(2)
        if filters != call.shape(call.x)[1]:
            raise call.fault(f"num_filter={filters} for {call.shape(call.x)[1]} channels")
        size, side = 2 * scale - scale % 2, scale // 2 if scale % 2 == 0 else (scale - 1) // 2
        return str(
            call.add("ConvTranspose", call.x, call.input(1), kernel_shape=[size] * 2, strides=[scale] * 2,
                pads=[side] * 4, group=filters)
        )  # fmt: skip
    height, width = (side * scale for side in call.shape(call.x)[2:])
    parts = []
    for value in call.inputs:
        rows, columns = call.shape(value)[2:]
        if height % rows or width % columns:
            raise call.fault(f"a picture of {rows}x{columns} cannot become {height}x{width}")
        factors = call.constant(np.array([1, 1, height // rows, width // columns], np.float32))
        parts.append(
            call.add("Resize", value, "", factors, mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric")
        )  # fmt: skip
    if len(parts) == 1:
        return str(parts[0])
    return str(call.add("Sum", *parts) if mode == "sum" else call.add("Concat", *parts, axis=1))


@operator("_contrib_BilinearResize2D", "contrib_BilinearResize2D")
def bilinear_resize(call: Call) -> str:
    even = ("to_even_down", "to_even_up", "to_odd_down", "to_odd_up")
    mode = call.text("mode", "size", ("size", "like", "simple", "odd_scale", *even))
    sizes = call.whole("height", 1), call.whole("width", 1)
    aligned = call.flag("align_corners", True)
    factors = [call.number(k) if call.given(k) else None for k in ("scale_height", "scale_width")]
    if mode == "like":
        call.expect(2)
        target = call.dims(call.input(1), 2, 4)
    elif mode in even:
        given = call.dims(call.x, 2, 4)
        odd = call.add("Mod", given, call.ints(2))
        change = odd if "even" in mode else call.add("Sub", call.ints(1), odd)
        target = call.add("Add" if mode.endswith("up") else "Sub", given, change)
    elif mode == "odd_scale" and None not in factors:  # of an odd side, what lies between its ends is scaled
        given = call.dims(call.x, 2, 4)
        odd = call.add("Mod", given, call.ints(2))
        inner = call.cast(call.add("Sub", given, odd), np.float32)
        inner = call.add("Floor", call.add("Mul", inner, call.constant(np.array(factors, np.float32))))
        target = call.add("Add", call.cast(inner, np.int64), odd)
    elif None not in factors:
        scaled = call.add(
            "Mul", call.cast(call.dims(call.x, 2, 4), np.float32), call.constant(np.array(factors, np.float32))
        )
        target = call.cast(call.add("Floor", scaled), np.int64)
    else:
        target = call.ints(*sizes)
    full_size = call.graph.add("Concat", call.dims(call.x, 0, 2), target, axis=0)
    where = "align_corners" if aligned else "half_pixel"
    return str(call.add("Resize", call.x, "", "", full_size, mode="linear", coordinate_transformation_mode=where))


@operator("BilinearSampler")
def bilinear_sampler(call: Call) -> str:
    call.expect(2)
    grid = call.add("Transpose", call.input(1), perm=[0, 2, 3, 1])
    return str(call.add("GridSample", call.x, grid, mode="bilinear", padding_mode="zeros", align_corners=1))


@operator("_contrib_DeformableConvolution", "_contrib_ModulatedDeformableConvolution",
    "_npx_deformable_convolution", "_npx_modulated_deformable_convolution")  # fmt: skip
def deformable_convolution(call: Call) -> str:
    """A convolution whose kernel looks beside its places, by offsets (y, x); the second kind weighs what it sees.

    What each element of the kernel sees is sampled from the picture; the rest is a convolution of single pixels. Less
    than a pixel outside, the first kind sees nothing before the picture, and its last pixel behind it.
    """
    modulated = "odulated" in call.op
    without = call.flag("no_bias")
    call.expect(4 + modulated - without)
    call.used.add("im2col_step")
    call.text("layout", "NCHW", ("NCHW",))
    x, offset, weight = call.x, call.input(1), call.input(2 + modulated)
    kernel = call.wholes("kernel", least=1)
    stride, dilate = call.wholes("stride", (1, 1), 1), call.wholes("dilate", (1, 1), 1)
    pad, groups = call.wholes("pad", (0, 0), 0), call.whole("num_group", 1)
    parts = call.whole("num_deformable_group", 1)
    channels, height, width = call.shape(x)[1:]
    size = math.prod(kernel)
    rows, columns = call.shape(offset)[2:]
    if len(kernel) != 2 or min(height, width) < 2 or parts < 1 or channels % parts or groups < 1:
        raise call.fault(f"a kernel {kernel} in {parts} parts on {list(call.shape(x))}")
    if call.shape(offset)[1] != 2 * parts * size:
        raise call.fault(f"offsets of shape {list(call.shape(offset))} for {parts} parts of {size}")
    call.pin()  # the places follow from the size of the input
    down, along = (
        np.arange(n)[None, :] * s - p + np.arange(k)[:, None] * d
        for n, s, p, k, d in zip((rows, columns), stride, pad, kernel, dilate)
    )
    places = np.zeros((*kernel, 2, rows, columns), np.float32)  # y and x
    places[:, :, 0] = down[:, None, :, None]
    places[:, :, 1] = along[None, :, None, :]
    scale = np.array([2 / (height - 1), 2 / (width - 1)], np.float32)[:, None, None]
    seen = []
    for i in range(parts):
        own = call.add("Slice", offset, call.ints(2 * size * i), call.ints(2 * size * (i + 1)), call.ints(1))
        own = call.add("Reshape", own, call.ints(0, size, 2, rows, columns))
        own = call.add("Add", own, call.constant(places.reshape(size, 2, rows, columns)))
        inside = ""
        if not modulated:
            limit = call.constant(np.array([height, width], np.float32)[:, None, None])
            both = call.add("And", call.add("GreaterOrEqual", own, call.number_like(0.0, own)),
                call.add("Less", own, limit))  # fmt: skip
            inside = call.add("ReduceMin", call.cast(both, np.float32), call.ints(2), keepdims=0)
            inside = call.add("Reshape", inside, call.ints(0, 1, size * rows, columns))
        own = call.add("Sub", call.add("Mul", own, call.constant(scale)), call.number_like(1.0, own))
        y, at = call.add("Split", own, axis=2, num_outputs=2, outputs=2)
        grid = [call.add("Reshape", v, call.ints(0, size * rows, columns, 1)) for v in (at, y)]
        share = channels // parts
        picture = call.add("Slice", x, call.ints(share * i), call.ints(share * (i + 1)), call.ints(1))
        found = call.add("GridSample", picture, call.add("Concat", *grid, axis=3), mode="bilinear",
            padding_mode="zeros" if modulated else "border", align_corners=1)  # fmt: skip
        if inside:
            found = call.add("Mul", found, inside)
        if modulated:
            mask = call.add("Slice", call.input(2), call.ints(size * i), call.ints(size * (i + 1)), call.ints(1))
            found = call.add("Mul", found, call.add("Reshape", mask, call.ints(0, 1, size * rows, columns)))
        seen.append(call.add("Reshape", found, call.ints(0, share * size, rows, columns)))
    columns_ = call.add("Concat", *seen, axis=1) if parts > 1 else seen[0]
    flat = call.add("Reshape", weight, call.ints(0, -1, 1, 1))
    bias = "" if without else call.input(-1)
    filters = call.whole("num_filter")
    if call.shape(flat)[:2] != (filters, channels * size // groups):
        raise call.fault(f"a weight of shape {list(call.shape(weight))} for {channels} channels in {groups} groups")
    return str(call.add("Conv", columns_, flat, bias, kernel_shape=[1, 1], group=groups))


@operator("Correlation")
def correlation(call: Call) -> str:
    """How alike each part of a picture is to those of another around its place (FlowNet): a channel for each shift."""
    call.expect(2)
    kernel, reach = call.whole("kernel_size", 1), call.whole("max_displacement", 1)
    step, shift, pad = call.whole("stride1", 1), call.whole("stride2", 1), call.whole("pad_size", 0)
    multiply = call.flag("is_multiply", True)
    if kernel < 1 or kernel % 2 == 0 or min(step, shift) < 1 or min(reach, pad) < 0 or reach // shift > 50:
        raise call.fault(f"kernel {kernel}, reach {reach}, steps {step} and {shift}, pad {pad}")
    call.pin()
    wide = call.ints(0, 0, pad, pad, 0, 0, pad, pad)
    one, other = (call.add("Pad", call.input(i), wide) for i in (0, 1))
    counts = [-((-(n - 2 * (reach + kernel // 2))) // step) for n in call.shape(one)[2:]]
    if min(counts) < 1:
        raise call.fault(f"pictures of {list(call.shape(call.x)[2:])} are too small")
    lengths = [(n - 1) * step + kernel for n in counts]

    def part(value: str, y: int, x: int) -> str:
        ends = call.ints(y + lengths[0], x + lengths[1])
        return str(call.add("Slice", value, call.ints(y, x), ends, call.ints(2, 3)))

    middle, radius = part(one, reach, reach), reach // shift
    found = []
    for y in range(-radius, radius + 1):
        for x in range(-radius, radius + 1):
            moved = part(other, reach + y * shift, reach + x * shift)
            alike = call.add("Mul", middle, moved) if multiply else call.add("Abs", call.add("Sub", middle, moved))
            found.append(call.add("ReduceMean", alike, call.ints(1), keepdims=1))
    maps = call.add("Concat", *found, axis=1) if len(found) > 1 else found[0]
    return str(call.add("AveragePool", maps, kernel_shape=[kernel] * 2, strides=[step] * 2))
