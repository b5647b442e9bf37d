"""Train and evaluate on real data sets, each as a user would: `sensorium train`, then `sensorium evaluate`.

    python benchmarks/accuracy.py --data ../shared/data                     # all of them
    python benchmarks/accuracy.py --data DIR --only bccd --threads 1

Each result goes to `benchmarks/results.json`, from which the table in README.md is made (`make docs`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Job:
    task: str
    path: str
    budget: str
    every_fifth: bool = False  # no split of its own: every fifth row is for testing


JOBS = {
    "sign-language-digits": Job("image-classification", "image-classification/sign-language-digits", "10m"),
    "bccd": Job("object-detection", "object-detection/bccd", "30m"),
    "sms-spam": Job("text-classification", "text-classification/sms-spam", "3m", every_fifth=True),
    "small-parallel-enja": Job("translation", "machine-translation/small-parallel-enja", "60m"),
    "fsdd": Job("automatic-speech-recognition", "speech-recognition/fsdd", "15m"),
    "omniglot-small1": Job("image-generation", "handwritten-characters/omniglot-small1", "30m"),
}


def sensorium(words: list[str], threads: int | None) -> str:
    """Run a command; its standard output."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    print("$ sensorium " + " ".join(words), file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "sensorium", *words]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def every_fifth(data: Path, out: Path) -> Path:
    """A `splits.json` where every fifth example is for testing, and every fifth of the others for validation."""
    from sensorium import open_data

    ids = [e.id for e in open_data(data).examples]
    test = ids[::5]
    rest = [i for k, i in enumerate(ids) if k % 5]
    parts = {"test": test, "val": rest[::5], "train": [i for k, i in enumerate(rest) if k % 5]}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(parts))
    return out


def run(name: str, job: Job, data: Path, out: Path, budget: str, threads: int | None) -> dict[str, Any]:
    """Train on one data set and evaluate on its test split."""
    folder = data / job.path
    splits = ["--splits", str(every_fifth(folder, out / f"{name}.splits.json"))] if job.every_fifth else []
    started = time.monotonic()
    sensorium(["train", job.task, str(folder), "--out", str(out / name), "--budget", budget, *splits], threads)
    seconds = time.monotonic() - started
    report = json.loads(
        sensorium(["evaluate", str(out / name), str(folder), "--split", "test", "--json", *splits], threads)
    )
    record = json.loads((out / name / "run.json").read_text())
    size = sum(p.stat().st_size for p in (out / name / "model" / "onnx").glob("*.onnx"))
    return {
        "task": job.task,
        "data": name,
        "budget": budget,
        "threads": threads or os.cpu_count(),
        "seconds": round(seconds),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "trained_on": record["splits"]["counts"]["train"],
        "examples": report["examples"],
        "metrics": report["metrics"],
        "baseline": report["baseline"],
        "parameters": record["parameters"],
        "megabytes": round(size / 1e6, 1),
        "verification": record["result"]["verification"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--only", nargs="+", choices=sorted(JOBS), default=sorted(JOBS))
    parser.add_argument("--budget", help="another budget for all")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    for name in given.only:
        result = run(name, JOBS[name], given.data, given.out, given.budget or JOBS[name].budget, given.threads)
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = result
        RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=2, ensure_ascii=False) + "\n")
        print(json.dumps(result["metrics"]))


if __name__ == "__main__":
    main()
