"""Theano and Lasagne: parameters in .npz files or pickles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.errors import InputError
from sensorium.formats.shared import pickles
from sensorium.formats.shared.archive import open_zip
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "Theano/Lasagne"
ENDINGS = (".npz",)


def match(file: File) -> float:
    if file.head[:4] == b"PK\x03\x04":
        try:
            names = open_zip(file).names
        except InputError:
            return 0.55 if file.suffix == ".npz" or b".npy" in file.head[:200] else 0.0
        return 0.6 if names and all(n.endswith(".npy") for n in names) else 0.0
    if file.head[:1] == b"\x80" and file.head[1:2] in b"\x02\x03\x04\x05":
        if any(word in file.head for word in (b"lasagne", b"theano", b"nolearn")):
            return 0.9
        return 0.55 if b"numpy" in file.head and b"multiarray" in file.head and b"torch" not in file.head else 0.0
    return 0.0


def inspect(files: Sequence[File]) -> Report:
    report = Report(TITLE)
    report.parameters = 0
    report.missing.append("the architecture (--architecture FILE): the file holds arrays and no layers")
    for file in files:
        if file.head[:4] == b"PK\x03\x04":
            archive = open_zip(file)
            report.version = "npz"
            for name in archive.names:
                shape = header(archive.read(name), f"{file.path}: {name}")
                report.metadata[name.removesuffix(".npy")] = list(shape)
                report.parameters += int(np.prod(shape, dtype=np.float64))
        elif file.head[:1] == b"\x80":
            report.version = "pickle"
            seen = pickles.walk(file.data, str(file.path))
            report.code += [f"the pickle would import and may call {name}" for name in seen.suspicious]
            if seen.suspicious:
                report.reason = f"refused: its pickle names {', '.join(seen.suspicious[:5])}"
    return report


def header(data: bytes, where: str) -> tuple[int, ...]:
    """The shape that a .npy file declares.

    Raises:
        InputError: it is no .npy file, holds pickled objects, or less than it declares.
    """
    import io

    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(stream)
    except Exception as error:  # numpy raises many kinds
        raise InputError(f"{where}: not a NumPy array: {str(error)[:100]}") from None
    if dtype.hasobject:
        raise InputError(f"{where}: a pickled object array; refused, for reading it could run code")
    if len(data) - stream.tell() < int(np.prod(shape, dtype=np.float64)) * dtype.itemsize:
        raise InputError(f"{where}: truncated: shape {list(shape)[:8]} needs more bytes than there are")
    return tuple(int(n) for n in shape)
