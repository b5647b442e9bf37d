"""PyTorch: .pt and .pth (zip or legacy), TorchScript, .pt2."""

from __future__ import annotations

from collections.abc import Sequence

from sensorium.errors import InputError
from sensorium.formats.shared import pickles
from sensorium.formats.shared.archive import open_zip
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "PyTorch"
ENDINGS = (".pt", ".pth", ".pt2")
LEGACY = bytes.fromhex("80028a0a6cfc9c46f920")  # the magic number of torch.save before 1.6, as a pickle


def match(file: File) -> float:
    if file.head.startswith(LEGACY):
        return 1.0
    if file.head[:4] == b"PK\x03\x04":
        try:
            archive = open_zip(file)
        except InputError:
            return 0.9 if b"data.pkl" in file.head[:200] or file.suffix in (".pt", ".pth", ".pt2") else 0.0
        if archive.find("data.pkl") or archive.find("archive_format"):
            return 0.95
        return 0.0
    ending = file.suffix in (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".bin")
    if file.head[:1] == b"\x80" and file.head[1:2] in b"\x02\x03\x04\x05":
        return 0.5 + 0.1 * ending
    return 0.0


def inspect(files: Sequence[File]) -> Report:
    """Pickles are walked opcode by opcode; nothing is loaded."""
    report = Report(TITLE, reason="PyTorch files are not converted yet")
    for file in files:
        if file.head[:4] == b"PK\x03\x04":
            archive = open_zip(file)
            name = archive.find("data.pkl")
            if archive.find("archive_format"):
                report.version = ".pt2"
            elif any("/code/" in n for n in archive.names):
                report.version = "TorchScript"
            else:
                report.version = "zip"
            if name is not None:
                _pickle(archive.read(name, 256 << 20), f"{file.path}: {name}", report)
        elif file.size == 0:
            raise InputError(f"{file.path}: the file is empty (0 bytes)")
        elif file.head[:1] == b"\x80":
            report.version = "legacy" if file.head.startswith(LEGACY) else "pickle"
            data, at = file.data, 0
            for _ in range(5 if report.version == "legacy" else 1):
                at += _pickle(data[at:], str(file.path), report)
                if data[at : at + 1] != b"\x80":
                    break
        else:
            raise InputError(f"{file.path}: not a PyTorch file")
    return report


def _pickle(data: bytes, where: str, report: Report) -> int:
    seen = pickles.walk(data, where)
    report.code += [f"the pickle would import and may call {name}" for name in seen.suspicious]
    if seen.suspicious:
        report.reason = f"refused as unsafe: its pickle names {', '.join(seen.suspicious[:5])}"
    report.metadata["pickle"] = {"protocol": seen.protocol, "names": len(seen.names), "calls": seen.calls}
    return seen.end
