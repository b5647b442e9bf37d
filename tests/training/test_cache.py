from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import InputError
from sensorium.media import image
from sensorium.training import cache


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    cache._prepared.cache_clear()
    return tmp_path / "cache"


def write(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def entries(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.is_file()]


def test_pixels_are_those_of_the_file_and_kept(tmp_path: Path, own_folder: Path) -> None:
    path = write(tmp_path / "a.png", (50, 30))
    for _ in range(2):
        array = cache.pixels(path)
        np.testing.assert_array_equal(array, np.asarray(image.load(path)))
        assert not array.flags.writeable
    assert len(entries(own_folder)) == 1
    assert cache.pixels(path, shortest=15).shape == (15, 25, 3)
    assert cache.pixels(path, longest=25).shape == (15, 25, 3)
    assert cache.pixels(path, shortest=300).shape == (30, 50, 3)  # never enlarged
    assert cache.pixels(write(tmp_path / "thin.png", (900, 2)), longest=100).shape == (1, 100, 3)


def test_a_changed_picture_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", (20, 20))
    before = cache.pixels(path).copy()
    write(path, (20, 20), seed=1)
    os.utime(path, (1, 1))
    assert (cache.pixels(path) != before).any()


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "head"])
def test_a_spoilt_entry_is_made_again(tmp_path: Path, own_folder: Path, spoil: str) -> None:
    path = write(tmp_path / "a.png", (40, 30))
    good = cache.pixels(path).copy()
    (entry,) = entries(own_folder)
    data = bytearray(entry.read_bytes())
    if spoil == "flip":
        data[500] ^= 1
    entry.write_bytes({"cut": data[:-7], "flip": data, "empty": b"", "head": b"x" * len(data)}[spoil])
    np.testing.assert_array_equal(cache.pixels(path), good)
    np.testing.assert_array_equal(cache._read(entry), good)


def test_bad_pictures_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        cache.pixels(tmp_path / "none.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.png"):
        cache.pixels(tmp_path / "bad.png")


def test_it_works_where_nothing_can_be_kept(tmp_path: Path, own_folder: Path) -> None:
    own_folder.write_text("a file where the folder should be")
    assert cache.pixels(write(tmp_path / "a.png", (9, 8))).shape == (8, 9, 3)


def test_many_threads_at_once(tmp_path: Path, own_folder: Path) -> None:
    path = write(tmp_path / "a.png", (80, 70))
    wanted = np.asarray(image.load(path))
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(cache.pixels(path, shortest=999), wanted):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(entries(own_folder)) == 1


def test_old_entries_go(tmp_path: Path, own_folder: Path) -> None:
    cache.pixels(write(tmp_path / "a.png", (9, 8)))
    (entry,) = entries(own_folder)
    os.utime(entry, (1, 1))
    cache._prepared.cache_clear()
    cache.pixels(write(tmp_path / "b.png", (9, 8), seed=1))
    assert entry not in entries(own_folder)
