"""A translation folder in transformers.js: needs Node.js, and NODE_PATH with @huggingface/transformers in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

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
  const translate = await pipeline('translation', 'model', { dtype: 'fp32' });
  const texts = JSON.parse(process.argv[4]);
  const alone = [];
  for (const text of texts) alone.push((await translate(text, { max_new_tokens: 12 }))[0].translation_text);
  const together = (await translate(texts, { max_new_tokens: 12 })).map((t) => t.translation_text);
  console.log(JSON.stringify({ alone, together }));
})();
"""


def test_gives_the_same_texts(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from sensorium.training.export import write_network
    from sensorium.training.recipes import translation as recipe

    node, modules = shutil.which("node"), os.environ.get("NODE_PATH", "")
    if node is None or not (Path(modules) / "@huggingface" / "transformers").is_dir():
        pytest.skip("needs Node.js, and NODE_PATH with @huggingface/transformers in it")
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 40, rng.integers(1, 6)) for _ in range(200)]
    pairs = [(" ".join(f"a{i}" for i in row), " ".join(f"字{i} 。" for i in row)) for row in rows]
    examples = [Example(str(i), {"translation": {"x": a, "y": b}}, "e") for i, (a, b) in enumerate(pairs)]
    sizes = {"width": 16, "hidden": 32, "encoder_layers": 1, "decoder_layers": 2, "heads": 2}
    plan = recipe.plan(examples, None, vocabulary=90, **sizes)
    torch.manual_seed(0)
    network = recipe.build(plan)
    with torch.no_grad():
        network.decoder_norm.weight *= 4
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    write_files(folder, plan.task.files())
    for stem, part in recipe.sample(plan, network).items():
        write_network(part, folder / "onnx" / f"{stem}.onnx")

    texts = [a for a, _ in pairs[:8]] + ["a1  a2 ", "", "unknown é", "a3\n a4"]
    script = tmp_path / "translate.cjs"
    script.write_text(SCRIPT)
    call = [node, str(script), modules, str(tmp_path), json.dumps(texts)]
    theirs = json.loads(subprocess.run(call, capture_output=True, text=True, check=True, timeout=120).stdout)
    model = Model(folder)
    answers = model.task().predict(model.nets(), texts, num_beams=1, max_new_tokens=12)
    ours = [answer.translation_text for answer in answers]
    assert len(set(ours)) > 2
    assert theirs == {"alone": ours, "together": ours}
