from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from sensorium.errors import InputError
from sensorium.sources import expand


def test_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffone\n\ntwo\u2028three\n".encode())
    assert list(expand(["text"], [str(path)])) == [
        (f"{path}:1", "one"), (f"{path}:2", ""), (f"{path}:3", "two\u2028three")
    ]  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"\xff\xfe\x00", "not UTF-8 text")])
def test_a_text_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"words\.txt: {reason}"):
        list(expand(["text"], [str(path)]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))
    with pytest.raises(InputError, match=f"-: {reason}"):
        list(expand(["text"], ["-"]))
