"""PyTorch: .pt and .pth (zip, legacy or tar), TorchScript, .pt2.

Tensors are read by an allow-list reader. Graphs (TorchScript, exported programs) are looked through first, and then
converted by PyTorch itself in a child process with limits; so is a state dict whose layers are described in a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sensorium.errors import InputError
from sensorium.formats.shared import pickles, pytorch
from sensorium.formats.shared.archive import Archive, open_zip
from sensorium.formats.shared.graph import Graph
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File, Options
from sensorium.formats.torch import exported, tensors
from sensorium.formats.torch.tensors import LEGACY

TITLE = "PyTorch"
ENDINGS = (".pt", ".pth", ".pt2")
HEAVY = True  # reading a graph takes PyTorch and seconds: `inspect` leaves it
CODE_LIMIT = 64 << 20
MODULE = (
    "a whole module was pickled ({names}), which needs its own code to load; refused: where that code is, save "
    "model.state_dict(), or export the model with torch.export.save or torch.onnx.export"
)


def match(file: File) -> float:
    if file.head.startswith(LEGACY):
        return 1.0
    if file.head[:4] == b"PK\x03\x04":
        try:
            archive = open_zip(file)
        except InputError:
            return 0.9 if b"data.pkl" in file.head[:200] or file.suffix in (".pt", ".pth", ".pt2") else 0.0
        wanted = ("data.pkl", "archive_format", "serialized_exported_program.json")
        return 0.95 if any(archive.find(name) for name in wanted) else 0.0
    if file.head[257:262] == b"ustar" or file.head[:9] == b"sys_info\0":
        names = (b"sys_info\0", b"storages\0", b"tensors\0", b"pickle\0")
        return 0.95 if file.head.startswith(names) else 0.0
    ending = file.suffix in (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".bin")
    if file.head[:1] == b"\x80" and file.head[1:2] in b"\x02\x03\x04\x05":
        return 0.5 + 0.1 * ending
    return 0.0


def kind(file: File) -> str:
    """`pt2`, `TorchScript`, `zip`, `legacy`, `tar` or `pickle`.

    Raises:
        InputError: the file is empty, damaged, or not of PyTorch.
    """
    if file.size == 0:
        raise InputError(f"{file.path}: the file is empty (0 bytes)")
    if file.head[:4] == b"PK\x03\x04":
        archive = open_zip(file)
        if archive.find("archive_format") or archive.find("serialized_exported_program.json"):
            return "pt2"
        if archive.find("constants.pkl") and any("/code/" in n for n in archive.names):
            return "TorchScript"
        return "zip"
    if file.head.startswith(LEGACY):
        return "legacy"
    if file.head[:1] == b"\x80":
        return "pickle"
    if match(file):
        return "tar"
    raise InputError(f"{file.path}: not a PyTorch file")


def _model(files: Sequence[File]) -> File:
    found = [file for file in files if match(file)]
    if len(found) != 1:
        which = found[1] if found else files[0]
        raise InputError(f"{which.path}: " + ("a second PyTorch file; give one" if found else "not a PyTorch file"))
    return found[0]


def inspect(files: Sequence[File]) -> Report:
    """Pickles are walked opcode by opcode; nothing is loaded."""
    file = _model(files)
    report = Report(TITLE, version=kind(file))
    if report.version == "pt2":
        exported.inspect(open_zip(file), report)
    elif report.version == "TorchScript":
        _script(open_zip(file), report)
    else:
        for data, where in _pickles(file):
            _walk(data, where, report)
        if report.reason is None:
            _state(file, report)
    return report


def _pickles(file: File) -> list[tuple[bytes, str]]:
    """The pickles of a file that holds tensors."""
    if file.head[:4] == b"PK\x03\x04":
        archive = open_zip(file)
        return [(archive.read(n, 256 << 20), f"{file.path}: {n}") for n in archive.names if n.endswith(".pkl")]
    if file.head[:1] != b"\x80":
        return []  # of a tar file: its members are read, not walked
    found, data, at = [], file.data, 0
    for _ in range(5 if file.head.startswith(LEGACY) else 1):
        seen = pickles.walk(data[at:], str(file.path))
        found.append((data[at : at + seen.end], str(file.path)))
        at += seen.end
        if data[at : at + 1] != b"\x80":
            break
    return found


def _walk(data: bytes, where: str, report: Report) -> None:
    seen = pickles.walk(data, where)
    others = [name for name in seen.names if name not in tensors.ALLOWED]
    report.code += [f"the pickle would import and may call {name}" for name in others]
    if others:
        modules = [name for name in others if name.startswith(("torch.nn.modules.", "__main__."))]
        listed = ", ".join((modules or others)[:5])
        if any(name.startswith("torch.nn.modules.") for name in others):
            report.reason = MODULE.format(names=listed)
        else:
            report.reason = f"refused as unsafe: its pickle names {listed}"
    known = report.metadata.get("pickle", {"names": 0, "calls": 0})
    report.metadata["pickle"] = {
        "protocol": seen.protocol,
        "names": known["names"] + len(seen.names),
        "calls": known["calls"] + seen.calls,
    }


def _state(file: File, report: Report) -> None:
    """The tensors of a state dict."""
    held = tensors.content(file)
    path, found = tensors.weights(held.value)
    if not found:
        report.reason = "a pickle that holds no dictionary of tensors (a state_dict)"
        return
    if path:
        report.metadata["weights"] = path
    shapes = {name: list(getattr(t, "shape", None) or getattr(t, "value", t).shape) for name, t in found.items()}
    report.parameters = sum(_product(s) for s in shapes.values())
    report.metadata["tensors"] = shapes
    if not (file.path.parent / "config.json").is_file():
        report.missing.append(pytorch.MISSING)


def _product(shape: Sequence[int]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


# TorchScript

OPERATOR = re.compile(r"\b(torch|ops)[\s\\]*\.[\s\\]*([A-Za-z_][\w.]*)[\s\\]*\(")
STATE = re.compile(r"\bdef[\s\\]+__setstate__\b")


def _code(archive: Archive) -> str:
    names = [n for n in archive.names if "/code/" in n and n.endswith(".py")]
    if sum(archive.sizes[n] for n in names) > CODE_LIMIT:
        raise InputError(f"{archive.file.path}: more than {CODE_LIMIT >> 20} MB of code")
    return "\n".join(archive.read(n, CODE_LIMIT).decode("utf-8", "replace") for n in names)


def _script(archive: Archive, report: Report) -> None:
    text = _code(archive)
    for space, name in OPERATOR.findall(text):
        report.layers[name if space == "torch" else f"ops.{name}"] += 1
    report.notes.append("TorchScript runs only operators of PyTorch; its code is not Python's")
    if STATE.search(text):
        report.code.append("loading it would run a method __setstate__ of the file")
        report.reason = "refused: it has code that runs when it is loaded (__setstate__), as quantised modules do"
    report.parameters = 0
    held = _scripted(archive)
    for found in tensors.walk(held):
        report.parameters += found.size
    for place, shape in enumerate(traced(archive)):
        report.inputs[f"input{place}"] = list(shape)


class _Script(tensors.Reader):
    """The values of a TorchScript module: its classes are names, its state is looked through for tensors."""

    def named(self, text: str) -> pickles.Name:
        if text.startswith(("__torch__.", "torch.jit._pickle.")):
            return pickles.Name(text)
        return super().named(text)

    def call(self, called: Any, given: list[Any]) -> Any:
        name = called.text if isinstance(called, pickles.Name) else ""
        if name.startswith("torch.jit._pickle.build_"):
            return given[0] if given else []
        if name.startswith("torch.jit._pickle.restore_type_tag"):
            return given[0]
        return {} if name.startswith("__torch__.") else super().call(called, given)

    def fill(self, target: Any, state: Any) -> None:
        if isinstance(target, dict) and isinstance(state, dict):
            target.update(state)


def _scripted(archive: Archive) -> Any:
    name = archive.find("data.pkl")
    return _Script(archive.read(str(name), 256 << 20), f"{archive.file.path}: {name}").run()


def traced(archive: Archive) -> list[tuple[int, ...]]:
    """The shapes of the inputs that a module was traced with; empty where it was not."""
    name = archive.find("traced_inputs.pkl")
    if name is None:
        return []
    try:
        values = _Script(archive.read(name, 1 << 20), f"{archive.file.path}: {name}").run()
    except InputError:
        return []
    while isinstance(values, (dict, list)) and values and not tensors.is_tensor(next(iter(_items(values)))):
        values = next(iter(_items(values)))
    return [tuple(t.shape) for t in _items(values) if isinstance(t, tensors.Tensor)]


def _items(values: Any) -> list[Any]:
    return list(values.values()) if isinstance(values, dict) else list(values)


# Converting


def read(files: Sequence[File], options: Options) -> Graph:
    file = _model(files)
    report = inspect(files)
    if report.reason is not None:
        raise InputError(f"{file.path}: {report.reason}")
    if report.version in ("pt2", "TorchScript"):  # PyTorch itself does not compare checksums
        open_zip(file).check()
    if report.version == "pt2":
        return pytorch.export(file, "exported", path=str(file.path.resolve()))
    if report.version == "TorchScript":
        return pytorch.export(
            file,
            "script",
            path=str(file.path.resolve()),
            traced=[list(s) for s in traced(open_zip(file))],
            shapes=pytorch.shapes(options),
            image_size=options.image_size,
        )
    return pytorch.layers(file, tensors.arrays(file), options)
