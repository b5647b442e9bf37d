"""The layers of the single-shot detector (SSD): prior boxes worked out once, and boxes decoded and thinned out."""

from __future__ import annotations

import math

import numpy as np

from sensorium.formats.caffe.context import LAST, MANY, Context, layer

PRIORS = 1_000_000


@layer("PriorBox", bottoms=2)
def prior_box(c: Context) -> str:
    """(1, 2, boxes * 4): the boxes of every place of a feature map, and their variances; both constant."""
    param = c.layer.param("prior_box_param")
    if len(c.inputs) < 2:
        raise c.layer.fault("needs a feature map and the picture")
    height, width = c.shape()[2:]
    picture = c.shape(1)[2:]
    least, most = param.number_list("min_size"), param.number_list("max_size")
    if not least or min(least) <= 0 or (most and len(most) != len(least)):
        raise c.layer.fault("min_size should be given and positive, and there should be as many max_size, or none")
    ratios = [1.0]
    for ratio in param.number_list("aspect_ratio"):
        if ratio <= 0:
            raise c.layer.fault(f"aspect_ratio {ratio}")
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if param.flag("flip", True) else [ratio]
    sizes = []
    for i, side in enumerate(least):
        sizes.append((side, side))
        if most:
            sizes.append((math.sqrt(side * most[i]),) * 2)
        sizes += [(side * math.sqrt(r), side / math.sqrt(r)) for r in ratios if abs(r - 1) >= 1e-6]
    whole = [param.whole("img_h") or param.whole("img_size"), param.whole("img_w") or param.whole("img_size")]
    whole = [given or found for given, found in zip(whole, picture)]
    step = [param.number("step_h") or param.number("step"), param.number("step_w") or param.number("step")]
    step = [given or s / n for given, s, n in zip(step, whole, (height, width))]
    if height * width * len(sizes) > PRIORS:
        raise c.layer.fault(f"{height * width * len(sizes)} prior boxes are too many")
    offset = param.number("offset", 0.5)
    centre_y, centre_x = np.meshgrid((np.arange(height) + offset) * step[0], (np.arange(width) + offset) * step[1],
                                     indexing="ij")  # fmt: skip
    w, h = np.array(sizes).T / 2
    x, y = centre_x[..., None], centre_y[..., None]
    boxes = np.stack([(x - w) / whole[1], (y - h) / whole[0], (x + w) / whole[1], (y + h) / whole[0]], -1).reshape(-1)
    if param.flag("clip"):
        boxes = boxes.clip(0, 1)
    variance = param.number_list("variance") or [0.1]
    if len(variance) not in (1, 4):
        raise c.layer.fault(f"{len(variance)} variances; there should be one or four")
    c.pin_size()
    spread = np.resize(np.array(variance), boxes.size)
    return c.constant(np.stack([boxes, spread])[None], "priors")


@layer("DetectionOutput", bottoms=MANY)
def detection_output(c: Context) -> str:
    """(1, 1, found, 7): picture, label, score, xmin, ymin, xmax, ymax in 0..1, by picture, then label, best first.

    Where nothing is found in any picture, there is one row of -1 for each, as in Caffe.
    """
    param, g = c.layer.param("detection_output_param"), c.graph
    nms = param.block("nms_param")
    classes, shared = param.whole("num_classes"), param.flag("share_location", True)
    background = param.whole("background_label_id", 0)
    if nms.number("eta", 1.0) != 1.0:
        raise c.layer.fault("unsupported: a threshold that adapts (eta)")
    if len(c.inputs) < 3 or not 0 < classes < 1 << 16:
        raise c.layer.fault("needs locations, confidences, prior boxes, and num_classes")
    if len(c.inputs) > 3:
        raise c.layer.fault("unsupported: boxes refined twice (more than three bottoms)")
    priors = g.known(c.inputs[2])
    if priors is None:
        priors = _folded(c, c.inputs[2])
    if priors is None:
        raise c.layer.fault("its prior boxes do not come from PriorBox layers")
    boxes, variance = priors.reshape(2, -1, 4).astype(np.float64)
    count, ints = len(boxes), g.ints
    if c.shape()[1] != count * 4 * (1 if shared else classes) or c.shape(1)[1] != count * classes:
        raise c.layer.fault(
            f"{count} prior boxes and {classes} classes do not fit inputs of {c.shape()[1]} and {c.shape(1)[1]}"
        )
    if param.flag("variance_encoded_in_target"):
        variance = np.ones_like(variance)
    kept = [label for label in range(classes) if label != background]
    location = g.add("Reshape", c.x, ints(0, count, -1, 4))
    if shared:
        decoded = [_decode(c, g.add("Squeeze", location, ints(2)), boxes, variance, param.text("code_type", "CORNER"))]
    else:
        decoded = [
            _decode(c, g.add("Gather", location, g.constant(np.int64(label)), axis=2), boxes, variance,
                    param.text("code_type", "CORNER"))
            for label in kept
        ]  # fmt: skip
    scores = g.add("Reshape", c.inputs[1], ints(0, count, classes))
    scores = g.add("Transpose", g.add("Gather", scores, g.constant(np.array(kept, np.int64)), axis=2), perm=[0, 2, 1])
    limit = max(param.number("confidence_threshold", -3e38), -3e38)
    before = nms.whole("top_k", -1)
    none = c.constant(-3.4e38, "none")
    if 0 <= before < count:  # only the best of each class take part
        best, places = g.add("TopK", scores, ints(max(before, 1)), outputs=2, axis=2)
        blank = g.add("Expand", none, g.add("Shape", scores))
        scores = g.add("ScatterElements", blank, places, best, axis=2)
    overlap = c.constant(nms.number("nms_threshold", 0.3), "overlap")
    every = ints(count)
    least = c.constant(limit, "least")
    if shared:
        chosen = g.add(
            "NonMaxSuppression", decoded[0], scores, every, overlap, least
        )  # (found, 3): picture, class, box
    else:
        parts = []
        for i, value in enumerate(decoded):
            one = g.add("Slice", scores, ints(i), ints(i + 1), ints(1))
            found = g.add("NonMaxSuppression", value, one, every, overlap, least)
            parts.append(g.add("Add", found, g.constant(np.array([[0, i, 0]], np.int64))))
        chosen = g.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
    # Scores of the chosen in a table of all, so that the best of each picture can be taken.
    batch = g.add("Shape", scores, start=0, end=1)
    values = g.add("GatherND", scores, chosen)
    table = g.add("ScatterND", g.add("Expand", none, g.add("Shape", scores)), chosen, values)
    table = g.add("Reshape", table, ints(0, -1))
    total = count * len(kept)
    keep = param.whole("keep_top_k", -1)
    columns = total if keep < 0 else max(1, min(keep, total))
    best, places = g.add("TopK", table, ints(columns), outputs=2, axis=1)
    # By label, then by score: they are in order of score already.
    label = g.add("Div", places, g.constant(np.int64(count)))
    key = g.add(
        "Add", g.add("Mul", label, g.constant(np.int64(columns))), g.constant(np.arange(columns, dtype=np.int64))
    )
    _, order = g.add("TopK", key, ints(columns), outputs=2, axis=1, largest=0)
    best, places = g.add("GatherElements", best, order, axis=1), g.add("GatherElements", places, order, axis=1)
    label = g.add("Div", places, g.constant(np.int64(count)))
    box = g.add("Sub", places, g.add("Mul", label, g.constant(np.int64(count))))
    if shared:
        corners = g.add("GatherND", decoded[0], g.add("Unsqueeze", box, ints(2)), batch_dims=1)
    else:
        stacked = [g.add("Unsqueeze", value, ints(1)) for value in decoded]
        flat = g.add("Concat", *stacked, axis=1) if len(stacked) > 1 else stacked[0]
        flat = g.add("Reshape", flat, ints(0, -1, 4))
        corners = g.add("GatherND", flat, g.add("Unsqueeze", places, ints(2)), batch_dims=1)
    names = g.add("Gather", c.constant(kept, "labels"), label)
    picture = g.add("Range", g.constant(np.int64(0)), g.add("Squeeze", batch, ints(0)), g.constant(np.int64(1)))
    g.tell(picture, (c.shape()[0],), np.int64)
    picture = g.add("Unsqueeze", g.add("Cast", picture, to=1), ints(1))
    each = g.add("Expand", picture, g.add("Shape", best))
    rows = g.add("Concat", *(g.add("Unsqueeze", v, ints(2)) for v in (each, names, best)), corners, axis=2)
    rows = g.add("Reshape", rows, ints(-1, 7))
    good = g.add("Reshape", g.add("Greater", best, c.constant(-3.3e38, "real")), ints(-1))
    found = g.add("Compress", rows, good, axis=0)
    g.tell(found, (1, 7))
    # Nothing at all: a row of -1 for each picture.
    empty = g.add("Equal", g.add("Shape", found, start=0, end=1), ints(0))
    missing = g.add("Concat", picture, g.add("Expand", c.constant(-1.0, "no"), g.add("Concat", batch, ints(6), axis=0)),
                    axis=1)  # fmt: skip
    missing = g.add("Compress", missing, g.add("Expand", empty, batch), axis=0)
    g.tell(missing, (1, 7))
    return str(c.add("Unsqueeze", g.add("Concat", found, missing, axis=0), ints(0, 1)))


def _decode(c: Context, location: str, boxes: np.ndarray, variance: np.ndarray, code: str) -> str:
    """Corners (batch, boxes, 4) from what the network says of each prior box."""
    g, ints = c.graph, c.graph.ints
    code = {"1": "CORNER", "2": "CENTER_SIZE", "3": "CORNER_SIZE"}.get(code, code)
    size = np.concatenate([boxes[:, 2:] - boxes[:, :2]] * 2, 1)
    scaled = g.add("Mul", location, c.constant(variance, "variance"))
    if code == "CORNER":
        corners = g.add("Add", scaled, c.constant(boxes, "boxes"))
    elif code == "CORNER_SIZE":
        corners = g.add("Add", g.add("Mul", scaled, c.constant(size, "size")), c.constant(boxes, "boxes"))
    elif code == "CENTER_SIZE":
        first, second = (g.add("Slice", scaled, ints(a), ints(b), ints(2)) for a, b in ((0, 2), (2, LAST)))
        centre = g.add("Mul", first, c.constant(size[:, :2], "size"))
        centre = g.add("Add", centre, c.constant((boxes[:, :2] + boxes[:, 2:]) / 2, "centre"))
        half = g.add("Mul", g.add("Exp", second), c.constant(size[:, :2] / 2, "half"))
        corners = g.add("Concat", g.add("Sub", centre, half), g.add("Add", centre, half), axis=2)
    else:
        raise c.layer.fault(f"unsupported code_type '{code}'")
    if c.layer.param("detection_output_param").flag("clip"):
        corners = g.add("Clip", corners, c.constant(0.0, "zero"), c.constant(1.0, "one"))
    return str(corners)


def _folded(c: Context, value: str) -> np.ndarray | None:
    """The value of a Concat of constants."""
    node = next((n for n in c.graph.nodes if value in n.outputs), None)
    if node is None or node.op not in ("Concat", "Identity"):
        return None
    parts = [c.graph.known(name) for name in node.inputs]
    if any(p is None for p in parts):
        return None
    return np.concatenate([p for p in parts if p is not None], node.attributes.get("axis", 0))
