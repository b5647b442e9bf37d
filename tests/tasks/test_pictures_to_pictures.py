"""Depth, mattes and better pictures: what the networks give, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import depth
from sensorium.tasks import background_removal, depth_estimation, image_to_image

PLAIN = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8))


def make_depth(**config: object) -> depth_estimation.Task:
    return depth_estimation.Task.load({"config.json": config, "preprocessor_config.json": PLAIN})


def test_depth_has_the_size_of_the_picture() -> None:
    found = make_depth(model_type="glpn").decode({"predicted_depth": np.arange(16.0).reshape(4, 4)}, PICTURE)
    assert found.predicted_depth.shape == (12, 20)
    assert found.depth.size == (20, 12)
    assert found.depth.getextrema() == (0, 255)
    assert depth.picture(np.ones((4, 4), np.float32)).getextrema() == (0, 0)


def test_depth_pro_gives_inverse_depth_and_the_angle() -> None:
    outputs = {"predicted_depth": np.full((4, 4), 0.5, np.float32), "field_of_view": np.float32(90.0)}
    found = make_depth(model_type="depth_pro").decode(outputs, PICTURE)
    np.testing.assert_allclose(found.predicted_depth, 1.0, rtol=1e-5)  # 1 / (0.5 * 2 * tan 45 degrees)


@pytest.mark.parametrize("outputs", [{"logits": np.zeros((4, 4))}, {"predicted_depth": np.zeros((2, 4, 4))}])
def test_depth_of_another_shape_is_refused(outputs: dict) -> None:
    with pytest.raises(InputError, match="predicted_depth"):
        make_depth().decode(outputs, PICTURE)


def test_which_families_say_how_near() -> None:
    assert make_depth(model_type="depth_anything").relative
    assert not make_depth(model_type="depth_anything", depth_estimation_type="metric").relative
    assert not make_depth(model_type="zoedepth").relative


def test_maps_of_depth_from_files(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1500]], np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_allclose(depth.load(tmp_path / "a.png"), [[0, 1.5]])
    np.save(tmp_path / "b.npy", np.array([[[2.5, 3]]]))
    np.testing.assert_allclose(depth.load(tmp_path / "b.npy"), [[2.5, 3]])
    Image.fromarray(np.array([[0.25, 7]], np.float32)).save(tmp_path / "c.tif")
    np.testing.assert_allclose(depth.load(tmp_path / "c.tif"), [[0.25, 7]])
    PICTURE.save(tmp_path / "d.png")
    np.save(tmp_path / "e.npy", np.zeros((2, 2, 2)))
    (tmp_path / "f.npy").write_bytes(b"\x93NUMPY nonsense")
    for name in ("d.png", "e.npy", "f.npy", "g.npy"):
        with pytest.raises(InputError, match=name):
            depth.load(tmp_path / name)


@pytest.mark.parametrize(
    "outputs",
    [
        {"alphas": np.full((1, 3, 3), 0.75)},
        {"d0": np.full((3, 3), 0.75), "d1": np.zeros((3, 3))},
        {"logits": np.full((1, 3, 3), np.log(3))},
        {"logits": np.stack([np.zeros((3, 3)), np.full((3, 3), np.log(3))])},
    ],
)
def test_mattes_of_all_kinds(outputs: dict) -> None:
    task = background_removal.Task.load({"config.json": {}, "preprocessor_config.json": PLAIN})
    found = task.decode({name: array.astype(np.float32) for name, array in outputs.items()}, PICTURE)
    assert found.image.mode == "RGBA"
    assert found.mask.getextrema() == (191, 191)
    assert np.array_equal(np.asarray(found.image)[..., :3], np.asarray(PICTURE))


def test_what_was_filled_up_can_be_cut_off() -> None:
    pictures = {"image_processor_type": "Swin2SRImageProcessor"}
    task = image_to_image.Task.load({"config.json": {"upscale": 2}, "preprocessor_config.json": pictures})
    _, height, width = task.prepare(PICTURE)["pixel_values"].shape
    assert (height, width) == (16, 24)
    outputs = {"reconstruction": np.full((3, 2 * height, 2 * width), 0.5, np.float32)}
    assert task.decode(outputs, PICTURE).image.size == (48, 32)
    assert task.decode(outputs, PICTURE, crop=True).image.size == (40, 24)
    with pytest.raises(InputError, match="no picture"):
        task.decode({"logits": np.zeros(5)}, PICTURE)
