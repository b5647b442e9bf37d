"""A model of another framework as a model folder that runs everywhere, checked against the original's outputs.

sensorium convert deploy.prototxt model.caffemodel --out model --check golden.npz
sensorium convert yolov3.cfg yolov3.weights --out detector
"""

from __future__ import annotations

import argparse

from sensorium.cli import text


def pair(value: str) -> tuple[int, int]:
    """`224x224`, or `224`: height and width."""
    sides = value.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(s.isdigit() and 0 < int(s) < 65536 for s in sides):
        raise argparse.ArgumentTypeError(f"'{value}' is not HEIGHTxWIDTH, such as 224x224")
    return int(sides[0]), int(sides[-1])


def numbers(value: str) -> list[float]:
    """`104,117,123`."""
    try:
        return [float(v) for v in value.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{value}' is not a list of numbers, such as 104,117,123") from None


def fraction(value: str) -> float:
    """`1/255`, or `0.0039`."""
    above, _, below = value.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"'{value}' is not a number or a fraction, such as 1/255") from None


def words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def shape(value: str) -> tuple[str, tuple[int, ...]]:
    """`data=1,3,224,224`; `keep=` for a single number without axes."""
    name, _, sizes = value.rpartition("=")
    if name and not sizes.strip():
        return name, ()
    if not name or not all(s.strip().isdigit() and int(s) > 0 for s in sizes.split(",")):
        raise argparse.ArgumentTypeError(f"'{value}' is not NAME=SIZES, such as data=1,3,224,224")
    return name, tuple(int(s) for s in sizes.split(","))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="all files of one model, or its folder")
    parser.add_argument("--out", required=True, metavar="DIR", help="the model folder to make")
    parser.add_argument("--task", metavar="T", help="what the model does; see `sensorium tasks`")
    parser.add_argument("--labels", metavar="FILE", help="names of its classes: one a line, or JSON")
    parser.add_argument("--image-size", type=pair, metavar="HxW", help="of the picture it takes")
    parser.add_argument("--mean", type=numbers, metavar="A,B,C", help="subtracted from each channel")
    parser.add_argument("--std", type=numbers, metavar="A,B,C", help="by which each channel is then divided")
    parser.add_argument("--scale", type=fraction, metavar="X", help="by which 0..255 is multiplied first: 1/255")
    parser.add_argument("--layout", choices=["NCHW", "NHWC"], help="order of the axes of the picture")
    parser.add_argument("--color", choices=["rgb", "bgr"], help="order of the channels")
    parser.add_argument("--tokenizer", metavar="PATH", help="of a text: tokenizer.json, its folder, or a vocabulary")
    parser.add_argument(
        "--padding", choices=["left", "right"], help="where texts are filled up, and cut, to its length"
    )
    parser.add_argument("--rate", type=int, metavar="HZ", help="samples a second of the sound it takes")
    parser.add_argument("--features", metavar="FILE", help="how features of a sound are made: preprocessor_config.json")
    parser.add_argument("--outputs", type=words, default=[], metavar="A,B", help="the outputs wanted")
    parser.add_argument(
        "--shape",
        "--shapes",
        type=shape,
        action="append",
        default=[],
        metavar="NAME=SIZES",
        help="shape of an input, with batch",
    )
    parser.add_argument("--architecture", metavar="FILE", help="the layers, for files that hold only parameters")
    parser.add_argument("--check", metavar="NPZ", help="inputs (in_NAME) and the original's outputs (out_NAME)")
    parser.add_argument("--tolerance", type=float, metavar="X", help="largest absolute difference allowed by --check")
    parser.add_argument("--force", action="store_true", help="write the folder even if the check fails")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(given: argparse.Namespace) -> int:
    import sensorium

    report = sensorium.convert(
        *given.files,
        out=given.out,
        task=given.task,
        labels=given.labels,
        image_size=given.image_size,
        mean=given.mean,
        std=given.std,
        layout=given.layout,
        color=given.color,
        scale=given.scale,
        outputs=given.outputs,
        shapes=dict(given.shape),
        architecture=given.architecture,
        check=given.check,
        tolerance=given.tolerance,
        force=given.force,
        tokenizer=given.tokenizer,
        padding=given.padding,
        rate=given.rate,
        features=given.features,
    )
    if given.json:
        print(text.document(report))
        return 0
    print(f"{report['format']}: {len(report['operators'])} kinds of operators, {report['parameters']:,} parameters")
    for kind in ("inputs", "outputs"):
        print(f"  {kind}: {', '.join(report[kind])}")
    for note in report["notes"]:
        print(f"  note: {note}")
    if "largest_difference" in report:
        print(f"  largest difference from the original: {report['largest_difference']:.2g} ({report['allowed']:.2g})")
    print(f"{report['model']}: {report['verdict']}" + (f": {report['message']}" if "message" in report else ""))
    return 0
