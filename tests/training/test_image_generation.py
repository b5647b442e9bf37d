from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from sensorium.data import Example
from sensorium.errors import InputError
from sensorium.training.nets import TorchNets
from sensorium.training.networks.unet import UNet
from sensorium.training.recipes import image_generation as recipe


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def digits(tmp_path):
    bundle = load_digits()
    found = []
    for i in range(200):
        path = tmp_path / f"{i}.png"
        Image.fromarray((bundle.images[i] * 15.9).astype(np.uint8)).save(path)
        found.append(Example(path.name, {"image": str(path), "label": str(bundle.target[i])}, path.name))
    return found


def small(digits, **parameters):
    return recipe.plan(digits, None, widths=(16, 32), features=16, **parameters)


def step(plan, network, optimizer, examples, seed):
    batch = {k: torch.from_numpy(v) for k, v in recipe.batch(plan, examples, np.random.default_rng(seed)).items()}
    losses = recipe.loss(network, batch)
    optimizer.zero_grad()
    losses["loss"].backward()
    optimizer.step()
    return {k: float(v.detach()) for k, v in losses.items()}


def test_the_plan_follows_the_data(digits, tmp_path):
    plan = small(digits)
    assert plan.task.labels == [str(i) for i in range(10)]
    assert (plan.task.size, plan.task.channels) == (16, 1)
    assert "10 classes" in plan.task.features["description"]
    path = tmp_path / "colour.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save(path)
    plan = recipe.plan([Example("x", {"image": str(path)}, "x")], None)
    assert (plan.task.size, plan.task.channels, plan.task.labels) == (32, 3, [])
    assert "quarters" in plan.task.features["description"]


def test_what_cannot_be_planned(digits, tmp_path):
    with pytest.raises(InputError, match="label all or none"):
        small([*digits, Example("x", {"image": digits[0].fields["image"]}, "x")])
    with pytest.raises(InputError, match="multiple"):
        small(digits, image_size=18)
    with pytest.raises(InputError, match="from scratch"):
        recipe.plan(digits, tmp_path)


def test_batches(digits):
    plan = small(digits, flip=True, drop_labels=0.5)
    one, two = (recipe.batch(plan, digits[:64], np.random.default_rng(0)) for _ in range(2))
    assert all(np.array_equal(one[k], two[k]) for k in one)
    assert one["pixel_values"].shape == (64, 1, 16, 16)
    assert np.abs(one["pixel_values"]).max() <= 1
    assert 15 < (one["class_labels"] == 10).sum() < 50
    assert (one["judged"] < 10).all()
    assert set(one["moves"][:, 6]) == {0, 1}
    fixed = recipe.batch(plan, digits[:64], None)
    assert not fixed["moves"].any()
    assert (fixed["class_labels"] < 10).all()
    other = recipe.batch(plan, digits[32:64], None)
    assert np.array_equal(fixed["noise"][32:], other["noise"])
    assert np.array_equal(fixed["time"][32:], other["time"])


def test_moving_a_picture():
    image = np.zeros((21, 21, 3), np.uint8)
    image[5, 10] = 255
    still = np.zeros(UNet.MOVES, np.float32)
    assert np.array_equal(recipe.warp(image, still), image)

    def bright(amounts):
        moved = recipe.warp(image, np.array(amounts, np.float32))[..., 0].astype(float)
        return tuple(np.array(np.unravel_index(moved.argmax(), moved.shape)))

    assert bright([5 / 21, 0, 0, 0, 0, 0, 0]) == (5, 15)
    assert bright([0, 5 / 21, 0, 0, 0, 0, 0]) == (10, 10)
    assert bright([0, 0, 0, 0, 0, 0, 1]) == (5, 10)
    assert bright([0, 0, np.pi / 2, 0, 0, 0, 0])[0] == 10  # a quarter turn about the middle
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 0] = 200
    assert (recipe.warp(edge, np.array([0.25, 0, 0, 0, 0, 0, 0]))[:, 0] == 200).all()


def test_networks_start_still_and_learn(digits):
    torch.manual_seed(0)
    plan = small(digits, dropout=0.0)
    network = recipe.build(plan)
    batch = {k: torch.from_numpy(v) for k, v in recipe.batch(plan, digits[:4], None).items()}
    assert not network.unet(batch["noise"], batch["time"], batch["class_labels"]).any()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = [step(plan, network, optimizer, digits[i % 6 * 32 : i % 6 * 32 + 32], i) for i in range(15)]
    assert losses[-1]["flow"] < 0.75 * losses[0]["flow"]
    assert losses[-1]["judge"] < 0.95 * losses[0]["judge"]
    network.eval()
    still = recipe.loss(network, batch)
    assert still["loss"] is still["flow"]
    # The finished parts run behind the seam that inference uses.
    made = plan.task.predict(TorchNets(recipe.sample(plan, network)), ["3", None], steps=3, guidance_scale=2.0)
    assert made[0].image.size == (16, 16)


def test_moves_are_told_and_forgotten(digits):
    """The network is given the moves in training; without them it is asked for unmoved pictures."""
    torch.manual_seed(0)
    network = recipe.build(small(digits)).unet.eval()
    torch.nn.init.normal_(network.last[2].weight)
    for block in network.down:
        if hasattr(block, "conv2"):
            torch.nn.init.normal_(block.conv2.weight, std=0.1)
    x, t, y = torch.randn(2, 1, 16, 16), torch.tensor([500.0, 500.0]), torch.tensor([1, 2])
    still = network(x, t, y)
    assert torch.equal(still, network(x, t, y, torch.zeros(2, UNet.MOVES)))
    assert not torch.allclose(still, network(x, t, y, torch.full((2, UNet.MOVES), 0.1)))


@pytest.mark.parametrize(("channels", "patch", "size"), [(1, 2, 16), (3, 1, 8), (3, 4, 32)])
def test_shapes(channels, patch, size):
    network = UNet(channels, [16, 24], 2, 3, patch).eval()
    x = torch.randn(3, channels, size, size)
    assert network(x, torch.rand(3) * 1000, torch.tensor([0, 1, 3])).shape == x.shape


@pytest.mark.slow
def test_the_exported_files_answer_alike(digits, tmp_path):
    onnx = pytest.importorskip("sensorium.training.export")
    from sensorium.nets.ort import OrtNet

    torch.manual_seed(0)
    plan = small(digits)
    network = recipe.build(plan)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for i in range(5):
        step(plan, network, optimizer, digits[:64], i)
    parts = recipe.sample(plan, network.eval())
    nets = {}
    for stem, part in parts.items():
        onnx.write_network(part, tmp_path / f"{stem}.onnx")
        nets[stem] = OrtNet(tmp_path / f"{stem}.onnx", 1)
    sources = ["1", "2", None, "5", "1"]  # another batch size than the sample's
    ours = plan.task.predict(nets, sources, steps=4)
    theirs = plan.task.predict(TorchNets(parts), sources, steps=4)
    for a, b in zip(ours, theirs):
        assert np.abs(np.asarray(a.image, int) - np.asarray(b.image, int)).max() <= 1
