"""Models are fetched from registries, hubs, addresses and folders: what was asked for, verified, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sensorium
from sensorium.cli import main
from sensorium.errors import InputError, MissingError
from sensorium.hub import pypi
from tests.hub.registry import Registry, serving, tarball, wheel

NETWORK = bytes(range(256)) * 40


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with serving() as made:
        for name in (
            "PIP_EXTRA_INDEX_URL",
            "PIP_FIND_LINKS",
            "PIP_NO_INDEX",
            "HF_HUB_OFFLINE",
            "HF_TOKEN",
            "HF_HUB_CACHE",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", made.address + "/simple")
        monkeypatch.setenv("npm_config_registry", made.address + "/npm/")
        monkeypatch.setenv("HF_ENDPOINT", made.address + "/hub")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield made


def origin(folder: Path) -> Any:
    return json.loads((folder / "origin.json").read_text())


@pytest.mark.parametrize("html", [False, True])
def test_a_python_package_is_opened_and_not_installed(registry: Registry, tmp_path: Path, html: bool) -> None:
    code = b"open('/tmp/never', 'w')"
    old = wheel({"thing/model.onnx": b"old"})
    new = wheel({"thing/model.onnx": NETWORK, "thing/__init__.py": code, "setup.py": code}, "Apache-2.0")
    registry.pypi("thing", {"thing-1.0-py3-none-any.whl": old, "thing-1.10-py3-none-any.whl": new,
                            "thing-1.9.tar.gz": b"", "thing-2.0rc1-py3-none-any.whl": old}, html)  # fmt: skip
    listed = sensorium.pull("pypi:Thing")
    assert [f["path"] for f in listed["files"]] == ["thing/model.onnx"]
    report = sensorium.pull("pypi:Thing", out=tmp_path / "m")
    assert (report["version"], report["licence"]) == ("1.10", "Apache-2.0")
    assert (tmp_path / "m/model.onnx").read_bytes() == NETWORK
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["LICENSE", "model.onnx", "origin.json"]
    assert origin(tmp_path / "m")["files"]["model.onnx"] == {"sha256": hashlib.sha256(NETWORK).hexdigest()}
    assert origin(tmp_path / "m")["package"] == {"sha256": hashlib.sha256(new).hexdigest()}
    assert sensorium.pull("pypi:thing==1.0#thing/model.onnx", out=tmp_path / "o")["version"] == "1.0"
    assert not list((tmp_path / "cache").rglob("*.part"))
    with pytest.raises(InputError, match="no version 3; there is"):
        sensorium.pull("pypi:thing==3")
    with pytest.raises(InputError, match=r"there is no 'thing/modle.onnx' in it; there is thing/model.onnx"):
        sensorium.pull("pypi:thing#thing/modle.onnx", out=tmp_path / "p")
    with pytest.raises(InputError, match=r"pypi:absent.*no such"):
        sensorium.pull("pypi:absent")


def test_versions_are_sorted_as_pip_sorts_them() -> None:
    wanted = ["1.0.dev1", "1.0a1", "1.0a2", "1.0b1", "1.0rc1", "1.0", "1.0.post1", "1.2", "1.10", "1.10.1", "2!0.1"]
    assert sorted(reversed(wanted), key=pypi.order) == wanted
    assert pypi.order("1.0") == pypi.order("1.0.0")


def test_source_packages_and_folders_of_wheels_do_as_well(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tarball({"src/net/model.h5": NETWORK, "PKG-INFO": b"Name: x\nLicense: BSD\n\n"}, "old-thing-0.2/")
    registry.pypi("old-thing", {"old_thing-0.2.tar.gz": source})
    report = sensorium.pull("pypi:old_thing#src", out=tmp_path / "m")
    assert (report["licence"], (tmp_path / "m/model.h5").read_bytes()) == ("BSD", NETWORK)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/thing-1.0-py3-none-any.whl").write_bytes(wheel({"thing/a.tflite": NETWORK}))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    assert sensorium.pull("pypi:thing", out=tmp_path / "n")["files"][0]["path"] == "a.tflite"


def test_a_javascript_package_comes_with_the_weights_of_its_topology(registry: Registry, tmp_path: Path) -> None:
    files = {"models/face.json": b"{}", "models/face.bin": NETWORK, "models/hand.json": b"{}", "models/hand.bin": b"h",
             "index.js": b"process.exit()", "LICENSE": b"MIT", "package.json": b"{}"}  # fmt: skip
    registry.npm("@org/nets", {"1.0.0": tarball({"a.bin": b""}), "1.2.0": tarball(files)})
    assert len(sensorium.pull("npm:@org/nets")["files"]) == 4
    report = sensorium.pull("npm:@org/nets@1.2.0#models/face.json", out=tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["LICENSE", "face.bin", "face.json", "origin.json"]
    assert report["licence"] == "MIT"
    assert set(report["package"]) == {"sha512"}


def test_a_model_of_a_hub_is_fetched_file_by_file(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.hub("org/net", {"config.json": b"{}", "model.safetensors": NETWORK, "pytorch_model.bin": NETWORK,
                             "modeling.py": b"exit()", "onnx/model.onnx": b"o"})  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", "secret")
    report = sensorium.pull("hf:org/net", out=tmp_path / "m")
    assert {f["path"] for f in report["files"]} == {"config.json", "model.safetensors", "onnx/model.onnx"}
    assert (report["licence"], report["version"]) == ("apache-2.0", "c0ffee")
    assert {h.get("Authorization") for h in registry.headers} == {"Bearer secret"}
    assert "secret" not in (tmp_path / "m/origin.json").read_text()
    sensorium.pull("hf:org/net#pytorch_model.bin", out=tmp_path / "n")
    assert (tmp_path / "n/pytorch_model.bin").read_bytes() == NETWORK


def test_offline_the_cache_of_the_hubs_own_client_serves(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "hf/hub/models--org--net"
    (home / "refs").mkdir(parents=True)
    (home / "refs/main").write_text("abc123")
    (home / "blobs").mkdir()
    (home / "snapshots/abc123").mkdir(parents=True)
    blob = home / "blobs" / hashlib.sha256(NETWORK).hexdigest()
    blob.write_bytes(NETWORK)
    (home / "snapshots/abc123/model.safetensors").symlink_to(blob)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sensorium.pull("hf:org/net", out=tmp_path / "m")
    assert (tmp_path / "m/model.safetensors").read_bytes() == NETWORK
    assert registry.asked == []
    blob.write_bytes(NETWORK[::-1])
    with pytest.raises(InputError, match="damaged"):
        sensorium.pull("hf:org/net", out=tmp_path / "n")
    with pytest.raises(MissingError, match="HF_HUB_OFFLINE is set"):
        sensorium.pull("hf:org/other", out=tmp_path / "n")


def test_a_broken_connection_is_taken_up_where_it_broke(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.files["/net.onnx"] = NETWORK
    registry.cut["/net.onnx"] = 4000
    sensorium.pull(f"{registry.address}/net.onnx", out=tmp_path / "m")
    assert [a for a in registry.asked if a[0] == "/net.onnx"] == [("/net.onnx", None), ("/net.onnx", "bytes=4000-")]
    assert (tmp_path / "m/net.onnx").read_bytes() == NETWORK
    monkeypatch.setattr("sensorium.hub.web.TRIES", 1)
    registry.cut["/net.onnx"] = 5000
    with pytest.raises(MissingError, match="start again to go on"):
        sensorium.pull(f"{registry.address}/net.onnx", out=tmp_path / "n")
    assert not (tmp_path / "n").exists()
    sensorium.pull(f"{registry.address}/net.onnx", out=tmp_path / "n")
    assert registry.asked[-1] == ("/net.onnx", "bytes=5000-")
    assert (tmp_path / "n/net.onnx").read_bytes() == NETWORK


def test_what_is_not_what_was_promised_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    registry.pypi("thing", {"thing-1.0-py3-none-any.whl": wheel({"a.onnx": NETWORK})}, wrong=True)
    with pytest.raises(InputError, match="sha256 is not the one that was promised"):
        sensorium.pull("pypi:thing", out=tmp_path / "m")
    registry.files["/page.onnx"] = b"<!DOCTYPE html><html>Sign in</html>"
    with pytest.raises(InputError, match="an HTML page"):
        sensorium.pull(f"{registry.address}/page.onnx", out=tmp_path / "m")
    registry.hub("org/net", {"model.onnx": NETWORK})
    registry.files["/hub/org/net/resolve/c0ffee/model.onnx"] = NETWORK + b"more"
    with pytest.raises(InputError, match="instead of"):
        sensorium.pull("hf:org/net", out=tmp_path / "m")
    registry.files["/big.onnx"] = bytes(3 << 20)
    with pytest.raises(InputError, match="more than the limit of 1 MB"):
        sensorium.pull(f"{registry.address}/big.onnx", out=tmp_path / "m", limit=1 << 20)
    registry.moved["/moved.onnx"] = "file:///etc/hostname"
    with pytest.raises(InputError, match="not allowed"):
        sensorium.pull(f"{registry.address}/moved.onnx", out=tmp_path / "m")
    with pytest.raises(InputError, match="only https"):
        sensorium.pull("http://example.org/a.onnx", out=tmp_path / "m")
    digest = hashlib.sha256(NETWORK).hexdigest()
    registry.files["/a.onnx"] = NETWORK[1:]
    with pytest.raises(InputError, match="sha256"):
        sensorium.pull(f"{registry.address}/a.onnx#sha256={digest}", out=tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == []
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_password_does_not_follow_to_another_host(registry: Registry, tmp_path: Path) -> None:
    with serving() as other:
        other.files["/x.onnx"] = NETWORK
        registry.moved["/x.onnx"] = other.address.replace("127.0.0.1", "localhost") + "/x.onnx"
        sensorium.pull(registry.address.replace("//", "//user:pass@") + "/x.onnx", out=tmp_path / "m")
        assert [h.get("Authorization") for h in other.headers] == [None]
        assert registry.headers[0]["Authorization"].startswith("Basic ")
        assert "pass" not in (tmp_path / "m/origin.json").read_text()


def test_files_folders_and_packages_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/a.onnx").write_bytes(NETWORK)
    assert main(["pull", str(tmp_path / "net/a.onnx"), "--out", str(tmp_path / "m"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["path"] == "a.onnx"
    assert main(["pull", str(tmp_path / "net"), "--out", str(tmp_path / "n")]) == 0
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("deep/b.onnx", NETWORK)
    assert main(["pull", str(tmp_path / "w.zip"), "--out", str(tmp_path / "o")]) == 0
    assert (tmp_path / "o/b.onnx").read_bytes() == NETWORK
    (tmp_path / "net/out").symlink_to("/etc/hostname")
    capsys.readouterr()
    assert main(["pull", str(tmp_path / "net"), "--out", str(tmp_path / "p")]) == 2
    assert "leads out of the folder" in capsys.readouterr().err
    assert main(["pull", "nothing-there", "--out", str(tmp_path / "p")]) == 2
    assert not (tmp_path / "p").exists()
