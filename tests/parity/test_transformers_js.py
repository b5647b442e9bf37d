"""Trained folders, unchanged, in transformers.js: needs Node.js, and NODE_PATH with @huggingface/transformers in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sensorium
from sensorium import inference
from sensorium.data import Example
from sensorium.model import Model, write_files
from sensorium.tasks import to_json
from tests.cases import Trained

pytestmark = pytest.mark.node

TEXTS = ["The quick brown fox.", "Größe und Maß, naïve café!", "東京の天気", "two\nlines"]

SCRIPT = """
const { createRequire } = require('module');
const { pathToFileURL } = require('url');
const path = require('path');
(async () => {
  const [modules, root, task, asked] = process.argv.slice(2);
  const { inputs, options } = JSON.parse(require('fs').readFileSync(asked));
  const place = path.join(modules, '@huggingface', 'transformers', 'package.json');
  const entry = createRequire(place).resolve('@huggingface/transformers');
  const { pipeline, env } = await import(pathToFileURL(entry).href);
  env.allowRemoteModels = false;
  env.localModelPath = root;
  const ask = await pipeline(task, 'model', { dtype: 'fp32' });
  const answers = [];
  const { also = [], ...rest } = options;  // what stands between the input and the options
  const plain = (v) => {
    if (v && v.tolist) return v.tolist();
    if (v && v.width && v.data) return { size: [v.width, v.height, v.channels], data: Array.from(v.data) };
    if (Array.isArray(v)) return v.map(plain);
    if (v && typeof v === 'object') return Object.fromEntries(Object.entries(v).map(([k, one]) => [k, plain(one)]));
    return v;
  };
  for (const input of inputs) {
    answers.push(plain(await ask(input && input.samples ? Float32Array.from(input.samples) : input, ...also, rest)));
  }
  console.log(JSON.stringify(answers));
})();
"""


def in_node(folder: Path, task: str, inputs: list[Any], options: dict[str, Any], place: Path) -> list[Any]:
    """What transformers.js answers to each input."""
    node, modules = shutil.which("node"), os.environ.get("NODE_PATH", "")
    if node is None or not (Path(modules) / "@huggingface" / "transformers").is_dir():
        pytest.skip("needs Node.js, and NODE_PATH with @huggingface/transformers in it")
    script = place / "ask.cjs"
    script.write_text(SCRIPT)
    asked = place / "asked.json"
    asked.write_text(json.dumps({"inputs": inputs, "options": options}))
    call = [node, str(script), modules, str(folder.parent), task, str(asked)]
    found: list[Any] = json.loads(subprocess.run(call, capture_output=True, text=True, check=True, timeout=120).stdout)
    return found


def ours(trained: Trained, inputs: list[Any], **options: Any) -> list[Any]:
    model = sensorium.load(trained.run)
    return [to_json(model.predict(i, **options)) for i in inputs]


def close(a: float, b: float, tolerance: float = 1e-4) -> bool:
    return abs(a - b) <= tolerance


@pytest.mark.parametrize("task", ["image-classification", "text-classification"])
def test_labels_and_scores(task: str, models: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = models(task)
    inputs = trained.examples(4)
    theirs = in_node(trained.run / "model", task, inputs, {"top_k": 3}, tmp_path)
    for mine, other in zip(ours(trained, inputs, top_k=3), theirs):
        assert [x["label"] for x in mine] == [x["label"] for x in other]
        assert all(close(x["score"], y["score"]) for x, y in zip(mine, other))


def test_tokens_and_their_labels(models: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = models("token-classification")
    theirs = in_node(trained.run / "model", "token-classification", TEXTS, {}, tmp_path)
    for mine, other in zip(ours(trained, TEXTS, aggregation_strategy="none"), theirs):
        assert [(m["entity"], m["index"], m["word"]) for m in mine] == [
            (o["entity"], o["index"], o["word"]) for o in other
        ]  # fmt: skip
        assert all(close(m["score"], o["score"]) for m, o in zip(mine, other))


def as_bert(trained: Trained, place: Path) -> Path:
    """The folder with BERT's own tokenizer class: transformers.js gives types of tokens only for classes it knows."""
    folder = place / "bert" / "model"
    shutil.copytree(trained.run / "model", folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "BertTokenizer"}))
    return folder


def test_answers_to_questions(models: Callable[[str], Trained], tmp_path: Path) -> None:
    """transformers.js answers as its tokenizer writes words, without saying where they stand, and reads no windows."""
    trained = models("question-answering")
    context = "The quick brown fox jumps."
    asked = ["Who jumps?", "What is it, then?"]
    theirs = in_node(as_bert(trained, tmp_path), "question-answering", asked, {"also": [context]}, tmp_path)
    sources = [{"question": q, "context": context} for q in asked]
    for mine, other in zip(ours(trained, sources, align_to_words=False, max_answer_len=99), theirs):
        assert mine["answer"].lower().split() == other["answer"].split()
        assert close(mine["score"], other["score"])


def test_gaps(models: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = models("fill-mask")
    inputs = [f"{text} [MASK]" for text in TEXTS]
    theirs = in_node(trained.run / "model", "fill-mask", inputs, {"top_k": 3}, tmp_path)
    for mine, other in zip(ours(trained, inputs, top_k=3), theirs):
        assert [m["token"] for m in mine] == [o["token"] for o in other]
        assert all(close(m["score"], o["score"]) for m, o in zip(mine, other))


def test_labels_given_with_the_text(models: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = models("zero-shot-classification")
    labels = ["a fox", "words"]
    theirs = in_node(as_bert(trained, tmp_path), "zero-shot-classification", TEXTS, {"also": [labels]}, tmp_path)
    for mine, other in zip(ours(trained, TEXTS, candidate_labels=labels), theirs):
        assert [m["label"] for m in mine] == other["labels"]
        assert all(close(m["score"], score) for m, score in zip(mine, other["scores"]))


def test_features(models: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = models("feature-extraction")
    options = {"pooling": "mean", "normalize": True}
    theirs = in_node(trained.run / "model", "feature-extraction", TEXTS, options, tmp_path)
    assert np.allclose(ours(trained, TEXTS, **options), [t[0] for t in theirs], atol=1e-5)


@pytest.mark.parametrize("task", ["text-generation", "text2text-generation", "summarization"])
def test_texts_that_are_written(task: str, models: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = models(task)
    inputs = ["The quick brown", "東京の天気", "one  hundred"]
    theirs = in_node(trained.run / "model", task, inputs, {"max_new_tokens": 10, "do_sample": False}, tmp_path)
    # transformers.js takes spaces before punctuation out of what it writes; Hugging Face does not.
    mine, others = (re.sub(r" ([.,!?'])", r"\1", json.dumps(found, ensure_ascii=False))
                    for found in (ours(trained, inputs, max_new_tokens=10), [one[0] for one in theirs]))  # fmt: skip
    assert mine == others


def test_translations(models: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = models("translation")
    inputs = [*(pair["en"] for pair in trained.examples(5)), "one  hundred ", "", "never heard é"]
    options = {"max_new_tokens": 12}
    theirs = in_node(trained.run / "model", "translation", inputs, options, tmp_path)
    mine = ours(trained, inputs, num_beams=1, **options)
    assert [m["translation_text"] for m in mine] == [t[0]["translation_text"] for t in theirs]
    together = in_node(trained.run / "model", "translation", [inputs], options, tmp_path)[0]
    assert [m["translation_text"] for m in mine] == [t["translation_text"] for t in together]


def test_boxes(tmp_path: Path) -> None:
    """Of a network that is sure of some things: one trained for seconds is sure of nothing.

    At the network's own size: elsewhere the resizing of transformers.js differs from Pillow's by up to 2 of 255.
    """
    torch = pytest.importorskip("torch")
    from sensorium.training.export import write_network
    from sensorium.training.recipes import object_detection as recipe

    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8))
    picture = coarse.resize((96, 64), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.png")
    objects = [{"label": label, "box": [10.0, 10.0, 40.0, 40.0]} for label in ("cup", "pen", "tin")]
    example = Example("a", {"image": str(tmp_path / "a.png"), "objects": objects}, "a")
    plan = recipe.plan([example], None, image_size=96, width=8)
    torch.manual_seed(0)
    network = recipe.build(plan).eval()
    pixels = torch.from_numpy(plan.task.prepare(picture)["pixel_values"])[None]
    with torch.no_grad():
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
    (mine,) = inference.run(model.task(), model.nets(), [picture])
    assert len({d.label for d in mine}) > 1
    options = {"threshold": 0.5, "percentage": True}
    (theirs,) = in_node(folder, "object-detection", [str(tmp_path / "a.png")], options, tmp_path)
    assert [t["label"] for t in theirs] == [d.label for d in mine]
    for t, d in zip(theirs, mine):
        assert t["score"] == pytest.approx(d.score, abs=1e-4)
        box = [t["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
        assert box == pytest.approx([d.box.xmin / 96, d.box.ymin / 64, d.box.xmax / 96, d.box.ymax / 64], abs=1e-4)


def pictures(place: Path) -> list[str]:
    """Smooth ones: one of an odd size, one upright."""
    rng = np.random.default_rng(0)
    names = []
    for i, size in enumerate(((64, 64), (97, 61), (40, 80))):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        names.append(str(place / f"{i}.png"))
        coarse.resize(size, Image.Resampling.BICUBIC).save(names[-1])
    return names


def test_labels_of_pictures_given_at_call_time(models: Callable[[str], Trained], tmp_path: Path) -> None:
    """With resizing, transformers.js differs by up to 2 of 255."""
    trained = models("zero-shot-image-classification")
    names = pictures(tmp_path)
    template, labels = "a photo of {}", ["strings", "classes", "numbers"]
    theirs = in_node(
        trained.run / "model",
        "zero-shot-image-classification",
        names,
        {"also": [labels], "hypothesis_template": template},
        tmp_path,
    )
    for mine, other in zip(ours(trained, names, candidate_labels=labels, hypothesis_template=template), theirs):
        found = {y["label"]: y["score"] for y in other}
        assert all(close(x["score"], found[x["label"]], 0.02) for x in mine)


def test_regions(models: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = models("image-segmentation")
    names = pictures(tmp_path)[:1]  # of the network's own size: elsewhere the resizing differs
    theirs = in_node(trained.run / "model", "image-segmentation", names, {}, tmp_path)
    model = sensorium.load(trained.run)
    for name, other in zip(names, theirs):
        mine = {segment.label: np.asarray(segment.mask) > 127 for segment in model.predict(name)}
        regions = {
            one["label"]: np.array(one["mask"]["data"]).reshape(one["mask"]["size"][1::-1]) > 127 for one in other
        }
        shared = mine.keys() & regions.keys()
        assert shared
        assert np.mean([(mine[label] == regions[label]).mean() for label in shared]) > 0.99


def test_depths(models: Callable[[str], Trained], tmp_path: Path) -> None:
    trained = models("depth-estimation")
    names = pictures(tmp_path)
    theirs = in_node(trained.run / "model", "depth-estimation", names, {}, tmp_path)
    model = sensorium.load(trained.run)
    for name, other in zip(names, theirs):
        mine, there = model.predict(name), other["depth"]
        assert list(mine.depth.size) == there["size"][:2]


def test_sounds(models: Callable[[str], Trained], tmp_path: Path) -> None:
    import soundfile

    rng = np.random.default_rng(0)
    sounds = [np.sin(np.arange(n) * 0.1) * 0.3 + rng.normal(0, 0.05, n) for n in (16000, 9000)]
    names = []
    for i, sound in enumerate(sounds):
        names.append(str(tmp_path / f"{i}.wav"))
        soundfile.write(names[-1], sound.astype(np.float32), 16000, subtype="FLOAT")
    given = [{"samples": sound.astype(np.float32).tolist()} for sound in sounds]
    trained = models("audio-classification")
    theirs = in_node(trained.run / "model", "audio-classification", given, {"top_k": 3}, tmp_path)
    for mine, other in zip(ours(trained, names, top_k=3), theirs):
        assert [x["label"] for x in mine] == [y["label"] for y in other]
        assert all(close(x["score"], y["score"], 1e-3) for x, y in zip(mine, other))
