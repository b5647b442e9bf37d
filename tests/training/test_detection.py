from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from sensorium.data import Example  # noqa: E402
from sensorium.errors import InputError  # noqa: E402
from sensorium.files import dump_json  # noqa: E402
from sensorium.training import detection  # noqa: E402
from sensorium.training.networks.detector import Detector  # noqa: E402
from sensorium.training.recipes import object_detection as recipe  # noqa: E402

COLOURS = {"red": (230, 30, 30), "blue": (30, 30, 230)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    from sensorium.training import cache

    cache._prepared.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads wait more for each other than they compute
    yield
    torch.set_num_threads(before)
    cache._prepared.cache_clear()


@pytest.fixture
def examples(tmp_path) -> list[Example]:
    """Squares of two colours, the blue ones smaller, on grey noise; 96 x 64 pixels."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(8):
        pixels = rng.integers(100, 130, (64, 96, 3), np.uint8)
        objects = []
        for column in range(3):
            label = ("red", "blue")[int(rng.integers(2))]
            side = {"red": 24, "blue": 12}[label]
            x, y = 32 * column + int(rng.integers(32 - side)), int(rng.integers(64 - side))
            pixels[y : y + side, x : x + side] = COLOURS[label]
            objects.append({"label": label, "box": [float(x), float(y), float(x + side), float(y + side)]})
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        made.append(Example(f"{k}.png", {"image": str(tmp_path / f"{k}.png"), "objects": objects}, f"{k}.png"))
    return made


def test_size_follows_from_the_objects(examples):
    assert detection.image_size(examples) == (144, 224)  # small pictures are enlarged
    assert detection.image_size(examples, 96) == (64, 96)
    assert recipe.plan(examples, None).task.labels == ["blue", "red"]


def test_nothing_to_learn(examples):
    with pytest.raises(InputError, match="not one object"):
        recipe.plan([Example("a", {"image": examples[0].fields["image"], "objects": []}, "a")], None)


def test_boxes_stay_on_their_objects(examples):
    plan = recipe.plan(examples, None, image_size=96, colour=0.0, flip_vertical=0.5)
    seen = 0
    for seed in range(6):
        batch = recipe.batch(plan, examples, np.random.default_rng(seed))
        assert batch["pixel_values"].shape == (8, 3, 64, 96)
        for box, kind, owner in zip(batch["boxes"], batch["classes"], batch["owners"]):
            x0, y0, x1, y1 = np.clip(np.round(box).astype(int), 0, [96, 64, 96, 64])
            if x1 - x0 < 5 or y1 - y0 < 5:
                continue
            inner = batch["pixel_values"][owner][:, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].mean((1, 2)) * 255
            wanted = COLOURS[plan.task.labels[kind]]
            assert np.abs(inner - wanted).max() < 40
            seen += 1
    assert seen > 50


def test_batches_follow_from_the_generator(examples):
    plan = recipe.plan(examples, None, image_size=96)
    first, second = (recipe.batch(plan, examples, np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(first[k], second[k]) for k in first)
    still = recipe.batch(plan, examples, None)
    wanted = np.concatenate([[o["box"] for o in e.fields["objects"]] for e in examples])
    np.testing.assert_allclose(still["boxes"], wanted)


def test_learns_and_says_the_same_in_every_form(examples):
    torch.manual_seed(0)
    plan = recipe.plan(examples, None, image_size=96, width=8)
    network = recipe.build(plan)
    batch = {k: torch.from_numpy(v) for k, v in recipe.batch(plan, examples, None).items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        found = recipe.loss(network, batch)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append(float(found["loss"].detach()))
    assert losses[-1] < 0.7 * losses[0]
    network.train()
    with torch.no_grad():
        network(batch["pixel_values"])  # settles nothing but the statistics
    network.eval()
    part = recipe.sample(plan, network)["model"]
    logits, boxes = part.module(**part.inputs)
    assert logits.shape[::2] == (2, 3)
    assert boxes.shape == (*logits.shape[:2], 4)
    sure = logits.softmax(2)[..., :2].amax(2)
    own = logits[..., :2].amax(2).sigmoid()
    torch.testing.assert_close(sure, own)
    corners = detection.to_corners(boxes)
    assert corners.min() >= -1e-6
    assert corners.max() <= 1 + 1e-6


def test_pictures_without_objects_are_no_trouble(examples):
    plan = recipe.plan(examples, None, image_size=96, width=8)
    empty = [Example(e.id, {**e.fields, "objects": []}, e.where) for e in examples[:2]]
    batch = {k: torch.from_numpy(v) for k, v in recipe.batch(plan, empty, np.random.default_rng(0)).items()}
    network = recipe.build(plan)
    found = recipe.loss(network, batch)["loss"]
    found.backward()
    assert torch.isfinite(found)


def test_one_cell_for_one_object():
    iou = torch.tensor([[0.9, 0.8, 0.0], [0.0, 0.85, 0.3]])
    scores = torch.tensor([[0.5, 0.6, 0.9], [0.1, 0.2, 0.9]])
    owners = torch.tensor([0, 0])
    objects, cells, wanted = detection.assign(scores, iou, owners, 1, 1)
    assert objects.tolist() == [0, 1]
    assert cells.tolist() == [0, 1]
    torch.testing.assert_close(wanted, torch.tensor([0.9, 0.85]))
    objects, cells, _ = detection.assign(scores, iou, owners, 1, 3)
    assert sorted(zip(objects.tolist(), cells.tolist())) == [(0, 0), (1, 1), (1, 2)]  # the shared cell is the nearer's


class Own(torch.nn.Module):
    """A user's network."""

    def __init__(self) -> None:
        super().__init__()
        self.out = torch.nn.Linear(3, 10 * 7)

    def forward(self, pixel_values):
        found = self.out(pixel_values.mean((2, 3))).unflatten(1, (10, 7))
        return {"logits": found[..., :3], "pred_boxes": found[..., 3:].sigmoid()}


def test_a_network_of_ones_own(examples):
    plan = recipe.plan(examples, None, image_size=96)
    batch = {k: torch.from_numpy(v) for k, v in recipe.batch(plan, examples, None).items()}
    torch.manual_seed(0)
    network = Own()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05)
    losses = []
    for _ in range(12):
        found = recipe.loss(network, batch)["loss"]
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
        losses.append(float(found.detach()))
    assert losses[-1] < losses[0]
    part = recipe.sample(plan, network)["model"]
    assert [o.shape for o in part.module(**part.inputs)] == [(2, 10, 3), (2, 10, 4)]


def save_base(kind: str, folder) -> None:
    """A tiny detector of transformers with random weights and four classes."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "yolos":
        config = transformers.YolosConfig(
            num_labels=4,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=[64, 96],
            num_detection_tokens=20,
        )
        network = transformers.YolosForObjectDetection(config)
    else:
        common = {
            "num_labels": 4,
            "d_model": 32,
            "encoder_hidden_dim": 32,
            "encoder_ffn_dim": 64,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "decoder_layers": 2,
            "decoder_ffn_dim": 64,
            "num_queries": 30,
            "num_denoising": 5,
            "encoder_in_channels": [32, 32, 32],
            "decoder_in_channels": [32, 32, 32],
            "depth_mult": 0.34,
        }
        stages = {"hidden_sizes": [16, 32, 32, 32], "depths": [1] * 4, "out_features": ["stage2", "stage3", "stage4"]}
        if kind == "rt_detr_v2":
            backbone = transformers.RTDetrResNetConfig(embedding_size=8, **stages)
            network = transformers.RTDetrV2ForObjectDetection(
                transformers.RTDetrV2Config(backbone_config=backbone, **common)
            )
        else:
            backbone = transformers.HGNetV2Config(
                stem_channels=[3, 8, 8],
                stage_in_channels=[8, 16, 32, 32],
                stage_mid_channels=[8] * 4,
                stage_out_channels=[16, 32, 32, 32],
                stage_num_blocks=[1] * 4,
                stage_numb_of_layers=[1] * 4,
                stage_kernel_size=[3] * 4,
                stage_downsample=[False, True, True, True],
                stage_light_block=[False, False, True, True],
                embedding_size=8,
                **stages,
            )
            network = transformers.DFineForObjectDetection(transformers.DFineConfig(backbone_config=backbone, **common))
    network.save_pretrained(folder)
    name = "YolosImageProcessor" if kind == "yolos" else "RTDetrImageProcessor"
    pictures = {"image_processor_type": name, "size": {"height": 64, "width": 96}, "do_normalize": False}
    (folder / "preprocessor_config.json").write_text(dump_json(pictures))


@pytest.mark.filterwarnings("ignore")  # those of transformers
@pytest.mark.parametrize("kind", ["yolos", "rt_detr_v2", "d_fine"])
def test_from_a_base(kind, examples, tmp_path):
    save_base(kind, tmp_path)
    plan = recipe.plan(examples, tmp_path)
    assert plan.task.model_type == kind
    assert plan.parameters["image_size"] == [64, 96]
    network = recipe.build(plan).train()
    batch = {k: torch.from_numpy(v) for k, v in recipe.batch(plan, examples[:2], np.random.default_rng(0)).items()}
    recipe.loss(network, batch)["loss"].backward()
    assert any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in network.parameters())
    part = recipe.sample(plan, network.eval())["model"]
    with torch.no_grad():
        logits, boxes = part.module(**part.inputs)
    assert logits.shape[2] == 2 + (kind == "yolos")
    assert boxes.shape[2] == 4


def test_from_a_folder_of_ours(examples, tmp_path):
    from safetensors.torch import save_file

    before = recipe.build(recipe.plan(examples, None, image_size=96, width=8))
    save_file(before.state_dict(), tmp_path / "weights.safetensors")
    for name, content in recipe.plan(examples, None, image_size=96).task.files().items():
        (tmp_path / name).write_text(dump_json(content))
    fewer = [Example(e.id, {**e.fields, "objects": e.fields["objects"][:1]}, e.where) for e in examples[:1]]
    plan = recipe.plan(fewer, tmp_path)
    assert plan.network == {"name": "detector", "classes": 1, "size": [64, 96], "width": 8}
    after = recipe.build(plan)
    assert torch.equal(after.stem[0].weight, before.stem[0].weight)
    assert after.one[0].out.weight.shape[0] == 1


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_base_that_is_none(content, examples, tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        recipe.plan(examples, tmp_path)
    for name, own in recipe.plan(examples, None, image_size=96).task.files().items():
        (tmp_path / name).write_text(dump_json(own))
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="not the weights"):
        recipe.plan(examples, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["own", "yolos", "rt_detr_v2", "d_fine"])
def test_exports(kind, examples, tmp_path):
    from sensorium.training.export import check_network, write_network

    if kind != "own":
        save_base(kind, tmp_path)
    plan = recipe.plan(examples, None if kind == "own" else tmp_path, image_size=96)
    network = recipe.build(plan).eval()
    assert isinstance(network, Detector) == (kind == "own")
    torch.manual_seed(0)
    for weights in network.parameters():
        if weights.ndim > 1:  # new ones score all places alike, and which are chosen is chance
            torch.nn.init.xavier_normal_(weights, 1.5)
    part = recipe.sample(plan, network)["model"]
    write_network(part, tmp_path / "model.onnx")
    assert check_network(plan.task, part, tmp_path / "model.onnx")[0] < 1e-4
