from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import InputError, MissingError
from sensorium.media import video


def pictures(count, size=(64, 48)):
    """Pictures with a bright column that moves by 4 pixels."""
    for i in range(count):
        pixels = np.full((size[1], size[0], 3), 30, np.uint8)
        pixels[:, 4 * i % size[0] : 4 * i % size[0] + 4] = (250, 200, 40)
        yield Image.fromarray(pixels)


def column(picture):
    return int(np.asarray(picture)[:, :, 0].mean(0).argmax()) // 4


@pytest.fixture
def mp4(tmp_path):
    path = tmp_path / "film.mp4"
    assert video.write(path, pictures(16), 10) == 16
    return path


def test_a_video_frame_by_frame(mp4):
    found = video.frames(mp4)
    assert (found.rate, found.count) == (10, 16)
    assert [column(p) for p in found] == list(range(16))
    assert [column(p) for p in found] == list(range(16))  # again from the start
    first = next(iter(found))
    assert first.mode == "RGB"
    assert first.size == (64, 48)
    assert abs(np.asarray(first).astype(int) - np.asarray(next(pictures(1)))).mean() < 12  # colours in their order


def test_a_video_as_bytes(mp4):
    found = video.frames(mp4.read_bytes())
    assert found.count == 16
    assert [column(p) for p in found] == list(range(16))


def test_a_video_under_a_wrong_name(mp4):
    other = mp4.with_suffix(".jpg")
    mp4.rename(other)
    assert len(list(video.frames(other))) == 16


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation(tmp_path, kind):
    path = tmp_path / f"film.{kind.lower()}"
    first, *rest = pictures(8)
    first.save(path, kind, save_all=True, append_images=rest, duration=40)
    found = video.frames(str(path))
    assert found.rate == 25
    assert found.count == 8
    assert [column(p) for p in found] == list(range(8))
    assert {(p.mode, p.size) for p in found} == {("RGB", (64, 48))}
    assert len(list(video.frames(path.read_bytes()))) == 8


def test_animations_need_no_other_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert video.write(tmp_path / "film.gif", pictures(3), 10) == 3
    assert [column(p) for p in video.frames(tmp_path / "film.gif")] == [0, 1, 2]
    with pytest.raises(MissingError, match=r"pip install 'sensorium\[video\]'"):
        video.write(tmp_path / "film.mp4", pictures(3))


def test_a_still_picture_is_one_frame(tmp_path):
    next(pictures(1)).save(tmp_path / "still.png")
    assert len(list(video.frames(tmp_path / "still.png"))) == 1


def test_a_folder_in_the_order_of_its_numbers(tmp_path):
    for i, picture in enumerate(pictures(12)):
        picture.save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    found = video.frames(tmp_path)
    assert found.count == 12
    assert [column(p) for p in found] == list(range(12))
    (tmp_path / "img1").mkdir()
    sequence = tmp_path / "sequence"
    (sequence / "img1").mkdir(parents=True)
    next(pictures(1)).save(sequence / "img1" / "000001.jpg")
    assert video.frames(sequence).count == 1


def test_lists_and_generators(tmp_path):
    paths = []
    for i, picture in enumerate(pictures(3)):
        paths.append(tmp_path / f"{i}.png")
        picture.save(paths[-1])
    assert [column(p) for p in video.frames(paths)] == [0, 1, 2]
    assert video.frames(paths).count == 3
    stream = video.frames(pictures(3))
    assert stream.count is None
    assert [column(p) for p in stream] == [0, 1, 2]
    assert [column(p) for p in video.frames([np.asarray(p) for p in pictures(2)])] == [0, 1]
    assert video.frames(stream) is stream


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("playlist.m3u8", b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1/x.ts\n", "not a picture"),
        ("list.mp4", b"ffconcat version 1.0\nfile '/etc/passwd'\n", "not a picture"),
        ("stream.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "not a picture"),
        ("text.mp4", b"hello", "not a picture"),
        ("empty.mp4", b"", "empty"),
        ("broken.mp4", b"\x00\x00\x00\x20ftypisom" + b"\x07" * 500, "cannot be decoded"),
    ],
)
def test_what_is_no_video(tmp_path, name, content, message, capfd):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        list(video.frames(tmp_path / name))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_video_cut_short(mp4):
    long = mp4.with_name("long.mp4")
    video.write(long, pictures(120, (320, 240)), 25)
    whole = long.read_bytes()
    start = whole.index(b"mdat")
    damaged = whole[: start + 400] + bytes(len(whole) - start - 400 - 3000) + whole[-3000:]
    found = video.frames(damaged)
    with pytest.raises(InputError, match="damaged"):
        list(found)


def test_addresses_and_patterns_are_file_names(tmp_path):
    for name in ("http://127.0.0.1:9/film.mp4", "frame%03d.png", "concat:a.mp4|b.mp4", "no\0where"):
        with pytest.raises(InputError, match=r"No such file|not a path"):
            video.frames(name)
    with pytest.raises(InputError, match="no picture in this folder"):
        video.frames(tmp_path)
    with pytest.raises(InputError, match="not int"):
        video.frames(3)


def test_nothing_to_write(tmp_path):
    with pytest.raises(InputError, match="no picture to write"):
        video.write(tmp_path / "film.mp4", [])
    with pytest.raises(InputError, match=r"\.mp4 or \.gif"):
        video.write(tmp_path / "film.mov", pictures(1))
    with pytest.raises(InputError, match="cannot be written"):
        video.write(tmp_path / "nowhere" / "film.mp4", pictures(1))


def test_memory_does_not_grow_with_the_length(tmp_path):
    path = tmp_path / "long.mp4"
    video.write(path, pictures(300, (320, 240)), 25)
    tracemalloc.start()
    count = sum(1 for _ in video.frames(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 300
    assert peak < 5e6  # a frame has 230 kB, all of them 69 MB


def test_names_are_sorted_by_number():
    assert sorted(["b2", "b10", "B1", "a"], key=video.numbered) == ["a", "B1", "b2", "b10"]


def test_a_damaged_animation(tmp_path):
    path = tmp_path / "film.gif"
    video.write(path, pictures(8), 25)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"film\.gif: damaged"):
        list(video.frames(path))
