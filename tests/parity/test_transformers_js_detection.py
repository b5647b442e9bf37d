"""A detector's folder in transformers.js: needs Node.js, and NODE_PATH with @huggingface/transformers in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium import inference
from sensorium.data import Example
from sensorium.model import Model, write_files

pytestmark = pytest.mark.node

SCRIPT = """
const { createRequire } = require('module');
const { pathToFileURL } = require('url');
const path = require('path');
(async () => {
  const root = path.join(process.argv[2], '@huggingface', 'transformers');
  const entry = createRequire(path.join(root, 'package.json')).resolve('@huggingface/transformers');
  const { pipeline, env } = await import(pathToFileURL(entry).href);
  env.allowRemoteModels = false;
  env.localModelPath = process.argv[3];
  const detect = await pipeline('object-detection', 'model', { dtype: 'fp32' });
  console.log(JSON.stringify(await detect(process.argv[4], { threshold: 0.5, percentage: true })));
})();
"""


def test_object_detection_gives_the_same_answers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from sensorium.training.export import write_network
    from sensorium.training.recipes import object_detection as recipe

    node, modules = shutil.which("node"), os.environ.get("NODE_PATH", "")
    if node is None or not (Path(modules) / "@huggingface" / "transformers").is_dir():
        pytest.skip("needs Node.js, and NODE_PATH with @huggingface/transformers in it")
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8))
    # At the network's own size the pixels are the same; elsewhere its resizing differs by up to 2 of 255.
    picture = coarse.resize((96, 64), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.png")
    objects = [{"label": label, "box": [10.0, 10.0, 40.0, 40.0]} for label in ("cup", "pen", "tin")]
    example = Example("a", {"image": str(tmp_path / "a.png"), "objects": objects}, "a")
    plan = recipe.plan([example], None, image_size=96, width=8)
    torch.manual_seed(0)
    network = recipe.build(plan).eval()
    pixels = torch.from_numpy(plan.task.prepare(picture)["pixel_values"])[None]
    with torch.no_grad():  # as a trained one is: of some things sure, of others not
        for tower in network.one:
            tower.out.bias.zero_()
        spread = network.raw(pixels).one.std()
        for tower in network.one:
            tower.out.weight *= 3 / spread
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    write_files(folder, plan.task.files())
    write_network(recipe.sample(plan, network)["model"], folder / "onnx" / "model.onnx")

    model = Model(folder)
    (ours,) = inference.run(model.task(), model.nets(), [picture])
    assert len({d.label for d in ours}) > 1
    script = tmp_path / "detect.cjs"
    script.write_text(SCRIPT)
    call = [node, str(script), modules, str(tmp_path), str(tmp_path / "a.png")]
    theirs = json.loads(subprocess.run(call, capture_output=True, text=True, check=True, timeout=120).stdout)
    assert [t["label"] for t in theirs] == [d.label for d in ours]
    for t, d in zip(theirs, ours):
        assert t["score"] == pytest.approx(d.score, abs=1e-4)
        box = [t["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
        assert box == pytest.approx([d.box.xmin / 96, d.box.ymin / 64, d.box.xmax / 96, d.box.ymax / 64], abs=1e-4)
