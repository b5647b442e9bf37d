from __future__ import annotations

from sensorium.cli.text import answer


def test_answers_in_one_line() -> None:
    assert answer({"summary_text": "short"}) == "short"
    assert answer([]) == "nothing found"
    assert answer([{"label": "cat", "score": 0.5}]) == "cat 0.500"
    assert answer([{"label": "sky", "score": None, "mask": "data:image/png;base64,AAAA"}]) == "sky"  # of semantic masks
    picture = answer({"image": "data:image/png;base64,AAAA", "mask": ["data:image/png;base64,AAAA", 1]})
    assert "base64" not in picture
    assert picture.count("a picture: --draw shows it") == 2
