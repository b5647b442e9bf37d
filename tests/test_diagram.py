"""Networks drawn: where things stand, and a page that needs nothing and lets nothing in."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

import sensorium
from sensorium import diagram
from sensorium.diagram import HEIGHT, Box
from sensorium.errors import InputError
from tests.formats.test_tensorflow import const, graph, node, x


def chain() -> list[Box]:
    """A way of three operators with a shorter one beside it."""
    return [
        Box("input", "x", "", [], ["x"]),
        Box("Conv", "a", "", ["x"], ["a"]),
        Box("Relu", "b", "", ["a"], ["b"]),
        Box("Conv", "c", "", ["b"], ["c"]),
        Box("Add", "d", "", ["c", "x"], ["d"]),
        Box("Sigmoid", "e", "", ["x"], ["e"]),
    ]


def test_layers_and_room() -> None:
    boxes = chain()
    found = diagram.place(boxes)
    tops = [y for _, y, _ in found.boxes]
    assert tops[0] < tops[1] < tops[2] < tops[3] < tops[4]
    assert tops[5] == tops[1]
    for i, (x1, y1, w1) in enumerate(found.boxes):
        assert x1 - w1 / 2 >= 0
        assert x1 + w1 / 2 <= found.width
        assert y1 + HEIGHT <= found.height
        for x2, y2, w2 in found.boxes[:i]:
            assert y1 != y2 or abs(x1 - x2) >= (w1 + w2) / 2
    long = next(points for points, value in found.lines if value == "x" and len(points) > 4)
    for px, py in long[1:-1]:  # it passes beside the operators between
        assert not any(abs(px - bx) < bw / 2 and by <= py <= by + HEIGHT for bx, by, bw in found.boxes)


def test_the_page_is_closed_to_what_a_file_says() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    boxes = [Box(evil, evil, evil, [], ["v"], {evil: evil}), Box("Relu", "r", "", ["v"], [])]
    page = diagram.page(
        evil, {"name": evil, evil: evil, "list": [evil], "map": {evil: evil}}, {"n": boxes}, {"v": evil}
    )
    assert page.count("<script") == 2
    assert "<img" not in page
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert not re.search(r'(src|href)="', page)


def test_a_page_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "net.pb"
    source.write_bytes(graph(x(-1, 3), const("w", [[1.0], [2.0], [3.0]]), node("y", "MatMul", "x", "w")))
    report = sensorium.inspect(source, html=tmp_path / "a.html")
    assert report["format"] == "TensorFlow"
    page = (tmp_path / "a.html").read_text()
    assert ">MatMul</text>" in page
    assert "batch×3" in page
    sensorium.convert(source, out=tmp_path / "m")
    sensorium.inspect(tmp_path / "m", html=tmp_path / "b.html")
    assert ">MatMul</text>" in (tmp_path / "b.html").read_text()
    shown = html.unescape((tmp_path / "b.html").read_text().split("<aside>")[1])
    assert "batch × 3 float32" in shown
    assert "{'" not in shown
    sensorium.inspect(tmp_path / "m" / "onnx" / "model.onnx", html=tmp_path / "c.html")
    assert "3×1" in (tmp_path / "c.html").read_text()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("text,label\na,b\nc,d\n")
    with pytest.raises(InputError, match="a page shows a network"):
        sensorium.inspect(tmp_path / "data", html=tmp_path / "d.html")
    assert not (tmp_path / "d.html").exists()
