"""Sources of several parts, one of which is missing."""

from __future__ import annotations

import pytest

from sensorium import tasks
from sensorium.errors import InputError


@pytest.mark.parametrize("name", ["keypoint-detection", "mask-generation"])
def test_a_picture_is_needed(name: str) -> None:
    task = tasks.find(name)({}, {})
    for source in ({}, {"boxes": [], "prompts": []}, {"image": None}):
        with pytest.raises(InputError, match="a picture is needed"):
            task.open(source)
