"""Pickles, in whatever wrapper, never run: they are looked through, and refused where they name more than tensors."""

from __future__ import annotations

import ast
import io
import os
import pickle
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sensorium
from sensorium import formats
from sensorium.cli import main
from sensorium.errors import InputError
from tests.security.watch import outside, watching

PACKAGE = Path(sensorium.__file__).parent


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def zipped(members: dict[str, bytes], **how: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def containers(marker: Path) -> dict[str, bytes]:
    """The same payload in six wrappers, some under names that promise something else."""
    payload = pickle.dumps({"weight": 1, "x": Evil(marker)}, 2)
    parts = {"m/data.pkl": payload, "m/version": b"3", "m/byteorder": b"little"}
    broken = bytearray(zipped(parts))
    at = broken.find(payload)
    crc = bytearray(broken)
    crc[14:18] = b"\0\0\0\0"  # the checksum of the first member
    assert at > 0
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        for name, data in (
            ("sys_info", pickle.dumps({}, 2)),
            ("storages", pickle.dumps(0, 2)),
            ("tensors", payload),
            ("pickle", payload),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return {
        "zip.pt": zipped(parts),
        "deflated.safetensors": zipped(parts, compression=zipfile.ZIP_DEFLATED),
        "legacy.pth": b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {}, [Evil(marker)], [])),
        "tar.pth.tar": tarred.getvalue(),
        "plain.bin": payload,
        "crc.pt": bytes(crc),
        "picture.png": pickle.dumps([Evil(marker)], 4),
    }


@pytest.mark.parametrize("name", sorted(containers(Path("x"))))
def test_a_payload_is_refused_in_every_container(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Code in a pickle (torch.load and its bypasses): zip, legacy and tar files, a renamed pickle, a wrong ending, and
    a wrong checksum end alike, for every verb; nothing of it is run."""
    marker, path = tmp_path / "marker", tmp_path / name
    path.write_bytes(containers(marker)[name])
    with watching() as events:
        for words in (["inspect", str(path)], ["convert", str(path), "--out", str(tmp_path / "m")],
                      ["predict", str(path), "x"], ["verify", str(path)]):  # fmt: skip
            status = main(words)
            error = capsys.readouterr().err
            assert status == 2 or words[0] == "inspect"
            assert error.count("\n") <= 1
    assert not marker.exists()
    assert not (tmp_path / "m").exists()
    assert not [e for e in events if e[0] in ("os.system", "subprocess.Popen", "pickle.find_class", "socket.connect")]
    with pytest.raises(InputError, match=r"refused|corrupt|truncated"):
        formats.read([path])


def test_a_folder_with_poisoned_weights_is_refused_by_every_verb(tmp_path: Path) -> None:
    """`pytorch_model.bin` of a Hugging Face folder that would run code, and an index that leads out of the folder."""
    marker = tmp_path / "marker"
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (folder / "pytorch_model.bin").write_bytes(containers(marker)["zip.pt"])
    with pytest.raises(InputError, match="unsafe"):
        sensorium.convert(folder, out=tmp_path / "m")
    (folder / "pytorch_model.bin").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../outside.safetensors"}}')
    with pytest.raises(InputError, match="outside"):
        sensorium.convert(folder, out=tmp_path / "m")
    assert not marker.exists()


def test_there_is_no_second_try_in_an_unsafe_mode(tmp_path: Path) -> None:
    """A file with one name that is not on the list is refused, and not read again in another way."""
    state = {"weight": torch.ones(2), "extra": pickle.PickleBuffer}
    torch.save(state, tmp_path / "m.pt")
    with watching() as events, pytest.raises(InputError, match=r"refused as unsafe.*PickleBuffer"):
        formats.read([tmp_path / "m.pt"])
    assert not [e for e in events if e[0] == "pickle.find_class"]


FORBIDDEN = {
    "pickle": r"^\s*(import|from) (pickle|cPickle|dill|cloudpickle|joblib|shelve|marshal)\b",
    "unsafe weights": r"weights_only\s*=\s*False|allow_pickle\s*=\s*True",
    "remote code": r"trust_remote_code\s*=\s*True|yaml\.(unsafe_)?load\(",
}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_package_has_no_way_to_run_what_it_reads(path: Path) -> None:
    """No module unpickles, evaluates text, or asks a library to trust a file."""
    text = path.read_text()
    for what, pattern in FORBIDDEN.items():
        assert not re.search(pattern, text, re.M), what
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__"), f"line {node.lineno}"
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            assert (node.func.value.id, node.func.attr) != ("torch", "load"), f"line {node.lineno}"


def test_a_poisoned_checkpoint_of_a_run_is_refused(tmp_path: Path) -> None:
    """The state to go on from is safetensors and JSON; a pickle in its place, or one beside it, is never opened."""
    from sensorium.training import checkpoints

    marker = tmp_path / "marker"
    checkpoints.save(tmp_path / "step-00000001", {"a": torch.ones(2)}, {"epoch": 1})
    assert {p.suffix for p in (tmp_path / "step-00000001").iterdir()} == {".json", ".safetensors"}
    (tmp_path / "step-00000001" / "rng_state.pth").write_bytes(containers(marker)["zip.pt"])
    tensors, state = checkpoints.load(tmp_path / "step-00000001")
    assert state == {"epoch": 1}
    assert tensors["a"].tolist() == [1, 1]
    (tmp_path / "step-00000001" / "tensors.safetensors").write_bytes(containers(marker)["zip.pt"])
    with pytest.raises(InputError, match="not what was written"):
        checkpoints.load(tmp_path / "step-00000001")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "list.pkl"])
def test_arrays_of_objects_are_refused(name: str, tmp_path: Path) -> None:
    """A NumPy file whose elements are pickled objects."""
    marker = tmp_path / "marker"
    array = np.array([Evil(marker), 1], object)
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, array, allow_pickle=True)
    elif name.endswith(".npz"):
        np.savez(path, a=array)
    else:
        path.write_bytes(pickle.dumps([array], 2))
    with watching() as events, pytest.raises(InputError):
        formats.read([path])
    with pytest.raises(InputError):
        sensorium.convert(path, out=tmp_path / "m", check=path)
    assert not marker.exists()
    assert not outside(events, tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_that_would_touch_files_is_refused_before_it_runs(tmp_path: Path) -> None:
    """An operator of TorchScript that maps a file into memory, and a method that runs while the file is loaded."""

    class Reads(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("/etc/hostname", False, 1, dtype=torch.uint8)

    torch.jit.script(Reads()).save(str(tmp_path / "m.pt"))
    with pytest.raises(InputError, match=r"refused: its operator aten::from_file"):
        sensorium.convert(tmp_path / "m.pt", out=tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    code = next(n for n in members if n.endswith("__torch__.py") or ("/code/" in n and n.endswith(".py")))
    members[code] += b"\n  def __setstate__(self, state: int) -> NoneType:\n    return None\n"
    (tmp_path / "s.pt").write_bytes(zipped(members))
    with pytest.raises(InputError, match="__setstate__"):
        sensorium.convert(tmp_path / "s.pt", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
