from __future__ import annotations

import json
import resource

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import InputError
from sensorium.inference import evaluate
from sensorium.media import video
from sensorium.tasks import find, options, to_json
from sensorium.tasks.object_tracking import Frame, Task
from tests.digits_video import SIZE, motion, noisy, render

FILES = {
    "config.json": {"model_type": "yolos", "id2label": {"0": "digit"}, "architectures": ["YolosForObjectDetection"]},
    "preprocessor_config.json": {
        "image_processor_type": "YolosImageProcessor",
        "size": {"height": 32, "width": 48},
        "do_normalize": False,
        "do_pad": False,
    },
}


class Oracle:
    """A detector that knows the answers, as a network: it says what `noisy` says, frame after frame."""

    outputs = ("logits", "pred_boxes")

    def __init__(self, tracks, batch="batch"):
        self.inputs = {"pixel_values": ([batch, 3, 32, 48], np.float32)}
        self.detections = noisy(tracks)

    def __call__(self, feeds):
        pixels = feeds["pixel_values"]
        assert pixels.shape[1:] == (3, 32, 48)
        boxes, scores, _ = next(self.detections)
        boxes = boxes / np.tile(SIZE, 2)
        centred = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
        logits = np.log(np.stack([scores, 1 - scores], 1))
        return {name: np.repeat(a[None], len(pixels), 0) for name, a in (("logits", logits), ("pred_boxes", centred))}


class Example:
    def __init__(self, name, tracks, frames):
        self.id = self.where = name
        self.fields = {"frames": frames, "tracks": tracks}


@pytest.fixture(scope="module")
def task():
    return Task.load(FILES)


def test_it_is_found_and_writes_what_it_reads(task):
    assert find("object-tracking") is Task
    assert Task.load(task.files()) == task
    assert Task.load(json.loads(json.dumps(task.files()))) == task
    found = {o.name: o for o in options(Task)}
    assert found["threshold"].default == 0.5
    assert found["max_age"].help
    with pytest.raises(InputError, match="id2label"):
        Task.load({"config.json": {"id2label": {}}, "preprocessor_config.json": {}})


def test_three_hundred_frames_of_moving_digits(task):
    tracks = motion(300)
    found = evaluate(task, {"model": Oracle(tracks)}, [Example("a", tracks, list(render(tracks)))], resamples=0)
    assert found.metrics["idf1"]["value"] >= 0.9
    assert found.metrics["hota"]["value"] >= 0.75
    assert found.tallies[0].quality == found.metrics["hota"]["value"]
    first = to_json(found.predictions[0])[0]
    assert first["frame"] == 0
    assert first["objects"][0].keys() == {"id", "label", "score", "box"}
    assert first["objects"][0]["box"].keys() == {"xmin", "ymin", "xmax", "ymax"}
    assert first["objects"][0]["label"] == "digit"


def test_streaming_gives_the_same_as_collecting(task):
    tracks = motion(40)
    pictures = list(render(tracks))
    collected = task.predict({"model": Oracle(tracks)}, [task.open(pictures)])[0]
    assert list(task.track({"model": Oracle(tracks)}, iter(pictures))) == collected
    assert task.predict({"model": Oracle(tracks, batch=4)}, [pictures])[0] == collected


def test_frames_are_taken_as_they_come(task):
    """A camera must not have to be a frame ahead."""
    tracks = motion(5)
    taken = []

    def camera():
        for i, picture in enumerate(render(tracks)):
            taken.append(i)
            yield picture

    for i, frame in enumerate(task.track({"model": Oracle(tracks)}, camera())):
        assert frame.frame == i
        assert taken[-1] == i


def test_a_thousand_frames_in_constant_memory(task, tmp_path):
    path = tmp_path / "film.mp4"
    tracks = motion(1000)
    video.write(path, render(tracks), 25)
    count = 0
    for frame in task.track({"model": Oracle(tracks)}, task.open(path)):
        count += 1
        assert isinstance(frame, Frame)
        if count == 200:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert count == 1000
    assert after - before < 8 * 1024  # kB on Linux; 800 frames are 92 MB


def test_options_reach_the_tracker(task):
    tracks = motion(30)
    strict = task.predict({"model": Oracle(tracks)}, [list(render(tracks))], threshold=0.9)[0]
    normal = task.predict({"model": Oracle(tracks)}, [list(render(tracks))])[0]
    assert sum(len(f.objects) for f in strict) < sum(len(f.objects) for f in normal)


def test_the_baseline_knows_the_scene_but_not_the_movement(task):
    learned, other = [motion(60, seed=s) for s in (1, 2)], motion(60, seed=3)
    naive = task.baseline([[]] * 2, learned)
    found = naive([Image.new("RGB", SIZE)] * 60)
    assert len(found) == 60
    assert task.tally(task.truth_result(other), other, {}).quality == pytest.approx(1)
    assert task.tally(found, other, {}).quality < 0.3
    assert task.baseline([], [])([Image.new("RGB", SIZE)] * 2) == [Frame(0, []), Frame(1, [])]


def test_pictures_of_the_answer(task, tmp_path):
    tracks = motion(20)
    pictures = list(render(tracks))
    truth = task.truth_result(tracks)
    drawn = task.draw(pictures, truth)
    assert drawn.width >= SIZE[0]
    film = list(video.frames(task.film(pictures, truth, tmp_path / "drawn")))
    assert len(film) == 20
    assert np.abs(np.asarray(film[-1], float) - np.asarray(drawn)).mean() < 10  # as a video keeps it
    assert task.draw(pictures, [Frame(i, []) for i in range(20)]).size == drawn.size
    path = tmp_path / "film.gif"
    video.write(path, pictures, 25)
    assert task.draw(path, truth).size == drawn.size
    with pytest.raises(InputError, match="frame 19"):
        task.draw(pictures[:5], truth)


def test_what_does_not_belong_together(task, tmp_path):
    tracks = motion(4)
    with pytest.raises(InputError, match="4 frames with truths, but 3"):
        task.tally(task.truth_result(tracks)[:3], tracks, {})
    with pytest.raises(InputError, match=r"onnx/model\.onnx"):
        list(task.track({}, []))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png"):
        task.open([str(tmp_path / "a.png")])
