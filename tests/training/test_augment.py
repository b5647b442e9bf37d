from __future__ import annotations

import numpy as np
import pytest

from sensorium.training import augment


def blob(width: int = 160, height: int = 120, box: tuple[int, int, int, int] = (40, 30, 70, 80)) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = (250, 30, 30)
    return image


def where(image: np.ndarray) -> np.ndarray:
    """The box around what is red."""
    rows, columns = np.nonzero((image[:, :, 0] > 125) & (image[:, :, 1] < 100))
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


BOX = np.array([[40.0, 30.0, 70.0, 80.0]])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [None, (200, 90), (64, 64), (30, 40)])
def test_boxes_follow_the_picture(seed: int, size: tuple[int, int] | None) -> None:
    rng = np.random.default_rng(seed)
    image, boxes, kept = augment.affine(
        blob(), BOX, rng, size=size, scale=(0.8, 1.2), ratio=(0.8, 1.25), translate=0.1, mirror=0.5, fill=(0, 0, 0)
    )
    assert kept.tolist() == [0]
    assert boxes is not None
    np.testing.assert_allclose(where(image), boxes[0], atol=1.6)
    assert image.shape == (size[1], size[0], 3) if size else blob().shape


@pytest.mark.parametrize("seed", range(6))
def test_turned_boxes_enclose_the_object(seed: int) -> None:
    image, boxes, _ = augment.affine(blob(), BOX, np.random.default_rng(seed), rotate=25, shear=8, fill=(0, 0, 0))
    assert boxes is not None
    found = where(image)
    assert (boxes[0, :2] <= found[:2] + 1).all()
    assert (boxes[0, 2:] >= found[2:] - 1).all()


def test_boxes_that_leave_the_picture_are_dropped() -> None:
    boxes = np.array([[10, 10, 30, 30], [-20, 0, 10, 10], [95, 10, 120, 40], [10, 10, 10, 30]], float)
    inside, kept = augment.clip(boxes, 100, 80)
    assert kept.tolist() == [0, 1]
    assert inside[1].tolist() == [0, 0, 10, 10]
    empty = np.zeros((0, 4))
    assert augment.clip(empty, 9, 9)[0].shape == (0, 4)
    assert augment.affine(blob(), empty, np.random.default_rng(0))[1].shape == (0, 4)


def test_flip() -> None:
    image, boxes = augment.flip(blob(), BOX)
    np.testing.assert_array_equal(where(image), boxes[0])
    twice, again = augment.flip(image, boxes)
    np.testing.assert_array_equal(twice, blob())
    np.testing.assert_array_equal(again, BOX)


def test_mosaic_places_pictures_and_boxes() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        images = [
            blob(),
            np.zeros((50, 70, 3), np.uint8),
            np.zeros((90, 30, 3), np.uint8),
            np.zeros((8, 8, 3), np.uint8),
        ]
        none = np.zeros((0, 4))
        picture, boxes, kept = augment.mosaic(images, [BOX, none, none, none], rng, size=(192, 160))
        assert picture.shape == (160, 192, 3)
        assert len(kept) == 4
        if len(boxes):
            np.testing.assert_allclose(where(picture), boxes[0], atol=2.5)


def test_nothing_asked_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (33, 47, 3), np.uint8)
    np.testing.assert_array_equal(augment.affine(image, None, rng)[0], image)
    same = augment.colour(image, rng, brightness=0, contrast=0, saturation=0)
    assert abs(same.astype(int) - image).max() <= 1
    np.testing.assert_array_equal(augment.crop(image, rng, (47, 33), area=(1, 1), ratio=(1, 1)), image)


def test_colours_change_and_grey_stays_grey() -> None:
    rng = np.random.default_rng(1)
    grey = np.full((20, 20, 3), 120, np.uint8)
    changed = augment.colour(grey, rng, saturation=0.9, hue=0.5)
    assert np.ptp(changed) <= 1
    image = rng.integers(0, 256, (20, 20, 3), np.uint8)
    assert (augment.colour(image, rng, hue=0.1) != image).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (300, 7)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    for _ in range(5):
        assert augment.crop(image, rng, (24, 32)).shape == (32, 24, 3)
        assert augment.affine(image, None, rng, size=(24, 32), rotate=20, fill=None)[0].shape == (32, 24, 3)
        assert augment.erase(image, rng).shape == image.shape
        assert augment.colour(image, rng).shape == image.shape


def test_mixing_keeps_shares() -> None:
    targets = np.eye(6, 4, dtype=np.float32)[:, :4] + 0
    pixels = np.arange(6, dtype=np.float32)[:, None, None, None] * np.ones((6, 3, 8, 8), np.float32)
    for seed in range(9):
        for how in ({"mixup": 0.4}, {"mixup": 0, "cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}):
            mixed, shares = augment.mix(pixels, targets, np.random.default_rng(seed), **how)
            assert mixed.dtype == np.float32
            other = np.roll(np.arange(6), 1)
            share = (mixed[0].mean() - 5) / (0 - 5)  # of example 0 itself; the rest is example 5
            np.testing.assert_allclose(shares, share * targets + (1 - share) * targets[other], atol=1e-5)


def test_the_same_generator_gives_the_same_picture() -> None:
    image = np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)

    def once() -> np.ndarray:
        rng = np.random.default_rng(7)
        return augment.erase(augment.colour(augment.affine(image, None, rng, rotate=9)[0], rng), rng)

    np.testing.assert_array_equal(once(), once())
