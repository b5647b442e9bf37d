"""PyTorch files: tensors by the allow-list reader; TorchScript, exported programs and described layers converted."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import sensorium
from sensorium import formats
from sensorium.errors import InputError
from sensorium.formats import File
from sensorium.formats.torch import tensors
from tests.formats.mutations import survive


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 2))  # fmt: skip
    return made.eval()


LAYERS = [
    ["Conv2d", 3, 4, 3, 2, {"padding": 1}], ["BatchNorm2d", 4], ["ReLU"], ["AdaptiveAvgPool2d", 1], ["Flatten"],
    {"type": "Linear", "in_features": 4, "out_features": 2},
]  # fmt: skip


def saved(path: Path, value: Any, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_the_tensors_of_a_checkpoint_are_read_without_pytorch(tmp_path: Path, legacy: bool) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    weights = {
        "module.a": base,
        "module.turned": base.t(),  # strides of its own, and the same storage
        "module.part": base[1:3, ::2],
        "module.half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "module.count": torch.tensor(7),
        "module.p": nn.Parameter(torch.ones(2, 2)),
        "module.none": torch.zeros(0, 3),
    }
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9).state_dict()
    path = saved(tmp_path / "c.ckpt", {"epoch": 3, "state_dict": weights, "optimizer": optimizer}, legacy)
    found = tensors.arrays(File.of(path))
    assert list(found) == [name.removeprefix("module.") for name in weights]
    for name, value in weights.items():
        np.testing.assert_array_equal(found[name.removeprefix("module.")], value.detach().float().numpy())
    report = sensorium.inspect(path)
    assert report["parameters"] == sum(v.numel() for v in weights.values())
    assert report["metadata"]["weights"] == "state_dict"
    assert "--architecture" in report["missing"][0]
    assert report["could_run_code"] == []


def test_the_tar_files_of_the_first_versions_are_read(tmp_path: Path) -> None:
    class Storage:
        def __init__(self, name: str) -> None:
            self.name = name

    def storage_type() -> bytes:  # a global, as the old pickles name it
        return b"ctorch\nFloatStorage\n"

    values = np.arange(6, dtype="<f4")
    storages = pickle.dumps(1, 2) + b"\x80\x02(K\x05X\x03\x00\x00\x00cpu" + storage_type() + b"t."
    storages += struct.pack("<q", 6) + values.tobytes() + pickle.dumps([], 2)
    found = pickle.dumps(1, 2) + b"\x80\x02(K\x09K\x05ctorch\nFloatTensor\nt."
    found += struct.pack("<ii", 2, 0) + struct.pack("<5q", 2, 3, 3, 1, 0)
    main = b"\x80\x02}X\x01\x00\x00\x00wK\x09Qs."
    path = tmp_path / "old.pth"
    with tarfile.open(path, "w") as archive:
        for name, data in (
            ("sys_info", pickle.dumps({}, 2)),
            ("pickle", main),
            ("tensors", found),
            ("storages", storages),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert formats.recognise([path])[0] == "torch"  # type: ignore[index]
    np.testing.assert_array_equal(tensors.arrays(File.of(path))["w"], values.reshape(2, 3))


def test_a_tensor_must_lie_within_its_storage() -> None:
    inside = tensors.tensor(tensors.Storage("f4", "0"), 0, [2, 3], [3, 1])
    assert inside.array(bytes(24), "here").shape == (2, 3)
    for offset, shape, strides in ((1, [2, 3], [3, 1]), (0, [2, 3], [4, 1]), (0, [2, 1 << 40], [0, 0])):
        with pytest.raises(InputError, match=r"does not fit|larger"):
            tensors.tensor(tensors.Storage("f4", "0"), offset, shape, strides).array(bytes(24), "here")
    with pytest.raises(ValueError, match="shape"):
        tensors.tensor(tensors.Storage("f4", "0"), 0, [2, 3], [-3, 1])


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, legacy: bool) -> None:
    data = saved(tmp_path / "whole.pt", network().state_dict(), legacy).read_bytes()
    path = tmp_path / "model.pt"

    def look(changed: bytes) -> None:
        path.write_bytes(changed)
        formats.inspect([path])
        tensors.arrays(File.of(path))

    answered, refused = survive(data, 200, look)
    assert answered + refused == 200
    assert refused > 20


def golden(path: Path, module: nn.Module, *shapes: tuple[int, ...]) -> Path:
    arrays = {}
    for i, shape in enumerate(shapes):
        x = torch.rand(shape, generator=torch.Generator().manual_seed(i))
        ending = f"__s{i}" if i else ""
        arrays |= {f"in_x{ending}": x.numpy(), f"out_y{ending}": module(x).detach().numpy()}
    np.savez(path, **arrays)
    return path


def test_a_state_dict_is_converted_with_its_layers_described(tmp_path: Path) -> None:
    module = network()
    described = tmp_path / "architecture.json"
    described.write_text(json.dumps(LAYERS))
    check = golden(tmp_path / "golden.npz", module, (1, 3, 20, 24), (3, 3, 33, 17))
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    report = sensorium.convert(tmp_path / "model.safetensors", out=tmp_path / "m", architecture=described, check=check)
    assert report["verdict"] == "pass"
    assert report["inputs"]["input"]["shape"] == ["batch", 3, "height", "width"]
    path = saved(tmp_path / "model.pth", {"state_dict": module.state_dict()})
    described.write_text(json.dumps({"layers": LAYERS[:-1]}))
    with pytest.raises(InputError, match="belongs to no layer"):
        sensorium.convert(path, out=tmp_path / "n", architecture=described)
    with pytest.raises(InputError, match="--architecture"):
        sensorium.convert(path, out=tmp_path / "n")
    assert not (tmp_path / "n").exists()


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv1d(2, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.body(x)
        if y.dim() == 3:
            y = torch.relu(y)
        return {"sum": y.sum(1), "largest": y.amax(dim=2)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_converted_and_compared_with_pytorch(tmp_path: Path) -> None:
    module = network()
    torch.jit.trace(module, torch.rand(1, 3, 16, 16)).save(str(tmp_path / "traced.pt"))
    assert sensorium.inspect(tmp_path / "traced.pt")["inputs"] == {"input0": [1, 3, 16, 16]}
    check = golden(tmp_path / "golden.npz", module, (1, 3, 16, 16), (2, 3, 31, 18))
    report = sensorium.convert(tmp_path / "traced.pt", out=tmp_path / "m", check=check)
    assert (report["verdict"], report["inputs"]["input"]["shape"]) == ("pass", ["batch", 3, "height", "width"])

    torch.jit.script(Gate().eval()).save(str(tmp_path / "scripted.pt"))
    report = sensorium.convert(tmp_path / "scripted.pt", out=tmp_path / "s")
    assert report["verdict"] == "pass"
    assert report["reference"].startswith("PyTorch")
    assert report["outputs"] == ["sum", "largest"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "m.pt2"
    batch = torch.export.Dim("batch", max=64)
    made = torch.export.export(network(), (torch.rand(2, 3, 16, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(made, path)
    return path


def test_an_exported_program_is_converted(program: Path, tmp_path: Path) -> None:
    assert sensorium.inspect(program)["layers"]["conv2d"] == 1
    report = sensorium.convert(program, out=tmp_path / "m")
    assert report["verdict"] == "pass"
    assert report["inputs"]["input"]["shape"] == ["batch", 3, 16, 16]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("torch.ops.aten.relu.default", "torch.hub.load", "would call torch.hub.load"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default", "would call"),
        ("torch.ops.aten.relu.default", "_operator.methodcaller", "would call"),
        ('"expr_str": "', '"expr_str": "open(1)+', "not arithmetic"),
        ("builtins.dict", "collections.defaultdict", "nested values of the type"),
    ],
)  # fmt: skip
def test_an_exported_program_may_only_compute(program: Path, tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(program) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    main = next(name for name in members if name.endswith("models/model.json"))
    assert old.encode() in members[main]
    members[main] = members[main].replace(old.encode(), new.encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(InputError, match="refused as unsafe.*" + reason):
        sensorium.convert(path, out=tmp_path / "m")
