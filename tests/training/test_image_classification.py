"""The recipe: plans from the data, batches, and short trainings on real digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium import inference
from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.model import Model
from sensorium.training import main
from sensorium.training.nets import TorchNets
from sensorium.training.recipes import image_classification as recipe

sklearn_datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
    recipe.cache._prepared.cache_clear()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Handwritten digits of 8 x 8 pixels, a folder for each."""
    root = tmp_path_factory.mktemp("digits")
    found = sklearn_datasets.load_digits()
    for i, (pixels, label) in enumerate(zip(found.images[:500], found.target)):
        path = root / str(label) / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(path)
    return root


def examples_of(root: Path, **more: Any) -> list[Example]:
    paths = sorted(root.rglob("*.png"))
    return [Example(str(p), {"image": str(p), "label": p.parent.name, **more}, str(p)) for p in paths]


def write(folder: Path, sizes: list[tuple[int, int]]) -> list[Example]:
    folder.mkdir()
    for i, size in enumerate(sizes):
        Image.new("RGB", size).save(folder / f"{i}.png")
    return [
        Example(str(i), {"image": str(folder / f"{i}.png"), "label": f"{i % 2 + 9}"}, "") for i in range(len(sizes))
    ]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((8, 8), (8, 8)),
        ((28, 28), (28, 28)),
        ((92, 112), (112, 92)),
        ((4000, 3000), (112, 144)),
        ((900, 9), (88, 88)),
    ],
)
def test_the_size_follows_the_data(tmp_path: Path, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    plan = recipe.plan(write(tmp_path / "a", [size] * 4), None)
    assert tuple(plan.task.preprocessor["size"].values()) == wanted
    assert plan.task.labels == ["9", "10"]  # in the order of their values
    network = recipe.build(plan)
    assert network(torch.zeros(2, 3, *wanted)).shape == (2, 2)


def test_batches_are_determined_by_the_generator(digits: Path) -> None:
    plan = recipe.plan(examples_of(digits), None)
    some = examples_of(digits)[::50]
    first, second = (recipe.batch(plan, some, np.random.default_rng(5)) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert (recipe.batch(plan, some, np.random.default_rng(6))["pixel_values"] != first["pixel_values"]).any()
    np.testing.assert_allclose(first["shares"].sum(axis=1), 1, atol=1e-5)
    plain = recipe.batch(plan, some, None)
    assert set(plain["shares"].ravel().tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(
        plain["pixel_values"][0], plan.task.prepare(plan.task.open(some[0].fields["image"]))["pixel_values"]
    )


def test_bad_data_and_bases_are_refused(tmp_path: Path, digits: Path) -> None:
    with pytest.raises(InputError, match="two labels"):
        recipe.plan([Example("a", {"image": "a.png", "label": "x"}, "")], None)
    with pytest.raises(InputError, match="frozen"):
        recipe.plan(examples_of(digits), None, frozen=True)
    with pytest.raises(InputError, match=r"config\.json"):
        recipe.plan(examples_of(digits), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(InputError, match="'bert' cannot classify pictures"):
        recipe.plan(examples_of(digits), tmp_path)


def test_train_evaluate_and_predict_from_the_folder(tmp_path: Path, digits: Path) -> None:
    parameters = {"batch_size": 16, "mixup": 0.0, "erase": 0.0}
    record = main.train(
        "image-classification", digits, out=tmp_path / "run", epochs=8, quiet=True, parameters=parameters
    )
    assert record["result"]["metrics"]["accuracy"]["value"] > 0.8
    assert record["result"]["verification"] == "pass"
    model = Model(tmp_path / "run" / "model")
    assert model.files["config.json"]["model_type"] == "resnet"
    path = sorted(digits.rglob("*.png"))[0]
    (answer,) = inference.run(model.task(), model.nets(), [model.task().open(path)], top_k=1)
    assert answer[0].label in set("0123456789")
    assert {p.stem for p in (tmp_path / "run" / "pictures").iterdir()} >= {"curves", "input", "confusion", "worst"}


def test_several_labels(tmp_path: Path, digits: Path) -> None:
    """Which properties a digit has, from pictures of digits."""
    examples = []
    for e in examples_of(digits):
        value = int(e.fields["label"])
        has = {"even": value % 2 == 0, "small": value < 5, "round": value in (0, 6, 8, 9)}
        labels = [name for name, true in has.items() if true]
        examples.append(Example(e.id, {"image": e.fields["image"], "labels": labels}, e.where))
    examples = [examples[i] for i in np.random.default_rng(0).permutation(len(examples))]
    plan = recipe.plan(examples, None)
    assert plan.task.multi
    assert plan.task.labels == ["even", "round", "small"]
    network = recipe.build(plan)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    rng = np.random.default_rng(0)
    for _ in range(40):
        chosen = [examples[i] for i in rng.integers(0, 400, 48)]
        found = recipe.batch(plan, chosen, rng)
        loss = recipe.loss(network, {k: torch.from_numpy(v) for k, v in found.items()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    nets = TorchNets(recipe.sample(plan, network.eval()))
    score = inference.evaluate(plan.task, nets, examples[400:], resamples=0).metrics
    assert score["mean_average_precision"]["value"] > 0.75


def small_base(folder: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "vit":
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        config = transformers.ViTConfig(image_size=16, patch_size=4, **sizes)
        processor = transformers.ViTImageProcessorPil(size={"height": 16, "width": 16})
    elif kind == "convnextv2":
        config = transformers.ConvNextV2Config(depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], patch_size=2)
        processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 32})
    else:
        config = transformers.Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28)
        processor = transformers.BitImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28})
    transformers.AutoModelForImageClassification.from_config(config).save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "frozen"),
    [
        ("vit", False),
        pytest.param("convnextv2", True, marks=pytest.mark.slow),
        pytest.param("dinov2", False, marks=pytest.mark.slow),
    ],
)
def test_from_a_hugging_face_folder(tmp_path: Path, digits: Path, kind: str, frozen: bool) -> None:
    small_base(tmp_path / "base", kind)
    parameters = {"frozen": frozen, "learning_rate": 3e-3}
    record = main.train(
        "image-classification",
        digits,
        out=tmp_path / "run",
        base=tmp_path / "base",
        epochs=1,
        quiet=True,
        parameters=parameters,
    )
    assert record["result"]["verification"] == "pass"
    config = Model(tmp_path / "run" / "model").files["config.json"]
    assert config["model_type"] == kind
    assert len(config["id2label"]) == 10


def test_bases_without_their_weights_are_refused(tmp_path: Path, digits: Path) -> None:
    small_base(tmp_path / "base", "vit")
    plan = recipe.plan(examples_of(digits), tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    torch_file = pytest.importorskip("safetensors.torch")
    torch_file.save_file({"other": torch.zeros(3)}, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match="missing"):
        recipe.build(plan)
    weights.unlink()
    with pytest.raises(InputError, match="not a base for image-classification"):
        recipe.build(plan)


def test_frozen_bodies_do_not_change(tmp_path: Path, digits: Path) -> None:
    small_base(tmp_path / "base", "vit")
    plan = recipe.plan(examples_of(digits), tmp_path / "base", frozen=True)
    network = recipe.build(plan)
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert trained == ["classifier.weight", "classifier.bias"]
    assert network.classifier.weight.shape == (10, 32)
    network.train()
    assert network.classifier.training
    assert not any(m.training for m in network.base_model.modules())
