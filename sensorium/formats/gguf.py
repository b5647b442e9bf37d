"""GGUF: quantised language models of llama.cpp."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from sensorium.errors import InputError
from sensorium.formats.shared.report import Report
from sensorium.formats.shared.source import File

TITLE = "GGUF"
ENDINGS = (".gguf",)
# Size and struct code of the value types 0 to 7 and 10 to 12; 8 is text, 9 an array.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
PAIRS = 100_000


def match(file: File) -> float:
    return 1.0 if file.head[:4] == b"GGUF" else 0.0


def inspect(files: Sequence[File]) -> Report:
    file = files[0]
    with file.path.open("rb") as stream:
        data = stream.read(64 << 20)  # the metadata is at the start
    at = 24

    def take(code: str) -> int | float | bool:
        nonlocal at
        size = struct.calcsize("<" + code)
        if at + size > len(data):
            raise InputError(f"{file.path}: truncated in its metadata")
        value: int | float | bool = struct.unpack_from("<" + code, data, at)[0]
        at += size
        return value

    def text() -> str:
        nonlocal at
        length = int(take("Q"))
        if length > len(data) - at:
            raise InputError(f"{file.path}: truncated or corrupt: a text of {length} bytes")
        at += length
        return data[at - length : at].decode("utf-8", "replace")

    if len(data) < 24:
        raise InputError(f"{file.path}: truncated: shorter than its header")
    version, tensors, pairs = struct.unpack_from("<IQQ", data, 4)
    if pairs > PAIRS or tensors > file.size:
        raise InputError(f"{file.path}: corrupt: it claims {tensors} tensors and {pairs} entries of metadata")
    report = Report(TITLE, str(version), reason="quantised weights for llama.cpp; its graph is in that program's code")
    for _ in range(pairs):
        key, kind = text(), int(take("I"))
        if kind == 8:
            report.metadata[key] = text()
        elif kind == 9:
            inner, count = int(take("I")), int(take("Q"))
            if inner == 8:
                for _ in range(count):
                    text()
            elif inner in SCALARS:
                at += count * struct.calcsize("<" + SCALARS[inner])
            else:
                raise InputError(f"{file.path}: corrupt: metadata '{key[:60]}' has elements of type {inner}")
            report.metadata[key] = f"{count} values"
        elif kind in SCALARS:
            report.metadata[key] = take(SCALARS[kind])
        else:
            raise InputError(f"{file.path}: corrupt: metadata '{key[:60]}' has the type {kind}")
    names, total = [], 0
    for _ in range(tensors):
        names.append(text())
        rank = int(take("I"))
        if rank > 8:
            raise InputError(f"{file.path}: corrupt: tensor '{names[-1][:60]}' has {rank} axes")
        count = 1
        for _ in range(rank):
            count *= int(take("Q"))
        take("I"), take("Q")
        total += count
    report.parameters = total
    report.metadata["tensors"] = len(names)
    return report
