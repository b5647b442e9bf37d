"""Our metrics of boxes and tracks beside those they must equal: the same numbers, and in what time.

    python benchmarks/metrics.py [--json]

Needs pycocotools and trackeval (the extra `dev`). Everything is computed in one process, the two side by side on the
same made-up data; times are the best of three.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sensorium.ops import bootstrap, coco_ap, tracking_metrics
from tests.parity import test_coco_ap as coco
from tests.parity import test_tracking_metrics as mot


def timed(function: Callable[[], Any], times: int = 3) -> tuple[Any, float]:
    """What it returns, and the shortest of its times in seconds."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return result, best


def difference(a: dict[str, float], b: dict[str, float]) -> float:
    """Largest difference of two sets of metrics; NaN equals NaN."""
    pairs = [(a[name], b[name]) for name in a]
    return max(0.0 if np.isnan(x) and np.isnan(y) else abs(x - y) for x, y in pairs)


def row(name: str, reference: str, ours: Any, theirs: Any, ours_s: float, theirs_s: float) -> dict[str, Any]:
    return {
        "what": name,
        "reference": reference,
        "largest difference": difference(ours, theirs),
        "ours, ms": 1e3 * ours_s,
        "reference, ms": 1e3 * theirs_s,
        "times as fast": theirs_s / ours_s,
    }


def measure() -> list[dict[str, Any]]:
    rows = []
    for count, truths, extra in ((72, 20, 120), (500, 10, 40)):
        images = coco.random_images(np.random.default_rng(0), count, truths=truths, extra=extra)
        each = round(np.mean([len(p["labels"]) for p, _ in images]))
        matches, matching = timed(lambda images=images: [coco_ap.match(p, t) for p, t in images])
        ours, scoring = timed(lambda matches=matches: coco_ap.average_precision(matches))
        theirs, theirs_s = timed(lambda images=images: coco.reference(images))
        name = f"COCO AP, {count} images, {each} boxes each"
        rows.append(row(name, "pycocotools", ours, theirs, matching + scoring, theirs_s))
        found, seconds = timed(
            lambda matches=matches: bootstrap.interval(matches, coco_ap.average_precision, resamples=200), 1
        )
        # It keeps no statistics that could be sampled: each resample is another evaluation (not done, reckoned).
        values = {metric: entry["value"] for metric, entry in found.items()}
        rows.append(row("- its interval, 200 resamples", "pycocotools x 200", values, theirs, seconds, 200 * theirs_s))
    for length, objects in ((300, 10), (1000, 40)):
        frames = mot.as_frames(*mot.random_frames(np.random.default_rng(0), length, objects))
        ours, ours_s = timed(lambda frames=frames: tracking_metrics.metrics([tracking_metrics.count(frames)]))
        theirs, theirs_s = timed(lambda frames=frames: mot.reference([frames]))
        name = f"HOTA, MOTA, IDF1, {length} frames, {objects} objects"
        rows.append(row(name, "TrackEval", ours, theirs, ours_s, theirs_s))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    given = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO()):
        rows = measure()
    if given.json:
        print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), "rows": rows}))
        return
    head = list(rows[0])
    table = [head] + [[f"{v:.2g}" if isinstance(v, float) and v < 10 else f"{v:.0f}" if isinstance(v, float) else v
                       for v in r.values()] for r in rows]  # fmt: skip
    widths = [max(len(str(line[i])) for line in table) for i in range(len(head))]
    for line in table:
        print("  ".join(str(v).ljust(w) for v, w in zip(line, widths)).rstrip())


if __name__ == "__main__":
    main()
