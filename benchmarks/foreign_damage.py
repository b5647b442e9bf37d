"""What damaged model files do: seeded mutations of a model's files, each converted in a process of its own.

    python benchmarks/foreign_damage.py FOLDER... [--count 200]

Each FOLDER holds the files of one model, and what to convert it with: `architecture.json`, or options in
`options.txt`. A mutation may still be a model (a changed weight); else it has to end with status 2 and one line, within
5 seconds and 512 MB, and leave nothing behind. Of PyTorch's files, mutations that change only values of parameters, or
nothing that is read, are counted as models after the first 5: to convert them takes PyTorch and seconds each.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sensorium.formats import File, safetensors
from sensorium.formats.shared.archive import open_zip
from sensorium.formats.torch import tensors

SECONDS, MEGABYTES = 5.0, 512
CONVERTED = 5  # mutations of values that are converted all the same
BESIDE = {"golden.npz", "meta.json", "checkpoint", "options.txt"}  # of a model, and not its files


def mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Bytes flipped, cut, left out, overwritten with extremes or with chance, or doubled."""
    random = np.random.default_rng(seed)
    for i in range(count):
        changed = bytearray(data)
        # Half of them near the beginning, where formats keep what matters most.
        at = int(random.integers(0, len(data) if i % 2 else min(len(data), 2000)))
        length = int(random.integers(1, 9))
        kind = int(random.integers(0, 6))
        if kind == 0:
            changed[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at : at + length] = b"\xff" * length
        elif kind == 4:
            changed[at : at + length] = random.bytes(length)
        else:
            changed[at:at] = changed[max(0, at - 40) : at]
        yield bytes(changed)


def attempt(arguments: list[str], place: Path) -> tuple[int, str, float, float]:
    """Status (negative: killed by that signal), standard error, seconds and megabytes of the command in a child."""
    from sensorium.cli import main

    child = os.fork()
    if not child:
        with (place / "err").open("w") as err, (place / "out").open("w") as out:
            os.dup2(err.fileno(), 2)
            os.dup2(out.fileno(), 1)
            sys.stderr, sys.stdout = err, out
            status = 70
            with contextlib.suppress(SystemExit):
                try:
                    status = main(arguments)
                except BaseException as error:
                    err.write(f"Traceback: {error!r}\n")
            err.flush()
            os._exit(status)
    _, ended, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime  # of the processor: whatever else runs on the machine
    status = os.waitstatus_to_exitcode(ended)
    return status, (place / "err").read_text("utf-8", "replace"), seconds, used.ru_maxrss / 1024


def parameters(path: Path) -> dict[str, object] | None:
    """Type and shape of each parameter of a safetensors file or state dict, or the checksum of each member of another
    file of PyTorch; None of other files, and where refused."""
    try:
        if path.suffix in (".pt", ".pt2"):
            open_zip(File.of(path)).check()
            with zipfile.ZipFile(path) as archive:
                return {member.filename: member.CRC for member in archive.infolist()}
        if path.suffix == ".safetensors":
            return {name: (kind, shape) for name, (kind, shape, _) in safetensors.header(File.of(path)).items()}
        if path.suffix in (".pth", ".tar", ".bin"):
            return {name: (array.dtype, array.shape) for name, array in tensors.arrays(File.of(path)).items()}
    except Exception:  # the command says what is wrong
        return None
    return None


def damage(folder: Path, count: int) -> dict[str, object]:
    """Convert mutations of one model.

    Returns:
        How many were answered and refused, the longest time and the most memory, and what went wrong.
    """
    options: list[str] = []
    inner = folder
    if (folder / "architecture.json").is_file():
        options = ["--architecture", str(folder / "architecture.json")]
    if (folder / "options.txt").is_file():
        options += (folder / "options.txt").read_text().split()
    files = [p for p in sorted(inner.rglob("*")) if p.is_file() and p.name not in {*BESIDE, "architecture.json"}]
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = largest = 0.0
    values = 0  # mutations that changed values only
    for number, path in enumerate(files):
        share = count // len(files) + (number < count % len(files))
        original = parameters(path)
        for i, changed in enumerate(mutations(path.read_bytes(), share, number)):
            with tempfile.TemporaryDirectory() as temporary:
                place = Path(temporary)
                for other in files:
                    target = place / "model" / other.relative_to(inner)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(other, target)
                target = place / "model" / path.relative_to(inner)
                target.write_bytes(changed)
                if original is not None and parameters(target) == original:
                    values += 1
                    if values > CONVERTED:
                        ends["converted"] += 1
                        continue
                tops = sorted((place / "model").iterdir())
                status, text, seconds, megabytes = attempt(
                    ["convert", *map(str, tops), "--out", str(place / "made"), *options], place
                )
                if status != 0:  # what is still a model takes as long as it does to convert
                    slowest, largest = max(slowest, seconds), max(largest, megabytes)
                left = [p.name for p in place.iterdir() if p.name not in ("model", "err", "out", "made")]
                ends["converted" if status == 0 else "refused"] += 1
                problems = [
                    (status not in (0, 2), f"status {status}"),
                    (status != 0 and text.strip().count("\n") > 0, "more than one line"),
                    (status != 0 and not text.strip(), "no message"),
                    (status != 0 and (place / "made").exists(), "something written"),
                    (bool(left), f"left behind: {left[:3]}"),
                    (status != 0 and seconds > SECONDS, f"{seconds:.1f} s"),
                    (status != 0 and megabytes > MEGABYTES, f"{megabytes:.0f} MB"),
                ]
                for is_so, what in problems:
                    if is_so:
                        wrong.append(f"{path.name} #{i}: {what}: {text.strip()[-160:]}")
    return {**ends, "seconds": slowest, "megabytes": largest, "wrong": wrong}


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    for module in ("onnx.shape_inference", "sensorium.conversion"):  # here, so that each child need not
        importlib.import_module(module)
    bad = 0
    print("| model | still a model | refused in one line | slowest refusal | most memory | wrong |")
    print("|---|---|---|---|---|---|")
    for folder in given.folders:
        found = damage(folder, given.count)
        wrong = found["wrong"]
        assert isinstance(wrong, list)
        bad += len(wrong)
        print(f"| {folder.parent.name}/{folder.name} | {found.get('converted', 0)} | {found.get('refused', 0)} "
              f"| {found['seconds']:.2f} s | {found['megabytes']:.0f} MB | {len(wrong)} |", flush=True)  # fmt: skip
        for line in wrong[:12]:
            print(f"    {line}", file=sys.stderr, flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(run())
