"""Large data of an ONNX file lie in a plain file beside it, or the file is refused before an engine sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import sensorium
from sensorium import vetting
from sensorium.errors import InputError
from sensorium.vetting import vet
from tests.security.watch import outside, watching


def tensor(entries: dict[str, str] | list[tuple[str, str]], name: str = "w") -> TensorProto:
    made = TensorProto(name=name, data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items() if isinstance(entries, dict) else entries:
        made.external_data.add(key=key, value=value)
    return made


def initializer(data: TensorProto) -> onnx.ModelProto:
    return model([helper.make_node("Add", ["x", "w"], ["y"])], [data])


def constant(data: TensorProto) -> onnx.ModelProto:
    return model([helper.make_node("Constant", [], ["w"], value=data), helper.make_node("Add", ["x", "w"], ["y"])])


def sparse(data: TensorProto) -> onnx.ModelProto:
    made = model([helper.make_node("Add", ["x", "w"], ["y"])])
    indices = helper.make_tensor("i", 7, [4], [0, 1, 2, 3])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(data, indices, [4]))
    return made


def inner(data: TensorProto) -> onnx.ModelProto:
    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("Add", ["x", "w"], [name])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, 1, [4])], [data])

    condition = helper.make_tensor("c", 9, [], [True])
    return model([helper.make_node("Constant", [], ["c"], value=condition),
                  helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"))])  # fmt: skip


def function(data: TensorProto) -> onnx.ModelProto:
    made = model([helper.make_node("F", ["x"], ["y"], domain="own")])
    nodes = [helper.make_node("Constant", [], ["w"], value=data), helper.make_node("Add", ["a", "w"], ["b"])]
    made.functions.append(helper.make_function("own", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 18)]))
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


CARRIERS: list[Callable[[TensorProto], onnx.ModelProto]] = [initializer, constant, sparse, inner, function]


def model(nodes: list[onnx.NodeProto], initializers: list[TensorProto] | None = None) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(n, 1, [4]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], initializers or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def written(made: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


LOCATIONS = [
    "../secret", "sub/../../secret", "/etc/hostname", "..\\secret", "link", "linked/secret", "/dev/zero", "pipe", "",
    "*/_ORT_MEM_ADDR_/*", "hard", "a\0b", ".", "..", "missing", "file:///etc/hostname", "C:\\x", "sub/weights",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with good data, and everything that a location could abuse."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").write_bytes(np.ones(4, "<f4").tobytes())
    (home / "weights").write_bytes(np.arange(4, dtype="<f4").tobytes())
    (home / "link").symlink_to(tmp_path / "secret")
    (home / "linked").symlink_to(tmp_path)
    os.link(tmp_path / "secret", home / "hard")
    os.mkfifo(home / "pipe")
    return home


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("carrier", CARRIERS, ids=lambda c: c.__name__)
def test_only_a_plain_file_beside_the_network_is_read(
    carrier: Callable[..., onnx.ModelProto], large: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locations that lead elsewhere (parents, absolute, links of both kinds, devices, pipes, the address marker, NUL, a
    file that is not there), in initializers, constants, sparse tensors, inner graphs and functions."""
    if large:
        monkeypatch.setattr(vetting, "LARGE", 0)
    for place in LOCATIONS:
        path = written(carrier(tensor({"location": place})), folder)
        with watching() as events, pytest.raises(InputError):
            vet(path)
        assert not outside(events, folder), place
        with pytest.raises(InputError):
            sensorium.convert(path, out=folder / "out")
    vet(written(carrier(tensor({"location": "weights"})), folder))
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "weights", "__class__": "x"}, {"location": "weights", "basepath": "/etc"},
        {"location": "weights", "offset": "-4"}, {"location": "weights", "length": "-1"},
        {"location": "weights", "offset": "99999999999999999999"}, {"location": "weights", "length": "17"},
        {"location": "weights", "offset": "8", "length": "12"}, {"location": "weights", "offset": "many"},
        [("location", "weights"), ("location", "../secret")],
    ],
)  # fmt: skip
def test_the_description_of_the_data_has_no_surprises(entries: dict[str, str], folder: Path) -> None:
    """Keys that are none of the format's (they would become attributes of an object), twice the same, and numbers that
    are negative, too large, or none."""
    with pytest.raises(InputError):
        vet(written(initializer(tensor(entries)), folder))


def test_what_is_written_has_names_of_our_own(folder: Path, tmp_path: Path) -> None:
    """Converting a network with its data outside writes neither under their name nor through a planted link."""
    made = written(initializer(tensor({"location": "weights", "offset": "0", "length": "16"})), folder)
    out = tmp_path / "out"
    out.symlink_to(tmp_path / "elsewhere")
    sensorium.convert(made, out=out)
    assert not (tmp_path / "elsewhere").exists()
    assert not out.is_symlink()
    assert [p.name for p in (out / "onnx").iterdir()] == ["model.onnx"]
    np.testing.assert_array_equal(np.load(out / "probes" / "model.npz")["out.y"] >= 0, True)
    assert (folder / "weights").read_bytes() == np.arange(4, dtype="<f4").tobytes()
