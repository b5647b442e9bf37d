"""What enlarges pictures and looks into them elsewhere."""

from __future__ import annotations

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
    mode = call.text("mode", "size", ("size", "like", "simple"))
    sizes = call.whole("height", 1), call.whole("width", 1)
    aligned = call.flag("align_corners", True)
    factors = [call.number(k) if call.given(k) else None for k in ("scale_height", "scale_width")]
    if mode == "like":
        call.expect(2)
        target = call.dims(call.input(1), 2, 4)
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
