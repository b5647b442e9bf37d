"""Make the pages that come from the code: a page per task, the command line, and the table in README.md.

python docs/build.py            # write them
python docs/build.py --check    # exit 1 where one is not current
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

from sensorium import tasks
from sensorium.cli import VERBS, overview, parser_of

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
RESULTS = DOCS.parent / "benchmarks" / "results.json"
BEGIN, END = "<!-- results: made by docs/build.py from benchmarks/results.json -->", "<!-- end of results -->"
HEAD_METRICS = {"object-detection": ("map_50", "map"), "image-generation": ("kid", "fid")}


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def shown(result: dict[str, Any], name: str) -> str:
    """A metric with its interval, and what the naive baseline reaches."""
    m = result["metrics"][name]
    text = f"{name} **{m['value']:.3f}**"
    if m["low"] is not None and m["low"] != m["high"]:
        text += f" ({m['low']:.3f} to {m['high']:.3f})"
    if result["baseline"].get(name) is not None:
        text += f", naive {result['baseline'][name]:.3f}"
    return text


def results_table() -> str:
    if not results():
        return ""
    rows = ["| task | data, from scratch | on the test split | trained | model |", "|---|---|---|---|---|"]
    for name, r in sorted(results().items(), key=lambda item: item[1]["task"]):
        metrics = HEAD_METRICS.get(r["task"]) or (tasks.find(r["task"]).metric,)
        rows.append(
            f"| [`{r['task']}`](docs/tasks/{r['task']}.md) | {name}, {r['trained_on']} examples "
            f"| {'; '.join(shown(r, m) for m in metrics)} "
            f"| {r['seconds'] / 60:.0f} min, {r['threads']} thread{'s' * (r['threads'] > 1)} "
            f"| {r['megabytes']} MB |"
        )
    return "\n".join(rows)


def task_page(row: dict[str, Any]) -> str:
    """The page of a task: its docstrings, its options, its recipe's parameters, its example."""
    name = row["name"]
    module = sys.modules[tasks.find(name).__module__]
    lines = [f"# {name}", "", inspect.getdoc(module) or "", ""]
    lines += [f"Reads the field `{row['source']}`, answers `{row['truth']}`; main metric `{row['metric']}`.", ""]
    example = DOCS / "examples" / f"{name}.md"
    if example.exists():
        lines += [example.read_text("utf-8").strip(), ""]
    if row["options"]:
        lines += ["## Options of the answer", "", "| option | type | default | |", "|---|---|---|---|"]
        lines += [
            f"| `{o.name}` | `{o.annotation.replace('|', chr(92) + '|')}` | `{o.default}` | {o.help} |"
            for o in tasks.options(tasks.find(name))
        ]
        lines.append("")
    if row["trainable"]:
        from sensorium.training.main import recipe_of

        recipe = recipe_of(name)
        lines += ["## Training", "", inspect.getdoc(recipe) or "", ""]
        lines += [
            "Parameters of `--set name=value`:",
            "",
            "```",
            (inspect.getdoc(recipe.plan) or "").strip(),
            "",
            "defaults:",
        ]
        lines += [
            f"    {p.name} = {p.default}"
            for p in inspect.signature(recipe.plan).parameters.values()
            if p.kind is p.KEYWORD_ONLY
        ]
        lines += ["```", ""]
    for data, r in results().items():
        if r["task"] == name:
            how = f"{r['seconds'] / 60:.0f} minutes on {r['threads']} thread{'s' * (r['threads'] > 1)}"
            measured = "; ".join(shown(r, m) for m in r["metrics"])
            lines += ["## Measured", "", f"On `{data}`, {r['examples']} test examples, {how}: {measured}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def command_page() -> str:
    parts = ["# The command line", "", "Made from `--help`.", "", "```", overview().rstrip(), "```", ""]
    for verb in VERBS:
        parser, _ = parser_of(verb)
        parts += [f"## sensorium {verb}", "", "```", parser.format_help().rstrip(), "```", ""]
    return "\n".join(parts).rstrip() + "\n"


def pages() -> dict[Path, str]:
    """Every generated page with its content."""
    made = {DOCS / "tasks" / f"{row['name']}.md": task_page(row) for row in tasks.table()}
    made[DOCS / "command-line.md"] = command_page()
    readme = README.read_text("utf-8")
    if BEGIN in readme:
        before, rest = readme.split(BEGIN)
        made[README] = f"{before}{BEGIN}\n{results_table()}\n{END}{rest.split(END)[1]}"
    return made


def main() -> int:
    import os

    os.environ["COLUMNS"] = "100"
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(DOCS.parent)} is not current: make docs", file=sys.stderr)
        return 1 if stale else 0
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
