from __future__ import annotations

from sensorium.data import open_data


def test_pictures_with_depth(tmp_path, picture):
    for name in (
        "images/a.png",
        "images/b.png",
        "depth/a.png",
        "depth/c.png",
        "test/rgb/d_rgb.png",
        "test/depth/d_depth.png",
    ):
        picture(name)
    data = open_data(tmp_path)
    assert data.format == "paired-folders"
    assert data.fields == ("image", "depth")
    assert [e.id for e in data.examples] == ["images/a.png", "test/rgb/d_rgb.png"]
    assert data.examples[0].fields["depth"] == str(tmp_path / "depth/a.png")
    assert data.splits() == {"test": 1}
    assert any("2 pictures" in note for note in data.notes)


def test_masks_are_mattes_where_these_are_wanted(tmp_path, picture):
    for name in ("images/a.png", "gt/a.png"):
        picture(name)
    assert open_data(tmp_path, task="background-removal").examples[0].fields["alpha"] == str(tmp_path / "gt/a.png")


def test_small_and_large(tmp_path, picture):
    for name in ("LR/a_x2.png", "HR/a.png"):
        picture(name)
    assert open_data(tmp_path).fields == ("image", "target")
