"""The main job on real handwritten digits, in a few minutes, without a network.

It learns to classify digits and to find them in photographs, measures both with confidence intervals, exports and
verifies, predicts without PyTorch, serves a model and asks it over HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from sensorium.cli.train import duration
from sensorium.errors import MissingError, Refused, need

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from sensorium.cli import main; sys.exit(main(sys.argv[1:]))"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="demo", metavar="DIR", help="where everything is written (default demo)")
    parser.add_argument("--classify", type=duration, default=50.0, metavar="TIME", help="to learn to classify (50s)")
    parser.add_argument("--detect", type=duration, default=130.0, metavar="TIME", help="to learn to find (130s)")
    parser.add_argument("--pictures", type=int, default=420, metavar="N", help="photographs with digits (420)")


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def sensorium(*words: str | Path, torch: bool = True) -> None:
    """Run a command as a user would, and show it.

    Raises:
        Refused: it did not end well.
    """
    given = [str(w) for w in words]
    print("$ sensorium " + shlex.join(given), flush=True)
    start = ["-m", "sensorium"] if torch else ["-c", WITHOUT_TORCH]
    done = subprocess.run([sys.executable, *start, *given])
    if done.returncode:
        raise Refused(f"the demonstration stopped: sensorium {given[0]} ended with status {done.returncode}")


@contextlib.contextmanager
def serving(model: Path) -> Iterator[str]:
    """A service of the model on a free port; ends with SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    print(f"$ sensorium serve {model} --port {port} &", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "sensorium", "serve", str(model), "--port", str(port)], stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5).close()
                break
            if process.poll() is not None:
                raise Refused("the service ended before it was ready")
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def run(given: argparse.Namespace) -> int:
    from sensorium import demo

    for module in ("torch", "sklearn", "skimage", "uvicorn"):
        try:
            need(module, "demo")
        except MissingError:
            raise MissingError("the demonstration needs: pip install 'sensorium[demo]'") from None
    out = Path(given.out)
    started = time.monotonic()
    say("1. Real data: 1,797 handwritten digits, alone and scattered over photographs")
    demo.write_digits(out / "digits")
    demo.write_scattered(out / "scattered", given.pictures)
    sensorium("data", "show", out / "digits")
    sensorium("data", "check", out / "scattered")

    say("2. Learn to tell them apart, and measure on digits that were held out")
    classifier, detector = out / "classifier", out / "detector"
    again = ["--resume"] if (classifier / "run.json").exists() else []
    sensorium(
        "train", "image-classification", out / "digits", "--out", classifier, "--budget", f"{given.classify:g}s", *again
    )
    sensorium("evaluate", classifier, out / "digits", "--split", "test")

    say("3. Learn to find them in photographs never seen before")
    again = ["--resume"] if (detector / "run.json").exists() else []
    settings = ["--set", "image_size=160"]
    sensorium(
        "train", "object-detection", out / "scattered", "--out", detector, "--budget", f"{given.detect:g}s",
        *settings, *again,
    )  # fmt: skip
    sensorium("evaluate", detector, out / "scattered", "--split", "test")

    say("4. The model folder carries the proof that it is what was trained; a smaller one is measured, too")
    sensorium("verify", detector)
    sensorium("export", classifier, "--to", "int8", "--data", out / "digits", "--out", out / "classifier-int8")

    say("5. Predict from the folder, with PyTorch kept out")
    digit = next(iter(sorted((out / "digits" / "7").glob("*.png"))))
    photograph = out / "scattered" / "test" / "0000.jpg"
    sensorium("predict", classifier, digit, torch=False)
    sensorium("predict", detector, photograph, "--draw", out / "answers", torch=False)

    say("6. Serve it, and ask over HTTP")
    with serving(detector) as url:
        request = urllib.request.Request(
            f"{url}/v1/models/{detector.name}:predict", photograph.read_bytes(), {"Content-Type": "image/jpeg"}
        )
        print(f"$ curl --data-binary @{photograph} -H 'Content-Type: image/jpeg' {request.full_url}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            print(json.dumps(json.load(answer))[:400])

    say(f"Done in {time.monotonic() - started:.0f} s. Look at:")
    for place in (detector / "pictures", classifier / "pictures", out / "answers"):
        print(f"  {place}{os.sep}  " + ", ".join(sorted(p.name for p in place.iterdir())))
    say("Now with your own data:")
    print("  sensorium data check my-photos/                          # a folder per class, COCO, VOC, YOLO, CSV ...")
    print("  sensorium train image-classification my-photos/ --out runs/mine --budget 10m")
    print("  sensorium evaluate runs/mine my-photos/ --split test")
    print("  sensorium serve runs/mine                                # then open http://127.0.0.1:8000")
    print("  sensorium tasks                                          # what else it can learn")
    return 0
