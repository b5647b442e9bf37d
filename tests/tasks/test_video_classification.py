from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import InputError
from sensorium.tasks.video_classification import Task

PLAIN = {"image_processor_type": "ViTImageProcessor", "size": {"height": 2, "width": 2}, "do_normalize": False}
CLIP = [Image.new("RGB", (5, 4), (number, 0, 0)) for number in range(30)]


def make(**config: object) -> Task:
    return Task.load({"config.json": {"num_frames": 4, **config}, "preprocessor_config.json": PLAIN})


def shown(task: Task, clip: list, **options: int) -> list[int]:
    return [round(float(frame[0, 0, 0]) * 255) for frame in task.prepare(clip, **options)["pixel_values"]]


def test_frames_are_taken_as_hugging_face_takes_them() -> None:
    task = make()
    assert shown(task, CLIP) == [0, 1, 2, 3]
    assert shown(task, CLIP, frame_sampling_rate=4) == list(np.linspace(0, 15, num=4, dtype=np.int64))
    assert shown(task, CLIP, num_frames=2, frame_sampling_rate=10) == [0, 19]


def test_a_short_video_is_spread() -> None:
    assert shown(make(), CLIP[:3], frame_sampling_rate=4) == [0, 0, 1, 2]
    assert shown(make(), CLIP[:1]) == [0, 0, 0, 0]


def test_the_number_of_frames_is_needed() -> None:
    with pytest.raises(InputError, match="num_frames"):
        make(num_frames=None).prepare(CLIP)
    assert make(num_frames=None, frames_per_clip=3).frames == 3
    for wrong in (0, -1, 10**6):
        with pytest.raises(InputError, match=f"num_frames is at .*, not {wrong}"):
            make().prepare(CLIP, num_frames=wrong)
    with pytest.raises(InputError, match="frame_sampling_rate"):
        make().prepare(CLIP, frame_sampling_rate=0)
