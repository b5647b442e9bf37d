"""Try all architectures and write docs/architectures.md: `python -m tests.parity.architectures [NAME ...]`.

With names (a part of an area, model type or task), only those are tried, and nothing is written.
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


def main(words: list[str]) -> int:
    warnings.simplefilter("ignore")
    rows, failed = [], []
    for area, cases in areas().items():
        for case in cases:
            name = f"{area} {case.model_type} {case.task}"
            if words and not any(word in name for word in words):
                continue
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found = check(case, Path(folder) / "case")
                except Exception as error:
                    failed.append(name)
                    print(f"FAIL {name}: {type(error).__name__}: {str(error)[:1500]}", flush=True)
                else:
                    row = (case.model_type, case.task, found.sources, f"{found.largest:.1e}", f"{found.tensors:.1e}")
                    rows.append(row)
                    print(f"pass {name}: {row[3]} {row[4]} ({time.perf_counter() - start:.0f} s)", flush=True)
            gc.collect()
    kinds = len({row[0] for row in rows})
    print(f"{len(rows)} pass, {len(failed)} fail; {kinds} model types pass")
    if not words:
        lines = [f"| {' | '.join(str(cell) for cell in row)} |\n" for row in sorted(rows)]
        PAGE.write_text(HEAD + "".join(lines) + f"\n{kinds} model types.\n", "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
