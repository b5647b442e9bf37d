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

Made by `python -m tests.parity.architectures`, which may write some rows anew; do not edit.

Tiny random checkpoints of each architecture, made by
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


def write(found: dict[tuple[str, str], str | None]) -> int:
    """Write these rows into the page (None takes one out of it); how many model types it then has."""
    exist = {(case.model_type, case.task) for cases in areas().values() for case in cases}
    rows = {key: row for key, row in {**known(), **found}.items() if row is not None and key in exist}
    kinds = len({key[0] for key in rows})
    PAGE.write_text(HEAD + "".join(f"{rows[key]}\n" for key in sorted(rows)) + f"\n{kinds} model types.\n", "utf-8")
    return kinds


def main(words: list[str]) -> int:
    warnings.simplefilter("ignore")
    transformers.logging.disable_progress_bar()
    worst: dict[tuple[str, str], tuple[int, float, float]] = {}
    rows: dict[tuple[str, str], str | None] = {}
    kinds = 0
    listed = [(area, case) for area, cases in areas().items() for case in cases]
    first = {case.model_type: number for number, (_, case) in reversed(list(enumerate(listed)))}
    # Each model type once before any of them again.
    order = sorted(range(len(listed)), key=lambda number: first[listed[number][1].model_type] != number)
    for area, case in (listed[number] for number in order):
        key, name = (case.model_type, case.task), f"{area} {case.model_type} {case.task}"
        if words and not any(word in name for word in words):
            continue
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = check(case, Path(folder) / "case")
            except Exception as error:
                rows[key] = None
                print(f"FAIL {name}: {type(error).__name__}: {str(error)[:1500]}", flush=True)
            else:
                sources, largest, tensors = worst.get(key, (0, 0.0, 0.0))
                worst[key] = (sources + found.sources, max(largest, found.largest), max(tensors, found.tensors))
                cells = (*key, worst[key][0], *(f"{value:.1e}" for value in worst[key][1:]))
                if key not in rows or rows[key] is not None:
                    rows[key] = f"| {' | '.join(str(cell) for cell in cells)} |"
                print(f"pass {name}: {found} ({time.perf_counter() - start:.0f} s)", flush=True)
        kinds = write(rows)
        gc.collect()
    failed = sum(row is None for row in rows.values())
    print(f"{len(rows) - failed} pass, {failed} fail; {kinds} model types in {PAGE.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
