"""Packages and archives from strangers: nothing leaves the folder, and what could is refused as a whole."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

import sensorium
from sensorium import formats
from sensorium.errors import InputError, SensoriumError
from tests.security.watch import outside, watching

NAMES = [
    "../x.onnx",
    "a/../../x.onnx",
    "/tmp/x.onnx",
    "C:\\x.onnx",
    "..\\x.onnx",
    "a\0b.onnx",
    "a/./b.onnx",
    "con:x.onnx",
]


def packed(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    """A tarball, or a zip file of the same names, with a good model in it."""
    entries = ((tarfile.TarInfo("package/good.onnx"), b"good"), *entries)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for entry, data in entries:
                info = zipfile.ZipInfo(entry.name)
                kind = {tarfile.SYMTYPE: stat.S_IFLNK, tarfile.CHRTYPE: stat.S_IFCHR, tarfile.FIFOTYPE: stat.S_IFIFO}
                info.external_attr = (kind.get(entry.type, stat.S_IFREG) | 0o6777) << 16
                archive.writestr(info, data)
        return path
    with tarfile.open(path, "w:gz") as archive:
        for entry, data in entries:
            entry.size = len(data) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(data))
    return path


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, link, 0o6777
    return entry


def refused(path: Path, folder: Path) -> None:
    before = set(folder.rglob("*"))
    with watching() as events, pytest.raises(InputError):
        sensorium.pull(str(path), out=folder / "out")
    assert set(folder.rglob("*")) == before
    assert not outside(events, folder)


@pytest.mark.parametrize("ending", [".tgz", ".zip"])
@pytest.mark.parametrize("name", NAMES)
def test_names_that_leave_the_folder(name: str, ending: str, tmp_path: Path) -> None:
    """Tar and zip slip: parent folders, absolute names, drive letters, backslashes, NUL."""
    if "\0" in name:
        if ending == ".zip":
            pytest.skip("zipfile itself cuts such a name")
        name = "a\x01b.onnx"
    refused(packed(tmp_path / f"a{ending}", (named(name), b"evil")), tmp_path)


@pytest.mark.parametrize("ending", [".tgz", ".zip"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(kind: bytes, ending: str, tmp_path: Path) -> None:
    """Symbolic links, hard links, devices and pipes as members."""
    if ending == ".zip" and kind == tarfile.LNKTYPE:
        pytest.skip("zip files have no hard links")
    refused(packed(tmp_path / f"a{ending}", (named("package/link.onnx", kind, "/etc/hostname"), b"")), tmp_path)


@pytest.mark.parametrize("ending", [".tgz", ".zip"])
@pytest.mark.parametrize("twin", ["package/good.onnx", "package/GOOD.onnx"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice(twin: str, ending: str, tmp_path: Path) -> None:
    """The same name twice, also in capitals: on some systems the second would take the place of the first."""
    refused(packed(tmp_path / f"a{ending}", (named(twin), b"evil")), tmp_path)


def test_modes_are_ours(tmp_path: Path) -> None:
    """A member that is set-user-id and open to everybody becomes a plain file."""
    path = packed(tmp_path / "a.tgz", (named("package/b.onnx"), b"x"))
    sensorium.pull(str(path), out=tmp_path / "out")
    mode = os.stat(tmp_path / "out" / "b.onnx").st_mode
    assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR | stat.S_IWOTH)


def test_archives_that_unpack_to_too_much(tmp_path: Path) -> None:
    """A small file of gzip that unpacks to more than was allowed, and a zip member that says so itself."""
    (tmp_path / "bomb.tgz").write_bytes(gzip.compress(bytes(64 << 20)))
    with pytest.raises(InputError, match=r"more than is allowed|no tarball|truncated|claims"):
        sensorium.pull(str(tmp_path / "bomb.tgz"), out=tmp_path / "out", limit=8 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.onnx", bytes(64 << 20))
    with pytest.raises(InputError, match="claims"):
        sensorium.pull(str(tmp_path / "bomb.zip"), out=tmp_path / "out", limit=8 << 20)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../data.pkl", "m/../../x/data.pkl", "..\\data.pkl"])
def test_model_files_that_are_zip_files(name: str, tmp_path: Path) -> None:
    """A PyTorch file is opened in place, and not at all if a member's name leaves its folder."""
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
        archive.writestr(name, b"x")
    with pytest.raises(SensoriumError, match="outside"):
        formats.inspect([tmp_path / "m.pt"])


def test_a_planted_link_where_the_folder_should_be(tmp_path: Path) -> None:
    """The output is a link to somewhere else: the link is replaced, nothing is written where it leads."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("kept")
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    path = packed(tmp_path / "a.tgz")
    sensorium.pull(str(path), out=tmp_path / "out")
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["kept"]
    assert not (tmp_path / "out").is_symlink()
