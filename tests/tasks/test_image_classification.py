from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sensorium import inference, tasks
from sensorium.errors import InputError
from sensorium.tasks.image_classification import Task

LABELS = ["cat", "dog", "owl"]


def make(multi: bool = False) -> Task:
    kind = "multi_label_classification" if multi else "single_label_classification"
    config = {"id2label": {str(i): name for i, name in enumerate(LABELS)}, "problem_type": kind}
    return Task(config, {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}})


def picture(value: int = 90) -> Image.Image:
    return Image.new("RGB", (12, 9), (value, value, value))


def test_files_round_trip() -> None:
    task = make()
    again = Task.load(json.loads(json.dumps(task.files())))
    assert again == task
    assert again.labels == LABELS


def test_labels_come_in_the_order_of_their_numbers() -> None:
    config = {"id2label": {str(i): f"l{i}" for i in sorted(range(12), key=str)}}
    assert Task(config, {}).labels == [f"l{i}" for i in range(12)]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config.json": {"id2label": {}}, "preprocessor_config.json": {}},
        {"config.json": {"id2label": {"a": "b"}}, "preprocessor_config.json": {}},
        {"config.json": {"id2label": {"0": "b"}}},
    ],
)
def test_incomplete_folders_are_refused(files: dict) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        Task.load(files)


def test_options_and_order() -> None:
    task = make()
    logits = {"logits": np.array([1.0, 3.0, 2.0], np.float32)}
    answer = task.decode(logits, picture())
    assert [a.label for a in answer] == ["dog", "owl", "cat"]
    assert sum(a.score for a in answer) == pytest.approx(1)
    assert [a.label for a in task.decode(logits, picture(), top_k=1)] == ["dog"]
    assert [a.label for a in task.decode(logits, picture(), threshold=0.2)] == ["dog", "owl"]
    assert [o.name for o in tasks.options(Task)] == ["top_k", "threshold", "function_to_apply"]
    assert all(o.help for o in tasks.options(Task))
    with pytest.raises(InputError, match="answers 2 labels"):
        task.decode({"logits": np.zeros(2, np.float32)}, picture())


def test_several_labels_have_independent_scores() -> None:
    task = make(multi=True)
    assert (task.truth, task.metric) == ("labels", "mean_average_precision")
    answer = task.decode({"logits": np.array([5.0, -5.0, 4.0])}, picture(), threshold=0.5)
    assert [a.label for a in answer] == ["cat", "owl"]
    assert all(a.score > 0.98 for a in answer)


def reading(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Says cat for dark pictures, owl for light ones."""
    light = feeds["pixel_values"].mean(axis=(1, 2, 3))
    return {"logits": np.stack([-light, np.full_like(light, -2), light], axis=1) * 3}


@pytest.mark.parametrize("multi", [False, True])
def test_evaluation_with_metrics_baseline_and_unknown_labels(multi: bool) -> None:
    task = make(multi)
    truths = ["cat", "owl", "cat", "a label the model lacks"]
    examples = [
        SimpleNamespace(
            id=str(i),
            where=f"{i}.png",
            fields={"image": picture(value), "label": truth, "labels": [truth]},
        )
        for i, (value, truth) in enumerate(zip([10, 250, 240, 10], truths))
    ]
    found = inference.evaluate(task, {"model": reading_net()}, examples, learn=examples[:3], resamples=50)
    assert found.metrics["accuracy"]["value"] == pytest.approx(0.5)
    assert found.worst(2)[1] == 2 or found.worst(2)[0] in (2, 3)
    assert set(found.metrics) == {"accuracy", "macro_f1"} | ({"mean_average_precision"} if multi else set())
    assert set(found.baseline) == set(found.metrics)
    assert task.charts(found.predictions, found.truths).keys() == (set() if multi else {"confusion"})
    drawn = task.draw(examples[0].fields["image"], found.predictions[0])
    assert drawn.width > 300
    task.draw(examples[0].fields["image"], found.predictions[0], found.truths[0])


def reading_net() -> SimpleNamespace:
    class Reading:
        inputs = {"pixel_values": (["batch", 3, 8, 8], np.dtype(np.float32))}  # noqa: RUF012
        outputs = ["logits"]  # noqa: RUF012

        def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return reading(feeds)

    return Reading()


def test_the_answer_as_json() -> None:
    answer = make().decode({"logits": np.array([0.0, 9.0, 0.0])}, picture(), top_k=2)
    assert tasks.to_json(answer)[0] == {"label": "dog", "score": pytest.approx(1, abs=1e-3)}


def test_equal_to_the_pipeline_of_transformers(tmp_path: Path) -> None:
    """The same labels and scores from the same folder, for a small ViT with random weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    config.id2label = {i: f"label {i}" for i in range(7)}
    config.label2id = {v: k for k, v in config.id2label.items()}
    model = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight *= 40
    processor = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    theirs = transformers.pipeline("image-classification", model=model, image_processor=processor)

    files = {n: json.loads((tmp_path / n).read_text()) for n in ("config.json", "preprocessor_config.json")}
    task = Task.load(files)
    rng = np.random.default_rng(0)
    for shape in ((40, 50, 3), (33, 21, 3), (32, 32, 3), (30, 30)):
        image = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        opened = task.open(image)
        with torch.no_grad():
            logits = model(torch.from_numpy(task.prepare(opened)["pixel_values"])[None]).logits[0].numpy()
        ours = task.decode({"logits": logits}, opened)
        wanted = theirs(image.convert("RGB"))
        assert [o.label for o in ours] == [w["label"] for w in wanted]
        assert [o.score for o in ours] == pytest.approx([w["score"] for w in wanted], abs=1e-5)
