"""Try architectures and write down in docs/architectures.md what was found: `python -m tests.parity.architectures`.

With names (a part of an area, model type or task), only those are tried, and only their rows are written anew.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
import warnings
from pathlib import Path

import transformers

from tests.parity.architectures import areas, check

PAGE = Path(__file__).parents[3] / "docs" / "architectures.md"
HEAD = f"""# Architectures

Made by `python -m tests.parity.architectures`; do not edit. Tiny random checkpoints of each architecture, made by
transformers {transformers.__version__}, converted with `sensorium convert`, and answered without PyTorch: labels,
spans, texts, tokens and masks are those of Hugging Face's own processor and model; the largest difference of a
number (score, coordinate relative to the picture, value of a vector) is in the table, beside the largest difference of
the networks' outputs, relative to their magnitude.

| model type | task | sources | answers differ by | networks differ by |
|---|---|---|---|---|
"""


def known() -> dict[tuple[str, str], str]:
    """The rows of the page, by model type and task."""
    lines = PAGE.read_text("utf-8").splitlines() if PAGE.is_file() else []
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| model type")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {(row[0], row[1]): line for row, line in zip(cells, rows)}


def main(words: list[str]) -> int:
    warnings.simplefilter("ignore")
    transformers.logging.disable_progress_bar()
    listed = [(area, case) for area, cases in areas().items() for case in cases]
    wanted = [(a, c) for a, c in listed if not words or any(w in f"{a} {c.model_type} {c.task}" for w in words)]
    worst: dict[tuple[str, str], list[float]] = {}
    failed: set[tuple[str, str]] = set()
    for area, case in wanted:
        key, name = (case.model_type, case.task), f"{area} {case.model_type} {case.task}"
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = check(case, Path(folder) / "case")
            except Exception as error:
                failed.add(key)
                print(f"FAIL {name}: {type(error).__name__}: {str(error)[:1500]}", flush=True)
            else:
                before = worst.get(key, [0, 0.0, 0.0])
                now = (found.sources, found.largest, found.tensors)
                worst[key] = [before[0] + now[0], max(before[1], now[1]), max(before[2], now[2])]
                print(f"pass {name}: {found} ({time.perf_counter() - start:.0f} s)", flush=True)
        gc.collect()
    cells = {key: (*key, row[0], f"{row[1]:.1e}", f"{row[2]:.1e}") for key, row in worst.items() if key not in failed}
    made = {key: f"| {' | '.join(str(cell) for cell in row)} |" for key, row in cells.items()}
    exist = {(case.model_type, case.task) for _, case in listed}
    rows = {key: row for key, row in {**known(), **made}.items() if key in exist and key not in failed}
    kinds = len({key[0] for key in rows})
    PAGE.write_text(HEAD + "".join(f"{rows[key]}\n" for key in sorted(rows)) + f"\n{kinds} model types.\n", "utf-8")
    print(f"{len(made)} pass, {len(failed)} fail; {kinds} model types in {PAGE.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
