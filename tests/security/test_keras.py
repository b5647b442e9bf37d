"""Keras files: only layers of the closed list are made; code, modules and other files that they name stay untouched."""

from __future__ import annotations

import base64
import io
import json
import marshal
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import sensorium
from sensorium import formats
from sensorium.errors import InputError
from tests.security.watch import outside, watching


def model(*layers: dict[str, Any]) -> dict[str, Any]:
    first = {"class_name": "InputLayer", "module": "keras.layers", "config": {"name": "x", "batch_shape": [None, 3]}}
    return {"class_name": "Sequential", "module": "keras", "config": {"name": "s", "layers": [first, *layers]}}


def written(path: Path, config: dict[str, Any], more: dict[str, bytes] | None = None) -> Path:
    """As .keras or .h5, by the ending."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(config)
            file.attrs["keras_version"] = "2.9.0"
            file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
        return path
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file.create_group("layers")
    members = {"config.json": json.dumps(config).encode(), "metadata.json": b'{"keras_version": "3.8.0"}',
               "model.weights.h5": weights.getvalue(), **(more or {})}  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def lambda_layer(marker: Path) -> dict[str, Any]:
    code = compile(f"open({str(marker)!r}, 'w').close()", "lambda", "exec")
    text = base64.b64encode(marshal.dumps(code)).decode()
    return {"class_name": "Lambda", "module": "keras.layers", "config": {
        "name": "evil", "function": {"class_name": "__lambda__", "config": {"code": text}}}}  # fmt: skip


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_lambda_layers_are_shown_and_never_run(ending: str, tmp_path: Path) -> None:
    """Bytecode in a Lambda layer, also in .h5 where Keras itself has no safe mode: listed as code, refused."""
    marker = tmp_path / "marker"
    path = written(tmp_path / f"m{ending}", model(lambda_layer(marker)))
    report = sensorium.inspect(path)
    assert report["layers"]["Lambda"] == 1
    assert any("evil" in line or "Lambda" in line for line in report["could_run_code"])
    with pytest.raises(InputError, match=r"Lambda.*refused"):
        sensorium.convert(path, out=tmp_path / "out")
    assert not marker.exists()


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "system", "module": "os", "config": {"command": "true"}},
        {"class_name": "Popen", "module": "subprocess", "config": {"args": ["true"]}},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": "builtins>exec", "config": {"name": "d"}},
        {"class_name": "function", "module": "builtins", "config": "eval"},
        {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"name": "t", "filepath": "/etc"}},
        {"class_name": "Dense", "module": "keras.layers", "config": {
            "name": "d", "units": 1,
            "kernel_initializer": {"module": "os", "class_name": "system", "config": {"command": "id"}},
            "activation": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}}},
        {"class_name": "Wrapper", "module": "evil_module_beside_the_file", "config": {"name": "w"}},
    ],
)  # fmt: skip
def test_names_in_a_config_import_nothing(layer: dict[str, Any], tmp_path: Path) -> None:
    """A config.json that names a module, a registered class, a function, or another saved model: the layer is named in
    the refusal, and nothing is imported, opened or called."""
    (tmp_path / "evil_module_beside_the_file.py").write_text("raise SystemExit('imported')")
    path = written(tmp_path / "m.keras", model(layer))
    with (
        watching() as events,
        pytest.raises(InputError, match=r"refused|not known|not supported|custom|not described|0 arrays"),
    ):
        formats.read([path])
    assert not outside(events, tmp_path)
    assert not [e for e in events if e[0] == "import" and "evil_module" in e[1]]


@pytest.mark.parametrize("name", ["../../x.h5", "..\\..\\x.h5", "/tmp/x.h5", "a/../../../x"])
def test_members_of_an_archive_stay_in_it(name: str, tmp_path: Path) -> None:
    """Names with which a layer's store would be written outside, with either slash."""
    path = written(tmp_path / "m.keras", model(), {name: b"x"})
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"outside|refused"):
        formats.read([path])
    assert set(tmp_path.rglob("*")) == before


def test_layers_named_like_paths_are_only_names(tmp_path: Path) -> None:
    """A layer called `../../x` writes nothing anywhere."""
    layer = {"class_name": "Activation", "module": "keras.layers", "config": {"name": "../../x", "activation": "relu"}}
    (tmp_path / "in").mkdir()
    path = written(tmp_path / "in" / "m.keras", model(layer))
    with watching() as events:
        sensorium.convert(path, out=tmp_path / "in" / "out")
    assert not [n for e, n in events if e == "open" and n.endswith("/x")]
    assert {p.name for p in tmp_path.iterdir()} == {"in"}


def test_a_member_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    """Shape bombs: an HDF5 data set, a NumPy array and a zip member that declare a terabyte in a kilobyte."""
    bomb = io.BytesIO()
    with h5py.File(bomb, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.create_dataset("0", (1 << 19, 1 << 19), "f4", chunks=(1 << 10, 1 << 10), compression="gzip")
    layer = {"class_name": "Dense", "module": "keras.layers", "config": {"name": "dense", "units": 1 << 19}}
    path = written(tmp_path / "m.keras", model(layer), {"model.weights.h5": bomb.getvalue()})
    with pytest.raises(InputError):
        formats.read([path])
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 262144), }"
    array = header + text.ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("a.npy", array)
    with pytest.raises(InputError, match=r"truncated|claims|architecture"):
        formats.inspect([tmp_path / "m.npz"])
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", array + bytes(1 << 24))
    data = bytearray((tmp_path / "b.npz").read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    (tmp_path / "b.npz").write_bytes(bytes(data))
    with pytest.raises(InputError):
        formats.inspect([tmp_path / "b.npz"])


@pytest.mark.parametrize("kind", ["external", "soft", "virtual", "raw"])
def test_hdf5_opens_no_other_file(kind: str, tmp_path: Path) -> None:
    """External and soft links, virtual data sets and external storage in an HDF5 file: refused, nothing else opened."""
    path = written(tmp_path / "m.h5", model())
    with h5py.File(path, "a") as file:
        group = file["model_weights"]
        if kind == "external":
            group["o"] = h5py.ExternalLink("/etc/hostname", "/x")
        elif kind == "soft":
            group["o"] = h5py.SoftLink("/model_weights")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3,), "f4")
            layout[:] = h5py.VirtualSource("/etc/hostname", "x", (3,))
            group.create_virtual_dataset("o", layout)
        else:
            group.create_dataset("o", (3,), "f4", external=[("/etc/hostname", 0, 12)])
    with watching() as events, pytest.raises(InputError, match="refused"):
        formats.read([path])
    assert not outside(events, tmp_path)
