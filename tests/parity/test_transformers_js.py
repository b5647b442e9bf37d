"""The same folder in transformers.js: needs Node.js, and NODE_PATH with @huggingface/transformers in it."""

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
  const classify = await pipeline('image-classification', 'model', { dtype: 'fp32' });
  const answers = {};
  for (const file of process.argv.slice(4)) answers[file] = await classify(file, { top_k: 10 });
  console.log(JSON.stringify(answers));
})();
"""


def test_image_classification_gives_the_same_answers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from sensorium.training.export import write_network
    from sensorium.training.networks.convnet import ConvNet
    from sensorium.training.plan import Plan
    from sensorium.training.recipes import image_classification as recipe

    node, modules = shutil.which("node"), os.environ.get("NODE_PATH", "")
    if node is None or not (Path(modules) / "@huggingface" / "transformers").is_dir():
        pytest.skip("needs Node.js, and NODE_PATH with @huggingface/transformers in it")
    rng = np.random.default_rng(0)
    paths = []
    for i, size in enumerate([(64, 64), (64, 64), (150, 130)]):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        paths.append(tmp_path / f"{i}.png")
        coarse.resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    from sensorium.data import Example

    examples = [Example(str(i), {"image": str(p), "label": f"label {i}"}, str(p)) for i, p in enumerate(paths)]
    plan: Plan = recipe.plan(examples, None, image_size=64)
    torch.manual_seed(0)
    network = recipe.build(plan)
    assert isinstance(network, ConvNet)
    with torch.no_grad():
        network.head.weight *= 10
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    write_files(folder, plan.task.files())
    write_network(recipe.sample(plan, network)["model"], folder / "onnx" / "model.onnx")

    model = Model(folder)
    task = model.task()
    script = tmp_path / "classify.cjs"
    script.write_text(SCRIPT)
    call = [node, str(script), modules, str(tmp_path), *map(str, paths)]
    theirs = json.loads(subprocess.run(call, capture_output=True, text=True, check=True, timeout=120).stdout)
    for path in paths:
        picture = task.open(path)
        (ours,) = inference.run(task, model.nets(), [picture])
        scores = {entry["label"]: entry["score"] for entry in theirs[str(path)]}
        # At the network's own size the pixels are the same; elsewhere its resizing differs a little.
        tolerance = 1e-4 if picture.size == (64, 64) else 2e-2
        assert scores == pytest.approx({o.label: o.score for o in ours}, abs=tolerance)
