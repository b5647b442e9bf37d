"""Pictures with pictures of masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sensorium
from sensorium.errors import InputError
from sensorium.media import masks
from tests import tiny


def test_values_and_names(tmp_path: Path) -> None:
    found = sensorium.open_data(tiny.masks(tmp_path / "data", 4))
    assert (found.format, len(found.examples)) == ("mask-folder", 4)
    assert found.classes == ("background", "zero", "one")
    segments = found.examples[0].fields["segments"]
    read = masks.load([s["mask"] for s in segments])
    assert 0 < sum(int(m.sum()) for m in read) < read[0].size  # the rest is void


def test_colours_and_endings(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.new("RGB", (6, 4)).save(tmp_path / split / "street.png")
        colours = np.zeros((4, 6, 3), np.uint8)
        colours[:2] = (128, 64, 0)
        Image.fromarray(colours).save(tmp_path / split / "street_L.png")
    (tmp_path / "label_colors.txt").write_text("128 64 0\troad\n0 0 0\tVoid\n")
    found = sensorium.open_data(tmp_path, task="image-segmentation")
    assert found.splits() == {"train": 1, "val": 1}
    assert found.classes == ("road",)
    (mask,) = masks.load([s["mask"] for s in found.examples[0].fields["segments"]])
    assert mask[:2].all()
    assert not mask[2:].any()


def test_two_values_without_names(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "images" / "1.jpg")
    Image.fromarray(np.diag([255] * 4).astype(np.uint8)).save(tmp_path / "masks" / "1.png")
    Image.new("L", (4, 4)).save(tmp_path / "masks" / "2.png")
    found = sensorium.open_data(tmp_path)
    assert found.classes == ("background", "foreground")
    assert [f.kind for f in found.findings] == ["mask-without-picture"]


def test_a_mask_that_is_no_picture(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "images" / "1.jpg")
    (tmp_path / "masks" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1\.png"):
        sensorium.open_data(tmp_path, format="mask-folder")
