from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.data import Example
from sensorium.inference import evaluate
from sensorium.training.nets import TorchNets
from sensorium.training.recipes import object_tracking as recipe
from tests.digits_video import motion, render


def sequence(folder, seed, length=12, count=3):
    """A sequence on disk, as an example."""
    folder.mkdir(parents=True)
    tracks = motion(length, count, seed)
    paths = []
    for i, picture in enumerate(render(tracks, seed), 1):
        paths.append(str(folder / f"{i:06d}.jpg"))
        picture.save(paths[-1], quality=92)
    return Example(folder.name, {"frames": paths, "tracks": tracks}, str(folder))


@pytest.fixture
def examples(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    return [sequence(tmp_path / name, seed, length) for seed, (name, length) in enumerate((("a", 12), ("b", 6)))]


def test_what_is_learned_from(examples):
    tracks = examples[0].fields["tracks"]
    tracks[0][0]["ignore"] = True
    found = recipe.frame(examples[0], 0)
    assert found.fields["image"] == examples[0].fields["frames"][0]
    assert [o["box"] for o in found.fields["objects"]] == [o["box"] for o in tracks[0][1:]]
    plan = recipe.plan(examples, None, epochs=2, batch_size=4)
    assert plan.task.name == "object-tracking"
    assert plan.task.labels == ["digit"]
    assert plan.epochs == 2


def test_an_epoch_has_as_many_pictures_as_there_are_frames(examples):
    plan = recipe.plan(examples, None, batch_size=4)
    found = recipe.batches(plan, examples, np.random.default_rng(0))
    assert {len(part) for part in found} <= {4, 5}
    assert np.bincount(np.concatenate(found)).tolist() == [12, 6]
    assert found == recipe.batches(plan, examples, np.random.default_rng(0))


def test_from_batch_to_evaluation(examples):
    torch.manual_seed(0)
    plan = recipe.plan(examples, None, batch_size=4, width=8)
    made, again = (recipe.batch(plan, [examples[0], examples[1]] * 2, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(made[name], again[name]) for name in made)
    assert made["pixel_values"].shape[:2] == (4, 3)
    still = recipe.batch(plan, examples, None)
    assert np.bincount(still["owners"]).tolist() == [3, 3]
    network = recipe.build(plan)
    losses = recipe.loss(network, {k: torch.as_tensor(v) for k, v in made.items()})
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"])
    found = evaluate(plan.task, TorchNets(recipe.sample(plan, network.eval())), examples, resamples=0)
    assert found.metrics.keys() == {"hota", "deta", "assa", "mota", "idf1", "switches"}
    assert [len(p) for p in found.predictions] == [12, 6]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_trained_detector_keeps_digits_apart(tmp_path, monkeypatch):
    """From sequences on disk to identities in four videos of 300 frames that it has not seen, without PyTorch."""
    import sensorium

    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    splits = [("train", 60, 5)] * 7 + [("val", 60, 4)] + [("test", 300, 4)] * 4
    for seed, (split, length, count) in enumerate(splits, 19):
        folder = data / split / str(seed)
        example = sequence(folder / "img1", seed, length, count)
        rows = [
            f"{t},{o['id']},{x:.2f},{y:.2f},{right - x:.2f},{bottom - y:.2f},1,1,1\n"
            for t, objects in enumerate(example.fields["tracks"], 1)
            for o in objects
            for x, y, right, bottom in [o["box"]]
        ]
        (folder / "gt").mkdir()
        (folder / "gt" / "gt.txt").write_text("".join(rows))
        (folder / "gt" / "labels.txt").write_text("digit\n")
    record = sensorium.train("object-tracking", data, out=tmp_path / "run", epochs=15, quiet=True)
    assert record["result"]["verification"] == "pass"
    assert record["result"]["baseline"]["hota"] < 0.3
    found = sensorium.evaluate(tmp_path / "run", data, split="test")
    assert found.metrics["idf1"]["value"] >= 0.9
    assert found.metrics["mota"]["value"] >= 0.85
    frames = sensorium.load(tmp_path / "run").predict(str(folder))
    assert len(frames) == 300
